// Every option with every odd value.
import { renamed } from '../e2e/gguf.mjs';
import { attacks } from './attack.mjs';

const options = [
  ...['num_keep', 'seed', 'num_predict', 'top_k', 'top_p', 'min_p', 'typical_p', 'repeat_last_n', 'temperature'],
  ...['repeat_penalty', 'presence_penalty', 'frequency_penalty', 'stop', 'draft_num_predict', 'think'],
  ...['mirostat', 'mirostat_tau', 'penalize_newline', 'numa', 'vocab_only', 'logits_all'],
];
const loading = ['num_ctx', 'num_batch', 'num_gpu', 'main_gpu', 'use_mmap', 'use_mlock', 'num_thread', 'low_vram', 'f16_kv'];
const values = ['0', '-1', '1', '-0.0', '0.5', '2147483647', '2147483648', '-2147483649', '4294967296', '9223372036854775807', '18446744073709551616', '1e18', '-1e18', '1e308', '-1e308', '5e-324', '1e999', '"x"', '""', 'null', 'true', '[]', '[""]', '[null]', '{}', '"\\u0000"', '["a","a"]'];
const number_values = values.slice(0, 17);

// As text, so that numbers are sent as they are written.
const ask = (arena, model, pairs) =>
  arena.ask('POST', '/api/generate', `{"model":"${model}","prompt":"Count to 3","stream":false,"options":{"num_predict":3${pairs.map(([name, value]) => `,"${name}":${value}`).join('')}}}`).then(({ status }) => status);
// As in Ollama, a value of the wrong type is a 500 on its own routes.
const wrong_type = ['stop', 'think'];
const without = (pairs) => pairs.filter(([name]) => name !== 'num_predict');
const prepare = (server) => server.create('busy', renamed('Busy'));

async function load_anew(arena, pairs) {
  await arena.ask('POST', '/api/generate', { model: 'busy', keep_alive: 0 });
  return ask(arena, 'busy', pairs);
}
const each_loading = (names, given) => async (arena) => {
  const found = [];
  for (const name of names) for (const value of given) found.push(await load_anew(arena, [[name, value]]));
  return found;
};

attacks('options', { prepare }, [
  {
    name: 'each with the greatest and the least number',
    short: true,
    within_s: 60,
    attack: (arena) =>
      arena.statuses(without(options.filter((name) => !wrong_type.includes(name)).flatMap((name) => ['1e18', '-1e18', '1e308', '-1e308'].map((value) => [name, value]))).map((pair) => () => ask(arena, 'cria', [pair])), 4),
  },
  {
    name: 'num_thread, num_batch, num_ctx, main_gpu in the request that loads',
    short: true,
    status: [200, 400, 507],
    within_s: 90,
    attack: async (arena) => {
      const found = [];
      for (const pair of [['num_thread', '100000'], ['num_batch', '2147483647'], ['num_ctx', '1e18'], ['num_ctx', '-5'], ['main_gpu', '1e18'], ['num_gpu', '-1e18'], ['num_batch', '0'], ['num_thread', '-1']])
        found.push(await load_anew(arena, [pair]));
      return found;
    },
  },
  {
    name: 'each with each value',
    status: [200, 400, 500],
    within_s: 300,
    attack: (arena) => arena.statuses(options.flatMap((name) => values.map((value) => () => ask(arena, 'cria', [[name, value]]))), 4),
  },
  ...loading.map((name) => ({
    name: `${name} with each value, in the request that loads`,
    status: [200, 400, 500, 507], // 500: the machine has not got that
    within_s: 180,
    attack: each_loading([name], number_values),
  })),
  {
    name: 'all at once, at random, seeds 1 to 200',
    within_s: 300,
    attack: (arena) =>
      arena.statuses(
        Array.from({ length: 200 }, (_, seed) => () => {
          let state = seed + 1;
          const next = (below) => ((state = (Math.imul(state, 1664525) + 1013904223) >>> 0) >>> 8) % below;
          return ask(arena, 'cria', without(options.filter((name) => next(2) && !wrong_type.includes(name)).map((name) => [name, number_values[next(number_values.length)]])));
        }),
        4,
      ),
  },
  {
    name: 'as parameters of a model',
    status: [200, 400, 500, 507],
    within_s: 120,
    attack: async (arena) => {
      const found = [];
      for (const [name, value] of [['num_thread', 100_000], ['num_ctx', 1e15], ['num_batch', -1], ['temperature', 1e300], ['stop', 'x'], ['num_ctx', 'x'], ['nonsense', 1]]) {
        found.push((await arena.ask('POST', '/api/create', { model: 'odd', from: 'cria', parameters: { [name]: value }, stream: false })).status);
        if (found.at(-1) === 200) found.push(await ask(arena, 'odd', []));
        await arena.remove('odd');
      }
      return found;
    },
  },
  {
    name: 'requests with odd headers of their own',
    short: true,
    status: [200, 400, 408, 503],
    attack: (arena) => {
      const headers = [
        ['x-request-timeout', '0'],
        ['x-request-timeout', '-1'],
        ['x-request-timeout', '1e300h'],
        ['x-request-timeout', 'x'],
        ['x-priority', 'highest'],
        ['x-client-id', 'c'.repeat(60_000)],
        ['x-request-id', 'r'.repeat(60_000)],
        ['traceparent', 't'.repeat(60_000)],
        ['x-heartbeat', '1e-300'],
        ['x-heartbeat', '-5'],
      ];
      return arena.statuses(headers.map(([name, value]) => () => arena.generate({}, { headers: { [name]: value } })));
    },
  },
]);
