// Starts the real binary and talks to it: what all end-to-end tests share.
//
// Every server has a port, a HOME and a models folder of its own, and is checked when it is stopped: it must end by
// itself, with exit code 0, without a sanitizer's complaint, and leave no runner behind.
//
// No test depends on how fast an answer comes: it waits for what has to happen (a line in the log, /api/queue, the end
// of a stream), keeps things as they are while it looks (stop_process), and compares times, if at all, with others of
// the same run.
import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import fs from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { after, before } from 'node:test';
import { fileURLToPath } from 'node:url';

export const root = fileURLToPath(new URL('../..', import.meta.url));
export const drover = process.env.DROVER_BIN ?? path.join(root, 'build/release/drover');
export const cria_file = path.join(root, 'models/cria/cria.gguf');
// Under a sanitizer: the same tests with fewer requests.
export const short = process.env.DROVER_TEST_SHORT === '1';
// Sanitizers reserve more memory than any limit: their processes have none.
export const sanitized = /\/(asan|tsan)\/[^/]*$/.test(drover);

// How long a test waits for anything. Only what hangs gets there, under a sanitizer on a busy machine too; no other
// place has a limit of its own. Who works on a test may want to know sooner: DROVER_TEST_PATIENCE=30
export const patience_ms = Number(process.env.DROVER_TEST_PATIENCE ?? 900) * 1000;
// For the server's own time-outs, where they are not what a test is about.
const patient = '2h';
// More tokens than a generation gets to before its test ends it.
export const without_end = 1_000_000;

export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// Polls until `predicate` is true, naming what it waited for if it never is. Returns the milliseconds it took.
export async function wait_until(predicate, what) {
  const start = performance.now();
  while (!(await predicate())) {
    if (performance.now() - start > patience_ms) assert.fail(`after ${patience_ms} ms still not: ${what}`);
    await sleep(5);
  }
  return performance.now() - start;
}

// The same for a promise: what it resolves to.
export async function in_time(promise, what) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`after ${patience_ms} ms still not: ${what}`)), patience_ms);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

// An RFC 3339 time as milliseconds, its fraction kept: the order of two answers of one server is read from these.
export function instant(text) {
  const [, date_time, fraction, zone] =
    /^([^.]*?)(\.\d+)?(Z|[+-]\d\d:\d\d)$/.exec(text) ?? assert.fail(`no RFC 3339 time: ${text}`);
  return Date.parse(date_time + zone) + Number(fraction ?? 0) * 1000;
}

// ---- processes

function process_status(pid) {
  try {
    const stat = fs.readFileSync(`/proc/${pid}/stat`, 'latin1');
    const [state, parent] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return { state, parent: Number(parent) };
  } catch {
    return { state: 'X', parent: 0 };
  }
}

// Sends a signal to a process that may have ended.
export function signal(pid, name) {
  try {
    process.kill(pid, name);
  } catch (error) {
    assert.equal(error.code, 'ESRCH');
  }
}

// A zombie has ended; who collects it is not our business.
export const is_alive = (pid) => !'XZ'.includes(process_status(pid).state);

// Holds a process as it is, until SIGCONT: all of its threads stand still when this returns.
export async function stop_process(pid) {
  signal(pid, 'SIGSTOP');
  const state_of = (thread) => process_status(`${pid}/task/${thread}`).state;
  const stands = () => {
    try {
      return fs.readdirSync(`/proc/${pid}/task`).every((thread) => 'TtXZ'.includes(state_of(thread)));
    } catch {
      return true; // it has ended
    }
  };
  await wait_until(stands, `process ${pid} stands still`);
}

export function runners_of(server_pid) {
  return fs
    .readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && process_status(name).parent === server_pid && is_alive(name))
    .filter((pid) => {
      try {
        return fs.readFileSync(`/proc/${pid}/cmdline`, 'latin1').split('\0')[1] === 'runner';
      } catch {
        return false;
      }
    })
    .map(Number);
}

// Runs a program to its end: {code, stdout, stderr}. The input is closed after `input`.
export function run_program(file, args, { env, cwd, input = '', timeout = patience_ms } = {}) {
  return new Promise((resolve) => {
    const child = execFile(file, args, { env, cwd, timeout, maxBuffer: 64 << 20 }, (error, stdout, stderr) => {
      resolve({ code: error ? (error.code ?? error.signal) : 0, stdout, stderr });
    });
    child.stdin.on('error', () => {}); // the program may end without reading its input
    child.stdin.end(input);
  });
}

// ---- one HTTP request

