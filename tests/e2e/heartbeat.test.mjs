// Streams that wait stay alive, and who asks by which key shares with whom.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import { capital_question, hold, parse_events, waiting } from './faces.mjs';
import { endless } from './gguf.mjs';
import { server_for_suite, wait_until } from './harness.mjs';

const model = 'endless';
const chat = { model, stream: true, messages: capital_question, max_tokens: 2 };
const paths = ['/v1/chat/completions', '/v1/messages'];

// What has come of an answer's body so far.
async function follow(call) {
  await call.head;
  const body = { text: '', at: performance.now() };
  call.response.setEncoding('utf8').on('data', (text) => {
    body.text += text;
    body.at = performance.now();
  });
  return body;
}

describe('a stream that waits', () => {
  const server = server_for_suite({ env: { OLLAMA_CONTEXT_LENGTH: '2048' } }, (server) =>
    server.create(model, endless()),
  );

  test('gets its headers within moments, and a heartbeat after 15 seconds of silence', async () => {
    const holder = await hold(server);
    const calls = paths.map((path) => server.call('POST', path, chat));
    const start = performance.now();
    const bodies = await Promise.all(calls.map(follow));
    const headers_ms = performance.now() - start;
    for (const { response } of calls) {
      assert.equal(response.statusCode, 200);
      assert.equal(response.headers['content-type'], 'text/event-stream');
    }
    await wait_until(() => bodies.every(({ text }) => text !== ''), 'a heartbeat in both streams');
    for (const { at } of bodies) {
      assert.ok(at - start > 14_000, `a heartbeat after ${at - start} ms`);
      assert.ok(headers_ms < (at - start) * 0.8, `headers after ${headers_ms} ms, a heartbeat after ${at - start} ms`);
    }
    assert.equal(bodies[0].text, ': waiting\n\n');
    assert.deepEqual(parse_events(bodies[1].text), [{ event: 'ping', data: { type: 'ping' } }]);
    holder.close();
    await wait_until(() => calls.every(({ response }) => response.complete), 'both answers end');
    assert.equal(parse_events(bodies[0].text).at(-1).data, '[DONE]');
    assert.equal(parse_events(bodies[1].text).at(-1).event, 'message_stop');
  });

  test('X-Heartbeat sets the interval, and asks for heartbeats in JSON lines', async () => {
    const holder = await hold(server);
    const headers = { 'X-Heartbeat': '1s' };
    const lines = server.call('POST', '/api/chat', { ...chat, options: { num_predict: 2 } }, headers);
    const events = server.call('POST', '/v1/chat/completions', chat, headers);
    const bodies = await Promise.all([follow(lines), follow(events)]);
    assert.equal(lines.response.headers['content-type'], 'application/x-ndjson');
    await wait_until(() => bodies.every(({ text }) => text.length > 2), 'some heartbeats');
    await wait_until(() => bodies[1].text.split(': waiting').length > 3, 'more of them');
    assert.match(bodies[0].text, /^ +$/);
    holder.close();
    await wait_until(() => [lines, events].every(({ response }) => response.complete), 'both answers end');
    const parsed = bodies[0].text.trimEnd().split('\n').map(JSON.parse);
    assert.equal(parsed.at(-1).done, true);
    assert.equal(parsed.at(-1).eval_count, 2);
  });

  test('JSON lines that did not ask have the status that waiting ends with', async () => {
    const holder = await hold(server);
    const headers = { 'X-Request-Timeout': '3' };
    const answer = await server.send('POST', '/api/chat', chat, headers);
    assert.equal(answer.status, 503);
    assert.deepEqual(answer.json, { error: 'model request timeout' });
    holder.close();
  });

  test('X-Heartbeat that is none', async () => {
    for (const value of ['soon', '-1', '10ms']) {
      const answer = await server.send('POST', '/api/chat', chat, { 'X-Heartbeat': value });
      assert.equal(answer.status, 400, value);
      assert.match(answer.json.error, /^X-Heartbeat "/);
    }
  });

  test('a key is one client, however it is sent', async () => {
    const holder = await hold(server);
    const order = [];
    const calls = [];
    const add = async (name, headers) => {
      const body = { ...chat, stream: false };
      const call = server.send('POST', '/v1/chat/completions', body, headers).then(({ status }) => {
        assert.equal(status, 200);
        order.push(name);
      });
      calls.push(call);
      await waiting(server, calls.length);
    };
    await add('first', { Authorization: 'Bearer one' });
    await add('second', { 'x-api-key': 'one' });
    await add('other', { 'x-api-key': 'two' });
    holder.close();
    await Promise.all(calls);
    assert.deepEqual(order, ['first', 'other', 'second']);
  });
});
