// Who is next among those that wait, how long they may wait, and how long they may run.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import { endless } from './gguf.mjs';
import { instant, server_for_suite, server_for_test, short, Stream, wait_until, without_end } from './harness.mjs';

const create_endless = (server) => server.create('endless', endless());
const end_of = (stream) => instant(stream.items.at(-1).created_at);

function ask(server, headers, num_predict = 20) {
  const body = { model: 'endless', prompt: 'Tell me a story.', options: { temperature: 0, num_predict } };
  return new Stream(server.call('POST', '/api/generate', body, headers));
}

const waiting = async (server) => (await server.get('/api/ps')).json.models[0]?.waiting;
const until_waiting = (server, count) =>
  wait_until(async () => (await waiting(server)) === count, `${count} requests wait`);

// The one slot is taken until this is closed.
async function holder_of(server) {
  const holder = ask(server, { 'x-client-id': 'holder' }, without_end);
  await holder.more(3);
  return holder;
}

async function all(streams) {
  await Promise.all(streams.map(({ ended }) => ended));
  for (const { items } of streams) assert.equal(items.at(-1).done, true, JSON.stringify(items.at(-1)));
}

// The time that a request had the slot, as the server tells it: what is shared, however long one takes here and now.
function service_of({ items }) {
  const { total_duration, load_duration } = items.at(-1);
  return (total_duration - load_duration) / 1e6;
}

// Whenever one of the heavy client's requests ended, and until one of the two had no more, it had had `weight` times the
// service of the light one, give or take what a request takes.
function check_shares(t, heavy, light, weight) {
  const sum = (streams) => streams.reduce((total, stream) => total + service_of(stream), 0);
  const most = Math.max(...[...heavy, ...light].map(service_of));
  let compared = 0;
  for (const now of heavy.map(end_of).sort((a, b) => a - b)) {
    const served = light.filter((stream) => end_of(stream) < now);
    if (served.length === light.length) break;
    const [of_heavy, of_light] = [sum(heavy.filter((stream) => end_of(stream) <= now)), sum(served)];
    const both = `${of_heavy.toFixed(0)} and ${of_light.toFixed(0)} ms of service`;
    assert.ok(Math.abs(of_heavy / weight - of_light) <= 2 * most, `${both}, a request takes at most ${most} ms`);
    if (++compared === heavy.length - 1) t.diagnostic(`${both}, and ${served.length} of the light client's requests`);
  }
  assert.ok(compared > heavy.length / 2, `they shared for ${compared} requests`);
}

describe('clients share a slot', () => {
  const server = server_for_suite({}, create_endless);

  test('one with hundreds of requests delays the only one of another by one of them', async (t) => {
    const crowd_size = short ? 100 : 500;
    const holder = await holder_of(server);
    const crowd = Array.from({ length: crowd_size }, () => ask(server, { 'x-client-id': 'crowd' }));
    await until_waiting(server, crowd_size);
    holder.close();
    await Promise.all(crowd.slice(0, 5).map(({ ended }) => ended));
    const single = ask(server, { 'x-client-id': 'single' });
    await all([single, ...crowd.slice(0, 12)]); // the crowd's own are in order
    for (const stream of crowd) stream.close();
    // As the server saw it: answers of the crowd that ended before the single one, and after it was admitted.
    const { total_duration: total } = single.items.at(-1);
    const admitted = end_of(single) - total / 1e6;
    const ended = crowd.filter(({ items }) => items.at(-1)?.done);
    const between = ended.filter((one) => end_of(one) > admitted && end_of(one) < end_of(single)).length;
    t.diagnostic(`${between} of the crowd ended between the single request's arrival and its end`);
    assert.ok(between <= 2, `${between}`);
    await until_waiting(server, 0);
  });

  test('clients with many requests each are served in turn', async (t) => {
    const holder = await holder_of(server);
    const streams = { first: [], second: [] };
    for (const client of ['first', 'second']) {
      for (let i = 0; i < 10; i++) streams[client].push(ask(server, { 'x-client-id': client }));
      await until_waiting(server, client === 'first' ? 10 : 20);
    }
    holder.close();
    await all([...streams.first, ...streams.second]);
    check_shares(t, streams.first, streams.second, 1);
  });

  test('DROVER_CLIENT_WEIGHTS: a share of its own', async (t) => {
    const server = await server_for_test(t, { env: { DROVER_CLIENT_WEIGHTS: 'id:heavy=3' } });
    await create_endless(server);
    const holder = await holder_of(server);
    const streams = { heavy: [], light: [] };
    for (const client of ['light', 'heavy']) {
      for (let i = 0; i < 12; i++) streams[client].push(ask(server, { 'x-client-id': client }));
      await until_waiting(server, streams.light.length + streams.heavy.length);
    }
    holder.close();
    await all([...streams.heavy, ...streams.light]);
    check_shares(t, streams.heavy, streams.light, 3);
  });

  test('an API key says who is asking, before X-Client-Id', async () => {
    const holder = await holder_of(server);
    const same = (id) => ({ authorization: 'Bearer same', 'x-client-id': id });
    const many = Array.from({ length: 10 }, (_, i) => ask(server, same(`name ${i}`)));
    await until_waiting(server, 10);
    const other = ask(server, { authorization: 'Bearer other' });
    await until_waiting(server, 11);
    holder.close();
    await all([...many, other]);
    const before = many.filter((one) => end_of(one) < end_of(other)).length;
    assert.ok(before <= 1, `${before} of the other key's requests came before`);
  });

  test('X-Priority orders them', async () => {
    const holder = await holder_of(server);
    const streams = [];
    for (const priority of ['low', 'normal', 'high']) {
      for (let i = 0; i < 3; i++) streams.push([priority, ask(server, { 'x-priority': priority }, 2)]);
      await until_waiting(server, streams.length);
    }
    holder.close();
    await all(streams.map(([, stream]) => stream));
    const order = streams.sort(([, a], [, b]) => end_of(a) - end_of(b)).map(([priority]) => priority);
    assert.deepEqual(order, ['high', 'high', 'high', 'normal', 'normal', 'normal', 'low', 'low', 'low']);
    const wrong = await server.send('POST', '/api/generate', { model: 'endless', prompt: 'x' }, { 'x-priority': 'urgent' });
    assert.equal(wrong.status, 400);
    assert.match(wrong.json.error, /X-Priority "urgent"/);
  });
});

