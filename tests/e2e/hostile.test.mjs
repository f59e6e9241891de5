// Requests that are made to cost more than they are worth: each is refused at once, or costs no more than an honest one,
// and whoever else is served notices nothing.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { afterEach, describe, test } from 'node:test';

import { bert } from './bert.mjs';
import { server_for_suite, server_for_test, short } from './harness.mjs';

const mib = 1 << 20;
// A net for a busy machine: what is guarded against takes minutes, or does not end. The unit tests compare costs.
const prompt_ms = 30_000;

const nested = (depth, open = '[', close = ']', inner = '') => open.repeat(depth) + inner + close.repeat(depth);

function memory_peak(pid) {
  const status = fs.readFileSync(`/proc/${pid}/status`, 'latin1');
  return Number(/VmHWM:\s+(\d+) kB/.exec(status)[1]) * 1024;
}

// Asks for /healthz while `work` is under way; returns the longest wait of one that was.
async function longest_wait(server, work) {
  let done = false;
  const ended = work.finally(() => (done = true));
  ended.catch(() => {}); // it is seen below
  let longest = 0;
  while (!done) {
    const start = performance.now();
    assert.equal((await server.get('/healthz')).status, 200);
    longest = Math.max(longest, performance.now() - start);
  }
  await ended;
  return longest;
}

