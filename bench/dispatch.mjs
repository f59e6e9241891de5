// What the dispatcher promises, as figures, measured on the real server:
//
//   node bench/dispatch.mjs [SECTION…] [--chaos SECONDS]
//
// Without a section: all of them. DROVER_BIN names another binary than build/release/drover. Where times are given they
// depend on what else this machine does; the load average is printed for that.
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';

import { chaos, chaos_report, chaos_settings } from '../tests/e2e/chaos.mjs';
import { Crowd, health_times, memory_of, percentile, threads_of } from '../tests/e2e/crowd.mjs';
import { broken, endless, renamed, slow } from '../tests/e2e/gguf.mjs';
import { drover, Server, signal, sleep, wait_until } from '../tests/e2e/harness.mjs';
import { loads_in, stalled_load, view_of, waiting_for } from '../tests/e2e/loads.mjs';

const say = (text) => console.log(text);
const p50_p99 = (values) => `p50 ${percentile(values, 50)} ms, p99 ${percentile(values, 99)} ms`;

async function with_server(env, job) {
  const server = await new Server({ env }).start();
  try {
    await job(server);
  } finally {
    await server.stop();
  }
}

async function ms_of(job) {
  const start = performance.now();
  await job();
  return performance.now() - start;
}

const one_token = (server, model = 'cria') => server.generate('Hello', { model, options: { num_predict: 1 } });
const occupant = (server) => server.stream('Tell me a story.', { model: 'endless', options: { num_predict: 100_000 } });
const cold = async (server, model) => {
  await server.ok('/api/generate', { model, keep_alive: 0 });
  await wait_until(async () => (await view_of(server, model)) === undefined, `${model} has left memory`);
};

// ---- sections

async function loading() {
  await with_server({ OLLAMA_MAX_LOADED_MODELS: '4' }, async (server) => {
    const large = slow({ width: 1024, layers: 12, feed_forward: 2816 });
    await server.create('large', large);
    const count = 300;
    const times = async (goes_on) => {
      const list = [];
      while (goes_on(list.length)) list.push(await ms_of(() => one_token(server)));
      return list;
    };
    await times((done) => done < 30);
    const alone = await times((done) => done < count);
    say(`a request of one token to a loaded model, nothing else going on: ${p50_p99(alone)} (${count} requests)`);
    const delay = (list) => p50_p99(list.map((ms) => ms - percentile(alone, 50)));

    const { request, runner } = await stalled_load(server, 'large');
    const stalled = await times((done) => done < count);
    say(`  added delay while another model's load stands still: ${delay(stalled)} (${count} requests)`);
    signal(runner, 'SIGCONT');
    await request.ended;

    const during = [];
    let loads = 0;
    const load_ms = [];
    while (during.length < count && loads < 60) {
      await cold(server, 'large');
      let loaded = false;
      const load = ms_of(() => one_token(server, 'large')).then((ms) => (load_ms.push(ms), (loaded = true)));
      during.push(...(await times(() => !loaded)));
      await load;
      loads++;
    }
    say(
      `  added delay while a model of ${(large.length / 2 ** 20).toFixed(0)} MiB loads, again and again ` +
        `(${loads} loads, p50 ${percentile(load_ms, 50)} ms each): ${delay(during)} (${during.length} requests)`,
    );
  });
}

async function two_loads() {
  await with_server({}, async (server) => {
    const models = ['load', 'more'];
    const sizes = { width: 1024, layers: 12, feed_forward: 2816 };
    await server.create('load', slow(sizes));
    await server.create('more', slow({ ...sizes, layers: 13 }));
    for (const model of models) await one_token(server, model); // the files are in the page cache now
    for (const model of models) await cold(server, model);
    const alone = [];
    for (const model of models) alone.push(await ms_of(() => one_token(server, model)));
    for (const model of models) await cold(server, model);
    let side_by_side = false;
    const watch = (async () => {
      while (!side_by_side) {
        const states = (await server.get('/api/ps')).json.models.map(({ state }) => state);
        if (states.length === 0 || states.includes('loading')) {
          side_by_side = states.filter((state) => state === 'loading').length === 2;
          await sleep(2);
        } else break;
      }
    })();
    const both = await ms_of(() => Promise.all(models.map((model) => one_token(server, model))));
    await watch;
    say(
      `two cold models: ${alone.map((ms) => ms.toFixed(0)).join(' ms and ')} ms one after another, ` +
        `${both.toFixed(0)} ms at once; seen loading at the same time: ${side_by_side ? 'yes' : 'no'}`,
    );
  });
}

