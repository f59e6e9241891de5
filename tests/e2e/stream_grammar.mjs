// Reads the streams of all faces by their published grammar, and fails at the first event that is out of order, has
// another's index or id, or says something else than what its parts made. Written from the dialects' own documents, and
// apart from Drover's code: agents give up on less.
import assert from 'node:assert/strict';

import { parse_events } from './faces.mjs';

const whole = (value, what) => assert.ok(Number.isInteger(value) && value >= 0, `${what} is a count: ${value}`);

function object_of(text, what) {
  let value;
  try {
    value = JSON.parse(text);
  } catch {
    assert.fail(`${what} are no JSON: ${text}`);
  }
  assert.ok(value !== null && typeof value === 'object' && !Array.isArray(value), `${what} are an object: ${text}`);
  return value;
}

// ---- OpenAI's Responses

// What can stand within an item: its parts, or one text that comes in pieces.
const inner_events = {
  message: { part: 'response.content_part', text: 'response.output_text', index: 'content_index' },
  reasoning: { part: 'response.reasoning_summary_part', text: 'response.reasoning_summary_text', index: 'summary_index' },
  function_call: { text: 'response.function_call_arguments', field: 'arguments' },
  custom_tool_call: { text: 'response.custom_tool_call_input', field: 'input' },
};

// The response with which a stream of /v1/responses ended. Items are those that were announced and done.
export function read_response(text) {
  const events = parse_events(text).map(({ event, data }, i) => {
    assert.equal(event, data.type, `event ${i} has its name`);
    assert.equal(data.sequence_number, i, `event ${i} has its number`);
    return data;
  });
  const [created, in_progress, ...rest] = events;
  const last = rest.pop();
  assert.equal(created?.type, 'response.created');
  assert.equal(in_progress?.type, 'response.in_progress');
  assert.ok(['response.completed', 'response.incomplete'].includes(last?.type), `the stream ends with ${last?.type}`);
  for (const { response } of [created, in_progress]) {
    assert.equal(response.id, last.response.id);
    assert.equal(response.status, 'in_progress');
    assert.deepEqual(response.output, []);
  }

  const items = [];
  while (rest.length > 0) items.push(read_item(rest, items.length));
  const { response } = last;
  assert.deepEqual(response.output, items, 'the output is what the stream said');
  assert.equal(`response.${response.status}`, last.type);
  assert.equal(new Set(items.map(({ id }) => id)).size, items.length, 'each item has an id of its own');
  const calls = calls_of(response);
  assert.equal(new Set(calls.map(({ call_id }) => call_id)).size, calls.length, 'each call has an id of its own');
  const { usage } = response;
  for (const name of ['input_tokens', 'output_tokens', 'total_tokens']) whole(usage[name], name);
  assert.equal(usage.total_tokens, usage.input_tokens + usage.output_tokens);
  whole(usage.input_tokens_details.cached_tokens, 'cached_tokens');
  whole(usage.output_tokens_details.reasoning_tokens, 'reasoning_tokens');
  return response;
}

export const calls_of = (response) => response.output.filter(({ call_id }) => call_id !== undefined);

