// Each request that the page of Ollama's API documents, in its order, with the fields of its answer and their types.
//
// What the answers mean is tested elsewhere. Here it is that a client written after that page finds all that it says,
// and nothing that it does not know but what docs/api.md names.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { describe, test } from 'node:test';

import { capital_question, json_question, json_schema, tools as cria_tools, weather_question } from './faces.mjs';
import { renamed } from './gguf.mjs';
import { drover, instant, root, run_program, server_for_suite, sha256, Stream } from './harness.mjs';
import { docker_registry } from './registry.mjs';

// ---- types: a check each; an object of them is a type too

const string = (value) => assert.equal(typeof value, 'string');
const word = (value) => assert.ok(typeof value === 'string' && value !== '');
const boolean = (value) => assert.equal(typeof value, 'boolean');
const whole = (value) => assert.ok(Number.isInteger(value) && value >= 0);
const time = (value) => assert.ok(instant(value) > 0);
const digest = (value) => assert.match(value, /^[0-9a-f]{64}$/);
const exactly = (wanted) => (value) => assert.deepEqual(value, wanted);
const list = (type) => (value) => {
  assert.ok(Array.isArray(value));
  for (const item of value) check(item, type);
};
const optional = (type) => Object.assign((value) => check(value, type), { optional: true });

function check(value, type, where = '') {
  if (typeof type === 'function') {
    try {
      type(value);
    } catch (error) {
      error.message = `${where}: ${JSON.stringify(value)?.slice(0, 300)}: ${error.message}`;
      throw error;
    }
    return;
  }
  assert.ok(value !== null && typeof value === 'object' && !Array.isArray(value), `${where} is an object`);
  for (const [name, field] of Object.entries(type)) {
    if (field.optional && !(name in value)) continue;
    assert.ok(name in value, `${where}.${name} is missing: ${JSON.stringify(value).slice(0, 300)}`);
    check(value[name], field, `${where}.${name}`);
  }
  const unknown = Object.keys(value).filter((name) => !(name in type));
  assert.deepEqual(unknown, [], `${where} has more`);
}

// What every answer of a generation ends with; the last two are Drover's, the first of them
// only where there were any.
const metrics = {
  total_duration: whole,
  load_duration: whole,
  prompt_eval_count: whole,
  prompt_eval_duration: whole,
  eval_count: whole,
  eval_duration: whole,
  prompt_eval_cached_count: optional(whole),
  queue_duration: whole,
};
const head = { model: exactly('cria'), created_at: time };
const ended = { done: exactly(true), done_reason: exactly('stop') };
const generated = { ...head, response: word, ...ended, context: list(whole), ...metrics };
const assistant = { role: exactly('assistant'), content: word };
const answered = { ...head, message: assistant, ...ended, ...metrics };
const details = {
  parent_model: string,
  format: exactly('gguf'),
  family: exactly('llama'),
  families: list(word),
  parameter_size: word,
  quantization_level: word,
  context_length: whole,
  embedding_length: whole,
};
const status = { status: word };
const progress = { status: word, digest: optional(word), total: optional(whole), completed: optional(whole) };

const options = { temperature: 0 };
const embedding = (value) => {
  assert.equal(value.length, 256);
  assert.ok(value.every((number) => typeof number === 'number'));
};

