// What the tests of the OpenAI- and Anthropic-compatible faces share.
import { Stream, wait_until, without_end } from './harness.mjs';

export const capital_question = [{ role: 'user', content: 'What is the capital of Japan?' }];
export const capital_answer = 'The capital of Japan is Tokyo.';
export const weather_question = 'What is the weather in Tokyo?';
export const json_question = 'Ollama is 22 years old and is busy saving the world. Respond using JSON';
export const json_answer = { age: 22, available: false };
export const json_schema = {
  type: 'object',
  properties: { age: { type: 'integer' }, available: { type: 'boolean' } },
  required: ['age', 'available'],
  additionalProperties: false,
};

// cria's tools: the name, what it does, and its one parameter.
export const tools = [
  ['get_weather', 'Get the weather in a given city', 'city', 'The city to get the weather for'],
  ['get_time', 'Get the time in a given city', 'city', 'The city'],
].map(([name, description, parameter, meaning]) => ({
  name,
  description,
  schema: { type: 'object', properties: { [parameter]: { type: 'string', description: meaning } }, required: [parameter] },
}));

// Occupies the one slot of `endless` until it is closed.
export async function hold(server) {
  const holder = new Stream(
    server.call('POST', '/api/generate', { model: 'endless', prompt: 'Hello', options: { num_predict: without_end } }),
  );
  await holder.more(2);
  return holder;
}

export const state_of = async (server, name) =>
  (await server.get('/api/ps')).json.models.find((model) => model.name === `${name}:latest`) ?? {};

export const waiting = (server, count) =>
  wait_until(async () => (await state_of(server, 'endless')).waiting === count, `${count} requests wait`);

export const nobody_runs = (server) =>
  wait_until(async () => (await state_of(server, 'endless')).running === 0, 'the slot is free');

export async function all(stream) {
  const items = [];
  for await (const item of stream) items.push(item);
  return items;
}

// The events of a stream: [{event, data}], the data parsed; comments are left out.
export function parse_events(text) {
  return text
    .split('\n\n')
    .map((block) => block.split('\n').filter((line) => !line.startsWith(':')))
    .filter((lines) => lines.some((line) => line !== ''))
    .map((lines) => {
      const value = (name) => lines.find((line) => line.startsWith(`${name}: `))?.slice(name.length + 2);
      const data = value('data');
      return { event: value('event'), data: data === '[DONE]' ? data : JSON.parse(data) };
    });
}
