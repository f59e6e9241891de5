// Schemas, patterns and tools whose grammars would cost more than they are worth. Which words refuse them, and what is
// just within the bounds: ../e2e/hostile.test.mjs.
import http from 'node:http';

import { attacks, short } from './attack.mjs';

const string = (rest) => ({ type: 'string', ...rest });
const range = (count, make) => Array.from({ length: count }, (_, i) => make(i));
const properties = (count, make, required = []) => ({
  type: 'object',
  properties: Object.fromEntries(range(count, (i) => [`p${i}`, make(i)])),
  required,
});
const nested = (depth, open, close, inner) => open.repeat(depth) + inner + close.repeat(depth);
const parsed = (...parts) => JSON.parse(nested(...parts));
// a0 is twice a1, which is twice a2 …
const doubling = (depth, keyword) => ({
  $ref: '#/$defs/a0',
  $defs: Object.fromEntries(
    range(depth, (i) => [`a${i}`, i + 1 < depth ? { [keyword]: [{ $ref: `#/$defs/a${i + 1}` }, { $ref: `#/$defs/a${i + 1}` }] } : { type: 'integer' }]),
  ),
});
const doubling_properties = (depth) => ({
  $ref: '#/$defs/a0',
  $defs: Object.fromEntries(
    range(depth, (i) => [`a${i}`, i + 1 < depth ? properties(2, () => ({ $ref: `#/$defs/a${i + 1}` }), ['p0', 'p1']) : { type: 'integer' }]),
  ),
});

const reversed = [
  string({ minLength: 5, maxLength: 2 }),
  { type: 'array', items: {}, minItems: 5, maxItems: 2 },
  { type: 'integer', minimum: 7, maximum: 3 },
  string({ pattern: '^a{5,2}$' }),
  { anyOf: [string({ minLength: 5, maxLength: 2 }), { type: 'integer' }] },
  { $ref: '#/$defs/x', $defs: { x: string({ minLength: 5, maxLength: 2 }) } },
  parsed(20, '{"type":"object","properties":{"a":', '}}', '{"type":"array","minItems":9,"maxItems":1}'),
];
// What nothing satisfies, or the engine does not look at: an error or an answer, but at once.
const impossible = [
  { type: 'object', minProperties: 5, maxProperties: 2 },
  { type: 'integer', exclusiveMinimum: 3, exclusiveMaximum: 3 },
  { type: 'number', minimum: 1e300, maximum: -1e300 },
  string({ pattern: '^[z-a]$' }),
  { type: 'array', prefixItems: [{}, {}, {}], maxItems: 1, items: false },
  { allOf: [string({ minLength: 5 }), string({ maxLength: 2 })] },
  { allOf: [{ type: 'integer' }, { type: 'string' }] },
  { enum: [] },
  { not: {} },
  false,
];

const large = {
  'enum of 100,000': { enum: range(100_000, (i) => `entry ${i}`) },
  'enum of 1,000 long texts': { enum: range(1000, (i) => `${i} `.padEnd(900, 'x')) },
  'const of 900 KB': { const: 'x'.repeat(900_000) },
  '3,000 properties': properties(3000, () => ({ type: 'integer' })),
  '1,500 properties': properties(1500, () => ({ type: 'integer' })),
  '190 optional properties, in each of 50': properties(50, () => properties(190, () => ({ type: 'integer' }))),
  'anyOf of 20,000': { anyOf: range(20_000, (i) => ({ const: i })) },
  'anyOf of 900 that begin alike': { anyOf: range(900, (i) => ({ const: `${'same '.repeat(20)}${i}` })) },
  'oneOf of oneOf of oneOf': { oneOf: range(20, () => ({ oneOf: range(20, () => ({ oneOf: range(20, () => string({})) })) })) },
  '10,000 definitions': { $ref: '#/$defs/p1', $defs: properties(10_000, () => string({})).properties },
  '1,000 patternProperties': { type: 'object', patternProperties: properties(1000, () => string({})).properties },
  'a name of 1 MB': { type: 'object', properties: { ['n'.repeat(1_000_000)]: {} } },
  'names with quotes and lines': { type: 'object', properties: Object.fromEntries(range(200, (i) => [`"\n\\${i}]|()*::=`, {}])) },
  'items nested 500 deep': parsed(500, '{"type":"array","items":', '}', '{}'),
  'additionalProperties nested 500 deep': parsed(500, '{"type":"object","additionalProperties":', '}', '{}'),
  'not nested 500 deep': parsed(500, '{"not":', '}', '{}'),
};

