// A server of the Model Context Protocol, over standard input and output, with one tool: node sky.mjs CALLS NAME, the file to
// which it appends a line for each call, and the tool's name.
import fs from 'node:fs';
import readline from 'node:readline';

const [calls, name] = process.argv.slice(2);
const tool = {
  name,
  description: 'Get the weather in a given city',
  inputSchema: {
    type: 'object',
    properties: { city: { type: 'string', description: 'The city to get the weather for' } },
    required: ['city'],
  },
  annotations: { readOnlyHint: true, destructiveHint: false, openWorldHint: false },
};

const answers = {
  initialize: ({ protocolVersion }) => ({
    protocolVersion,
    capabilities: { tools: {} },
    serverInfo: { name: 'sky', version: '1' },
  }),
  'tools/list': () => ({ tools: [tool] }),
  'tools/call': ({ arguments: { city } }) => {
    fs.appendFileSync(calls, `${city}\n`);
    return { content: [{ type: 'text', text: 'sunny' }] };
  },
};

for await (const line of readline.createInterface({ input: process.stdin })) {
  const { id, method, params } = JSON.parse(line);
  if (id === undefined) continue; // a notification
  const result = answers[method]?.(params) ?? {};
  process.stdout.write(`${JSON.stringify({ jsonrpc: '2.0', id, result })}\n`);
}
