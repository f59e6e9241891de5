// A tiny encoder of BERT's shape with random weights: what it says of a text means nothing, but depends on all of it.
import { padded, tensor_infos, text, uint32, uint64, weights } from './gguf.mjs';

const types = { uint32: 4, float32: 6, bool: 7, string: 8, array: 9 };
const magic = Buffer.from('GGUF');

export const bert_shape = { width: 64, layers: 2, heads: 2, feed_forward: 128, context: 256 };

// Words are spelled: a letter at the start of a word is another token than one within.
function spelling_vocabulary() {
  const letters = [...'abcdefghijklmnopqrstuvwxyz0123456789.,:;!?-'];
  const special = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]'];
  const tokens = [...special, ...letters.map((letter) => `\u2581${letter}`), ...letters];
  const number = (key, value) => pair(key, types.uint32, uint32(value));
  const list = Buffer.concat([uint32(types.string), uint64(tokens.length), ...tokens.map(text)]);
  const pairs = [
    pair('tokenizer.ggml.model', types.string, text('bert')),
    pair('tokenizer.ggml.tokens', types.array, list),
    number('tokenizer.ggml.padding_token_id', 0),
    number('tokenizer.ggml.unknown_token_id', 1),
    number('tokenizer.ggml.bos_token_id', 2),
    number('tokenizer.ggml.cls_token_id', 2),
    number('tokenizer.ggml.seperator_token_id', 3), // llama.cpp's spelling
    number('tokenizer.ggml.mask_token_id', 4),
    number('tokenizer.ggml.token_type_count', 2),
  ];
  return { pairs, tokens };
}

const float32 = (value) => Buffer.from(Float32Array.of(value).buffer);
const pair = (key, type, value) => Buffer.concat([text(key), uint32(type), value]);

function pairs({ width, layers, heads, feed_forward, context }, pooling) {
  const number = (key, value) => pair(key, types.uint32, uint32(value));
  return [
    pair('general.architecture', types.string, text('bert')),
    pair('general.name', types.string, text('Tiny Bert')),
    number('bert.context_length', context),
    number('bert.embedding_length', width),
    number('bert.block_count', layers),
    number('bert.feed_forward_length', feed_forward),
    number('bert.attention.head_count', heads),
    pair('bert.attention.layer_norm_epsilon', types.float32, float32(1e-12)),
    pair('bert.attention.causal', types.bool, Buffer.of(0)),
    number('bert.pooling_type', pooling),
  ];
}

function tensors({ width, layers, feed_forward, context }, vocabulary_size) {
  const list = [
    ['token_embd.weight', width, vocabulary_size],
    ['position_embd.weight', width, context],
    ['token_embd_norm.weight', width],
    ['token_embd_norm.bias', width],
  ];
  for (let layer = 0; layer < layers; layer++) {
    const block = (name, ...dimensions) => list.push([`blk.${layer}.${name}`, ...dimensions]);
    for (const name of ['attn_q', 'attn_k', 'attn_v', 'attn_output']) {
      block(`${name}.weight`, width, width);
      block(`${name}.bias`, width);
    }
    block('ffn_up.weight', width, feed_forward);
    block('ffn_up.bias', feed_forward);
    block('ffn_down.weight', feed_forward, width);
    block('ffn_down.bias', width);
    for (const name of ['attn_output_norm', 'layer_output_norm']) {
      block(`${name}.weight`, width);
      block(`${name}.bias`, width);
    }
  }
  return list;
}

// pooling: 1 is the mean of all tokens, 2 the first token's. vocabulary: {pairs, tokens}, what a GGUF says of another.
export function bert({ pooling = 1, vocabulary = spelling_vocabulary(), ...shape } = {}) {
  const full = { ...bert_shape, ...shape };
  const values = [...pairs(full, pooling), ...vocabulary.pairs];
  const list = tensors(full, vocabulary.tokens.length);
  const counts = [uint32(3), uint64(list.length), uint64(values.length)];
  const head = Buffer.concat([magic, ...counts, ...values, ...tensor_infos(list)]);
  // Weights large enough for attention to matter: about 0.1.
  return Buffer.concat([padded(head), ...list.map((tensor) => weights(tensor, 0x2d00))]);
}
