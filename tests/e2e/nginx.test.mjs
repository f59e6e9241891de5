// Behind Debian's nginx, configured as docs/nginx.conf says: only ports and the time-out differ, which is shorter here
// so that nobody has to wait for a minute.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import fs from 'node:fs';
import http from 'node:http';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';

import { capital_question, hold, parse_events } from './faces.mjs';
import { endless } from './gguf.mjs';
import { Call, free_port, root, server_for_suite, sha256, Stream, wait_until, without_end } from './harness.mjs';

const read_timeout_s = 10; // ten heartbeats
const nginx = ['nginx', '/usr/sbin/nginx'].find((program) => !spawnSync(program, ['-v']).error);

function configuration(listen_port, server_port) {
  let text = fs.readFileSync(path.join(root, 'docs/nginx.conf'), 'utf8');
  for (const [from, to] of [
    ['listen 80;', `listen 127.0.0.1:${listen_port};`],
    ['server 127.0.0.1:11434;', `server 127.0.0.1:${server_port};`],
    ['proxy_read_timeout 60s;', `proxy_read_timeout ${read_timeout_s}s;`],
  ]) {
    assert.equal(text.split(from).length, 2, `docs/nginx.conf says "${from}" once`);
    text = text.replace(from, to);
  }
  return text;
}

class Proxy {
  async start(server_port) {
    this.folder = fs.mkdtempSync(path.join(os.tmpdir(), 'drover-nginx-'));
    this.port = await free_port();
    const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'];
    const text = `${process.getuid() === 0 ? 'user root;' : ''}
      daemon off; pid ${this.folder}/pid; worker_processes 1; events { worker_connections 256; }
      http { log_format outcome '$status $request_uri'; access_log ${this.folder}/access.log outcome; ${temporary.map((name) => `${name}_temp_path ${this.folder}/${name};`).join(' ')}
      ${configuration(this.port, server_port)} }`;
    const file = path.join(this.folder, 'nginx.conf');
    fs.writeFileSync(file, text);
    this.process = spawn(nginx, ['-c', file, '-e', 'stderr'], { stdio: ['ignore', 'ignore', 'pipe'] });
    this.stderr = '';
    this.process.stderr.setEncoding('utf8').on('data', (chunk) => (this.stderr += chunk));
    this.exited = once(this.process, 'exit');
    const answers = () => this.send('GET', '/').then(({ status }) => status === 200, () => false);
    await wait_until(answers, `nginx answers; it said: ${this.stderr}`);
  }

  // "STATUS TARGET" of each request that has ended.
  log() {
    return fs.readFileSync(path.join(this.folder, 'access.log'), 'utf8').trim().split('\n');
  }

  call(method, target, body, headers) {
    return new Call(this, method, target, body, headers);
  }

  async send(method, target, body, headers) {
    const call = this.call(method, target, body, headers);
    const text = (await call.bytes()).toString();
    return { status: call.response.statusCode, text };
  }

  async stop() {
    if (this.process) {
      this.process.kill('SIGTERM');
      await this.exited;
    }
    fs.rmSync(this.folder, { recursive: true, force: true });
  }
}

