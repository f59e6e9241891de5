// A client that goes away frees its place at once, whatever its request was doing.
//
// The model is slow on purpose: had the place not been freed, whoever comes next would wait many times longer than
// what is allowed here.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import { endless, slow } from './gguf.mjs';
import { server_for_suite, server_for_test, short, signal, sleep, Stream, wait_until } from './harness.mjs';

const freed_ms_max = 2000;
const settings = { OLLAMA_CONTEXT_LENGTH: '8192', OLLAMA_MAX_QUEUE: '1' };
const create_slow = (server) => server.create('slow', slow());

// Two to three tokens a word, that share no beginning with those of another seed.
const words_max = 1300;
const long_prompt = (seed, words) => `${seed} ` + Array.from({ length: words }, (_, i) => ((i + seed) * 7919) % 1000).join(' ');

function begin(server, prompt, stream, num_predict) {
  return new Stream(server.call('POST', '/api/generate', { model: 'slow', prompt, stream, options: { num_predict } }));
}

// How long the next request takes from now to its end.
async function next_ms(server) {
  const start = performance.now();
  const answer = await server.generate('Hello', { model: 'slow', options: { num_predict: 1 } });
  assert.equal(answer.eval_count, 1);
  return performance.now() - start;
}

describe('a client that leaves', () => {
  const server = server_for_suite({ env: settings }, async (server) => {
    await create_slow(server);
    await next_ms(server);
  });

  for (const stream of [true, false]) {
    const how = stream ? 'streaming' : 'not streaming';

    test(`while it generates, ${how}`, async (t) => {
      const call = begin(server, 'Hello', stream, 50_000);
      if (stream) await call.more(3);
      else await sleep(700);
      assert.equal(call.items.at(-1)?.done ?? false, false, 'it is still running');
      call.close();
      const freed_ms = await next_ms(server);
      t.diagnostic(`the next answer after ${freed_ms.toFixed(0)} ms`);
      assert.ok(freed_ms < freed_ms_max, `${freed_ms} ms`);
    });

    test(`while its prompt is computed, ${how}`, async (t) => {
      const seed = stream ? 1 : 4;
      const compute_ms = async (words, seed) => {
        const whole = await server.generate(long_prompt(seed, words), { model: 'slow', options: { num_predict: 1 } });
        assert.ok(whole.prompt_eval_count > words, `${whole.prompt_eval_count} tokens`);
        return whole.prompt_eval_duration / 1e6;
      };
      // As long as some seconds allow where a sanitizer slows the engine, and whole steps at least.
      const words = Math.max(Math.min(words_max, Math.floor((8000 * 100) / (await compute_ms(100, seed)))), 300);
      const whole_ms = await compute_ms(words, seed + 1);
      const call = begin(server, long_prompt(seed + 2, words), stream, 50_000);
      await call.call.sent;
      await sleep(whole_ms / 5);
      assert.equal(call.items.length, 0, 'it has not said anything');
      call.close();
      const freed_ms = await next_ms(server);
      t.diagnostic(`the next answer after ${freed_ms.toFixed(0)} ms; the whole prompt takes ${whole_ms.toFixed(0)} ms`);
      assert.ok(freed_ms < Math.max(whole_ms / 2, 300), `${freed_ms} ms of ${whole_ms} ms`);
    });

    test(`while it waits, ${how}`, async (t) => {
      const holder = begin(server, 'Hello', true, 50_000);
      await holder.more(2);
      const waiting = begin(server, 'Hello', stream, 50_000);
      await waiting.call.sent;
      await sleep(200);
      const refused = await server.post('/api/generate', { model: 'slow', prompt: 'Hello' });
      assert.equal(refused.status, 503, 'the queue holds one');
      waiting.close();
      let accepted;
      const freed_ms = await wait_until(
        async () => {
          accepted = begin(server, 'Hello', false, 1);
          return (await Promise.race([accepted.call.head, sleep(100)]))?.statusCode !== 503;
        },
        freed_ms_max,
        'the queue takes another',
      );
      t.diagnostic(`the queue takes the next after ${Math.max(freed_ms - 100, 0).toFixed(0)} ms`);
      await holder.more(2);
      holder.close();
      await accepted.ended;
      assert.equal(accepted.items.at(-1).eval_count, 1, 'who left was not served before');
    });
  }
});

describe('a client that leaves while its model loads', () => {
  for (const stream of [true, false]) {
    test(stream ? 'streaming' : 'not streaming', async (t) => {
      const server = await server_for_test(t, { env: settings });
      await create_slow(server);
      const call = begin(server, 'Hello', stream, 50_000);
      await wait_until(() => server.runners().length === 1, 10_000, 'a runner starts');
      const [runner] = server.runners();
      signal(runner, 'SIGSTOP'); // so that the load lasts as long as the test wants
      await sleep(100);
      assert.equal(call.items.length, 0);
      call.close();
      await sleep(200);
      const next = begin(server, 'Hello', false, 1);
      await next.call.sent;
      await sleep(100);
      signal(runner, 'SIGCONT'); // unless it was ended with its only client
      await next.ended;
      assert.equal(next.call.response.statusCode, 200, 'the queue, which holds one, had room');
      assert.equal(next.items.at(-1).eval_count, 1);
    });
  }
});

describe('clients that come and go', () => {
  test('leave no place taken', async (t) => {
    const places = 4;
    const server = await server_for_test(t, { env: { OLLAMA_NUM_PARALLEL: `${places}` } });
    await server.create('endless', endless());
    const begin = (stream) => {
      const body = { model: 'endless', prompt: 'Tell me a story.', stream, options: { num_predict: 20_000 } };
      return new Stream(server.call('POST', '/api/generate', body));
    };
    for (let round = 0; round < (short ? 3 : 8); round++) {
      const calls = Array.from({ length: 20 }, (_, i) => begin(i % 3 !== 0));
      for (const [i, call] of calls.entries()) {
        if (i % 4 === round % 4) await sleep(15);
        call.close();
      }
    }
    const all = Array.from({ length: places }, () => begin(true));
    for (const stream of all) await stream.more(10);
    const fifth = begin(true);
    for (const stream of all) await stream.more(30);
    assert.equal(fifth.items.length, 0, 'there are no more places than before');
    for (const stream of [...all, fifth]) stream.close();
    assert.equal((await server.generate('Count to 3')).response, '1, 2, 3');
  });
});
