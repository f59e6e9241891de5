// GGUF files that are wrong in one way each: a table of what may stand in a header, applied to cria.
import { put_together, take_apart } from './gguf_parts.mjs';

const types = { u8: 0, i8: 1, u16: 2, i16: 3, u32: 4, i32: 5, f32: 6, bool: 7, text: 8 };
Object.assign(types, { list: 9, u64: 10, i64: 11, f64: 12 });
const written = (size, write) => (value) => {
  const bytes = Buffer.alloc(size);
  bytes[write](value);
  return bytes;
};
const u64 = (value) => written(8, 'writeBigUInt64LE')(BigInt(value));
const encoders = {
  u8: written(1, 'writeUInt8'),
  i8: written(1, 'writeInt8'),
  u16: written(2, 'writeUInt16LE'),
  i16: written(2, 'writeInt16LE'),
  u32: written(4, 'writeUInt32LE'),
  i32: written(4, 'writeInt32LE'),
  f32: written(4, 'writeFloatLE'),
  bool: written(1, 'writeUInt8'),
  text: (value) => Buffer.concat([u64(Buffer.byteLength(value)), Buffer.from(value)]),
  u64,
  i64: (value) => written(8, 'writeBigInt64LE')(BigInt(value)),
  f64: written(8, 'writeDoubleLE'),
};

// A key/value of one of the types above; of a list: its elements' type and they themselves.
export function value(key, type, content, element) {
  const head = [encoders.text(key), encoders.u32(types[type])];
  if (type !== 'list') return Buffer.concat([...head, encoders[type](content)]);
  return Buffer.concat([...head, encoders.u32(types[element]), u64(content.length), ...content.map(encoders[element])]);
}

const key_of = (pair) => pair.toString('utf8', 8, 8 + Number(pair.readBigUInt64LE(0)));
const type_of = (pair) => Object.keys(types)[pair.readUInt32LE(8 + Number(pair.readBigUInt64LE(0)))];

// The texts of a list, as bytes.
function texts_of(pair) {
  let at = 8 + Number(pair.readBigUInt64LE(0)) + 4 + 4;
  const count = Number(pair.readBigUInt64LE(at));
  at += 8;
  return Array.from({ length: count }, () => {
    const size = Number(pair.readBigUInt64LE(at));
    at += 8 + size;
    return pair.subarray(at - size, at);
  });
}

const counts = [0, 1, 3, 7, 1024, 1_000_000, 0x7fffffff, 0x80000000, 0xffffffff];
const reals = [NaN, Infinity, -Infinity, -1, 0, 1e-45, 3e38];

const counted = [
  ...['context_length', 'embedding_length', 'block_count', 'feed_forward_length', 'vocab_size', 'expert_count'],
  ...['expert_used_count', 'expert_group_count', 'expert_group_used_count', 'expert_feed_forward_length'],
  ...['attention.head_count', 'attention.head_count_kv', 'attention.key_length', 'attention.value_length'],
  ...['attention.sliding_window', 'rope.dimension_count', 'rope.scaling.original_context_length', 'pooling_type'],
  ...['nextn_predict_layers', 'leading_dense_block_count', 'embedding_length_out', 'embedding_length_per_layer_input'],
];
const special = ['bos', 'eos', 'eot', 'padding', 'unknown', 'seperator', 'mask'];
special.push('fim_pre', 'fim_suf', 'fim_mid', 'fim_rep');
const real = [
  ...['attention.layer_norm_rms_epsilon', 'attention.layer_norm_epsilon', 'rope.freq_base', 'rope.scaling.factor'],
  ...['rope.scaling.attn_factor', 'rope.scaling.yarn_log_multiplier', 'attention.scale', 'logit_scale'],
  ...['attention.max_alibi_bias', 'attention.clamp_kqv', 'embedding_scale', 'residual_scale'],
  'final_logit_softcapping',
];