// Has a connection of its own, so that close() is what a client does that goes away.
export class Call {
  constructor(server, method, target, body, headers = {}) {
    const is_raw = body === undefined || typeof body === 'string' || Buffer.isBuffer(body);
    const bytes = is_raw ? body : JSON.stringify(body);
    if (bytes !== undefined) {
      headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(bytes), ...headers };
    }
    this.request = http.request({ host: '127.0.0.1', port: server.port, method, path: target, headers, agent: false });
    this.request.setTimeout(patience_ms, () => this.request.destroy(new Error(`no answer to ${method} ${target}`)));
    this.head = once(this.request, 'response').then(([response]) => (this.response = response));
    this.sent = once(this.request, 'finish');
    // Whoever awaits these sees the error; a call that is closed on purpose has nobody who does.
    this.head.catch(() => {});
    this.sent.catch(() => {});
    this.request.on('error', () => {});
    this.request.end(bytes);
  }

  async bytes() {
    const parts = [];
    for await (const part of await this.head) parts.push(part);
    return Buffer.concat(parts);
  }

  // The NDJSON lines as they come, each checked to be whole UTF-8.
  async *lines() {
    const decoder = new TextDecoder('utf-8', { fatal: true });
    let rest = Buffer.alloc(0);
    for await (const part of await this.head) {
      rest = Buffer.concat([rest, part]);
      for (let end = rest.indexOf(10); end >= 0; end = rest.indexOf(10)) {
        yield JSON.parse(decoder.decode(rest.subarray(0, end)));
        rest = rest.subarray(end + 1);
      }
    }
    // An answer that is not streamed is one object without a line's end.
    if (rest.length > 0 && /^application\/json/.test(this.response.headers['content-type']))
      yield JSON.parse(decoder.decode(rest));
    else assert.equal(rest.length, 0, `the stream ends within a line: ${rest}`);
  }

  close() {
    this.request.destroy();
  }
}

// A streaming generation that is watched while it runs.
export class Stream {
  #waiting = new Set(); // {count, resolve, reject}: who waits for so many items

  constructor(call) {
    this.call = call;
    this.items = [];
    this.ended = this.#read();
    this.ended.catch(() => {});
  }

  async #read() {
    let end;
    try {
      for await (const item of this.call.lines()) {
        this.items.push(item);
        for (const waiter of this.#waiting) {
          if (this.items.length < waiter.count) continue;
          this.#waiting.delete(waiter);
          waiter.resolve();
        }
      }
      end = new Error(`the stream has ended: ${this.call.response.statusCode} ${JSON.stringify(this.items.at(-1))}`);
    } catch (error) {
      end = error;
      throw error;
    } finally {
      this.closed = end;
      for (const { reject } of this.#waiting) reject(end);
    }
  }

  // Resolves once `count` more items have come, and fails if they will not.
  more(count = 1) {
    return new Promise((resolve, reject) => {
      if (this.closed) reject(this.closed);
      else this.#waiting.add({ count: this.items.length + count, resolve, reject });
    });
  }

  close() {
    this.call.close();
  }
}

// What a stream said in all.
export const text_of = (items) => items.map((item) => item.response ?? item.message?.content ?? '').join('');

// ---- the server

// A port of loopback that was free a moment ago.
export async function free_port() {
  const probe = net.createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const { port } = probe.address();
  probe.close();
  await once(probe, 'close');
  return port;
}

export class Server {
  // env: settings beside the defaults. models: a folder to use (and to keep) instead of a fresh one. wrapper: a command
  // that becomes the server, given its command line. program: another file than the one that is tested.
  constructor({ env = {}, models, wrapper = [], port, program = drover } = {}) {
    this.wanted_port = port; // of a server that takes the place of another
    this.folder = fs.mkdtempSync(path.join(os.tmpdir(), 'drover-e2e-'));
    this.models = models ?? path.join(this.folder, 'models');
    this.settings = env;
    this.command = [...wrapper, program, 'serve'];
    this.stderr = '';
  }

  // What a client program needs in its environment to find this server.
  get environment() {
    const inherited = Object.entries(process.env).filter(([name]) => !/^(OLLAMA|DROVER)_/.test(name));
    return {
      ...Object.fromEntries(inherited),
      HOME: this.folder,
      OLLAMA_HOST: this.url,
      OLLAMA_MODELS: this.models,
      OLLAMA_LOAD_TIMEOUT: patient,
      OLLAMA_REQUEST_TIMEOUT: patient,
      DROVER_CLIENT_TIMEOUT: patient,
      DROVER_DEFAULT_THINK: 'false', // answers are short; how the default is found has tests of its own
      DROVER_HANG_TIMEOUT: patient,
      DROVER_REGISTRY_TIMEOUT: patient,
      DROVER_SHUTDOWN_TIMEOUT: '2',
      ...this.settings,
    };
  }

  get url() {
    return `http://127.0.0.1:${this.port}`;
  }

