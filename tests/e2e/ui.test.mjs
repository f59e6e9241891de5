// The dashboard in a real browser, against the real server.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { describe, test } from 'node:test';

import { bert } from './bert.mjs';
import { create_lasting } from './gguf.mjs';
import { root, Server, server_for_suite, server_for_test, sleep, wait_until } from './harness.mjs';
import { answer, crowd_rows, fill, model_row, occupy, open, phone, poll_ms, problem, send, shows, summary, until_idle, until_rows } from './page.mjs';

describe('the files', () => {
  const server = server_for_suite();

  test('of src/ui are all there, with their types and the policy', async () => {
    const types = { html: 'text/html', css: 'text/css', js: 'text/javascript', svg: 'image/svg+xml' };
    const files = fs.readdirSync(path.join(root, 'src/ui')).filter((name) => name !== 'index.html');
    for (const name of ['', ...files]) {
      const { status, headers, text } = await server.get(`/ui/${name}`);
      const type = types[name === '' ? 'html' : name.split('.').pop()];
      assert.equal(status, 200, name);
      assert.ok(headers['content-type'].startsWith(type), `${name}: ${headers['content-type']}`);
      assert.match(headers['content-security-policy'], /^default-src 'self';.*frame-ancestors 'none'/);
      assert.equal(headers['x-content-type-options'], 'nosniff');
      if (name !== '') assert.equal(text, fs.readFileSync(path.join(root, 'src/ui', name), 'utf8'));
    }
  });

  test('are sent once: whoever has them is told so', async () => {
    const { headers } = await server.get('/ui/app.js');
    assert.equal(headers['cache-control'], 'no-cache');
    const again = (tag) => server.send('GET', '/ui/app.js', undefined, { 'if-none-match': tag });
    for (const tag of [headers.etag, `"other", W/${headers.etag}`, '*']) {
      const answer = await again(tag);
      assert.deepEqual([answer.status, answer.text, answer.headers.etag], [304, '', headers.etag]);
    }
    assert.equal((await again('"other"')).status, 200);
  });

  test('HEAD, other methods, other names', async () => {
    for (const target of ['/ui', '/ui/', '/ui/style.css']) {
      const { status, text, headers } = await server.send('HEAD', target);
      assert.deepEqual([status, text], [200, '']);
      assert.equal(Number(headers['content-length']), Buffer.byteLength((await server.get(target)).text));
      const post = await server.post(target, {});
      assert.deepEqual([post.status, post.headers.allow], [405, 'GET, HEAD']);
    }
    for (const target of ['/ui/nothing.js', '/ui/index.html', '/ui/../ui/x', '/uix'])
      assert.equal((await server.get(target)).status, 404, target);
  });

  test('the page works with and without a slash at its end', async (t) => {
    const { drover } = (await server.get('/api/version')).json;
    for (const target of ['/ui', '/ui/']) {
      const page = await open(t, server, { target });
      await wait_until(async () => (await page.innerText('#version')) === drover, `it shows ${drover}`);
    }
  });
});

describe('the lists', () => {
  const server = server_for_suite({}, async (started) => {
    await create_lasting(started, 'endless');
    await started.create('bert', bert());
  });

  test('a click cancels what runs and what waits; the focus goes on to the next', async (t) => {
    const [first, second, third] = await occupy(t, server, ['first', 'second', 'third']);
    const page = await open(t, server);
    await until_rows(page, '#requests tr', 3);
    const focused = () =>
      page.evaluate(() => {
        const { activeElement } = document;
        return activeElement.getAttribute('aria-label') ?? activeElement.id;
      });
    await page.getByRole('button', { name: 'Cancel request first' }).click();
    await first.ended;
    assert.deepEqual(first.items.at(-1), { error: 'request canceled' });
    await until_rows(page, '#requests tr', 2);
    await wait_until(async () => /^Cancel request (second|third)$/.test(await focused()), 'it is the next');
    await page.getByRole('button', { name: 'Cancel request second' }).click();
    await page.getByRole('button', { name: 'Cancel request third' }).click();
    await Promise.allSettled([second.ended, third.ended]);
    await until_rows(page, '#requests tr', 0);
    await shows(page, '#requests-empty', /Nothing runs/);
    assert.equal(await focused(), 'requests-title');
  });

  test('what clients say of themselves stays text', async (t) => {
    const id = '<img/src=x/onerror=alert(1)>';
    await occupy(t, server, [id]);
    const page = await open(t, server);
    await shows(page, '#requests', /<img\/src=x\/onerror=alert\(1\)>/);
    assert.equal(await page.locator('#requests img').count(), 0);
  });

  for (const model of ['cria:latest', 'bert:latest']) {
    test(`${model} is loaded and unloaded`, async (t) => {
      await until_idle(server);
      const page = await open(t, server);
      await shows(page, '#models', new RegExp(model));
      const row = model_row(page, model);
      const is = (state) => async () => (await row.locator('.state').innerText()) === state;
      await page.getByRole('button', { name: `Load ${model}`, exact: true }).click();
      await wait_until(is('loaded'), 'it is loaded');
      assert.ok((await server.loaded_models()).some(({ name }) => name === model));
      assert.match(await row.innerText(), /0 \/ \d+\s+0\s+[\d.]+ MB\s+(0 %\s+)?in [0-5]:[0-5]\d/);
      await page.getByRole('button', { name: `Unload ${model}` }).click();
      await wait_until(is('on disk'), 'it is unloaded');
      assert.ok(!(await server.loaded_models()).some(({ name }) => name === model));
    });
  }

  test('a load that fails says why, beside its model', async (t) => {
    await server.ok('/api/copy', { source: 'cria', destination: 'going' });
    const page = await open(t, server);
    await shows(page, '#models', /going:latest/);
    // The page does not learn that it goes before it asks for the load.
    const { text } = await server.get('/api/tags');
    await page.route('**/api/tags', (route) => route.fulfill({ contentType: 'application/json', body: text }));
    await server.send('DELETE', '/api/delete', { model: 'going' });
    await page.getByRole('button', { name: 'Load going:latest' }).click();
    const problem = model_row(page, 'going:latest').locator('.problem').first();
    await wait_until(() => problem.isVisible(), 'the problem is shown');
    assert.match(await problem.innerText(), /^There is no such model: model 'going:latest' not found\.$/);
  });
});

