// The one client that drives both servers: POST /v1/chat/completions, or /v1/completions, on connections that are kept,
// with as little work of its own as it can, since it runs on the processors that it measures.
import { once } from 'node:events';
import net from 'node:net';

const silence_ms_max = 600_000;
const idle_ms_max = 1000;

export class Client {
  constructor(port, model) {
    this.port = port;
    this.model = model;
    this.idle = [];
  }

  // Sends a chat and reads its answer: a Chat. `fields` go into the body as they are.
  chat(messages, fields = {}) {
    const streams = fields.stream !== false;
    const body = { model: this.model, messages, stream: streams, temperature: 0.8, ...fields };
    if (streams) body.stream_options = { include_usage: true };
    return new Chat(this, this.request('/v1/chat/completions', body), streams);
  }

  // Sends a text to be continued; its whole answer comes at once.
  completion(prompt, fields = {}) {
    const body = { model: this.model, prompt, stream: false, temperature: 0.8, ...fields };
    return new Chat(this, this.request('/v1/completions', body), false);
  }

  request(path, fields) {
    const body = JSON.stringify(fields);
    return (
      `POST ${path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n` +
      `Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`
    );
  }

  async connection() {
    // A server may close what has been idle for some seconds, just when it is to be used again.
    const recent = performance.now() - idle_ms_max;
    for (let kept = this.idle.pop(); kept !== undefined; kept = this.idle.pop()) {
      if (!kept.socket.destroyed && kept.since > recent) return kept.socket;
      kept.socket.destroy();
    }
    const socket = net.connect({ host: '127.0.0.1', port: this.port, noDelay: true });
    await once(socket, 'connect');
    socket.on('error', () => {});
    return socket;
  }

  close() {
    for (const { socket } of this.idle) socket.destroy();
    this.idle = [];
  }
}

// One request. Times are milliseconds of performance.now().
class Chat {
  sent = 0;
  ended = 0;
  times = []; // when each piece of the answer came
  text = '';
  usage = undefined; // {prompt, output, cached}: tokens
  error = undefined;

  constructor(client, request, streams) {
    this.streams = streams;
    this.first = new Promise((resolve) => (this.on_first = resolve)); // of the pieces; or the end
    this.done = this.run(client, request).then(() => this);
  }

  // What a client does that goes away.
  close() {
    this.closed = true;
    this.socket?.destroy();
  }

  async run(client, request) {
    try {
      this.sent = performance.now();
      this.socket = await client.connection();
      if (this.closed) return this.socket.destroy();
      this.socket.write(request);
      await this.read();
      if (this.socket.destroyed) return;
      // After a stream a server may close the connection without a word.
      if (this.streams || this.closes) this.socket.destroy();
      else client.idle.push({ socket: this.socket, since: performance.now() });
    } catch (error) {
      this.error ??= String(error.message ?? error);
    } finally {
      this.ended = performance.now();
      this.on_first();
    }
  }

  get ok() {
    return this.error === undefined && this.usage !== undefined && !this.closed;
  }
  get ttft() {
    return this.times.length > 0 ? this.times[0] - this.sent : undefined;
  }

  read() {
    const { socket } = this;
    const parser = new AnswerParser((data) => this.on_data(data));
    return new Promise((resolve, reject) => {
      const finish = (settle, value) => {
        for (const event of ['data', 'timeout']) socket.removeAllListeners(event);
        socket.removeListener('close', on_close);
        settle(value);
      };
      const on_close = () => finish(this.closed ? resolve : reject, new Error('the connection was closed'));
      socket.on('close', on_close);
      socket.setTimeout(silence_ms_max, () => socket.destroy());
      socket.on('data', (bytes) => {
        if (!parser.push(bytes.latin1Slice())) return;
        this.closes = parser.closes;
        if (parser.status !== 200) this.error = `${parser.status} ${parser.body}`;
        else if (!parser.streams) this.on_object(JSON.parse(parser.body));
        finish(resolve);
      });
    });
  }

  on_data(data) {
    if (data === '[DONE]') return;
    const event = JSON.parse(data);
    if (event.error !== undefined) this.error = JSON.stringify(event.error);
    else this.on_object(event);
  }

  on_object({ choices = [], usage }) {
    const piece = choices[0]?.delta?.content ?? choices[0]?.message?.content ?? choices[0]?.text;
    if (piece) {
      this.times.push(performance.now());
      this.text += piece;
      this.on_first();
    }
    if (usage) {
      this.usage = {
        prompt: usage.prompt_tokens,
        output: usage.completion_tokens,
        cached: usage.prompt_tokens_details?.cached_tokens ?? 0,
      };
    }
  }
}

// HTTP/1.1, as both servers speak it: a body with a length or in chunks; of an event stream each event's data at once.
class AnswerParser {
  status = 0;
  body = '';
  streams = false;
  closes = false; // the server will close the connection
  #on_event;
  #rest = '';
  #length = undefined; // undefined: the head has not come yet; negative: chunked
  #chunk = 0; // left of the current chunk, its line end included
  #lines = '';

  constructor(on_event) {
    this.#on_event = on_event;
  }

  // True: this was the last part.
  push(part) {
    this.#rest += part;
    if (this.#length === undefined && !this.#read_head()) return false;
    if (this.#length < 0) return this.#read_chunks();
    if (this.#rest.length < this.#length) return false;
    this.#take(this.#rest.slice(0, this.#length));
    return true;
  }

  #read_head() {
    const end = this.#rest.indexOf('\r\n\r\n');
    if (end < 0) return false;
    const head = this.#rest.slice(0, end).toLowerCase();
    this.#rest = this.#rest.slice(end + 4);
    this.status = Number(head.slice(9, 12));
    this.streams = head.includes('text/event-stream');
    this.closes = /\r\nconnection: *close/.test(head);
    const length = /content-length: *(\d+)/.exec(head);
    this.#length = length ? Number(length[1]) : -1;
    return true;
  }

  #read_chunks() {
    for (;;) {
      const line = this.#rest.indexOf('\r\n');
      if (line < 0) return false;
      const size = parseInt(this.#rest.slice(0, line), 16);
      const end = line + 2 + size + 2;
      if (this.#rest.length < end) return false;
      this.#take(this.#rest.slice(line + 2, end - 2));
      this.#rest = this.#rest.slice(end);
      if (size === 0) return true;
    }
  }

  #take(bytes) {
    if (!this.streams) {
      this.body += bytes;
      return;
    }
    this.#lines += bytes;
    for (let end = this.#lines.indexOf('\n'); end >= 0; end = this.#lines.indexOf('\n')) {
      const line = this.#lines.slice(0, end).trimEnd();
      this.#lines = this.#lines.slice(end + 1);
      if (line.startsWith('data: ')) this.#on_event(line.slice(6));
    }
  }
}