function read_item(events, output_index) {
  const added = events.shift();
  assert.equal(added.type, 'response.output_item.added');
  assert.equal(added.output_index, output_index);
  const { type, id } = added.item;
  assert.ok(type in inner_events, `an item of the type ${type}`);
  assert.ok(id);
  const inner = inner_events[type];
  const next = (name) => {
    const event = events.shift();
    assert.equal(event?.type, name);
    assert.equal(event.item_id, id);
    assert.equal(event.output_index, output_index);
    return event;
  };
  const read_text = (index, field) => {
    let text = '';
    const fits = (event) => index === undefined || assert.equal(event[inner.index], index);
    while (events[0]?.type === `${inner.text}.delta`) {
      const event = next(`${inner.text}.delta`);
      fits(event);
      assert.equal(typeof event.delta, 'string');
      text += event.delta;
    }
    const done = next(`${inner.text}.done`);
    fits(done);
    assert.equal(done[field], text, 'the whole is what its pieces were');
    return text;
  };

  let said;
  if (inner.field !== undefined) {
    assert.ok(added.item.call_id && added.item.name, 'a call has its id and its name from the start');
    said = read_text(undefined, inner.field);
  } else {
    said = [];
    while (events[0]?.type === `${inner.part}.added`) {
      assert.equal(next(`${inner.part}.added`)[inner.index], said.length);
      const text = read_text(said.length, 'text');
      const done = next(`${inner.part}.done`);
      assert.equal(done[inner.index], said.length);
      assert.equal(done.part.text, text);
      said.push(text);
    }
  }

  const done = events.shift();
  assert.equal(done?.type, 'response.output_item.done');
  assert.equal(done.output_index, output_index);
  const { item } = done;
  assert.equal(item.id, id);
  assert.equal(item.type, type);
  if (type === 'message') {
    assert.equal(item.role, 'assistant');
    assert.deepEqual(item.content.map(({ text }) => text), said);
  } else if (type === 'reasoning') {
    assert.deepEqual(item.summary.map(({ text }) => text), said);
  } else {
    for (const name of ['call_id', 'name', 'namespace']) assert.equal(item[name], added.item[name], name);
    assert.equal(item[inner.field], said);
    if (type === 'function_call') object_of(item.arguments, 'the arguments');
  }
  return item;
}

// ---- Anthropic's Messages

const delta_of = { text: 'text_delta', thinking: 'thinking_delta', tool_use: 'input_json_delta' };

// The message that a stream of /v1/messages made, as the client keeps it.
export function read_message(text) {
  const events = parse_events(text)
    .map(({ event, data }, i) => {
      assert.equal(event, data.type, `event ${i} has its name`);
      return data;
    })
    .filter(({ type }) => type !== 'ping');
  const next = (type) => {
    const event = events.shift();
    assert.equal(event?.type, type);
    return event;
  };
  const { message } = next('message_start');
  assert.match(message.id, /^msg_/);
  assert.equal(message.type, 'message');
  assert.equal(message.role, 'assistant');
  assert.deepEqual(message.content, []);
  assert.equal(message.stop_reason, null);
  whole(message.usage.input_tokens, 'input_tokens');
  whole(message.usage.output_tokens, 'output_tokens');

  while (events[0]?.type === 'content_block_start') {
    const { index, content_block: block } = next('content_block_start');
    assert.equal(index, message.content.length);
    assert.ok(block.type in delta_of, `a block of the type ${block.type}`);
    let said = '';
    while (events[0]?.type === 'content_block_delta') {
      const event = next('content_block_delta');
      assert.equal(event.index, index);
      const { type, ...delta } = event.delta;
      if (type === 'signature_delta') {
        assert.equal(block.type, 'thinking');
        continue;
      }
      assert.equal(type, delta_of[block.type]);
      const [piece] = Object.values(delta);
      assert.equal(typeof piece, 'string');
      said += piece;
    }
    assert.equal(next('content_block_stop').index, index);
    if (block.type === 'tool_use') {
      assert.ok(block.id && block.name, 'a call has its id and its name from the start');
      assert.deepEqual(block.input, {}, 'the arguments come in pieces');
      block.input = object_of(said, 'the arguments');
    } else {
      assert.equal(block[block.type], '', 'the text comes in pieces');
      block[block.type] = said;
    }
    message.content.push(block);
  }

  const { delta, usage } = next('message_delta');
  whole(usage.output_tokens, 'output_tokens');
  next('message_stop');
  assert.deepEqual(events, [], 'nothing comes after the end');
  const calls = message.content.filter(({ type }) => type === 'tool_use');
  assert.equal(new Set(calls.map(({ id }) => id)).size, calls.length, 'each call has an id of its own');
  assert.ok(['end_turn', 'tool_use', 'max_tokens', 'stop_sequence'].includes(delta.stop_reason), delta.stop_reason);
  if (delta.stop_reason !== 'max_tokens') assert.equal(delta.stop_reason === 'tool_use', calls.length > 0);
  return { ...message, ...delta, usage: { ...message.usage, ...usage } };
}