describe('the documented request', () => {
  const server = server_for_suite();

  // One that is not streamed.
  async function ask(target, body, type) {
    const call = server.call('POST', target, body);
    const bytes = await call.bytes();
    assert.equal(call.response.statusCode, 200, bytes.toString());
    assert.match(call.response.headers['content-type'], /^application\/json/);
    const answer = JSON.parse(bytes);
    check(answer, type, target);
    return answer;
  }

  // One that is: all lines but the last are of the one type, the last of the other.
  async function stream(target, body, type, last_type) {
    const lines = new Stream(server.call('POST', target, body));
    await lines.ended;
    assert.equal(lines.call.response.statusCode, 200, JSON.stringify(lines.items));
    assert.equal(lines.call.response.headers['content-type'], 'application/x-ndjson');
    assert.ok(lines.items.length > 1);
    for (const line of lines.items.slice(0, -1)) check(line, type, target);
    check(lines.items.at(-1), last_type, target);
    return lines.items;
  }

  describe('of /api/generate', () => {
    const sky = { model: 'cria', prompt: 'Why is the sky blue?' };

    test('streaming, and not', async () => {
      const part = { ...head, response: word, done: exactly(false) };
      await stream('/api/generate', { ...sky, options }, part, { ...generated, response: string });
      await ask('/api/generate', { ...sky, stream: false, options }, generated);
    });

    test('with suffix', async () => {
      const body = { model: 'cria', prompt: 'def add(a, b):\n', suffix: '\n    return result\n', options, stream: false };
      await ask('/api/generate', body, generated);
    });

    test('structured outputs and JSON mode', async () => {
      for (const format of [json_schema, 'json']) {
        const body = { model: 'cria', prompt: json_question, stream: false, format, options };
        const { response } = await ask('/api/generate', body, generated);
        check(JSON.parse(response), { age: whole, available: boolean });
      }
    });

    test('with images', async () => {
      const body = { model: 'cria', prompt: 'What is in this picture?', images: ['iVBORw0KGgo='], stream: false };
      const { status: code, json } = await server.post('/api/generate', body);
      assert.deepEqual([code, json], [400, { error: 'image input is not supported yet' }]);
    });

    test('raw mode', async () => {
      const prompt = '<|im_start|>user\nCount to 3<|im_end|>\n<|im_start|>assistant\n';
      const { context, ...without } = generated;
      assert.ok(context);
      await ask('/api/generate', { model: 'cria', prompt, raw: true, stream: false, options }, without);
    });

    test('reproducible outputs', async () => {
      const body = { model: 'cria', prompt: 'Tell me a story.', options: { seed: 123 }, stream: false };
      const [first, second] = [await ask('/api/generate', body, generated), await ask('/api/generate', body, generated)];
      assert.equal(first.response, second.response);
    });

    test('with options: every one of the page, those without effect among them', async () => {
      const every = {
        num_keep: 5,
        seed: 42,
        num_predict: 100,
        top_k: 20,
        top_p: 0.9,
        min_p: 0.0,
        typical_p: 0.7,
        repeat_last_n: 33,
        temperature: 0.8,
        repeat_penalty: 1.2,
        presence_penalty: 1.5,
        frequency_penalty: 1.0,
        mirostat: 1,
        mirostat_tau: 0.8,
        mirostat_eta: 0.6,
        penalize_newline: true,
        stop: ['\n', 'user:'],
        numa: false,
        num_ctx: 1024,
        num_batch: 2,
        num_gpu: 1,
        main_gpu: 0,
        low_vram: false,
        vocab_only: false,
        use_mmap: true,
        use_mlock: false,
        num_thread: 8,
      };
      await ask('/api/generate', { ...sky, stream: false, options: every }, { ...generated, response: string, done_reason: word });
    });

    test('load and unload a model', async () => {
      const empty = (reason) => ({ ...head, response: exactly(''), done: exactly(true), done_reason: exactly(reason) });
      await ask('/api/generate', { model: 'cria' }, empty('load'));
      await ask('/api/generate', { model: 'cria', keep_alive: 0 }, empty('unload'));
    });
  });

  describe('of /api/chat', () => {
    const chat = { model: 'cria', messages: capital_question };
    const [weather] = cria_tools.map(({ name, description, schema }) => ({
      type: 'function',
      function: { name, description, parameters: schema },
    }));
    const call = { id: word, function: { index: exactly(0), name: exactly('get_weather'), arguments: { city: exactly('Tokyo') } } };
    const history = [
      { role: 'user', content: 'Count to 3' },
      { role: 'assistant', content: '1, 2, 3' },
      ...capital_question,
    ];

    test('streaming, and not; with a history', async () => {
      const part = { ...head, message: assistant, done: exactly(false) };
      const last = { ...answered, message: { ...assistant, content: string } };
      await stream('/api/chat', { ...chat, options }, part, last);
      await stream('/api/chat', { ...chat, messages: history, options }, part, last);
      await ask('/api/chat', { ...chat, stream: false, options }, answered);
    });

    test('structured outputs', async () => {
      const body = { ...chat, messages: [{ role: 'user', content: json_question }], stream: false, format: json_schema, options };
      check(JSON.parse((await ask('/api/chat', body, answered)).message.content), { age: whole, available: boolean });
    });

    test('with images', async () => {
      const messages = [{ role: 'user', content: 'What is in this image?', images: ['iVBORw0KGgo='] }];
      const { status: code, json } = await server.post('/api/chat', { ...chat, messages });
      assert.deepEqual([code, json], [400, { error: 'image input is not supported yet' }]);
    });

    test('reproducible outputs', async () => {
      await ask('/api/chat', { ...chat, options: { seed: 101, temperature: 0 }, stream: false }, answered);
    });

    test('with tools, streaming and not, and with a history of them', async () => {
      const messages = [{ role: 'user', content: weather_question }];
      const message = { role: exactly('assistant'), content: exactly(''), tool_calls: optional(list(call)) };
      const body = { model: 'cria', messages, tools: [weather], options };
      const lines = await stream('/api/chat', body, { ...head, message, done: exactly(false) }, { ...answered, message });
      assert.equal(lines.flatMap((line) => line.message.tool_calls ?? []).length, 1);
      const called = await ask('/api/chat', { ...body, stream: false }, { ...answered, message });
      assert.equal(called.message.tool_calls.length, 1);
      const result = { role: 'tool', content: '11 degrees celsius', tool_name: 'get_weather' };
      const all = { ...body, messages: [...messages, called.message, result], stream: false };
      assert.match((await ask('/api/chat', all, answered)).message.content, /11 degrees/);
    });

    test('thinking', async () => {
      await ask('/api/chat', { ...chat, think: true, stream: false, options }, { ...answered, message: { ...assistant, thinking: word } });
    });

    test('load and unload a model', async () => {
      const empty = (reason) => ({
        ...head,
        message: { role: exactly('assistant'), content: exactly('') },
        done: exactly(true),
        done_reason: exactly(reason),
      });
      await ask('/api/chat', { model: 'cria', messages: [] }, empty('load'));
      await ask('/api/chat', { model: 'cria', messages: [], keep_alive: 0 }, empty('unload'));
    });
  });

  describe('of the library', () => {
    test('create: from a model, quantized, from a GGUF; blobs', async () => {
      await stream('/api/create', { model: 'mario', from: 'cria', system: 'You are Mario.' }, status, { status: exactly('success') });
      const bytes = renamed('Docu');
      const name = `sha256:${sha256(bytes)}`;
      const blob = async (method, body) => (await server.send(method, `/api/blobs/${name}`, body)).status;
      assert.deepEqual([await blob('HEAD'), await blob('POST', bytes), await blob('HEAD')], [404, 201, 200]);
      assert.equal((await server.send('POST', `/api/blobs/sha256:${sha256('x')}`, 'y')).status, 400);
      await stream('/api/create', { model: 'own', files: { 'own.gguf': name } }, status, { status: exactly('success') });
      const body = { model: 'own:quantized', from: 'own', quantize: 'q8_0' };
      await stream('/api/create', body, progress, { status: exactly('success') });
      check(await server.ok('/api/create', { ...body, stream: false }), { status: exactly('success') });
    });

    test('create: from a safetensors folder', async () => {
      const name = await server.upload(Buffer.from('no GGUF'));
      const body = { model: 'fred', files: { 'config.json': name, 'model.safetensors': name }, stream: false };
      const answer = await server.post('/api/create', body);
      assert.equal(answer.status, 400);
      check(answer.json, { error: word });
    });

    test('list local models', async () => {
      const { json } = await server.get('/api/tags');
      const model = { name: word, model: word, modified_at: time, size: whole, digest, details, capabilities: list(word) };
      check(json, { models: list(model) });
      assert.ok(json.models.length > 1);
    });

    test('show model information', async () => {
      const info = (value) => assert.equal(value['general.architecture'], 'llama');
      const shown = {
        modelfile: word,
        template: word,
        details,
        model_info: info,
        capabilities: list(word),
        modified_at: time,
      };
      await ask('/api/show', { model: 'cria' }, shown);
      await ask('/api/show', { model: 'mario' }, { ...shown, system: exactly('You are Mario.') });
      const tensors = list({ name: word, type: word, shape: list(whole) });
      const verbose = await ask('/api/show', { model: 'cria', verbose: true }, { ...shown, tensors });
      for (const name of ['merges', 'token_type', 'tokens']) {
        assert.ok(verbose.model_info[`tokenizer.ggml.${name}`].length > 100, name);
      }
    });

    test('copy and delete a model', async () => {
      const ask_plain = async (method, target, body) => {
        const { status: code, text } = await server.send(method, target, body);
        return [code, text];
      };
      assert.deepEqual(await ask_plain('POST', '/api/copy', { source: 'cria', destination: 'backup' }), [200, '']);
      assert.deepEqual(await ask_plain('DELETE', '/api/delete', { model: 'backup' }), [200, '']);
      assert.equal((await ask_plain('POST', '/api/copy', { source: 'backup', destination: 'x' }))[0], 404);
      assert.equal((await ask_plain('DELETE', '/api/delete', { model: 'backup' }))[0], 404);
    });

    test('push and pull a model', async (t) => {
      const registry = await docker_registry(t);
      const model = `${registry.host}/library/mario`;
      await server.ok('/api/copy', { source: 'mario', destination: model });
      await stream('/api/push', { model, insecure: true }, progress, { status: exactly('success') });
      check(await server.ok('/api/push', { model, insecure: true, stream: false }), { status: exactly('success') });
      await server.send('DELETE', '/api/delete', { model });
      const lines = await stream('/api/pull', { model, insecure: true }, progress, { status: exactly('success') });
      const seen = [...new Set(lines.map((line) => line.status.replace(/^pulling [0-9a-f]{12}$/, 'pulling')))];
      assert.deepEqual(seen, ['pulling manifest', 'pulling', 'verifying sha256 digest', 'writing manifest', 'success']);
      check(await server.ok('/api/pull', { model, insecure: true, stream: false }), { status: exactly('success') });
    });
  });

  test('embeddings: of one text and of several; the older form', async () => {
    const embedded = { model: exactly('cria'), embeddings: list(embedding), total_duration: whole, load_duration: whole, prompt_eval_count: whole };
    for (const input of ['Why is the sky blue?', ['Why is the sky blue?', 'Why is the grass green?']]) {
      const { embeddings } = await ask('/api/embed', { model: 'cria', input }, embedded);
      assert.equal(embeddings.length, [input].flat().length);
    }
    await ask('/api/embeddings', { model: 'cria', prompt: 'Here is an article about llamas...' }, { embedding });
  });

  test('list running models', async () => {
    await server.generate('Hello');
    const { json } = await server.get('/api/ps');
    const own = { state: word, running: whole, waiting: whole, slots: whole, parallel: whole, tasks: list({ task: word, state: word, running: whole, waiting: whole, slots: whole, parallel: whole }), kv: optional((kv) => assert.ok(kv.cells > 0)) };
    const model = { name: word, model: word, size: whole, digest, details, expires_at: time, size_vram: whole, context_length: whole };
    check(json, { models: list({ ...model, ...own }) });
    assert.ok(json.models.length > 0);
  });

  test('version', async () => check((await server.get('/api/version')).json, { version: word, drover: word }));
});

describe('the documents', () => {
  const files = (folder, ending) =>
    fs
      .readdirSync(path.join(root, folder), { recursive: true })
      .filter((name) => name.endsWith(ending) && !name.endsWith('_test.cc'))
      .map((name) => fs.readFileSync(path.join(root, folder, name), 'utf8'));
  const documents = [fs.readFileSync(path.join(root, 'README.md'), 'utf8'), ...files('docs', '.md')].join('\n');

  test('name every setting that `drover serve --help` lists, and no other', async () => {
    const { stdout } = await run_program(drover, ['serve', '--help']);
    const [, list] = stdout.split('\nEnvironment Variables:\n');
    const listed = [...list.matchAll(/^ {6}([A-Z_]+) {3,}\S/gm)].map(([, name]) => name);
    const page = fs.readFileSync(path.join(root, 'docs/settings.md'), 'utf8');
    const [, server] = page.split(/^## /m);
    const named = [...server.matchAll(/^\| `([A-Z_]+)` \|/gm)].map(([, name]) => name);
    assert.ok(named.length > 25, `${named}`);
    assert.deepEqual(listed, named);
  });

  test('end no process by its name', () => {
    assert.doesNotMatch(documents, /\b(pkill|killall)\b(?! -9 -P)/);
  });
});
