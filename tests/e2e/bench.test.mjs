// drover bench, against the real server and against small ones whose every answer is known.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import { describe, test } from 'node:test';

import { endless } from './gguf.mjs';
import { drover, in_time, run_program, server_for_suite, server_for_test, short, sleep, wait_until } from './harness.mjs';

async function bench(args, env = process.env) {
  const { code, stdout, stderr } = await run_program(drover, ['bench', ...args], { env });
  return { code, stdout, stderr };
}

async function bench_json(args, { code = 0, env } = {}) {
  const answer = await bench([...args, '--json'], env);
  assert.equal(answer.code, code, answer.stderr + answer.stdout);
  return JSON.parse(answer.stdout);
}

// A server that speaks one of the APIs and answers as `respond(body, response)` says. Remembers what it was asked.
async function small_server(t, api, respond) {
  const asked = [];
  const server = http.createServer(async (request, response) => {
    if (api === 'ollama' && request.url === '/api/version') return response.end('{"version":"1.2.3"}');
    if (api === 'openai' && request.url === '/v1/models') return response.end('{"data":[]}');
    if (request.method !== 'POST') return response.writeHead(404).end();
    let text = '';
    for await (const part of request) text += part;
    const body = JSON.parse(text);
    // The first request has the model loaded.
    if (!asked.warmed_up) {
      asked.warmed_up = true;
      return response.end(api === 'ollama' ? '{"response":"","done":true}' : 'data: [DONE]\n\n');
    }
    asked.push({ body, headers: request.headers, at: performance.now() });
    await respond(body, response);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return { url: `http://127.0.0.1:${server.address().port}`, asked };
}

const ollama_line = (object) => `${JSON.stringify(object)}\n`;
const answer_at_once = (_, response) =>
  response.end(ollama_line({ response: 'a', done: false }) + ollama_line({ response: '', done: true, eval_count: 1 }));

describe('bench', () => {
  const server = server_for_suite({ env: { OLLAMA_NUM_PARALLEL: '4' } });

  test('measures each level', async () => {
    const args = ['cria', '--url', server.url, '--concurrency', '1,4', '--requests', '12', '--max-tokens', '8'];
    const { target, levels } = await bench_json(args);
    assert.equal(target.api, 'ollama');
    assert.deepEqual(
      levels.map(({ concurrency }) => concurrency),
      [1, 4],
    );
    for (const level of levels) {
      assert.equal(level.succeeded, 12);
      assert.equal(level.failed, 0);
      assert.equal(level.tokens_counted_by, 'server');
      assert.ok(level.output_tokens > 0 && level.output_tokens <= 12 * 8, `${level.output_tokens} tokens`);
      const rate = level.output_tokens / level.measured_s;
      assert.ok(Math.abs(level.output_tokens_per_second - rate) < rate / 1000);
      assert.equal(level.time_to_first_token.count, 12);
      assert.equal(level.total.count, 12);
      assert.equal(level.queue_wait.count, 12);
      assert.equal(level.queue_wait_by, 'server');
      for (const kind of ['time_to_first_token', 'inter_token', 'total', 'queue_wait']) {
        const { p50_ms, p90_ms, p99_ms, max_ms } = level[kind];
        assert.ok(p50_ms <= p90_ms && p90_ms <= p99_ms && p99_ms <= max_ms, JSON.stringify(level[kind]));
      }
      assert.ok(level.time_to_first_token.p50_ms <= level.total.p50_ms);
    }
    assert.equal(levels[0].speed_up, 1);
  });

  test('prints a table and writes a page', async () => {
    const file = path.join(server.folder, 'report.html');
    const args = ['cria', '--url', server.url, '--concurrency', '2', '--duration', '1s', '--max-tokens', '8'];
    const { code, stdout, stderr } = await bench([...args, '--html', file]);
    assert.equal(code, 0, stderr);
    assert.equal(stderr, '', 'progress is for terminals');
    for (const text of [/^ *at once +answers +errors +requests\/s/m, /time to first token/, /--seed \d+/, /^- Closed loop/m])
      assert.match(stdout, text);
    for (const line of stdout.split('\n')) assert.ok([...line].length <= 100, line);
    const page = fs.readFileSync(file, 'utf8');
    assert.match(page, /^<!DOCTYPE html>/);
    assert.doesNotMatch(page, /<script|src=|<link|url\(/);
    assert.match(page, /<svg/);
  });

  test('many streams at once', async () => {
    const requests = short ? 50 : 300;
    const args = ['cria', '--url', server.url, '--concurrency', `${requests}`, '--requests', `${requests}`];
    const { levels } = await bench_json([...args, '--max-tokens', '2', '--prompt-words', '1']);
    assert.equal(levels[0].succeeded, requests, JSON.stringify(levels[0].errors));
  });

  test('Ctrl-C shows what there is', async () => {
    const args = ['bench', 'cria', '--url', server.url, '--concurrency', '2', '--duration', '10m'];
    const child = spawn(drover, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    let stdout = '';
    child.stdout.setEncoding('utf8').on('data', (text) => (stdout += text));
    const exited = once(child, 'exit');
    const running = async () => (await server.loaded_models()).some((model) => model.running === 2);
    await wait_until(running, 'two requests run');
    child.kill('SIGINT');
    const [code] = await in_time(exited, 'it ends');
    assert.equal(code, 130);
    assert.match(stdout, /INTERRUPTED at 2/);
    await wait_until(async () => !(await running()), 'its requests have ended');
  });

  test('says what is wrong', async () => {
    const fails = async (args, text) => {
      const { code, stdout, stderr } = await bench(args);
      assert.equal(code, 1, stdout);
      assert.match(stderr, text);
      assert.equal(stdout, '');
    };
    const url = ['--url', server.url];
    await fails(['nobody', ...url], /^Error: HTTP 404: model 'nobody' not found/);
    await fails(['cria', '--url', 'http://127.0.0.1:1'], /^Error: http:\/\/127\.0\.0\.1:1\/api\/version: /);
    await fails(['cria', ...url, '--concurrency', '0'], /--concurrency 0/);
    await fails(['cria', ...url, '--concurrency', '5000'], /--concurrency 5000/);
    await fails(['cria', ...url, '--rate', '0'], /--rate must be greater than 0/);
    await fails(['cria', ...url, '--rate', '1', '--concurrency', '1'], /excludes/);
    await fails(['cria', ...url, '--duration', 'soon'], /--duration "soon"/);
    await fails(['cria', ...url, '--requests', '-1'], /--requests/);
    await fails(['cria', ...url, '--prompt-file', '/nowhere'], /couldn't open \/nowhere/);
    await fails(['cria', ...url, '--html', '/nowhere/report.html'], /couldn't write/);
    await fails(['cria', ...url, '--header', 'nonsense'], /--header "nonsense"/);
    await fails(['cria', '--compare', server.url], /--compare/);
    await fails([], /MODEL/);
  });
});

test('a full queue is counted by its status', async (t) => {
  const server = await server_for_test(t, { env: { OLLAMA_MAX_QUEUE: '1' } });
  await server.create('endless', endless());
  const { levels } = await bench_json([
    ...['endless', '--url', server.url, '--concurrency', '8', '--requests', '12', '--max-tokens', '2000'],
  ]);
  const [level] = levels;
  assert.equal(level.succeeded + level.failed, 12);
  assert.ok(level.errors['HTTP 503'].count >= 5, JSON.stringify(level.errors));
  assert.match(level.errors['HTTP 503'].example, /server busy/);
});

test('an OpenAI server is found, and its streams are read', async (t) => {
  const { url, asked } = await small_server(t, 'openai', (body, response) => {
    const data = (object) => `data: ${JSON.stringify(object)}\n\n`;
    response.write(data({ choices: [{ delta: { content: 'a' } }] }) + data({ choices: [{ delta: { content: 'b' } }] }));
    response.end(`${data({ choices: [], usage: { prompt_tokens: 5, completion_tokens: 2 } })}data: [DONE]\n\n`);
  });
  const args = ['m', '--url', `${url}/v1/`, '--concurrency', '3', '--requests', '9', '--header', 'Authorization: Bearer x'];
  const { target, levels } = await bench_json(args);
  assert.equal(target.api, 'openai');
  assert.equal(levels[0].succeeded, 9);
  assert.equal(levels[0].output_tokens, 18);
  assert.equal(levels[0].queue_wait, null);
  assert.equal(asked[0].headers.authorization, 'Bearer x');
  assert.equal(asked[0].body.stream_options.include_usage, true);
});

test('prompts differ, unless asked for, and a seed repeats them', async (t) => {
  const { url, asked } = await small_server(t, 'ollama', answer_at_once);
  const prompts = async (...args) => {
    asked.length = 0;
    await bench_json(['m', '--url', url, '--concurrency', '1,2', '--requests', '10', ...args]);
    return asked.map(({ body }) => body.prompt).sort();
  };
  const some = await prompts('--seed', '7');
  assert.equal(new Set(some).size, 20, 'all differ, those of other levels too');
  assert.equal(asked[0].body.options.num_predict, 64);
  asked.warmed_up = false;
  assert.deepEqual(await prompts('--seed', '7'), some);
  asked.warmed_up = false;
  assert.equal(new Set([...some, ...(await prompts())]).size, 40, 'another run has others');
  asked.warmed_up = false;
  assert.deepEqual([...new Set(await prompts('--prompt', 'Hello', '--same-prompt'))], ['Hello']);
});

test('failures have a kind each', async (t) => {
  let turn = 0;
  const { url } = await small_server(t, 'ollama', (_, response) => {
    const kinds = [
      () => response.writeHead(500).end('{"error":"broken"}'),
      () => response.end(ollama_line({ response: 'a' }) + ollama_line({ error: 'it crashed' })),
      () => response.end(ollama_line({ response: 'a', done: false })),
      () => response.end('no JSON\n'),
      () => {
        response.write(ollama_line({ response: 'a', done: false }));
        response.destroy();
      },
      () => {}, // never answers
    ];
    kinds[turn++ % kinds.length]();
  });
  const args = ['m', '--url', url, '--concurrency', '6', '--requests', '6', '--timeout', '10s'];
  const { levels } = await bench_json(args, { code: 1 });
  const counts = Object.fromEntries(Object.entries(levels[0].errors).map(([kind, { count }]) => [kind, count]));
  const expected = { 'HTTP 500': 1, error: 1, 'cut off': 1, malformed: 1, 'connection closed': 1, timeout: 1 };
  assert.deepEqual(counts, expected);
  assert.equal(levels[0].failed, 6);
});

// A server that stands still for a second. Of a closed loop one request waits meanwhile; in an open loop all that are
// due wait, and their latency has to say so.
test('an open loop counts from when a request was due', async (t) => {
  let arrived = 0;
  let still_until = 0;
  const { url, asked } = await small_server(t, 'ollama', async (body, response) => {
    if (++arrived === 10) still_until = performance.now() + 1000;
    await sleep(Math.max(0, still_until - performance.now()));
    answer_at_once(body, response);
  });
  const open = await bench_json(['m', '--url', url, '--rate', '60', '--requests', '50', '--seed', '3']);
  arrived = 0;
  asked.warmed_up = false;
  const closed = await bench_json(['m', '--url', url, '--concurrency', '1', '--requests', '50']);
  assert.equal(open.levels[0].loop, 'open');
  assert.equal(open.levels[0].succeeded, 50);
  assert.ok(open.levels[0].total.p50_ms > 200, JSON.stringify(open.levels[0].total));
  assert.ok(closed.levels[0].total.p50_ms < open.levels[0].total.p50_ms);
  assert.ok(closed.levels[0].total.max_ms > 900);
});

test('two servers take turns and get the same prompts', async (t) => {
  const order = [];
  const servers = [];
  for (const name of ['1', '2']) {
    const delay = name === '1' ? 40 : 0;
    servers.push(
      await small_server(t, 'ollama', async (body, response) => {
        if (order.at(-1) !== name) order.push(name);
        await sleep(delay);
        answer_at_once(body, response);
      }),
    );
  }
  const args = ['m', '--compare', servers[0].url, servers[1].url, '--concurrency', '2', '--requests', '8'];
  const { rounds, levels } = await bench_json(args);
  assert.equal(rounds, 3);
  assert.deepEqual(order, ['1', '2', '1', '2'], 'who begins changes: 1 2, 2 1, 1 2');
  const [one, two] = servers.map(({ asked }) => asked.map(({ body }) => body.prompt).sort());
  assert.equal(new Set(one).size, 24);
  assert.deepEqual(one, two);
  const ratio = levels[0].second_to_first.requests_per_second;
  assert.equal(ratio.rounds.length, 3);
  assert.ok(ratio.lowest <= ratio.median && ratio.median <= ratio.highest);
  assert.equal(levels[0].first.succeeded, 24);
  for (const server of servers) server.asked.warmed_up = false;
  const { code, stdout } = await bench(args);
  assert.equal(code, 0);
  assert.match(stdout, /2 to 1: median of 3 rounds/);
});
