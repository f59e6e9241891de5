// Makes the README's pictures from a real server under a mixed load: the dashboard in a browser, and drover top in a terminal.
//   ./dev build && (cd tests/e2e && npm ci) && node docs/images/make.mjs
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

import { bert } from '../../tests/e2e/bert.mjs';
import { drover, Server, sleep, wait_until } from '../../tests/e2e/harness.mjs';

const folder = fileURLToPath(new URL('.', import.meta.url));
const { chromium } = await import(new URL('../../tests/e2e/node_modules/playwright-core/index.mjs', import.meta.url));
const seconds = Number(process.argv[2] ?? 100);

const questions = ['Why is the sky blue?', 'Count to 60', 'Tell me a story.', 'What is the capital of France?'];
const clients = ['agent', 'web-ui', 'nightly-batch', 'editor', 'chat', 'script'];

// One client that asks again and again, until `over()`.
async function client(server, index, over) {
  for (let turn = 0; !over(); ++turn) {
    const name = clients[index % clients.length];
    const body =
      index % 5 === 4
        ? ['/api/embed', { model: 'embedder', input: Array(8).fill(questions[turn % questions.length]) }]
        : [
            '/api/chat',
            {
              model: index % 3 === 0 ? 'writer' : 'cria',
              messages: [{ role: 'user', content: questions[(index + turn) % questions.length] }],
              options: { num_predict: 40 + 37 * ((index + 3 * turn) % 9) },
            },
          ];
    await fetch(server.url + body[0], {
      method: 'POST',
      headers: { 'x-client-id': name },
      body: JSON.stringify({ ...body[1], stream: false }),
    }).then((response) => response.text());
    if (index % 4 === 3) await sleep(400 * (turn % 5));
  }
}

// The SGR codes of a terminal's screen as HTML.
const colours = ['#2e3436', '#ef5b5b', '#7bc275', '#e5c07b', '#61afef', '#c678dd', '#56b6c2', '#d8dee9'];
function html_of(screen) {
  let style = {};
  const spans = screen.split(/\x1b\[([\d;]*)m/).map((part, index) => {
    if (index % 2 === 0) {
      const text = part.replace(/&/g, '&amp;').replace(/</g, '&lt;');
      let [front, back] = [style.front ?? '#d8dee9', style.back ?? 'transparent'];
      if (style.inverse) [front, back] = ['#1b1f27', style.front ?? '#d8dee9'];
      const css = `color:${front};background:${back};${style.bold ? 'font-weight:bold;' : ''}${style.dim ? 'opacity:.6;' : ''}`;
      return text && `<span style="${css}">${text}</span>`;
    }
    for (const code of part.split(';').map(Number)) {
      if (code === 0) style = {};
      else if (code === 1) style.bold = true;
      else if (code === 2) style.dim = true;
      else if (code === 7) style.inverse = true;
      else if (code === 22) style.bold = style.dim = false;
      else if (code === 27) style.inverse = false;
      else if (code === 39) style.front = undefined;
      else if (code === 49) style.back = undefined;
      else if (code >= 30 && code <= 37) style.front = colours[code - 30];
      else if (code >= 90 && code <= 97) style.front = colours[code - 90];
      else if (code >= 40 && code <= 47) style.back = colours[code - 40];
    }
    return '';
  });
  return `<body style="margin:0;background:#1b1f27"><pre style="margin:0;padding:14px 18px;font:15px/1.35 'DejaVu Sans Mono',monospace;display:inline-block">${spans.join('')}</pre></body>`;
}

const server = await new Server({ env: { OLLAMA_NUM_PARALLEL: '4', OLLAMA_MAX_LOADED_MODELS: '3' } }).start();
try {
  await server.ok('/api/create', { model: 'writer', from: 'cria', stream: false });
  await server.create('embedder', bert());
  const began = Date.now();
  let done = false;
  const over = () => done;
  const load = Array.from({ length: 14 }, (_, index) => client(server, index, over));

  const socket = path.join(server.folder, 'tmux');
  const tmux = (...args) =>
    execFileSync('tmux', ['-S', socket, '-f', '/dev/null', ...args], {
      env: { ...process.env, LC_ALL: 'C.UTF-8', TERM: 'xterm-256color' },
      encoding: 'utf8',
    });
  tmux('new-session', '-d', '-x', '104', '-y', '30', `'${drover}' top --url '${server.url}'`);

  const args = process.getuid() === 0 ? ['--no-sandbox'] : [];
  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args });
  const page = await browser.newPage({ viewport: { width: 1280, height: 900 } });
  await page.goto(`${server.url}/ui`);
  await wait_until(() => Date.now() - began > seconds * 1000, `${seconds} seconds of load`);
  await page.screenshot({ path: path.join(folder, 'dashboard.png') });

  const terminal = await browser.newPage({ viewport: { width: 1280, height: 900 } });
  await terminal.setContent(html_of(tmux('capture-pane', '-p', '-e').trimEnd()));
  await terminal.locator('pre').screenshot({ path: path.join(folder, 'top.png') });
  tmux('kill-server');
  await browser.close();
  done = true;
  await Promise.all(load);
} finally {
  await server.stop();
  fs.rmSync(server.folder, { recursive: true, force: true });
}
