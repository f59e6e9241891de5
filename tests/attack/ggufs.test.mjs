// GGUF files that pass for models: values that no engine takes, words that are none, and bytes changed at random, each
// by a seed that its case names. DROVER_ATTACK_SEED=… begins with another one.
import { cria, renamed } from '../e2e/gguf.mjs';
import { put_together, take_apart } from '../e2e/gguf_parts.mjs';
import { attacks, short } from './attack.mjs';

const type = { uint32: 4, int32: 5, float32: 6, string: 8, array: 9 };
const u32 = (value) => Buffer.from(Uint32Array.of(value).buffer);
const u64 = (value) => Buffer.from(BigUint64Array.of(BigInt(value)).buffer);
const f32 = (value) => Buffer.from(Float32Array.of(value).buffer);
const text = (value) => Buffer.concat([u64(Buffer.byteLength(value)), Buffer.from(value)]);
const strings = (list) => Buffer.concat([u32(type.string), u64(list.length), ...list.map(text)]);
const numbers = (kind, list) => Buffer.concat([u32(kind), u64(list.length), ...list.map(u32)]);

// cria with a value in place of its own; `bytes` undefined: without it.
function with_value(key, kind, bytes) {
  const parts = take_apart(cria());
  const head = text(key);
  const pairs = parts.pairs.filter((pair) => !pair.subarray(0, head.length).equals(head));
  if (bytes) pairs.push(Buffer.concat([head, u32(kind), bytes]));
  return put_together({ ...parts, pairs });
}
const uint = (key, value) => () => with_value(key, type.uint32, u32(value));
const float = (key, value) => () => with_value(key, type.float32, f32(value));
const word = (key, value) => () => with_value(key, type.string, text(value));
const without = (key) => () => with_value(key);
const words = (make) => () => with_value('tokenizer.ggml.tokens', type.array, strings(Array.from({ length: 1024 }, (_, i) => make(i))));
// Words of bytes that are no UTF-8.
const odd_words = () => {
  const one = Buffer.concat([u64(3), Buffer.from([0xff, 0xfe, 0xfd])]);
  const list = Buffer.concat([u32(type.string), u64(1024), ...Array.from({ length: 1024 }, (_, i) => (i < 200 ? one : text(`w${i}`)))]);
  return with_value('tokenizer.ggml.tokens', type.array, list);
};
function with_tensors(change) {
  return () => {
    const parts = take_apart(cria());
    change(parts.tensors);
    return put_together(parts);
  };
}

// What has to be refused when the model is made, as far as the file says it plainly.
const refused = {
  'block_count 0': uint('llama.block_count', 0),
  'block_count 1,000,000': uint('llama.block_count', 1_000_000),
  'block_count 2^32-1': uint('llama.block_count', 0xffffffff),
  'epsilon NaN': float('llama.attention.layer_norm_rms_epsilon', NaN),
  'epsilon -1': float('llama.attention.layer_norm_rms_epsilon', -1),
  'all tokens equal': words(() => 'same'),
  'a tokenizer that is none': word('tokenizer.ggml.model', 'none'),
  'tokens that are no UTF-8': odd_words,
};
const odd = {
  'epsilon infinite': float('llama.attention.layer_norm_rms_epsilon', Infinity),
  'block_count 5 of 4': uint('llama.block_count', 5),
  'head_count 0': uint('llama.attention.head_count', 0),
  'head_count 3': uint('llama.attention.head_count', 3),
  'head_count 2^32-1': uint('llama.attention.head_count', 0xffffffff),
  'head_count_kv 0': uint('llama.attention.head_count_kv', 0),
  'head_count_kv 7': uint('llama.attention.head_count_kv', 7),
  'embedding_length 0': uint('llama.embedding_length', 0),
  'embedding_length 2^31': uint('llama.embedding_length', 0x80000000),
  'context_length 0': uint('llama.context_length', 0),
  'context_length 2^32-1': uint('llama.context_length', 0xffffffff),
  'feed_forward_length 1': uint('llama.feed_forward_length', 1),
  'rope dimensions 0': uint('llama.rope.dimension_count', 0),
  'rope dimensions 2^31': uint('llama.rope.dimension_count', 0x80000000),
  'rope base NaN': float('llama.rope.freq_base', NaN),
  'rope base 0': float('llama.rope.freq_base', 0),
  'vocab_size 1': uint('llama.vocab_size', 1),
  'vocab_size 2^32-1': uint('llama.vocab_size', 0xffffffff),
  'an architecture that is none': word('general.architecture', 'nonsense'),
  'another architecture': word('general.architecture', 'mamba'),
  'alignment 0': uint('general.alignment', 0),
  'alignment 3': uint('general.alignment', 3),
  'alignment 2^31': uint('general.alignment', 0x80000000),
  'no tokens': without('tokenizer.ggml.tokens'),
  'no merges': without('tokenizer.ggml.merges'),
  'no tokenizer': without('tokenizer.ggml.model'),
  'empty tokens': words(() => ''),
  'tokens of 100 KB': words((i) => `${i}`.padEnd(i < 100 ? 100_000 : 5, 'x')),
  'tokens with line breaks and colours': words((i) => `\u001b[31m\n${i}`),
  'one token type': () => with_value('tokenizer.ggml.token_type', type.array, numbers(type.int32, [1])),
  'token types that are none': () => with_value('tokenizer.ggml.token_type', type.array, numbers(type.int32, Array(1024).fill(77))),
  'merges that are none': () => with_value('tokenizer.ggml.merges', type.array, strings(Array.from({ length: 5000 }, (_, i) => `nothing${i}`))),
  'an end of text that is no token': uint('tokenizer.ggml.eos_token_id', 0xffffffff),
  'a beginning that is no token': uint('tokenizer.ggml.bos_token_id', 5000),
  'a pre-tokenizer that is none': word('tokenizer.ggml.pre', 'nonsense'),
  'a name with a line break': word('general.name', 'a\n2026-01-01T00:00:00.000 error  forged'),
  'a tensor of another shape': with_tensors((tensors) => (tensors.find(({ name }) => name === 'blk.0.attn_q.weight').dimensions = [256, 1])),
  'a tensor without elements': with_tensors((tensors) => Object.assign(tensors[1], { dimensions: [0], data: Buffer.alloc(0) })),
  'a tensor twice': with_tensors((tensors) => tensors.push(tensors[1])),
  'a tensor of a type that is none': with_tensors((tensors) => (tensors[1].type = 99)),
  'a tensor less': with_tensors((tensors) => tensors.splice(3, 1)),
  'weights that are NaN': with_tensors((tensors) => tensors.forEach(({ data }, i) => (tensors[i].data = Buffer.alloc(data.length, 0xff)))),
  'no weights at all': () => put_together({ ...take_apart(cria()), tensors: [] }),
};

