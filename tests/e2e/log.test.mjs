// What the server writes to its log.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import { bert } from './bert.mjs';
import { endless, renamed } from './gguf.mjs';
import { run_program, drover, server_for_suite, server_for_test, signal, wait_until, without_end } from './harness.mjs';

const trace = '4bf92f3577b34da6a3ce929d0e0e4736';
const lines_of = (server) => server.stderr.split('\n').slice(0, -1);

// The first line that matches, once it is there.
async function line_with(server, pattern) {
  let found;
  await wait_until(() => (found = lines_of(server).find((line) => pattern.test(line))), `${pattern}`);
  return found;
}

describe('DROVER_LOG_FORMAT=json', () => {
  const server = server_for_suite({ env: { DROVER_LOG_FORMAT: 'json' } }, async (started) => {
    await started.create('endless', endless());
    await started.create('bert', bert());
  });
  const ask = (id, body, headers = {}) =>
    server.send('POST', '/api/chat', { model: 'cria', stream: false, ...body }, { 'x-request-id': id, ...headers });
  const entry_of = async (id) => JSON.parse(await line_with(server, new RegExp(`"id":"${id}"`)));
  const messages = [{ role: 'user', content: 'Count from 1 to 9' }];

  test('a request is one line', async () => {
    const headers = { traceparent: `00-${trace}-00f067aa0ba902b7-01`, authorization: 'Bearer sk-secret' };
    const { json } = await ask('one', { messages }, headers);
    const entry = await entry_of('one');
    assert.match(entry.time, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
    const { level, message, trace_id, client, route, model, outcome, queue_ms, load_ms, prefill_ms, decode_ms } = entry;
    assert.deepEqual(
      { level, message, trace_id, route, model, outcome },
      { level: 'info', message: 'request', trace_id: trace, route: '/api/chat', model: 'cria:latest', outcome: 'stop' },
    );
    assert.match(client, /^key:[0-9a-f]{8}$/);
    assert.equal(entry.prompt_tokens, json.prompt_eval_count);
    assert.equal(entry.cached_tokens, json.prompt_eval_cached_count ?? 0);
    assert.equal(entry.output_tokens, json.eval_count);
    assert.ok(load_ms > 0 && prefill_ms > 0, 'it waited for the load and for its prompt');
    const sum = queue_ms + load_ms + prefill_ms + decode_ms;
    assert.ok(Math.abs(sum - entry.total_ms) < 1, `${sum} is ${entry.total_ms}`);
    assert.equal(lines_of(server).filter((line) => line.includes('"id":"one"')).length, 1);
  });

  test('a request that failed says why, and one that was canceled that it was', async (t) => {
    await ask('wrong', { model: 'nobody', messages });
    const wrong = await entry_of('wrong');
    assert.deepEqual([wrong.outcome, wrong.error], ['invalid', "model 'nobody' not found"]);
    assert.equal(wrong.model, undefined);
    const body = { model: 'endless', messages, stream: true, options: { num_predict: without_end } };
    for (const [id, outcome] of [['left', 'disconnected'], ['ended', 'canceled']]) {
      const call = server.call('POST', '/api/chat', body, { 'x-request-id': id });
      t.after(() => call.close());
      await call.head; // with its first token
      if (id === 'left') call.close();
      else assert.equal((await server.send('DELETE', `/api/requests/${id}`)).status, 200);
      const entry = await entry_of(id);
      assert.equal(entry.outcome, outcome);
      assert.ok(entry.output_tokens > 0);
    }
  });

  test('embeddings are requests like others', async () => {
    for (const [route, body] of [
      ['/api/embed', { model: 'bert', input: 'Hello' }],
      ['/api/embeddings', { model: 'bert', prompt: 'Hello' }],
      ['/v1/embeddings', { model: 'bert', input: 'Hello' }],
    ]) {
      const id = `vector:${route}`;
      const { status, headers } = await server.send('POST', route, body, { 'x-request-id': id });
      assert.deepEqual([status, headers['x-request-id']], [200, id]);
      const entry = await entry_of(id);
      assert.deepEqual([entry.route, entry.model, entry.outcome], [route, 'bert:latest', 'stop']);
      assert.ok(entry.prompt_tokens > 0 && entry.output_tokens === 0);
    }
    const wrong = await server.send('POST', '/api/embed', { model: 'nobody', input: 'Hello' }, { 'x-request-id': 'none' });
    assert.deepEqual([wrong.status, wrong.headers['x-request-id']], [404, 'none']);
    assert.equal((await entry_of('none')).outcome, 'invalid');
  });

  test('a runner that dies is heard, and every line is an object', async () => {
    await ask('alive', { messages });
    for (const pid of server.runners()) signal(pid, 'SIGABRT');
    await line_with(server, /the runner of cria:latest has ended: signal 6/);
    for (const line of lines_of(server)) {
      const entry = JSON.parse(line);
      assert.ok(entry.time && entry.level && entry.message, line);
    }
    assert.doesNotMatch(server.stderr, /sk-secret/);
  });
});

test('OLLAMA_DEBUG=1 says why: who waits, who is next, who is evicted', async (t) => {
  const server = await server_for_test(t, { env: { OLLAMA_DEBUG: '1', OLLAMA_MAX_LOADED_MODELS: '1' } });
  await server.create('endless', endless());
  await server.create('another', renamed('Anot'));
  const headers = (id) => ({ 'x-request-id': id });
  const body = { model: 'endless', prompt: 'Hello', options: { num_predict: without_end } };
  const first = server.call('POST', '/api/generate', body, headers('first'));
  t.after(() => first.close());
  await first.head;
  const second = server.call('POST', '/api/generate', body, headers('second'));
  t.after(() => second.close());
  await line_with(server, /DEBUG? +request second for endless:latest waits, 1 in all for this model: all places of its model/i);
  first.close();
  await second.head;
  await line_with(server, /request second for endless:latest gets place 1 of 1 after [\d.]+ s: first in the fair order/);
  second.close();
  await wait_until(async () => (await server.get('/api/queue')).json.requests.length === 0, 'all is done');
  await server.generate('Hello', { model: 'another' });
  await line_with(server, /endless:latest is evicted: idle for .* GiB are wanted \(for another:latest\)/);
  await line_with(server, /another:latest starts to load: 1 wait for it/);
  // What a runner says stands under its model's name.
  await server.generate('the sun and the river '.repeat(40), { model: 'another', options: { num_ctx: 64 } });
  await line_with(server, / warning +\[another:latest\] request \d+: the prompt is too long for a context of \d+ tokens; left out: \d+ messages, \d+ tokens$/);
});

test('without OLLAMA_DEBUG a request is one line of text, and nothing is said for each token', async (t) => {
  const server = await server_for_test(t);
  await server.generate('Hello');
  const before = lines_of(server).length;
  await server.generate('Count from 1 to 40');
  const line = await line_with(server, / outcome=stop .* output_tokens=\d\d/);
  assert.match(line, /^\d{4}-\d\d-\d\dT\S+ info +request id=[0-9a-f]{16} client=127\.0\.0\.1 route=\/api\/generate model=cria:latest /i);
  assert.equal(lines_of(server).length, before + 1);
});

test('a format that there is not', async (t) => {
  const server = await server_for_test(t);
  const env = { ...server.environment, DROVER_LOG_FORMAT: 'xml' };
  const { code, stderr } = await run_program(drover, ['serve'], { env });
  assert.equal(code, 1);
  assert.match(stderr, /DROVER_LOG_FORMAT="xml" is not valid: it takes text or json/);
});
