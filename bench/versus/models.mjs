// The models that both servers are measured with: real shapes, random weights, made once.
//
// The weights are written directly as quantized blocks, in the mixture of types that llama-quantize makes for Q4_K_M.
// The vocabulary is llama3's, from the engine's source. Tokens that are a whole word get larger embeddings than the
// others: so all that these models say is words, a text becomes the same tokens again when a client sends it back, and
// no generation ends before its limit.
import fs from 'node:fs';
import path from 'node:path';

import { bert } from '../../tests/e2e/bert.mjs';
import { slow } from '../../tests/e2e/gguf.mjs';
import { engine_source } from './setup.mjs';

const shapes = {
  // llama3.2's 1B: Q4_K_M, 763 MiB.
  '1b': { layers: 16, width: 2048, feed_forward: 8192, heads: 32, kv_heads: 8 },
  // About a twentieth of its work for each token of a prompt, for cases with very many tokens.
  small: { layers: 8, width: 768, feed_forward: 2048, heads: 12, kv_heads: 4 },
};
const head_size = 64;
const context = 131_072;

const chat_template =
  "{{ bos_token }}{% for message in messages %}{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' " +
  "+ message['content'] + '<|eot_id|>' }}{% endfor %}{% if add_generation_prompt %}" +
  "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}";

// all-MiniLM-L6's shape, for embeddings: its speed is real, its vectors mean nothing.
const minilm = { width: 384, layers: 6, heads: 12, feed_forward: 1536, context: 512 };

const vocabulary_file = (name) => path.join(engine_source(), 'models', `ggml-vocab-${name}.gguf`);

const makers = {
  tiny: (file) => fs.writeFileSync(file, slow({ width: 64, layers: 2, feed_forward: 128 })),
  minilm: (file) =>
    fs.writeFileSync(file, bert({ ...minilm, vocabulary: read_vocabulary(vocabulary_file('bert-bge')) })),
};
for (const [name, shape] of Object.entries(shapes)) {
  makers[name] = (file) => write_model(file, shape, vocabulary_file('llama-bpe'));
}

// {name, path, embeds} of each of the models `names`; those that are missing in `folder` are made.
export function make_models(folder, names, log) {
  fs.mkdirSync(folder, { recursive: true });
  const models = {};
  for (const name of names) {
    if (!(name in makers)) throw new Error(`there is no model '${name}': ${Object.keys(makers).join(' ')}`);
    models[name] = { name: `bench-${name}`, path: path.join(folder, `${name}.gguf`), embeds: name === 'minilm' };
    if (fs.existsSync(models[name].path)) continue;
    log(`making the model ${name}`);
    makers[name](partial(folder));
    fs.renameSync(partial(folder), models[name].path);
  }
  return models;
}

// A model for embeddings from a file of another place. Drover's store links to what llama-server reads, and no link
// leaves a file system: from another one it is copied into `folder`.
export function embedding_model(folder, file) {
  fs.mkdirSync(folder, { recursive: true });
  let here = file;
  if (fs.statSync(file).dev !== fs.statSync(folder).dev) {
    here = path.join(folder, `copy-of-${path.basename(file)}`);
    fs.copyFileSync(file, here);
  }
  const name = path.basename(file, '.gguf').toLowerCase().replace(/[^a-z0-9.-]/g, '-');
  return { name: `bench-${name}`, path: here, embeds: true };
}

const partial = (folder) => path.join(folder, 'partial');

// ---- GGUF

const alignment = 32;
const type_uint32 = 4,
  type_float32 = 6,
  type_string = 8,
  type_array = 9;
const value_sizes = { 0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8 };
const f32 = { id: 0, block: 1, bytes: 4 };
const q4_k = { id: 12, block: 256, bytes: 144 };
const q6_k = { id: 14, block: 256, bytes: 210 };

const uint32 = (value) => Buffer.from(Uint32Array.of(value).buffer);
const uint64 = (value) => Buffer.from(BigUint64Array.of(BigInt(value)).buffer);
const text = (value) => Buffer.concat([uint64(Buffer.byteLength(value)), Buffer.from(value)]);
const pair = (key, type, value) => Buffer.concat([text(key), uint32(type), value]);
const number = (key, value) => pair(key, type_uint32, uint32(value));
const real = (key, value) => pair(key, type_float32, Buffer.from(Float32Array.of(value).buffer));
const string = (key, value) => pair(key, type_string, text(value));

// What the vocabulary's file says about its tokens: the bytes of each key and value, and the tokens.
export function read_vocabulary(file) {
  const bytes = fs.readFileSync(file);
  let at = 24;
  const length = () => Number(bytes.readBigUInt64LE((at += 8) - 8));
  const read_text = () => {
    const size = length();
    return bytes.toString('utf8', at, (at += size));
  };
  const skip = (type) => {
    if (type === type_string) read_text();
    else at += value_sizes[type];
  };
  const pairs = [];
  let tokens = [];
  for (let left = Number(bytes.readBigUInt64LE(16)); left > 0; left--) {
    const start = at;
    const key = read_text();
    const type = bytes.readUInt32LE((at += 4) - 4);
    if (type === type_array) {
      const element = bytes.readUInt32LE((at += 4) - 4);
      const count = length();
      if (key === 'tokenizer.ggml.tokens') tokens = Array.from({ length: count }, read_text);
      else for (let i = 0; i < count; i++) skip(element);
    } else {
      skip(type);
    }
    if (key.startsWith('tokenizer.') && key !== 'tokenizer.chat_template') pairs.push(bytes.subarray(start, at));
  }
  return { pairs, tokens };
}