describe('hostile requests', () => {
  const server = server_for_suite();
  let processes;

  afterEach(async () => {
    assert.equal((await server.generate('Count to 3')).response, '1, 2, 3', 'the server goes on');
    // The same runner: nobody's request was repeated on another one.
    processes ??= server.runners();
    assert.deepEqual(server.runners(), processes);
  });

  async function refused(target, body, text) {
    const start = performance.now();
    const answer = await server.post(target, body);
    const took = performance.now() - start;
    assert.equal(answer.status, 400, answer.text.slice(0, 500));
    const message = answer.json.error.message ?? answer.json.error;
    if (text instanceof RegExp) assert.match(message, text);
    else assert.equal(message, text);
    assert.ok(took < prompt_ms, `${took} ms`);
  }

  const messages = [{ role: 'user', content: 'Count to 3' }];
  const faces = [
    ['/api/generate', (schema) => ({ model: 'cria', prompt: 'x', format: schema })],
    ['/api/chat', (schema) => ({ model: 'cria', messages, format: schema })],
    [
      '/v1/chat/completions',
      (schema) => ({ model: 'cria', messages, response_format: { type: 'json_schema', json_schema: { schema } } }),
    ],
    ['/v1/responses', (schema) => ({ model: 'cria', input: 'x', text: { format: { type: 'json_schema', schema } } })],
    [
      '/v1/messages',
      (schema) => ({
        model: 'cria',
        max_tokens: 9,
        messages,
        output_config: { format: { type: 'json_schema', schema } },
      }),
    ],
  ];

  describe('JSON', () => {
    test('that is nested deeply', async () => {
      const depth = 'json: exceeded max depth of 512';
      for (const count of [20_000, 100_000, 1_000_000]) {
        const deep = nested(count);
        await refused('/api/generate', `{"model":"cria","prompt":"x","format":{"a":${deep}}}`, depth);
        await refused('/api/chat', `{"model":"cria","messages":[],"tools":${deep}}`, depth);
        await refused('/api/show', nested(count, '{"a":', '}', '1'), depth);
        await refused('/v1/embeddings', `{"model":"cria","input":${deep}}`, depth);
        const body = { model: 'cria', messages: [{ role: 'assistant', content: '' }, ...messages] };
        body.messages[0].tool_calls = [{ id: 'a', function: { name: 'f', arguments: `{"a":${deep}}` } }];
        await refused('/v1/chat/completions', body, `tool call arguments: ${depth}`);
      }
    });

    test('that is nested as deeply as may be', async () => {
      const deep = JSON.parse(nested(500));
      const tool = { type: 'function', function: { name: 'f', parameters: { type: 'object', default: deep } } };
      const call = { function: { name: 'f', arguments: { a: deep } } };
      const asked = [{ role: 'assistant', content: '', tool_calls: [call] }, ...messages];
      for (const body of [
        { messages, tools: [tool] },
        { messages: asked, tools: [tool] },
        { messages, format: { type: 'integer', default: deep } },
      ]) {
        const answer = await server.post('/api/chat', {
          model: 'cria',
          stream: false,
          options: { num_predict: 5 },
          ...body,
        });
        assert.ok(answer.status === 200 || answer.status === 400, answer.text);
      }
    });

    test('with very many keys', async () => {
      const keys = (count) => Array.from({ length: count }, (_, i) => `"o${i}":1`).join();
      for (const target of ['/api/show', '/api/generate', '/api/create', '/v1/chat/completions', '/v1/messages']) {
        await refused(target, `{"model":"nope",${keys(200_000)}}`, 'json: exceeded max keys of 16384 in one object');
      }
      const start = performance.now();
      assert.equal((await server.post('/api/show', `{"model":"nope",${keys(16_000)}}`)).status, 404);
      assert.ok(performance.now() - start < prompt_ms);
      const many = `{"name":"f","arguments":{${keys(10_000)}}}`;
      await refused(
        '/api/chat',
        `{"model":"cria","messages":[{"role":"assistant","tool_calls":[{"function":${many}}]}]}`,
        'tool call arguments: an object has more than 2048 keys',
      );
      const call = { function: { name: 'f', arguments: JSON.parse(`{${keys(2000)}}`) } };
      const calls = [{ role: 'assistant', content: '', tool_calls: Array(100).fill(call) }, ...messages];
      const text = 'tool call arguments: objects have more than 16777216 pairs of keys in all';
      await refused('/api/chat', { model: 'cria', messages: calls }, text);
    });

    test('that is large, beside others', async () => {
      const before = memory_peak(server.process.pid);
      const large = [
        [`{"a":${'['.repeat(60 * mib)}`, /max depth of 512/],
        [`{"a":[${'[],'.repeat(20 * mib)}`, /max values of 2097152/],
        [`{"a":"${'x'.repeat(60 * mib)}`, 'unexpected EOF'],
        [`{"a":${'1'.repeat(30 * mib)}}`, /^json: cannot unmarshal number 1+ into/],
      ];
      const wait = await longest_wait(
        server,
        (async () => {
          for (const [body, text] of large) await refused('/api/generate', body, text);
        })(),
      );
      assert.ok(wait < 2000, `another client waited for ${wait} ms`);
      const grown = memory_peak(server.process.pid) - before;
      if (!short) assert.ok(grown < 600 * mib, `${Math.round(grown / mib)} MiB`);
    });

    test('that is large and honest is taken', async () => {
      const prompt = 'one two three '.repeat(2 * mib);
      assert.equal((await server.post('/api/generate', { model: 'nobody', prompt })).status, 404);
      const long = Array.from({ length: 5000 }, (_, i) => ({
        role: i % 2 ? 'assistant' : 'user',
        content: 'x'.repeat(500),
      }));
      assert.equal((await server.post('/api/chat', { model: 'nobody', messages: long })).status, 404);
    });
  });

  describe('schemas', () => {
    const string = (rest) => ({ type: 'string', ...rest });
    const properties = (count, schema, required = []) => ({
      type: 'object',
      properties: Object.fromEntries(Array.from({ length: count }, (_, i) => [`p${i}`, schema])),
      required,
    });

    test('with bounds that are the wrong way round', async () => {
      for (const [schema, text] of [
        [string({ minLength: 5, maxLength: 2 }), '#: minLength 5 is greater than maxLength 2'],
        [{ type: 'array', items: {}, minItems: 5, maxItems: 2 }, '#: minItems 5 is greater than maxItems 2'],
        [string({ pattern: '^a{5,2}$' }), '#: pattern has a repetition {5,2} whose minimum exceeds its maximum'],
        [{ type: 'integer', minimum: 7, maximum: 3 }, '#: minimum 7 is greater than maximum 3'],
        [{ type: 'object', minProperties: 3, maxProperties: 2 }, '#: minProperties 3 is greater than maxProperties 2'],
        [
          { type: 'object', properties: { x: { type: 'array', items: string({ minLength: 2, maxLength: 1 }) } } },
          '#/properties/x/items: minLength 2 is greater than maxLength 1',
        ],
      ]) {
        for (const [target, body] of faces) await refused(target, body(schema), `invalid format: ${text}`);
        const tool = { type: 'function', function: { name: 'f', parameters: schema } };
        const text_of_tool = `tools[0].function.parameters: ${text}`;
        await refused('/api/chat', { model: 'cria', messages, tools: [tool] }, text_of_tool);
        await refused('/v1/chat/completions', { model: 'cria', messages, tools: [tool] }, text_of_tool);
        const anthropic = { model: 'cria', max_tokens: 9, messages, tools: [{ name: 'f', input_schema: schema }] };
        await refused('/v1/messages', anthropic, text_of_tool);
      }
    });

    test('whose parts exclude each other', async () => {
      for (const schema of [
        { allOf: [string({ minLength: 5 }), { maxLength: 2 }] },
        { $ref: '#/$defs/a', maxLength: 2, $defs: { a: string({ minLength: 5 }) } },
        { type: 'object', required: ['a', 'b'], maxProperties: 1 },
        { type: 'number', minimum: 5, exclusiveMaximum: 5 },
      ]) {
        for (const [target, body] of faces) await refused(target, body(schema), 'invalid format: #: no value is valid here');
      }
    });

    test('that are too deep, too wide or without an end', async () => {
      const entries = Array.from({ length: 20_000 }, (_, i) => `entry ${i}`);
      const recursive = { type: 'object', properties: { next: { allOf: [{ $ref: '#/$defs/n' }] } } };
      const circle = { a: { $ref: '#/$defs/b' }, b: { $ref: '#/$defs/a' } };
      for (const [schema, text] of [
        [JSON.parse(nested(200, '{"type":"array","items":', '}', '{}')), /nested more than 64 deep$/],
        [JSON.parse(nested(200, '{"anyOf":[', ']}', '{}')), /nested more than 64 deep$/],
        [string({ minLength: 2_000_000_000 }), /: #: minLength 2000000000 is greater than 2000$/],
        [{ enum: entries }, /: #: enum has more than 10000 entries$/],
        [properties(1500, { type: 'integer' }), /: #: more than 1000 properties$/],
        [properties(300, { type: 'integer' }), /: #: more than 200 properties that are not required$/],
        [properties(100, string({ maxLength: 2000 })), /: #\/properties\/p25: .* more than 50000 repetitions in all$/],
        [{ $ref: '#/$defs/n', $defs: { n: recursive } }, /without an end$/],
        [{ allOf: [{ $ref: '#/$defs/a' }], $defs: circle }, /without an end$/],
        [
          properties(5, { [`${'é'.repeat(200_000)}`]: 1, properties: { ['é'.repeat(200_000)]: {} } }),
          /longer than 1024/,
        ],
      ]) {
        for (const [target, body] of faces.slice(0, 2)) await refused(target, body(schema), text);
      }
      const deep = nested(20_000, '{"type":"array","items":', '}', '{}');
      await refused('/api/generate', `{"model":"cria","prompt":"x","format":${deep}}`, /max depth of 512/);
    });

    // What is just within the bounds costs less than others notice.
    test('at the bounds', async () => {
      const required = Array.from({ length: 1000 }, (_, i) => `p${i}`);
      const entries = Array.from({ length: 10_000 }, (_, i) => `${(i * 7919) % 10_000} is an entry`);
      const constants = Array.from({ length: 1000 }, (_, i) => ({ const: `entry ${i}`, title: 'One' }));
      const schemas = [
        JSON.parse(nested(60, '{"type":"array","items":', '}', '{"type":"integer"}')),
        { enum: entries },
        { oneOf: constants },
        properties(1000, { type: 'integer' }, required),
        properties(200, { type: 'integer' }),
        properties(25, string({ maxLength: 2000 })),
        { $ref: '#/$defs/n', $defs: { n: { type: 'object', properties: { next: { $ref: '#/$defs/n' } } } } },
      ];
      for (const format of schemas) {
        const start = performance.now();
        const answer = await server.post('/api/generate', {
          model: 'cria',
          prompt: 'x',
          stream: false,
          format,
          options: { num_predict: 3 },
        });
        assert.equal(answer.status, 200, `${JSON.stringify(format).slice(0, 100)}: ${answer.text}`);
        const took = performance.now() - start;
        assert.ok(took < 2 * prompt_ms, `${JSON.stringify(format).slice(0, 100)}: ${took} ms`);
      }
    });

    test('of many tools', async () => {
      const parameters = properties(12, string({ description: 'What it is for, in a sentence or two.' }), ['p0']);
      const tools = Array.from({ length: 200 }, (_, i) => ({
        type: 'function',
        function: { name: `f${i}`, parameters },
      }));
      const start = performance.now();
      await server.ok('/api/chat', { model: 'cria', messages, tools, stream: false, options: { num_predict: 3 } });
      assert.ok(performance.now() - start < 2 * prompt_ms);
    });
  });

  describe('options', () => {
    test('with more texts to stop at than there may be', async () => {
      const stop = Array.from({ length: 65 }, (_, i) => `stop ${i}`);
      const text = 'option "stop" must have at most 64 strings';
      await refused('/api/generate', { model: 'cria', prompt: 'x', options: { stop } }, text);
      await refused('/v1/chat/completions', { model: 'cria', messages, stop }, text);
      const own = `stop_sequences: ${text}`;
      await refused('/v1/messages', { model: 'cria', max_tokens: 9, messages, stop_sequences: stop }, own);
      const long = { stop: 'x'.repeat(4097) };
      await refused('/v1/completions', { model: 'cria', prompt: 'x', ...long }, /strings of at most 4096 bytes$/);
    });

    // [the options, what refuses them]: without that they are taken, and each request is the one that loads the model.
    const names = {
      integer: ['num_keep', 'num_predict', 'top_k', 'repeat_last_n', 'num_ctx', 'num_batch', 'num_gpu'],
      number: ['temperature', 'top_p', 'min_p', 'typical_p', 'repeat_penalty', 'presence_penalty', 'frequency_penalty'],
    };
    const odd = [
      [{ num_thread: 100_000 }, 'num_thread" must be at most 512'],
      [{ num_thread: -5 }],
      [{ num_batch: 2_147_483_647 }],
      [{ num_batch: 0 }],
      [{ num_batch: -1 }],
      [{ num_ctx: 2_147_483_647 }],
      [{ num_ctx: -1 }],
      [{ num_gpu: 2_147_483_647 }],
      [{ num_gpu: -7 }],
      [{ main_gpu: 1e18 }, 'main_gpu" must be at most 127'],
      [{ main_gpu: -1 }],
      [{ top_k: 2_147_483_647, repeat_last_n: 2_147_483_647, num_keep: 2_147_483_647, repeat_penalty: 1.1 }],
      [{ top_k: -2_147_483_648, repeat_last_n: -2_147_483_648, num_keep: -2_147_483_648, repeat_penalty: 1.1 }],
      [{ seed: 1e300, temperature: 0.8 }],
      [{ temperature: 1e-40, top_k: 0 }],
      [{ temperature: 1e6, top_k: 0, top_p: 1e6, typical_p: 1e6, min_p: 1e6 }],
      [{ temperature: 0.8, top_p: -1e6, typical_p: -1e6, min_p: -1e6 }],
      [{ temperature: 0.8, repeat_penalty: 0 }],
      [{ temperature: 1e-3, repeat_penalty: 1e-40, presence_penalty: 1e6, frequency_penalty: -1e6 }],
      [{ temperature: 1e-3, repeat_penalty: 1e6, presence_penalty: -1e6, frequency_penalty: 1e6 }],
      [{ stop: Array(64).fill('never') }],
      [{ stop: Array(65).fill('never') }, 'stop" must have at most 64 strings'],
      [{ stop: ['x'.repeat(5000)] }, 'stop" must have strings of at most 4096 bytes'],
      ...names.integer.flatMap((name) => [
        [{ [name]: 1e18 }, `${name}" must be at most 2147483647`],
        [{ [name]: -1e18 }, `${name}" must be at least -2147483648`],
      ]),
      ...names.number.flatMap((name) => [
        [{ [name]: 1e300 }, `${name}" must be at most 1000000`],
        [{ [name]: -1e300 }, `${name}" must be at least ${name === 'repeat_penalty' ? 0 : -1_000_000}`],
      ]),
    ];
    test('that no engine takes', async () => {
      const body = (options) => ({ model: 'cria', prompt: 'Count to 3', stream: false, options });
      for (const [options, refusal] of odd) {
        if (!refusal) await server.ok('/api/generate', { model: 'cria', keep_alive: 0 }); // this one is to load it
        const answer = await server.post('/api/generate', body({ temperature: 0, num_predict: 20, ...options }));
        if (refusal) assert.deepEqual([answer.status, answer.json.error], [400, `option "${refusal}`]);
        else assert.equal(answer.status, 200, `${JSON.stringify(options)}: ${answer.text}`);
        assert.equal((await server.generate('Count to 3')).response, '1, 2, 3', JSON.stringify(options));
      }
      await refused('/v1/chat/completions', { model: 'cria', messages, max_tokens: 1e18 }, /num_predict" must be at most/);
      await refused('/v1/messages', { model: 'cria', messages, max_tokens: 1e18 }, /num_predict" must be at most/);
      await refused('/v1/messages', { model: 'cria', messages, max_tokens: 5, top_k: -1e18 }, /top_k" must be at least/);
      const parameters = { num_thread: 100_000 };
      const create = { model: 'busy', from: 'cria', parameters, stream: false };
      await refused('/api/create', create, 'option "num_thread" must be at most 512');
      processes = undefined; // it has been loaded anew
    });
  });
});

describe('a conversation that is longer than the context', () => {
  const templates = {
    jinja: undefined,
    go: '{{ range .Messages }}<|im_start|>{{ .Role }}\n{{ .Content }}<|im_end|>\n{{ end }}<|im_start|>assistant\n',
  };
  const server = server_for_suite({}, async (one) => {
    await one.ok('/api/create', { model: 'go', from: 'cria', template: templates.go, stream: false });
    await one.ok('/api/create', { model: 'jinja', from: 'cria', stream: false });
  });
  const conversation = (count) => [
    { role: 'system', content: 'Be brief.' },
    ...Array.from({ length: count }, (_, i) => ({
      role: i % 2 ? 'assistant' : 'user',
      content: `${i} one two three one two three`,
    })),
    { role: 'user', content: 'Count to 3' },
  ];
  const options = { temperature: 0, num_ctx: 512, num_predict: 20 };
  const rendered = async (model, messages) => {
    const body = { model, messages, stream: false, options, _debug_render_only: true };
    return (await server.ok('/api/chat', body))._debug_info.rendered_template;
  };

  for (const model of Object.keys(templates)) {
    test(`is cut at once, template ${model}`, async () => {
      const long = conversation(2000);
      const start = performance.now();
      const answer = await server.ok('/api/chat', { model, messages: long, stream: false, options });
      assert.ok(performance.now() - start < 2 * prompt_ms);
      assert.equal(answer.done, true);
      assert.ok(answer.prompt_eval_count < 512, answer.prompt_eval_count);

      // As many messages as fit and not one less, the first and the last of them where they were.
      const text = await rendered(model, long);
      assert.match(text, /system\nBe brief\./);
      assert.match(text, /user\nCount to 3/);
      const first = Number(/(?:user|assistant)\n(\d+) one/.exec(text)[1]);
      const kept = [long[0], ...long.slice(1 + first)];
      assert.equal(text, await rendered(model, kept));
      const count = async (messages) =>
        (
          await server.ok('/api/chat', {
            model,
            messages,
            stream: false,
            options: { ...options, num_ctx: 2048, num_predict: 1 },
          })
        ).prompt_eval_count;
      assert.ok((await count(kept)) < 512);
      assert.ok((await count([long[0], ...long.slice(first)])) >= 512, 'one more would not fit');
    });
  }

  test('costs little more when it is ten times as long', async () => {
    const time = async (count) => {
      const start = performance.now();
      await rendered('go', conversation(count));
      return performance.now() - start;
    };
    await time(200);
    const short_one = await time(200);
    const long_one = await time(2000);
    assert.ok(long_one < 40 * Math.max(short_one, 20), `${short_one} ms and ${long_one} ms`);
  });
});

test('settings and durations at the ends of their ranges', async (t) => {
  const longest = '9999999999h';
  const durations = ['REQUEST_TIMEOUT', 'KEEP_ALIVE', 'LOAD_TIMEOUT'].map((name) => [`OLLAMA_${name}`, longest]);
  const own = ['SHUTDOWN', 'HANG', 'REGISTRY', 'CLIENT'].map((name) => [`DROVER_${name}_TIMEOUT`, longest]);
  const env = {
    ...Object.fromEntries([...durations, ...own]),
    DROVER_MAX_GENERATION_TIME: longest,
    DROVER_MAX_TOKENS: String(1 << 30),
    OLLAMA_NUM_PARALLEL: '64',
    OLLAMA_MAX_LOADED_MODELS: '64',
    OLLAMA_MAX_QUEUE: '1000000',
    OLLAMA_CONTEXT_LENGTH: '16777216',
  };
  const server = await server_for_test(t, { env });
  await server.create('bert', bert());
  const body = (keep_alive) => ({ model: 'cria', prompt: 'Count to 3', stream: false, keep_alive });
  for (const keep_alive of [1e300, -1e300, longest, `-${longest}`, 1e-300, 0.5, '99999999999999999999', '1e-5s', '-1']) {
    const answer = await server.post('/api/generate', body(keep_alive));
    assert.ok([200, 400].includes(answer.status), answer.text);
    const { models } = (await server.get('/api/ps')).json;
    for (const { expires_at } of models) assert.ok(!Number.isNaN(Date.parse(expires_at)), expires_at);
  }
  for (const keep_alive of ['soon', 'NaN', 'inf', '1e5 h', [], {}, true])
    assert.equal((await server.post('/api/generate', body(keep_alive))).status, 400, JSON.stringify(keep_alive));
  for (const dimensions of [1e18, -5, 0, 2 ** 31, 1.5])
    for (const truncate of [true, false, 7]) {
      const answer = await server.post('/api/embed', { model: 'bert', input: 'Hello', dimensions, truncate });
      assert.ok([200, 400].includes(answer.status), answer.text);
    }
  assert.equal((await server.generate('Count to 3')).response, '1, 2, 3');
});
