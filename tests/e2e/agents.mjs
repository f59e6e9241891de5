// What agents and applications send, recorded from each and made anew in words of our own: the fields and their types,
// the forms of tools and results, the headers are theirs. One tool is cria's own, get_weather.
//
// Each dialect says how a call of it is forced, and how an agent repeats what it was answered: `results` after calls,
// `question` after words.

const text = { type: 'string', description: 'A text' };
const number = { type: 'number', description: 'A number' };
const flag = { type: 'boolean', description: 'Yes or no' };
const object = (properties, required, more = { additionalProperties: false }) => ({
  type: 'object',
  properties,
  required,
  ...more,
});
const draft = { $schema: 'https://json-schema.org/draft/2020-12/schema' };
const greatest = Number.MAX_SAFE_INTEGER;
const weather = { name: 'get_weather', description: 'Get the weather in a given city', schema: object({ city: text }, ['city']) };
export const question = 'What is the weather in Tokyo?';
export const result = 'sunny';
export const next_question = 'What is the capital of Japan?';
const instructions = 'You are Cria, who works in a terminal. Be brief.';
const opening = [
  { role: 'system', content: instructions },
  { role: 'user', content: question },
];
const session = '01a2b3c4-d5e6-7f80-91a2-b3c4d5e6f708';

// ---- OpenAI's Responses: Codex

const response_function = ({ name, description, schema }) => ({
  type: 'function',
  name,
  description,
  strict: false,
  parameters: schema,
});
export const codex_namespace = {
  type: 'namespace',
  name: 'mcp__sky',
  description: 'What the server sky offers.',
  tools: [response_function(weather)],
};
export const codex_patch = {
  type: 'custom',
  name: 'apply_patch',
  description: 'Changes files. The input is no JSON.',
  format: { type: 'grammar', syntax: 'lark', definition: 'start: "*** Begin" LF /(.+)/ LF\n%import common.LF\n' },
};
const codex_message = (role, ...texts) => ({
  type: 'message',
  id: `msg_${session.replace('01a2', role.slice(0, 4))}`,
  role,
  content: texts.map((text) => ({ type: role === 'assistant' ? 'output_text' : 'input_text', text })),
});
export const codex_tools = [
  response_function({
    name: 'exec_command',
    description: 'Runs a command.',
    schema: object(
      {
        cmd: text,
        login: flag,
        max_output_tokens: number,
        prefix_rule: { type: 'array', description: 'Words', items: { type: 'string' } },
        sandbox_permissions: { ...text, enum: ['use_default', 'require_escalated'] },
      },
      ['cmd'],
    ),
  }),
  response_function({ name: 'view_image', description: 'Shows a picture.', schema: object({ path: text }, ['path']) }),
  {
    type: 'namespace',
    name: 'agents_v1',
    description: 'Helpers.',
    tools: [
      response_function({
        name: 'send_input',
        description: 'Tells a helper something.',
        schema: object({ target: text, items: { type: 'array', items: object({ text, path: text }, undefined) } }, ['target']),
      }),
    ],
  },
  response_function({ name: 'get_goal', description: 'Tells the goal.', schema: object({}, undefined) }),
  response_function(weather),
  { type: 'web_search', external_web_access: true },
];

export const codex = {
  agent: 'Codex 0.171',
  dialect: 'responses',
  headers: {
    accept: 'text/event-stream',
    'accept-encoding': 'zstd,gzip',
    originator: 'codex_exec',
    'session-id': session,
    'thread-id': session,
    'user-agent': 'codex_exec/0.171.0 (Debian 12.0.0; x86_64) xterm (codex_exec; 0.171.0)',
    'x-client-request-id': session,
    'x-codex-beta-features': 'remote_compaction_v2',
    'x-codex-turn-metadata': JSON.stringify({ session_id: session, window_number: 0, workspaces: { '/work': {} } }),
    'x-codex-window-id': `${session}:0`,
  },
  body: {
    stream: true,
    input: [
      codex_message('developer', instructions),
      codex_message('developer', 'There are no skills.', 'Files may be read, not written.'),
      codex_message('user', '/work'),
      codex_message('user', question),
    ],
    tools: codex_tools,
    tool_choice: 'auto',
    parallel_tool_calls: true,
    reasoning: { summary: 'auto' },
    store: false,
    include: ['reasoning.encrypted_content'],
    prompt_cache_key: session,
    client_metadata: { session_id: session, turn_id: session },
  },
};