const products = {
  'references that double, 30 deep (anyOf)': doubling(30, 'anyOf'),
  'references that double, 30 deep (allOf)': doubling(30, 'allOf'),
  'references that double, 30 deep (oneOf)': doubling(30, 'oneOf'),
  'references that double, 30 deep (properties)': doubling_properties(30),
  'allOf of ten anyOf of ten': { allOf: range(10, (i) => ({ anyOf: range(10, (j) => properties(1, () => ({ const: i * 10 + j }))) })) },
  'allOf of 60 anyOf of two': { allOf: range(60, (i) => ({ anyOf: range(2, (j) => ({ type: 'object', properties: { [`p${i}_${j}`]: {} } })) })) },
  'allOf nested 60 deep': parsed(60, '{"allOf":[', ',{"type":"object"}]}', '{"type":"object"}'),
  'references in a circle': { $ref: '#/$defs/a', $defs: { a: { $ref: '#/$defs/b' }, b: { $ref: '#/$defs/a' } } },
  'a reference to itself in allOf': { allOf: [{ $ref: '#' }] },
  'a reference to itself in anyOf': { anyOf: [{ $ref: '#' }, { $ref: '#' }] },
  'a required reference to itself': { type: 'object', properties: { a: { $ref: '#' } }, required: ['a'] },
  'references of the world': { anyOf: ['file:///etc/passwd', '../../etc/passwd', '#/../../x', '#/$defs/', '#//', '#/%2e%2e', ''].map(($ref) => ({ $ref })) },
  'repetitions of repetitions': parsed(6, '{"type":"array","minItems":200,"maxItems":900,"items":', '}', '{}'),
  'a thousand lists of a thousand': properties(900, () => ({ type: 'array', items: string({ maxLength: 1900 }), maxItems: 900 })),
};

const bounds = {
  'counts of two milliards': string({ minLength: 2_000_000_000, maxLength: 2_000_000_001 }),
  'counts beyond integers': { type: 'array', items: {}, minItems: 1e18, maxItems: 1e300 },
  'counts below zero, and halves': { type: 'array', items: string({ minLength: -5, maxLength: 0.5 }), minItems: -1 },
  'counts that are texts': { type: 'array', minItems: '5', maxItems: {} },
  'integers of 300 digits': { type: 'integer', minimum: -1e300, maximum: 1e300 },
  'all of the integers': { type: 'integer', minimum: -9223372036854775808, maximum: 9223372036854775807 },
  'numbers of 300 digits': { type: 'number', minimum: 1e-300, maximum: 1.7976931348623157e308 },
  'multiples of nothing': { type: 'integer', multipleOf: 0 },
  'multiples of next to nothing': { type: 'number', multipleOf: 1e-300 },
  'multiples of a prime': { type: 'integer', multipleOf: 1_000_003 },
  'unique items': { type: 'array', uniqueItems: true, minItems: 900, items: { enum: range(900, (i) => i) } },
  'contains': { type: 'array', contains: { const: 5 }, minContains: 900, maxContains: 2 },
  'a type that is none': { type: ['nonsense', 7, null, {}] },
  'keywords of the wrong type': { properties: [], required: {}, enum: 5, anyOf: {}, items: 'x', $ref: 5, pattern: [], allOf: 'x' },
};

const patterns = [
  '^(((a{1,100}){1,100}){1,100})$',
  '^((((((((a{2}){9}){9}){9}){9}){9}){9}){9})$',
  '^(a|aa)+$',
  '^(a*)*$',
  '^((a+)+)+b$',
  `^(${'a?'.repeat(1000)}${'a'.repeat(1000)})$`,
  `^(${range(3000, (i) => `word${i}`).join('|')})$`,
  `^${'('.repeat(3000)}${')'.repeat(3000)}$`,
  `^${'(?:'.repeat(1000)}a${')*'.repeat(1000)}$`,
  `^[${'a-z'.repeat(1200)}]$`,
  '^[\\u0000-\\u{10ffff}]{1,2000}$',
  '^\\p{L}{1,2000}$',
  '^(?=a)(?!b)(?<=c)(?<!d)$',
  '^(a)\\1\\k<x>$',
  '^a{2000000000}$',
  '^a{0,4294967296}$',
  '^a{1e9}$',
  '^.{1000}{1000}{1000}$',
  '(',
  '[',
  '\\',
  '*',
  '^a{',
  '^$^$^$',
  'x'.repeat(1_000_000),
];

