// What is measured. A case starts servers with the settings that suit it, and measures each with the same prompts.
//
// Each of `measures` is (client, words) => {row: value}; the servers take turns at it, so that what is compared lies
// close together in time. `rows` says what each value is: the unit, and the line that Drover is held to.
// `words(count, salt)`: the same random words for all servers, others in each round and for each salt.
import { sleep } from '../../tests/e2e/harness.mjs';
import { at_the_same_time, load_test } from './load_test.mjs';
import { median } from './numbers.mjs';

const user = (content) => [{ role: 'user', content }];
const sum = (values) => values.reduce((a, b) => a + b, 0);

// All of `chats` have ended well: output tokens per second from the first request's start to the last one's end.
function rate_of(chats) {
  for (const chat of chats) if (!chat.ok) throw new Error(`a request has failed: ${chat.error}`);
  const seconds = (Math.max(...chats.map((chat) => chat.ended)) - Math.min(...chats.map((chat) => chat.sent))) / 1000;
  return sum(chats.map((chat) => chat.usage.output)) / seconds;
}

const at_once = (count, make) => Promise.all(Array.from({ length: count }, (_, i) => make(i).done));

// As Ollama starts it: with as many slots as it is told, each a part of the cache, and one by default.
const as_ollama = (slots, context) => [
  '-np',
  slots,
  '-c',
  slots * context,
  '-b',
  512,
  '-ub',
  512,
  '--context-shift',
  '--offline',
];
// Drover's cache holds two contexts, however many slots there are; llama-server gets as large a one.
const settings = ({ slots, context, ollama_context = context, flags = [] }) => ({
  drover: { slots, context },
  llama: ['-np', slots, '-kvu', '-c', 2 * context, ...flags],
  ollama_n: as_ollama(slots, ollama_context),
  ollama_1: as_ollama(1, ollama_context),
});

const stream_counts = [1, 2, 4, 8, 16];
// Words that `drover bench` adds to each prompt.
const asked = 'Write a story about this.'.split(' ').length;

export const distinct_streams = (count) => async (client, words) => {
  const level = await at_the_same_time(client, words, count, { 'prompt-words': 32 - asked, 'max-tokens': 64 });
  return { [`${count} streams`]: level.output_tokens_per_second };
};

const shared_prefix = (count, prefix_words) => async (client, words) => {
  const options = { 'prompt-words': 16 - asked, 'shared-prefix': prefix_words, 'max-tokens': 16 };
  const level = await at_the_same_time(client, words, count, options);
  return {
    throughput: level.output_tokens_per_second,
    'first token, median': level.time_to_first_token.p50_ms / 1000,
  };
};

async function long_prompt_arrives(client, words) {
  const streams = [0, 1, 2].map((i) => client.chat(user(words(32, `stream ${i}`)), { max_tokens: 2000 }));
  while (streams.some((stream) => stream.times.length < 24)) await sleep(10);
  const arrival = performance.now();
  const long = await client.chat(user(words(1200, 'long')), { max_tokens: 4 }).done;
  await sleep(300);
  for (const stream of streams) stream.close();
  if (!long.ok) throw new Error(`the long prompt has failed: ${long.error}`);
  const gaps = streams.flatMap(({ times }) =>
    times.slice(1).map((time, i) => ({ from: times[i], to: time, ms: time - times[i] })),
  );
  const before = gaps.filter(({ to }) => to < arrival);
  const during = gaps.filter(({ from, to }) => to > arrival && from < long.times[0]);
  await sleep(2500); // until the last server has noticed that they are gone
  return {
    'longest gap': Math.max(...during.map(({ ms }) => ms)) / 1000,
    "long prompt's first token": long.ttft / 1000,
    'gap before, median': median(before.map(({ ms }) => ms)) / 1000,
    'gap meanwhile, median': median(during.map(({ ms }) => ms)) / 1000,
  };
}

