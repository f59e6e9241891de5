// What is wrong gets a clear message and the right status, and the server goes on.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { afterEach, describe, test } from 'node:test';

import { cria, renamed } from './gguf.mjs';
import { drover, run_program, server_for_suite, server_for_test, sha256 } from './harness.mjs';

// An answer that is an error: JSON with nothing but the text.
function check_error(answer, status, text) {
  assert.equal(answer.status, status, answer.text);
  assert.match(answer.headers['content-type'], /^application\/json/);
  assert.deepEqual(Object.keys(answer.json ?? {}), ['error'], answer.text);
  if (text instanceof RegExp) assert.match(answer.json.error, text);
  else assert.equal(answer.json.error, text);
}

describe('a request that is wrong', () => {
  const server = server_for_suite({ env: { DROVER_BODY_MAX: '8192' } });
  const generate = (body) => server.post('/api/generate', body);
  const with_body = ['/api/generate', '/api/chat', '/api/show', '/api/create', '/api/copy'];

  afterEach(async () => assert.equal((await server.generate('Count to 3')).response, '1, 2, 3', 'the server goes on'));

  test('no body', async () => {
    for (const target of with_body) check_error(await server.post(target, ''), 400, 'missing request body');
    check_error(await server.send('DELETE', '/api/delete', ''), 400, 'missing request body');
  });

  test('malformed JSON', async () => {
    for (const body of [
      '{',
      '{"model": cria}',
      '{"model": "cria",}',
      'Hello',
      '[1]',
      '"cria"',
      '5',
      '{"model": "\ud800"}',
      '{"a":'.repeat(600),
    ]) {
      for (const target of with_body) check_error(await server.post(target, body), 400, /./);
    }
    check_error(await server.post('/api/generate', Buffer.from([0x7b, 0x22, 0xff, 0xfe, 0x22, 0x7d])), 400, /./);
  });

  test('wrong types', async () => {
    for (const [field, value] of [
      ['model', 5],
      ['prompt', 5],
      ['prompt', ['a']],
      ['stream', 'no'],
      ['raw', 1],
      ['options', []],
      ['options', 'x'],
      ['context', 'x'],
      ['context', [1.5]],
      ['keep_alive', {}],
      ['keep_alive', 'soon'],
      ['system', {}],
    ]) {
      const answer = await generate({ model: 'cria', prompt: 'Hello', stream: false, [field]: value });
      check_error(answer, 400, /./);
    }
    for (const messages of ['x', [5], [{ role: 5, content: 'x' }], [{ role: 'user', content: 5 }], { role: 'user' }]) {
      check_error(await server.post('/api/chat', { model: 'cria', messages, stream: false }), 400, /./);
    }
  });

  test('options of a wrong type are named', async () => {
    for (const [name, value, type] of [
      ['temperature', 'hot', 'float32'],
      ['num_predict', 'x', 'integer'],
      ['num_ctx', '4k', 'integer'],
      ['stop', 5, 'array'],
      ['use_mmap', 'x', 'boolean'],
    ]) {
      const answer = await generate({ model: 'cria', prompt: 'Hello', stream: false, options: { [name]: value } });
      check_error(answer, 400, `option "${name}" must be of type ${type}`);
    }
    const unknown = await generate({
      model: 'cria',
      prompt: 'Count to 3',
      stream: false,
      options: { temperature: 0, warmth: 5 },
    });
    assert.equal(unknown.json.response, '1, 2, 3', 'an unknown option is no error');
  });

  test('an unknown model', async () => {
    for (const target of ['/api/generate', '/api/chat', '/api/show']) {
      const body = { model: 'nobody', prompt: 'Hello', messages: [{ role: 'user', content: 'Hello' }] };
      check_error(await server.post(target, body), 404, "model 'nobody' not found");
    }
    check_error(await server.send('DELETE', '/api/delete', { model: 'nobody' }), 404, "model 'nobody' not found");
    check_error(
      await server.post('/api/copy', { source: 'nobody', destination: 'x' }),
      404,
      'model "nobody" not found',
    );
  });

  test('no model at all', async () => {
    check_error(await generate({ prompt: 'Hello' }), 404, "model '' not found");
    check_error(await server.post('/api/chat', { messages: [] }), 400, 'model is required');
    check_error(await server.post('/api/show', {}), 400, 'model is required');
    check_error(await server.post('/api/create', { model: 'x' }), 400, "neither 'from' or 'files' was specified");
    check_error(await server.post('/api/copy', { source: 'cria', destination: '' }), 400, 'destination "" is invalid');
    check_error(await server.post('/api/copy', { source: '', destination: 'x' }), 400, 'source "" is invalid');
  });

  test('a format that is none', async () => {
    const expected = /^invalid format: .*; expected "json" or a valid JSON Schema object$/;
    check_error(await generate({ model: 'cria', prompt: 'Hello', format: 'xml' }), 400, expected);
    check_error(await generate({ model: 'cria', prompt: 'Hello', format: 7 }), 400, expected);
    const schema = { type: 'no such type' };
    const answer = await generate({ model: 'cria', prompt: 'Hello', stream: false, format: schema });
    assert.ok(answer.status >= 400, answer.text);
    check_error(answer, answer.status, /./);
  });

  test('raw with what raw leaves out', async () => {
    for (const extra of [{ system: 'x' }, { template: 'x' }, { context: [1, 2] }]) {
      const answer = await generate({ model: 'cria', prompt: 'Hello', raw: true, ...extra });
      check_error(answer, 400, 'raw mode does not support template, system, or context');
    }
  });

  test('context tokens that the model does not have', async () => {
    for (const context of [[-1], [1024], [2_000_000_000]]) {
      const answer = await generate({ model: 'cria', prompt: 'Hello', context, stream: false });
      assert.ok(answer.status >= 400 && answer.status < 600, `${context}: ${answer.text}`);
      check_error(answer, answer.status, /./);
    }
  });

  test('a body over the limit', async () => {
    for (const length of [9000, 3_000_000]) {
      check_error(await generate({ model: 'cria', prompt: 'x'.repeat(length) }), 413, /./);
    }
    assert.equal(
      (await generate({ model: 'cria', prompt: 'Hello', system: 'x'.repeat(2000), stream: false })).status,
      200,
    );
  });

  test('numbers beyond all bounds', async () => {
    const prompt = 'Count to 3';
    for (const options of [
      { num_ctx: 2_000_000_000 },
      { num_ctx: -5 },
      { num_ctx: 0 },
      { num_batch: 2_000_000_000 },
      { num_batch: 0 },
      { num_thread: 100_000 },
      { num_keep: 2_000_000_000 },
      { num_predict: -7 },
      { top_k: -3 },
      { repeat_last_n: -9 },
      { temperature: -1 },
      { seed: 9_007_199_254_740_991 },
    ]) {
      // What it means may differ; that it is an answer and that the server lives may not.
      const answer = await generate({ model: 'cria', prompt, stream: false, options: { temperature: 0, ...options } });
      if (answer.status === 200) assert.equal(answer.json.done, true, answer.text);
      else check_error(answer, answer.status, /./);
    }
  });
});

