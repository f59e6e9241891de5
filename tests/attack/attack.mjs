// Attacks on the real server over real sockets, and what must hold meanwhile. A file of cases is
//
//   attacks('json', { slow: true }, [{ name: 'depth', attack: (arena) => …, status: [400] }, …]);
//
// Each case has its attack run beside victims that go on asking (witness.mjs), and then says whether
// - the front is the same process (or has ended well, where `ends`), and its memory grew by no more than `memory_mib`;
// - what it started grew by no more than `children_mib`;
// - the attacker got no other status than `status` says (0: cut off without one), and the attack itself has
//   found nothing wrong;
// - every answer that a victim got was right (but for so many that `told` allows), and none had to wait longer for one
//   than `gap` says: `ratio` times its longest wait without an attack, and `cap_ms`;
// - the attack was over after `within_s`, and the server at rest soon after.
// So a machine that is busy with other things fails none; waits alone are judged only if they are there twice. A
// case is a row of the table that table.mjs prints.
//
// Cases share a server, which is started anew once it has died or has not come to rest; `fresh` gives a case its own.
// With DROVER_ATTACK_SHORT=1 only those that are marked `short` run, and DROVER_ATTACK_CASES=text|… picks by name.
import assert from 'node:assert/strict';
import { fork } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import { after, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { renamed, slow } from '../e2e/gguf.mjs';
import { Server, sha256, sleep } from '../e2e/harness.mjs';
import { descendants, processor_ms, status_of } from './witness.mjs';

export const mib = 1 << 20;
export const short = process.env.DROVER_ATTACK_SHORT === '1';
const wanted = (process.env.DROVER_ATTACK_CASES ?? '').split('|').filter(Boolean);

const attacker_address = '127.0.0.1';
const victim_address = '127.0.0.2'; // a budget per address is the attacker's own
const calm_ms = short ? 1500 : 3000; // how long the victims ask without an attack, for comparison
const end_s = 30; // after which it has ended once it was told to
const rest_s = 20; // after which the server is at rest again
const defaults = {
  status: [200, 400],
  memory_mib: 256,
  children_mib: 1536, // what prepares a request may take a gibibyte
  within_s: 60,
  gap: { ratio: 4, cap_ms: 1500 },
};

// As it is shipped, with room for the models of the victims and one more, and several requests to each.
const shipped = {
  OLLAMA_NUM_PARALLEL: '4',
  OLLAMA_MAX_LOADED_MODELS: '4',
  OLLAMA_LOAD_TIMEOUT: '5m',
  OLLAMA_REQUEST_TIMEOUT: '5m',
  DROVER_CLIENT_TIMEOUT: '5m',
  DROVER_HANG_TIMEOUT: '30',
  DROVER_SHUTDOWN_TIMEOUT: '2',
};

// A model whose step takes some 100 ms: random weights, and one thread to compute them.
const slow_shape = { width: 1024, layers: short ? 18 : 32, feed_forward: 2816, context: 2048 };
let slow_bytes;

// ---- what the attacker has

export class Arena {
  constructor(server) {
    this.server = server;
    this.open = new Set();
  }

  // An attack that was late goes no further.
  keep(connection) {
    if (this.closed) connection.destroy();
    this.open.add(connection);
    connection.once('close', () => this.open.delete(connection));
    return connection;
  }

  // One whole answer: {status, headers, text, json, ms}; status 0 and the error as text if there was none.
  ask(method, target, body, { headers = {}, address = attacker_address } = {}) {
    const is_raw = body === undefined || typeof body === 'string' || Buffer.isBuffer(body);
    const bytes = is_raw ? body : JSON.stringify(body);
    if (bytes !== undefined)
      headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(bytes), ...headers };
    const start = performance.now();
    return new Promise((resolve) => {
      const options = { host: '127.0.0.1', port: this.server.port, localAddress: address, method, path: target };
      const request = this.keep(http.request({ ...options, headers, agent: false }));
      const end = (answer) => resolve({ headers: {}, ...answer, ms: performance.now() - start });
      request.on('error', (error) => end({ status: 0, text: error.message }));
      request.on('response', (response) => {
        const { statusCode: status, headers: head } = response;
        const parts = [];
        response.on('data', (part) => parts.push(part));
        response.on('error', (error) => end({ status, headers: head, text: error.message }));
        response.on('end', () => {
          const text = Buffer.concat(parts).toString();
          let json;
          try {
            json = JSON.parse(text);
          } catch {
            // a stream, or no JSON
          }
          end({ status, headers: head, text, json });
        });
      });
      request.end(bytes);
    });
  }

  // The statuses of requests (functions that return an answer, or its status), so many of them at the same time.
  async statuses(requests, at_once = 1) {
    const left = [...requests].reverse();
    const found = [];
    const lane = async () => {
      while (left.length > 0) {
        const answer = await left.pop()();
        found.push(answer.status ?? answer);
      }
    };
    await Promise.all(Array.from({ length: at_once }, lane));
    return found;
  }

  generate(extra = {}, how) {
    const { options, ...rest } = extra;
    const body = { model: 'cria', prompt: 'Count to 3', stream: false, options: { num_predict: 8, ...options }, ...rest };
    return this.ask('POST', '/api/generate', body, how);
  }

  chat(extra = {}, how) {
    const { options, ...rest } = extra;
    const messages = [{ role: 'user', content: 'Count to 3' }];
    const body = { model: 'cria', messages, stream: false, options: { num_predict: 8, ...options }, ...rest };
    return this.ask('POST', '/api/chat', body, how);
  }

  socket(address = attacker_address) {
    const socket = this.keep(net.connect({ host: '127.0.0.1', port: this.server.port, localAddress: address }));
    socket.on('error', () => {}); // a connection that is cut is an answer too
    return socket;
  }

  // Sends bytes as they are, and reads until the server closes or `quiet_ms` have passed without a byte after the
  // first answer. half: our side is closed behind them. {statuses, text, closed}.
  async raw(pieces, { half = false, quiet_ms = 300, wait_s = 40, address } = {}) {
    const socket = this.socket(address);
    let text = '';
    let heard = performance.now();
    socket.on('data', (part) => {
      text += part.toString('latin1');
      heard = performance.now();
    });
    for (const piece of [pieces].flat()) socket.write(piece, 'latin1');
    if (half) socket.end();
    const start = performance.now();
    const is_over = () =>
      socket.closed ||
      (text !== '' && performance.now() - heard > quiet_ms) ||
      performance.now() - start > wait_s * 1000;
    while (!is_over()) await sleep(5);
    const closed = socket.closed;
    socket.destroy();
    const statuses = [...text.matchAll(/HTTP\/1\.[01] (\d{3}) /g)].map(([, status]) => Number(status));
    return { statuses, text, closed };
  }

  // Takes a model out of memory and out of the store.
  async remove(model) {
    await this.ask('POST', '/api/generate', { model, keep_alive: 0 });
    await this.ask('DELETE', '/api/delete', { model });
  }

  // Uploads a GGUF, which may be there already, and makes a model of it: the answer of /api/create.
  async create(model, gguf, extra = {}) {
    const digest = `sha256:${sha256(gguf)}`;
    const headers = { 'content-type': 'application/octet-stream' };
    const uploaded = await this.ask('POST', `/api/blobs/${digest}`, gguf, { headers });
    if (![200, 201].includes(uploaded.status)) return uploaded;
    return this.ask('POST', '/api/create', { model, files: { 'model.gguf': digest }, stream: false, ...extra });
  }

  processes() {
    return descendants(this.server.process.pid);
  }

  // What it has open is cut.
  leave() {
    for (const connection of this.open) connection.destroy();
  }

  close() {
    this.closed = true;
    this.leave();
  }
}