async function overflow(client, words) {
  const chats = await at_once(4, (i) => client.chat(user(words(32, i)), { max_tokens: 300 }));
  const whole = chats.filter((chat) => chat.ok && chat.usage.output === 300);
  const seconds = (Math.max(...chats.map((chat) => chat.ended)) - Math.min(...chats.map((chat) => chat.sent))) / 1000;
  return { failures: chats.length - whole.length, throughput: sum(whole.map((chat) => chat.usage.output)) / seconds };
}

// Each of 64 clients sends its next request when it has the answer to the last one.
const short_requests = (row, api) => async (client, words) => {
  const options = { api, concurrency: 64, requests: 6000, prompt: '{n}', 'max-tokens': 4, 'no-stream': true };
  const level = await load_test(client, words, options);
  return { [row]: level.requests_per_second };
};

function response_format(salt) {
  const text = { type: 'string' };
  const properties = {
    [`name_${salt}`]: text,
    summary: text,
    tags: { type: 'array', items: text },
    count: { type: 'integer' },
  };
  const schema = { type: 'object', properties, required: Object.keys(properties) };
  return { type: 'json_schema', json_schema: { name: 'record', strict: true, schema } };
}

// `count` streams, of which every `nth` is held to a schema.
export const schema_streams = (count, nth) => async (client, words) => {
  const format = response_format(words(1, 'schema'));
  const chats = await at_once(count, (i) =>
    client.chat(user(words(24, i)), { max_tokens: 48, ...(i % nth === 0 ? { response_format: format } : {}) }),
  );
  return { throughput: rate_of(chats) };
};

async function canceled_prompt(client, words) {
  const whole = await client.chat(user(words(1200, 'whole')), { max_tokens: 1 }).done;
  if (!whole.ok) throw new Error(whole.error);
  const prompt = user(words(1200, 'canceled'));
  const start = performance.now();
  const canceled = client.chat(prompt, { max_tokens: 1 });
  await sleep(whole.ttft / 2);
  canceled.close();
  const left_after = performance.now() - start;
  const again = await client.chat(prompt, { max_tokens: 1 }).done;
  if (!again.ok) throw new Error(again.error);
  const computed = (again.usage.prompt * left_after) / whole.ttft;
  await sleep(2000);
  return {
    'taken from the cache, of what was computed': Math.min(again.usage.cached / computed, 1),
    'time in all, against a prompt that nobody cancels': (left_after + again.ttft) / whole.ttft,
  };
}

async function turns(client, words) {
  const users = 4;
  const count = 10;
  const chats = Array.from({ length: users }, (_, i) => [{ role: 'system', content: words(150, `system ${i}`) }]);
  let prompt = 0;
  let cached = 0;
  const start = performance.now();
  for (let turn = 1; turn <= count; turn++) {
    const answers = await at_once(users, (i) => {
      chats[i].push({ role: 'user', content: words(12, `${i} ${turn}`) });
      return client.chat(chats[i], { max_tokens: 24 });
    });
    for (const [i, answer] of answers.entries()) {
      if (!answer.ok) throw new Error(answer.error);
      chats[i].push({ role: 'assistant', content: answer.text });
      if (turn === 1) continue;
      prompt += answer.usage.prompt;
      cached += answer.usage.cached;
    }
  }
  return {
    'prompt tokens from the cache, second turn on': cached / prompt,
    'time for all turns': (performance.now() - start) / 1000,
  };
}

const tokens_per_second = (line) => ({ unit: 'tokens/s', better: 'more', ...line });
const seconds = (line) => ({ unit: 's', better: 'less', ...line });
const share = (line) => ({ unit: '%', better: 'more', ...line });
const ratio_min = (value) => ({ ratio_min: value });
const ratio_max = (value) => ({ ratio_max: value });

