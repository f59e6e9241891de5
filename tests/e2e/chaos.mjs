// Clients that ask, leave and stay while runners are killed and stopped: chaos.test.mjs and bench/dispatch.mjs run it.
import { Call, is_alive, patience_ms, signal, sleep, Stream, text_of, wait_until } from './harness.mjs';
import { renamed } from './gguf.mjs';
import { generator, prompts } from './prompts.mjs';

const lanes = 12;
const fault_gap_ms = [400, 2500]; // between one runner's end and the next fault
const leave_after_ms_max = 300;

export const chaos_models = ['ones', 'twos', 'thre'];

// Room for two of the three models, two slots each.
export const chaos_settings = (hang_timeout) => ({
  OLLAMA_NUM_PARALLEL: '2',
  OLLAMA_MAX_LOADED_MODELS: '2',
  DROVER_HANG_TIMEOUT: hang_timeout,
});

// Follows the server's log: which process holds which model, and which of them are loaded.
class Runners {
  constructor(server) {
    this.server = server;
    this.read = 0;
    this.list = []; // {pid, model, loaded}
    this.load_died = new Set(); // models whose last load was killed
  }

  update() {
    const log = this.server.stderr;
    const end = log.lastIndexOf('\n') + 1;
    for (const line of log.slice(this.read, end).split('\n')) {
      const [, loading, pid] = /loading (\w+):latest in process (\d+)/.exec(line) ?? [];
      if (loading) this.list.push({ pid: Number(pid), model: loading, loaded: false });
      const [, loaded] = / loaded (\w+):latest: /.exec(line) ?? [];
      const runner = loaded && this.list.findLast(({ model }) => model === loaded);
      if (runner) runner.loaded = true;
      this.load_died.delete(loaded);
    }
    this.read = end;
    this.list = this.list.filter(({ pid }) => is_alive(pid));
    return this.list;
  }

  // Whether the server has noticed, or meant, the end of a runner.
  is_gone(pid, model) {
    const log = this.server.stderr;
    const since = log.slice(log.lastIndexOf(`in process ${pid}\n`));
    return since.includes(`the runner of ${model}:latest ended unexpectedly`) || since.includes(`unloading ${model}:latest`);
  }
}

class Chaos {
  constructor(server, seconds, seed, log) {
    this.server = server;
    this.log = log;
    this.next = generator(seed);
    this.runners = new Runners(server);
    this.seconds = seconds;
    this.hits = []; // {model, from, to}: a fault, until its runner was gone
    this.counts = { requests: 0, complete: 0, left: 0, errors_of_hit: 0, kills: 0, stops: 0 };
    this.bad = { stuck: [], wrong: [], errors: [] };
    this.faults_over = false;
    this.recovery_ms = { SIGKILL: [], SIGSTOP: [] }; // from the fault to the first right answer of its model
  }

  // After so many seconds, and not before something has happened in them.
  over() {
    const { complete, kills, stops } = this.counts;
    return (performance.now() > this.end && complete > 20 && kills + stops > 1) || this.bad.stuck.length > 0;
  }

  pick(items) {
    return items[this.next(items.length)];
  }

  chance(percent) {
    return this.next(100) < percent;
  }

  // Right answers, asked for while nothing disturbs. All three models have the same weights.
  async learn() {
    this.asked = prompts(60).slice(20);
    for (const item of this.asked) {
      item.right = (await this.server.generate(item.prompt, { model: chaos_models[0] })).response;
    }
  }

  async run() {
    this.end = performance.now() + this.seconds * 1000;
    // Clients ask until the last fault is over: a runner that stopped while it was idle is found out by a request.
    const faults = this.break_runners().finally(() => (this.faults_over = true));
    await Promise.all([faults, ...Array.from({ length: lanes }, () => this.ask_on())]);
    return { ...this.counts, ...this.bad, recovery_ms: this.recovery_ms };
  }

  // ---- clients

  async ask_on() {
    while (!this.faults_over && this.bad.stuck.length === 0) {
      await this.ask();
      await sleep(this.next(40));
    }
  }

