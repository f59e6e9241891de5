// Embeddings: /api/embed, /api/embeddings and /v1/embeddings, with the official clients and without.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import { Ollama } from 'ollama';
import OpenAI from 'openai';

import { bert, bert_shape } from './bert.mjs';
import { renamed } from './gguf.mjs';
import { server_for_suite, server_for_test, wait_until } from './harness.mjs';

const model = 'cria';
const cria_dimensions = 256;
const length = (vector) => Math.hypot(...vector);

function distance(a, b) {
  assert.equal(a.length, b.length);
  const dot = a.reduce((sum, value, i) => sum + value * b[i], 0);
  return 1 - dot / (length(a) * length(b));
}

function assert_same(a, b, what) {
  assert.ok(distance(a, b) < 1e-3, `${what}: ${distance(a, b)}`);
}

// Texts of 1 to `most` words, no two of them alike.
function texts(count, most) {
  const words = ['zor', 'kibal', 'count', 'the', 'llama', 'seven', 'of', 'mup', 'blue', 'what'];
  return Array.from({ length: count }, (_, i) => {
    const size = 1 + ((i * 7919) % most);
    return `${i}: ${Array.from({ length: size }, (_, k) => words[(i * 31 + k * (i + 3)) % words.length]).join(' ')}`;
  });
}

const assert_refused = (answer, status, error) =>
  assert.deepEqual({ status: answer.status, error: answer.json?.error }, { status, error }, answer.text);

describe('errors of /api/embed and /api/embeddings', () => {
  const server = server_for_suite({}, (server) => server.create('bert', bert()));
  const embed = (body) => server.post('/api/embed', { model, ...body });

  test('what is no request', async () => {
    assert_refused(await server.post('/api/embed', ''), 400, 'missing request body');
    assert_refused(await server.post('/api/embeddings', ''), 400, 'missing request body');
    assert_refused(await server.post('/api/embed', '{"model":'), 400, 'unexpected EOF');
    const get = await server.get('/api/embed');
    assert.equal(get.status, 405);
  });

  test('the model', async () => {
    assert_refused(await server.post('/api/embed', { input: 'a' }), 404, "model '' not found");
    assert_refused(await server.post('/api/embeddings', { prompt: 'a' }), 400, 'model is required');
    const missing = 'model "nobody" not found, try pulling it first';
    assert_refused(await embed({ model: 'nobody', input: 'a' }), 404, missing);
    assert_refused(await server.post('/api/embeddings', { model: 'nobody', prompt: 'a' }), 404, missing);
    assert_refused(await embed({ model: 'a b c', input: 'a' }), 400, 'invalid model name');
  });

  test('fields of a wrong type', async () => {
    for (const input of [5, { text: 'a' }, true, ['a', 5], [['a']], [1, 2]])
      assert_refused(await embed({ input }), 400, 'invalid input type');
    const wrong = (field, kind, type) =>
      `json: cannot unmarshal ${kind} into Go struct field EmbedRequest.${field} of type ${type}`;
    assert_refused(await embed({ input: 'a', dimensions: 'many' }), 400, wrong('dimensions', 'string', 'int'));
    assert_refused(await embed({ input: 'a', truncate: 1 }), 400, wrong('truncate', 'number', 'bool'));
    const prompt = await server.post('/api/embeddings', { model, prompt: ['a'] });
    assert.equal(prompt.status, 400, prompt.text);
    assert.match(prompt.json.error, /EmbeddingRequest\.prompt of type string/);
    const options = await embed({ input: 'a', options: { num_ctx: 'big' } });
    assert_refused(options, 400, 'option "num_ctx" must be of type integer');
  });

  test('an input that is too long', async () => {
    const input = 'count '.repeat(500);
    const too_long = 'the input length exceeds the context length';
    const options = { num_ctx: 64 };
    assert_refused(await embed({ input, options, truncate: false }), 400, too_long);
    assert_refused(await embed({ input: ['short', input], options, truncate: false }), 400, too_long);
    assert_refused(await server.post('/api/embeddings', { model, prompt: input, options }), 400, too_long);
    assert_refused(await embed({ model: 'bert', input, truncate: false }), 400, too_long);
    // The others of its time are not affected.
    const { embeddings } = await server.ok('/api/embed', { model, input: 'short', options, truncate: false });
    assert.equal(embeddings[0].length, cria_dimensions);
  });

  test('more inputs than one answer can hold', async () => {
    const answer = await embed({ input: Array(262_145).fill('a') });
    assert_refused(answer, 413, '262145 inputs are too many for one request: at most 262144');
  });

  test('an encoder cannot talk, and says so', async () => {
    const refusal = (what) => `"bert:latest" does not support ${what}`;
    assert_refused(await server.post('/api/generate', { model: 'bert', prompt: 'a' }), 400, refusal('generate'));
    const messages = [{ role: 'user', content: 'a' }];
    assert_refused(await server.post('/api/chat', { model: 'bert', messages }), 400, refusal('chat'));
    const { capabilities, details } = await server.ok('/api/show', { model: 'bert' });
    assert.deepEqual(capabilities, ['embedding']);
    assert.equal(details.family, 'bert');
  });
});