async function grouping() {
  const names = { A: 'aaaa', B: 'bbbb', C: 'cccc' };
  await with_server({ OLLAMA_MAX_LOADED_MODELS: '1' }, async (server) => {
    for (const name of Object.values(names)) await server.create(name, renamed(name));
    const first = await stalled_load(server, names.A, () => server.stream('Count to 9', { model: names.A }));
    const before = loads_in(server.stderr).length - 1;
    const rest = [];
    for (const letter of 'BAACABC') {
      rest.push(server.generate('Count to 9', { model: names[letter] }));
      await sleep(20);
    }
    signal(first.runner, 'SIGCONT');
    await Promise.all(rest);
    say(`A B A A C A B C with room for one: ${loads_in(server.stderr).length - before} loads`);
  });
}

async function fairness() {
  await with_server({}, async (server) => {
    await server.create('endless', endless());
    const body = { model: 'endless', prompt: 'Tell me a story.', stream: false, options: { num_predict: 50 } };
    const call = (client) => server.call('POST', '/api/generate', body, { 'x-client-id': client });
    const ask = (client) => call(client).bytes();
    const service = [];
    for (let i = 0; i < 30; i++) service.push(await ms_of(() => ask('warm')));
    const holder = occupant(server);
    await holder.more(3);
    const done = [];
    const crowd = Array.from({ length: 500 }, () => call('crowd'));
    for (const one of crowd) {
      one.bytes().then(
        () => done.push(performance.now()),
        () => {}, // it was closed
      );
    }
    await wait_until(async () => (await waiting_for(server, 'endless')) === 500, '500 wait');
    holder.close();
    await wait_until(() => done.length >= 5, 'the crowd is being served');
    const single = [];
    const passed = [];
    for (let i = 0; i < 30; i++) {
      const from = performance.now();
      single.push(await ms_of(() => ask(`single ${i}`)));
      passed.push(done.filter((time) => time > from).length);
    }
    for (const one of crowd) one.close();
    say(
      `500 requests of one client against one of another, thirty times: a service takes p50 ` +
        `${percentile(service, 50)} ms; the single one from sending to its end ${p50_p99(single)}, ` +
        `of which its own service is one; of the crowd ended meanwhile: at most ${Math.max(...passed)}`,
    );
  });
}

async function recovery() {
  for (const [name, env, rounds] of [
    ['SIGKILL', {}, 10],
    ['SIGSTOP', { DROVER_HANG_TIMEOUT: '5' }, 3],
  ]) {
    await with_server(env, async (server) => {
      await server.create('endless', endless());
      const long = { model: 'endless', options: { num_predict: 400 } };
      const whole = async () => (await server.generate('Tell me a story.', long)).response;
      const right = await whole();
      const load = [];
      for (let i = 0; i < 3; i++) {
        await cold(server, 'endless');
        load.push(await ms_of(() => one_token(server, 'endless')));
      }
      const recovered = [];
      let replayed = 0;
      for (let i = 0; i < rounds; i++) {
        const [victim] = server.runners();
        const running = whole();
        await wait_until(async () => (await view_of(server, 'endless'))?.running === 1, 'it runs');
        await sleep(50);
        const next = server.stream('Hello', { model: 'endless', options: { num_predict: 1 } });
        await next.call.sent;
        const start = performance.now();
        signal(victim, name);
        await wait_until(
          async () =>
            server.runners().some((pid) => pid !== victim) && (await view_of(server, 'endless'))?.running === 1,
          'another runner serves',
        );
        recovered.push(performance.now() - start);
        if ((await running) === right) replayed++;
        await next.ended;
      }
      const hang = env.DROVER_HANG_TIMEOUT ? ` (DROVER_HANG_TIMEOUT=${env.DROVER_HANG_TIMEOUT})` : '';
      say(
        `kill ${name === 'SIGKILL' ? '-9' : '-STOP'} of a busy runner${hang}: the next one serves after ` +
          `${p50_p99(recovered)} (a cold load and a token: p50 ${percentile(load, 50)} ms); ` +
          `replayed unseen, with the right answer: ${replayed} of ${rounds}`,
      );
    });
  }
}