// [{name, bytes()}] of one file. Names are the same from run to run.
export function mutations(file, architecture = 'llama') {
  const { pairs, tensors } = take_apart(file);
  const list = [];
  const add = (name, change) =>
    list.push({
      name,
      bytes: () => {
        const parts = { pairs: [...pairs], tensors: tensors.map((tensor) => ({ ...tensor })) };
        return change(parts) ?? put_together(parts);
      },
    });
  const set = (parts, key, pair) => {
    const at = parts.pairs.findIndex((one) => key_of(one) === key);
    if (at < 0) parts.pairs.push(pair);
    else parts.pairs[at] = pair;
  };
  const add_value = (key, type, content, element) =>
    add(`${key} = ${type} [${String(content).slice(0, 40)}]`, (parts) =>
      set(parts, key, value(key, type, content, element)),
    );

  for (const key of counted) for (const count of counts) add_value(`${architecture}.${key}`, 'u32', count);
  for (const key of ['attention.head_count', 'attention.head_count_kv', 'feed_forward_length', 'expert_used_count']) {
    for (const each of [[], [4], [0, 0, 0, 0], [4, 4, 4, 0], [2, 2, 2, 2], [0, 4, 4, 4], [0xffffffff, 4, 4, 4]]) {
      add_value(`${architecture}.${key}`, 'list', each, 'u32');
    }
  }
  for (const name of special) {
    for (const id of [0, 1023, 1024, 0x7fffffff, 0xffffffff]) add_value(`tokenizer.ggml.${name}_token_id`, 'u32', id);
  }
  for (const key of real) for (const number of reals) add_value(`${architecture}.${key}`, 'f32', number);
  const flags = ['add_bos_token', 'add_eos_token', 'add_sep_token', 'add_space_prefix', 'remove_extra_whitespaces'];
  for (const flag of flags) {
    for (const bit of [0, 1, 255]) add_value(`tokenizer.ggml.${flag}`, 'bool', bit);
  }
  const tokenizers = ['none', 'no_vocab', 'llama', 'bert', 't5', 'rwkv', 'plamo2', 'gemma4', 'test', 'hybriddna'];
  for (const kind of [...tokenizers, 'whitespace', '', 'x']) {
    add_value('tokenizer.ggml.model', 'text', kind);
    add(`tokenizer.ggml.model = ${kind}, with both tokens`, (parts) => {
      set(parts, 'tokenizer.ggml.model', value('tokenizer.ggml.model', 'text', kind));
      for (const name of ['bos', 'eos']) {
        const flag = `tokenizer.ggml.add_${name}_token`;
        set(parts, flag, value(flag, 'bool', 1));
      }
    });
  }
  for (const kind of ['', 'x', 'llama-bpe', 'glm4', 'kimi-k2', 'tekken', 'gemma4', 'superbpe', 'qwen2', 'default']) {
    add_value('tokenizer.ggml.pre', 'text', kind);
  }
  for (const kind of ['', 'x', 'none', 'yarn', 'longrope']) {
    add_value(`${architecture}.rope.scaling.type`, 'text', kind);
  }
  const others = ['clip', 'llama4', 'bert', 'mamba', 'qwen2', 'gemma3', 'wavtokenizer-dec', 'deepseek2', 't5', 'phi3'];
  for (const kind of ['', 'x', ...others, 'rwkv6', 'x'.repeat(5000)]) {
    add_value('general.architecture', 'text', kind);
    add(`all of it is ${kind.slice(0, 20)}`, (parts) => {
      const prefix = `${architecture}.`;
      parts.pairs = parts.pairs.map((pair) => {
        const key = key_of(pair);
        if (!key.startsWith(prefix)) return pair;
        const name = encoders.text(`${kind}.${key.slice(prefix.length)}`);
        return Buffer.concat([name, pair.subarray(8 + Buffer.byteLength(key))]);
      });
      set(parts, 'general.architecture', value('general.architecture', 'text', kind));
    });
  }
  for (const pair of pairs) {
    const key = key_of(pair);
    add(`no ${key}`, (parts) => (parts.pairs = parts.pairs.filter((one) => one !== pair)) && undefined);
    for (const [type, content, element] of [
      ['text', 'odd'],
      ['f32', 0.5],
      ['f64', 4],
      ['u64', 4],
      ['i32', -1],
      ['u8', 4],
      ['bool', 1],
      ['list', [1, 2], 'u32'],
      ['list', ['a', 'b'], 'text'],
      ['list', [], 'text'],
    ]) {
      if (type !== type_of(pair) || type === 'list') add_value(key, type, content, element);
    }
  }
  vocabularies(pairs, add, set);
  templates(add, set);
  weights(tensors, add);
  return list;
}