describe('/api/embed', () => {
  const server = server_for_suite({}, (server) => server.create('bert', bert()));

  test('the form of the answer', async () => {
    const answer = await server.ok('/api/embed', { model, input: ['Hello', 'Count to 8'] });
    assert.deepEqual(Object.keys(answer).sort(), [
      'embeddings',
      'load_duration',
      'model',
      'prompt_eval_count',
      'total_duration',
    ]);
    assert.equal(answer.model, model);
    assert.equal(answer.embeddings.length, 2);
    for (const vector of answer.embeddings) {
      assert.equal(vector.length, cria_dimensions);
      assert.ok(Math.abs(length(vector) - 1) < 1e-5, `length ${length(vector)}`);
    }
    assert.ok(answer.prompt_eval_count >= 4, `${answer.prompt_eval_count} tokens`);
    assert.ok(answer.total_duration >= answer.load_duration);
  });

  test('no input loads the model; keep_alive 0 unloads it', async (t) => {
    const own = await server_for_test(t);
    for (const body of [{}, { input: '' }, { input: [] }, { input: null }]) {
      assert.deepEqual(await own.ok('/api/embed', { model, ...body }), { model, embeddings: [] });
    }
    assert.deepEqual(await own.ok('/api/embeddings', { model, prompt: '' }), { embedding: [] });
    const names = async () => (await own.loaded_models()).map(({ name }) => name);
    assert.deepEqual(await names(), ['cria:latest']);
    await own.ok('/api/embed', { model, keep_alive: 0 });
    await wait_until(async () => (await names()).length === 0, 'the model is unloaded');
  });

  test('what stops a model stops both of its runners', async (t) => {
    const own = await server_for_test(t);
    await own.ok('/api/embed', { model, input: 'a' });
    await own.generate('Hello');
    // They are one model, with the slots of each counted apart.
    const [row, ...others] = await own.loaded_models();
    assert.deepEqual(others, []);
    assert.deepEqual([row.name, row.running, row.parallel], ['cria:latest', 0, 1]);
    const tasks = row.tasks.map(({ task, state, running, waiting, parallel }) => [task, state, running, waiting, parallel]);
    assert.deepEqual(tasks, [['completion', 'loaded', 0, 0, 1], ['embedding', 'loaded', 0, 0, 64]]);
    assert.equal(own.runners().length, 2);
    const { done_reason } = await own.ok('/api/generate', { model, keep_alive: 0, stream: false });
    assert.equal(done_reason, 'unload');
    await wait_until(async () => (await own.loaded_models()).length === 0, 'both are unloaded');
    // So does the route for embeddings.
    await own.generate('Hello');
    await own.ok('/api/embed', { model, input: 'a' });
    await own.ok('/api/embed', { model, keep_alive: 0 });
    await wait_until(async () => (await own.loaded_models()).length === 0, 'both are unloaded again');
    await own.create('bert', bert());
    await own.ok('/api/embed', { model: 'bert', input: 'a' });
    await own.ok('/api/generate', { model: 'bert', keep_alive: 0, stream: false });
    await wait_until(async () => (await own.loaded_models()).length === 0, 'the encoder is unloaded');
  });

  test('dimensions: cut, then normalised again; others than there are change nothing', async () => {
    const embed = async (dimensions) => (await server.ok('/api/embed', { model, input: 'Hello', dimensions })).embeddings;
    const [full] = await embed(undefined);
    const [cut] = await embed(16);
    assert.equal(cut.length, 16);
    assert.ok(Math.abs(length(cut) - 1) < 1e-5);
    assert_same(cut, full.slice(0, 16), 'the first of them');
    for (const dimensions of [0, -3, cria_dimensions, 100_000]) assert.deepEqual(await embed(dimensions), [full]);
  });

  test('truncate keeps the beginning', async () => {
    const options = { num_ctx: 64 };
    const input = 'Count to 8 and then go on, please. '.repeat(100);
    const long = await server.ok('/api/embed', { model, input, options });
    assert.equal(long.prompt_eval_count, 64);
    const longer = await server.ok('/api/embed', { model, input: input + input, options });
    assert.deepEqual(longer.embeddings, long.embeddings);
    // An encoder's last token is its end: it stays.
    const encoded = await server.ok('/api/embed', { model: 'bert', input });
    assert.equal(encoded.prompt_eval_count, bert_shape.context);
  });

  test('/api/embeddings gives the same vector', async () => {
    const { embeddings } = await server.ok('/api/embed', { model, input: 'Hello' });
    const answer = await server.ok('/api/embeddings', { model, prompt: 'Hello' });
    assert.deepEqual(Object.keys(answer), ['embedding']);
    assert_same(answer.embedding, embeddings[0], 'both routes');
  });
});

