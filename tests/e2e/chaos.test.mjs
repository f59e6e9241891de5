// Random requests to three models with room for two, while clients leave and runners are killed and stopped. For ten
// minutes: DROVER_CHAOS_SECONDS=600. The seed of a run that failed: DROVER_CHAOS_SEED=…
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { chaos, chaos_models, chaos_report, chaos_settings } from './chaos.mjs';
import { server_for_test, short, wait_until } from './harness.mjs';

const seconds = Number(process.env.DROVER_CHAOS_SECONDS ?? (short ? 15 : 20));
const seed = Number(process.env.DROVER_CHAOS_SEED ?? Date.now() % 1_000_000);

test('chaos: nothing is stuck, nothing is wrong, and only who was hit sees errors', async (t) => {
  const server = await server_for_test(t, { env: chaos_settings(short ? '10' : '5') });
  const result = await chaos(server, { seconds, seed, log: (text) => t.diagnostic(text) });
  t.diagnostic(chaos_report(result, seed, seconds));
  const { stuck, wrong, errors } = result;
  const log = `\nseed ${seed}; the end of the log:\n${server.stderr.slice(-3000)}`;
  assert.deepEqual({ stuck, wrong, errors }, { stuck: [], wrong: [], errors: [] }, chaos_report(result, seed, seconds) + log);
  const idle = async () =>
    (await server.get('/api/ps')).json.models.every(({ running, waiting }) => running === 0 && waiting === 0);
  await wait_until(idle, 'nothing runs or waits any more');
  for (const model of chaos_models) {
    assert.equal((await server.generate('Count to 3', { model })).response, '1, 2, 3', model);
  }
});
