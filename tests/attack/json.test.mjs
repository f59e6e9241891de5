// Bodies that are JSON, or nearly, and made to be expensive. Which words refuse them: ../e2e/hostile.test.mjs.
import { attacks, mib } from './attack.mjs';

const nested = (depth, open = '[', close = ']', inner = '') => open.repeat(depth) + inner + close.repeat(depth);
const keys = (count, name = (i) => `o${i}`) => Array.from({ length: count }, (_, i) => `"${name(i)}":1`).join();
const routes = [
  '/api/generate',
  '/api/chat',
  '/api/embed',
  '/api/embeddings',
  '/api/show',
  '/api/create',
  '/api/copy',
  '/api/pull',
  '/api/push',
  '/v1/chat/completions',
  '/v1/completions',
  '/v1/embeddings',
  '/v1/responses',
  '/v1/messages',
  '/v1/messages/count_tokens',
];
const post = (arena, body, target = '/api/generate') => arena.ask('POST', target, body).then(({ status }) => status);
const to_all = (arena, body, targets = routes) => arena.statuses(targets.map((target) => () => post(arena, body, target)));
const refused = [400, 404, 413]; // /api/show of a model that is not there may say so first
const in_generate = (field, value) => `{"model":"cria","prompt":"x","stream":false,"options":{"num_predict":4},"${field}":${value}}`;
const in_chat = (message, rest = '') =>
  `{"model":"cria","stream":false,"options":{"num_predict":4},"messages":[${message}]${rest}}`;

// Texts of 64 MiB less a little, so that it is their content that counts and not their size.
const large = 63 * mib;
const larges = {
  'lists that open': () => '['.repeat(large),
  'objects that open': () => '{"a":'.repeat(large / 5),
  'empty lists': () => `[${'[],'.repeat(large / 3)}[]]`,
  'empty objects': () => `[${'{},'.repeat(large / 3)}{}]`,
  digits: () => '1'.repeat(large),
  'small numbers': () => `[${'0,'.repeat(large / 2)}0]`,
  'empty strings': () => `[${'"",'.repeat(large / 3)}""]`,
  'one string': () => `"${'x'.repeat(large)}"`,
  'escaped characters': () => `"${'\\u0000'.repeat(large / 6)}"`,
  'halves of surrogates': () => `"${'\\ud800'.repeat(large / 6)}"`,
  blanks: () => `${' '.repeat(large)}1`,
  commas: () => `[${','.repeat(large)}]`,
  quotes: () => '"'.repeat(large),
  backslashes: () => `"${'\\'.repeat(large)}"`,
  'one key again and again': () => `{${'"a":1,'.repeat(large / 6)}"a":1}`,
  'keys that are long': () => `{${`"${'k'.repeat(100_000)}":1,`.repeat(large / 100_005)}"a":1}`,
};

const odd_texts = [
  '',
  ' ',
  'null',
  'true',
  '[]',
  '"x"',
  '1e999999999',
  '{',
  '{"model"',
  '{"model":"cria"',
  '{"model":"cria",}',
  '{"model":"cria"}}',
  '{"model":"cria"}{"model":"cria"}',
  '\ufeff{"model":"cria","prompt":"","stream":false}',
  `{"model":"cria"\u0000}`,
  "{'model':'cria'}",
  '{"model":NaN}',
  '{"model":-}',
  '{"model":01}',
  '{"model":1e}',
  '{"model":{"a":1},"prompt":["x"],"messages":7}',
  '{"model":"cria","prompt":5}',
  '{"model":"cria","messages":[[[]]]}',
  '{"model":"cria","messages":[{"role":{},"content":[]}]}',
  '{"model":"cria","messages":{"role":"user"}}',
  '{"model":"cria","options":[]}',
  '{"model":"cria","keep_alive":{}}',
  '{"model":"cria","prompt":"x","keep_alive":1e308,"stream":false,"options":{"num_predict":1}}',
  '{"model":"","prompt":"x"}',
  `{"model":"${'a/'.repeat(10_000)}","prompt":"x"}`,
  '{"model":"../../../etc/passwd","prompt":"x"}',
  '{"model":"cria\\u0000x","prompt":"x"}',
];

const characters = ['\\ud800', '\\udc00\\ud800', '\\uD83D', 'a\\u0000b', '\\u202e', '\\ufffe', '\\u001b[2J'];
const raw_bytes = ['ff', 'c080', 'eda080', 'f4908080', 'e282', '80', 'f0'];