// As llama-quantize chooses them for Q4_K_M: more bits for some layers' values and down projections.
function tensors_of({ layers, width, feed_forward, kv_heads }, vocabulary_size) {
  const more_bits = (layer) =>
    layer < Math.floor(layers / 8) ||
    layer >= Math.floor((7 * layers) / 8) ||
    (layer - Math.floor(layers / 8)) % 3 === 2;
  const tensors = [
    ['token_embd.weight', q6_k, width, vocabulary_size],
    ['output_norm.weight', f32, width],
  ];
  for (let layer = 0; layer < layers; layer++) {
    const add = (name, type, ...dimensions) => tensors.push([`blk.${layer}.${name}.weight`, type, ...dimensions]);
    const better = more_bits(layer) ? q6_k : q4_k;
    add('attn_norm', f32, width);
    add('ffn_norm', f32, width);
    add('attn_q', q4_k, width, width);
    add('attn_k', q4_k, width, kv_heads * head_size);
    add('attn_v', better, width, kv_heads * head_size);
    add('attn_output', q4_k, width, width);
    add('ffn_gate', q4_k, width, feed_forward);
    add('ffn_up', q4_k, width, feed_forward);
    add('ffn_down', better, feed_forward, width);
  }
  return tensors;
}

function write_model(file, shape, vocabulary_file) {
  const vocabulary = read_vocabulary(vocabulary_file);
  const tensors = tensors_of(shape, vocabulary.tokens.length);
  const pairs = [
    string('general.architecture', 'llama'),
    string('general.name', 'Bench'),
    number('general.file_type', 15), // Q4_K_M
    number('llama.block_count', shape.layers),
    number('llama.context_length', context),
    number('llama.embedding_length', shape.width),
    number('llama.feed_forward_length', shape.feed_forward),
    number('llama.attention.head_count', shape.heads),
    number('llama.attention.head_count_kv', shape.kv_heads),
    number('llama.rope.dimension_count', head_size),
    number('llama.vocab_size', vocabulary.tokens.length),
    real('llama.rope.freq_base', 500_000),
    real('llama.attention.layer_norm_rms_epsilon', 1e-5),
    ...vocabulary.pairs,
    string('tokenizer.chat_template', chat_template),
  ];
  let offset = 0;
  const infos = tensors.map(([name, type, ...dimensions]) => {
    const info = [text(name), uint32(dimensions.length), ...dimensions.map(uint64), uint32(type.id), uint64(offset)];
    offset += padded(bytes_of(type, dimensions));
    return Buffer.concat(info);
  });
  const head = Buffer.concat([
    Buffer.from('GGUF'),
    uint32(3),
    uint64(tensors.length),
    uint64(pairs.length),
    ...pairs,
    ...infos,
  ]);
  const out = fs.openSync(file, 'w');
  const write = (bytes) => fs.writeSync(out, Buffer.concat([bytes, Buffer.alloc(padded(bytes.length) - bytes.length)]));
  write(head);
  const is_word = vocabulary.tokens.map((token) => /^Ġ[a-z]{2,}$/.test(token));
  for (const [name, type, ...dimensions] of tensors) {
    write(weights(type, dimensions, name === 'token_embd.weight' ? (row) => (is_word[row] ? 3 : 1) : () => 1));
  }
  fs.closeSync(out);
}

const padded = (size) => Math.ceil(size / alignment) * alignment;
const elements = (dimensions) => dimensions.reduce((product, dimension) => product * dimension, 1);
const bytes_of = (type, dimensions) => (elements(dimensions) / type.block) * type.bytes;

// Random blocks around zero whose weights deviate by about 1 / sqrt(row length), times `scale` of their row.
function weights(type, dimensions, scale) {
  if (type === f32) return Buffer.from(new Float32Array(elements(dimensions)).fill(1).buffer);
  const bytes = Buffer.alloc(bytes_of(type, dimensions));
  const words = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length >>> 2);
  let state = elements(dimensions);
  for (let i = 0; i < words.length; i++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    words[i] = state;
  }
  const deviation = 1 / Math.sqrt(dimensions[0]);
  const blocks_of_row = dimensions[0] / type.block;
  for (let row = 0; row < dimensions[1]; row++) {
    // What one unit of the scale makes of the random numbers behind it deviates by so much.
    const unit = type === q4_k ? 255 : 1366;
    const step = (scale(row) * deviation) / unit;
    for (let block = 0; block < blocks_of_row; block++) {
      const at = (row * blocks_of_row + block) * type.bytes;
      if (type === q4_k) {
        bytes.writeUInt16LE(half(step), at);
        bytes.writeUInt16LE(half(7.5 * step), at + 2); // so that their mean is zero
      } else {
        bytes.writeUInt16LE(half(step), at + 208);
      }
    }
  }
  return bytes;
}

// A positive number below 1 as a 16-bit float.
function half(value) {
  const exponent = Math.max(Math.floor(Math.log2(value)), -14);
  const mantissa = Math.round((value / 2 ** exponent) * 1024);
  return mantissa < 1024 ? mantissa : ((exponent + 15) << 10) + (mantissa - 1024);
}
