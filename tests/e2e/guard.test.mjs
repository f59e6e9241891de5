// Who may talk to the server: origins, hosts, Unix sockets.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { describe, test } from 'node:test';

import { drover, run_program, server_for_test, wait_until } from './harness.mjs';

// One request with exactly these headers; fetch() would not send a Host or an Origin of our choice.
function ask(where, { method = 'GET', path: target = '/api/version', headers = {}, body } = {}) {
  return new Promise((resolve, reject) => {
    const request = http.request({ ...where, method, path: target, headers }, (response) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (part) => (text += part));
      response.on('end', () => resolve({ status: response.statusCode, headers: response.headers, text }));
    });
    request.on('error', reject);
    request.end(body);
  });
}

const at = (server) => ({ host: '127.0.0.1', port: server.port });

describe('pages of other origins', () => {
  test('are refused before the body is read', async (t) => {
    const server = await server_for_test(t);
    const headers = { Origin: 'https://evil.example', 'Content-Length': '1000000', Expect: '100-continue' };
    const answer = await ask(at(server), { method: 'POST', path: '/api/generate', headers });
    assert.equal(answer.status, 403);
    assert.match(JSON.parse(answer.text).error, /origin .*evil\.example.* is not allowed/);
    assert.equal(answer.headers['access-control-allow-origin'], undefined);
    const preflight = await ask(at(server), { method: 'OPTIONS', headers: { Origin: 'null' } });
    assert.equal(preflight.status, 403);
  });

  test('of this machine, and those of OLLAMA_ORIGINS, are not', async (t) => {
    const server = await server_for_test(t, { env: { OLLAMA_ORIGINS: 'https://*.example.org' } });
    for (const origin of ['http://localhost:3000', 'https://chat.example.org', 'app://x']) {
      const answer = await ask(at(server), { headers: { Origin: origin } });
      assert.equal(answer.status, 200);
      assert.equal(answer.headers['access-control-allow-origin'], origin);
      assert.equal(answer.headers.vary, 'Origin');
    }
    const own = await ask(at(server), { headers: { Origin: `http://127.0.0.1:${server.port}` } });
    assert.equal(own.status, 200);
    const plain = await ask(at(server));
    assert.equal(plain.headers['access-control-allow-origin'], undefined);
  });

  test('ask first, and are told what they may do', async (t) => {
    const server = await server_for_test(t);
    const answer = await ask(at(server), {
      method: 'OPTIONS',
      path: '/api/chat',
      headers: {
        Origin: 'http://localhost:3000',
        'Access-Control-Request-Method': 'POST',
        'Access-Control-Request-Headers': 'content-type,x-stainless-lang',
      },
    });
    assert.equal(answer.status, 204);
    assert.equal(answer.headers['access-control-allow-origin'], 'http://localhost:3000');
    assert.match(answer.headers['access-control-allow-methods'], /POST/);
    assert.equal(answer.headers['access-control-allow-headers'], 'content-type,x-stainless-lang');
    assert.equal(answer.text, '');
  });

  test('may read errors too', async (t) => {
    const server = await server_for_test(t);
    const answer = await ask(at(server), { path: '/nowhere', headers: { Origin: 'http://localhost' } });
    assert.equal(answer.status, 404);
    assert.equal(answer.headers['access-control-allow-origin'], 'http://localhost');
  });
});

describe('answers', () => {
  test('are no script, image or page of other origins, unless those are allowed', async (t) => {
    const server = await server_for_test(t);
    const of = ({ headers }) => [headers['x-content-type-options'], headers['cross-origin-resource-policy']];
    for (const target of ['/api/version', '/api/tags', '/metrics', '/ui/', '/nowhere'])
      assert.deepEqual(of(await ask(at(server), { path: target })), ['nosniff', 'same-origin'], target);
    const allowed = { headers: { Origin: 'http://localhost:3000' } };
    assert.deepEqual(of(await ask(at(server), allowed)), ['nosniff', 'cross-origin']);
    const foreign = { headers: { Origin: 'https://evil.example' } };
    assert.deepEqual(of(await ask(at(server), foreign)), ['nosniff', 'same-origin']);
  });
});

describe('the Host header', () => {
  test('of somebody else is refused on loopback', async (t) => {
    const server = await server_for_test(t);
    for (const host of ['evil.example', `evil.example:${server.port}`, 'localhost.evil.example']) {
      const answer = await ask(at(server), { headers: { Host: host } });
      assert.equal(answer.status, 403, host);
      assert.match(JSON.parse(answer.text).error, /is not allowed/);
    }
    for (const host of ['localhost', '127.0.0.1', '[::1]:80', 'box.local', os.hostname()]) {
      assert.equal((await ask(at(server), { headers: { Host: host } })).status, 200, host);
    }
  });
});

describe('a Unix socket', () => {
  test('serves curl and the command line, and goes with its server', async (t) => {
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'drover-unix-'));
    t.after(() => fs.rmSync(folder, { recursive: true, force: true }));
    const socket = path.join(folder, 'drover.sock');
    const env = { ...process.env, HOME: folder, OLLAMA_MODELS: folder, OLLAMA_HOST: `unix://${socket}` };
    // What a server that was killed has left behind is no obstacle.
    const before = net.createServer().listen(socket);
    await once(before, 'listening');
    fs.renameSync(socket, `${socket}.kept`);
    before.close();
    await once(before, 'close');
    fs.renameSync(`${socket}.kept`, socket);
    const server = spawn(drover, ['serve'], { env, stdio: 'ignore' });
    t.after(() => server.kill('SIGKILL'));
    const answers = () => ask({ socketPath: socket }, { headers: { Host: 'localhost' } }).then(({ status }) => status === 200, () => false);
    await wait_until(answers, 'the server answers');
    const { stdout } = await run_program(drover, ['run', 'cria', 'Count to 3'], { env });
    assert.match(stdout, /1, 2, 3/);
    const second = spawn(drover, ['serve'], { env, stdio: ['ignore', 'ignore', 'pipe'] });
    let words = '';
    second.stderr.setEncoding('utf8').on('data', (text) => (words += text));
    assert.deepEqual(await once(second, 'exit'), [1, null]);
    assert.match(words, /listen unix .*address already in use/);
    assert.ok(await answers(), 'the first one goes on');
    server.kill('SIGTERM');
    assert.deepEqual(await once(server, 'exit'), [0, null]);
    assert.equal(fs.existsSync(socket), false);
  });
});
