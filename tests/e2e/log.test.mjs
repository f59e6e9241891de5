// What the server writes to its log.
import assert from 'node:assert/strict';
import fs from 'node:fs';
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
    await line_with(server, /the runner of cria:latest ended unexpectedly: signal 6/);
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
  await line_with(server, /DEBUG? +request second for endless:latest waits, 1 in all for this model: all slots of its model/i);
  first.close();
  await second.head;
  await line_with(server, /request second for endless:latest gets slot 1 of 1 after [\d.]+ s: first in the fair order/);
  second.close();
  await wait_until(async () => (await server.get('/api/queue')).json.requests.length === 0, 'all is done');
  await server.generate('Hello', { model: 'another' });
  await line_with(server, /endless:latest is evicted: idle for .* GiB are needed \(for another:latest\)/);
  await line_with(server, /another:latest starts to load: 1 wait for it/);
  // What a runner says stands under its model's name.
  await server.generate('the sun and the river '.repeat(40), { model: 'another', options: { num_ctx: 64 } });
  await line_with(server, / warning +\[another:latest\] request \d+: the prompt is too long for a context of \d+ tokens; left out: \d+ messages, \d+ tokens$/);
});

test('without OLLAMA_DEBUG a request is one line of text, and nothing is said for each token', async (t) => {
  const server = await server_for_test(t);
  await server.generate('Hello');
  await line_with(server, / outcome=stop /);
  const before = lines_of(server).length;
  await server.generate('Count from 1 to 40');
  const line = await line_with(server, / outcome=stop .* output_tokens=\d\d/);
  assert.match(line, /^\d{4}-\d\d-\d\dT\S+ info +request id=[0-9a-f]{16} client=127\.0\.0\.1 route=\/api\/generate model=cria:latest /i);
  assert.equal(lines_of(server).length, before + 1);
});

// Whatever moves a cursor, begins a line or turns text round, and bytes that are no UTF-8.
const escapes = '\n\r\t\u001b[2J\u001b]0;title\u0007\u007f\u0085\u009b1m\u2028\u2029\u202e\u2066\u200f';
const forged = '2026-11-28T00:00:00.000 info  request id=FORGED outcome=stop';
// eslint-disable-next-line no-control-regex
const harmful = /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/;

