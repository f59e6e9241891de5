// The chat of the dashboard, and how it shows what models write.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import { create_lasting } from './gguf.mjs';
import { server_for_suite, server_for_test, wait_until } from './harness.mjs';
import { answer, crowd_rows, facts, fill, occupy, open, problem, send, shows, summary, until_idle, until_rows } from './page.mjs';

describe('the chat', () => {
  const env = { OLLAMA_NUM_PARALLEL: '2', OLLAMA_MAX_QUEUE: '12' };
  const server = server_for_suite({ env }, (started) => create_lasting(started, 'endless'));

  test('streams an answer, and Stop ends it', async (t) => {
    const page = await open(t, server);
    await fill(page, { model: 'endless', prompt: 'Tell me a story.', tokens: 100_000 });
    await send(page);
    const length = () => page.locator(answer).evaluate((node) => node.textContent.length);
    await shows(page, facts, /Output\n[1-9]/);
    const first = await length();
    await wait_until(async () => (await length()) > first, 'the text grows');
    assert.equal((await server.get('/api/queue')).json.running, 1);
    await page.getByRole('button', { name: 'Stop' }).click();
    await shows(page, problem, /^Stopped\.$/);
    await until_idle(server);
  });

  test('shows a whole answer and its timings', async (t) => {
    const page = await open(t, server);
    await fill(page, { model: 'cria', prompt: 'Count to 3', temperature: 0 });
    await send(page);
    await shows(page, answer, /^1, 2, 3$/);
    const timings = await shows(page, facts, /Prompt\n\d+.*\nOutput\n\d+\nTotal/s);
    assert.match(timings, /^Wait\n[\d.]+ m?s\nFirst token\n[\d.]+ m?s\nTokens\/s\n[\d.,]+\n/);
  });

  test('is a conversation: several turns, a system message, and a new one', async (t) => {
    const page = await open(t, server);
    const asked = [];
    page.on('request', (request) => {
      if (/\/api\/chat$/.test(request.url())) asked.push(request.postDataJSON());
    });
    await fill(page, { model: 'cria', system: 'Be brief.', prompt: 'Count to 3', temperature: 0 });
    await page.locator('#chat-form [name=prompt]').press('Shift+Enter'); // a new line, and no more
    await fill(page, { prompt: 'Count to 3' });
    await page.locator('#chat-form [name=prompt]').press('Enter');
    await shows(page, answer, /^1, 2, 3$/);
    assert.equal(await page.inputValue('#chat-form [name=prompt]'), '');
    await page.getByRole('button', { name: 'Stop', disabled: true }).waitFor();
    await fill(page, { prompt: 'Count to 4' });
    await send(page);
    await until_rows(page, '.turn', 2);
    await shows(page, answer, /^1, 2, 3, 4$/);
    await page.getByRole('button', { name: 'Stop', disabled: true }).waitFor();
    assert.deepEqual(asked[1].messages, [
      { role: 'system', content: 'Be brief.' },
      { role: 'user', content: 'Count to 3' },
      { role: 'assistant', content: '1, 2, 3' },
      { role: 'user', content: 'Count to 4' },
    ]);
    await page.getByRole('button', { name: 'New chat' }).click();
    await until_rows(page, '.turn', 0);
    await fill(page, { prompt: 'Count to 5', system: '' });
    await send(page);
    await shows(page, answer, /^1, 2, 3, 4, 5$/);
    assert.deepEqual(asked[2].messages, [{ role: 'user', content: 'Count to 5' }]);
  });

  test('thoughts are there when they are wanted, folded', async (t) => {
    const page = await open(t, server);
    await fill(page, { model: 'cria', prompt: 'What is the capital of France?', temperature: 0 });
    await send(page);
    await shows(page, '.turn:last-child .thoughts summary', /^Thoughts, [\d.]+ m?s$/);
    const thoughts = page.locator('.turn:last-child .thinking');
    assert.ok(await thoughts.isHidden());
    await page.locator('.turn:last-child .thoughts summary').click();
    assert.match(await thoughts.innerText(), /\S/);
    await shows(page, answer, /Paris/);
    await page.getByRole('button', { name: 'Stop', disabled: true }).waitFor();
    await page.getByLabel('Thinking').uncheck();
    await fill(page, { prompt: 'What is the capital of France?' });
    await send(page);
    await until_rows(page, '.turn', 2);
    await shows(page, answer, /Paris/);
    assert.ok(await page.locator('.turn:last-child .thoughts').isHidden());
  });

  test('what had no answer can be sent again, and is no part of the conversation', async (t) => {
    const page = await open(t, server);
    const asked = [];
    await page.route('**/api/chat', async (route) => {
      asked.push(route.request().postDataJSON().messages);
      if (asked.length === 1) await route.fulfill({ status: 503, headers: { 'retry-after': '7' }, json: { error: 'busy' } });
      else await route.continue();
    });
    await fill(page, { model: 'cria', prompt: 'Count to 3', temperature: 0 });
    await send(page);
    await shows(page, problem, /^Refused \(503, try again in 7 s\): busy\.$/);
    await wait_until(async () => (await page.inputValue('#chat-form [name=prompt]')) === 'Count to 3', 'it is there again');
    await send(page);
    await until_rows(page, '.turn', 2);
    await shows(page, answer, /^1, 2, 3$/);
    assert.deepEqual(asked[1], [{ role: 'user', content: 'Count to 3' }]);
  });

  test('an answer that the server ends with an error says why', async (t) => {
    const page = await open(t, server);
    const body = '{"message":{"role":"assistant","content":"1"},"done":false}\n{"error":"request canceled"}\n';
    await page.route('**/api/chat', (route) => route.fulfill({ status: 200, contentType: 'application/x-ndjson', body }));
    await fill(page, { model: 'cria', prompt: 'Count to 3' });
    await send(page);
    await shows(page, problem, /^The answer ended early: request canceled\.$/);
  });

  test('sends many at once, shows how they wait, and everyone ends', async (t) => {
    const holders = await occupy(t, server, ['one', 'two']);
    const page = await open(t, server);
    const all = 12; // more than a browser has connections
    await fill(page, { model: 'endless', tokens: 30, count: all });
    await send(page);
    await until_rows(page, crowd_rows, all);
    await wait_until(
      async () => (await page.locator(crowd_rows, { hasText: 'queued, 4 in line' }).count()) === 1,
      'as many wait in the queue as the page has connections for',
    );
    await shows(page, `${crowd_rows}:last-child`, /not sent yet/);
    await shows(page, '.turn:last-child .legend + .note', /six connections for one server: 4 of these requests are sent at a time/);
    await shows(page, '#requests-summary', /^2 running, 4 waiting of at most 12$/);
    await shows(page, '#charts figure:first-child strong', /^4$/);
    for (const holder of holders) holder.close();
    await shows(page, summary, /^12 of 12 ended · [\d.:]+/);
    const rows = await page.locator(crowd_rows).evaluateAll((nodes) => {
      const figures = (node) => [...node.querySelectorAll('td.number')].map((cell) => cell.textContent);
      return nodes.map((node) => [node.dataset.outcome, ...figures(node)]);
    });
    for (const [outcome, wait, first, rate] of rows) {
      assert.equal(outcome, 'done');
      for (const figure of [wait, first, rate]) assert.match(figure, /^\d/);
    }
    await page.getByRole('button', { name: 'Show answer 12:' }).click();
    await shows(page, '.turn:last-child > h3', /^endless:latest, answer 12$/);
    await shows(page, answer, /\S/);
  });

  test('says which were refused, and why', async (t) => {
    await until_idle(server);
    const holders = await occupy(t, server, Array.from({ length: 13 }, (_, i) => `holder-${i}`));
    await wait_until(async () => (await server.get('/api/queue')).json.waiting === 11, 'one more may wait');
    const page = await open(t, server);
    await fill(page, { model: 'endless', tokens: 5, count: 5 });
    await send(page);
    const refused = `${crowd_rows}[data-outcome=failed]`;
    await until_rows(page, refused, 4);
    await shows(page, refused, /^\d\s+Refused \(503, try again in \d+ s\): server busy/);
    for (const holder of holders) holder.close();
    await shows(page, summary, /^5 of 5 ended · 4 without an answer/);
  });

  test('says that there is no such model', async (t) => {
    await server.ok('/api/copy', { source: 'cria', destination: 'nobody' });
    const page = await open(t, server);
    await fill(page, { model: 'nobody' });
    await server.send('DELETE', '/api/delete', { model: 'nobody' });
    await send(page);
    await shows(page, problem, /^There is no such model: model 'nobody:latest' not found\.$/);
        await fill(page, { model: 'cria', prompt: 'Count to 3', temperature: 0 });
    await send(page);
    await shows(page, answer, /^1, 2, 3$/);
    assert.ok(await page.locator(problem).isHidden());
  });
});

