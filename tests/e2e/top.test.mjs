// drover top in a real terminal (tmux), against the real server and against one whose every answer is known.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import http from 'node:http';
import os from 'node:os';
import path from 'node:path';
import { describe, test } from 'node:test';

import { create_lasting } from './gguf.mjs';
import { drover, run_program, server_for_suite, wait_until, without_end } from './harness.mjs';


// A shell in a terminal of its own, in which top was started.
class Terminal {
  constructor(t, url, { columns = 80, rows = 24 } = {}) {
    this.folder = fs.mkdtempSync(path.join(os.tmpdir(), 'drover-top-'));
    this.socket = path.join(this.folder, 'tmux');
    const script = path.join(this.folder, 'script.sh');
    // Shows whether the terminal's settings are as before.
    fs.writeFileSync(
      script,
      `before=$(stty -g)\nsh -c 'echo $$ >"${this.folder}/pid"; exec "${drover}" top --url "${url}" --interval 0.2'\n` +
        `echo "left $?"; [ "$before" = "$(stty -g)" ] && echo restored\nexec sleep 7200\n`,
    );
    this.tmux('new-session', '-d', '-x', `${columns}`, '-y', `${rows}`, `bash -m '${script}'`);
    t.after(() => {
      this.tmux('kill-server');
      fs.rmSync(this.folder, { recursive: true });
    });
  }

  tmux(...args) {
    const env = { ...process.env, LC_ALL: 'C.UTF-8', TERM: 'xterm-256color' };
    return execFileSync('tmux', ['-S', this.socket, '-f', '/dev/null', ...args], { env, encoding: 'utf8' });
  }

  screen() {
    return this.tmux('capture-pane', '-p');
  }

  keys(...keys) {
    this.tmux('send-keys', ...keys);
  }

  get pid() {
    return Number(fs.readFileSync(path.join(this.folder, 'pid'), 'utf8'));
  }

  async shows(pattern) {
    const found = () => pattern.test(this.screen());
    await wait_until(found, `the screen shows ${pattern}`).catch((error) => {
      assert.fail(`${error.message}; it shows:\n${this.screen()}`);
    });
  }

  // The alternative screen is left and the terminal is as it was.
  async is_restored() {
    await this.shows(/restored/);
    assert.equal(this.tmux('display-message', '-p', '#{alternate_on} #{cursor_flag} #{wrap_flag}').trim(), '0 1 1');
  }
}

