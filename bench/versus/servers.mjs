// The servers as programs: started for a case, stopped after it.
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import fs from 'node:fs';
import path from 'node:path';

import { free_port, sleep } from '../../tests/e2e/harness.mjs';
import { Client } from './client.mjs';

const start_ms_max = 120_000;

const digests = new Map();

async function digest_of(file) {
  if (!digests.has(file)) {
    const hash = createHash('sha256');
    for await (const part of fs.createReadStream(file)) hash.update(part);
    digests.set(file, `sha256:${hash.digest('hex')}`);
  }
  return digests.get(file);
}

// Child processes end when this one exits; if it is killed they have to see to that themselves.
const children = new Set();
process.once('exit', () => {
  for (const child of children) child.kill('SIGKILL');
});

export function ends_with_us(child) {
  children.add(child);
  child.once('exit', () => children.delete(child));
  return child;
}

class Program {
  clients = [];

  constructor(file, args, env, port, log_file) {
    const log = fs.openSync(log_file, 'w');
    this.port = port;
    this.log_file = log_file;
    this.process = ends_with_us(
      spawn(file, args, { env: { ...process.env, ...env }, stdio: ['ignore', log, log] }),
    );
    this.exited = once(this.process, 'exit');
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
    this.process.kill('SIGTERM');
    await Promise.race([this.exited, sleep(5000)]);
    if (this.process.exitCode === null) this.process.kill('SIGKILL');
    await this.exited;
  }
}

// The engine, and its variant, that Drover says in its log that it computes with; undefined if it says nothing.
export const engine_in = (log) => /\bengine (.*)$/m.exec(log)?.[1];

export class Drover extends Program {
  // `slots` generations at a time, each with up to `context` tokens; its own defaults where they are left out. Its log
  // is `name`.log in `folder`, which several of them can share.
  static async start({ name = 'drover', binary, folder, model, slots, context, env = {} }) {
    const port = await free_port();
    const settings = {
      HOME: folder,
      OLLAMA_MODELS: path.join(folder, 'store'),
      OLLAMA_HOST: `127.0.0.1:${port}`,
      ...(slots === undefined ? {} : { OLLAMA_NUM_PARALLEL: String(slots) }),
      ...(context === undefined ? {} : { OLLAMA_CONTEXT_LENGTH: String(context) }),
      OLLAMA_KEEP_ALIVE: '-1',
      ...env,
    };
    const server = new Drover(binary, ['serve'], settings, port, path.join(folder, `${name}.log`));
    server.store = settings.OLLAMA_MODELS;
    await server.ready('/api/version');
    server.client = await server.load(model);
    return server;
  }

  get engine() {
    return engine_in(fs.readFileSync(this.log_file, 'utf8'));
  }

  // Makes the model known and loads it: a client for it.
  async load(model) {
    await this.provide(model);
    await this.post(model.embeds ? '/api/embed' : '/api/generate', { model: model.name, keep_alive: -1 });
    const client = new Client(this.port, model.name);
    this.clients.push(client);
    return client;
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
  async provide(model) {
    const digest = await digest_of(model.path);
    const blob = path.join(this.store, 'blobs', digest.replace(':', '-'));
    if (fs.statSync(blob, { throwIfNoEntry: false })?.ino !== fs.statSync(model.path).ino) {
      fs.mkdirSync(path.dirname(blob), { recursive: true });
      fs.rmSync(blob, { force: true });
      fs.linkSync(model.path, blob);
    }
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
    server.clients.push(server.client);
    return server;
  }
}
