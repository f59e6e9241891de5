// Makes other models of cria: one with other bytes, one that never stops talking, one that is slow.
import assert from 'node:assert/strict';
import fs from 'node:fs';

import { cria_file } from './harness.mjs';

const value_sizes = [1, 1, 2, 2, 4, 4, 4, 1, undefined, undefined, 8, 8, 8]; // by GGUF's type; 8: string, 9: array
const type_uint32 = 4,
  type_string = 8,
  type_array = 9;
const alignment = 32;
const tensor_f16 = 1,
  tensor_f32 = 0;

export const cria = () => fs.readFileSync(cria_file);

// The same model in a file with another digest, so that it gets a runner of its own. The name has four letters.
export function renamed(name) {
  const bytes = cria();
  const key = 'general.name';
  const at = bytes.indexOf(key) + key.length + 4 + 8; // behind the type and the length
  assert.equal(bytes.toString('latin1', at, at + 4), 'Cria');
  assert.equal(name.length, 4);
  bytes.write(name, at, 'latin1');
  return bytes;
}

const pad = 1023; // cria's last token, which it never learned to say

// cria without an end: the tokens that stop a generation have other names, so they are tokens like all others. It
// occupies a slot for as many tokens as a request asks for.
export function endless({ context } = {}) {
  const bytes = renamed('Endl');
  for (const [from, to] of [
    ['<|im_end|>', '<|im_fin|>'],
    ['<|endoftext|>', '<|endoftexx|>'],
  ]) {
    let found = 0;
    for (let at = bytes.indexOf(from); at >= 0; at = bytes.indexOf(from, at)) {
      bytes.write(to, at, 'latin1');
      found++;
    }
    assert.ok(found > 0, `cria has no ${from}`);
  }
  for (const name of ['bos', 'eos', 'eot']) {
    const key = `tokenizer.ggml.${name}_token_id`;
    const at = bytes.indexOf(key);
    assert.ok(at > 0, `cria has no ${key}`);
    bytes.writeUInt32LE(pad, at + key.length + 4);
  }
  if (context) {
    const key = 'llama.context_length';
    bytes.writeUInt32LE(context, bytes.indexOf(key) + key.length + 4);
  }
  return bytes;
}

// A generation ends after ten contexts (as in Ollama): this one lasts for minutes also where a browser takes as long to open.
export const create_lasting = (server, model) =>
  server.create(model, endless({ context: 16_384 }), { parameters: { num_ctx: 16_384 } });

// An endless model with cria's vocabulary, random weights and so many of them that a token takes milliseconds and a
// long prompt takes seconds. What it says means nothing.
export function slow({ width = 512, layers = 8, feed_forward = 1408, context = 8192 } = {}) {
  const source = endless();
  const heads = width / 64;
  const shape = {
    'general.name': 'Slow',
    'llama.context_length': context,
    'llama.embedding_length': width,
    'llama.block_count': layers,
    'llama.feed_forward_length': feed_forward,
    'llama.attention.head_count': heads,
    'llama.attention.head_count_kv': heads,
    'llama.rope.dimension_count': 64,
  };
  const { header, vocabulary } = with_values(source, shape);
  const tensors = [
    ['token_embd.weight', width, vocabulary],
    ['output_norm.weight', width],
  ];
  for (let layer = 0; layer < layers; layer++) {
    const block = (name, ...dimensions) => tensors.push([`blk.${layer}.${name}.weight`, ...dimensions]);
    block('attn_norm', width);
    block('ffn_norm', width);
    for (const name of ['attn_q', 'attn_k', 'attn_v', 'attn_output']) block(name, width, width);
    block('ffn_gate', width, feed_forward);
    block('ffn_up', width, feed_forward);
    block('ffn_down', feed_forward, width);
  }
  const head = Buffer.concat([header(tensors.length), ...tensor_infos(tensors)]);
  const data = tensors.map((tensor) => weights(tensor));
  // Random weights could say the token that ends an answer. With zeros it is never among the likelier half.
  data[0].fill(0, pad * width * 2, (pad + 1) * width * 2);
  return Buffer.concat([padded(head), ...data]);
}