test('a server that is gone, and comes back', async (t) => {
  const server = await server_for_test(t);
  const page = await open(t, server);
  server.kill();
  await shows(page, '#banner', /has not answered since \d\d:\d\d:\d\d\. Trying again every second/);
  await shows(page, '#live', /^No answer$/);
  await send(page);
  await shows(page, problem, /^The server does not answer\.$/);
  const next = new Server({ port: server.port });
  t.after(() => next.stop());
  await next.start();
  await shows(page, '#live', /^Live$/);
  assert.ok(await page.locator('#banner').isHidden());
  await fill(page, { prompt: 'Count to 3', temperature: 0 });
  await send(page);
  await shows(page, answer, /^1, 2, 3$/);
});

describe('for everybody', () => {
  const server = server_for_suite({}, async (started) => {
    await create_lasting(started, 'endless');
    await started.ok('/api/copy', { source: 'cria', destination: `long/${'name-of-a-model-'.repeat(4)}end:latest` });
  });

  test('on a phone nothing is wider than the screen', async (t) => {
    await occupy(t, server, ['one', 'a-long-name-of-a-request-'.repeat(5)]);
    const page = await open(t, server, { viewport: phone, isMobile: true, hasTouch: true });
    await until_rows(page, '#requests tr', 2);
    // Who asks, and the route, are there to be read.
    const who = page.locator('#requests th small').last();
    assert.match(await who.innerText(), /\/api\/generate · (a-long-name-of-a-request-){5}$/);
    assert.ok(await who.evaluate((node) => node.scrollWidth <= node.clientWidth && node.getBoundingClientRect().right <= window.innerWidth));
    const narrow = () => nothing_is_wider(page);
    await narrow();
    for (const button of await page.locator('td.action button').all())
      assert.ok((await button.boundingBox()).height >= 36, 'there is room for a finger');
    // The chat is one tap away, not below all that.
    await page.getByRole('button', { name: 'Chat', exact: true }).click();
    const form = await page.locator('#chat-form [name=prompt]').boundingBox();
    assert.ok(form.y + form.height < phone.height, 'it is on the screen');
    assert.ok(await page.locator('#charts').isHidden());
    await fill(page, { model: 'endless', tokens: 50, count: 3 });
    await send(page);
    await until_rows(page, crowd_rows, 3);
    await narrow();
    await page.getByRole('button', { name: 'Stop' }).click();
    await page.getByRole('button', { name: 'Stop', disabled: true }).waitFor();
    await fill(page, { prompt: 'nobody'.repeat(30), count: 1 });
    await send(page);
    await narrow();
  });

  async function nothing_is_wider(page) {
    const widths = await page.evaluate(() => [document.documentElement.scrollWidth, window.innerWidth]);
    assert.deepEqual(widths, [phone.width, phone.width]);
    // Nor is anything cut off that has no ellipsis or bar to say so.
    const outside = await page.evaluate(() => {
      const is_cut = (node) => node && (getComputedStyle(node).overflowX !== 'visible' || is_cut(node.parentElement));
      return [...document.querySelectorAll('main *:not(.unseen)')]
        .filter((node) => node.getBoundingClientRect().right > window.innerWidth && !node.closest('thead'))
        .filter((node) => !is_cut(node.parentElement))
        .map((node) => node.outerHTML.slice(0, 100));
    });
    assert.deepEqual(outside, []);
  }

  test('the keyboard does all of it, and shows where it is', async (t) => {
    const page = await open(t, server);
    await shows(page, '#models', /cria:latest/);
    const focus = () =>
      page.evaluate(() => {
        const node = document.activeElement;
        const style = getComputedStyle(node);
        const label = node.labels?.[0]?.cloneNode(true);
        label?.querySelector('input, select, textarea').remove();
        if (node === document.body) return { name: '' }; // past the end of the page
        return {
          name: (node.getAttribute('aria-label') ?? label?.textContent ?? node.textContent).trim(),
          visible: style.outlineStyle !== 'none' && Number.parseFloat(style.outlineWidth) >= 2,
        };
      });
    const tab_to = async (pattern) => {
      const passed = [];
      for (let i = 0; i < 60; i++) {
        await page.keyboard.press('Tab');
        const { name, visible } = await focus();
        if (name !== '') assert.ok(visible, `the focus on ${name} can be seen`);
        if (pattern.test(name)) return;
        passed.push(name);
      }
      assert.fail(`Tab never comes to ${pattern}: ${JSON.stringify(passed)}`);
    };
    await tab_to(/^Waiting: 0$/);
    await page.keyboard.press('ArrowLeft');
    await shows(page, '#charts figure:nth-child(2) .when', /^5 s ago, /);
    await page.keyboard.press('Escape');
    await tab_to(/^Load cria:latest$/);
    await page.keyboard.press('Enter');
    // The focus stays, although the row has moved and the button says something else.
    const kept = async () => (await focus()).name === 'Unload cria:latest';
    await wait_until(kept, 'the same button has the focus');
    await tab_to(/^Model$/);
    await page.keyboard.type('endless');
    assert.equal(await page.inputValue('#chat-form [name=model]'), 'endless:latest');
    await tab_to(/^Times$/);
    await page.keyboard.press('Control+a');
    await page.keyboard.type('3');
    await tab_to(/^Settings$/);
    await page.keyboard.press('Enter');
    await tab_to(/^Tokens at most$/);
    await page.keyboard.press('Control+a');
    await page.keyboard.type('100000');
    await tab_to(/^Message$/);
    await page.keyboard.press('Control+a');
    await page.keyboard.type('Tell me a story.');
    await page.keyboard.press('Enter');
    await until_rows(page, '#requests tr', 3);
    await tab_to(/^Stop$/);
    await tab_to(/^Show answer 2/);
    await page.keyboard.press('Space');
    await shows(page, '.turn:last-child > h3', /, answer 2$/);
    await tab_to(/^Cancel request ui-.*-1$/);
    await page.keyboard.press('Enter');
    await until_rows(page, '#requests tr', 2);
    await tab_to(/^Stop$/);
    await page.keyboard.press('Enter');
    await shows(page, summary, /^3 of 3 ended/);
    assert.equal((await focus()).name, 'Send');
    await until_idle(server);
  });

  test('light and dark, both with enough contrast', async (t) => {
    await occupy(t, server, ['one', 'two']);
    for (const scheme of ['light', 'dark']) {
      const page = await open(t, server, { colorScheme: scheme });
      await until_rows(page, '#requests tr', 2);
      await page.route('**/api/chat', (route) => route.fulfill({ status: 404, json: { error: "model 'nobody' not found" } }));
      await send(page);
      await shows(page, problem, /no such model/);
      const { background, poor } = await page.evaluate(() => {
        const light = (color) => {
          const [r, g, b] = color.match(/[\d.]+/g).map((value) => {
            const share = value / 255;
            return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
          });
          return 0.2126 * r + 0.7152 * g + 0.0722 * b;
        };
        const behind = (node) => {
          const color = getComputedStyle(node).backgroundColor;
          return color === 'rgba(0, 0, 0, 0)' && node.parentElement ? behind(node.parentElement) : color;
        };
        const texts = [...document.querySelectorAll('body *')].filter(
          (node) =>
            [...node.childNodes].some((child) => child.nodeType === Node.TEXT_NODE && child.data.trim() !== '') &&
            node.checkVisibility() &&
            !node.closest('.unseen, script, noscript, [disabled], [aria-disabled=true], svg, datalist'),
        );
        const measured = texts.map((node) => {
          const [one, other] = [light(getComputedStyle(node).color), light(behind(node))].sort((a, b) => b - a);
          return [(one + 0.05) / (other + 0.05), node.outerHTML.slice(0, 100)];
        });
        return {
          background: light(getComputedStyle(document.body).backgroundColor),
          poor: measured.filter(([ratio]) => ratio < 4.5),
        };
      });
      assert.equal(background < 0.5, scheme === 'dark');
      assert.deepEqual(poor, []);
    }
  });

  test('nobody looks, nothing is asked', async (t) => {
    const page = await open(t, server);
    let asked = 0;
    let histories = 0;
    page.on('request', (request) => {
      asked++;
      if (request.url().endsWith('/api/history')) histories++;
    });
    await wait_until(() => asked >= 3, 'it asks');
    const look = (hidden) =>
      page.evaluate((value) => {
        Object.defineProperty(document, 'hidden', { value, configurable: true });
        document.dispatchEvent(new Event('visibilitychange'));
      }, hidden);
    await look(true);
    await shows(page, '#live', /^Paused$/);
    asked = 0;
    await sleep(3 * poll_ms);
    assert.deepEqual([asked, histories], [0, 0]);
    await look(false);
    await shows(page, '#live', /^Live$/);
    await wait_until(() => asked >= 3, 'it asks again');
    assert.equal(histories, 1, 'and what has been meanwhile');
  });
});
