// The server's public HTTP API, as far as this page uses it.

// This file lies in /ui/, whatever is before that.
const root = new URL('../', import.meta.url);
const answer_ms_max = 5000;
const cut_short = 'the connection ended before the answer did';

export const server_name = root.host + (root.pathname === '/' ? '' : root.pathname.replace(/\/$/, ''));

// What went wrong, in words. `status` is 0 if there was no answer, and 200 if one had begun and the server ended it with
// an error. `lacks_model`: the server itself says that it has no such model, and not a proxy that it has no such page.
export class ApiError extends Error {
  constructor(message, status = 0, { retry_after, lacks_model = false } = {}) {
    super(message);
    this.status = status;
    this.retry_after = retry_after;
    this.lacks_model = lacks_model;
  }

  // For people: what happened, and what may help.
  get advice() {
    if (this.status === 0) return 'The server does not answer.';
    const message = this.message.replace(/\.?\s*$/, '.').replace(/\s+/g, ' ');
    if (this.status === 503) {
      const again = this.retry_after ? `, try again in ${this.retry_after} s` : '';
      return `Refused (503${again}): ${message}`;
    }
    if (this.lacks_model) return `There is no such model: ${message}`;
    if (this.status === 200) return `The answer ended early: ${message}`;
    if (this.status === 499) return 'Canceled.';
    if (this.status === 502) return `No whole answer: ${message}`;
    return `Error ${this.status}: ${message}`;
  }
}

async function call(method, path, { body, headers, signal } = {}) {
  const options = { method, headers: { ...headers }, signal, cache: 'no-store' };
  if (body !== undefined) {
    options.body = JSON.stringify(body);
    options.headers['content-type'] = 'application/json';
  }
  let response;
  try {
    response = await fetch(new URL(path, root), options);
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new ApiError('no answer');
  }
  if (response.ok) return response;
  const text = await response.text().catch(() => '');
  let said;
  try {
    said = JSON.parse(text).error;
  } catch {
    // A proxy's page, perhaps: its text has to do.
  }
  throw new ApiError(`${said ?? (text || response.statusText)}`.slice(0, 500), response.status, {
    retry_after: response.headers.get('retry-after') ?? undefined,
    lacks_model: response.status === 404 && said !== undefined && body?.model !== undefined,
  });
}

async function read(path, form) {
  try {
    const response = await call('GET', path, { signal: AbortSignal.timeout(answer_ms_max) });
    return await response[form]();
  } catch (error) {
    throw error instanceof ApiError ? error : new ApiError('no answer');
  }
}

export const history = () => read('api/history', 'json');
export const models_in_memory = async () => (await read('api/ps', 'json')).models;
export const models_on_disk = async () => (await read('api/tags', 'json')).models;
export const queue = () => read('api/queue', 'json');
export const metrics = () => read('metrics', 'text');
// Drover's own; `version` is Ollama's that it is compatible with.
export const version = async () => (await read('api/version', 'json')).drover ?? '';

// Loads a model, or with `keep_alive: 0` unloads it: a request that asks for nothing else.
async function ask_for(body) {
  try {
    await call('POST', 'api/generate', { body: { ...body, stream: false } });
  } catch (error) {
    if (error.status !== 400) throw error;
    // A model for embeddings alone generates nothing. Any other model refuses this too, and its first reason counts.
    await call('POST', 'api/embed', { body }).catch((second) => {
      throw second.status === 400 ? error : second;
    });
  }
}

export const load = (model) => ask_for({ model });
export const unload = (model) => ask_for({ model, keep_alive: 0 });
export const show = async (model) => (await call('POST', 'api/show', { body: { model } })).json();
export const remove = (model) => call('DELETE', 'api/delete', { body: { model } });
export const cancel = (id) => call('DELETE', `api/requests/${encodeURIComponent(id)}`);

// The objects of a stream, a line each, as they come.
async function* items_of(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  while (true) {
    const { value, done } = await reader.read().catch((error) => {
      throw error.name === 'AbortError' ? error : new ApiError(cut_short, 502);
    });
    if (done) return;
    const lines = (rest + value).split('\n');
    rest = lines.pop();
    for (const line of lines) yield JSON.parse(line);
  }
}
const words_of = (error) => (error.name === 'AbortError' ? 'Stopped.' : (error.advice ?? `${error}`));

// Fetches a model, and tells `on_item` what the server says of it: { status, digest, total, completed }. It goes on as
// long as this page listens; what has come by then is kept, and is not fetched again.
export async function pull(model, on_item, signal) {
  const response = await call('POST', 'api/pull', { body: { model }, signal });
  let last;
  for await (const item of items_of(response)) {
    if (item.error) throw new ApiError(item.error, 500);
    last = item;
    on_item(item);
  }
  if (last?.status !== 'success') throw new ApiError(cut_short, 502);
}

// A browser opens six connections to one server over HTTP/1.1: two are left for what the page asks and for a pull. Later
// versions carry everything over one.
const { nextHopProtocol: protocol = '' } = performance.getEntriesByType('navigation')[0] ?? {};
export const at_once_max = /^h[23]/.test(protocol) ? 64 : 4;

async function generate(body, run, signal) {
  run.note_sent(performance.now());
  const response = await call('POST', 'api/chat', { body, headers: { 'x-request-id': run.id }, signal });
  for await (const item of items_of(response)) {
    if (item.error) throw new ApiError(item.error, 200);
    run.note_item(item, performance.now());
  }
  if (!run.last) throw new ApiError(cut_short, 502);
}

// Sends `body` once for each run, as many at the same time as the browser can, and tells each run when it was sent, what
// comes and how it ended.
export async function generate_all(body, runs, signal) {
  const unsent = [...runs];
  const send = async () => {
    for (let run = unsent.shift(); run !== undefined; run = unsent.shift()) {
      let problem;
      try {
        signal.throwIfAborted();
        await generate(body, run, signal);
      } catch (error) {
        problem = words_of(error);
      }
      run.note_end(performance.now(), problem);
    }
  };
  await Promise.all(Array.from({ length: at_once_max }, send));
}
