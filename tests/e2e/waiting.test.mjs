// Thousands of clients that wait, and too few descriptors for those that come.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { describe, test } from 'node:test';

import { endless, renamed } from './gguf.mjs';
import { run_program, server_for_test, short, sleep, wait_until, without_end } from './harness.mjs';
import { Crowd, descriptors_max, descriptors_of, health_times, memory_of, percentile, threads_of } from './crowd.mjs';

const bytes_per_client_max = 64 << 10;
const clients = short ? 500 : 5000;
const spare_descriptors = 400; // of the server and of the test, for all that is no waiting client

const occupant = (server) => server.stream('Tell me a story.', { model: 'endless', options: { num_predict: without_end } });
const waiting = async (server) => (await server.get('/api/ps')).json.models[0]?.waiting;

describe('many clients wait', () => {
  const needed = clients + spare_descriptors;
  const skip = descriptors_max() < needed && `ulimit -Hn is ${descriptors_max()}; this takes ${needed} descriptors`;

  test(`${clients} of them cost little memory and no thread, and hold nobody up`, { skip }, async (t) => {
    const server = await server_for_test(t, { env: { OLLAMA_MAX_QUEUE: '6000', OLLAMA_REQUEST_TIMEOUT: '0' } });
    await server.create('endless', endless());
    const holder = occupant(server);
    await holder.more(3);
    await health_times(server, 50);
    const alone = [await health_times(server, 200)];
    const { pid } = server.process;
    const before = { memory: memory_of(pid), threads: threads_of(pid), descriptors: descriptors_of(pid) };

    const crowd = new Crowd(server, { model: 'endless', prompt: 'Hello', options: { num_predict: 1 } });
    await crowd.join(clients);
    await wait_until(async () => (await waiting(server)) === clients, 'all of them wait');
    const each = (memory_of(pid) - before.memory) / clients;
    const { answer_ms, connect_ms } = await health_times(server, 200);
    t.diagnostic(
      `${clients} wait: ${(each / 1024).toFixed(1)} KiB each; /healthz p50 ${percentile(answer_ms, 50)} ms, ` +
        `p99 ${percentile(answer_ms, 99)} ms; connected within p99 ${percentile(connect_ms, 99)} ms`,
    );
    assert.ok(each < bytes_per_client_max, `${each} bytes each`);
    assert.equal(threads_of(pid), before.threads);
    assert.equal((await server.generate('Count to 3')).response, '1, 2, 3', 'another model answers');

    const stay = 200;
    crowd.leave(clients - stay);
    await wait_until(async () => (await waiting(server)) === stay, 'those that left wait no longer');
    // What must never happen is that a probe waits for those that wait: it takes about as long as without them. Before
    // and after, because the machine may be busier in one of the two.
    alone.push(await health_times(server, 200));
    const usual = Math.max(...alone.map((times) => percentile(times.answer_ms, 50)));
    t.diagnostic(`/healthz p50 ${usual} ms without them`);
    assert.ok(percentile(answer_ms, 50) < 10 * usual, `${percentile(answer_ms, 50)} ms, else ${usual} ms`);
    await holder.more(1);
    holder.close();
    await crowd.ended();
    assert.equal(crowd.answered, stay, 'all who stayed were served');
    assert.equal(crowd.failed, 0);
    await wait_until(() => descriptors_of(pid) <= before.descriptors + 5, 'descriptors are given back');
    assert.equal(await waiting(server), 0);
    assert.equal(threads_of(pid), before.threads);
  });
});

describe('too few descriptors', () => {
  const busy_share_max = 0.5; // of one processor, while nothing can be done
  const processor_seconds = (pid) => {
    const stat = fs.readFileSync(`/proc/${pid}/stat`, 'latin1');
    const [user, system] = stat.slice(stat.lastIndexOf(')') + 2).split(' ').slice(11, 13);
    return (Number(user) + Number(system)) / 100;
  };
  async function idle_share(pid) {
    const [start, from] = [processor_seconds(pid), performance.now()];
    await sleep(1000);
    return (processor_seconds(pid) - start) / ((performance.now() - from) / 1000);
  }

  test('the soft limit is raised to the hard one at start', async (t) => {
    const server = await server_for_test(t, { wrapper: ['prlimit', '--nofile=256:4096'] });
    const limits = fs.readFileSync(`/proc/${server.process.pid}/limits`, 'latin1');
    assert.match(limits, /Max open files +4096 +4096/);
    assert.match(server.stderr, /4096 open files and sockets .*limited to 3840/);
  });

  test('one connection too many is told so, the others are served', async (t) => {
    const server = await server_for_test(t, { wrapper: ['prlimit', '--nofile=64:64'] });
    const crowd = new Crowd(server);
    await crowd.join(60);
    await wait_until(() => crowd.failed >= 20, 'some are refused');
    assert.match(crowd.last_answer, /^HTTP\/1\.1 503 .*\{"error":"too many connections"\}$/s);
    assert.match(crowd.last_answer, /\r\nRetry-After: 1\r\n/);
    assert.ok((await idle_share(server.process.pid)) < busy_share_max);
    crowd.leave(5);
    await wait_until(
      () => server.generate('Count to 3').then((answer) => answer.response === '1, 2, 3', () => false),
      'there is a connection for another, and a runner finds its descriptors',
    );
    crowd.leave(100);
    for (let i = 0; i < 40; i++) assert.equal((await server.get('/healthz')).status, 200);
  });

  test('none left at all: connections wait, loads fail with the reason, and then all is well', async (t) => {
    const server = await server_for_test(t);
    await server.create('other', renamed('Othr'));
    const { pid } = server.process;
    const limit = async (count) => {
      const { code, stderr } = await run_program('prlimit', ['--pid', `${pid}`, `--nofile=${count}:`]);
      assert.equal(code, 0, stderr);
    };
    const limits = /Max open files +(\d+)/.exec(fs.readFileSync(`/proc/${pid}/limits`, 'latin1'));
    const early = new Crowd(server); // connected before, so it can still ask
    await early.join(1);
    await wait_until(() => descriptors_of(pid) > 0, 'it is known what is open');
    await limit(3);
    early.ask({ model: 'other', prompt: 'Hello' });
    await wait_until(() => early.last_answer !== '', 'an answer');
    assert.match(early.last_answer, /^HTTP\/1\.1 500 .*too many open files/is);
    const late = server.call('GET', '/healthz');
    await wait_until(() => /cannot accept connections: too many open files/.test(server.stderr), 'a warning');
    assert.ok((await idle_share(pid)) < busy_share_max);
    assert.ok(server.stderr.match(/cannot accept/g).length < 5, 'it is not said again and again');
    await limit(limits[1]);
    assert.equal((await late.bytes()).toString(), 'ok', 'who came meanwhile is served');
    assert.equal((await server.generate('Count to 3')).response, '1, 2, 3');
    early.leave(1);
  });
});