// ---- the stage: a server, the victims' models, the witness

class Stage {
  constructor({ env = {}, slow: with_slow = false, prepare, gap, ...server_options } = {}) {
    Object.assign(this, { env, with_slow, prepare, gap, server_options });
  }

  async open() {
    if (this.server) return;
    this.server = await new Server({ ...this.server_options, env: { ...shipped, ...this.env } }).start();
    this.pid = this.server.process.pid;
    this.server.exited.then(() => (this.dead = true));
    this.dead = false;
    await this.server.create('other', renamed('Othr'));
    const generate = (model, options) => ({
      path: '/api/generate',
      body: { model, prompt: 'Count to 3', stream: false, keep_alive: '1h', options: { temperature: 0, ...options } },
    });
    this.victims = [
      { name: 'healthz', method: 'GET', path: '/healthz' },
      { name: 'same', right: '1, 2, 3', ...generate('cria') },
      { name: 'other', right: '1, 2, 3', ...generate('other') },
    ];
    if (this.with_slow) {
      slow_bytes ??= slow(slow_shape);
      await this.server.create('slow', slow_bytes, { parameters: { num_thread: 1 } });
      this.victims.push({ name: 'slow', ...generate('slow', { num_predict: 3, num_ctx: 512 }) });
    }
    if (this.prepare) await this.prepare(this.server);
    for (const victim of this.victims.slice(1)) {
      const { response } = await this.server.ok(victim.path, victim.body);
      if (victim.right === undefined) victim.right = response;
      assert.equal(response, victim.right);
    }
    this.witness ??= fork(fileURLToPath(new URL('witness.mjs', import.meta.url)));
    await this.measure_calm();
  }