const whole = short ? 8 : 24;
const in_format = (arena, format, extra) => arena.generate({ format, options: { num_predict: whole }, ...extra });
const in_tool = (arena, parameters, extra) =>
  arena.chat({ tools: [{ type: 'function', function: { name: 'f', parameters } }], tool_choice: 'required', options: { num_predict: whole }, ...extra });
const both = (arena, schemas) =>
  arena.statuses(schemas.flatMap((schema) => [() => in_format(arena, schema), () => in_tool(arena, schema)]));

// Ordinary output under a grammar that has much to tell apart at each token.
const costly = {
  anyOf: range(300, (i) => ({ type: 'object', properties: { [`name${i}`]: string({ maxLength: 100 }), [`list${i}`]: { type: 'array', items: {} } } })),
};

const per_schema = (schemas, shorts) =>
  Object.entries(schemas).map(([name, schema]) => ({
    name,
    short: shorts.includes(name),
    within_s: 45,
    attack: (arena) => both(arena, [schema]),
  }));

// Preparing a request holds nobody else's up for long.
attacks('schemas', { slow: true, gap: { cap_ms: 1000 } }, [
  { name: 'bounds that are the wrong way round', short: true, status: [400], attack: (arena) => both(arena, reversed) },
  { name: 'what nothing satisfies', short: true, attack: (arena) => both(arena, impossible) },
  ...per_schema(large, ['enum of 100,000', '3,000 properties', 'anyOf of 900 that begin alike']),
  ...per_schema(products, ['references that double, 30 deep (anyOf)', 'allOf of ten anyOf of ten']),
  ...per_schema(bounds, ['integers of 300 digits']),
  { name: 'patterns', short: true, within_s: 90, attack: (arena) => arena.statuses(patterns.map((pattern) => () => in_format(arena, string({ pattern })))) },
  {
    name: 'nested 20,000 deep',
    short: true,
    status: [400],
    attack: (arena) => {
      const deep = nested(20_000, '{"type":"array","items":', '}', '{}');
      return arena.statuses([
        () => arena.ask('POST', '/api/generate', `{"model":"cria","prompt":"x","format":${deep}}`),
        () => arena.ask('POST', '/api/chat', `{"model":"cria","messages":[{"role":"user","content":"x"}],"tools":[{"type":"function","function":{"name":"f","parameters":${deep}}}]}`),
      ]);
    },
  },
  {
    name: 'tools that are lists, and very many of them',
    short: true,
    within_s: 45,
    attack: (arena) => {
      const tool = (i) => ({ type: 'function', function: { name: `f${i}`, description: 'd'.repeat(500), parameters: properties(12, () => string({})) } });
      const list = JSON.parse('['.repeat(400) + ']'.repeat(400));
      return arena.statuses(
        [[list], range(10_000, tool), range(900, tool), [{ type: 'function', function: { name: 'n'.repeat(1_000_000) } }], range(300, () => tool(1))].map(
          (tools) => () => arena.chat({ tools }),
        ),
      );
    },
  },
  {
    name: 'a grammar that is costly at each token, 8 at the same time',
    short: true,
    within_s: 90,
    status: [200, 400, 500],
    attack: (arena) => arena.statuses(range(8, () => () => in_format(arena, costly)), 8),
  },
  {
    name: 'different schemas, 40 at the same time',
    children_mib: 4608,
    within_s: 120,
    status: [200, 400, 500, 503],
    attack: (arena) => arena.statuses(range(40, (i) => () => in_format(arena, properties(180, (j) => string({ maxLength: 20 + ((i + j) % 30) })))), 40),
  },
  {
    name: 'clients that leave while their schema is read',
    short: true,
    attack: async (arena) => {
      for (let i = 0; i < 20; i++) {
        const answer = in_format(arena, properties(190, (j) => string({ maxLength: 50 + ((i + j) % 50) })));
        await new Promise((resolve) => setTimeout(resolve, 100));
        arena.leave();
        await answer;
      }
      return [];
    },
  },
  {
    name: 'references are not followed out of the request',
    attack: async (arena) => {
      let asked = 0;
      const world = http.createServer((_, response) => response.end(`${asked++}`)).listen(0, '127.0.0.1');
      await new Promise((resolve) => world.once('listening', resolve));
      const $ref = `http://127.0.0.1:${world.address().port}/schema.json`;
      const found = await both(arena, [{ $ref }, { $schema: $ref, $id: $ref, type: 'string' }]);
      world.close();
      if (asked > 0) throw new Error(`a schema's reference was fetched ${asked} times`);
      return found;
    },
  },
]);
