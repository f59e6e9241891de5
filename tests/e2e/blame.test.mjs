// Whose fault it is that a runner dies, hangs or is slow: that request's, and nobody else's.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import { endless } from './gguf.mjs';
import { is_alive, server_for_suite, server_for_test, text_of, wait_until, without_end } from './harness.mjs';
import { loads_in, view_of } from './loads.mjs';

const crash_text = /^model runner has unexpectedly stopped/;

describe('a runner crashes', () => {
  const server_with_endless = async (t) => {
    const server = await server_for_test(t, { env: { OLLAMA_NUM_PARALLEL: '2' } });
    await server.create('endless', endless());
    return server;
  };
  // Not streamed, so that it has sent nothing until it is whole.
  const whole = (server, num_predict) =>
    server.post('/api/generate', {
      model: 'endless',
      prompt: 'Tell me a story.',
      stream: false,
      options: { num_predict, temperature: 0 },
    });
  const running = async (server) => (await view_of(server, 'endless'))?.running ?? 0;
  const runs = (server, count) => wait_until(async () => (await running(server)) === count, `${count} run`);

  test('nobody knows at what: each is repeated, alone, and both are answered', async (t) => {
    const server = await server_with_endless(t);
    const undisturbed = (await whole(server, 2000)).json.response;
    const [victim] = server.runners();
    let ended = 0;
    const answers = [whole(server, 2000), whole(server, 2000)].map((answer) => answer.finally(() => ended++));
    await runs(server, 2);
    process.kill(victim, 'SIGSEGV');
    await wait_until(() => !is_alive(victim), 'it has died');
    await wait_until(() => /the runner of endless:latest has ended: signal 11/.test(server.stderr), 'the server knows');
    let together = 0;
    const look = wait_until(async () => {
      together = Math.max(together, await running(server));
      return ended === 2;
    }, 'both are answered');
    for (const { status, json, text } of await Promise.all(answers)) {
      assert.equal(status, 200, text);
      assert.equal(json.response, undisturbed);
    }
    await look;
    assert.equal(together, 1, 'never both at once');
    assert.deepEqual(loads_in(server.stderr), ['endless', 'endless']);
  });

  test('under one request alone: that one is not tried again', async (t) => {
    const server = await server_with_endless(t);
    const answer = whole(server, without_end);
    await runs(server, 1);
    process.kill(server.runners()[0], 'SIGSEGV');
    const { status, json } = await answer;
    assert.equal(status, 500);
    assert.match(json.error, crash_text);
    assert.deepEqual(loads_in(server.stderr), ['endless'], 'and its model is not loaded for it');
    assert.equal((await whole(server, 3)).json.eval_count, 3, 'the next one is served');
  });

  test('because somebody killed it: all are repeated together', async (t) => {
    const server = await server_with_endless(t);
    await whole(server, 1);
    const answers = [whole(server, 3000), whole(server, 3000)];
    await runs(server, 2);
    process.kill(server.runners()[0], 'SIGKILL');
    await wait_until(() => /the runner of endless:latest has ended: signal 9/.test(server.stderr), 'the server knows');
    await runs(server, 2);
    for (const { status, text } of await Promise.all(answers)) assert.equal(status, 200, text);
  });
});