function generator(seed) {
  let state = seed >>> 0;
  return (below) => {
    state = (Math.imul(state ^ (state >>> 15), 0x2c1b3c6d) + 0x9e3779b9) >>> 0;
    return state % below;
  };
}

// Changes some bytes of the head, where counts, lengths and names are; one in four files also loses its end.
function mutated(seed) {
  const file = renamed('Muta'); // what has changed in nothing is no victim's model
  const next = generator(seed);
  const head = file.indexOf('token_embd.weight') + 4000;
  for (let left = 1 + next(4); left > 0; left--) {
    const at = next(4) === 0 ? next(200) : next(head);
    if (next(2)) file[at] = [0, 1, 0x7f, 0x80, 0xff][next(5)];
    else file[at] ^= 1 << next(8);
  }
  return next(4) === 0 ? file.subarray(0, next(file.length)) : file;
}

async function make_and_ask(arena, file) {
  const created = await arena.create('bomb', file);
  const found = [created.status];
  if (created.status === 200) {
    found.push((await arena.generate({ model: 'bomb' })).status);
    // What a stranger can ask about it.
    found.push((await arena.ask('POST', '/api/show', { model: 'bomb', verbose: true })).status);
  }
  await arena.remove('bomb');
  return found;
}

const first_seed = Number(process.env.DROVER_ATTACK_SEED ?? 1);
const seeds_per_case = 10;
const seeds = (count) => Array.from({ length: count / seeds_per_case }, (_, i) => first_seed + i * seeds_per_case);
const shorts = ['head_count 0', 'vocab_size 1', 'alignment 0', 'empty tokens', 'a tensor of another shape'];

attacks('ggufs', {}, [
  ...Object.entries(refused).map(([name, make]) => ({
    name,
    short: true,
    status: [400],
    attack: async (arena) => {
      const { status } = await arena.create('bomb', make());
      const found = status === 200 ? [status, (await arena.generate({ model: 'bomb' })).status] : [status];
      await arena.remove('bomb');
      return found;
    },
  })),
  ...Object.entries(odd).map(([name, make]) => ({
    name,
    short: shorts.includes(name),
    status: [200, 400, 500],
    within_s: 45,
    attack: (arena) => make_and_ask(arena, make()),
  })),
  ...seeds(short ? 10 : 200).map((seed) => ({
    name: `changed at random, seeds ${seed} to ${seed + seeds_per_case - 1}`,
    short: true,
    status: [200, 400, 404, 500],
    within_s: 120,
    attack: async (arena) => {
      const found = [];
      for (let i = 0; i < seeds_per_case; i++) found.push(...(await make_and_ask(arena, mutated(seed + i))));
      return found;
    },
  })),
  {
    name: 'quantizing what is no model',
    status: [200, 400, 500],
    within_s: 60,
    attack: async (arena) => {
      const found = [];
      for (const make of [refused['epsilon NaN'], refused['block_count 1,000,000'], odd['weights that are NaN'], odd['a tensor without elements'], () => mutated(7)]) {
        found.push((await arena.create('bomb', make(), { quantize: 'Q4_K_M' })).status);
        await arena.remove('bomb');
      }
      return found;
    },
  },
]);