describe('X-Request-Timeout', () => {
  const server = server_for_suite({}, create_endless);

  test('shortens the wait of one request', async () => {
    const holder = await holder_of(server);
    const patient = ask(server, {}, 5);
    await until_waiting(server, 1);
    const start = performance.now();
    const hurried = ask(server, { 'x-request-timeout': '1500ms' }, 5);
    await hurried.ended;
    const waited = performance.now() - start;
    assert.equal(hurried.call.response.statusCode, 503);
    assert.deepEqual(hurried.items, [{ error: 'model request timeout' }]);
    assert.ok(waited > 1400, `${waited} ms`);
    assert.equal(patient.items.length, 0);
    await holder.more(1);
    holder.close();
    await all([patient]);
  });

  test('does not cut what runs', async () => {
    await server.generate('Hello', { model: 'endless', options: { num_predict: 1 } }); // it is loaded
    const stream = ask(server, { 'x-request-timeout': '100ms' }, 1000);
    await stream.ended;
    assert.equal(stream.items.at(-1).eval_count, 1000);
    assert.ok(stream.items.at(-1).total_duration > 150e6, 'it took longer than its time-out');
  });

  test('what is no time is refused', async () => {
    for (const time of ['soon', '-1', '0', '1x']) {
      const body = { model: 'endless', prompt: 'x' };
      const { status, json } = await server.send('POST', '/api/generate', body, { 'x-request-timeout': time });
      assert.equal(status, 400, time);
      assert.match(json.error, /X-Request-Timeout/);
    }
  });
});

describe('caps for all requests', () => {
  test('DROVER_MAX_TOKENS ends with done_reason length', async (t) => {
    const server = await server_for_test(t, { env: { DROVER_MAX_TOKENS: '30' } });
    await create_endless(server);
    for (const num_predict of [-1, 5000, undefined]) {
      for (const stream of [true, false]) {
        const options = { num_predict };
        const call = new Stream(
          server.call('POST', '/api/generate', { model: 'endless', prompt: 'Go on.', stream, options }),
        );
        await call.ended;
        const { eval_count, done_reason } = call.items.at(-1);
        assert.deepEqual([eval_count, done_reason], [30, 'length']);
      }
    }
    const few = await server.generate('Go on.', { model: 'endless', options: { num_predict: 3 } });
    assert.deepEqual([few.eval_count, few.done_reason], [3, 'length']);
    assert.equal((await server.generate('Count to 3')).done_reason, 'stop');
  });

  test('DROVER_MAX_GENERATION_TIME too, and its slot is free', async (t) => {
    const server = await server_for_test(t, { env: { DROVER_MAX_GENERATION_TIME: '1s' } });
    await create_endless(server);
    const streams = [ask(server, {}, without_end), ask(server, {}, without_end)];
    await all(streams);
    for (const { items } of streams) {
      const { done_reason, total_duration, load_duration } = items.at(-1);
      assert.equal(done_reason, 'length');
      const took = (total_duration - load_duration) / 1e6;
      assert.ok(took > 900, `${took} ms`);
    }
    const begin_of = (stream) => instant(stream.items[0].created_at);
    const [first, second] = streams.sort((a, b) => begin_of(a) - begin_of(b));
    assert.ok(end_of(first) <= begin_of(second), 'one after the other');
    assert.equal((await server.generate('Count to 3')).done, true);
  });
});