export const cases = {
  a: {
    title: 'Distinct streams: 32 words in, 64 tokens out',
    model: '1b',
    settings: settings({ slots: 16, context: 2048 }),
    rows: Object.fromEntries(
      stream_counts.map((count) => [`${count} streams`, tokens_per_second(ratio_min(count === 1 ? 0.97 : 1))]),
    ),
    measures: stream_counts.map(distinct_streams),
  },
  b: {
    title: '8 requests at once that share 600 words, cold: 16 tokens out each',
    model: '1b',
    settings: settings({ slots: 8, context: 4096, flags: ['--cache-reuse', 64] }),
    rows: { throughput: tokens_per_second(ratio_min(4)), 'first token, median': seconds() },
    measures: [shared_prefix(8, 600)],
  },
  b32: {
    title: '32 requests at once that share 2,000 words, cold: 16 tokens out each',
    model: 'small',
    settings: settings({ slots: 32, context: 40_960, ollama_context: 2560, flags: ['--cache-reuse', 64] }),
    rows: { throughput: tokens_per_second(ratio_min(4)), 'first token, median': seconds() },
    measures: [shared_prefix(32, 2000)],
    note: 'As Ollama starts it, it was not measured here, for the time that it takes.',
  },
  c: {
    title: 'Three running streams, and a prompt of 1,200 words arrives',
    model: '1b',
    settings: {
      ...settings({ slots: 8, context: 4096 }),
      drover_800: { slots: 8, context: 4096, env: { DROVER_ITL_TARGET_MS: '800' } },
    },
    rows: {
      'longest gap': seconds(ratio_max(0.1)),
      "long prompt's first token": seconds(ratio_max(1.5)),
      'gap before, median': seconds(),
      'gap meanwhile, median': seconds(),
    },
    measures: [long_prompt_arrives],
    note:
      'By default the gap between two tokens is to stay near 4 times what it is without prompts. On two cores that ' +
      'is a quarter of a second, and a step of that length has room for some 20 tokens of the prompt. A fifth of each ' +
      "step is the streams' own. The rest costs more for each token than in llama-server's batches of 512: llama.cpp " +
      'computes attention in tiles only from 64 rows on. With a longer target the prompt is sooner done, and the ' +
      'gaps are still a small part of those without one.',
  },
  d: {
    title: 'Four streams of 300 tokens whose total exceeds a cache of 768 cells',
    model: '1b',
    settings: settings({ slots: 4, context: 384, ollama_context: 192 }),
    rows: { failures: { unit: '', better: 'less', max: 0 }, throughput: tokens_per_second() },
    measures: [overflow],
  },
  e: {
    title: '64 clients with requests of one word in and 4 tokens out, a very small model',
    model: 'tiny',
    settings: settings({ slots: 64, context: 4096, flags: ['--cache-ram', 0] }),
    rows: {
      chats: { unit: 'requests/s', better: 'more', ratio_min: 1.5 },
      completions: { unit: 'requests/s', better: 'more', ratio_min: 1.5 },
    },
    measures: [short_requests('chats', 'openai'), short_requests('completions', 'completions')],
  },
  f: {
    title: 'Eight streams held to a JSON schema among eight plain ones: 24 words in, 48 tokens out',
    model: '1b',
    settings: settings({ slots: 16, context: 2048 }),
    rows: { throughput: tokens_per_second(ratio_min(1)) },
    measures: [schema_streams(16, 2)],
  },
  g: {
    title: 'A prompt of 1,200 words, canceled half-way, then the same again',
    model: '1b',
    settings: settings({ slots: 8, context: 4096 }),
    rows: {
      'taken from the cache, of what was computed': share({ min: 0.95 }),
      'time in all, against a prompt that nobody cancels': { unit: 'times', better: 'less' },
    },
    measures: [canceled_prompt],
  },
  h: {
    title: 'A chat of 10 turns of 4 users on 2 slots',
    model: '1b',
    settings: settings({ slots: 2, context: 4096, flags: ['--cache-reuse', 64] }),
    rows: { 'prompt tokens from the cache, second turn on': share({ min: 0.9 }), 'time for all turns': seconds() },
    measures: [turns],
  },
};

// A case is measured with those of them that it has settings for.
export const columns = {
  drover: 'Drover',
  drover_800: 'DROVER_ITL_TARGET_MS=800',
  llama: 'llama-server',
  ollama_n: 'as Ollama starts it, N slots',
  ollama_1: 'as Ollama starts it, 1 slot',
};