attacks('json', {}, [
  {
    name: '100,000 deep',
    short: true,
    status: [400],
    attack: async (arena) => {
      const deep = nested(100_000);
      return arena.statuses([
        () => post(arena, in_generate('format', `{"a":${deep}}`)),
        () => post(arena, in_generate('format', deep)),
        () => post(arena, in_generate('zzz', deep)),
        () => post(arena, in_generate('options', nested(100_000, '{"a":', '}', '1'))),
        () => post(arena, in_chat('', `,"tools":${deep}`), '/api/chat'),
        () => post(arena, in_chat(`{"role":"user","content":${deep}}`), '/api/chat'),
        () => post(arena, `{"model":"cria","input":${deep}}`, '/v1/embeddings'),
      ]);
    },
  },
  {
    name: '20,000 and 1,000,000 deep, on every route',
    status: refused,
    attack: async (arena) => {
      const found = [];
      for (const depth of [20_000, 1_000_000]) {
        found.push(...(await to_all(arena, `{"model":"cria","messages":[],"zzz":${nested(depth)}}`)));
        found.push(...(await to_all(arena, nested(depth, '{"a":', '}', '1'))));
      }
      return found;
    },
  },
  {
    name: '100,000 deep in a text that holds JSON',
    short: true,
    status: [400],
    attack: async (arena) => {
      const call = (text) => ({ role: 'assistant', content: '', tool_calls: [{ id: 'a', type: 'function', function: { name: 'f', arguments: text } }] });
      const body = (text) => ({ model: 'cria', messages: [call(text), { role: 'user', content: 'x' }] });
      return arena.statuses(
        [nested(100_000), nested(100_000, '{"a":', '}', '1'), `{${keys(200_000)}}`].map(
          (text) => () => post(arena, body(text), '/v1/chat/completions'),
        ),
      );
    },
  },
  {
    name: '200,000 keys in one object',
    short: true,
    status: [400, 404],
    attack: async (arena) => {
      const many = `{${keys(200_000)}}`;
      return arena.statuses([
        () => post(arena, `{"model":"nope",${keys(200_000)}}`, '/api/show'),
        () => post(arena, in_generate('options', many)),
        () => post(arena, in_generate('format', `{"type":"object","properties":${many}}`)),
        () => post(arena, in_generate('zzz', many)),
      ]);
    },
  },
  {
    name: '1,000,000 keys, on every route',
    status: refused,
    attack: (arena) => to_all(arena, `{"model":"nope",${keys(1_000_000)}}`),
  },
  {
    name: 'as many keys as may be, 100 times over',
    status: [400, 404],
    attack: async (arena) => {
      const one = `{${keys(10_000)}}`;
      return arena.statuses([
        () => post(arena, `{"model":"nope","a":[${Array(100).fill(one).join()}]}`, '/api/show'),
        () => post(arena, in_generate('options', `{${keys(16_000)}}`)),
        // Keys that differ in their last character, or in none but case.
        () => post(arena, `{"model":"nope",${keys(10_000, (i) => 'k'.repeat(2000) + i)}}`, '/api/show'),
        () => post(arena, `{${Array.from({ length: 10_000 }, (_, i) => `"${i % 2 ? 'model' : 'MODEL'}":"nope"`).join()}}`, '/api/show'),
      ]);
    },
  },
  ...Object.entries(larges).map(([name, make]) => ({
    name: `63 MiB: ${name}`,
    short: ['lists that open', 'empty lists'].includes(name),
    status: [400, 413],
    memory_mib: 640, // the body, and what is made of it up to the bounds
    attack: (arena) => {
      const text = make();
      return arena.statuses([() => post(arena, `{"model":5,"a":${text}}`), () => post(arena, text)]);
    },
  })),
  {
    name: '63 MiB each, 16 at the same time',
    status: [400, 413, 429, 503],
    memory_mib: 1600,
    within_s: 120,
    attack: (arena) => {
      const names = ['empty lists', 'one string', 'halves of surrogates', 'small numbers'];
      const texts = names.map((name) => Buffer.from(`{"model":5,"a":${larges[name]()}}`));
      return arena.statuses(Array.from({ length: 16 }, (_, i) => () => post(arena, texts[i % 4])), 16);
    },
  },
  {
    name: 'more than may be sent',
    status: [413],
    attack: (arena) => arena.statuses([() => post(arena, 'x'.repeat(65 * mib)), () => post(arena, `"${'x'.repeat(200 * mib)}"`)]),
  },
  {
    name: 'numbers that are none or have no end',
    short: true,
    status: [400],
    attack: (arena) => {
      const numbers = ['9'.repeat(2_000_000), `1e${'9'.repeat(1_000_000)}`, `0.${'0'.repeat(2_000_000)}1`, `-${'1'.repeat(400)}e-400`];
      return arena.statuses(numbers.map((number) => () => post(arena, in_generate('model', number))));
    },
  },
  {
    name: 'halves of surrogates and bytes that are no text',
    short: true,
    attack: async (arena) => {
      const strings = characters.map((text) => Buffer.from(in_generate('system', `"${text}"`)));
      const bytes = raw_bytes.map((hex) =>
        Buffer.concat([Buffer.from('{"model":"cria","stream":false,"options":{"num_predict":4},"prompt":"'), Buffer.from(hex, 'hex'), Buffer.from('"}')]),
      );
      return arena.statuses([...strings, ...bytes].map((body) => () => post(arena, body)));
    },
  },
  {
    name: 'what is no request',
    short: true,
    status: [200, 400, 404],
    attack: (arena) => arena.statuses(odd_texts.map((text) => () => post(arena, text))),
  },
  {
    name: 'what is no request, on every route',
    status: [200, 400, 404, 422, 502],
    within_s: 120,
    attack: (arena) =>
      arena.statuses(
        // A name that could be pulled would be asked for in the world.
        odd_texts.flatMap((text) => routes.filter((route) => !/pu(ll|sh)/.test(route)).map((target) => () => post(arena, text, target))),
        4,
      ),
  },
  {
    name: 'a request that ends anywhere',
    attack: (arena) => {
      const whole = in_chat('{"role":"user","content":"h\\u00e9\\ud83d\\ude00"}', ',"format":{"type":"string","maxLength":3}');
      return arena.statuses(Array.from({ length: whole.length }, (_, end) => () => post(arena, whole.slice(0, end), '/api/chat')), 4);
    },
  },
]);