test('an answer that is cut short says so', async (t) => {
  const server = await server_for_test(t);
  await create_lasting(server, 'endless');
  const page = await open(t, server);
  await fill(page, { model: 'endless', tokens: 100_000 });
  await send(page);
  await shows(page, facts, /Output\n[1-9]/);
  server.kill();
  await shows(page, problem, /^No whole answer: the connection ended before the answer did\.$/);
});

describe('Markdown', () => {
  const server = server_for_suite();
  // Rendered as a whole, and piece by piece as it comes from a model.
  const render = async (page, text) => {
    const [whole, grown] = await page.evaluate(async (source) => {
      const { Markdown } = await import(new URL('markdown.js', document.baseURI));
      const box = () => document.createElement('div');
      const [all, pieces] = [box(), box()];
      new Markdown(all).show(source);
      const growing = new Markdown(pieces);
      for (let end = 1; end <= source.length; end++) growing.show(source.slice(0, end));
      return [all.innerHTML, pieces.innerHTML];
    }, text);
    assert.equal(grown, whole, 'as it grows it becomes the same');
    return whole.replaceAll(' tabindex="0"', '').replaceAll(' target="_blank" rel="noopener noreferrer nofollow"', '');
  };

  const cases = {
    '': '',
    'plain\ntext\n\nand more': '<p>plain\ntext</p><p>and more</p>',
    '# One\n### Three\n####### seven': '<h4>One</h4><h6>Three</h6><p>####### seven</p>',
    'a **b *c*** `d**` ~~e~~ _f_': '<p>a <strong>b <em>c</em></strong> <code>d**</code> <del>e</del> <em>f</em></p>',
    '2 * 3 * 4, snake_case_name, **open': '<p>2 * 3 * 4, snake_case_name, **open</p>',
    'a \\*b\\* c': '<p>a *b* c</p>',
    '- a\n- b\n  1. c\n  2. d\n\n- e': '<ul><li><p>a</p></li><li><p>b</p><ol start="1"><li><p>c</p></li><li><p>d</p></li></ol></li><li><p>e</p></li></ul>',
    '3. c\n4. d': '<ol start="3"><li><p>c</p></li><li><p>d</p></li></ol>',
    '```js\nlet a = "<b>";\n\n# b\n```\nafter': '<pre><code>let a = "&lt;b&gt;";\n\n# b</code></pre><p>after</p>',
    '~~~\nnot closed': '<pre><code>not closed</code></pre>',
    '> quoted\n> - a': '<blockquote><p>quoted</p><ul><li><p>a</p></li></ul></blockquote>',
    '---': '<hr>',
    'a | b\n--|:-:\n1 | **2**\n\nend':
      '<div class="scroll"><table><thead><tr><th>a</th><th>b</th></tr></thead><tbody><tr><td>1</td><td><strong>2</strong></td></tr></tbody></table></div><p>end</p>',
    '[site](https://example.org/a_(b) "title") https://example.org/x.': '<p><a href="https://example.org/a_(b)">site</a> <a href="https://example.org/x">https://example.org/x</a>.</p>',
  };
  test('becomes what it means', async (t) => {
    const page = await open(t, server);
    for (const [text, expected] of Object.entries(cases)) assert.equal(await render(page, text), expected, text);
  });

  test('is never more than text, whatever it says', async (t) => {
    const page = await open(t, server);
    const html = '<img src=x onerror=alert(1)><script>alert(1)</script>';
    const escaped = '&lt;img src=x onerror=alert(1)&gt;&lt;script&gt;alert(1)&lt;/script&gt;';
    assert.equal(await render(page, html), `<p>${escaped}</p>`);
    assert.equal(await render(page, `# ${html}`), `<h4>${escaped}</h4>`);
    assert.equal(await render(page, `\`${html}\``), `<p><code>${escaped}</code></p>`);
    for (const address of ['javascript:alert(1)', ' JaVaScRiPt:alert(1)', 'data:text/html,x', '/api/tags', 'vbscript:x', '//evil'])
      assert.doesNotMatch(await render(page, `[x](${address})`), /<a/, address);
    assert.doesNotMatch(await render(page, `https://example.org/"onclick="alert(1)`), /<a[^>]*onclick/);
  });

  test('takes its time in proportion to its length', async (t) => {
    const page = await open(t, server);
    const hard = ['*a ', '**', '[', '`a``', '> ', '- ', '_a', '[](', '| a ', '~~~a\n', '\\', 'http://', '1. a\n', ' *'];
    const slow = await page.evaluate(async (pieces) => {
      const { Markdown } = await import(new URL('markdown.js', document.baseURI));
      const cost = (text) => {
        const start = performance.now();
        new Markdown(document.createElement('div')).show(text);
        return performance.now() - start;
      };
      return pieces.map((piece) => [piece, cost(piece.repeat(100_000 / piece.length))]).filter(([, ms]) => ms > 5000);
    }, hard);
    assert.deepEqual(slow, []);
  });
});