  async start() {
    this.port = this.wanted_port ?? (await free_port());
    const [program, ...args] = this.command;
    this.process = spawn(program, args, { env: this.environment, stdio: ['ignore', 'ignore', 'pipe'] });
    this.process.stderr.setEncoding('utf8').on('data', (text) => (this.stderr += text));
    this.exited = once(this.process, 'exit');
    this.killed = false;
    await once(this.process, 'spawn'); // fails if there is no binary
    let gone = false;
    this.exited.then(() => (gone = true));
    await wait_until(
      async () => {
        assert.ok(!gone, `the server has ended:\n${this.stderr}`);
        return this.get('/').then(
          (answer) => answer.status === 200,
          () => false,
        );
      },
      'the server answers',
    );
    return this;
  }

  // Its exit code and signal, once it has ended.
  end() {
    return in_time(this.exited, `the server has ended:\n${this.stderr.slice(-4000)}`);
  }

  // The end of a server that a test has killed is not judged.
  kill(signal = 'SIGKILL') {
    this.killed = true;
    this.process.kill(signal);
  }

  async stop() {
    if (!this.process?.pid) return;
    try {
      const runners = this.runners();
      if (!this.killed) this.process.kill('SIGTERM');
      const timer = setTimeout(() => this.process.kill('SIGKILL'), patience_ms);
      const [code, signal] = await this.exited;
      clearTimeout(timer);
      if (!this.killed)
        assert.deepEqual({ code, signal }, { code: 0, signal: null }, `its last words:\n${this.stderr.slice(-4000)}`);
      assert.doesNotMatch(this.stderr, /(Address|Leak|Thread|UndefinedBehavior)Sanitizer|runtime error:/);
      await wait_until(() => !runners.some(is_alive), 'the runners have ended with their server');
    } finally {
      fs.rmSync(this.folder, { recursive: true, force: true });
    }
  }

  runners() {
    return runners_of(this.process.pid);
  }

  call(method, target, body, headers) {
    return new Call(this, method, target, body, headers);
  }

  // One whole answer: {status, headers, text, json}; json is undefined if the body is none.
  async send(method, target, body, headers) {
    const call = this.call(method, target, body, headers);
    const text = (await call.bytes()).toString();
    let json;
    try {
      json = JSON.parse(text);
    } catch {
      // Whoever expects JSON sees the text in the failure.
    }
    return { status: call.response.statusCode, headers: call.response.headers, text, json };
  }

  get(target) {
    return this.send('GET', target);
  }

  post(target, body) {
    return this.send('POST', target, body);
  }

  // An answer that has to be there: its JSON.
  async ok(target, body) {
    const answer = await this.post(target, body);
    assert.equal(answer.status, 200, `${target}: ${answer.text}`);
    return answer.json;
  }

  // A whole answer of cria, or of `extra.model`, at temperature 0 unless the options say otherwise.
  generate(prompt, { options, ...extra } = {}) {
    return this.ok('/api/generate', {
      model: 'cria',
      prompt,
      stream: false,
      ...extra,
      options: { temperature: 0, ...options },
    });
  }

  stream(prompt, { options, ...extra } = {}) {
    return new Stream(
      this.call('POST', '/api/generate', { model: 'cria', prompt, ...extra, options: { temperature: 0, ...options } }),
    );
  }

  // Those that are in memory; /api/ps also shows those that are on their way.
  async loaded_models() {
    return (await this.get('/api/ps')).json.models.filter(({ state = 'loaded' }) => state === 'loaded');
  }

  // Uploads a GGUF and makes a model of it.
  async create(model, gguf, extra = {}) {
    const digest = await this.upload(gguf);
    await this.ok('/api/create', { model, files: { 'model.gguf': digest }, stream: false, ...extra });
  }

  async upload(bytes) {
    const digest = `sha256:${sha256(bytes)}`;
    const answer = await this.send('POST', `/api/blobs/${digest}`, bytes, {
      'content-type': 'application/octet-stream',
    });
    assert.equal(answer.status, 201, answer.text);
    return digest;
  }

  // The command line, talking to this server.
  cli(args, { input, file = drover, env } = {}) {
    return run_program(file, args, { env: { ...this.environment, ...env }, input });
  }
}

export const sha256 = (bytes) => createHash('sha256').update(bytes).digest('hex');

// A server for all tests of the enclosing describe().
export function server_for_suite(options, prepare = async () => {}) {
  const server = new Server(options);
  before(async () => {
    await server.start();
    await prepare(server);
  });
  after(() => server.stop());
  return server;
}

// A server for one test.
export async function server_for_test(t, options) {
  const server = new Server(options);
  t.after(() => server.stop());
  return server.start();
}
