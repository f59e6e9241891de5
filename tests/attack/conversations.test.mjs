// Conversations and prompts that are longer than the context. How they are cut: ../e2e/hostile.test.mjs.
import { attacks, mib, short } from './attack.mjs';

const go = '{{ range .Messages }}<|im_start|>{{ .Role }}\n{{ .Content }}<|im_end|>\n{{ end }}<|im_start|>assistant\n';
const prepare = async (server) => {
  await server.ok('/api/create', { model: 'go', from: 'cria', template: go, stream: false });
};
const conversation = (count, content = (i) => `${i} one two three one two three`) => [
  { role: 'system', content: 'Be brief.' },
  ...Array.from({ length: count - 1 }, (_, i) => ({ role: i % 2 ? 'assistant' : 'user', content: content(i) })),
  { role: 'user', content: 'Count to 3' },
];
const long = 63 * mib;
const statuses = [200, 400, 413];
const prompts = {
  'words, 63 MiB': () => 'one two three '.repeat(long / 14),
  'one word without an end, 63 MiB': () => 'a'.repeat(long),
  'one word without an end, 1 MiB': () => 'ab'.repeat(mib / 2),
  'no word at all, 8 MiB': () => ' \n\t'.repeat((8 * mib) / 3),
  'signs, 8 MiB': () => '!?#$%^&*(){}[]'.repeat((8 * mib) / 14),
  'emoji, 32 MiB': () => '😀👩‍👩‍👧'.repeat(mib),
  'marks of the template, 16 MiB': () => '<|im_start|>'.repeat((16 * mib) / 12),
  'halves of marks, 16 MiB': () => '<|im_'.repeat((16 * mib) / 5),
};
const turns = (count, model) => async (arena) => [(await arena.chat({ model, messages: conversation(count), options: { num_ctx: 2048 } })).status];

attacks('conversations', { slow: !short, prepare, gap: { cap_ms: 1000 } }, [
  ...[2000, 20_000].flatMap((count) =>
    ['cria', 'go'].map((model) => ({
      name: `${count} messages, ${model === 'go' ? "Go's template" : 'jinja'}`,
      short: count === 2000,
      status: statuses,
      within_s: 30,
      attack: turns(count, model),
    })),
  ),
  {
    name: '2,000 messages, 8 at the same time, again and again',
    short: true,
    status: statuses,
    within_s: 60,
    attack: (arena) => arena.statuses(Array.from({ length: 16 }, (_, i) => () => turns(2000, i % 2 ? 'cria' : 'go')(arena).then(([status]) => status)), 8),
  },
  {
    name: '100,000 messages that say nothing',
    status: statuses,
    memory_mib: 400,
    attack: async (arena) => [(await arena.chat({ messages: conversation(100_000, () => '') })).status],
  },
  {
    name: '300 messages of 200 KB',
    status: statuses,
    memory_mib: 640,
    attack: async (arena) => [(await arena.chat({ messages: conversation(300, () => 'one two '.repeat(25_000)) })).status],
  },
  {
    name: '2,000 messages with tools, thoughts and calls',
    status: statuses,
    attack: async (arena) => {
      const messages = conversation(2000).flatMap((message, i) =>
        i % 4 === 2
          ? [
              { role: 'assistant', content: '', thinking: 'Let me see. '.repeat(20), tool_calls: [{ function: { name: 'f', arguments: { a: i } } }] },
              { role: 'tool', tool_name: 'f', content: `${i}` },
            ]
          : [message],
      );
      const tools = [{ type: 'function', function: { name: 'f', parameters: { type: 'object', properties: { a: { type: 'integer' } } } } }];
      return [(await arena.chat({ messages, tools })).status, (await arena.chat({ messages, tools, truncate: false })).status];
    },
  },
  ...Object.entries(prompts).map(([name, make]) => ({
    name: `a prompt: ${name}`,
    short: ['one word without an end, 1 MiB', 'words, 63 MiB'].includes(name),
    status: statuses,
    memory_mib: 640,
    within_s: 45,
    attack: async (arena) => {
      const prompt = make();
      return arena.statuses([() => arena.generate({ prompt }), () => arena.generate({ prompt, raw: true }), () => arena.chat({ messages: [{ role: 'user', content: prompt }] })]);
    },
  })),
  {
    name: 'a stop, a suffix, a system and a prefix of 10 MiB',
    status: statuses,
    attack: (arena) => {
      const text = 'one two three '.repeat((10 * mib) / 14);
      return arena.statuses([
        () => arena.generate({ options: { stop: [text] } }),
        () => arena.generate({ options: { stop: Array.from({ length: 100_000 }, (_, i) => `stop ${i}`) } }),
        () => arena.generate({ suffix: text }),
        () => arena.generate({ system: text }),
        () => arena.generate({ context: Array(500_000).fill(5) }),
        () => arena.generate({ context: [-1, 1e9, 0.5] }),
        () => arena.chat({ messages: [{ role: 'user', content: 'x' }, { role: 'assistant', content: text }] }),
      ]);
    },
  },
  {
    name: 'to embed: 63 MiB, and 20,000 texts',
    status: [200, 400, 413, 501],
    memory_mib: 640,
    within_s: 120,
    attack: (arena) => {
      const embed = (input) => () => arena.ask('POST', '/api/embed', { model: 'cria', input });
      return arena.statuses([embed('one two three '.repeat(long / 14)), embed(Array(20_000).fill('x')), embed('a'.repeat(8 * mib))]);
    },
  },
  {
    name: 'clients that leave while their prompt is read',
    short: true,
    attack: async (arena) => {
      const prompt = 'one two three '.repeat((16 * mib) / 14);
      for (let i = 0; i < 5; i++) {
        const answer = arena.generate({ prompt, options: { num_ctx: 2048 } });
        await new Promise((resolve) => setTimeout(resolve, 300));
        arena.leave();
        await answer;
      }
      return [];
    },
  },
]);