describe('many texts together', () => {
  const server = server_for_suite({}, async (server) => {
    await server.create('bert', bert());
    await server.create('cls', bert({ pooling: 2 }));
  });

  // The vector of each text when nothing else is computed.
  async function alone(name, inputs) {
    const vectors = [];
    for (const input of inputs) vectors.push((await server.ok('/api/embed', { model: name, input })).embeddings[0]);
    return vectors;
  }

  // Each vector is that of its text, and nearer to it than to its neighbour's: what is mixed up would show.
  function assert_all_same(vectors, singles, what) {
    assert.equal(vectors.length, singles.length);
    vectors.forEach((vector, i) => {
      assert_same(vector, singles[i], `${what}, text ${i}`);
      const apart = distance(singles[i], singles[(i + 1) % singles.length]);
      assert.ok(4 * distance(vector, singles[i]) < apart, `${what}, text ${i}: its neighbour is ${apart} away`);
    });
  }

  for (const [name, most] of [
    [model, 60],
    ['bert', 40],
    ['cls', 40],
  ]) {
    test(`${name}: the vectors of 200 texts are those of each alone, in order`, async () => {
      const inputs = texts(200, most);
      const singles = await alone(name, inputs);
      const { embeddings } = await server.ok('/api/embed', { model: name, input: inputs });
      assert_all_same(embeddings, singles, `${name}, one list`);
      const answers = await Promise.all(inputs.map((input) => server.ok('/api/embed', { model: name, input })));
      const vectors = answers.map((answer) => answer.embeddings[0]);
      assert_all_same(vectors, singles, `${name}, 200 clients`);
    });
  }

  test('a text of the whole context among short ones', async () => {
    const inputs = ['Hello', 'Count to 8. '.repeat(2000), 'Hello'];
    const { embeddings, prompt_eval_count } = await server.ok('/api/embed', { model, input: inputs });
    assert.ok(prompt_eval_count > 2048 && prompt_eval_count < 2100, `${prompt_eval_count} tokens`);
    assert_same(embeddings[0], embeddings[2], 'the two short ones');
    const single = await server.ok('/api/embed', { model, input: inputs[1] });
    assert_same(embeddings[1], single.embeddings[0], 'the long one');
  });

  test('one text does not wait for a list of hundreds', async () => {
    const ask = (id, input) => server.send('POST', '/api/embed', { model, input }, { 'x-request-id': id });
    const list = ask('list', texts(600, 60));
    const running = async () => (await server.loaded_models()).some((entry) => entry.name === 'cria:latest' && entry.running > 0);
    await wait_until(running, 'the list is being computed');
    assert.equal((await ask('single', 'Hello')).status, 200);
    assert.equal((await list).json.embeddings.length, 600);
    // The log has the order in which they ended.
    const ended = () => [...server.stderr.matchAll(/ request id=(list|single) /g)].map(([, id]) => id);
    await wait_until(() => ended().length === 2, 'the log has both');
    assert.deepEqual(ended(), ['single', 'list']);
  });

  test('a client that goes away frees its slot; the others are served', async () => {
    const call = server.call('POST', '/api/embed', { model, input: texts(2000, 60) }, { 'x-request-id': 'left' });
    const count = async () =>
      (await server.loaded_models()).filter(({ name }) => name === 'cria:latest').reduce((sum, { running }) => sum + running, 0);
    await wait_until(async () => (await count()) === 1, 'the list is being computed');
    call.close();
    await wait_until(async () => (await count()) === 0, 'its slot is free');
    const left = () => / request id=left .* outcome=(\w+)/.exec(server.stderr)?.[1];
    await wait_until(left, 'the log says how it ended');
    assert.equal(left(), 'disconnected');
    const { embeddings } = await server.ok('/api/embed', { model, input: 'Hello' });
    assert.equal(embeddings.length, 1);
  });
});

