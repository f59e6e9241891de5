// Many requests at once: what docs/concurrency.md promises.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { describe, test } from 'node:test';

import { endless, renamed } from './gguf.mjs';
import {
  instant,
  patience_ms,
  run_program,
  Server,
  server_for_suite,
  server_for_test,
  short,
  signal,
  Stream,
  text_of,
  wait_until,
  without_end,
} from './harness.mjs';
import { stalled_load, waiting_for } from './loads.mjs';
import { prompts } from './prompts.mjs';

const queue_full = { error: 'server busy, please try again.  maximum pending requests exceeded' };
const timed_out = { error: 'model request timeout' };

const begin_of = (stream) => instant(stream.items[0].created_at);
const end_of = (stream) => instant(stream.items.at(-1).created_at);
const overlap = (a, b) => begin_of(a) < end_of(b) && begin_of(b) < end_of(a);

// A request that holds its slot until it is closed.
const occupant = (server) =>
  server.stream('Tell me a story.', { model: 'endless', options: { num_predict: without_end } });

const until_waiting = (server, count, model = 'endless') =>
  wait_until(async () => (await waiting_for(server, model)) === count, `${count} wait for ${model}`);

function check_refusal(answer, error) {
  assert.equal(answer.status, 503, answer.text);
  assert.deepEqual(answer.json, error);
  assert.match(answer.headers['retry-after'], /^[1-9]\d*$/);
}

describe('answers are right when many are asked at once', () => {
  const server = server_for_suite({ env: { OLLAMA_NUM_PARALLEL: '8' } });

  test('each is the one that its prompt gets alone', async (t) => {
    const asked = prompts(short ? 48 : 200);
    assert.equal(new Set(asked.map(({ prompt }) => prompt)).size, asked.length);
    const alone = [];
    for (const { prompt } of asked) alone.push((await server.generate(prompt)).response);
    const known = asked.filter(({ answer }, i) => alone[i] === answer).length;
    assert.ok(known >= asked.length * 0.95, `alone, ${known} of ${asked.length} are what cria was taught`);

    // Four times as many as there are slots: how many run together is then the server's doing, not this client's.
    const streams = [];
    const together = await at_once(32, asked, async ({ prompt }, i) => {
      if (i % 2 === 0) return (await server.generate(prompt)).response;
      const stream = server.stream(prompt);
      await stream.ended;
      streams.push(stream);
      return text_of(stream.items);
    });
    const wrong = asked.flatMap(({ prompt }, i) =>
      together[i] === alone[i] ? [] : [{ prompt, alone: alone[i], together: together[i] }],
    );
    assert.deepEqual(wrong, []);
    const most = Math.max(
      ...streams.map(
        (one) => streams.filter((other) => begin_of(other) <= begin_of(one) && begin_of(one) < end_of(other)).length,
      ),
    );
    assert.ok(most >= 3 && most <= 8, `${most} streams at once at the most`);
    t.diagnostic(`${together.length} of ${asked.length} as alone; up to ${most} streams (of 8 generations) at once`);
  });

  // Runs `job` for each item, `width` at a time, and keeps the order of the results.
  async function at_once(width, items, job) {
    const results = [];
    let next = 0;
    const lane = async () => {
      while (next < items.length) {
        const i = next++;
        results[i] = await job(items[i], i);
      }
    };
    await Promise.all(Array.from({ length: width }, lane));
    return results;
  }
});

describe('by default', () => {
  const server = server_for_suite({}, (server) => server.create('endless', endless()));

  test('one after another, in order of arrival', async () => {
    const holder = occupant(server);
    await holder.more(3);
    const waiting = [];
    for (let i = 0; i < 6; i++) {
      const body = { model: 'endless', prompt: `Count to ${i + 3}`, options: { num_predict: 40 + i } };
      waiting.push(new Stream(server.call('POST', '/api/generate', body)));
      await until_waiting(server, waiting.length);
    }
    assert.ok(
      waiting.every((stream) => stream.items.length === 0),
      'nobody runs beside the first',
    );
    await holder.more(1);
    holder.close();
    await Promise.all(waiting.map((stream) => stream.ended));
    for (const [i, stream] of waiting.entries()) {
      assert.equal(stream.items.at(-1).eval_count, 40 + i);
      if (i > 0)
        assert.ok(end_of(waiting[i - 1]) <= begin_of(stream), `request ${i} began before request ${i - 1} had ended`);
    }
  });

  test('two at once take the time of both', async () => {
    const run = () => server.stream('Count to 90', { model: 'endless', options: { num_predict: 600 } });
    const [first, second] = [run(), run()];
    await Promise.all([first.ended, second.ended]);
    assert.ok(!overlap(first, second));
  });
});

