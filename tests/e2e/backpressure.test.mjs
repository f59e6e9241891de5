// A client that does not read its answer costs nobody but itself.
//
// The answers are long on purpose: what the kernel keeps for a connection that nobody reads is megabytes, and only what
// is beyond that is the server's to hold. Every token says which twenty others there might have been instead, and the
// model's words are long, so that a thousand tokens are enough of it.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import fs from 'node:fs';
import net from 'node:net';
import { describe, test } from 'node:test';

import { endless } from './gguf.mjs';
import { with_long_words } from './gguf_parts.mjs';
import { in_time, server_for_test, short, wait_until } from './harness.mjs';

const mebibyte = 1 << 20;
const memory_bytes_max = (short ? 512 : 96) * mebibyte; // a sanitizer keeps what was given back
const word_bytes = 200;
const tokens = 20_000; // far more than the server holds for anybody
const filled = 1000; // tokens after which what the kernel keeps for a connection is full; the server holds as many more
const last_chunk = '\r\n0\r\n\r\n';

// A connection that has asked for a long stream and reads nothing until it is told to.
class Sleeper {
  constructor(server, id) {
    const body = JSON.stringify({
      model: 'wordy',
      prompt: 'Tell me a story.',
      logprobs: true,
      top_logprobs: 20,
      options: { num_predict: tokens },
    });
    this.socket = net.connect(server.port, '127.0.0.1');
    this.socket.pause();
    this.socket.setEncoding('latin1').on('error', () => {}); // some tests want a connection that is cut
    this.socket.write(
      `POST /api/generate HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nX-Request-Id: ${id}\r\n` +
        `Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
    );
  }

  // All that comes until the connection ends.
  async read() {
    let text = '';
    this.socket.on('data', (part) => (text += part));
    const closed = once(this.socket, 'close');
    this.socket.resume();
    await in_time(closed, 'the connection ends');
    return text;
  }
}

// What the server knows of a request; undefined: it has ended.
const request_of = async (server, id) =>
  (await server.get('/api/queue')).json.requests.find((request) => request.id === id);
const outcome_of = (server, id) => new RegExp(`request id=${id} .*outcome=(\\w+)`).exec(server.stderr)?.[1];
const resident_bytes = (pid) => Number(/VmRSS:\s+(\d+) kB/.exec(fs.readFileSync(`/proc/${pid}/status`))[1]) * 1024;

async function server_with_wordy(t, env) {
  const server = await server_for_test(t, { env });
  await server.create('wordy', with_long_words(endless(), word_bytes));
  await server.generate('Hello', { model: 'wordy', options: { num_predict: 1 } });
  return server;
}

async function until_filled(server, id) {
  const enough = async () => ((await request_of(server, id))?.output_tokens ?? 0) >= filled;
  await wait_until(enough, `${id} has ${filled} tokens`);
}

describe('a client that reads nothing of a long answer', () => {
  test('is told so when too much waits for it; others are served, and memory stays bounded', async (t) => {
    const server = await server_with_wordy(t, { OLLAMA_NUM_PARALLEL: '2' });
    const before = resident_bytes(server.process.pid);
    // Both slots are in the same steps: whatever the machine does, this one gets a token for each of the sleeper's.
    const other = server.stream('Tell me a story.', { model: 'wordy', options: { num_predict: tokens } });
    await other.more(3);
    const sleeper = new Sleeper(server, 'sleeper');
    await wait_until(() => request_of(server, 'sleeper'), 'it is there');
    const begun_with = other.items.length;
    let highest = before;
    const ended = async () => {
      highest = Math.max(highest, resident_bytes(server.process.pid));
      return outcome_of(server, 'sleeper');
    };
    await wait_until(ended, 'the sleeper is ended');
    const served = other.items.length - begun_with;
    t.diagnostic(`${served} tokens of another meanwhile; ${((highest - before) / mebibyte).toFixed(1)} MiB`);
    assert.ok(served > filled / 10, `${served} tokens of another meanwhile`);
    await other.more(10);
    other.close();
    assert.ok(highest - before < memory_bytes_max, `${highest - before} bytes`);
    assert.equal(outcome_of(server, 'sleeper'), 'canceled');
    assert.match(server.stderr, /ending request sleeper: the client does not read its answer/);
    // What was held back is still there, in whole lines, and then the reason.
    const text = await sleeper.read();
    assert.ok(text.endsWith(last_chunk), text.slice(-300));
    const lines = [...text.matchAll(/^\{.*\}$/gm)].map(([line]) => JSON.parse(line));
    assert.ok(lines.length > filled, `${lines.length} lines`);
    assert.ok(lines.slice(0, -1).every((line) => line.logprobs.every(({ top_logprobs }) => top_logprobs.length === 20)));
    assert.deepEqual(lines.at(-1), { error: 'the client does not read its answer' });
  });

  test('and goes away frees its slot', async (t) => {
    const server = await server_with_wordy(t, {});
    const sleeper = new Sleeper(server, 'sleeper');
    await until_filled(server, 'sleeper');
    sleeper.socket.destroy();
    const next = await server.generate('Hello', { model: 'wordy', options: { num_predict: 1 } });
    assert.equal(next.eval_count, 1);
    await wait_until(() => outcome_of(server, 'sleeper'), 'the log says how it ended');
    assert.equal(outcome_of(server, 'sleeper'), 'disconnected');
  });

  test('is cut off after DROVER_CLIENT_TIMEOUT', async (t) => {
    const server = await server_with_wordy(t, { DROVER_CLIENT_TIMEOUT: '100ms' });
    const sleeper = new Sleeper(server, 'sleeper');
    await wait_until(() => outcome_of(server, 'sleeper'), 'it has ended');
    assert.equal(outcome_of(server, 'sleeper'), 'disconnected');
    assert.ok(!(await sleeper.read()).endsWith(last_chunk), 'a whole answer');
    assert.equal((await server.generate('Count to 3')).response, '1, 2, 3');
  });

  test('and wants it whole gets it as soon as it reads', async (t) => {
    const server = await server_with_wordy(t, {});
    const call = server.call('POST', '/api/generate', {
      model: 'wordy',
      prompt: 'Tell me a story.',
      stream: false,
      logprobs: true,
      top_logprobs: 20,
      options: { num_predict: filled },
    });
    await call.head; // and nothing of the body, until another was served
    assert.equal((await server.generate('Count to 3')).response, '1, 2, 3');
    assert.equal(JSON.parse(await call.bytes()).eval_count, filled);
  });
});
