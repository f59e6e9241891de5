// What a schema says is kept, or the client is told: each dialect, on the built-in model at temperature 0.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import { server_for_suite } from './harness.mjs';

const object = (x) => ({ type: 'object', properties: { x }, required: ['x'] });
const string = (pattern) => object({ type: 'string', pattern });
const messages = [{ role: 'user', content: 'Count to 3' }];
const header = 'x-drover-warning';

describe('schemas', () => {
  const server = server_for_suite();
  const ask = (format, more = {}) =>
    server.post('/api/generate', {
      model: 'cria',
      prompt: 'Count to 3',
      stream: false,
      format,
      options: { temperature: 0, num_predict: 200 },
      ...more,
    });
  const kept = async (format) => {
    const answer = await ask(format);
    assert.equal(answer.status, 200, answer.text);
    assert.equal(answer.headers[header], undefined);
    return JSON.parse(answer.json.response).x;
  };

  test('patterns are kept as ECMAScript reads them', async () => {
    for (const pattern of [
      '^\\d{4}-\\d{2}-\\d{2}$',
      '^\\d+$',
      '^[\\w-]{1,8}$',
      '^[^\\s]{1,8}$',
      '^(\\d+|imap:[a-z]{1,9})$',
      '^a\\/b\\!$',
      '^[a-z]{1,3}@[a-z]{1,3}\\.[a-z]{2,3}$',
      '^[\\u0041-\\u005A]{2}$',
      '^"\\\\$',
    ]) {
      const x = await kept(string(pattern));
      assert.match(x, new RegExp(pattern), pattern);
    }
  });

  test('bounds of numbers', async () => {
    for (const [schema, good] of [
      [{ type: 'number', minimum: 0.25, maximum: 0.5 }, (x) => x >= 0.25 && x <= 0.5],
      [{ type: 'number', exclusiveMinimum: 7 }, (x) => x > 7],
      [{ type: 'integer', minimum: 40, maximum: 60, multipleOf: 7 }, (x) => [42, 49, 56].includes(x)],
      [{ type: 'integer', maximum: -5 }, (x) => Number.isInteger(x) && x <= -5],
    ]) {
      const x = await kept(object(schema));
      assert.ok(good(x), `${JSON.stringify(schema)}: ${x}`);
    }
  });

  test('a tree that refers to its own root', async () => {
    const schema = {
      type: 'object',
      properties: {
        type: { enum: ['div', 'button'] },
        label: { type: 'string', maxLength: 4 },
        children: { type: 'array', items: { $ref: '#' }, maxItems: 1 },
      },
      required: ['type', 'label', 'children'],
      additionalProperties: false,
    };
    const answer = await ask(schema, { options: { temperature: 0, num_predict: 400 } });
    assert.equal(answer.status, 200, answer.text);
    assert.equal(answer.headers[header], undefined);
    assert.match(answer.json.response, /^\{\s*"type"\s*:\s*"(div|button)"/);
    if (answer.json.done_reason === 'stop') {
      const check = (node) => {
        assert.deepEqual(Object.keys(node), ['type', 'label', 'children']);
        node.children.forEach(check);
      };
      check(JSON.parse(answer.json.response));
    }
  });

  const lost = [
    [string('^(?=.*a).{2}$'), /^format: #\/properties\/x: pattern .* is not kept \(lookahead\)$/, '#/properties/x'],
    [string('^\\p{L}{2}$'), /^format: #\/properties\/x: pattern .* is not kept/, '#/properties/x'],
    [
      object({ type: 'array', items: { type: 'integer' }, maxItems: 2000 }),
      /^format: #\/properties\/x: maxItems is not kept \(more than 1990\)$/,
      '#/properties/x',
    ],
    [object({ type: 'array', uniqueItems: true }), /uniqueItems is not kept/, '#/properties/x'],
  ];

  test('what is not kept is named, and with strict refused', async () => {
    for (const [schema, text, place] of lost) {
      const answer = await ask(schema, { options: { num_predict: 3 } });
      assert.equal(answer.status, 200, answer.text);
      assert.match(answer.headers[header], text);
      for (const [target, body] of [
        ['/api/generate', { prompt: 'x', format: schema, format_strict: true }],
        [
          '/v1/chat/completions',
          { messages, response_format: { type: 'json_schema', json_schema: { name: 'a', schema, strict: true } } },
        ],
        [
          '/v1/completions',
          { prompt: 'x', response_format: { type: 'json_schema', json_schema: { name: 'a', schema, strict: true } } },
        ],
        ['/v1/responses', { input: 'x', text: { format: { type: 'json_schema', name: 'a', schema, strict: true } } }],
        [
          '/v1/chat/completions',
          { messages, tools: [{ type: 'function', function: { name: 'f', parameters: schema, strict: true } }] },
        ],
        ['/v1/responses', { input: 'x', tools: [{ type: 'function', name: 'f', parameters: schema, strict: true }] }],
        ['/v1/messages', { max_tokens: 9, messages, tools: [{ name: 'f', input_schema: schema, strict: true }] }],
      ]) {
        const refused = await server.post(target, { model: 'cria', ...body });
        assert.equal(refused.status, 400, refused.text);
        const message = refused.json.error.message ?? refused.json.error;
        assert.ok(message.includes(`${place}: `) && message.includes('cannot be kept'), message);
      }
    }
    assert.match(server.stderr, /format: #\/properties\/x: uniqueItems is not kept/);
  });

  test('a tool that is odd does not spoil the others', async () => {
    const tool = (name, parameters) => ({ type: 'function', function: { name, parameters } });
    const answer = await server.post('/v1/chat/completions', {
      model: 'cria',
      messages,
      max_tokens: 3,
      tools: [tool('odd', { type: 'thing' }), tool('good', string('^\\d+$'))],
    });
    assert.equal(answer.status, 200, answer.text);
    assert.match(answer.headers[header], /^tools\[0\]\.function\.parameters: the schema is not kept/);
  });

  test('arguments of a call', async () => {
    const parameters = object({ type: 'string', pattern: '^\\d{2}$' });
    const answer = await server.ok('/v1/chat/completions', {
      model: 'cria',
      messages: [{ role: 'user', content: 'How is the weather in Rome?' }],
      temperature: 0,
      tools: [{ type: 'function', function: { name: 'get_weather', description: 'The weather', parameters } }],
      tool_choice: 'required',
    });
    const [call] = answer.choices[0].message.tool_calls;
    assert.match(JSON.parse(call.function.arguments).x, /^\d{2}$/);
  });
});
