// Requests as programs see them: their ids, their positions, the list of them, and how to end one.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import { endless, slow } from './gguf.mjs';
import { server_for_suite, server_for_test, signal, sleep, Stream, wait_until, without_end } from './harness.mjs';
import { stalled_load } from './loads.mjs';

const canceled = { error: 'request canceled' };
const made_up = /^[0-9a-f]{16}$/;

const occupant = (server, headers) =>
  new Stream(
    server.call(
      'POST',
      '/api/generate',
      { model: 'endless', prompt: 'Tell me a story.', options: { num_predict: without_end } },
      headers,
    ),
  );
const queue = async (server) => {
  const answer = await server.get('/api/queue');
  assert.equal(answer.status, 200);
  return answer.json;
};
const until_listed = (server, count) =>
  wait_until(async () => (await queue(server)).requests.length === count, `${count} are listed`);

describe('X-Request-Id', () => {
  const server = server_for_suite();
  const ask = (id) =>
    server.send('POST', '/api/generate', { model: 'cria', prompt: 'Hello', stream: false }, { 'x-request-id': id });

  test('a sane one is taken over', async () => {
    for (const id of ['a', 'order-7/retry.2', '~'.repeat(128)])
      assert.equal((await ask(id)).headers['x-request-id'], id);
  });

  test('for another one, and for none, there is a new one each time', async () => {
    const answers = [];
    for (const id of ['two words', '~'.repeat(129), 'tab\there', 'ümlaut']) answers.push(await ask(id));
    for (let i = 0; i < 2; i++) answers.push(await server.post('/api/chat', { model: 'cria', messages: [] }));
    const ids = answers.map(({ headers }) => headers['x-request-id']);
    for (const id of ids) assert.match(id, made_up);
    assert.equal(new Set(ids).size, ids.length);
  });

  test('refusals and streams carry it too', async () => {
    const headers = { 'x-request-id': 'mine' };
    const bodies = ['{', { model: 'nobody', prompt: 'Hello' }, { model: 'cria', prompt: 'Hello' }];
    const answers = [];
    for (const body of bodies) answers.push(await server.send('POST', '/api/generate', body, headers));
    assert.deepEqual(
      answers.map((answer) => answer.status),
      [400, 404, 200],
    );
    for (const answer of answers) assert.equal(answer.headers['x-request-id'], 'mine');
  });
});

describe('the queue', () => {
  const server = server_for_suite({ env: { OLLAMA_MAX_QUEUE: '3' } }, (started) => started.create('endless', endless()));

  test('is empty when nobody asks', async () => {
    assert.deepEqual(await queue(server), { running: 0, waiting: 0, waiting_max: 3, truncated: false, requests: [] });
  });

  test('lists who runs and who waits, in order, and shows no key', async (t) => {
    const first = occupant(server, { 'x-request-id': 'first', 'x-client-id': 'nightly batch' });
    t.after(() => first.close());
    await first.more();
    const second = occupant(server, {
      'x-request-id': 'second',
      authorization: 'Bearer sk-very-secret',
      'x-priority': 'low',
    });
    t.after(() => second.close());
    await until_listed(server, 2);
    const third = occupant(server, { 'x-request-id': 'third', 'x-priority': 'high' });
    t.after(() => third.close());
    await until_listed(server, 3);
    const { running, waiting, requests } = await queue(server);
    assert.deepEqual({ running, waiting }, { running: 1, waiting: 2 });
    const shown = requests.map(({ id, model, route, phase, priority, position }) => ({
      ...{ id, model, route, phase, priority, position },
    }));
    const common = { model: 'endless:latest', route: '/api/generate' };
    assert.deepEqual(shown, [
      { id: 'first', ...common, phase: 'generating', priority: 'normal', position: 0 },
      { id: 'third', ...common, phase: 'queued', priority: 'high', position: 1 },
      { id: 'second', ...common, phase: 'queued', priority: 'low', position: 2 },
    ]);
    assert.equal(requests[0].client, 'id:nightly?batch');
    assert.equal(requests[1].client, '127.0.0.1');
    assert.match(requests[2].client, /^key:[0-9a-f]{8}$/);
    assert.ok(requests[0].prompt_tokens > 0 && requests[0].output_tokens > 0);
    assert.ok(requests[0].age_ms >= requests[2].age_ms && requests[2].age_ms >= requests[1].age_ms);
    assert.equal(requests[0].estimated_wait_ms, null);
    assert.doesNotMatch(JSON.stringify(requests), /secret/);
    const { models } = (await server.get('/api/ps')).json;
    const { state, slots, parallel, kv } = models[0];
    assert.deepEqual([state, models[0].running, models[0].waiting, slots, parallel], ['loaded', 1, 2, 1, 1]);
    assert.deepEqual(Object.keys(kv), ['cells', 'used', 'shared', 'kept']);
    assert.ok(kv.cells >= kv.used + kv.kept);
  });

  test('its end of a request: one that waits, one that runs, one that there is not', async (t) => {
    const ask = (id) =>
      server.send(
        'POST',
        '/api/generate',
        { model: 'endless', prompt: 'Hello', stream: false, options: { num_predict: 5 } },
        { 'x-request-id': id },
      );
    const end = (id) => server.send('DELETE', `/api/requests/${encodeURIComponent(id)}`);
    await until_listed(server, 0);
    const runs = occupant(server, { 'x-request-id': 'runs' });
    t.after(() => runs.close());
    await runs.more();
    const waits = ask('waits');
    await until_listed(server, 2);
    const next = ask('next');
    await until_listed(server, 3);

    const unknown = await end('nobody');
    assert.equal(unknown.status, 404);
    assert.deepEqual(unknown.json, { error: 'no such request' });

    const ended = await end('waits');
    assert.equal(ended.status, 200, ended.text);
    assert.deepEqual(ended.json, { canceled: 1 });
    const answer = await waits;
    assert.equal(answer.status, 499);
    assert.deepEqual(answer.json, canceled);
    assert.equal(answer.headers['x-request-id'], 'waits');
    assert.equal(answer.headers['x-queue-position'], '1');
    assert.equal((await end('waits')).status, 404);

    assert.equal((await end('runs')).status, 200);
    await runs.ended;
    assert.equal(runs.call.response.statusCode, 200);
    assert.deepEqual(runs.items.at(-1), canceled);
    assert.ok(!runs.items.some(({ done }) => done));
    const served = await next;
    assert.equal(served.status, 200, 'the slot is the next one\'s');
    assert.equal(served.headers['x-queue-position'], '2');
  });

  test('X-Queue-Position is for those that wait', async (t) => {
    await until_listed(server, 0);
    const streams = [];
    t.after(() => streams.forEach((stream) => stream.close()));
    for (let i = 0; i < 4; i++) {
      streams.push(occupant(server));
      await until_listed(server, i + 1);
    }
    for (let i = 0; i < 4; i++) {
      await streams[i].more();
      const position = streams[i].call.response.headers['x-queue-position'];
      assert.equal(position, i === 0 ? undefined : String(i));
      streams[i].close();
    }
  });
});