export const codex_with_its_own_model = {
  ...codex,
  agent: 'Codex 0.171 with a name that it knows',
  body: {
    ...codex.body,
    tools: [
      ...codex_tools.slice(0, -1),
      codex_patch,
      {
        type: 'tool_search',
        execution: 'client',
        description: 'Finds tools.',
        parameters: object({ query: text, limit: number }, ['query']),
      },
      { type: 'web_search', external_web_access: true, search_content_types: ['text', 'image'] },
    ],
    reasoning: { effort: 'medium' },
    text: { verbosity: 'low' },
  },
};

// What a session's file can hold from other days: calls of both names, a call that was cut off, a tool that is gone, a
// patch, a search that ran elsewhere, a thought.
export const codex_history = [
  { type: 'function_call', status: 'completed', id: 'fc_1', name: 'send_input', namespace: 'agents_v1', arguments: '{"target":"a"}', call_id: 'call_1' },
  { type: 'function_call_output', id: 'fco_1', call_id: 'call_1', output: 'there is no such helper' },
  { type: 'function_call', status: 'completed', id: 'fc_2', name: 'exec_command', arguments: '{"cmd":"ec', call_id: 'call_2' },
  { type: 'function_call_output', id: 'fco_2', call_id: 'call_2', output: 'failed to parse the arguments' },
  { type: 'function_call', status: 'completed', id: 'fc_3', name: 'gone', arguments: '', call_id: 'call_3' },
  { type: 'function_call_output', id: 'fco_3', call_id: 'call_3', output: [{ type: 'input_text', text: 'unsupported call' }] },
  { type: 'custom_tool_call', status: 'completed', id: 'ctc_4', name: 'apply_patch', input: '*** Begin\n+hello\n', call_id: 'call_4' },
  { type: 'custom_tool_call_output', id: 'ctco_4', call_id: 'call_4', output: 'done' },
  { type: 'web_search_call', id: 'ws_5', status: 'completed', action: { type: 'search', query: 'weather', queries: ['weather'] } },
  { type: 'reasoning', id: 'rs_6', summary: [{ type: 'summary_text', text: 'I know this.' }], encrypted_content: 'I know this.' },
  { ...codex_message('assistant', 'All done.'), status: 'completed' },
];

// ---- Anthropic's Messages: Claude Code

const cached = { cache_control: { type: 'ephemeral' } };
const claude_text = (text, more = {}) => ({ type: 'text', text, ...more });
const claude_tool = ({ name, description, schema }) => ({ name, description, input_schema: { ...draft, ...schema } });

// The first system block as the agent makes it: three figures of the version change with each first question.
const billing = (figures) => claude_text(`x-anthropic-billing-header: cc_version=2.1.197.${figures}; cc_entrypoint=sdk-cli;`);

export const claude_code = {
  agent: 'Claude Code 2.1',
  dialect: 'messages',
  headers: {
    authorization: 'Bearer ollama',
    'accept-encoding': 'gzip, deflate, br, zstd',
    'anthropic-beta': 'interleaved-thinking-2025-05-14,mid-conversation-system-2026-04-07,effort-2025-11-24',
    'anthropic-dangerous-direct-browser-access': 'true',
    'anthropic-version': '2023-06-01',
    'user-agent': 'claude-cli/2.1.197 (external, sdk-cli)',
    'x-app': 'cli',
    'x-claude-code-session-id': session,
    'x-stainless-retry-count': '0',
  },
  body: {
    messages: [
      { role: 'user', content: [claude_text('<system-reminder>Hello</system-reminder>'), claude_text(question, cached)] },
      { role: 'system', content: 'There are no helpers.' },
    ],
    system: [billing('3bb'), claude_text(instructions, cached), claude_text('\nCommands run in /work.', cached)],
    tools: [
      claude_tool({
        name: 'Bash',
        description: 'Runs a command.',
        schema: object({ command: text, timeout: number, run_in_background: flag }, ['command']),
      }),
      claude_tool({
        name: 'Read',
        description: 'Reads a file.',
        schema: object(
          {
            file_path: text,
            offset: { type: 'integer', minimum: 0, maximum: greatest },
            limit: { type: 'integer', exclusiveMinimum: 0, maximum: greatest },
          },
          ['file_path'],
        ),
      }),
      claude_tool({
        name: 'TaskUpdate',
        description: 'Changes a task.',
        schema: object(
          {
            taskId: text,
            status: { anyOf: [{ type: 'string', enum: ['pending', 'completed'] }, { type: 'string', const: 'deleted' }] },
            line: { type: 'integer', minimum: -greatest, maximum: greatest },
            metadata: { type: 'object', propertyNames: { type: 'string' }, additionalProperties: {} },
            all: { default: false, type: 'boolean' },
          },
          ['taskId'],
        ),
      }),
      claude_tool({ name: 'CronList', description: 'Lists tasks.', schema: object({}, undefined) }),
      claude_tool(weather),
    ],
    metadata: { user_id: JSON.stringify({ device_id: '00ff', account_uuid: '', session_id: session }) },
    max_tokens: 32000,
    thinking: { type: 'adaptive' },
    context_management: { edits: [{ type: 'clear_thinking_20251015', keep: 'all' }] },
    output_config: { effort: 'high' },
    stream: true,
  },
};

