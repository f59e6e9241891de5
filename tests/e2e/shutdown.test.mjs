// How a server stops: asked once it lets what runs finish, for so long and no longer; asked twice it ends at once.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import { endless } from './gguf.mjs';
import { is_alive, server_for_test, signal, stop_process, wait_until, without_end } from './harness.mjs';
import { stalled_load } from './loads.mjs';

async function busy_server(t, shutdown_timeout, num_predict) {
  const server = await server_for_test(t, { env: { DROVER_SHUTDOWN_TIMEOUT: shutdown_timeout } });
  await server.create('endless', endless());
  const running = server.stream('Tell me a story.', { model: 'endless', options: { num_predict } });
  await running.more(3);
  return { server, running };
}

const until_stopping = (server) =>
  wait_until(async () => (await server.get('/readyz')).status === 503, '/readyz says that it stops');

describe('SIGTERM', () => {
  test('nothing new is taken, those that wait are told, what runs ends by itself', async (t) => {
    const { server, running } = await busy_server(t, '1h', 1500);
    const waiting = server.stream('Hello', { model: 'endless', options: { num_predict: 3 } });
    await wait_until(
      async () => (await server.get('/api/ps')).json.models[0].waiting === 1,
      'a request waits',
    );
    // What runs stands still meanwhile, so that it does not end before everything is seen.
    const [runner] = server.runners();
    await stop_process(runner);
    server.process.kill('SIGTERM');
    await waiting.ended;
    assert.equal(waiting.call.response.statusCode, 503);
    assert.deepEqual(waiting.items, [{ error: 'server is shutting down' }]);
    await until_stopping(server);
    assert.equal((await server.get('/readyz')).text, 'shutting down');
    assert.equal((await server.get('/healthz')).status, 200);
    const refused = await server.post('/api/generate', { model: 'cria', prompt: 'Hello' });
    assert.deepEqual([refused.status, refused.json], [503, { error: 'server is shutting down' }]);
    signal(runner, 'SIGCONT');
    await running.ended;
    assert.equal(running.items.at(-1).eval_count, 1500);
    assert.deepEqual(await server.end(), [0, null]);
  });

  test('after DROVER_SHUTDOWN_TIMEOUT what still runs ends with an error', async (t) => {
    const { server, running } = await busy_server(t, '1', without_end);
    const start = performance.now();
    server.process.kill('SIGTERM');
    await running.ended;
    const took = performance.now() - start;
    assert.deepEqual(running.items.at(-1), { error: 'the server is shutting down' });
    assert.ok(running.items.slice(0, -1).every(({ error }) => error === undefined));
    assert.ok(took > 900, `it was given ${took} ms`);
    assert.deepEqual(await server.end(), [0, null]);
  });

  test('a second one ends at once', async (t) => {
    const { server, running } = await busy_server(t, '1h', without_end);
    const runners = server.runners();
    server.process.kill('SIGTERM');
    await until_stopping(server);
    await running.more(3);
    server.process.kill('SIGTERM');
    await running.ended;
    assert.deepEqual(running.items.at(-1), { error: 'the server is shutting down' });
    assert.deepEqual(await server.end(), [0, null]);
    await wait_until(() => !runners.some(is_alive), 'its runners too');
  });

  test('SIGINT does the same', async (t) => {
    const { server, running } = await busy_server(t, '1h', 200);
    server.process.kill('SIGINT');
    await running.ended;
    assert.equal(running.items.at(-1).eval_count, 200);
    assert.deepEqual(await server.end(), [0, null]);
  });

  test('while a model loads', async (t) => {
    const server = await server_for_test(t, { env: { DROVER_SHUTDOWN_TIMEOUT: '1h' } });
    const { request, runner } = await stalled_load(server, 'cria');
    server.process.kill('SIGTERM');
    await request.ended;
    assert.deepEqual(request.items, [{ error: 'server is shutting down' }]);
    signal(runner, 'SIGCONT');
    assert.deepEqual(await server.end(), [0, null]);
  });
});