function vocabularies(pairs, add, set) {
  const key = 'tokenizer.ggml.tokens';
  const own = texts_of(pairs.find((pair) => key_of(pair) === key));
  const tokens = (name, change) =>
    add(`tokens: ${name}`, (parts) => set(parts, key, value(key, 'list', change([...own]), 'text')));
  const from = (start, make) => (list) => list.map((token, i) => (i >= start ? make(i, token) : token));
  tokens('all the same', from(0, () => 'same'));
  tokens('two the same', (list) => Object.assign(list, { 500: list[400] }));
  tokens('one is empty', (list) => Object.assign(list, { 500: '' }));
  tokens('all are empty', from(0, () => ''));
  tokens('an empty one and its name', (list) => Object.assign(list, { 500: '', 501: '[EMPTY_500]' }));
  tokens('none', () => []);
  tokens('one', (list) => list.slice(0, 1));
  tokens('one less', (list) => list.slice(0, 1023));
  tokens('one more', (list) => [...list, 'zzzz']);
  tokens('twice as many', (list) => [...list, ...list.map((_, i) => `zz${i}`)]);
  const bytes = (...list) => Buffer.from(list);
  const two = (i) => [i & 0xff, (i >> 8) & 0xff];
  tokens('200 that are no UTF-8, different ones', from(824, (i) => bytes(0xff, 0xfe, 0xfd, ...two(i))));
  tokens('200 that are no UTF-8, the same', from(824, () => bytes(0xff, 0xfe, 0xfd)));
  tokens('all are no UTF-8', from(0, (i) => bytes(0xff, 0xfe, 0xfd, ...two(i))));
  tokens('half of a character', from(500, (i) => bytes(0xe2, 0x82, ...two(i))));
  tokens('surrogates', from(500, (i) => bytes(0xed, 0xa0, 0x80, 0x61 + (i % 26), ...two(i))));
  tokens('zero bytes', from(500, (i) => bytes(0, ...two(i), 0)));
  tokens('long ones', from(824, (i) => `${i}`.padEnd(20_000, 'x')));
  tokens('one of 8 MB', (list) => Object.assign(list, { 900: 'x'.repeat(8 << 20) }));
  tokens('byte tokens that are none', from(500, (i) => `<0x${i}>`));
  tokens('blanks and line breaks', from(500, (i) => ' '.repeat(i) + '\n'));
  for (const [name, list] of [
    ['odd', ['a', 'ab', '', ' ', 'a b c', 'a  b', ' a', 'a ']],
    ['none', []],
    ['the same', Array(5000).fill('e r')],
    ['long', Array(50).fill(`${'a'.repeat(10_000)} ${'b'.repeat(10_000)}`)],
    ['unknown', Array.from({ length: 2000 }, (_, i) => `q${i} z${i}`)],
    ['no UTF-8', Array.from({ length: 200 }, (_, i) => Buffer.from([0xff, i, 0x20, 0xfe]))],
  ]) {
    const key = 'tokenizer.ggml.merges';
    add(`merges: ${name}`, (parts) => set(parts, key, value(key, 'list', list, 'text')));
  }
  for (const [name, list] of [
    ...[0, 2, 3, 4, 5, 6, 7, -1, 0x7fffffff].map((kind) => [`all ${kind}`, Array(1024).fill(kind)]),
    ['too few', [1, 1]],
    ['too many', Array(5000).fill(1)],
  ]) {
    const key = 'tokenizer.ggml.token_type';
    add(`token_type: ${name}`, (parts) => set(parts, key, value(key, 'list', list, 'i32')));
  }
  for (const [name, list] of [
    ['NaN', Array(1024).fill(NaN)],
    ['infinite', Array(1024).fill(Infinity)],
    ['too few', [1]],
  ]) {
    const key = 'tokenizer.ggml.scores';
    add(`scores: ${name}`, (parts) => set(parts, key, value(key, 'list', list, 'f32')));
    add(`scores: ${name}, sentencepiece`, (parts) => {
      set(parts, key, value(key, 'list', list, 'f32'));
      set(parts, 'tokenizer.ggml.model', value('tokenizer.ggml.model', 'text', 'llama'));
    });
  }
  for (const list of [[-1], [1024], Array(1024).fill(0), Array.from({ length: 1024 }, (_, i) => i)]) {
    const key = 'tokenizer.ggml.suppress_tokens';
    add(`suppress_tokens: ${list.length} from ${list[0]}`, (parts) => set(parts, key, value(key, 'list', list, 'i32')));
  }
}

