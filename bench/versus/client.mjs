// A client for what `drover bench` does not do: it sees when each piece of an answer comes, reads texts, and goes away in the
// middle. POST /v1/chat/completions, a connection for each request.
import http from 'node:http';

const silence_ms_max = 600_000;

export class Client {
  constructor(port, model) {
    this.port = port;
    this.model = model;
  }

  // Sends a chat and reads its answer: a Chat. `fields` go into the body as they are.
  chat(messages, fields = {}) {
    const body = { model: this.model, messages, stream: true, temperature: 0.8, ...fields };
    if (body.stream) body.stream_options = { include_usage: true };
    return new Chat(this.port, body);
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

  constructor(port, body) {
    this.done = this.#run(port, body).then(() => this);
  }

  // What a client does that goes away.
  close() {
    this.closed = true;
    this.request.destroy();
  }

  get ok() {
    return this.error === undefined && this.usage !== undefined && !this.closed;
  }
  get ttft() {
    return this.times.length > 0 ? this.times[0] - this.sent : undefined;
  }

  async #run(port, body) {
    this.sent = performance.now();
    try {
      const response = await this.#send(port, JSON.stringify(body));
      if (response.statusCode === 200 && body.stream) await this.#read_events(response);
      else await this.#read_whole(response);
    } catch (error) {
      if (!this.closed) this.error ??= String(error.message ?? error);
    } finally {
      this.ended = performance.now();
    }
  }

  #send(port, text) {
    return new Promise((resolve, reject) => {
      const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) };
      const options = { host: '127.0.0.1', port, method: 'POST', path: '/v1/chat/completions', headers, agent: false };
      this.request = http.request(options, resolve);
      this.request.on('error', reject);
      this.request.setTimeout(silence_ms_max, () => this.request.destroy(new Error('the server says nothing')));
      this.request.end(text);
    });
  }

  async #read_events(response) {
    let rest = '';
    for await (const part of response.setEncoding('utf8')) {
      const lines = (rest + part).split('\n');
      rest = lines.pop();
      for (const line of lines) {
        const data = line.startsWith('data: ') ? line.slice(6).trim() : '';
        if (data === '' || data === '[DONE]') continue;
        const event = JSON.parse(data);
        if (event.error !== undefined) this.error = JSON.stringify(event.error);
        else this.#take(event);
      }
    }
  }

  async #read_whole(response) {
    let text = '';
    for await (const part of response.setEncoding('utf8')) text += part;
    if (response.statusCode !== 200) this.error = `${response.statusCode} ${text}`;
    else this.#take(JSON.parse(text));
  }

  #take({ choices = [], usage }) {
    const piece = choices[0]?.delta?.content ?? choices[0]?.message?.content;
    if (piece) {
      this.times.push(performance.now());
      this.text += piece;
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
