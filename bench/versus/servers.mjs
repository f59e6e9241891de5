// Both servers as programs: started for a case, stopped after it.
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import fs from 'node:fs';
import net from 'node:net';
import path from 'node:path';

import { Client } from './client.mjs';

const start_ms_max = 120_000;

async function free_port() {
  const probe = net.createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const { port } = probe.address();
  probe.close();
  await once(probe, 'close');
  return port;
}

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

const digests = new Map();

async function digest_of(file) {
  if (!digests.has(file)) {
    const hash = createHash('sha256');
    for await (const part of fs.createReadStream(file)) hash.update(part);
    digests.set(file, `sha256:${hash.digest('hex')}`);
  }
  return digests.get(file);
}

class Program {
  constructor(file, args, env, port, log_file) {
    const log = fs.openSync(log_file, 'w');
    this.port = port;
    this.log_file = log_file;
    this.process = spawn(file, args, { env: { ...process.env, ...env }, stdio: ['ignore', log, log] });
    this.exited = once(this.process, 'exit');
    process.once('exit', () => this.process.kill('SIGKILL'));
    fs.closeSync(log);
  }

  async ready(target) {
    const start = performance.now();
    while (performance.now() - start < start_ms_max && this.process.exitCode === null) {
      const answer = await fetch(`http://127.0.0.1:${this.port}${target}`).catch(() => undefined);
      if (answer?.ok) return;
      await sleep(50);
    }
    throw new Error(`it has not started; see ${this.log_file}`);
  }

  async stop() {
    this.client?.close();
    this.process.kill('SIGTERM');
    await Promise.race([this.exited, sleep(5000)]);
    if (this.process.exitCode === null) this.process.kill('SIGKILL');
    await this.exited;
  }
}

export class Drover extends Program {
  // `places` generations at a time, each with up to `context` tokens.
  static async start({ binary, folder, model, places, context, env = {} }) {
    const port = await free_port();
    const settings = {
      HOME: folder,
      OLLAMA_MODELS: path.join(folder, 'store'),
      OLLAMA_HOST: `127.0.0.1:${port}`,
      OLLAMA_NUM_PARALLEL: String(places),
      OLLAMA_CONTEXT_LENGTH: String(context),
      OLLAMA_KEEP_ALIVE: '-1',
      ...env,
    };
    const server = new Drover(binary, ['serve'], settings, port, path.join(folder, 'drover.log'));
    await server.ready('/api/version');
    await server.provide(model, settings.OLLAMA_MODELS);
    await server.post('/api/generate', { model: model.name, keep_alive: -1 }); // loads it
    server.client = new Client(port, model.name);
    return server;
  }

  async post(target, body) {
    const answer = await fetch(`http://127.0.0.1:${this.port}${target}`, {
      method: 'POST',
      body: JSON.stringify(body),
    });
    const text = await answer.text();
    if (!answer.ok) throw new Error(`${target}: ${answer.status} ${text}`);
  }

  // Makes the model known. Its blob is a link to the file that llama-server reads: two copies would lie differently in
  // memory, and the one that got fewer huge pages would be read 3 to 5 % slower.
  async provide(model, store) {
    const digest = await digest_of(model.path);
    const blob = path.join(store, 'blobs', digest.replace(':', '-'));
    if (fs.statSync(blob, { throwIfNoEntry: false })?.ino !== fs.statSync(model.path).ino) {
      fs.mkdirSync(path.dirname(blob), { recursive: true });
      fs.rmSync(blob, { force: true });
      fs.linkSync(model.path, blob);
    }
    const { models } = await (await fetch(`http://127.0.0.1:${this.port}/api/tags`)).json();
    if (models.some(({ name }) => name === `${model.name}:latest`)) return;
    await this.post('/api/create', { model: model.name, files: { 'model.gguf': digest }, stream: false });
  }
}

export class LlamaServer extends Program {
  static async start({ binary, folder, model, flags }) {
    const port = await free_port();
    const args = ['--model', model.path, '--host', '127.0.0.1', '--port', String(port), ...flags];
    const server = new LlamaServer(binary, args, {}, port, path.join(folder, 'llama-server.log'));
    await server.ready('/health');
    server.client = new Client(port, model.name);
    return server;
  }
}