function templates(add, set) {
  const many = 50_000;
  const deep = `${'('.repeat(95)}1${'+1'.repeat(900)}${')'.repeat(95)}`;
  const key = 'tokenizer.chat_template';
  for (const [name, text] of [
    ['not', `{{ ${'not '.repeat(many)}1 }}`],
    ['minus', `{{ ${'-'.repeat(many)}1 }}`],
    ['pipes', `{{ 'a'${'|upper'.repeat(many)} }}`],
    ['brackets', `{{ ${'('.repeat(many)}1${')'.repeat(many)} }}`],
    ['lists', `{{ ${'['.repeat(many)}1${']'.repeat(many)} }}`],
    ['members', `{{ messages${'.a'.repeat(many)} }}`],
    ['sums', `{{ 1${'+1'.repeat(many)} }}`],
    ['choices', `{{ ${'1 if 0 else '.repeat(many)}1 }}`],
    ['if', '{% if 1 %}'.repeat(many) + '{% endif %}'.repeat(many)],
    ['elif', `{% if 0 %}${'{% elif 0 %}'.repeat(many)}{% endif %}`],
    ['for', '{% for m in messages %}'.repeat(many) + '{% endfor %}'.repeat(many)],
    ['set', '{% set x %}'.repeat(many) + '{% endset %}'.repeat(many)],
    ['deep within the bounds', `${'{% if 1 %}'.repeat(95)}{{ ${deep} }}${'{% endif %}'.repeat(95)}`],
    ['not within the bounds', `{{ ${'not '.repeat(1990)}1 }}`],
    ['pipes within the bounds', `{{ 'a'${'|upper'.repeat(990)} }}`],
    ['members within the bounds', `{{ (messages${'[0:]'.repeat(490)})|length }}`],
    ['choices within the bounds', `{{ ${'1 if 0 else '.repeat(490)}1 }}`],
    ['2 MB', 'x'.repeat(2 << 20)],
    ['empty', ''],
    ['no UTF-8', Buffer.from([0x7b, 0x7b, 0xff, 0xfe, 0x7d, 0x7d])],
    ['zero', '{{ "a\0b" }}'],
  ]) {
    add(`template: ${name}`, (parts) => set(parts, key, value(key, 'text', text)));
  }
}

function weights(tensors, add) {
  const tensor = (name, part, change) =>
    add(`${part}: ${name}`, (parts) => change(parts.tensors.find((one) => one.name === part), parts) && undefined);
  const f16 = { BF16: 30, I16: 25 };
  const f32 = { I32: 26 };
  const blocks = ['attn_q', 'attn_v', 'ffn_down', 'attn_norm'].map((name) => `blk.0.${name}.weight`);
  for (const part of ['token_embd.weight', ...blocks, 'output_norm.weight']) {
    const own = tensors.find((one) => one.name === part);
    for (const [name, type] of Object.entries(own.type === 1 ? f16 : f32)) {
      tensor(name, part, (one) => (one.type = type));
    }
    tensor('is missing', part, (one, parts) => (parts.tensors = parts.tensors.filter((other) => other !== one)));
    const data = Buffer.alloc(0);
    tensor('has no rows', part, (one) => Object.assign(one, { dimensions: [own.dimensions[0], 0], data }));
    tensor('has no columns', part, (one) => Object.assign(one, { dimensions: [0, 4], data }));
    tensor('is one number', part, (one) => Object.assign(one, { dimensions: [1], data: Buffer.alloc(4) }));
    tensor('is turned', part, (one) => (one.dimensions = [...own.dimensions].reverse()));
    tensor('has four dimensions', part, (one) => (one.dimensions = [...own.dimensions, 1, 1, 1].slice(0, 4)));
    tensor('is half as large', part, (one) => {
      one.dimensions = own.dimensions.map((size, i) => (i === own.dimensions.length - 1 ? size / 2 : size));
      one.data = own.data.subarray(0, own.data.length / 2);
    });
    tensor('no numbers', part, (one) => (one.data = Buffer.alloc(own.data.length, 0xff)));
    tensor('zeros', part, (one) => (one.data = Buffer.alloc(own.data.length)));
    tensor('infinite', part, (one) => {
      const infinity = own.type === 1 ? [0, 0x7c] : [0, 0, 0x80, 0x7f];
      one.data = Buffer.alloc(own.data.length, Buffer.from(infinity));
    });
    tensor('with another name', part, (one) => (one.name = `x${part.slice(1)}`));
  }
  add('all weights are no numbers', (parts) => {
    for (const one of parts.tensors) one.data = Buffer.alloc(one.data.length, 0xff);
  });
  add('a tensor too much', (parts) => void parts.tensors.push({ ...parts.tensors[2], name: 'blk.4.attn_q.weight' }));
  const more = (name, size, data) =>
    add(`${name} that is no number`, (parts) => void parts.tensors.push({ name, dimensions: [size], type: 0, data }));
  more('rope_freqs.weight', 32, Buffer.alloc(128, 0xff));
  more('blk.0.attn_q.bias', 256, Buffer.alloc(1024, 0xff));
}
