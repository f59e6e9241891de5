// Thousands of clients as plain sockets, and what a process costs that serves them.
import { once } from 'node:events';
import fs from 'node:fs';
import net from 'node:net';

// What this process may open; the server is started by it and may open as much.
export const descriptors_max = () =>
  Number(/Max open files +\S+ +(\d+)/.exec(fs.readFileSync('/proc/self/limits', 'latin1'))?.[1] ?? 0);

const status_of = (pid, name) =>
  Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(fs.readFileSync(`/proc/${pid}/status`, 'latin1'))[1]);

export const memory_of = (pid) => status_of(pid, 'VmRSS') * 1024;
export const threads_of = (pid) => status_of(pid, 'Threads');
export const descriptors_of = (pid) => fs.readdirSync(`/proc/${pid}/fd`).length;

export function percentile(values, percent) {
  const sorted = [...values].sort((a, b) => a - b);
  return Number(sorted[Math.min(sorted.length - 1, Math.floor((sorted.length * percent) / 100))].toFixed(2));
}

// Asks /healthz so often, one after another, each on a connection of its own.
export async function health_times(server, count) {
  const answer_ms = [];
  const connect_ms = [];
  for (let i = 0; i < count; i++) {
    const start = performance.now();
    const socket = net.connect(server.port, '127.0.0.1');
    socket.write('GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n');
    await once(socket, 'connect');
    connect_ms.push(performance.now() - start);
    const [data] = await once(socket, 'data');
    answer_ms.push(performance.now() - start);
    if (!/^HTTP\/1\.1 200 /.test(data.toString('latin1'))) throw new Error(`/healthz: ${data}`);
    socket.destroy();
  }
  return { answer_ms, connect_ms };
}

// Clients with one connection each that send the same request, or nothing if there is none.
export class Crowd {
  constructor(server, body) {
    this.server = server;
    this.body = body;
    this.sockets = new Set();
    this.answered = 0; // with a whole stream
    this.failed = 0; // refused, or ended before that
    this.last_answer = '';
  }

  async join(count) {
    for (let i = 0; i < count; i += 250) {
      await Promise.all(Array.from({ length: Math.min(250, count - i) }, (_, k) => this.#enter(i + k)));
    }
  }

  async #enter(number) {
    // One address has a part of the connections only.
    const localAddress = `127.0.1.${1 + Math.floor(number / 1000)}`;
    const socket = net.connect({ port: this.server.port, host: '127.0.0.1', localAddress });
    let answer = '';
    socket.on('data', (data) => {
      answer += data.toString('latin1');
      this.last_answer = answer;
      if (answer.includes('"done":true')) {
        this.answered++;
        this.#end(socket);
      }
    });
    socket.on('error', () => {}); // a reset is an end
    socket.on('close', () => {
      if (this.sockets.has(socket)) this.failed++;
      this.#end(socket);
    });
    this.sockets.add(socket);
    await once(socket, 'connect').catch(() => {});
    if (this.body) this.#send(socket, this.body, `client ${number % 100}`);
  }

  #send(socket, body, client) {
    const text = JSON.stringify(body);
    const head = `POST /api/generate HTTP/1.1\r\nHost: localhost\r\nX-Client-Id: ${client}\r\nContent-Type: application/json\r\n`;
    socket.write(`${head}Content-Length: ${Buffer.byteLength(text)}\r\n\r\n${text}`);
  }

  #end(socket) {
    this.sockets.delete(socket);
    socket.destroy();
    if (this.sockets.size === 0) this.on_empty?.();
  }

  // The first of those that are still there asks.
  ask(body) {
    this.last_answer = '';
    this.#send([...this.sockets][0], body, 'early');
  }

  leave(count) {
    for (const socket of [...this.sockets].slice(0, count)) this.#end(socket);
  }

  // Everybody has been answered, was refused or has left.
  ended() {
    return this.sockets.size === 0 ? Promise.resolve() : new Promise((resolve) => (this.on_empty = resolve));
  }
}