// ---- OpenAI's Chat Completions

// The message that a stream of /v1/chat/completions made, with its finish_reason and usage.
export function read_completion(text, { include_usage = false } = {}) {
  const events = parse_events(text).map(({ data }) => data);
  assert.equal(events.pop(), '[DONE]', 'the stream says that it ends');
  const usage = include_usage ? events.pop() : undefined;
  if (include_usage) {
    assert.deepEqual(usage.choices, [], 'the last chunk has the usage and no choice');
    const { prompt_tokens, completion_tokens, total_tokens } = usage.usage;
    for (const count of [prompt_tokens, completion_tokens]) whole(count, 'usage');
    assert.equal(total_tokens, prompt_tokens + completion_tokens);
  }
  assert.ok(events.length > 0);
  const message = { role: undefined, content: '', reasoning: '', tool_calls: [] };
  let finish_reason = null;
  for (const chunk of events) {
    assert.equal(chunk.object, 'chat.completion.chunk');
    assert.equal(chunk.id, events[0].id);
    assert.equal(chunk.choices.length, 1);
    const [choice] = chunk.choices;
    assert.equal(choice.index, 0);
    assert.equal(finish_reason, null, 'nothing comes after the reason');
    const { role, content, reasoning, tool_calls = [] } = choice.delta;
    if (role !== undefined) assert.equal((message.role ??= role), 'assistant');
    if (content != null) message.content += content;
    if (reasoning != null) message.reasoning += reasoning;
    for (const { index, id, type, function: called } of tool_calls) {
      whole(index, 'the index of a call');
      if (index === message.tool_calls.length) {
        assert.ok(id && called.name, 'a call has its id and its name from the start');
        assert.equal(type, 'function');
        message.tool_calls.push({ id, type, function: { name: called.name, arguments: '' } });
      }
      assert.equal(index, message.tool_calls.length - 1, 'calls come one after the other');
      message.tool_calls[index].function.arguments += called.arguments ?? '';
    }
    finish_reason = choice.finish_reason ?? null;
  }
  assert.equal(message.role, 'assistant');
  assert.ok(['stop', 'length', 'tool_calls'].includes(finish_reason), `the reason is ${finish_reason}`);
  if (finish_reason !== 'length') assert.equal(finish_reason === 'tool_calls', message.tool_calls.length > 0);
  for (const call of message.tool_calls) object_of(call.function.arguments, 'the arguments');
  const ids = message.tool_calls.map(({ id }) => id);
  assert.equal(new Set(ids).size, ids.length, 'each call has an id of its own');
  return { message, finish_reason, usage: usage?.usage };
}

// ---- Ollama's chat

// The message that a stream of /api/chat made, with what its last line says.
export function read_chat(text) {
  const lines = text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line));
  const message = { role: 'assistant', content: '', thinking: '', tool_calls: [] };
  lines.forEach((line, i) => {
    assert.equal(line.done, i === lines.length - 1, 'the last line alone says that it is the last');
    assert.ok(Date.parse(line.created_at) > 0);
    assert.equal(line.message.role, 'assistant');
    assert.equal(typeof line.message.content, 'string');
    message.content += line.message.content;
    message.thinking += line.message.thinking ?? '';
    for (const call of line.message.tool_calls ?? []) {
      assert.ok(call.id && call.function.name, 'a call comes whole');
      assert.equal(call.function.index, message.tool_calls.length, 'calls have running numbers');
      assert.ok(typeof call.function.arguments === 'object' && !Array.isArray(call.function.arguments));
      message.tool_calls.push(call);
    }
  });
  const last = lines.at(-1);
  assert.ok(['stop', 'length'].includes(last.done_reason), `the reason is ${last.done_reason}`);
  for (const name of ['prompt_eval_count', 'eval_count', 'total_duration']) whole(last[name], name);
  return { ...last, message };
}