describe('behind nginx', { skip: !nginx && 'there is no nginx' }, () => {
  const server = server_for_suite({}, (started) => started.create('endless', endless()));
  const proxy = new Proxy();
  before(() => proxy.start(server.port));
  after(() => proxy.stop());

  const chat = { model: 'endless', stream: true, messages: capital_question };
  const queue = async () => (await server.get('/api/queue')).json;
  const listed = (count) =>
    wait_until(async () => (await queue()).requests.length === count, `${count} requests`);
  // What has come of an answer's body so far.
  const follow = async (call) => {
    await call.head;
    const body = { text: '' };
    call.response.setEncoding('utf8').on('data', (text) => (body.text += text));
    return body;
  };

  test('streams that wait for longer than its time-out pass, and pieces come when they are sent', async () => {
    const holder = await hold(server);
    const headers = { 'X-Heartbeat': '1s' };
    const lines = proxy.call('POST', '/api/chat', { ...chat, options: { num_predict: 2 } }, headers);
    const events = proxy.call('POST', '/v1/chat/completions', { ...chat, max_tokens: 2 }, headers);
    const bodies = await Promise.all([follow(lines), follow(events)]);
    const beats = () => [bodies[0].text.length, bodies[1].text.split(': waiting\n\n').length - 1];
    await wait_until(() => beats().every((count) => count >= read_timeout_s + 3), 'many heartbeats');
    assert.deepEqual((await queue()).waiting, 2, 'they still wait');
    holder.close();
    await wait_until(() => [lines, events].every(({ response }) => response.complete), 'both answers end');
    assert.equal(JSON.parse(bodies[0].text.trimEnd().split('\n').at(-1)).eval_count, 2);
    assert.equal(parse_events(bodies[1].text).at(-1).data, '[DONE]');
  });

  test('what waits in silence is cut by it, and leaves the queue', async () => {
    const holder = await hold(server);
    const answer = await proxy.send('POST', '/api/chat', { ...chat, stream: false });
    assert.equal(answer.status, 504);
    await listed(1);
    holder.close();
    await listed(0);
  });

  test('a client that leaves frees its slot, whether it runs or waits', async () => {
    const body = { model: 'endless', prompt: 'Hello', options: { num_predict: without_end } };
    // Heartbeats, so that the proxy's time-out is not what ends one that waits.
    const generate = () => new Stream(proxy.call('POST', '/api/generate', body, { 'X-Heartbeat': '1s' }));
    const runs = generate();
    await runs.more(3);
    const waits = generate();
    await listed(2);
    waits.close();
    await listed(1);
    // 499: the client has left. What was cut by the time-out would be a 504.
    await wait_until(() => proxy.log().at(-1) === '499 /api/generate', `the log: ${proxy.log().slice(-2)}`);
    runs.close();
    await listed(0);
  });

  test('a large blob is handed on while it is uploaded', async () => {
    const bytes = randomBytes(48 << 20);
    const digest = `sha256:${sha256(bytes)}`;
    const half = bytes.length / 2;
    const request = http.request({
      ...{ host: '127.0.0.1', port: proxy.port, method: 'POST', path: `/api/blobs/${digest}`, agent: false },
      headers: { 'content-type': 'application/octet-stream', 'content-length': bytes.length },
    });
    const response = once(request, 'response');
    request.write(bytes.subarray(0, half));
    const largest = () => {
      const folder = path.join(server.models, 'blobs');
      return Math.max(0, ...fs.readdirSync(folder).map((name) => fs.statSync(path.join(folder, name)).size));
    };
    await wait_until(() => largest() > half / 2, 'the server has a part of it');
    request.end(bytes.subarray(half));
    const [answer] = await response;
    assert.equal(answer.statusCode, 201);
    answer.resume();
    assert.equal((await server.send('HEAD', `/api/blobs/${digest}`)).status, 200);
  });

  test('clients are told apart, whatever they call themselves', async () => {
    const stream = new Stream(
      proxy.call(
        'POST',
        '/api/generate',
        { model: 'endless', prompt: 'Hello', options: { num_predict: without_end } },
        { 'x-client-id': 'somebody else' },
      ),
    );
    await stream.more();
    assert.equal((await queue()).requests[0].client, 'id:127.0.0.1');
    stream.close();
    await listed(0);
    assert.equal((await proxy.send('GET', '/metrics')).status, 200, 'it comes from this machine');
  });

  test('a name that somebody else points here is refused, as without nginx', async () => {
    const { status, text } = await proxy.send('GET', '/api/tags', undefined, { host: 'rebound.example.com' });
    assert.equal(status, 403);
    assert.match(text, /is not allowed/);
  });

  test('what changes models, or shows and ends requests, is for this machine alone', async () => {
    const status_of = async (method, path) => {
      const request = http.request({ port: proxy.port, host: '127.0.0.1', localAddress: '127.0.0.2', method, path });
      request.end();
      const [response] = await once(request, 'response');
      response.resume();
      return response.statusCode;
    };
    assert.equal(await status_of('GET', '/api/tags'), 200);
    const closed = ['create', 'copy', 'pull', 'push', 'queue', 'history', 'blobs/sha256-0', 'requests/1', 'delete/'];
    for (const path of ['/metrics', '/ui', '/ui/app.js', '//api/pull', ...closed.map((name) => `/api/${name}`)]) {
      assert.equal(await status_of('POST', path), 403, path);
    }
    assert.equal(await status_of('DELETE', '/api/delete'), 403);
  });
});