for (const format of ['text', 'json']) {
  test(`what others send stays within its line (${format})`, async (t) => {
    const server = await server_for_test(t, { env: { DROVER_LOG_FORMAT: format, OLLAMA_DEBUG: '1' } });
    await server.generate('Hello'); // its runner is there
    const evil = `x${escapes}\n${forged}`;
    const at_once = { model: 'cria', prompt: 'Hello', stream: false, options: { num_predict: 1 } };
    await server.ok('/api/generate', { ...at_once, options: { ...at_once.options, [evil]: 1 } });
    for (const [route, body] of [
      ['/api/generate', { ...at_once, model: evil }],
      ['/api/generate', { ...at_once, format: evil }],
      ['/api/generate', { ...at_once, think: evil }],
      ['/api/generate', { ...at_once, keep_alive: evil }],
      ['/api/chat', { model: 'cria', messages: [{ role: evil, content: evil }], stream: false }],
      ['/api/chat', { model: 'cria', messages: [], tools: [{ type: evil }], stream: false }],
      ['/v1/chat/completions', { model: evil, messages: [{ role: 'user', content: 'Hello' }], [evil]: 1 }],
      ['/v1/messages', { model: evil, max_tokens: 1, messages: [{ role: 'user', content: [{ type: evil }] }] }],
      ['/api/embed', { model: evil, input: 'x' }],
      ['/api/create', { model: 'other', from: 'cria', parameters: { [evil]: 1 }, stream: false }],
      [`/api/${encodeURIComponent(evil)}`, {}],
    ])
      await server.send('POST', route, body, { 'x-client-id': 'somebody' });
    // What a library writes to a runner's standard error, which is a stranger's file's text as often as not.
    const [runner] = server.runners();
    fs.writeFileSync(`/proc/${runner}/fd/2`, Buffer.from(`<3>a token ${escapes.replace('\n', '')}\x9b \xff${'y'.repeat(9000)}\n`, 'latin1'));
    await server.ok('/api/generate', at_once);
    await line_with(server, /a token/);
    await wait_until(() => lines_of(server).filter((line) => /outcome"?[=:]/.test(line)).length >= 7, 'all are logged');
    assert.doesNotMatch(server.stderr, harmful);
    assert.doesNotMatch(server.stderr, /^2026-11-28T00:00:00.000/m);
    for (const line of lines_of(server)) {
      if (format === 'json') assert.ok(JSON.parse(line).message, line);
      else assert.match(line, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3} (debug|info|warn\w*|error) /i);
    }
  });
}

test('a request has few lines, and each is short', async (t) => {
  const server = await server_for_test(t);
  await server.generate('Hello');
  const before = server.stderr.length;
  const lines_before = lines_of(server).length;
  const long = 'z'.repeat(1 << 20);
  const options = Object.fromEntries(Array.from({ length: 8000 }, (_, i) => [`unknown_${i}`, i]));
  await server.ok('/api/generate', { model: 'cria', prompt: 'Hello', stream: false, options: { num_predict: 1, ...options } });
  const line = await line_with(server, /invalid option provided/);
  assert.match(line, / warn\w* +invalid option provided: "unknown_0", "unknown_1", "unknown_2", "unknown_3", "unknown_4" and 7995 more$/i);
  for (const [route, body] of [
    ['/api/generate', { model: long, prompt: 'Hello' }],
    ['/api/generate', { model: 'cria', prompt: 'Hello', options: { [long]: 1 }, stream: false }],
    ['/api/generate', { model: 'cria', prompt: 'Hello', format: long }],
    ['/api/generate', { model: 'cria', prompt: 'Hello', think: long }],
    ['/v1/chat/completions', { model: 'cria', messages: [{ role: 'user', content: 'Hello' }], max_tokens: 1, [long]: 1, ...options }],
    ['/v1/chat/completions', { model: 'cria', messages: [{ role: long, content: 'Hello' }], max_tokens: 1 }],
  ]) {
    const { headers } = await server.send('POST', route, body);
    assert.ok((headers['x-drover-warning'] ?? '').length < 4096);
  }
  await wait_until(() => lines_of(server).slice(lines_before).filter((each) => / outcome=/.test(each)).length >= 7, 'all are logged');
  for (const each of lines_of(server)) assert.ok(each.length < 8192, `${each.length}: ${each.slice(0, 200)}`);
  assert.ok(server.stderr.length - before < 32_768, `${server.stderr.length - before} bytes`);
});

describe('nobody reads the log', () => {
  // More than the writer keeps and the kernel takes: each of these is a line of six thousand bytes.
  async function fill(server) {
    server.process.stderr.pause();
    const body = { model: 'cria', prompt: 'x', think: '\u0001'.repeat(1000) };
    const one = async () => {
      for (let i = 0; i < 400; i++) assert.equal((await server.post('/api/generate', body)).status, 400);
    };
    await Promise.all(Array.from({ length: 4 }, one));
  }

  test('it costs lines, which are counted, and nothing else', async (t) => {
    const server = await server_for_test(t, { env: { OLLAMA_DEBUG: '1' } });
    await server.generate('Hello');
    await fill(server);
    assert.equal((await server.get('/healthz')).status, 200);
    assert.equal((await server.generate('Count to 3')).response, '1, 2, 3');
    server.process.stderr.resume();
    const notice = await line_with(server, /\d+ lines of the log were not written/);
    const left_out = Number(/(\d+) lines of the log were not written/.exec(notice)[1]);
    assert.ok(left_out > 0);
    await server.generate('Hello');
    await wait_until(() => server.stderr.slice(server.stderr.indexOf(notice)).includes(' outcome=stop '), 'the log goes on');
  });

  for (const signals of [['SIGTERM'], ['SIGTERM', 'SIGTERM'], ['SIGINT', 'SIGTERM']]) {
    test(`${signals.join(', ')}: the server ends`, async (t) => {
      const server = await server_for_test(t);
      await server.generate('Hello');
      await fill(server);
      for (const signal of signals) server.process.kill(signal);
      assert.deepEqual(await server.end(), [0, null]);
      server.process.stderr.resume();
    });
  }

  test('a crash: the server ends', async (t) => {
    const server = await server_for_test(t);
    await server.generate('Hello');
    await fill(server);
    server.kill('SIGABRT'); // which sanitizers leave alone
    assert.deepEqual(await server.end(), [null, 'SIGABRT']);
    server.process.stderr.resume();
  });
});

test('the last lines before a crash are written', async (t) => {
  const server = await server_for_test(t);
  const [, signal_name] = await (async () => {
    for (let i = 0; i < 20; i++) await server.post('/api/generate', { model: `nobody-${i}`, prompt: 'x' });
    server.kill('SIGABRT');
    return server.end();
  })();
  assert.equal(signal_name, 'SIGABRT');
  await line_with(server, /model 'nobody-19' not found/);
});

test('a runner that spews does not fill the log, and does not wait', async (t) => {
  const server = await server_for_test(t);
  await server.generate('Hello');
  const [runner] = server.runners();
  const spew = fs.openSync(`/proc/${runner}/fd/2`, fs.constants.O_WRONLY | fs.constants.O_NONBLOCK);
  const line = Buffer.from(`<4>${'spew '.repeat(40)}\n`);
  const start = server.stderr.length;
  let written = 0;
  while (written < 100_000) {
    try {
      fs.writeSync(spew, line);
      written += 1;
    } catch (error) {
      assert.equal(error.code, 'EAGAIN'); // the front reads it as fast as it can, and nobody waits for that
      assert.equal((await server.get('/healthz')).status, 200);
    }
  }
  fs.closeSync(spew);
  await line_with(server, /\[cria:latest\] writes more than the log accepts: lines are left out/);
  await server.ok('/api/generate', { model: 'cria', keep_alive: 0 });
  // Told once, or several times where it takes long to say all that.
  const told = () => [...server.stderr.matchAll(/\[cria:latest\] (\d+) lines were left out/g)];
  const left_out = () => told().reduce((sum, [, lines]) => sum + Number(lines), 0);
  await wait_until(() => left_out() > 50_000, 'how many is told');
  assert.ok(server.stderr.length - start < 2 << 20, `${server.stderr.length - start} bytes`);
});

test('a format that there is not', async (t) => {
  const server = await server_for_test(t);
  const env = { ...server.environment, DROVER_LOG_FORMAT: 'xml' };
  const { code, stderr } = await run_program(drover, ['serve'], { env });
  assert.equal(code, 1);
  assert.match(stderr, /DROVER_LOG_FORMAT="xml" is not valid: it takes text or json/);
});