// The same agent asks another question first: nothing but the three figures and the question differs.
export const claude_code_otherwise = (first_question) => ({
  ...claude_code.body,
  system: [billing('66a'), ...claude_code.body.system.slice(1)],
  messages: [
    { role: 'user', content: [claude_code.body.messages[0].content[0], claude_text(first_question, cached)] },
    claude_code.body.messages[1],
  ],
});

// Its search is a request of its own, with a tool that the server is to run.
export const claude_code_search = {
  system: [billing('3d9'), claude_text('You search.')],
  messages: [{ role: 'user', content: [claude_text('Search for the weather.')] }],
  tools: [{ type: 'web_search_20250305', name: 'web_search', max_uses: 8 }],
  tool_choice: { type: 'auto' },
  metadata: claude_code.body.metadata,
  max_tokens: 32000,
  output_config: { effort: 'high' },
  stream: true,
};

// A helper that it started, after a result: the last message is one of the system. Before it, what sessions hold that
// began with another server.
const tool_use = (id, name, input) => ({ type: 'tool_use', id, name, input });
const tool_result = (tool_use_id, content, more = {}) => ({ tool_use_id, type: 'tool_result', content, ...more });
export const claude_code_history = [
  { role: 'user', content: 'Hello' },
  {
    role: 'assistant',
    content: [
      { type: 'thinking', thinking: 'I search first.', signature: 'c2lnbmVk' },
      { type: 'redacted_thinking', data: 'c2VjcmV0' },
      { type: 'server_tool_use', id: 'srvtoolu_1', name: 'web_search', input: { query: 'weather' } },
      {
        type: 'web_search_tool_result',
        tool_use_id: 'srvtoolu_1',
        content: [{ type: 'web_search_result', title: 'Sky', url: 'http://sky.test/', encrypted_content: 'eA==', page_age: null }],
      },
      claude_text('Now the tools.'),
      tool_use('toolu_1', 'ToolSearch', { query: 'select:Read' }),
      tool_use('toolu_2', 'Bash', { command: 'pwd' }),
      tool_use('toolu_3', 'Read', { file_path: '/home/ben/a.pdf' }),
    ],
  },
  {
    role: 'user',
    content: [
      tool_result('toolu_1', [{ type: 'tool_reference', tool_name: 'Read' }]),
      tool_result('toolu_2', 'You may not do that.', { is_error: true }),
      tool_result('toolu_3', [
        claude_text('Two pages'),
        { type: 'document', source: { type: 'text', media_type: 'text/plain', data: 'Ana: 417' }, title: 'a.pdf' },
      ]),
      { type: 'document', source: { type: 'text', media_type: 'text/plain', data: 'Ben: 902' } },
      { type: 'a_block_of_next_year', value: 1 },
      claude_text(question),
    ],
  },
  { role: 'assistant', content: [tool_use('toolu_4', 'get_weather', { city: 'Tokyo' })] },
  { role: 'user', content: [tool_result('toolu_4', [claude_text(result), claude_text('agentId: a2')], cached)] },
  { role: 'system', content: 'There are no helpers.' },
];

// ---- OpenAI's Chat Completions: OpenCode, Qwen Code, Continue

const chat_tool = ({ name, description, schema }) => ({ type: 'function', function: { name, description, parameters: schema } });
const stainless = { accept: 'application/json', authorization: 'Bearer ollama', 'x-stainless-lang': 'js', 'x-stainless-retry-count': '0' };

export const opencode = {
  agent: 'OpenCode 1.18',
  dialect: 'completions',
  empty: '', // what stands beside calls as their message's content
  content: (text) => text,
  headers: { 'user-agent': 'opencode/1.18.33', 'x-session-affinity': 'ses_1', 'x-session-id': 'ses_1', 'accept-encoding': 'gzip, deflate, br, zstd' },
  body: {
    max_tokens: 8192,
    messages: opening,
    tools: [
      chat_tool({
        name: 'bash',
        description: 'Runs a command.',
        schema: {
          ...draft,
          ...object({ command: text, timeout: { type: 'integer', minimum: -greatest, exclusiveMinimum: 0, maximum: greatest } }, ['command'], {}),
        },
      }),
      chat_tool({ name: 'read', description: 'Reads a file.', schema: { ...draft, ...object({ filePath: text }, ['filePath'], {}) } }),
      chat_tool(weather),
    ],
    tool_choice: 'auto',
    stream: true,
    stream_options: { include_usage: true },
  },
};