// GGUF's head with some values replaced: a function of the number of tensors, and the size of the vocabulary.
function with_values(source, replaced) {
  let at = 16;
  const read_length = () => Number(source.readBigUInt64LE((at += 8) - 8));
  const read_type = () => source.readUInt32LE((at += 4) - 4);
  const skip_value = (type) => {
    if (type === type_string) {
      const length = read_length();
      at += length;
    } else if (type === type_array) {
      const element = read_type();
      const length = read_length();
      for (let i = 0; i < length; i++) skip_value(element);
      return length;
    } else {
      at += value_sizes[type];
    }
    return 0;
  };

  const count = read_length();
  const pairs = [];
  let vocabulary = 0;
  for (let i = 0; i < count; i++) {
    const start = at;
    const key = source.toString('utf8', start + 8, start + 8 + read_length());
    at = start + 8 + Buffer.byteLength(key);
    const type = read_type();
    const value_start = at;
    const length = skip_value(type);
    if (key === 'tokenizer.ggml.tokens') vocabulary = length;
    const value = replaced[key];
    if (value === undefined) {
      pairs.push(source.subarray(start, at));
    } else {
      assert.equal(type, typeof value === 'string' ? type_string : type_uint32, key);
      pairs.push(source.subarray(start, value_start), typeof value === 'string' ? text(value) : uint32(value));
    }
  }
  const head = Buffer.from(source.subarray(0, 24));
  return {
    vocabulary,
    header: (tensor_count) => {
      head.writeBigUInt64LE(BigInt(tensor_count), 8);
      return Buffer.concat([head, ...pairs]);
    },
  };
}

export const text = (value) => Buffer.concat([uint64(Buffer.byteLength(value)), Buffer.from(value)]);
export const uint32 = (value) => Buffer.from(Uint32Array.of(value).buffer);
export const uint64 = (value) => Buffer.from(BigUint64Array.of(BigInt(value)).buffer);
const padded_size = (size) => Math.ceil(size / alignment) * alignment;
export const padded = (bytes) => Buffer.concat([bytes, Buffer.alloc(padded_size(bytes.length) - bytes.length)]);

// Norms are vectors of 32-bit ones, biases of zeros, all else are matrices of 16-bit floats.
const elements = ([, ...dimensions]) => dimensions.reduce((product, dimension) => product * dimension, 1);
const is_norm = (tensor) => tensor.length === 2;
const byte_size = (tensor) => elements(tensor) * (is_norm(tensor) ? 4 : 2);

export function tensor_infos(tensors) {
  let offset = 0;
  return tensors.map((tensor) => {
    const [name, ...dimensions] = tensor;
    const type = is_norm(tensor) ? tensor_f32 : tensor_f16;
    const info = [text(name), uint32(dimensions.length), ...dimensions.map(uint64), uint32(type), uint64(offset)];
    offset += padded_size(byte_size(tensor));
    return Buffer.concat(info);
  });
}

export function weights(tensor, least = 0x2100) {
  const is_bias = tensor[0].endsWith('.bias');
  if (is_norm(tensor)) return padded(Buffer.from(new Float32Array(elements(tensor)).fill(is_bias ? 0 : 1).buffer));
  // Half floats of either sign, from a small generator of fixed seed: from `least`, which is about 0.01, to three times
  // that.
  const values = new Uint16Array(padded_size(byte_size(tensor)) / 2);
  let state = elements(tensor);
  for (let i = 0; i < values.length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    values[i] = ((state >>> 16) & 0x8000) | (least + (((state >>> 8) & 0x7ff) % 0x600));
  }
  return Buffer.from(values.buffer);
}

// A model that is whole as far as its metadata tell, and cannot be loaded: one of its tensors has another name.
export function broken() {
  const bytes = renamed('Brok');
  const at = bytes.indexOf('output_norm.weight');
  assert.ok(at > 0);
  bytes.write('output_nose.weight', at, 'latin1');
  return bytes;
}