describe('a file that is no good model', () => {
  const server = server_for_suite();
  const create = (digest) =>
    server.post('/api/create', { model: 'broken', files: { 'model.gguf': digest }, stream: false });
  const not_created = async (bytes) => {
    const answer = await create(await server.upload(bytes));
    assert.ok(answer.status === 400 || answer.status === 500, `${answer.status} ${answer.text}`);
    check_error(answer, answer.status, /./);
    assert.equal((await server.post('/api/show', { model: 'broken' })).status, 404, 'no half model');
    return answer.json.error;
  };

  afterEach(async () => assert.equal((await server.generate('Count to 3')).response, '1, 2, 3', 'the server goes on'));

  test('is no GGUF', async () => {
    await not_created(Buffer.from('This is a text.\n'.repeat(1000)));
    await not_created(Buffer.alloc(0));
    await not_created(Buffer.from('GGUF'));
  });

  test('is a GGUF that is cut short', async () => {
    const whole = renamed('Cutt');
    for (const length of [20, 1000, 40_000, 1_000_000, whole.length - 1]) await not_created(whole.subarray(0, length));
  });

  test('is a GGUF whose counts lie', async () => {
    for (const [at, count] of [
      [8, 1n << 60n],
      [16, 1n << 60n],
      [24, 1n << 62n],
    ]) {
      const bytes = cria();
      bytes.writeBigUInt64LE(count, at); // tensors, values, length of the first key
      await not_created(bytes);
    }
  });

  test('was never uploaded', async () => {
    const answer = await create(`sha256:${sha256('nothing')}`);
    assert.ok(answer.status === 400 || answer.status === 404, answer.text);
    check_error(answer, answer.status, /./);
  });

  test('was cut short on disk after it was created', async () => {
    const bytes = renamed('Disk');
    await server.create('cut', bytes);
    fs.truncateSync(path.join(server.models, 'blobs', `sha256-${sha256(bytes)}`), 3_000_000);
    for (const stream of [false, true]) {
      const answer = await server.post('/api/generate', { model: 'cut', prompt: 'Hello', stream });
      check_error(answer, 500, /./);
    }
  });

  test('is gone from the disk', async () => {
    const bytes = renamed('Gone');
    await server.create('gone', bytes);
    fs.unlinkSync(path.join(server.models, 'blobs', `sha256-${sha256(bytes)}`));
    const answer = await server.post('/api/generate', { model: 'gone', prompt: 'Hello', stream: false });
    assert.ok(answer.status >= 400, answer.text);
    check_error(answer, answer.status, /./);
  });
});

