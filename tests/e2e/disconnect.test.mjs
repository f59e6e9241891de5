// A client that goes away frees its slot at once, whatever its request was doing.
//
// The model is slow on purpose: had the slot not been freed, whoever comes next would wait for all that was asked for.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import { endless, slow } from './gguf.mjs';
import { server_for_suite, server_for_test, short, signal, sleep, Stream, wait_until, without_end } from './harness.mjs';
import { stalled_load, waiting_for } from './loads.mjs';

const settings = { OLLAMA_CONTEXT_LENGTH: '8192', OLLAMA_MAX_QUEUE: '1' };
const create_slow = (server) => server.create('slow', slow());

// Two to three tokens a word, that share no beginning with those of another seed.
const words_max = 1300;
const long_prompt = (seed, words) => `${seed} ` + Array.from({ length: words }, (_, i) => ((i + seed) * 7919) % 1000).join(' ');

let asked = 0;
function begin(server, prompt, stream, num_predict) {
  const id = `request-${asked++}`;
  const body = { model: 'slow', prompt, stream, options: { num_predict } };
  const begun = new Stream(server.call('POST', '/api/generate', body, { 'x-request-id': id }));
  return Object.assign(begun, { id });
}

// What the server says of a request while it is there.
const known = async (server, { id }) =>
  (await server.get('/api/queue')).json.requests.find((request) => request.id === id);

// How the log says that a request has ended: {outcome, output_tokens}.
async function end_of(server, { id }) {
  let line;
  const is_there = () => (line = server.stderr.split('\n').find((text) => text.includes(` request id=${id} `)));
  await wait_until(is_there, `the log says how ${id} ended`);
  const fields = Object.fromEntries([...line.matchAll(/(\w+)=(\S+)/g)].map(([, key, value]) => [key, value]));
  return { outcome: fields.outcome, output_tokens: Number(fields.output_tokens) };
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
      const call = begin(server, 'Hello', stream, without_end);
      let so_far = 0;
      await wait_until(async () => (so_far = (await known(server, call))?.output_tokens) >= 3, 'it generates');
      assert.equal(call.items.at(-1)?.done ?? false, false, 'it is still running');
      call.close();
      const freed_ms = await next_ms(server);
      t.diagnostic(`the next answer after ${freed_ms.toFixed(0)} ms`);
      const { outcome, output_tokens } = await end_of(server, call);
      assert.equal(outcome, 'disconnected');
      t.diagnostic(`it had ${so_far} tokens when it was left, and ${output_tokens} in the end`);
    });

    test(`while its prompt is computed, ${how}`, async (t) => {
      let seed = stream ? 1 : 100;
      const compute = async (words, seed) => {
        const whole = await server.generate(long_prompt(seed, words), { model: 'slow', options: { num_predict: 1 } });
        assert.ok(whole.prompt_eval_count > words, `${whole.prompt_eval_count} tokens`);
        return whole;
      };
      // As long as some seconds allow where a sanitizer slows the engine, and whole steps at least.
      const hundred_ms = (await compute(100, seed++)).prompt_eval_duration / 1e6;
      const words = Math.max(Math.min(words_max, Math.floor((8000 * 100) / hundred_ms)), 300);
      // What was computed of it is in the cache, as the next one finds that asks the same: it must not be all. When the
      // machine hears late of the client's end, another try may do better; where nobody listens, none does.
      let share = 1;
      for (let i = 0; i < 5 && share > 0.75; i++, seed++) {
        const call = begin(server, long_prompt(seed, words), stream, without_end);
        await wait_until(async () => (await known(server, call))?.phase === 'prefill', 'its prompt is computed');
        assert.equal(call.items.length, 0, 'it has not said anything');
        call.close();
        const freed_ms = await next_ms(server);
        assert.equal((await end_of(server, call)).outcome, 'disconnected');
        const again = await compute(words, seed);
        share = (again.prompt_eval_cached_count ?? 0) / again.prompt_eval_count;
        t.diagnostic(
          `the next answer after ${freed_ms.toFixed(0)} ms; ${(share * 100).toFixed(0)} % had been computed, and the ` +
            `rest takes ${(again.prompt_eval_duration / 1e6).toFixed(0)} ms`,
        );
      }
      assert.ok(share <= 0.75, `${share} of the prompt was computed`);
    });

    test(`while it waits, ${how}`, async () => {
      const holder = begin(server, 'Hello', true, without_end);
      await holder.more(2);
      const waiting = begin(server, 'Hello', stream, without_end);
      await wait_until(async () => (await waiting_for(server, 'slow')) === 1, 'it waits');
      const refused = await server.post('/api/generate', { model: 'slow', prompt: 'Hello' });
      assert.equal(refused.status, 503, 'the queue holds one');
      waiting.close();
      await wait_until(async () => (await waiting_for(server, 'slow')) === 0, 'it waits no longer');
      const accepted = begin(server, 'Hello', false, 1);
      await wait_until(async () => (await waiting_for(server, 'slow')) === 1, 'the queue takes another');
      await holder.more(2);
      holder.close();
      await accepted.ended;
      assert.equal(accepted.items.at(-1).eval_count, 1, 'who left was not served before');
      assert.deepEqual((await end_of(server, waiting)).outcome, 'disconnected');
    });
  }
});

describe('a client that leaves while its model loads', () => {
  for (const stream of [true, false]) {
    test(stream ? 'streaming' : 'not streaming', async (t) => {
      const server = await server_for_test(t, { env: settings });
      await create_slow(server);
      const ask = () => begin(server, 'Hello', stream, 1);
      const { request, runner } = await stalled_load(server, 'slow', ask);
      assert.equal(request.items.length, 0);
      request.close();
      await wait_until(async () => (await waiting_for(server, 'slow')) === 0, 'nobody waits');
      const next = ask();
      await next.call.sent;
      signal(runner, 'SIGCONT'); // unless it was ended with its only client
      await next.ended;
      assert.equal(next.call.response.statusCode, 200, 'the queue, which holds one, had room');
      assert.equal(next.items.at(-1).eval_count, 1);
    });
  }
});

describe('clients that come and go', () => {
  test('leave no slot taken', async (t) => {
    const slots = 4;
    const server = await server_for_test(t, { env: { OLLAMA_NUM_PARALLEL: `${slots}` } });
    await server.create('endless', endless());
    const begin = (stream) => {
      const body = { model: 'endless', prompt: 'Tell me a story.', stream, options: { num_predict: without_end } };
      return new Stream(server.call('POST', '/api/generate', body));
    };
    for (let round = 0; round < (short ? 3 : 8); round++) {
      const calls = Array.from({ length: 20 }, (_, i) => begin(i % 3 !== 0));
      for (const [i, call] of calls.entries()) {
        if (i % 4 === round % 4) await sleep(15);
        call.close();
      }
    }
    const all = Array.from({ length: slots }, () => begin(true));
    for (const stream of all) await stream.more(10);
    const fifth = begin(true);
    await wait_until(async () => (await waiting_for(server, 'endless')) === 1, 'one waits');
    for (const stream of all) await stream.more(30);
    assert.equal(fifth.items.length, 0, 'there are no more slots than before');
    for (const stream of [...all, fifth]) stream.close();
    assert.equal((await server.generate('Count to 3')).response, '1, 2, 3');
  });
});
