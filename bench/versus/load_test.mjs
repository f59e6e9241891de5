// `drover bench` as the client of both servers, for loads that it knows.
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import { promisify } from 'node:util';

import { drover_binary } from './setup.mjs';

const run = promisify(execFile);
// bench/engines.mjs names two programs instead.
const binary = [drover_binary, process.env.DROVER_BIN_A].find((file) => file && fs.existsSync(file));

// One level of `drover bench --json`. `options` are its options by name, without the dashes; true stands for a flag. The
// same `words` give the same prompts. It fails if a request does.
export async function load_test({ port, model }, words, options) {
  const seed = createHash('sha256').update(words(16, JSON.stringify(options))).digest().readUInt32LE();
  const all = { url: `http://127.0.0.1:${port}`, api: 'openai', temperature: 0.8, timeout: '600s', seed, json: true, ...options };
  const args = Object.entries(all).flatMap(([name, value]) => (value === true ? [`--${name}`] : [`--${name}`, String(value)]));
  const { stdout } = await run(binary, ['bench', model, ...args], { maxBuffer: 64 << 20 });
  const [level] = JSON.parse(stdout).levels;
  if (level.failed > 0) throw new Error(`requests have failed: ${JSON.stringify(level.errors)}`);
  return level;
}

// `count` requests at the same time, and no others.
export const at_the_same_time = (client, words, count, options) =>
  load_test(client, words, { concurrency: count, requests: count, ...options });