async function backoff() {
  await with_server({}, async (server) => {
    await server.create('broken', broken());
    const start = performance.now();
    let requests = 0;
    const errors = new Set();
    while (performance.now() - start < 60_000) {
      const { status, json } = await server.post('/api/generate', { model: 'broken', prompt: 'Hello' });
      errors.add(`${status} ${json.error}`);
      requests++;
      await sleep(200);
    }
    const loads = loads_in(server.stderr).length;
    say(`a model that cannot be loaded, asked for ${requests} times in a minute: ${loads} loads`);
    for (const error of errors) say(`  ${error}`);
  });
}

async function waiting() {
  await with_server({ OLLAMA_MAX_QUEUE: '6000', OLLAMA_REQUEST_TIMEOUT: '0' }, async (server) => {
    await server.create('endless', endless());
    await health_times(server, 100);
    const quiet = await health_times(server, 500);
    say(`/healthz of an idle server: ${p50_p99(quiet.answer_ms)}`);
    const holder = occupant(server);
    await holder.more(3);
    const busy = await health_times(server, 500);
    say(`/healthz while one generation runs on all processors: ${p50_p99(busy.answer_ms)}`);
    const { pid } = server.process;
    const before = { memory: memory_of(pid), threads: threads_of(pid) };
    const crowd = new Crowd(server, { model: 'endless', prompt: 'Hello', options: { num_predict: 1 } });
    const joined = await ms_of(() => crowd.join(5000));
    await wait_until(async () => (await waiting_for(server, 'endless')) === 5000, '5000 wait');
    const each = (memory_of(pid) - before.memory) / 5000 / 1024;
    const { answer_ms, connect_ms } = await health_times(server, 1000);
    say(
      `5000 clients wait (all had sent their request after ${joined.toFixed(0)} ms): ${each.toFixed(1)} KiB each, ` +
        `${threads_of(pid) - before.threads} threads more; /healthz ${p50_p99(answer_ms)}; ` +
        `connected within ${p50_p99(connect_ms)}`,
    );
    crowd.leave(4500);
    holder.close();
    const served = await ms_of(() => crowd.ended());
    say(
      `  4500 leave, the others are served in ${(served / 1000).toFixed(1)} s: ` +
        `${crowd.answered} answers, ${crowd.failed} failures`,
    );
  });
}

async function simulation() {
  const sim = path.join(path.dirname(drover), 'tests/sim/dispatch_sim');
  if (!fs.existsSync(sim)) return say(`there is no ${sim}: build it with ./dev build`);
  for (const args of [['--requests', '4000000'], ['--mutations']]) {
    say(`dispatch_sim ${args.join(' ')}`);
    say(execFileSync(sim, args, { encoding: 'utf8' }).trimEnd().replace(/^/gm, '  '));
  }
}

async function run_chaos() {
  const seed = Number(process.env.DROVER_CHAOS_SEED ?? Date.now() % 1_000_000);
  await with_server(chaos_settings('3'), async (server) => {
    const result = await chaos(server, { seconds: chaos_seconds, seed, log: say });
    say(`chaos, ${chaos_report(result, seed, chaos_seconds)}`);
    for (const what of ['stuck', 'wrong', 'errors']) {
      for (const one of result[what].slice(0, 5)) say(`  ${what}: ${JSON.stringify(one)}`);
      if (result[what].length > 0) process.exitCode = 1;
    }
  });
}

// ---- which of them

const sections = { loading, two_loads, grouping, fairness, recovery, backoff, waiting, simulation, chaos: run_chaos };
const args = process.argv.slice(2);
const at = args.indexOf('--chaos');
const chaos_seconds = at >= 0 ? Number(args.splice(at, 2)[1]) : 60;
for (const name of args.filter((name) => !(name in sections))) {
  console.error(`there is no section ${name}: ${Object.keys(sections).join(', ')}`);
  process.exit(2);
}
say(`${os.cpus().length} processors, load average ${os.loadavg()[0].toFixed(2)} before`);
for (const name of args.length > 0 ? args : Object.keys(sections)) {
  say(`\n-- ${name}`);
  await sections[name]();
}
say(`\nload average ${os.loadavg()[0].toFixed(2)} after`);