// Beside its first question it asks for a title: two messages of the user, one after the other.
export const opencode_title = {
  max_tokens: 8192,
  messages: [
    { role: 'system', content: 'You make titles.' },
    { role: 'user', content: 'Make a title for this:\n' },
    { role: 'user', content: question },
  ],
  stream: true,
  stream_options: { include_usage: true },
};

const qwen_code = {
  agent: 'Qwen Code 0.15',
  dialect: 'completions',
  empty: null,
  content: (text) => [{ type: 'text', text }],
  headers: { ...stainless, 'user-agent': 'QwenCode/0.15.10 (linux; x64)' },
  body: {
    messages: [
      { role: 'system', content: instructions },
      { role: 'user', content: [{ type: 'text', text: 'The folder is /work.' }] },
      { role: 'assistant', content: 'I see.' },
      { role: 'user', content: [{ type: 'text', text: question }] },
    ],
    stream: true,
    stream_options: { include_usage: true },
    tools: [
      chat_tool({
        name: 'run_shell_command',
        description: 'Runs a command.',
        schema: object({ command: text, is_background: flag }, ['command'], {}),
      }),
      chat_tool({
        name: 'todo_write',
        description: 'Writes the tasks.',
        schema: {
          ...object(
            {
              todos: {
                type: 'array',
                items: object(
                  { content: { type: 'string', minLength: 1 }, status: { type: 'string', enum: ['pending', 'completed'] } },
                  ['content', 'status'],
                ),
              },
            },
            ['todos'],
            {},
          ),
          $schema: 'http://json-schema.org/draft-07/schema#',
        },
      }),
      chat_tool(weather),
    ],
    max_tokens: 8000,
  },
};

const continue_cli = {
  agent: 'Continue 1.5',
  dialect: 'completions',
  empty: '',
  content: (text) => text,
  headers: { ...stainless, 'user-agent': 'ls/JS 5.23.2', 'accept-encoding': 'gzip, deflate, br' },
  body: {
    messages: opening,
    stream: true,
    tools: [
      chat_tool({ name: 'Bash', description: 'Runs a command.', schema: object({ command: text, timeout: number }, ['command'], {}) }),
      chat_tool({ name: 'Exit', description: 'Ends the process.', schema: { type: 'object', properties: {} } }),
      chat_tool(weather),
    ],
    stream_options: { include_usage: true },
  },
};

// ---- Ollama's API: n8n; Home Assistant, Open WebUI and LiteLLM, after their sources

const home_assistant = {
  agent: 'Home Assistant',
  dialect: 'ollama',
  called: ({ function: called }) => ({ function: called }), // it keeps no ids
  told: () => ({ role: 'tool', content: JSON.stringify({ data: result, error: null }) }),
  headers: { accept: 'application/json', 'user-agent': 'ollama-python/0.6.1 (x86_64 linux) Python/3.14.0' },
  body: {
    messages: opening,
    tools: [
      chat_tool({
        name: 'HassLightSet',
        description: 'Sets a light.',
        schema: {
          type: 'object',
          properties: {
            name: { type: 'string' },
            domain: { type: 'array', items: { type: 'string', enum: ['light'] } },
            brightness: { type: 'integer', minimum: 0, maximum: 100 },
          },
          required: [],
        },
      }),
      chat_tool(weather),
    ],
    stream: true,
    keep_alive: -1,
    options: { num_ctx: 8192 },
    think: false,
  },
};

const open_webui = {
  agent: 'Open WebUI',
  dialect: 'ollama',
  called: (call, index) => ({ index, ...call }),
  told: ({ id }) => ({ role: 'tool', tool_call_id: id, content: result }),
  headers: {
    accept: '*/*',
    'user-agent': 'Python/3.11 aiohttp/3.13.2',
    'x-openwebui-user-name': 'Ana%20Bo',
    'x-openwebui-user-id': '7f1c',
    'x-openwebui-user-email': 'ana@home.test',
    'x-openwebui-user-role': 'user',
  },
  body: {
    messages: opening,
    options: { num_predict: 200, top_k: 40, repeat_penalty: 1.1 },
    tools: [chat_tool(weather)],
    stream: true,
  },
};

