// What the chat templates in a folder make of the conversations in conversations.json, by a renderer that is not ours:
// @huggingface/jinja. Prints one JSON document, see the end. Usage: node expected.mjs FOLDER [NAME.jinja…]
//
// Where a template refuses a conversation, or leaves out what a message says, a user still wants an answer. So each
// conversation is tried in forms that say the same, the least changed first, and the first that the template takes is
// what is expected.
import { readFileSync, readdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const beside = createRequire(new URL('../e2e/package.json', import.meta.url));
const { Template } = await import(pathToFileURL(beside.resolve('@huggingface/jinja')).href);

// cria's.
const bos_token = '<|endoftext|>';
const eos_token = '<|im_end|>';
// Stands for the day, and is followed by its strftime() form.
const day = (form) => `\u0002${form}\u0002`;
const { tools, conversations } = JSON.parse(readFileSync(new URL('conversations.json', import.meta.url), 'utf8'));

class Refusal extends Error {}

// ---- rendering

// What this renderer cannot read, in words that it can. The names of two functions that it brings itself are changed, so
// that ours are called.
const aids = [
  ['strftime_now', 'day_of'],
  ['raise_exception', 'refuse'],
  [/'([^'{}]*)\{\}([^'{}]*)'\.format\((\w+)\)/g, "('$1' + $3 + '$2')"],
  [/^( +)(\d+):( +-?\d+),?$/gm, '$1"$2":$3,'], // keys that are numbers
  ['tool|string', 'in_python(tool)'],
  ['thinking_budget <= k', 'thinking_budget <= k|int'],
  [/\{%- set _ = ([\w.]+)\.append\((\w+)\) -%\}/g, '{%- set $1 = $1 + [$2] -%}'],
  [/\{%- set (\w+) = ([\w.]+)\.pop\(0\) -%\}/g, '{%- set $1 = $2[0] -%}{%- set $2 = $2[1:] -%}'],
  [/(?<=\[|, )\("(\w+)", ("[\w ]+")\)/g, '["$1", $2]'], // pairs in a list
  [/\[(\w+), (\w+)\]\|min\b/g, '($1 if $1 < $2 else $2)'],
];

// A dictionary as Python's str() writes it. Values come as the renderer has them.
function in_python(value) {
  if (value instanceof Map) return `{${[...value].map(([key, of]) => `'${key}': ${in_python(of.value)}`).join(', ')}}`;
  if (Array.isArray(value)) return `[${value.map((of) => in_python(of.value)).join(', ')}]`;
  return typeof value === 'string' ? `'${value}'` : String(value);
}

// The names that templates have for the same switch.
const switches = (on) => ({ enable_thinking: on, thinking: on, thinking_mode: on ? 'enabled' : 'disabled' });

function compile(source) {
  const named = aids.reduce((text, [from, to]) => text.replaceAll(from, to), source);
  const template = new Template(named);
  const refuse = (text) => {
    throw new Refusal(text);
  };
  const globals = { bos_token, eos_token, day_of: day, refuse, in_python, date_string: day('%d %b %Y'), datetime: day('%b %d %Y') };
  const render = (messages, more) => template.render({ ...globals, messages, ...more });
  return (messages, { thinking, tools, ask = true } = {}) => {
    const more = { add_generation_prompt: ask };
    if (thinking !== undefined) Object.assign(more, switches(thinking));
    if (tools) more.tools = tools;
    try {
      return { text: render(messages, more) };
    } catch (error) {
      if (error instanceof Refusal) return { refused: error.message };
      // Python's undefined is an empty list to a loop; this renderer's is an error.
      if (tools === undefined) {
        try {
          return { text: render(messages, { ...more, tools: [] }) };
        } catch (again) {
          if (again instanceof Refusal) return { refused: again.message };
        }
      }
      return { failed: error.message };
    }
  };
}

// ---- forms of a conversation that say the same

const is_system = ({ role }) => role === 'system' || role === 'developer';
const as_system = (message) => (message.role === 'developer' ? { ...message, role: 'system' } : message);
const with_thought_as_part = ({ reasoning_content: thinking, content, ...message }) =>
  thinking
    ? { ...message, content: [{ type: 'thinking', thinking }, ...(content ? [{ type: 'text', text: content }] : [])] }
    : { ...message, content };
const joined = (a, b) => `${a}\n\n${b}`;

// {merge}: leading system messages become one. {later}: later ones become user messages, "joined": parts of the user
// message beside them. {front}: the leading text goes before the first user message.
function rearranged(messages, { merge, later, front }) {
  const first = messages.findIndex((message) => !is_system(message));
  let lead = messages.slice(0, first < 0 ? messages.length : first);
  let rest = messages.slice(lead.length);
  if (lead.length > 1 && (merge || front)) lead = [{ ...lead[0], content: lead.map((m) => m.content).reduce(joined) }];
  if (later) {
    rest = rest.map((message) => (is_system(message) ? { role: 'user', content: message.content, moved: true } : message));
  }
  if (later === 'joined') {
    const out = [];
    for (const message of rest) {
      const before = out.at(-1);
      if (before?.role === 'user' && message.role === 'user' && (before.moved || message.moved)) {
        out[out.length - 1] = { ...before, content: joined(before.content, message.content) };
      } else {
        out.push(message);
      }
    }
    rest = out;
  }
  rest = rest.map(({ moved, ...message }) => message);
  if (front && lead.length) {
    const user = rest.findIndex(({ role }) => role === 'user');
    const [{ content }] = lead;
    lead = [];
    rest =
      user < 0
        ? [{ role: 'user', content }, ...rest]
        : rest.map((m, i) => (i === user ? { ...m, content: joined(content, m.content) } : m));
  }
  return [...lead, ...rest];
}

// Messages of several calls as several messages, each with its result.
function one_by_one(messages) {
  return messages.flatMap((message, at) => {
    if (message.role === 'tool') return [];
    if (!message.tool_calls) return [message];
    const end = messages.findIndex(({ role }, i) => i > at && role !== 'tool');
    const results = messages.slice(at + 1, end < 0 ? messages.length : end);
    return message.tool_calls.flatMap((call, i) => [{ ...message, tool_calls: [call] }, results[i]]);
  });
}

const orders = [
  {},
  { merge: true },
  { later: 'own' },
  { merge: true, later: 'own' },
  { later: 'joined' },
  { merge: true, later: 'joined' },
  { front: true, later: 'own' },
  { front: true, later: 'joined' },
];

function* forms(messages, knows_developer) {
  const simple = messages.map(as_system);
  const starts = knows_developer && messages.some((m) => m.role === 'developer') ? [messages, simple] : [simple];
  const systems = messages.some(is_system);
  const calls = messages.some((m) => m.tool_calls);
  const several = messages.some((m) => m.tool_calls?.length > 1);
  for (const start of starts) {
    for (const order of systems ? orders : orders.slice(0, 1)) {
      // Some show a message's calls only if it has no content, not even an empty one.
      for (const said of calls ? ['text', 'parts', 'null'] : ['text', 'parts']) {
        for (const ids of calls ? ['kept', 'mapped'] : ['kept']) {
          for (const strings of calls ? [false, true] : [false]) {
            for (const split of several ? [false, true] : [false]) {
              const form = rearranged(split ? one_by_one(start) : start, order);
              yield { messages: written(form, { said, ids, strings }), how: { ...order, said, ids, strings, split } };
            }
          }
        }
      }
    }
  }
}

// Ids of nine letters and digits, which every template takes; arguments as objects or as text; the name of the tool
// beside its result; thinking by both of the names that templates use.
function written(messages, { said, ids, strings }) {
  const calls = messages.flatMap((m) => m.tool_calls ?? []);
  const id_at = (i) => (ids === 'mapped' || !calls[i].id ? `madeid00${i + 1}` : calls[i].id);
  let called = 0;
  let answered = 0;
  return messages.map((message) => {
    const out = { ...message };
    if (message.role === 'tool') {
      const at = message.tool_call_id ? calls.findIndex(({ id }) => id === message.tool_call_id) : answered++;
      out.tool_call_id = id_at(at);
      out.name = calls[at].function.name;
      delete out.tool_name;
    }
    if (message.tool_calls) {
      out.tool_calls = message.tool_calls.map((call) => ({
        id: id_at(called++),
        type: 'function',
        function: {
          name: call.function.name,
          arguments: strings ? call.function.arguments : JSON.parse(call.function.arguments),
        },
      }));
    }
    if (message.reasoning_content) out.thinking = message.reasoning_content;
    if (said === 'parts' && !Array.isArray(out.content)) out.content = message.content ? [{ type: 'text', text: message.content }] : [];
    if (said === 'null' && !message.content) out.content = null;
    return out;
  });
}

// ---- what a template takes

const told = (content) => (Array.isArray(content) ? content.map(({ text = '' }) => text).join('') : (content ?? ''));

// What of the messages is not in the text. A call counts as there if its name and its arguments' values are, unescaped.
function missing(text, messages) {
  const gone = [];
  for (const { role, content, tool_calls = [] } of messages) {
    const said = told(content);
    if (!text.includes(said)) gone.push(role);
    for (const { function: of } of tool_calls) {
      const all = typeof of.arguments === 'string' ? JSON.parse(of.arguments) : of.arguments;
      const there = text.includes(of.name) && Object.values(all).every((value) => text.includes(value));
      if (!there || /\[object |\\"city|'city'/.test(text)) gone.push('call');
    }
  }
  return gone;
}

// Whether it does something with the role "developer" that it does not do with a role that nobody has heard of.
function knows_developer(render) {
  const shown = (role) => {
    const hello = { role: 'user', content: 'Hello' };
    const { text, refused, failed } = render([{ role, content: 'Be brief.' }, hello]);
    return (text ?? refused ?? failed).replaceAll(role, '?');
  };
  const developer = shown('developer');
  return developer.includes('Be brief.') && developer !== shown('zzrole');
}

// {text} or {error}; {how} tells what was changed. Ids in the text are numbers between \u0001. {or}: as good. Where nobody
// says whether to think, a model may be left to its habit, or not think; a developer's text may be the system's, also
// where the template has a role for it; and a thought, which most templates leave out later, may be shown.
function expected(render, conversation, knows) {
  const answer = taken(render, conversation, knows);
  const others = [];
  if (conversation.thinking === null) others.push({ ...conversation, thinking: false });
  if (knows && conversation.messages.some(({ role }) => role === 'developer')) {
    others.push({ ...conversation, messages: conversation.messages.map(as_system) });
  }
  if (conversation.messages.some((message) => message.reasoning_content)) {
    others.push({ ...conversation, messages: conversation.messages.map(with_thought_as_part) });
  }
  for (const other of others) {
    const { text, lost } = taken(render, other, knows);
    if (text && !lost && !text[0].includes('"type": "thinking"')) answer.or = [...(answer.or ?? []), ...text];
  }
  return answer;
}

function taken(render, { messages, thinking = false, tools: with_tools }, knows) {
  const options = { thinking: thinking ?? undefined, tools: with_tools ? tools : undefined };
  const begun = messages.at(-1).role === 'assistant';
  let least; // the form that loses least, if each loses something
  let error;
  for (const { messages: form, how } of forms(messages, knows)) {
    const { text, refused, failed } = render(form, begun ? { ...options, ask: false } : options);
    if (text === undefined) {
      error ??= { error: refused ?? failed, by: refused === undefined ? 'renderer' : 'template' };
      continue;
    }
    const lost = missing(text, form);
    const answer = { text: begun ? continued(text, form) : text, how: changes(how) };
    if (begun) answer.or = openings(render, form, options);
    for (const part of ['text', 'or']) {
      if (part in answer) answer[part] = [answer[part]].flat().map((t) => with_ids_numbered(t, form));
      // What is said is no thought.
      if (begun) answer[part] = answer[part].filter((t) => !in_thought.test(t.slice(0, -told(form.at(-1).content).length)));
    }
    if (!lost.length) return answer;
    if (!least || lost.length < least.lost.length) least = { ...answer, lost };
  }
  return least ?? error;
}

const changes = (how) => Object.fromEntries(Object.entries(how).filter(([, value]) => value && value !== 'kept' && value !== 'text'));

function with_ids_numbered(text, form) {
  const ids = form.flatMap((m) => (m.tool_calls ?? []).map(({ id }) => id));
  return ids.reduce((all, id, at) => all.replaceAll(id, `\u0001${at}\u0001`), text);
}

const in_thought = /(<[\w:]*think>|<\|START_THINKING\|>|<\|open\|>think<\|sep\|>|\[THINK\])\s*$/;

// A begun answer: all up to the end of what was said.
function continued(text, form) {
  const said = told(form.at(-1).content);
  return text.slice(0, text.lastIndexOf(said) + said.length);
}

// The same, as what a model would have to write after the prompt for an answer.
function openings(render, form, options) {
  const { text } = render(form.slice(0, -1), options);
  if (text === undefined) return [];
  const said = told(form.at(-1).content);
  return ['', '</think>', '</think>\n', '</think>\n\n', '\n</think>\n\n', '\n</think>\n'].map((end) => text + end + said);
}

// ---- what a model writes

const call = {
  role: 'assistant',
  content: '',
  tool_calls: [{ id: 'abcdefgh1', function: { name: 'get_weather', arguments: '{"city": "Roma", "days": 35}' } }],
};
const question = { role: 'user', content: 'How is the weather in Rome?' };
const thought = 'hmm';

// How far two texts are the same, to the beginning of a tag.
function common(a, b) {
  let at = 0;
  while (at < a.length && a[at] === b[at]) at++;
  const same = a.slice(0, at);
  return at < a.length && same.lastIndexOf('<') > same.lastIndexOf('>') ? same.lastIndexOf('<') : at;
}

// Tokens that end a turn where the end after a call is another than after content. The server never sees more.
const turn_ends = [eos_token, '<|eom_id|>', '<|call|>', '<|calls|>', '<|end_of_msg|>', '<|END_OF_TURN_TOKEN|>'];
turn_ends.push('<｜hy_eos:opensource｜>', '<｜end▁of▁sentence｜>', '<|tool_response>', '[e~[', '<SPECIAL_12>', '</assistant>');

// The text that the template puts where the model's answer belongs, without the end of the turn.
function output(render, answer, options, ending) {
  let error;
  for (const { messages } of forms([question, answer], false)) {
    const before = render(messages.slice(0, 1), options);
    const after = render(messages, { ...options, ask: false });
    if (after.text === undefined || before.text === undefined) {
      error ??= after.refused ?? after.failed ?? before.refused ?? before.failed;
      continue;
    }
    if (missing(after.text, messages).length) {
      error ??= 'the answer is left out';
      continue;
    }
    const same = common(before.text, after.text);
    let text = after.text.slice(same);
    const tail = before.text.slice(same);
    if (in_thought.test(before.text) && !answer.reasoning_content && !text.includes('think')) {
      error ??= 'the prompt begins a thought, and there is none';
      continue;
    }
    const closes = /(<\/think>|<channel\|>)\s*$/.test(tail);
    const thinks = answer.reasoning_content !== undefined;
    if (thinks && /<think>\s*$/.test(tail) && !text.includes(thought)) {
      text = `${thought}\n</think>\n\n${text.trimStart()}`; // the prompt begins a thought, the history leaves it out
    } else if (tail && (thinks || !closes)) {
      error ??= 'the template writes the history in another way than it asks for an answer';
      continue; // and not just by another way to say that there was no thought
    } else if (closes) {
      text = text.replace(/^\s*(<think>\s*)?<\/think>\s*/, '');
    }
    if (ending && text.endsWith(ending)) text = text.slice(0, -ending.length);
    const ends = turn_ends.map((token) => text.indexOf(token)).filter((at) => at >= 0);
    return { text: text.slice(0, Math.min(text.length, ...ends)).replace(/\s*<\|end\|>\s*$/, '') };
  }
  return { error };
}

function outputs(render, takes_tools) {
  const result = {};
  const paris = { role: 'assistant', content: 'Paris.' };
  for (const [mode, thinking] of Object.entries({ off: false, on: true })) {
    const plain = output(render, paris, { thinking });
    const after = plain.text?.lastIndexOf('Paris.') + 'Paris.'.length;
    const ending = plain.text?.slice(after);
    const of = { content: plain.text === undefined ? plain : { text: plain.text.slice(0, after) } };
    of.thinking = output(render, { ...paris, reasoning_content: thought }, { thinking }, ending);
    if (takes_tools) {
      of.tool_call = output(render, call, { thinking, tools }, ending);
      of.thinking_and_tool_call = output(render, { ...call, reasoning_content: thought }, { thinking, tools }, ending);
    }
    for (const [kind, { text }] of Object.entries(of)) {
      if (kind.startsWith('thinking') && text && !text.includes(thought)) of[kind] = { error: 'thinking is left out' };
    }
    result[mode] = of;
  }
  return result;
}

// ---- all of them

const [folder, ...names] = process.argv.slice(2);
const all = {};
for (const name of names.length ? names : readdirSync(folder).filter((file) => file.endsWith('.jinja')).sort()) {
  let render;
  try {
    render = compile(readFileSync(`${folder}/${name}`, 'utf8'));
  } catch (error) {
    all[name] = { error: error.message };
    continue;
  }
  const knows = knows_developer(render);
  const prompts = Object.fromEntries(conversations.map((each) => [each.name, expected(render, each, knows)]));
  const takes_tools = prompts['call and result'].text !== undefined && !prompts['call and result'].lost;
  all[name] = { knows_developer: knows, prompts, takes_tools, outputs: outputs(render, takes_tools) };
}
// {NAME.jinja: {error} or {knows_developer, takes_tools, prompts: {CONVERSATION: {text: [...], or, how, lost} or {error,
// by}}, outputs: {off, on: {content, thinking, tool_call, thinking_and_tool_call: {text} or {error}}}}}
process.stdout.write(JSON.stringify(all, null, 1) + '\n');
