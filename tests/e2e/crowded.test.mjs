// Thousands that wait: what each of them costs does not grow with how many there are, and all of them are told in the
// end.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import fs from 'node:fs';
import net from 'node:net';
import { test } from 'node:test';

import { endless } from './gguf.mjs';
import { server_for_test, short, stop_process, wait_until, without_end } from './harness.mjs';

const crowd = short ? 800 : 5000;
const part = crowd / 4;
const senders_each = 50; // requests from one address

// Processor time of a process so far, in clock ticks.
function ticks_of(pid) {
  const stat = fs.readFileSync(`/proc/${pid}/stat`, 'latin1');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return Number(fields[11]) + Number(fields[12]);
}

// One that waits: a connection of its own, from one of many addresses, as one of many clients.
class Waiting {
  constructor(server, i) {
    const body = JSON.stringify({ model: 'endless', prompt: 'Hello', stream: false });
    this.text = '';
    const localAddress = `127.0.1.${1 + Math.floor(i / senders_each)}`;
    this.socket = net.connect({ port: server.port, host: '127.0.0.1', localAddress });
    this.socket.setEncoding('latin1').on('data', (text) => (this.text += text));
    this.socket.on('error', () => {});
    this.closed = once(this.socket, 'close');
    this.socket.write(
      `POST /api/generate HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nX-Client-Id: client-${i % 1000}\r\n` +
        `X-Request-Id: waiting-${i}\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
    );
  }
}

test(`${crowd} requests wait, are looked at, and are told that the server ends`, async (t) => {
  const server = await server_for_test(t, { env: { OLLAMA_MAX_QUEUE: '6000' } });
  await server.create('endless', endless());
  const running = server.stream('Tell me a story.', { model: 'endless', options: { num_predict: without_end } });
  t.after(() => running.close());
  await running.more(3);
  await stop_process(server.runners()[0]); // who waits goes on waiting, and only the front computes
  const waiting = [];
  t.after(() => waiting.forEach(({ socket }) => socket.destroy()));
  const costs = [];
  for (let quarter = 0; quarter < 4; quarter++) {
    const before = ticks_of(server.process.pid);
    while (waiting.length < part * (quarter + 1)) waiting.push(new Waiting(server, waiting.length));
    // /metrics shows how many there are, and costs the same however many.
    const all = new RegExp(`^drover_requests_waiting\\S* ${waiting.length}$`, 'm');
    await wait_until(async () => all.test((await server.get('/metrics')).text), `${waiting.length} wait`);
    costs.push(ticks_of(server.process.pid) - before);
  }
  t.diagnostic(`processor time of the front for each quarter, in ticks: ${costs}`);
  assert.ok(costs[3] < 4 * costs[0] + 20, `the last quarter costs as much as the first: ${costs}`);
  const { status, json } = await server.get('/api/queue');
  assert.deepEqual([status, json.waiting, json.truncated], [200, crowd, crowd > 2000]);
  assert.equal(new Set(json.requests.map(({ position }) => position)).size, json.requests.length);
  assert.equal((await server.get('/api/history')).status, 200);
  assert.equal((await server.get('/api/ps')).json.models[0].waiting, crowd);
  assert.equal((await server.send('DELETE', '/api/requests/waiting-7')).json.canceled, 1);
  for (const one of waiting.slice(10, 20)) one.socket.destroy(); // they do not want to wait any longer
  await wait_until(async () => (await server.get('/api/queue')).json.waiting === crowd - 11, 'some have left');
  server.process.kill('SIGTERM');
  await Promise.all(waiting.map(({ closed }) => closed));
  assert.deepEqual(await server.end(), [0, null]);
  const told = waiting.filter(({ text }) => /^HTTP\/1\.1 503 .*server is shutting down/s.test(text)).length;
  assert.equal(told, crowd - 11);
});