  async measure_calm() {
    this.watch(this.victims, 60);
    await sleep(calm_ms);
    this.calm = (await this.seen()).victims;
  }

  watch(victims, within_s) {
    const server = { port: this.server.port, address: victim_address };
    const patience_ms = (within_s + rest_s) * 1000;
    this.witness.send({ start: { server, pid: this.pid, victims, patience_ms } });
  }

  async seen() {
    const answer = once(this.witness, 'message');
    this.witness.send({ stop: true });
    return (await answer)[0];
  }

  // Whether nothing computes any more: what goes on when nobody asks is somebody's request that has not ended.
  async comes_to_rest() {
    const spent = () => [{ pid: this.pid }, ...descendants(this.pid)].reduce((sum, { pid }) => sum + processor_ms(pid), 0);
    for (const start = performance.now(); !this.dead && performance.now() - start < rest_s * 1000; ) {
      const [from, before] = [performance.now(), spent()];
      await sleep(250);
      if (spent() - before < 0.25 * (performance.now() - from)) return true;
    }
    return false;
  }

  // Why the server did not end well; '': it did.
  async close() {
    const { server } = this;
    if (!server) return '';
    this.server = undefined;
    let stuck = '';
    const timer = setTimeout(() => {
      stuck = `the front has not ended ${end_s} s after SIGTERM`;
      server.kill();
    }, end_s * 1000);
    try {
      await server.stop();
      return stuck;
    } catch (error) {
      return error.message;
    } finally {
      clearTimeout(timer);
    }
  }

  async end() {
    const problem = await this.close();
    this.witness?.disconnect();
    return problem;
  }
}

// ---- a case

const counted = (statuses) => {
  const counts = new Map();
  for (const status of statuses) counts.set(status, (counts.get(status) ?? 0) + 1);
  return [...counts].map(([status, count]) => (count === 1 ? `${status}` : `${status} ×${count}`)).join(', ');
};

