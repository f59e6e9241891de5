// Goes on asking while others attack, and looks at the server's processes: in a process of its own, so that what an
// attack costs the attacker counts for nothing. attack.mjs starts it and tells it when.
import fs from 'node:fs';
import http from 'node:http';
import { pathToFileURL } from 'node:url';

const pause_ms = 20; // between a victim's answer and its next request
const look_ms = 100; // between two looks at the processes
const own_max = 4 * 2 ** 30; // bytes that one of the processes may take
const wrong_max = 5; // of a victim's wrong answers, so many are told

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// ---- processes

export function status_of(pid) {
  try {
    const text = fs.readFileSync(`/proc/${pid}/status`, 'latin1');
    const bytes = (name) => Number(new RegExp(`${name}:\\s+(\\d+) kB`).exec(text)?.[1] ?? 0) * 1024;
    return { resident: bytes('VmRSS'), peak: bytes('VmHWM'), own: bytes('RssAnon'), threads: Number(/Threads:\s+(\d+)/.exec(text)[1]) };
  } catch {
    return undefined;
  }
}

// Milliseconds of processor that a process has had. 0: it has ended.
export function processor_ms(pid) {
  try {
    const stat = fs.readFileSync(`/proc/${pid}/stat`, 'latin1');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return (Number(fields[11]) + Number(fields[12])) * 10;
  } catch {
    return 0;
  }
}

// All that a process has started, and all that these have: [{pid, parent, role}], the role being the command's first
// word.
export function descendants(pid) {
  const children = new Map();
  for (const name of fs.readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const stat = fs.readFileSync(`/proc/${name}/stat`, 'latin1');
      const [state, parent] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
      if ('XZ'.includes(state)) continue;
      const role = fs.readFileSync(`/proc/${name}/cmdline`, 'latin1').split('\0')[1] ?? '';
      children.set(parent, [...(children.get(parent) ?? []), { pid: Number(name), parent: Number(parent), role }]);
    } catch {
      // it has just ended
    }
  }
  const of = (parent) => (children.get(`${parent}`) ?? []).flatMap((child) => [child, ...of(child.pid)]);
  return of(pid);
}

// The memory of all that the front has started. A process that takes too much is a failure that is seen, and is ended:
// that is no reason to lose the machine.
export function watch_memory(front) {
  let sum = 0;
  for (const { pid } of descendants(front)) {
    const own = status_of(pid)?.own ?? 0;
    sum += own;
    if (own > own_max) process.kill(pid, 'SIGKILL');
  }
  return sum;
}

// ---- victims

// {status, text}: of one request on a connection of its own. An error is a status of 0.
function ask({ port, address }, { method = 'POST', path, body }, patience_ms) {
  return new Promise((resolve) => {
    const text = body && JSON.stringify(body);
    const headers = text ? { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) } : {};
    const request = http.request({ host: '127.0.0.1', port, localAddress: address, method, path, headers, agent: false });
    request.setTimeout(patience_ms, () => request.destroy(new Error('no answer')));
    request.on('error', (error) => resolve({ status: 0, text: error.message }));
    request.on('response', (response) => {
      const parts = [];
      response.on('data', (part) => parts.push(part));
      response.on('error', (error) => resolve({ status: 0, text: error.message }));
      response.on('end', () => resolve({ status: response.statusCode, text: Buffer.concat(parts).toString() }));
    });
    request.end(text);
  });
}

// A victim: {name, path, body, right}. right: what the answer's "response" has to be; without it any 200 will do.
class Victim {
  constructor(server, victim, patience_ms) {
    Object.assign(this, { server, victim, patience_ms, answers: 0, gap_ms: 0, wrong: [], wrong_count: 0 });
    this.over = false;
    this.ended = this.#ask_on();
  }

  async #ask_on() {
    this.last = performance.now();
    while (!this.over) {
      const answer = await ask(this.server, this.victim, this.patience_ms);
      if (this.#is_right(answer)) {
        this.answers++;
        this.#gap();
        this.last = performance.now();
      } else {
        this.wrong_count++;
        if (this.wrong.length < wrong_max) this.wrong.push(`${answer.status} ${answer.text.slice(0, 200)}`);
      }
      await sleep(pause_ms);
    }
    this.#gap(); // it may have had no right answer for long
  }

  #gap() {
    this.gap_ms = Math.max(this.gap_ms, performance.now() - this.last);
  }

  #is_right({ status, text }) {
    if (status !== 200) return false;
    if (this.victim.right === undefined) return true;
    try {
      return JSON.parse(text).response === this.victim.right;
    } catch {
      return false;
    }
  }
}

let victims = [];
let looking;
let own_peak = 0;

function look(front) {
  own_peak = Math.max(own_peak, watch_memory(front));
}

// {start: {server: {port, address}, pid, victims, patience_ms}} and {stop: true}, which is answered with what was seen.
async function on_message({ start, stop }) {
  if (start) {
    own_peak = 0;
    look(start.pid);
    const own_before = own_peak;
    looking = setInterval(() => look(start.pid), look_ms);
    victims = start.victims.map((victim) => new Victim(start.server, victim, start.patience_ms));
    victims.own_before = own_before;
  }
  if (stop) {
    for (const victim of victims) victim.over = true;
    await Promise.all(victims.map(({ ended }) => ended));
    clearInterval(looking);
    const seen = victims.map(({ victim, gap_ms, answers, wrong, wrong_count }) => [
      victim.name,
      { gap_ms, answers, wrong, wrong_count },
    ]);
    process.send({ victims: Object.fromEntries(seen), children_grown: own_peak - victims.own_before });
  }
}

if (process.send && process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  process.on('message', on_message);
  process.on('disconnect', () => process.exit());
}
