// Processes that die or hang: the damage stays where it happened.
import assert from 'node:assert/strict';
import net from 'node:net';
import { describe, test } from 'node:test';

import { endless, renamed } from './gguf.mjs';
import { is_alive, server_for_test, signal, text_of, wait_until, without_end } from './harness.mjs';
import { stalled_load, waiting_for } from './loads.mjs';

async function two_models(t, env) {
  const server = await server_for_test(t, { env });
  await server.create('endless', endless());
  await server.create('other', renamed('Othr'));
  return server;
}

const occupant = (server, model = 'endless') =>
  server.stream('Tell me a story.', { model, options: { num_predict: without_end } });

async function runner_after(server, load) {
  const before = server.runners();
  await load();
  const [runner, ...more] = server.runners().filter((pid) => !before.includes(pid));
  assert.ok(runner && more.length === 0, 'one new runner');
  return runner;
}

// The stream has ended with an error in its last line, and in no other.
async function ended_with_error(stream) {
  await stream.ended;
  const last = stream.items.at(-1);
  assert.deepEqual(Object.keys(last), ['error'], JSON.stringify(last));
  assert.equal(typeof last.error, 'string');
  assert.ok(last.error.length > 0);
  assert.ok(stream.items.slice(0, -1).every((item) => item.error === undefined));
}

describe('the server is killed', () => {
  test('no runner outlives it', async (t) => {
    const server = await two_models(t);
    const busy = occupant(server);
    await busy.more(3);
    await server.generate('Count to 3', { model: 'other' });
    const runners = server.runners();
    assert.equal(runners.length, 2);
    server.kill('SIGKILL');
    const ms = await wait_until(
      () => !runners.some(is_alive),
      'both runners, the busy and the idle, have ended',
    );
    t.diagnostic(`both runners had ended after ${ms.toFixed(0)} ms`);
  });

  test('nor one that is just loading', async (t) => {
    const server = await two_models(t);
    const { request, runner } = await stalled_load(server, 'endless');
    server.kill('SIGKILL');
    await server.end();
    signal(runner, 'SIGCONT'); // it may have stood still before it said that it wants to die with its server
    await wait_until(() => !is_alive(runner), 'it has ended');
    request.close();
  });

  test('a server that is asked to stop lets its answers end', async (t) => {
    const server = await two_models(t, { DROVER_SHUTDOWN_TIMEOUT: '1h' });
    const busy = server.stream('Tell me a story.', { model: 'endless', options: { num_predict: 300 } });
    await busy.more(3);
    server.process.kill('SIGTERM');
    await busy.ended;
    assert.equal(busy.items.at(-1).eval_count, 300);
    assert.deepEqual(await server.end(), [0, null]);
  });
});