  async ask() {
    const model = this.pick(chaos_models);
    const { prompt, right } = this.pick(this.asked);
    const stream = this.chance(50);
    const leave_after = this.chance(20) ? this.next(leave_after_ms_max) : undefined;
    const headers = { 'x-client-id': `client ${this.next(4)}`, 'x-priority': this.pick(['high', 'normal', 'low']) };
    const body = { model, prompt, stream, options: { temperature: 0 } };
    const request = { model, prompt, stream, from: performance.now() };
    this.counts.requests++;
    const answer = new Stream(new Call(this.server, 'POST', '/api/generate', body, headers));
    const ended = answer.ended.then(
      () => 'ended',
      (error) => `${error}`,
    );
    let timer;
    const patience = new Promise((resolve) => (timer = setTimeout(resolve, leave_after ?? patience_ms)));
    const how = await Promise.race([ended, patience]);
    clearTimeout(timer);
    request.to = performance.now();
    const text = text_of(answer.items);
    const last = answer.items.at(-1);
    if (how === undefined) {
      answer.close();
      if (leave_after === undefined) this.bad.stuck.push({ ...request, text });
      else this.counts.left++;
      if (!right.startsWith(text)) this.bad.wrong.push({ ...request, text, right });
    } else if (how !== 'ended' || answer.call.response.statusCode !== 200 || last?.error || !last?.done) {
      const what = { ...request, how, status: answer.call.response?.statusCode, last };
      if (!right.startsWith(text)) this.bad.wrong.push({ ...request, text, right });
      if (this.was_hit(request) && last?.error) this.counts.errors_of_hit++;
      else this.bad.errors.push(what);
    } else {
      this.counts.complete++;
      if (text !== right) this.bad.wrong.push({ ...request, text, right });
      this.on_right_answer(request);
    }
  }

  was_hit({ model, from, to }) {
    return this.hits.some((hit) => hit.model === model && hit.from <= to && from <= (hit.to ?? Infinity));
  }

  on_right_answer({ model, to }) {
    for (const hit of this.hits) {
      if (hit.model !== model || hit.recovered || hit.to === undefined || to < hit.to) continue;
      hit.recovered = true;
      this.recovery_ms[hit.signal].push(to - hit.from);
    }
  }

  // ---- faults

  async break_runners() {
    while (!this.over()) {
      await sleep(fault_gap_ms[0] + this.next(fault_gap_ms[1] - fault_gap_ms[0]));
      if (this.over()) return;
      const runner = this.pick(this.runners.update());
      // A second death counts as a load that has failed, which others may be told.
      if (!runner || (!runner.loaded && this.runners.load_died.has(runner.model))) continue;
      // A load that is stopped is one without progress and fails; only those that serve may hang.
      const signal_name = runner.loaded && this.chance(40) ? 'SIGSTOP' : 'SIGKILL';
      if (!runner.loaded) this.runners.load_died.add(runner.model);
      await this.hit(runner, signal_name);
    }
  }

  async hit({ pid, model }, signal_name) {
    const hit = { model, signal: signal_name, from: performance.now() };
    this.hits.push(hit);
    signal(pid, signal_name);
    this.counts[signal_name === 'SIGKILL' ? 'kills' : 'stops']++;
    // One that stopped while it was idle is found out when somebody asks for it, or ends when another takes its memory.
    const give_up = performance.now() + patience_ms;
    while (is_alive(pid) && performance.now() < give_up) await sleep(10);
    if (is_alive(pid)) {
      this.log(`a runner of ${model} that was stopped is still there`);
      signal(pid, 'SIGCONT');
    }
    const is_gone = () => this.runners.is_gone(pid, model);
    await wait_until(is_gone, `the server knows that ${pid}, a runner of ${model}, has ended`);
    hit.to = performance.now();
  }
}

// Runs for so many seconds at least, and tells how it went; stuck, wrong and errors are lists of requests and should be
// empty.
export async function chaos(server, { seconds, seed, log = () => {} }) {
  for (const model of chaos_models) await server.create(model, renamed(model));
  const chaos = new Chaos(server, seconds, seed, log);
  await chaos.learn();
  return chaos.run();
}

export function chaos_report(result, seed, seconds) {
  const { requests, complete, left, errors_of_hit, kills, stops, stuck, wrong, errors } = result;
  return (
    `seed ${seed}, ${seconds} s: ${requests} requests (${complete} complete, ${left} left by their client, ` +
    `${errors_of_hit} ended with their runner), ${kills} kill -9, ${stops} kill -STOP: ` +
    `${stuck.length} stuck, ${wrong.length} wrong, ${errors.length} errors of requests whose runner was not hit`
  );
}
