// Asks the server once a second, while somebody looks, and hands the answers to the parts of the page.
import * as api from './api.js';
import { Chat } from './chat.js';
import { Chart } from './chart.js';
import { by_id, count, duration, percent, rate, set_attribute, set_text, show_text } from './dom.js';
import { History } from './history.js';
import { Models } from './models.js';
import { read_metrics, Readings } from './metrics.js';
import { Requests } from './requests.js';

const poll_ms = 1000;
const soon_ms = 50; // after something was asked for that shows
const disk_ms = 15_000; // the list of models on disk changes seldom
const latency_span_ms = 10_000; // what is said of latencies is said of so long
const rate_span_ms = 2000;
const asleep_ms = 10_000; // so long without an answer, and the server knows more of it than this page

const first_token = 'drover_time_to_first_token_seconds';
const inter_token = 'drover_inter_token_seconds';

const charts = [
  new Chart({
    title: 'Waiting',
    series: [{ key: 'waiting', tone: 'wait', area: true }],
    format: count,
    end_min: 4,
  }),
  new Chart({
    title: 'Running',
    series: [
      { key: 'running', tone: 'main', area: true },
      { key: 'slots', label: 'slots', tone: 'faint', dashed: true },
    ],
    format: count,
    end_min: 4,
  }),
  new Chart({
    title: 'Output',
    series: [{ key: 'tokens', label: 'tokens/s', tone: 'good', area: true }],
    format: rate,
    end_min: 10,
  }),
  new Chart({
    title: 'Time to first token',
    note: 'last 10 s',
    series: [
      { key: 'first_median', label: 'median', tone: 'main' },
      { key: 'first_high', label: 'p95', tone: 'faint' },
    ],
    format: duration,
    end_min: 10,
  }),
  new Chart({
    title: 'Between tokens',
    note: 'last 10 s',
    series: [
      { key: 'next_median', label: 'median', tone: 'main' },
      { key: 'next_high', label: 'p95', tone: 'faint' },
    ],
    format: duration,
    end_min: 1,
  }),
  new Chart({
    title: 'KV cache',
    series: [
      { key: 'kv_used', label: 'in use', tone: 'main', area: true },
      { key: 'kv_kept', label: 'kept', tone: 'faint', area: true },
    ],
    format: percent,
    end_fixed: 1,
    stacked: true,
  }),
];

const readings = new Readings(latency_span_ms);
const history = new History();
const announce = (words) => set_text(by_id('announcement'), words);
const models = new Models(reread, announce);
const requests = new Requests(poll_soon, announce);
const chat = new Chat(poll_soon, announce);

let timer;
let polling = false;
let again = false; // something has changed while a poll was under way
let gone_since;
let disk_read_at = -Infinity;
let read_at = -Infinity;
let history_read = false; // since this page was last asleep, or the server gone

// Slots for embeddings are many more, and would hide how full those for generations are.
function generations(in_memory) {
  const tasks = in_memory.flatMap((model) => model.tasks ?? [model]).filter(({ task }) => task !== 'embedding');
  const sum = (field) => tasks.reduce((total, task) => total + (task[field] ?? 0), 0);
  return { running: sum('running'), slots: sum('slots') || undefined };
}

function sample_of(at, metrics, queue, in_memory) {
  const value = (name) => metrics[`drover_${name}`].value;
  const cells = value('kv_cells');
  return {
    at,
    span_ms: poll_ms,
    waiting: queue.waiting,
    ...generations(in_memory),
    tokens: readings.per_second([first_token, inter_token], rate_span_ms),
    first_median: readings.quantile_ms(first_token, 0.5),
    first_high: readings.quantile_ms(first_token, 0.95),
    next_median: readings.quantile_ms(inter_token, 0.5),
    next_high: readings.quantile_ms(inter_token, 0.95),
    kv_used: cells ? value('kv_cells_used') / cells : undefined,
    kv_kept: cells ? value('kv_cells_kept') / cells : undefined,
  };
}

// One after another, so that a single connection does: a browser has few of them for one server.
async function read_all() {
  const in_memory = await api.models_in_memory();
  const queue = await api.queue();
  const metrics = read_metrics(await api.metrics());
  const at = Date.now();
  if (at - read_at > asleep_ms) history_read = false;
  read_at = at;
  if (!history_read) readings.clear();
  readings.add(at, metrics);
  if (!history_read) {
    history.fill(await api.history(), at);
    history_read = true;
  }
  history.add(sample_of(at, metrics, queue, in_memory));
  models.set_in_memory(in_memory);
  requests.show(queue);
  chat.note_queue(queue.requests);
  draw_charts();
  if (at - disk_read_at > disk_ms) {
    models.set_on_disk(await api.models_on_disk());
    disk_read_at = at;
  }
  chat.offer(models.generating());
}

function draw_charts() {
  const now = Date.now();
  const samples = history.samples(now);
  for (const chart of charts) chart.show(samples, now);
}

async function poll() {
  clearTimeout(timer);
  if (document.hidden) return;
  if (polling) {
    again = true;
    return;
  }
  polling = true;
  again = false;
  const started = performance.now();
  try {
    await read_all();
    show_answering();
  } catch (error) {
    if (!(error instanceof api.ApiError)) console.error(error);
    show_problem(error);
  }
  polling = false;
  if (document.hidden) return pause();
  const rest = Math.max(0, poll_ms - (performance.now() - started));
  timer = setTimeout(poll, again ? soon_ms : rest);
}

function poll_soon() {
  again = polling;
  if (polling) return;
  clearTimeout(timer);
  timer = setTimeout(poll, soon_ms);
}

// What is on disk may have changed.
function reread() {
  disk_read_at = -Infinity;
  poll_soon();
}

// ---- whether there is a server

// Nobody looks. The server remembers what happens meanwhile.
function pause() {
  history_read = false;
  show_live('paused', 'Paused');
}

function show_live(state, words) {
  set_attribute(by_id('live'), 'data-state', state);
  set_text(by_id('live').lastChild, words);
}

async function show_answering() {
  const was_gone = gone_since !== undefined;
  gone_since = undefined;
  show_live('live', 'Live');
  show_text(by_id('banner'), '');
  by_id('main').classList.remove('stale');
  if (was_gone) announce('The server answers again.');
  if (was_gone || !by_id('version').textContent) {
    disk_read_at = -Infinity;
    const version = await api.version().catch(() => '');
    set_text(by_id('version'), version);
  }
}

function show_problem(error) {
  gone_since ??= new Date();
  history_read = false;
  draw_charts();
  by_id('main').classList.add('stale');
  show_live('gone', 'No answer');
  const since = gone_since.toLocaleTimeString([], { hour12: false });
  const what = error.status ? error.advice : `${api.server_name} has not answered since ${since}.`;
  show_text(by_id('banner'), `${what} Trying again every second; what is below is as it was.`);
}

// ---- what a small screen shows of it

function show_view(name) {
  document.body.dataset.view = name;
  for (const button of document.querySelectorAll('.views button'))
    set_attribute(button, 'aria-pressed', button.dataset.view === name);
}
for (const button of document.querySelectorAll('.views button'))
  button.addEventListener('click', () => show_view(button.dataset.view));

set_text(by_id('address'), api.server_name);
by_id('charts').append(...charts.map(({ node }) => node));
document.addEventListener('visibilitychange', () => {
  if (!document.hidden) poll();
  else if (!polling) pause(); // else the poll that is under way says so at its end
});
poll();