describe('a runner is killed', () => {
  test('under load: its requests end, the next loads it again, the other model never notices', async (t) => {
    const server = await two_models(t, { OLLAMA_NUM_PARALLEL: '2' });
    const load = (model) => runner_after(server, () => server.ok('/api/generate', { model }));
    const [victim, other] = [await load('endless'), await load('other')];
    const steady = server.stream('Tell me a story.', {
      model: 'other',
      options: { temperature: 2, top_k: 0, num_predict: 20_000 },
    });
    let stopped = false;
    const counting = (async () => {
      // The other model is asked all the time; not one of its answers may be missing or wrong.
      let answers = 0;
      for (; !stopped; answers++)
        assert.equal((await server.generate('Count to 9', { model: 'other' })).response, '1, 2, 3, 4, 5, 6, 7, 8, 9');
      return answers;
    })();
    const streams = [occupant(server), occupant(server)];
    for (const stream of streams) await stream.more(5);
    const waiting = server.generate('Count to 3', { model: 'endless', options: { num_predict: 8 } });
    await wait_until(async () => (await waiting_for(server, 'endless')) === 1, 'a third one waits');
    process.kill(victim, 'SIGKILL');
    for (const stream of streams) await ended_with_error(stream);
    assert.equal((await waiting).eval_count, 8, 'who had not begun is served by the next runner');
    assert.equal(
      (await server.generate('Count to 3', { model: 'endless', options: { num_predict: 8 } })).eval_count,
      8,
    );
    stopped = true;
    assert.ok((await counting) > 0);
    const runners = server.runners();
    assert.ok(!runners.includes(victim) && runners.includes(other), 'the other runner is the same');
    assert.ok(steady.items.every((item) => item.error === undefined));
    steady.close();
  });

  // What is not streamed has sent nothing until it is whole.
  const whole_answer = (server, num_predict) =>
    server.post('/api/generate', {
      model: 'endless',
      prompt: 'Tell me a story.',
      stream: false,
      options: { num_predict, temperature: 0 },
    });
  const runs = (server) =>
    wait_until(
      async () => (await server.get('/api/ps')).json.models.some(({ running }) => running === 1),
      'the request runs',
    );

  test('with an answer that is not streamed: it is made again, unseen', async (t) => {
    const server = await two_models(t);
    const undisturbed = (await whole_answer(server, 3000)).json;
    const [victim] = server.runners();
    const answer = whole_answer(server, 3000);
    await runs(server);
    const said = async () => (await server.get('/api/queue')).json.requests[0].output_tokens > 3;
    await wait_until(said, 'it has said something, which nobody has seen');
    process.kill(victim, 'SIGKILL');
    const { status, json, text } = await answer;
    assert.equal(status, 200, text);
    assert.equal(json.eval_count, 3000);
    assert.equal(json.response, undisturbed.response);
  });

  test('twice by the same request: it is not tried a third time, and nobody else is harmed', async (t) => {
    const server = await two_models(t);
    const answer = whole_answer(server, without_end);
    const other = server.generate('Count to 9', { model: 'other' });
    const victims = [];
    for (let death = 0; death < 2; death++) {
      await wait_until(
        async () => {
          const models = (await server.get('/api/ps')).json.models;
          if (!models.some(({ name, running }) => name === 'endless:latest' && running === 1)) return false;
          const log = [...server.stderr.matchAll(/loading endless:latest in process (\d+)/g)];
          victims[death] = Number(log.at(-1)?.[1]);
          return victims[death] > 0 && victims[death] !== victims[death - 1];
        },
        'it runs',
      );
      process.kill(victims[death], 'SIGKILL');
    }
    const { status, json } = await answer;
    assert.equal(status, 500);
    assert.match(json.error, /^model runner has unexpectedly stopped/);
    assert.equal((await other).response, '1, 2, 3, 4, 5, 6, 7, 8, 9');
    assert.equal((await whole_answer(server, 3)).json.eval_count, 3, 'the model serves others again');
  });

  test('while it is idle', async (t) => {
    const server = await server_for_test(t);
    await server.generate('Hello');
    const [victim] = server.runners();
    process.kill(victim, 'SIGKILL');
    await wait_until(async () => (await server.loaded_models()).length === 0, 'ps no longer shows it');
    assert.equal((await server.generate('Count to 3')).response, '1, 2, 3');
    assert.notEqual(server.runners()[0], victim);
  });

  test('while it loads', async (t) => {
    const server = await server_for_test(t);
    const first = server.post('/api/generate', {
      model: 'cria',
      prompt: 'Count to 3',
      stream: false,
      options: { temperature: 0 },
    });
    await wait_until(() => server.runners().length === 1, 'a runner starts');
    process.kill(server.runners()[0], 'SIGKILL');
    const { status, json, text } = await first;
    if (status === 200) assert.equal(json.response, '1, 2, 3');
    else assert.ok(status >= 500 && json?.error, text);
    await wait_until(
      async () =>
        (await server.post('/api/generate', { model: 'cria', prompt: 'Hello', stream: false })).status === 200,
      'the model loads again',
    );
  });
});

describe('a runner hangs', () => {
  test('it is replaced, and the other model never notices', async (t) => {
    const server = await two_models(t, { DROVER_HANG_TIMEOUT: '5' });
    const victim = await runner_after(server, () => server.ok('/api/generate', { model: 'endless' }));
    const stream = occupant(server);
    await stream.more(3);
    process.kill(victim, 'SIGSTOP');
    const start = performance.now();
    assert.equal((await server.generate('Count to 3', { model: 'other' })).response, '1, 2, 3');
    await ended_with_error(stream);
    assert.ok(performance.now() - start > 3000, 'it was given some time');
    await wait_until(() => /unloading endless:latest: a step made no progress in time/.test(server.stderr), 'the log says so');
    await wait_until(() => !is_alive(victim), 'the runner that hung has ended');
    assert.equal(
      (await server.generate('Count to 3', { model: 'endless', options: { num_predict: 3 } })).eval_count,
      3,
    );
  });
});

describe('what is no HTTP', () => {
  test('does not disturb', async (t) => {
    const server = await server_for_test(t);
    const busy = server.stream('Count to 150');
    for (const bytes of [
      '\x16\x03\x01\x02\x00\x01\x00',
      'GARBAGE\r\n\r\n',
      'GET / HTTP/9.9\r\n\r\n',
      'POST /api/generate HTTP/1.1\r\nContent-Length: -1\r\n\r\n',
      'POST /api/generate HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n',
      `GET / HTTP/1.1\r\nX: ${'y'.repeat(200_000)}\r\n\r\n`,
    ]) {
      const socket = net.connect(server.port, '127.0.0.1');
      socket.on('error', () => {}); // a reset is an answer too
      socket.write(bytes, 'latin1');
      let answer = '';
      socket.on('data', (part) => (answer += part));
      await wait_until(
        () => socket.closed || socket.destroyed || answer !== '',
        `an answer to ${JSON.stringify(bytes.slice(0, 40))}`,
      );
      assert.doesNotMatch(answer, /^HTTP\/1\.1 2/);
      socket.destroy();
    }
    await busy.ended;
    assert.match(text_of(busy.items), /^1, 2, 3, /);
  });
});