// Runs one case and returns its row.
async function run_case(group, stage, given) {
  const rules = { ...defaults, ...given };
  await stage.open();
  const { server, pid } = stage;
  const arena = new Arena(server);
  const before = status_of(pid);
  try {
    fs.writeFileSync(`/proc/${pid}/clear_refs`, '5'); // the peak counts from here
  } catch {
    // then it counts from the start
  }
  const processor_before = processor_ms(pid);
  const victims = stage.victims.filter(({ name }) => (rules.victims ?? [name]).includes(name));
  stage.watch(victims, rules.within_s);
  const problems = [];
  const start = performance.now();
  let timer;
  const late = new Promise((resolve) => (timer = setTimeout(resolve, rules.within_s * 1000, 'late')));
  const attack = (async () => rules.attack(arena))();
  const result = await Promise.race([attack, late, server.exited.then(() => sleep(100)).then(() => 'dead')]).catch(
    (error) => error,
  );
  clearTimeout(timer);
  attack.catch(() => {});
  const took_s = (performance.now() - start) / 1000;
  const after = status_of(pid);
  const processor = Math.max(0, processor_ms(pid) - processor_before);
  arena.close();

  let statuses = [];
  if (result === 'late') problems.push(`not over after ${rules.within_s} s`);
  else if (result instanceof Error) problems.push(result.message.slice(0, 500));
  else if (result !== 'dead') statuses = [result].flat();
  const odd = statuses.filter((status) => !rules.status.includes(status));
  if (odd.length > 0) problems.push(`status ${counted(odd)}`);
  const { victims: seen, children_grown } = await stage.seen(); // each victim waits for its last answer
  const rests = await stage.comes_to_rest();
  if (rules.ends) {
    if (!stage.dead) problems.unshift('the front has not ended');
  } else if (stage.dead) problems.unshift(`the front has ended: ${server.process.signalCode ?? server.process.exitCode}`);
  else if (!rests) problems.push(`still computes ${rest_s} s later`);
  const memory = after ? Math.max(0, after.peak - before.resident) / mib : undefined;
  if (memory > rules.memory_mib) problems.push(`the front grew by ${memory.toFixed(0)} MiB`);
  const children = children_grown / mib;
  if (children > rules.children_mib) problems.push(`its processes grew by ${children.toFixed(0)} MiB`);
  const gaps = {};
  for (const [name, { gap_ms, answers, wrong, wrong_count }] of Object.entries(seen)) {
    const calm = stage.calm[name].gap_ms;
    const { ratio, cap_ms } = { ...defaults.gap, ...stage.gap, ...given.gap, ...given.gaps?.[name] };
    const allowed = ratio * calm + cap_ms;
    gaps[name] = { calm_ms: Math.round(calm), gap_ms: Math.round(gap_ms), allowed_ms: Math.round(allowed), answers };
    if (rules.ends) continue;
    if (gap_ms > allowed) problems.push(`${name} waited for ${Math.round(gap_ms)} ms (at most ${Math.round(allowed)})`);
    if (wrong_count > (rules.told?.[name] ?? 0)) problems.push(`${name} got ${wrong_count} wrong answers: ${wrong[0]}`);
  }
  if (stage.dead || !rests) await stage.close();
  const name = `${group}: ${given.name}`;
  const figures = { memory_mib: memory && Math.round(memory), children_mib: Math.round(children), processor_ms: processor };
  return { name, status: counted(statuses) || '–', ...figures, took_s: Number(took_s.toFixed(1)), gaps, problems };
}

export function attacks(group, options, cases) {
  const picked = cases.filter(
    (one) =>
      (!short || one.short) &&
      (wanted.length === 0 || wanted.some((text) => `${group}: ${one.name}`.toLowerCase().includes(text.toLowerCase()))),
  );
  if (picked.length === 0) return;
  describe(group, () => {
    const shared = new Stage(options);
    after(async () => assert.equal(await shared.end(), ''));
    for (const one of picked) {
      test(one.name, async (t) => {
        const stage = one.fresh ? new Stage({ ...options, ...one.fresh }) : shared;
        let row = await run_case(group, stage, one);
        // A wait that comes from the attack is there a second time; one of a machine that got busy is not.
        if (row.problems.length > 0 && row.problems.every((problem) => / waited for \d+ ms/.test(problem))) {
          if (stage.server) await stage.measure_calm();
          row = await run_case(group, stage, one);
        }
        if (one.fresh) {
          const problem = await stage.end();
          if (problem) row.problems.push(problem);
        }
        if (process.env.DROVER_ATTACK_ROWS) fs.appendFileSync(process.env.DROVER_ATTACK_ROWS, `${JSON.stringify(row)}\n`);
        const waits = Object.entries(row.gaps).map(([name, { calm_ms, gap_ms }]) => `${name} ${calm_ms} → ${gap_ms} ms`);
        t.diagnostic(
          `${row.status}; front +${row.memory_mib} MiB, ${row.processor_ms} ms of processor; others +${row.children_mib} MiB; ` +
            `${waits.join(', ')}; ${row.took_s} s`,
        );
        assert.deepEqual(row.problems, []);
      });
    }
  });
}
