// Models and charts of the dashboard.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import { bert } from './bert.mjs';
import { endless } from './gguf.mjs';
import { server_for_suite, server_for_test, wait_until } from './harness.mjs';
import { model_row, open, shows, until_rows } from './page.mjs';
import { model_of, stand_in } from './registry.mjs';

describe('models', () => {
  const server = server_for_suite({}, async (started) => {
    await started.create('bert', bert());
    await started.ok('/api/create', { model: 'mine', from: 'cria', system: 'You are a llama.', parameters: { temperature: 0.5 }, stream: false });
  });
  const options = (page) => page.locator('#chat-form [name=model] option').evaluateAll((all) => all.map(({ value }) => value));

  test('to chat with are those that generate, one in memory first', async (t) => {
    await server.ok('/api/generate', { model: 'cria', stream: false });
    const page = await open(t, server);
    await wait_until(async () => (await options(page)).length === 2, 'they are listed');
    assert.deepEqual(await options(page), ['cria:latest', 'mine:latest']);
    assert.equal(await page.inputValue('#chat-form [name=model]'), 'cria:latest');
    await server.ok('/api/generate', { model: 'cria', keep_alive: 0, stream: false });
  });

  test('one that generates and embeds is one row, and its slots for embeddings do not hide the others', async (t) => {
    await server.ok('/api/generate', { model: 'cria', stream: false });
    await server.ok('/api/embed', { model: 'cria', input: 'a' });
    const page = await open(t, server);
    await wait_until(async () => /0 \/ 1\s+0 \/ 64 embed/.test(await model_row(page, 'cria:latest').innerText()), 'both are shown');
    assert.equal(await model_row(page, 'cria:latest').count(), 1);
    assert.match(await model_row(page, 'cria:latest').innerText(), /completion, embedding/);
    await shows(page, '#charts figure:nth-child(2)', /Running\s+0\s+slots 1\s/);
    assert.match(await page.locator('#charts figure:nth-child(2) .end').textContent(), /^4$/);
    await page.getByRole('button', { name: 'Unload cria:latest' }).click();
    await wait_until(async () => (await server.loaded_models()).length === 0, 'both are unloaded');
    await wait_until(() => server.runners().length === 0, 'both have ended');
  });

  test('are shown, and deleted after a question', async (t) => {
    await server.ok('/api/copy', { source: 'mine', destination: 'going' });
    const page = await open(t, server);
    const row = model_row(page, 'going:latest');
    await row.getByRole('button', { name: 'going:latest', exact: true }).click();
    await wait_until(async () => /Can\s+completion/.test(await row.innerText()), 'what it can');
    assert.match(await row.innerText(), /Context\s+[\d,]+/);
    await row.getByText('Parameters', { exact: true }).last().click();
    assert.match(await row.innerText(), /temperature\s+0\.5/);
    await row.getByText('System message').click();
    assert.match(await row.innerText(), /You are a llama\./);
    const names = async () => (await server.get('/api/tags')).json.models.map(({ name }) => name);
    await row.getByRole('button', { name: 'Delete going:latest…' }).click();
    await row.getByRole('button', { name: 'Keep' }).click();
    assert.ok((await names()).includes('going:latest'));
    await row.getByRole('button', { name: 'Delete going:latest…' }).click();
    await row.getByRole('button', { name: 'Delete going:latest', exact: true }).click();
    await wait_until(async () => (await row.count()) === 0, 'its row is gone');
    assert.ok(!(await names()).includes('going:latest'));
  });

  test('are pulled, with what has come so far; the pull is called off, and asked for again', async (t) => {
    let open_gate;
    const gate = new Promise((resolve) => (open_gate = resolve));
    const file = endless();
    const registry = await stand_in(t, model_of(file), {
      pace: (self) => (self.bytes_sent > file.length / 2 ? gate : undefined),
    });
    const page = await open(t, server);
    // The registry has no certificate.
    await page.route('**/api/pull', (route) =>
      route.continue({ postData: JSON.stringify({ ...route.request().postDataJSON(), insecure: true }) }),
    );
    const name = `${registry.host}/library/pulled:latest`;
    const pull = async () => {
      await page.fill('#pull [name=model]', name);
      await page.getByRole('button', { name: 'Pull', exact: true }).click();
    };
    await pull();
    await shows(page, '#pulls', /[\d.]+ [KM]?B of [\d.]+ [KM]B/);
    const held = registry.sockets.size;
    assert.ok(held > 0);
    await page.getByRole('button', { name: `Cancel the pull of ${name}` }).click();
    await until_rows(page, '#pulls li', 0);
    await wait_until(() => registry.sockets.size === 0, 'the server has stopped fetching');
    await pull();
    open_gate();
    await wait_until(() => model_row(page, name).isVisible(), 'it is in the list');
    await until_rows(page, '#pulls li', 0);
  });

  test('a pull that fails says why', async (t) => {
    const page = await open(t, server);
    await page.fill('#pull [name=model]', '127.0.0.1:1/library/nothing');
    await page.getByRole('button', { name: 'Pull', exact: true }).click();
    await shows(page, '#pulls .problem', /^Not pulled: \S+/);
    await page.getByRole('button', { name: 'Dismiss the pull of' }).click();
    await until_rows(page, '#pulls li', 0);
  });
});

