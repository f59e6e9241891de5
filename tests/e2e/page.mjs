// The dashboard in a real browser, against the real server: what its tests share.
import assert from 'node:assert/strict';
import { after, before } from 'node:test';
import { chromium } from 'playwright-core';

import { patience_ms, Stream, wait_until, without_end } from './harness.mjs';

export const poll_ms = 1000;
export const desktop = { width: 1280, height: 900 };
export const phone = { width: 390, height: 844 };

// Each file that imports this has a browser.
let browser;
before(async () => {
  const executablePath = process.env.CHROMIUM ?? '/usr/bin/chromium';
  // Chromium's sandbox is not for root, who runs CI.
  const args = process.getuid() === 0 ? ['--no-sandbox'] : [];
  browser = await chromium.launch({ executablePath, args, timeout: patience_ms });
});
after(() => browser.close());

// The page, with all that must hold whatever a test does: nothing leaves for another host, and no script fails.
export async function open(t, server, { target = '/ui', waits = true, ...options } = {}) {
  const context = await browser.newContext({ viewport: desktop, ...options });
  const foreign = [];
  const failures = [];
  const own_host = new URL(server.url).host;
  await context.route(
    (url) => url.host !== own_host,
    (route) => {
      foreign.push(route.request().url());
      return route.abort();
    },
  );
  const page = await context.newPage();
  page.setDefaultTimeout(patience_ms);
  page.on('pageerror', (error) => failures.push(error.message));
  page.on('console', (message) => {
    // What the browser itself says of an answer that is an error, or is none, is expected where a test asks for it.
    if (message.type() === 'error' && !/^Failed to load resource/.test(message.text())) failures.push(message.text());
  });
  t.after(async () => {
    await context.close();
    assert.deepEqual(foreign, [], 'nothing is asked of another host');
    assert.deepEqual(failures, []);
  });
  await page.goto(server.url + target);
  if (waits) await shows(page, '#live', /^Live$/);
  return page;
}

// A text that matches, in what a user sees.
export async function shows(page, selector, pattern) {
  const text = () => page.locator(selector).first().innerText();
  let last;
  await wait_until(async () => pattern.test((last = await text())), `${selector} shows ${pattern}`).catch(
    (error) => assert.fail(`${error.message}; it shows ${JSON.stringify(last)}`),
  );
  return last;
}

export const until_rows = (page, selector, wanted) =>
  wait_until(async () => (await page.locator(selector).count()) === wanted, `${wanted} of ${selector}`);

const occupant = (server, id) =>
  new Stream(
    server.call(
      'POST',
      '/api/generate',
      { model: 'endless', prompt: 'Tell me a story.', options: { num_predict: without_end } },
      { 'x-request-id': id },
    ),
  );

export async function occupy(t, server, ids) {
  const streams = ids.map((id) => occupant(server, id));
  t.after(() => streams.forEach((stream) => stream.close()));
  await streams[0].more();
  return streams;
}

export const until_idle = (server) =>
  wait_until(async () => (await server.get('/api/queue')).json.requests.length === 0, 'nobody asks');

export async function fill(page, values) {
  await page.locator('#chat-settings').evaluate((details) => (details.open = true));
  for (const [name, value] of Object.entries(values)) {
    if (name === 'model') await page.selectOption('#chat-form [name=model]', `${value}:latest`);
    else await page.fill(`#chat-form [name=${name}]`, `${value}`);
  }
}

// What the chat shows of the last message.
export const answer = '.turn:last-child .answer';
export const facts = '.turn:last-child .facts';
export const problem = '.turn:last-child .problem';
export const crowd_rows = '.turn:last-child .crowd tbody tr';
export const summary = '.turn:last-child .summary';

export const send = (page) => page.getByRole('button', { name: 'Send' }).click();
export const model_row = (page, name) => page.locator('#models tbody', { has: page.getByText(name, { exact: true }) });