describe('OLLAMA_NUM_PARALLEL=4', () => {
  const server = server_for_suite({ env: { OLLAMA_NUM_PARALLEL: '4' } }, (server) =>
    server.create('endless', endless()),
  );

  test('four generations at once, the fifth waits', async () => {
    const four = Array.from({ length: 4 }, () => occupant(server));
    for (const stream of four) await stream.more(5);
    const fifth = server.stream('Count to 3', { model: 'endless', options: { num_predict: 5 } });
    await until_waiting(server, 1);
    for (const stream of four) await stream.more(50);
    assert.equal(fifth.items.length, 0);
    four[2].close();
    await fifth.ended;
    assert.equal(fifth.items.at(-1).eval_count, 5);
    for (const i of [0, 1, 3]) await four[i].more(5);
    assert.equal(server.runners().length, 1, 'one process holds all of them');
    for (const stream of four) stream.close();
  });
});

// A server with the models in memory before anybody asks: loading counts as waiting, and must not meet a short time-out.
async function server_with_loaded(t, env) {
  const models = fs.mkdtempSync(path.join(os.tmpdir(), 'drover-e2e-models-'));
  t.after(() => fs.rmSync(models, { recursive: true, force: true }));
  const first = await new Server({ models }).start();
  await first.create('endless', endless());
  await first.stop();
  const server = await server_for_test(t, { models, env: { DROVER_PIN: 'cria, endless', ...env } });
  await wait_until(async () => (await server.get('/readyz')).status === 200, 'both models are loaded');
  return server;
}

describe('the queue', () => {
  test('a request that waits too long is refused, one that runs is not', async (t) => {
    const server = await server_with_loaded(t, { OLLAMA_REQUEST_TIMEOUT: '2' });
    const holder = occupant(server);
    await holder.more(3);
    for (const stream of [false, true]) {
      const start = performance.now();
      const body = { model: 'endless', prompt: 'Count to 3', stream };
      const chat = { model: 'endless', messages: [{ role: 'user', content: 'Count to 3' }], stream };
      const answers = await Promise.all([server.post('/api/generate', body), server.post('/api/chat', chat)]);
      const waited = performance.now() - start;
      for (const answer of answers) check_refusal(answer, timed_out);
      assert.ok(waited > 1950, `refused after ${waited} ms`);
    }
    await holder.more(10); // it holds the slot still: that nobody gave it up is not why they were answered
    holder.close();
    assert.equal((await server.generate('Count to 3')).response, '1, 2, 3');
  });

  test('a duration and no limit', async (t) => {
    const server = await server_with_loaded(t, { OLLAMA_REQUEST_TIMEOUT: '1500ms' });
    const holder = occupant(server);
    await holder.more(3);
    check_refusal(await server.post('/api/generate', { model: 'endless', prompt: 'x' }), timed_out);
    holder.close();
    const patient = await server_with_loaded(t, { OLLAMA_REQUEST_TIMEOUT: '0' });
    const other = occupant(patient);
    await other.more(3);
    const waiting = patient.generate('Count to 3', { model: 'endless', options: { num_predict: 4 } });
    await until_waiting(patient, 1);
    const body = { model: 'endless', prompt: 'x' };
    check_refusal(await patient.send('POST', '/api/generate', body, { 'x-request-timeout': '1500ms' }), timed_out);
    await until_waiting(patient, 1);
    other.close();
    assert.equal((await waiting).eval_count, 4);
  });

  test('is bounded, also for a model that is loaded', async (t) => {
    const server = await server_for_test(t, { env: { OLLAMA_MAX_QUEUE: '1' } });
    await server.create('endless', endless());
    const holder = occupant(server);
    await holder.more(3);
    const body = { model: 'endless', prompt: 'Count to 3', stream: false, options: { num_predict: 4 } };
    const waiting = server.call('POST', '/api/generate', body);
    await until_waiting(server, 1);
    for (const stream of [false, true]) {
      check_refusal(await server.post('/api/generate', { ...body, stream }), queue_full);
      check_refusal(
        await server.post('/api/chat', { model: 'endless', messages: [{ role: 'user', content: 'x' }], stream }),
        queue_full,
      );
    }
    await until_waiting(server, 1); // they were refused while nothing had changed
    await holder.more(5);
    holder.close();
    assert.equal(JSON.parse(await waiting.bytes()).eval_count, 4, 'who waited is served');
    assert.equal((await server.generate('Count to 3')).response, '1, 2, 3');
  });

  test('is bounded while a model loads', async (t) => {
    const server = await server_for_test(t, { env: { OLLAMA_MAX_QUEUE: '2' } });
    const ask = () => server.stream('Count to 60');
    const { request, runner } = await stalled_load(server, 'cria', ask);
    const refused = [];
    const others = Array.from({ length: 11 }, () => {
      const stream = ask();
      stream.call.head.then(({ statusCode }) => statusCode === 503 && refused.push(stream));
      return stream;
    });
    // One of the three has the slot as soon as there is one, and two wait in the queue.
    await wait_until(() => refused.length === 9, 'all are refused but three');
    assert.equal(await waiting_for(server, 'cria'), 3);
    signal(runner, 'SIGCONT');
    await Promise.all([request, ...others].map(({ ended }) => ended));
    for (const { call, items } of refused) {
      check_refusal({ status: 503, headers: call.response.headers, json: items[0] }, queue_full);
    }
    for (const { items } of [request, ...others].filter((stream) => !refused.includes(stream))) {
      assert.match(text_of(items), /^1, 2, 3, .*, 60$/);
    }
    assert.equal(refused.length, 9);
  });
});

