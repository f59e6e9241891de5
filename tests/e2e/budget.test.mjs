// What one client may take of the server, and what it is told: connections, half-closed requests, uploads that are
// answered early. The attacks on the same are in tests/attack (connections, http, disk).
import assert from 'node:assert/strict';
import { once } from 'node:events';
import http from 'node:http';
import net from 'node:net';
import { describe, test } from 'node:test';

import { in_time, run_program, server_for_suite, server_for_test, sha256, wait_until } from './harness.mjs';

const mib = 1 << 20;

// One request from an address of this machine, on a connection of its own: {status, text}.
function ask(server, localAddress, path) {
  return new Promise((resolve, reject) => {
    const where = { host: '127.0.0.1', port: server.port, localAddress, path, agent: false };
    const request = http.get(where, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (part) => (text += part));
      response.on('end', () => resolve({ status: response.statusCode, text }));
    });
    request.on('error', reject);
  });
}

describe('connections from one address', () => {
  const part = 512 + 256; // the least that an address has where the system allows few connections: for those that wait, and more

  test('are a part of all, and a server that is full for it says that it lives', async (t) => {
    const server = await server_for_test(t, { wrapper: ['prlimit', '--nofile=1400:1400'] });
    const sockets = Array.from({ length: part }, () => {
      const socket = net.connect({ port: server.port, host: '127.0.0.1', localAddress: '127.0.0.2' });
      return socket.on('error', () => {});
    });
    t.after(() => sockets.forEach((socket) => socket.destroy()));
    await Promise.all(sockets.map((socket) => once(socket, 'connect')));
    let full;
    await wait_until(
      async () => (full = await ask(server, '127.0.0.2', '/api/version')).status !== 200,
      'the address has its part',
    );
    assert.deepEqual(full, { status: 503, text: '{"error":"too many connections"}' });
    assert.deepEqual(await ask(server, '127.0.0.2', '/healthz'), { status: 200, text: 'ok' });
    assert.equal((await ask(server, '127.0.0.3', '/api/version')).status, 200, 'another address');
    sockets.pop().destroy();
    await wait_until(
      async () => (await ask(server, '127.0.0.2', '/api/version')).status === 200,
      'a place that was left is free',
    );
  });
});

const question = (stream) =>
  JSON.stringify({ model: 'cria', prompt: 'Count to 3', stream, options: { temperature: 0 } });

// Sends a request, closes this side behind it, and reads until the server closes.
async function half_closed(server, version, stream, headers = '') {
  const socket = net.connect({ port: server.port, host: '127.0.0.1', allowHalfOpen: true });
  let text = '';
  socket.setEncoding('utf8').on('data', (part) => (text += part));
  const body = question(stream);
  socket.end(
    `POST /api/generate HTTP/${version}\r\nHost: localhost\r\n${headers}Content-Length: ${body.length}\r\n\r\n${body}`,
  );
  await in_time(once(socket, 'end'), 'the answer to a half-closed request');
  return text;
}

describe('a client that has closed its own direction', () => {
  const server = server_for_suite();

  test('is answered, whole or as a stream', async () => {
    const head = /^(HTTP\/1\.1 100 Continue\r\n\r\n){0,3}HTTP\/1\.1 200 OK\r\n/;
    const whole = await half_closed(server, '1.1', false);
    assert.match(whole, head);
    assert.equal(JSON.parse(whole.slice(whole.lastIndexOf('\r\n\r\n'))).response, '1, 2, 3');
    const stream = await half_closed(server, '1.1', true);
    assert.match(stream, head);
    assert.match(stream, /"done":true.*\r\n0\r\n\r\n$/s);
  });

  test('of HTTP/1.0 gets nothing but the answer', async () => {
    assert.match(await half_closed(server, '1.0', false), /^HTTP\/1\.0 200 OK\r\n.*1, 2, 3/s);
  });

  test('is no disconnected one in the log', async () => {
    await half_closed(server, '1.1', false, 'X-Request-Id: half\r\n');
    const line = () => server.stderr.split('\n').find((text) => text.includes(' request id=half '));
    await wait_until(() => line() !== undefined, 'the log says how it ended');
    assert.match(line(), / outcome=stop /);
  });

  test("is answered in a way that Python's client reads", async () => {
    const script = [
      'import http.client, socket, sys',
      "client = http.client.HTTPConnection('127.0.0.1', int(sys.argv[1]))",
      "client.request('POST', '/api/generate', sys.argv[2])",
      'client.sock.shutdown(socket.SHUT_WR)',
      'answer = client.getresponse()',
      'print(answer.status, answer.read().decode())',
    ].join('\n');
    const { code, stdout, stderr } = await run_program('python3', ['-c', script, `${server.port}`, question(false)]);
    assert.equal(code, 0, stderr);
    assert.match(stdout, /^200 .*"1, 2, 3"/);
  });
});

describe('an upload whose answer is known early', () => {
  const size = 24 * mib; // more than the sockets of both sides hold
  const bytes = Buffer.alloc(size, 'u');
  const digest = `sha256:${sha256(bytes)}`;

  // Sends all before it reads: {status, text}.
  async function python_upload(server) {
    const script = [
      'import http.client, sys',
      "client = http.client.HTTPConnection('127.0.0.1', int(sys.argv[1]))",
      "client.request('POST', '/api/blobs/' + sys.argv[2], b'u' * int(sys.argv[3]))",
      'answer = client.getresponse()',
      'print(answer.status, answer.read().decode())',
    ].join('\n');
    const { code, stdout, stderr } = await run_program('python3', ['-c', script, `${server.port}`, digest, `${size}`]);
    assert.equal(code, 0, stderr);
    const [, status, text] = /^(\d+) (.*)/s.exec(stdout);
    return { status: Number(status), text };
  }

  test('because the blob is there', async (t) => {
    const server = await server_for_test(t);
    await server.upload(bytes);
    assert.equal((await python_upload(server)).status, 200);
    // The same from a plain socket that does not look up before it has sent everything.
    const socket = net.connect(server.port, '127.0.0.1').pause();
    let problem;
    socket.on('error', (error) => (problem ??= error));
    socket.write(`POST /api/blobs/${digest} HTTP/1.1\r\nHost: localhost\r\nContent-Length: ${size}\r\n\r\n`);
    await new Promise((resolve) => socket.write(bytes, resolve));
    let text = '';
    socket.setEncoding('latin1').on('data', (part) => (text += part));
    socket.resume();
    await in_time(once(socket, 'close'), 'the answer');
    assert.equal(problem, undefined);
    assert.match(text, /^HTTP\/1\.1 200 OK\r\n(.+\r\n)*Connection: close\r\n/);
  });

  test('because files may not grow so long: 507, the name of no folder, and the server goes on', async (t) => {
    const server = await server_for_test(t, { wrapper: ['prlimit', `--fsize=${10 * mib}`] });
    const { status, text } = await python_upload(server);
    assert.equal(status, 507, text);
    const { error } = JSON.parse(text);
    assert.match(error, /^cannot write /);
    assert.doesNotMatch(error, /\//);
    assert.equal((await server.send('HEAD', `/api/blobs/${digest}`)).status, 404);
    assert.equal((await server.generate('Count to 3')).response, '1, 2, 3');
  });
});
