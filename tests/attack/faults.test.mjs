// Processes that are killed or stopped in the middle of their work, while victims go on asking. What becomes of the
// requests that were in them: ../e2e/faults.test.mjs.
import { renamed, slow } from '../e2e/gguf.mjs';
import { is_alive, signal, sleep, Stream } from '../e2e/harness.mjs';
import { attacks, short } from './attack.mjs';
import { descendants } from './witness.mjs';

const runner_of = (server, model) => Number([...server.stderr.matchAll(new RegExp(`loading ${model}:latest in process (\\d+)`, 'g'))].at(-1)?.[1]);

// The processes in which requests of a model are prepared: all that its runner has started.
function preparers_of(arena, model) {
  const found = descendants(runner_of(arena.server, model));
  if (found.length === 0) throw new Error(`the runner of ${model} has no process that prepares`);
  return found.map(({ pid }) => pid);
}

async function until(predicate, what, wait_s = 30) {
  for (const start = performance.now(); !(await predicate()); await sleep(10))
    if (performance.now() - start > wait_s * 1000) throw new Error(`not within ${wait_s} s: ${what}`);
}

// A stream of cria that has begun.
async function begun(arena) {
  const stream = new Stream(arena.server.call('POST', '/api/generate', { model: 'cria', prompt: 'Count to 150', options: { temperature: 0 } }));
  stream.more(1).catch(() => {});
  await Promise.race([stream.more(3), sleep(3000)]).catch(() => {});
  return stream;
}

// Hits the runner of cria with a signal while it streams, so many times, each after its model has answered again.
async function hit(arena, name, times) {
  for (let i = 0; i < times; i++) {
    const stream = await begun(arena);
    const victim = runner_of(arena.server, 'cria');
    signal(victim, name);
    await until(() => !is_alive(victim), `${victim} has ended`);
    await until(async () => runner_of(arena.server, 'cria') !== victim && (await arena.generate()).status === 200, 'cria answers again');
    await stream.ended.catch(() => {});
    stream.close();
  }
  return [];
}

const reload = { same: { ratio: 8, cap_ms: 6000 } };
const env = { DROVER_HANG_TIMEOUT: '5', OLLAMA_LOAD_TIMEOUT: '10' };
const long_prompt = 'one two three '.repeat(100_000);
const kills = short ? 4 : 10;

attacks('faults', { env, slow: !short, prepare: (server) => server.create('busy', renamed('Busy')) }, [
  ...['SIGKILL', 'SIGSEGV', 'SIGABRT', 'SIGTERM'].map((name) => ({
    name: `${name} for a runner that streams, three times`,
    short: name === 'SIGKILL' || name === 'SIGSEGV',
    gaps: reload,
    attack: (arena) => hit(arena, name, 3),
  })),
  {
    name: 'SIGSTOP for a runner that streams',
    short: true,
    gaps: { same: { ratio: 8, cap_ms: 14_000 } }, // the time after which it counts as stuck
    attack: (arena) => hit(arena, 'SIGSTOP', 1),
  },
  {
    name: 'SIGKILL for a runner that loads',
    short: true,
    status: [200, 500, 503],
    attack: async (arena) => {
      const answer = arena.generate({ model: 'busy' });
      await until(() => runner_of(arena.server, 'busy'), 'it loads');
      signal(runner_of(arena.server, 'busy'), 'SIGKILL');
      return [(await answer).status];
    },
  },
  {
    name: 'SIGSTOP for a runner that loads',
    status: [200, 500, 503],
    attack: async (arena) => {
      await arena.generate({ model: 'busy', keep_alive: 0 });
      const before = runner_of(arena.server, 'busy');
      const answer = arena.generate({ model: 'busy' });
      await until(() => runner_of(arena.server, 'busy') !== before, 'it loads');
      signal(runner_of(arena.server, 'busy'), 'SIGSTOP');
      return [(await answer).status];
    },
  },
  ...['SIGKILL', 'SIGSEGV'].map((name) => ({
    name: `${name} for what prepares requests, ${kills} times`,
    short: name === 'SIGKILL',
    status: [200, 400, 500],
    told: { same: kills }, // it may be a victim's request that was in it
    gaps: reload,
    attack: async (arena) => {
      const found = [];
      for (let i = 0; i < kills; i++) {
        const answer = arena.generate({ prompt: long_prompt, options: { num_predict: 4, num_ctx: 2048 } });
        await sleep(50);
        signal(preparers_of(arena, 'cria').at(i % 2 ? -1 : 0), name);
        found.push((await answer).status);
        await sleep(300);
      }
      return found;
    },
  })),
  {
    name: 'SIGSTOP for what prepares requests',
    short: true,
    status: [0, 200, 400, 500],
    gaps: { same: { ratio: 8, cap_ms: 14_000 } },
    attack: async (arena) => {
      const answer = arena.generate({ prompt: long_prompt, options: { num_predict: 4, num_ctx: 2048 } });
      await sleep(50);
      const stopped = preparers_of(arena, 'cria').at(-1);
      signal(stopped, 'SIGSTOP');
      await sleep(8000);
      signal(stopped, 'SIGCONT');
      return [(await answer).status];
    },
  },
  ...['SIGKILL', 'SIGSTOP'].map((name) => ({
    name: `${name} for what quantizes`,
    status: [0, 200, 400, 500],
    attack: async (arena) => {
      const made = arena.create('big', slow({ layers: 6 }), { quantize: 'Q4_K_M' });
      const quantizer = () => arena.processes().find(({ role }) => role === 'quantize');
      await until(quantizer, 'it quantizes');
      const { pid } = quantizer();
      signal(pid, name);
      if (name === 'SIGSTOP') {
        await sleep(2000);
        signal(pid, 'SIGCONT');
      }
      const { status } = await made;
      await arena.remove('big');
      return [status];
    },
  })),
]);