test('the log says what a runner is for', async (t) => {
  const server = await server_for_test(t);
  await server.ok('/api/embed', { model, input: 'a' });
  await server.ok('/api/generate', { model, prompt: 'a', stream: false, options: { num_predict: 1 } });
  const logged = (line) => wait_until(() => line.test(server.stderr), `the log has ${line}`);
  await logged(/loading cria:latest in process \d+ for embeddings\n[^]*loaded cria:latest for embeddings: /);
  await logged(/loading cria:latest in process \d+\n[^]*loaded cria:latest: /);
});

test('what a model does is a column of ps, where that is more than to generate', async (t) => {
  const server = await server_for_test(t);
  const ps = async () =>
    (await server.cli(['ps'])).stdout
      .trimEnd()
      .split('\n')
      .map((line) => line.trim().split(/ {2,}/));
  await server.generate('Hello');
  assert.deepEqual((await ps())[0].slice(-1), ['UNTIL']);
  await server.ok('/api/embed', { model, input: 'a' });
  const [head, row, ...rest] = await ps();
  assert.deepEqual([head.at(-1), row[0], row.at(-1), rest], ['TASKS', 'cria:latest', 'completion, embedding', []]);
});

describe('a runner that dies', () => {
  test('its requests are computed by the next one', async (t) => {
    const server = await server_for_test(t);
    await server.ok('/api/embed', { model, input: 'a' });
    const [first] = server.runners();
    const inputs = texts(300, 60);
    const list = server.ok('/api/embed', { model, input: inputs });
    await wait_until(async () => (await server.loaded_models())[0]?.running === 1, 'the list is being computed');
    process.kill(first, 'SIGKILL');
    assert.equal((await list).embeddings.length, inputs.length);
    assert.ok(!server.runners().includes(first));
  });
});

