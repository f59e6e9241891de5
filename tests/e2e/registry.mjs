// Registries to pull from and to push to: Debian's docker-registry, and a stand-in that can misbehave.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import os from 'node:os';
import path from 'node:path';
import { randomBytes } from 'node:crypto';

import { free_port, sha256, wait_until } from './harness.mjs';

export const media = {
  manifest: 'application/vnd.docker.distribution.manifest.v2+json',
  config: 'application/vnd.docker.container.image.v1+json',
  model: 'application/vnd.ollama.image.model',
};

// Debian's docker-registry on loopback, with its content in a folder of its own.
export class DockerRegistry {
  constructor({ users = {} } = {}) {
    this.users = users;
    this.folder = fs.mkdtempSync(path.join(os.tmpdir(), 'drover-registry-'));
    this.log = '';
  }

  async start() {
    this.port = await free_port();
    this.host = `127.0.0.1:${this.port}`;
    let auth = '';
    if (Object.keys(this.users).length > 0) {
      const file = path.join(this.folder, 'htpasswd');
      for (const [name, password] of Object.entries(this.users)) {
        const made = spawnSync('htpasswd', ['-Bbn', name, password], { encoding: 'utf8' });
        assert.equal(made.status, 0, made.stderr);
        fs.appendFileSync(file, `${made.stdout.trim()}\n`);
      }
      auth = `auth: {htpasswd: {realm: test, path: ${file}}}\n`;
    }
    const config = path.join(this.folder, 'config.yml');
    fs.writeFileSync(
      config,
      `version: 0.1\nlog: {level: info, formatter: json, accesslog: {disabled: true}}\n${auth}` +
        `storage: {filesystem: {rootdirectory: ${this.folder}/storage}}\nhttp: {addr: '${this.host}'}\n`,
    );
    this.process = spawn('docker-registry', ['serve', config], { stdio: ['ignore', 'pipe', 'pipe'] });
    for (const stream of [this.process.stdout, this.process.stderr])
      stream.setEncoding('utf8').on('data', (text) => (this.log += text));
    await once(this.process, 'spawn');
    await wait_until(
      () => fetch(`http://${this.host}/v2/`).then(({ status }) => status === 200 || status === 401, () => false),
      'docker-registry answers',
    );
    return this;
  }

  // The answers it has given, as its log has them: {method, uri, status, bytes}.
  answers() {
    return this.log
      .split('\n')
      .filter((line) => line.includes('"http.response.status"'))
      .map((line) => JSON.parse(line))
      .map((entry) => ({
        method: entry['http.request.method'],
        uri: entry['http.request.uri'],
        status: entry['http.response.status'],
        bytes: entry['http.response.written'],
      }));
  }

  async stop() {
    const ended = once(this.process, 'exit');
    this.process.kill('SIGTERM');
    await ended;
    fs.rmSync(this.folder, { recursive: true, force: true });
  }
}

// A model of the given layers: {manifest, blobs}, where a blob is found by its digest.
export function model_of(...contents) {
  const blobs = new Map();
  const layer = (bytes, media_type) => {
    const digest = `sha256:${sha256(bytes)}`;
    blobs.set(digest, bytes);
    return { mediaType: media_type, digest, size: bytes.length };
  };
  const layers = contents.map((bytes) => layer(bytes, media.model));
  const config = layer(Buffer.from(JSON.stringify({ model_format: 'gguf', made: randomBytes(8).toString('hex') })), media.config);
  return { manifest: { schemaVersion: 2, mediaType: media.manifest, config, layers }, blobs };
}

// The range that is asked for: {first, last}; undefined if it is all.
export function range_of(request) {
  const [, first, last] = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '') ?? [];
  return first === undefined ? undefined : { first: Number(first), last: Number(last) };
}

// The right head of an answer to a range of a blob.
export function begin_range(request, response, total) {
  const { first, last } = range_of(request);
  response.writeHead(206, { 'content-length': last + 1 - first, 'content-range': `bytes ${first}-${last}/${total}` });
}

// A registry in a few lines. It serves one model under every name, unless `answer` says otherwise:
// answer(request, response, registry) is asked first, and returns true if it has answered.
export class StandIn {
  constructor(model, { answer = () => false, address = '127.0.0.1', tls, ranges = true, pace } = {}) {
    Object.assign(this, { model, answer, address, ranges, pace });
    this.requests = []; // {method, url, headers, sent}
    this.bytes_sent = 0; // of blobs
    this.sockets = new Set();
    const handler = (request, response) => this.#handle(request, response).catch(() => response.destroy());
    this.server = tls ? https.createServer(tls, handler) : http.createServer(handler);
    this.server.on('connection', (socket) => {
      this.sockets.add(socket);
      socket.on('close', () => this.sockets.delete(socket));
      socket.on('error', () => {});
    });
  }

  async start() {
    this.server.listen(0, this.address);
    await once(this.server, 'listening');
    this.host = `${this.address}:${this.server.address().port}`;
    return this;
  }

  async stop() {
    this.server.close();
    this.server.closeAllConnections();
    await once(this.server, 'close');
  }

  // The requests for blobs (or for manifests) so far.
  asked(what = 'blobs') {
    return this.requests.filter(({ url }) => url.includes(`/${what}/`));
  }

  async #handle(request, response) {
    const { method, url, headers } = request;
    this.requests.push({ method, url, headers });
    request.resume();
    if (await this.answer(request, response, this)) return;
    if (url.includes('/manifests/')) {
      const { manifest } = this.model;
      const text = typeof manifest === 'string' ? manifest : JSON.stringify(manifest);
      response.writeHead(200, { 'content-type': media.manifest }).end(text);
      return;
    }
    const bytes = this.model.blobs.get(url.split('?')[0].split('/').at(-1));
    if (!bytes) response.writeHead(404).end();
    else await this.send_blob(request, response, bytes);
  }

  async send_blob(request, response, bytes) {
    const range = this.ranges && range_of(request);
    const part = range ? bytes.subarray(range.first, range.last + 1) : bytes;
    if (range) begin_range(request, response, bytes.length);
    else response.writeHead(200, { 'content-length': part.length });
    for (let at = 0; at < part.length; at += 65536) {
      if (response.destroyed) return;
      const piece = part.subarray(at, at + 65536);
      this.bytes_sent += piece.length;
      if (!response.write(piece)) await Promise.race([once(response, 'drain'), once(response, 'close')]);
      if (this.pace) await this.pace(this);
    }
    response.end();
  }
}

// Both end with the test.
export async function stand_in(t, model, options) {
  const registry = new StandIn(model, options);
  t.after(() => registry.stop());
  return registry.start();
}

export async function docker_registry(t, options) {
  const registry = new DockerRegistry(options);
  t.after(() => registry.stop());
  return registry.start();
}

// The lines of a pull or push, all of them.
export async function lines_of(server, route, body) {
  const call = server.call('POST', `/api/${route}`, { insecure: true, ...body });
  const lines = [];
  for await (const line of call.lines()) lines.push(line);
  return { status: call.response.statusCode, lines, last: lines.at(-1), error: lines.at(-1)?.error };
}

// The statuses in order, each once.
export const statuses = (lines) =>
  lines.map(({ status }) => status).filter((status, i, all) => status !== undefined && status !== all[i - 1]);

export const blobs_folder = (server) => path.join(server.models, 'blobs');

// What is left of downloads that have not ended.
export const leftovers = (server) => fs.readdirSync(blobs_folder(server)).filter((name) => /-(partial|ledger)/.test(name));