// What a server has to tell, held still: `state` can be changed while it runs.
async function told_server(t, state) {
  const calls = [];
  const server = http.createServer(async (request, response) => {
    let text = '';
    for await (const part of request) text += part;
    const json = (value) => response.end(JSON.stringify(value));
    if (request.url === '/api/version') return json({ version: '9.8.7' });
    if (request.url === '/api/ps') return json({ models: state.models });
    if (request.url === '/api/queue' && state.requests) return json({ requests: state.requests, advice: state.advice });
    if (request.url === '/metrics' && state.metrics) return response.end(state.metrics());
    if (request.method !== 'GET') {
      calls.push(`${request.method} ${request.url} ${text}`);
      return state.act(request, response);
    }
    return response.writeHead(404).end();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return { url: `http://127.0.0.1:${server.address().port}`, calls, server };
}

function told_state() {
  const started = Date.now();
  const request = (id, phase, position) => ({
    ...{ id, model: 'llama3.2:latest', client: '10.0.0.7', phase, priority: 'normal', position },
    ...{ age_ms: 65_000, prompt_tokens: 120, output_tokens: phase === 'queued' ? 0 : 33, estimated_wait_ms: 7000 },
  });
  const state = {
    models: [
      {
        ...{ name: 'llama3.2:latest', size: 2_500_000_000, size_vram: 0, expires_at: '0001-01-01T00:00:00Z' },
        ...{ state: 'loaded', running: 1, waiting: 2, parallel: 1, kv: { cells: 100, used: 25, shared: 0, kept: 0 } },
      },
    ],
    requests: [request('req-c', 'queued', 2), request('req-a', 'generating', 0), request('req-b', 'queued', 1)],
    metrics: () => `drover_generated_tokens_total{model="llama3.2:latest"} ${(Date.now() - started) / 10}\n`,
    act(incoming, response) {
      state.requests = state.requests.filter(({ id }) => incoming.url !== `/api/requests/${id}`);
      if (incoming.url === '/api/generate') state.models = [];
      response.end('{}');
    },
  };
  return state;
}

test('shows models, requests and the machine at 80 by 24', async (t) => {
  const { url } = await told_server(t, told_state());
  const terminal = new Terminal(t, url);
  await terminal.shows(/version 9\.8\.7/);
  await terminal.shows(/^llama3\.2:latest +loaded +1\/1 +2 +(9\d|1\d\d)(\.\d)? +2\.5 GB +in use/m); // 100 tokens/s
  await terminal.shows(/CPU +\d+% of \d+ cores? +memory [\d.]+ [MG]B of/);
  await terminal.shows(/1 running, 2 waiting/);
  const rows = terminal.screen().match(/^req-.*$/gm);
  assert.match(rows[0], /^req-a +llama3\.2:\S+ +10\.0\.0\.7 +generating +1m05s +120\+33/);
  assert.match(rows[1], /^req-b +llama3\.2:\S+ +10\.0\.0\.7 +queued +1 +1m05s +7\.0s +120\+0/);
  assert.match(rows[2], /^req-c /);
  terminal.keys('q');
  await terminal.is_restored();
  await terminal.shows(/left 0/);
});

test('keys select, cancel and stop, after a question', async (t) => {
  const { url, calls } = await told_server(t, told_state());
  const terminal = new Terminal(t, url);
  await terminal.shows(/req-c/);
  terminal.keys('c');
  await terminal.shows(/Select a request to cancel it/);
  terminal.keys('Down', 'j', 'j', 'k', 'c');
  await terminal.shows(/Cancel request req-b\? \(y\/n\)/);
  terminal.keys('n');
  await terminal.shows(/req-b/);
  assert.deepEqual(calls, []);
  terminal.keys('c');
  await terminal.shows(/Cancel request req-b\?/);
  terminal.keys('y');
  await terminal.shows(/Cancel req-b: done/);
  await terminal.shows(/1 running, 1 waiting/);
  assert.deepEqual(calls, ['DELETE /api/requests/req-b ']);
  terminal.keys('?');
  await terminal.shows(/Press any key/);
  terminal.keys('x', 'Home', 's');
  await terminal.shows(/Stop model llama3\.2:latest\? \(y\/n\)/);
  terminal.keys('y');
  await terminal.shows(/No model is in memory/);
  assert.equal(calls[1], 'POST /api/generate {"model":"llama3.2:latest","keep_alive":0}');
});

test('a model that generates and embeds is one row; the setting that would help is named', async (t) => {
  const state = told_state();
  const [model] = state.models;
  const place = { state: 'loaded', waiting: 1 };
  model.tasks = [
    { task: 'completion', ...place, running: 1, slots: 4 },
    { task: 'embedding', ...place, running: 2, slots: 64 },
  ];
  state.advice = { setting: 'OLLAMA_NUM_PARALLEL', text: 'a larger OLLAMA_NUM_PARALLEL would help' };
  const { url } = await told_server(t, state);
  const terminal = new Terminal(t, url);
  await terminal.shows(/MODEL +STATE +SLOTS +EMBEDS +WAITING/);
  await terminal.shows(/^llama3\.2:latest +loaded +1\/4 +2\/64 +2 +(9\d|1\d\d)(\.\d)? /m);
  assert.equal(terminal.screen().match(/^llama3/gm).length, 1);
  await terminal.shows(/^ 1 running, 2 waiting\n a larger OLLAMA_NUM_PARALLEL would help$/m);
});

test('follows the size of its window', async (t) => {
  const { url } = await told_server(t, told_state());
  const terminal = new Terminal(t, url, { columns: 130, rows: 30 });
  await terminal.shows(/PRIORITY/);
  terminal.tmux('resize-window', '-x', '60', '-y', '10');
  await terminal.shows(/^(?![^]*PRIORITY)[^]*REQUEST/);
  assert.equal(terminal.screen().trimEnd().split('\n').length, 10);
  terminal.tmux('resize-window', '-x', '20', '-y', '3');
  await wait_until(() => terminal.screen().split('\n').every((line) => line.length <= 20), 'it is narrow');
  terminal.tmux('resize-window', '-x', '130', '-y', '30');
  await terminal.shows(/PRIORITY/);
});

test('a plain Ollama: shows what there is and says what is missing', async (t) => {
  const expires_at = new Date(Date.now() + 3_000_000).toISOString();
  const models = [{ name: 'm:latest', size: 1000, size_vram: 1000, expires_at }];
  const { url } = await told_server(t, { models });
  const terminal = new Terminal(t, url);
  await terminal.shows(/^m:latest +- +- +- +- +1 KB +4\dm\d\ds/m);
  await terminal.shows(/does not tell: requests \(no \/api\/queue\), tokens\/s \(no \/metrics\)/);
});

test('a server that goes away and comes back', async (t) => {
  const state = told_state();
  const { url, server } = await told_server(t, state);
  const terminal = new Terminal(t, url);
  await terminal.shows(/req-a/);
  const { port } = server.address();
  server.closeAllConnections();
  server.close();
  await once(server, 'close');
  await terminal.shows(/No answer: /);
  server.listen(port, '127.0.0.1');
  await terminal.shows(/^(?![^]*No answer)[^]*req-a/);
});

for (const name of ['SIGTERM', 'SIGHUP', 'SIGINT', 'SIGSEGV', 'SIGABRT']) {
  test(`${name} leaves the terminal as it was`, async (t) => {
    const { url } = await told_server(t, told_state());
    const terminal = new Terminal(t, url);
    await terminal.shows(/req-a/);
    process.kill(terminal.pid, name);
    await terminal.is_restored();
  });
}

test('can be suspended', async (t) => {
  const { url } = await told_server(t, told_state());
  const terminal = new Terminal(t, url);
  await terminal.shows(/req-a/);
  terminal.keys('C-z');
  await terminal.is_restored();
});

test('needs a terminal', async () => {
  const { code, stderr } = await run_program(drover, ['top'], { env: process.env });
  assert.equal(code, 1);
  assert.match(stderr, /^Error: top needs a terminal/);
});

describe('the real server', () => {
  const server = server_for_suite({}, (own) => create_lasting(own, 'endless'));

  test('a running model is shown, and can be stopped', async (t) => {
    const terminal = new Terminal(t, server.url);
    await terminal.shows(/No model is in memory/);
    const stream = server.stream('Tell me a story.', { model: 'endless', options: { num_predict: without_end } });
    t.after(() => stream.close());
    await stream.more(3);
    await terminal.shows(/^endless:latest +loaded +1\/1 +0 +[1-9][\d.]* /m); // with its tokens a second
    stream.close();
    await terminal.shows(/^endless:latest +loaded +0\/1 +0/m);
    terminal.keys('s');
    await terminal.shows(/Stop model endless:latest\?/);
    terminal.keys('y');
    await terminal.shows(/No model is in memory/);
  });

  test('a request is canceled', async (t) => {
    const terminal = new Terminal(t, server.url);
    const stream = server.stream('Tell me a story.', { model: 'endless', options: { num_predict: without_end } });
    t.after(() => stream.close());
    await stream.more(3);
    await terminal.shows(/1 running, 0 waiting/);
    terminal.keys('End', 'c');
    await terminal.shows(/Cancel request /);
    terminal.keys('y');
    await terminal.shows(/0 running, 0 waiting/);
  });
});