describe('the charts', () => {
  const points = (page, figure, line) =>
    page.locator(`#charts figure:nth-child(${figure}) path.line`).nth(line).evaluate((path) => path.getAttribute('d'));
  const recorded = async (server) => (await server.get('/api/history')).json.samples;

  test('begin with what the server remembers', async (t) => {
    const server = await server_for_test(t);
    await server.generate('Count from 1 to 30');
    await wait_until(async () => (await recorded(server)).some(({ tokens_per_second: rate }) => rate > 0), 'it is remembered');
    const samples = await recorded(server);
    const busy = samples.find(({ tokens_per_second: rate }) => rate > 0);
    assert.ok(busy.first_token_ms.median > 0 && busy.first_token_ms.p95 >= busy.first_token_ms.median);
    for (const [index, { age_ms }] of samples.entries()) assert.ok(index === 0 || age_ms < samples[index - 1].age_ms);
    const page = await open(t, server);
    await wait_until(async () => /^M.*L/.test((await points(page, 3, 0)) ?? ''), 'there is a line');
    // The arrow keys go there too.
    await page.locator('#charts figure').first().focus();
    await page.keyboard.press('Home');
    await shows(page, '#charts figure:first-child .when', /^10:00 ago, \d\d:\d\d:\d\d$/);
    assert.deepEqual(await page.locator('#charts figure:first-child .time').allTextContents(), ['−10 min', '−5 min', 'now']);
  });

  test('show what the page saw itself, and the server’s memory before and between', async (t) => {
    const page = await open(t, await server_for_test(t));
    const shown = await page.evaluate(async () => {
      const { History } = await import(new URL('history.js', document.baseURI));
      const now = 1_000_000_000;
      const recorded = (...ages_s) => ({ interval_ms: 5000, samples: ages_s.map((age) => ({ age_ms: age * 1000, waiting: 7 })) });
      const seen = (ages_s) => ages_s.map((age) => ({ at: now - age * 1000, span_ms: 1000, waiting: 1 }));
      const of = (history) => history.samples(now).map(({ at, waiting }) => [(now - at) / 1000, waiting]);
      const history = new History();
      history.fill(recorded(601, 600, 20, 15, 10, 5, 0), now);
      for (const sample of seen([12, 11, 10, 9, 8])) history.add(sample);
      const first = of(history);
      // The server has begun anew; what it remembered before stays.
      history.fill(recorded(3), now);
      const second = of(history);
      // The clock was set back.
      history.add({ at: now - 3_600_000, span_ms: 1000, waiting: 1 });
      return [first, second, of(history).filter(([, waiting]) => waiting === 1)];
    });
    const own = [12, 11, 10, 9, 8].map((age) => [age, 1]);
    assert.deepEqual(shown[0], [[600, 7], [20, 7], [15, 7], ...own, [5, 7], [0, 7]]);
    assert.deepEqual(shown[1], [[600, 7], [20, 7], [15, 7], ...own, [3, 7]]);
    assert.deepEqual(shown[2], []);
  });

  test('have a gap where nothing is known', async (t) => {
    const server = await server_for_test(t);
    const page = await open(t, server, { target: '/healthz', waits: false });
    const sample = (age_s) => ({
      ...{ age_ms: age_s * 1000, waiting: 1, running: 1, slots: 4, tokens_per_second: 5 },
      ...{ first_token_ms: null, inter_token_ms: { median: 5, p95: 9 }, kv_used: null, kv_kept: null },
    });
    const ages = [300, 295, 290, 100, 95, 90];
    await page.route('**/api/history', (route) => route.fulfill({ json: { interval_ms: 5000, samples: ages.map(sample) } }));
    await page.goto(`${server.url}/ui`);
    await shows(page, '#live', /^Live$/);
    const parts = async () => (await points(page, 1, 0)).match(/M/g).length;
    await wait_until(async () => (await parts()) === 3, 'two stretches, and what the page sees itself');
    assert.equal(await points(page, 4, 0), '', 'what was not measured is not drawn');
  });
});

test('the setting that would help those that wait is named', async (t) => {
  const server = await server_for_test(t);
  const page = await open(t, server, { target: '/healthz', waits: false });
  await page.route('**/api/queue', async (route) => {
    const answer = await route.fetch();
    const advice = { setting: 'OLLAMA_NUM_PARALLEL', text: 'a larger OLLAMA_NUM_PARALLEL than 1 (or auto) would help' };
    await route.fulfill({ json: { ...(await answer.json()), advice } });
  });
  await page.goto(`${server.url}/ui`);
  await shows(page, '#requests-advice', /^A larger OLLAMA_NUM_PARALLEL than 1 \(or auto\) would help\.$/);
});