describe('several models', () => {
  const models = async (server) => {
    await server.create('endless', endless());
    await server.create('other', renamed('Othr'));
  };

  test('run side by side', async (t) => {
    const server = await server_for_test(t);
    await models(server);
    const holder = occupant(server);
    await holder.more(3);
    const other = server.stream('Count to 30', { model: 'other' });
    await other.ended;
    assert.match(text_of(other.items), /^1, 2, 3, .*, 30$/);
    await holder.more(3);
    assert.ok(overlap(holder, other));
    assert.equal(server.runners().length, 2);
    assert.deepEqual((await server.loaded_models()).map(({ name }) => name).sort(), ['endless:latest', 'other:latest']);
    holder.close();
  });

  test('names of the same weights share a runner', async (t) => {
    const server = await server_for_test(t);
    await server.ok('/api/create', { model: 'twin', from: 'cria', system: 'You are Cria.', stream: false });
    await server.generate('Count to 3');
    await server.generate('Count to 3', { model: 'twin' });
    assert.equal(server.runners().length, 1);
  });

  test('an idle one makes room, the least recently used first', async (t) => {
    const server = await server_for_test(t, { env: { OLLAMA_MAX_LOADED_MODELS: '2' } });
    await models(server);
    const loaded = async () => (await server.loaded_models()).map(({ name }) => name).sort();
    for (const model of ['cria', 'other', 'cria']) await server.generate('Count to 3', { model });
    await server.generate('Count to 3', { model: 'endless', options: { num_predict: 3 } });
    assert.deepEqual(await loaded(), ['cria:latest', 'endless:latest'], 'cria was used after other');
    await wait_until(() => server.runners().length === 2, 'two runners');
  });

  test('a busy one does not', async (t) => {
    const server = await server_for_test(t, { env: { OLLAMA_MAX_LOADED_MODELS: '1' } });
    await models(server);
    const holder = occupant(server);
    await holder.more(3);
    const waiting = server.stream('Count to 3', { model: 'other' });
    await until_waiting(server, 1, 'other');
    await holder.more(200);
    assert.equal(waiting.items.length, 0, 'it waits');
    assert.equal(server.runners().length, 1);
    holder.close();
    await waiting.ended;
    assert.equal(text_of(waiting.items), '1, 2, 3');
    assert.deepEqual(
      (await server.loaded_models()).map(({ name }) => name),
      ['other:latest'],
    );
  });
});

describe('ab', () => {
  const server = server_for_suite();
  const total = short ? 20 : 50;

  for (const [what, flags, stream] of [
    ['plain', [], false],
    ['keep-alive', ['-k'], false],
    ['streaming', [], true],
    ['streaming, keep-alive', ['-k'], true],
  ]) {
    test(`${what}: none fails`, async () => {
      const body = path.join(server.folder, 'request.json');
      fs.writeFileSync(
        body,
        JSON.stringify({ model: 'cria', prompt: 'Count to 12', stream, options: { temperature: 0 } }),
      );
      // -l: answers differ in length, since they carry times. -s: by default an answer may take 30 seconds.
      const args = [
        '-l',
        '-s',
        `${patience_ms / 1000}`,
        '-n',
        `${total}`,
        '-c',
        '10',
        ...flags,
        '-p',
        body,
        '-T',
        'application/json',
        `${server.url}/api/generate`,
      ];
      const { code, stdout, stderr } = await run_program('ab', args);
      assert.equal(code, 0, stdout + stderr);
      assert.match(stdout, new RegExp(`Complete requests: +${total}\n`), stdout);
      assert.match(stdout, /Failed requests: +0\n/, stdout);
      assert.doesNotMatch(stdout, /Non-2xx/);
    });
  }

  test('curl gets a stream as it comes', async () => {
    const body = JSON.stringify({ model: 'cria', prompt: 'Count to 12', options: { temperature: 0 } });
    const { code, stdout } = await run_program('curl', ['-sS', `${server.url}/api/generate`, '-d', body]);
    assert.equal(code, 0);
    assert.equal(
      text_of(
        stdout
          .trimEnd()
          .split('\n')
          .map((line) => JSON.parse(line)),
      ),
      '1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12',
    );
  });
});

test('more prompts at once than a small context holds', async (t) => {
  const server = await server_for_test(t, { env: { OLLAMA_NUM_PARALLEL: '8' } });
  const options = { num_ctx: 48, num_predict: 3 };
  await server.ok('/api/generate', { model: 'cria', options });
  const answers = await Promise.all(
    Array.from({ length: 8 }, (_, i) => server.generate(`${i} x${i} `.repeat(20), { raw: true, options })),
  );
  for (const { done, prompt_eval_count } of answers) {
    assert.ok(done);
    assert.ok(prompt_eval_count < 48, `${prompt_eval_count}`);
  }
});
