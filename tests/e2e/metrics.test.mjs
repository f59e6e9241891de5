// GET /metrics: its form, its figures, and that what is said of it elsewhere is true.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { describe, test } from 'node:test';

import { endless, renamed } from './gguf.mjs';
import { root, server_for_suite, server_for_test, signal, wait_until, without_end } from './harness.mjs';

const name_form = /^[a-zA-Z_:][a-zA-Z0-9_:]*$/;
const sample_form = /^([^\s{]+)(?:\{((?:[a-z_]+="(?:[^"\\\n]|\\[\\n"])*",?)*)\})? (\S+)$/;

// The text format, strictly: {name: {type, help, samples: [{name, labels, value}]}}.
function parse(text) {
  const families = {};
  let family;
  assert.ok(text.endsWith('\n'), 'the last line has an end');
  for (const line of text.slice(0, -1).split('\n')) {
    const help = /^# HELP (\S+) (.+)$/.exec(line);
    const type = /^# TYPE (\S+) (counter|gauge|histogram)$/.exec(line);
    if (help) {
      assert.ok(!families[help[1]], `${help[1]} comes once`);
      family = families[help[1]] = { name: help[1], help: help[2], samples: [] };
    } else if (type) {
      assert.equal(type[1], family.name);
      family.type = type[2];
    } else {
      const [, name, labels = '', value] = sample_form.exec(line) ?? assert.fail(`no sample: ${line}`);
      const found = [...labels.matchAll(/([a-z_]+)="((?:[^"\\]|\\.)*)"/g)].map(([, key, text]) => [key, text]);
      assert.ok(value === '+Inf' || Number.isFinite(Number(value)), line);
      assert.ok(name === family.name || family.type === 'histogram', `${name} stands under ${family.name}`);
      family.samples.push({ name, labels: Object.fromEntries(found), value: Number(value) });
    }
  }
  return families;
}

function check_histogram({ name, samples }) {
  for (const model of new Set(samples.map(({ labels }) => labels.model))) {
    const all = samples.filter(({ labels }) => labels.model === model);
    const buckets = all.filter((one) => one.name === `${name}_bucket`);
    const [sum] = all.filter((one) => one.name === `${name}_sum`);
    const [count] = all.filter((one) => one.name === `${name}_count`);
    assert.equal(buckets.length + 2, all.length, `${name} of ${model}`);
    const bounds = buckets.map(({ labels }) => Number(labels.le.replace('+Inf', 'Infinity')));
    assert.deepEqual(bounds, [...bounds].sort((a, b) => a - b));
    assert.equal(bounds.at(-1), Infinity);
    for (let i = 1; i < buckets.length; i++) assert.ok(buckets[i].value >= buckets[i - 1].value, `${name} grows`);
    assert.equal(buckets.at(-1).value, count.value);
    assert.ok(sum.value >= 0 && count.value > 0);
  }
}

// What promtool's linter asks for, and what Drover adds to that.
function check(families) {
  const series = new Set();
  for (const { name, type, help, samples } of Object.values(families)) {
    assert.match(name, name_form);
    assert.match(name, /^(drover|process)_/);
    assert.ok(type && help.endsWith('.'), name);
    assert.equal(type === 'counter', name.endsWith('_total'), `${name} is a ${type}`);
    assert.doesNotMatch(name, /_(count|sum|bucket)$|milli|micro|nano|minutes|gauge|histogram/);
    if (type === 'histogram') check_histogram({ name, samples });
    for (const sample of samples) {
      const key = JSON.stringify([sample.name, sample.labels]);
      assert.ok(!series.has(key), `${key} comes once`);
      series.add(key);
    }
  }
}

async function scrape(server) {
  const answer = await server.get('/metrics');
  assert.equal(answer.status, 200);
  assert.match(answer.headers['content-type'], /^text\/plain; version=0\.0\.4/);
  const families = parse(answer.text);
  check(families);
  // The value of a sample, 0 if there is none: value('drover_slots', {model: 'cria'}).
  const value = (name, labels) => {
    const family = families[name] ?? families[name.replace(/_(count|sum)$/, '')] ?? assert.fail(`no ${name}`);
    const same = (sample) =>
      sample.name === name && Object.entries(labels).every(([key, text]) => sample.labels[key] === text);
    return family.samples.filter(same).reduce((sum, sample) => sum + sample.value, 0);
  };
  return { families, text: answer.text, value };
}

const promtool = (args, input) =>
  new Promise((resolve) => {
    const child = execFile(process.env.PROMTOOL ?? 'promtool', args, (error, stdout, stderr) => {
      resolve(error?.code === 'ENOENT' ? undefined : { code: error ? error.code : 0, output: stdout + stderr });
    });
    child.stdin.on('error', () => {});
    child.stdin.end(input);
  });

