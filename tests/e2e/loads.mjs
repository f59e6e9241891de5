// Loads as the server's log and /api/ps tell of them, and one that stands still.
import assert from 'node:assert/strict';

import { is_alive, signal, stop_process, wait_until } from './harness.mjs';

// The models that were loaded, in order, from a server's log.
export const loads_in = (log) => [...log.matchAll(/loading (\w+):latest in process (\d+)/g)].map(([, model]) => model);
// A model's line in /api/ps; undefined if it is not there.
export const view_of = async (server, model) =>
  (await server.get('/api/ps')).json.models.find(({ name }) => name === `${model}:latest`);
export const waiting_for = async (server, model) => (await view_of(server, model))?.waiting ?? 0;

// Begins a request for a cold model and stops its runner while it loads: {request, runner}. A load that was faster than
// that is undone and tried again.
export async function stalled_load(server, model, begin = () => server.stream('Hello', { model, options: { num_predict: 1 } })) {
  for (let attempt = 0; attempt < 10; attempt++) {
    const before = server.runners();
    const request = begin();
    let runner;
    await wait_until(
      () => (runner = server.runners().find((pid) => !before.includes(pid))) !== undefined,
      `a runner for ${model} starts`,
    );
    await stop_process(runner);
    // What it said before is heard before these requests are: the server reads both in one thread.
    for (let i = 0; i < 3; i++) await server.get('/api/version');
    if ((await view_of(server, model))?.state === 'loading') return { request, runner };
    signal(runner, 'SIGCONT');
    await request.ended;
    await server.ok('/api/generate', { model, keep_alive: 0 });
    await wait_until(() => !is_alive(runner), 'the runner has ended');
  }
  return assert.fail('the load could not be caught');
}