describe('/v1/embeddings', () => {
  const server = server_for_suite({}, async (server) => {
    await server.create('bert', bert());
    await server.create('mmmm', renamed('Mmmm'));
  });
  const client = () => new OpenAI({ baseURL: `${server.url}/v1`, apiKey: 'none', maxRetries: 0 });

  test('errors in OpenAI’s form', async () => {
    const refused = async (body, status, type, message) => {
      const answer = await server.post('/v1/embeddings', body);
      assert.equal(answer.status, status, answer.text);
      assert.deepEqual(answer.json, { error: { message, type, param: null, code: status === 404 ? 'model_not_found' : null } });
    };
    const bad = (body, message) => refused({ model, ...body }, 400, 'invalid_request_error', message);
    await refused('', 400, 'invalid_request_error', 'missing request body');
    await bad({}, 'invalid input');
    await bad({ input: null }, 'invalid input');
    await bad({ input: [] }, 'invalid input');
    for (const input of [5, true, {}, ['a', 5], [1, 'a'], [[1], 'a'], [[1], ['a']], [-1], [1.5], [2 ** 40]])
      await bad({ input }, 'invalid input type');
    const formats = "Invalid value for 'encoding_format' = hex. Supported values: ['float', 'base64'].";
    await bad({ input: 'a', encoding_format: 'hex' }, formats);
    await bad({ input: [1_000_000] }, "input has a token that is not in the model's vocabulary");
    await bad({ input: [[]] }, 'input content cannot be empty');
    const missing = 'model "nobody" not found, try pulling it first';
    await refused({ model: 'nobody', input: 'a' }, 404, 'not_found_error', missing);
    await assert.rejects(client().embeddings.create({ model: 'nobody', input: 'a' }), (error) => {
      assert.ok(error instanceof OpenAI.NotFoundError);
      assert.ok(error.message.includes(missing));
      return true;
    });
  });

  test('the client, which asks for base64 by itself', async () => {
    const input = ['Hello', 'Count to 8', 'zor kibal'];
    const native = await server.ok('/api/embed', { model, input });
    const answer = await client().embeddings.create({ model, input });
    assert.equal(answer.object, 'list');
    assert.equal(answer.model, model);
    assert.deepEqual(answer.usage, {
      prompt_tokens: native.prompt_eval_count,
      total_tokens: native.prompt_eval_count,
    });
    answer.data.forEach(({ object, index, embedding }, i) => {
      assert.equal(object, 'embedding');
      assert.equal(index, i);
      assert_same(embedding, native.embeddings[i], `text ${i}`);
    });
    const floats = await client().embeddings.create({ model, input, encoding_format: 'float' });
    floats.data.forEach(({ embedding }, i) => assert_same(embedding, native.embeddings[i], `text ${i} as floats`));
  });

  test('base64 is little-endian floats of 32 bits', async () => {
    const { data } = await server.ok('/v1/embeddings', { model, input: 'Hello', encoding_format: 'BASE64' });
    const bytes = Buffer.from(data[0].embedding, 'base64');
    assert.equal(bytes.length, 4 * cria_dimensions);
    const floats = await server.ok('/v1/embeddings', { model, input: 'Hello' });
    floats.data[0].embedding.forEach((number, i) => {
      assert.ok(Math.abs(number - bytes.readFloatLE(4 * i)) < 1e-6, `number ${i}`);
    });
  });

  test('tokens instead of texts', async () => {
    // An encoder's tokens: [CLS] a [SEP], as a text of one letter gives them.
    const text = await client().embeddings.create({ model: 'bert', input: 'a' });
    const tokens = await client().embeddings.create({ model: 'bert', input: [2, 5, 3] });
    assert.equal(tokens.usage.prompt_tokens, 3);
    assert_same(tokens.data[0].embedding, text.data[0].embedding, 'one list');
    const lists = await client().embeddings.create({ model: 'bert', input: [[2, 6, 3], [2, 5, 3]] });
    assert_same(lists.data[1].embedding, text.data[0].embedding, 'the second of two');
    assert.ok(distance(lists.data[0].embedding, text.data[0].embedding) > 1e-2);
  });

  test('dimensions', async () => {
    const { data } = await client().embeddings.create({ model, input: 'Hello', dimensions: 8 });
    assert.equal(data[0].embedding.length, 8);
    assert.ok(Math.abs(length(data[0].embedding) - 1) < 1e-5);
  });

  test('the ollama client', async () => {
    const ollama = new Ollama({ host: server.url });
    const { embeddings } = await ollama.embed({ model, input: ['Hello', 'Goodbye'], truncate: true, keep_alive: '5m' });
    assert.equal(embeddings.length, 2);
    const { embedding } = await ollama.embeddings({ model, prompt: 'Goodbye' });
    assert_same(embedding, embeddings[1], 'the older route');
    await assert.rejects(ollama.embed({ model: 'nobody', input: 'a' }), {
      name: 'ResponseError',
      status_code: 404,
      error: 'model "nobody" not found, try pulling it first',
    });
  });

  test('64 clients, two models and a chat at once', async () => {
    const inputs = texts(64, 30);
    const before = await server.ok('/api/embed', { model, input: inputs });
    const [chat, ...answers] = await Promise.all([
      server.generate('Count to 20'),
      ...inputs.map((input, i) => client().embeddings.create({ model: i % 2 ? model : 'mmmm', input })),
    ]);
    assert.match(chat.response, /^1, 2, 3, .*, 20$/);
    answers.forEach(({ data }, i) => assert_same(data[0].embedding, before.embeddings[i], `client ${i}`));
  });
});