describe('the figures', () => {
  const server = server_for_suite({ env: { OLLAMA_NUM_PARALLEL: '2', OLLAMA_MAX_QUEUE: '2' } }, (started) =>
    started.create('endless', endless()),
  );
  const requests = (metrics, model, outcome) => metrics.value('drover_requests_total', { model, outcome });

  test('a scrape before any request loads nothing', async () => {
    const { value } = await scrape(server);
    assert.equal(value('drover_queue_max', {}), 2);
    assert.ok(value('process_resident_memory_bytes', {}) > 1 << 20);
    assert.ok(Math.abs(value('process_start_time_seconds', {}) - Date.now() / 1000) < 600);
    assert.deepEqual(server.runners(), []);
  });

  test('are those that the answers tell', async () => {
    const answers = [];
    for (const prompt of ['Count from 1 to 9', 'Count from 1 to 9', 'Count from 3 to 30'])
      answers.push(await server.generate(prompt));
    answers.push(await server.generate('Count from 1 to 9', { options: { num_predict: 2 } }));
    const sum = (field) => answers.reduce((total, answer) => total + (answer[field] ?? 0), 0);
    const metrics = await scrape(server);
    const of = (name) => metrics.value(name, { model: 'cria:latest' });
    assert.equal(requests(metrics, 'cria:latest', 'stop'), 3);
    assert.equal(requests(metrics, 'cria:latest', 'length'), 1);
    assert.equal(of('drover_prompt_tokens_sum'), sum('prompt_eval_count'));
    assert.equal(of('drover_cached_prompt_tokens_total'), sum('prompt_eval_cached_count'));
    assert.ok(of('drover_cached_prompt_tokens_total') > 0, 'a prompt that comes again is found in the cache');
    assert.equal(of('drover_output_tokens_sum'), sum('eval_count'));
    assert.equal(of('drover_generated_tokens_total'), sum('eval_count'));
    for (const name of ['queue_wait_seconds', 'time_to_first_token_seconds', 'request_seconds', 'output_tokens'])
      assert.equal(of(`drover_${name}_count`), 4, name);
    // Of an answer's tokens, each but the first has one before it; a piece may hold more than one.
    const gaps = of('drover_inter_token_seconds_count');
    assert.ok(gaps > 0 && gaps <= sum('eval_count') - 4, `${gaps} gaps in ${sum('eval_count')} tokens`);
    const seconds = sum('total_duration') / 1e9;
    assert.ok(Math.abs(of('drover_request_seconds_sum') - seconds) < seconds / 2 + 0.1);
    assert.equal(of('drover_loads_total'), 1);
    assert.equal(of('drover_load_seconds_count'), 1);
    assert.equal(of('drover_model_loaded'), 1);
    assert.equal(of('drover_slots'), 2);
    assert.ok(of('drover_model_memory_bytes') > 1 << 20);
    assert.ok(of('drover_kv_cells') > 0);
  });

  test('requests that are refused, leave or are wrong', async (t) => {
    const before = await scrape(server);
    const streams = [];
    t.after(() => streams.forEach((stream) => stream.close()));
    for (let i = 0; i < 4; i++) {
      streams.push(server.stream('Tell me a story.', { model: 'endless', options: { num_predict: without_end } }));
      if (i < 2) await streams[i].more(); // it has a slot: until the model is loaded, all wait
    }
    const gauge = async (name) => (await scrape(server)).value(name, { model: 'endless:latest' });
    await wait_until(async () => (await gauge('drover_requests_waiting')) === 2, 'two wait');
    assert.equal(await gauge('drover_requests_running'), 2);
    await wait_until(async () => (await gauge('drover_kv_cells_used')) > 0, 'cells are used');
    const refused = await server.post('/api/generate', { model: 'endless', prompt: 'Hello' });
    assert.equal(refused.status, 503);
    assert.equal((await server.post('/api/generate', { model: 'nobody', prompt: 'Hello' })).status, 404);
    assert.equal((await server.post('/api/chat', '{')).status, 400);
    streams.forEach((stream) => stream.close());
    const gone = async () => requests(await scrape(server), 'endless:latest', 'disconnected') === 4;
    await wait_until(gone, 'all four are known to have left');
    const after = await scrape(server);
    assert.equal(requests(after, 'endless:latest', 'queue_full'), 1);
    assert.equal(requests(after, 'other', 'invalid') - requests(before, 'other', 'invalid'), 2);
    assert.equal(requests(after, 'nobody:latest', 'invalid') + requests(after, 'nobody', 'invalid'), 0, 'a name that a stranger made up is no label');
    const idle = async () =>
      (await gauge('drover_kv_cells_used')) === 0 && (await gauge('drover_kv_cells_kept')) > 0;
    await wait_until(idle, 'what they held is kept and not used');
    assert.equal(await gauge('drover_requests_running'), 0);
    assert.equal(await gauge('drover_requests_waiting'), 0);
  });

  test('a runner that dies is a crash, and the next one a restart', async () => {
    await server.generate('Hello');
    const before = await scrape(server);
    const figures = (metrics) =>
      ['drover_runner_crashes_total', 'drover_runner_restarts_total', 'drover_loads_total'].map((name) =>
        metrics.value(name, { model: 'cria:latest' }),
      );
    const loaded = async () => (await server.loaded_models()).map(({ name }) => name);
    for (const pid of server.runners()) signal(pid, 'SIGKILL');
    await wait_until(async () => (await loaded()).length === 0, 'the runners are gone');
    await server.generate('Hello');
    const now = await scrape(server);
    assert.deepEqual(figures(now), figures(before).map((value) => value + 1));
  });

  test('promtool finds nothing to say', async (t) => {
    const { text } = await scrape(server);
    const checked = await promtool(['check', 'metrics'], text);
    if (!checked) return t.skip('there is no promtool; what it looks at was checked without it');
    assert.deepEqual(checked, { code: 0, output: '' });
  });
});