test('the phases of a request', async (t) => {
  const server = await server_for_test(t);
  await server.create('slow', slow());
  const prompt = 'the sun and the river and the stone '.repeat(150);
  const body = { model: 'slow', options: { num_predict: without_end, num_ctx: 8192 } };
  const { request: stream, runner } = await stalled_load(server, 'slow', () => server.stream(prompt, body));
  t.after(() => stream.close());
  assert.deepEqual((await queue(server)).requests.map(({ phase }) => phase), ['loading']);
  signal(runner, 'SIGCONT');
  const seen = [];
  await wait_until(
    async () => {
      const [request] = (await queue(server)).requests;
      if (request && request.phase !== seen.at(-1)) seen.push(request.phase);
      return request?.phase === 'generating';
    },
    'it generates',
  );
  assert.deepEqual(seen.slice(-3), ['loading', 'prefill', 'generating'], `${seen}`);
});

// Estimates are compared with what was waited from the moment when they were made; both are the server's figures. A limit
// on time ends each generation, so that the load is as steady as the machine is. How steady that was is measured, and
// what a generation takes more or less than the mean is nothing that can be foreseen.
async function round_of_estimates(server, slots) {
  const ask = () => {
    const body = { model: 'endless', prompt: 'Hello', stream: false, options: { num_predict: without_end } };
    return server.post('/api/generate', body);
  };
  const samples = [];
  const waited = new Map();
  const services = [];
  let left = 10 * slots;
  const lane = async () => {
    while (left-- > 0) {
      const { headers, json } = await ask();
      waited.set(headers['x-request-id'], json.load_duration / 1e6);
      services.push((json.total_duration - json.load_duration) / 1e6);
    }
  };
  let done = false;
  const load = Promise.all(Array.from({ length: 4 * slots }, lane)).then(() => (done = true));
  while (!done) {
    await sleep(20);
    if (waited.size < 4 * slots) continue; // the first ones wait for the load
    for (const { id, age_ms, estimated_wait_ms } of (await queue(server)).requests)
      if (estimated_wait_ms !== null) samples.push({ id, age_ms, estimated_wait_ms });
  }
  await load;
  const mean_of = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const actual = ({ id, age_ms }) => waited.get(id) - age_ms;
  const errors = samples.map((sample) => Math.abs(sample.estimated_wait_ms - actual(sample))).sort((a, b) => a - b);
  const mean = mean_of(services);
  return {
    count: errors.length,
    error: errors[Math.floor(errors.length / 2)] / mean_of(samples.map(actual)),
    unsteady: Math.sqrt(mean_of(services.map((ms) => (ms - mean) ** 2))) / mean,
  };
}

for (const slots of [1, 4]) {
  test(`the estimated wait in a steady load, ${slots} at a time`, async (t) => {
    const env = { OLLAMA_NUM_PARALLEL: String(slots), DROVER_MAX_GENERATION_TIME: '1s' };
    const server = await server_for_test(t, { env });
    await server.create('endless', endless());
    let close = false;
    for (let round = 0; round < 5 && !close; round++) {
      const { count, error, unsteady } = await round_of_estimates(server, slots);
      t.diagnostic(
        `${count} estimates, off by ${(error * 100).toFixed(0)} % of a wait in the median; ` +
          `generations differ by ${(unsteady * 100).toFixed(0)} % of their mean`,
      );
      assert.ok(count > 20, `${count} estimates`);
      close = error < 0.15 + unsteady;
    }
    assert.ok(close, 'in no round they were closer than that');
  });
}

// All figures are of one moment, so that it does not matter how fast this machine is.
test('the estimated wait heeds the limits of those ahead', async (t) => {
  const server = await server_for_test(t);
  await server.create('endless', endless());
  const ask = (num_predict) => server.stream('Hello', { model: 'endless', options: { num_predict } });
  for (let i = 0; i < 3; i++) await ask(20).ended;
  const streams = [];
  t.after(() => streams.forEach((stream) => stream.close()));
  for (const limit of [50_000, 20_000, 5, 5]) {
    streams.push(ask(limit));
    await until_listed(server, streams.length);
  }
  await streams[0].more(20);
  const { requests } = await queue(server);
  const [long, short, last] = requests.slice(1).map(({ estimated_wait_ms }) => estimated_wait_ms);
  assert.ok(long > 0 && short - long > 5 * (last - short) && last > short, `${[long, short, last]} ms`);
});