describe('a full disk', () => {
  test('is said, and leaves nothing half', async (t) => {
    const probe = await run_program('unshare', ['-rm', 'true']);
    if (probe.code !== 0) return t.skip('this machine lets no test mount a small disk');
    const mount = 'mkdir "$OLLAMA_MODELS" && mount -t tmpfs -o size=9m none "$OLLAMA_MODELS" && exec "$0" "$@"';
    const server = await server_for_test(t, { wrapper: ['unshare', '-rm', 'bash', '-c', mount] });
    const bytes = renamed('Full'); // beside cria there is room for half of it
    const digest = `sha256:${sha256(bytes)}`;
    check_error(await server.send('POST', `/api/blobs/${digest}`, bytes), 507, /no space/i);
    assert.equal((await server.send('HEAD', `/api/blobs/${digest}`)).status, 404);
    await server.ok('/api/create', { model: 'small', from: 'cria', system: 'x'.repeat(1_000_000), stream: false });
    assert.equal((await server.generate('Count to 3')).response, '1, 2, 3');
  });
});

describe('a start that is wrong', () => {
  const start = async (server, env, text) => {
    const { code, stdout, stderr } = await run_program(drover, ['serve'], { env: { ...server.environment, ...env } });
    assert.equal(code, 1, `${JSON.stringify(env)}: ${stdout}${stderr}`);
    assert.equal(stdout, '');
    const lines = stderr.trimEnd().split('\n');
    assert.match(lines.at(-1), text);
    return lines;
  };

  test('the port is in use', async (t) => {
    const server = await server_for_test(t);
    const owner = `address already in use by drover \\(process ${server.process.pid}\\): .*OLLAMA_HOST=http://127\\.0\\.0\\.1:`;
    await start(server, {}, new RegExp(owner));
    assert.equal((await server.get('/')).status, 200);
  });

  test('an environment value is invalid', async (t) => {
    const server = await server_for_test(t);
    for (const [name, value] of [
      ['OLLAMA_NUM_PARALLEL', 'many'],
      ['OLLAMA_NUM_PARALLEL', '-1'],
      ['OLLAMA_MAX_QUEUE', '1e3'],
      ['OLLAMA_HOST', '127.0.0.1:99999'],
      ['OLLAMA_KEEP_ALIVE', 'soon'],
      ['OLLAMA_REQUEST_TIMEOUT', '5 minutes'],
      ['OLLAMA_MAX_LOADED_MODELS', '3.5'],
      ['OLLAMA_CONTEXT_LENGTH', 'long'],
      ['OLLAMA_KV_CACHE_TYPE', 'q3'],
      ['OLLAMA_FLASH_ATTENTION', 'maybe'],
    ]) {
      const lines = await start(server, { [name]: value }, new RegExp(name));
      assert.equal(lines.length, 1, lines.join('\n'));
    }
  });

  test('the models folder cannot be used', async (t) => {
    const server = await server_for_test(t);
    const file = path.join(server.folder, 'a-file');
    fs.writeFileSync(file, '');
    await start(server, { OLLAMA_MODELS: path.join(file, 'models'), OLLAMA_HOST: '127.0.0.1:0' }, /a-file/);
  });

  test('an option or a command that is none', async (t) => {
    const server = await server_for_test(t);
    for (const args of [['serve', '--no-such-option'], ['no-such-command'], ['cp', 'one']]) {
      const { code, stderr } = await run_program(drover, args, { env: server.environment });
      assert.equal(code, 1, `${args}: ${stderr}`);
      assert.match(stderr, /^Error: /);
    }
  });
});