test('evictions are counted, and why', async (t) => {
  const server = await server_for_test(t, { env: { OLLAMA_MAX_LOADED_MODELS: '1' } });
  await server.create('other-model', renamed('Othe'));
  await server.generate('Hello');
  await server.generate('Hello', { model: 'other-model:latest' });
  const { value } = await scrape(server);
  assert.equal(value('drover_evictions_total', { model: 'cria:latest' }), 1);
  assert.equal(value('drover_unloads_total', { model: 'cria:latest', reason: 'evicted' }), 1);
  assert.equal(value('drover_evictions_total', { model: 'other-model:latest' }), 0);
});

test('many scrapes while all slots are taken and many wait', async (t) => {
  const server = await server_for_test(t, { env: { OLLAMA_NUM_PARALLEL: '8' } });
  await server.create('endless', endless());
  const streams = Array.from({ length: 200 }, () =>
    server.stream('Tell me a story.', { model: 'endless', options: { num_predict: without_end } }),
  );
  t.after(() => streams.forEach((stream) => stream.close()));
  await wait_until(
    async () => (await scrape(server)).value('drover_requests_waiting', { model: 'endless:latest' }) === 192,
    'the others wait',
  );
  const times = [];
  for (let i = 0; i < 50; i++) {
    const start = performance.now();
    await server.get('/metrics');
    times.push(performance.now() - start);
  }
  times.sort((a, b) => a - b);
  t.diagnostic(`a scrape under load, connection included: median ${times[25].toFixed(1)} ms, most ${times[49].toFixed(1)} ms`);
});

describe('what is said of the metrics elsewhere', () => {
  const server = server_for_suite();
  const read = (file) => fs.readFileSync(path.join(root, file), 'utf8');
  const names_in = (text) => new Set(text.match(/\b(?:drover|process)_[a-z_]+[a-z]\b/g));

  test('the table in docs/operations.md lists all of them, and no others', async () => {
    const section = /^## Metrics$([\s\S]*?)^## /m.exec(`${read('docs/operations.md')}\n## `)[1];
    const rows = section.split('\n').filter((line) => line.startsWith('| `'));
    const documented = rows.map((row) => /^\| `([a-z_]+)`/.exec(row)[1]);
    assert.deepEqual(documented.toSorted(), Object.keys((await scrape(server)).families).toSorted());
  });

  test('the dashboard and the alerts use none that does not exist', async () => {
    const { families } = await scrape(server);
    for (const file of ['docs/grafana.json', 'docs/alerts.yml']) {
      const used = names_in(read(file));
      assert.ok(used.size > 3, file);
      for (const name of used) {
        const family = families[name] ?? families[name.replace(/_(bucket|sum|count)$/, '')];
        assert.ok(family, `${file}: ${name}`);
      }
    }
  });

  test('the dashboard is one', () => {
    const dashboard = JSON.parse(read('docs/grafana.json'));
    assert.ok(dashboard.schemaVersion >= 36 && dashboard.title && dashboard.uid);
    const ids = dashboard.panels.map(({ id }) => id);
    assert.equal(new Set(ids).size, ids.length);
    for (const panel of dashboard.panels) {
      const { x, y, w, h } = panel.gridPos;
      assert.ok([x, y, w, h].every(Number.isInteger) && x + w <= 24 && h > 0, panel.title);
      for (const other of dashboard.panels) {
        const o = other.gridPos;
        const apart = x + w <= o.x || o.x + o.w <= x || y + h <= o.y || o.y + o.h <= y;
        assert.ok(other === panel || apart, `${panel.title} and ${other.title} overlap`);
      }
      if (panel.type === 'row') continue;
      assert.ok(panel.title && panel.fieldConfig.defaults.unit, `${panel.title} has a unit`);
      assert.ok(panel.targets.every(({ expr, refId }) => expr && refId));
    }
  });

  test('promtool takes the alerts', async (t) => {
    const checked = await promtool(['check', 'rules', path.join(root, 'docs/alerts.yml')]);
    if (!checked) return t.skip('there is no promtool');
    assert.equal(checked.code, 0, checked.output);
  });
});