const n8n = {
  agent: 'n8n 2.41',
  dialect: 'ollama',
  called: ({ id, function: { name, arguments: input } }) => ({ id, type: 'function', function: { name, arguments: { ...input, id } } }),
  told: () => ({ role: 'tool', content: JSON.stringify([{ response: result }]) }),
  headers: { authorization: 'Bearer ollama', 'user-agent': 'ollama-js/0.6.4 (x64 linux Node.js/v24.21.0)' },
  body: {
    options: { temperature: 0 },
    tools: [chat_tool({ ...weather, schema: { ...weather.schema, $schema: 'http://json-schema.org/draft-07/schema#' } })],
    messages: opening,
    stream: true,
  },
};

const litellm = {
  agent: 'LiteLLM',
  dialect: 'ollama',
  called: ({ function: called }) => ({ function: called }),
  told: () => ({ role: 'tool', content: result }),
  headers: { authorization: 'Bearer litellm', 'user-agent': 'litellm/1.106.4' },
  body: {
    messages: opening,
    options: { temperature: 0, num_predict: 200, stop: 'Goodbye.' }, // as its own client wrote it: one text
    stream: true,
    tools: [chat_tool(weather)],
    think: false,
  },
};

export const agents = [
  codex,
  codex_with_its_own_model,
  claude_code,
  opencode,
  qwen_code,
  continue_cli,
  home_assistant,
  open_webui,
  n8n,
  litellm,
];

// ---- how a conversation goes on: the next request's body, after an answer as the client keeps it

export const dialects = {
  responses: {
    route: '/v1/responses',
    force: { type: 'function', name: weather.name },
    calls: (answer) =>
      answer.output
        .filter(({ type }) => type === 'function_call')
        .map(({ name, arguments: text }) => ({ name, input: JSON.parse(text) })),
    words: (answer) =>
      answer.output
        .filter(({ type }) => type === 'message')
        .map(({ content: [{ text }] }) => text)
        .join(''),
    results: (body, answer) => ({
      ...body,
      input: [
        ...body.input,
        ...answer.output,
        ...answer.output
          .filter(({ call_id }) => call_id !== undefined)
          .map(({ call_id }) => ({ type: 'function_call_output', id: `fco_${call_id}`, call_id, output: result })),
      ],
    }),
    question: (body, answer, text) => ({ ...body, input: [...body.input, ...answer.output, codex_message('user', text)] }),
  },

  messages: {
    route: '/v1/messages?beta=true',
    force: { type: 'tool', name: weather.name },
    calls: (answer) => answer.content.filter(({ type }) => type === 'tool_use'),
    words: (answer) => answer.content.map(({ text = '' }) => text).join(''),
    results: (body, answer) => ({
      ...body,
      messages: [
        ...body.messages,
        { role: 'assistant', content: answer.content },
        {
          role: 'user',
          content: answer.content
            .filter(({ type }) => type === 'tool_use')
            .map(({ id }) => tool_result(id, result, { is_error: false, ...cached })),
        },
      ],
    }),
    question: (body, answer, text) => ({
      ...body,
      messages: [...body.messages, { role: 'assistant', content: answer.content }, { role: 'user', content: text }],
    }),
  },

  completions: {
    route: '/v1/chat/completions',
    force: { type: 'function', function: { name: weather.name } },
    calls: ({ message }) =>
      message.tool_calls.map(({ function: { name, arguments: text } }) => ({ name, input: JSON.parse(text) })),
    words: ({ message }) => message.content,
    results: (body, { message }, { empty, content }) => ({
      ...body,
      messages: [
        ...body.messages,
        { role: 'assistant', content: message.content || empty, tool_calls: message.tool_calls },
        ...message.tool_calls.map(({ id }) => ({ role: 'tool', tool_call_id: id, content: content(result) })),
      ],
    }),
    question: (body, { message }, text, { content }) => ({
      ...body,
      messages: [...body.messages, { role: 'assistant', content: message.content }, { role: 'user', content: content(text) }],
    }),
  },

  ollama: {
    route: '/api/chat',
    force: { type: 'function', function: { name: weather.name } },
    calls: ({ message }) =>
      message.tool_calls.map(({ function: { name, arguments: input } }) => ({ name, input })),
    words: ({ message }) => message.content,
    results: (body, { message }, { called, told }) => ({
      ...body,
      messages: [
        ...body.messages,
        { role: 'assistant', content: message.content, tool_calls: message.tool_calls.map(called) },
        ...message.tool_calls.map(told),
      ],
    }),
    question: (body, { message }, text) => ({
      ...body,
      messages: [...body.messages, { role: 'assistant', content: message.content }, { role: 'user', content: text }],
    }),
  },
};
