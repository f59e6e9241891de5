// The models that are there, those in memory first, with what loads and unloads them. To fetch, to look at and to delete
// them: pulls.js and model_details.js.
import * as api from './api.js';
import { bar, by_id, bytes, count, duration, h, percent, Rows, set_attribute, set_text, show_text } from './dom.js';
import { ModelDetails } from './model_details.js';
import { Pulls } from './pulls.js';

const others_max = 8; // of those not in memory, until all are asked for
const never_ms = 10 * 365 * 86_400_000; // an expiry so far away is none

const states = {
  absent: { words: 'on disk', tone: 'off' },
  unloaded: { words: 'on disk', tone: 'off' },
  loading: { words: 'loading', tone: 'busy' },
  loaded: { words: 'loaded', tone: 'good' },
  draining: { words: 'draining', tone: 'wait' },
  stopping: { words: 'unloading', tone: 'wait' },
  backoff: { words: 'failed', tone: 'bad' },
};

// What it does, each with slots of its own. A server that does not tell has one kind.
function tasks_of(model) {
  const { state, running, waiting, slots } = model;
  return model.tasks ?? [{ task: 'completion', state, running, waiting, slots }];
}

const sum_of = (model, field) => tasks_of(model).reduce((sum, task) => sum + (task[field] ?? 0), 0);
const is_in_memory = (model) =>
  tasks_of(model).some(({ state }) => !['absent', 'unloaded', 'backoff'].includes(state));

function expiry(model) {
  if (model.state !== 'loaded') return '';
  if (sum_of(model, 'running') + sum_of(model, 'waiting') > 0) return 'in use';
  const left = Date.parse(model.expires_at) - Date.now();
  if (left > never_ms) return 'never';
  return left > 0 ? `in ${duration(Math.ceil(left / 1000) * 1000)}` : 'now';
}

function details(model) {
  const { parameter_size, quantization_level } = model.details ?? {};
  const parts = [parameter_size, quantization_level, model.disk_size ? `${bytes(model.disk_size)} on disk` : ''];
  if (is_in_memory(model)) parts.push(tasks_of(model).map(({ task }) => task).join(', '));
  return parts.filter((part) => part && part !== 'unknown').join(' · ');
}

export class Models {
  #on_disk = [];
  #in_memory = [];
  #problems = new Map(); // of what was asked for here, by name
  #all = false;

  // `changed` is called when something was asked for that the next poll will show.
  constructor(changed, announce) {
    this.changed = changed;
    this.announce = announce;
    this.rows = new Rows(by_id('models'), (model) => this.#row(model), by_id('models-title'));
    this.more = h('button', { type: 'button', class: 'more', onclick: () => this.#show_all() });
    by_id('models').after(this.more);
    this.pulls = new Pulls(changed, announce);
  }

  // Those that generate text, for the chat: { name, loaded, thinks }; the ones in memory first, then the newest.
  generating() {
    const loaded = new Set(this.#in_memory.filter(is_in_memory).map(({ name }) => name));
    const all = this.#on_disk
      .filter(({ capabilities }) => capabilities?.includes('completion') !== false)
      .map(({ name, capabilities }) => ({
        name,
        loaded: loaded.has(name),
        thinks: capabilities?.includes('thinking') === true,
      }));
    return [...all.filter((model) => model.loaded), ...all.filter((model) => !model.loaded)];
  }

  set_on_disk(models) {
    this.#on_disk = models;
    this.#draw();
  }

  set_in_memory(models) {
    this.#in_memory = models;
    this.#draw();
  }

  #show_all() {
    this.#all = true;
    this.#draw();
    by_id('models-title').focus();
  }

  #draw() {
    const disk = new Map(this.#on_disk.map((model) => [model.name, model]));
    const memory = this.#in_memory.map((model) => ({ ...model, disk_size: disk.get(model.name)?.size }));
    const present = new Set(memory.map(({ name }) => name));
    const others = this.#on_disk
      .filter(({ name }) => !present.has(name))
      .map((model) => ({ name: model.name, details: model.details, disk_size: model.size, state: 'absent' }));
    const shown = this.#all ? others : others.slice(0, others_max);
    // What went wrong stays in sight, even if it is that the model is gone.
    const gone = [...this.#problems.keys()].filter((name) => !present.has(name) && !disk.has(name));
    const all = [...memory, ...shown, ...gone.map((name) => ({ name, state: 'absent' }))];
    const keys = new Map();
    // A model and the one that replaces it have the same name.
    this.rows.show(all, (model) => {
      if (!keys.has(model)) {
        const same = [...keys.values()].filter((key) => key.startsWith(`${model.name}\n`)).length;
        keys.set(model, `${model.name}\n${same}`);
      }
      return keys.get(model);
    });
    this.more.hidden = shown.length === others.length;
    set_text(this.more, `Show all ${others.length} models on disk`);
    this.#summarize(memory, all);
  }

  #summarize(memory, all) {
    const loaded = memory.filter(({ state }) => state === 'loaded').length;
    const size = memory.reduce((sum, model) => sum + (model.size ?? 0), 0);
    set_text(by_id('models-summary'), loaded ? `${loaded} loaded, ${bytes(size)} in memory` : 'none in memory');
    show_text(by_id('models-empty'), all.length ? '' : 'There are no models yet.');
  }

  #row(first) {
    const { name } = first;
    const sub = h('small', {});
    const state = h('span', { class: 'state' });
    const slots = bar();
    const embeds = h('small', { class: 'embeds' });
    const model_details = new ModelDetails(name, () => this.#was_deleted(name));
    const title = h('button', { type: 'button', class: 'name', 'aria-expanded': 'false', title: name }, name);
    title.addEventListener('click', () => model_details.toggle(title));
    const waiting = h('td', { class: 'number', 'data-label': 'Waiting' });
    const memory = h('td', { class: 'number', 'data-label': 'Memory' });
    const cells = bar();
    const expires = h('td', { class: 'number', 'data-label': 'Expires' });
    const button = h('button', { type: 'button', onclick: () => this.#act(button, name) });
    const problem = h('p', { class: 'problem' });
    const problem_row = h('tr', { class: 'detail' }, h('td', { colspan: '8' }, problem));
    const row = h(
      'tr',
      {},
      h('th', { scope: 'row' }, title, sub),
      h('td', { 'data-label': 'State' }, state),
      h('td', { 'data-label': 'Slots' }, ...slots.nodes, embeds),
      waiting,
      memory,
      h('td', { class: 'cells', 'data-label': 'KV cache' }, ...cells.nodes),
      expires,
      h('td', { class: 'action' }, button),
    );
    return {
      node: h('tbody', {}, row, problem_row, model_details.node),
      update: (model) => {
        const { words, tone } = states[model.state] ?? { words: model.state, tone: 'off' };
        const in_memory = is_in_memory(model);
        set_text(sub, details(model));
        set_attribute(state, 'data-tone', tone);
        set_text(state, model.state === 'loading' ? `${words} ${percent(model.load_progress ?? 0)}` : words);
        this.#update_slots(slots, embeds, model);
        const waits = sum_of(model, 'waiting');
        set_text(waiting, in_memory ? count(waits) : '');
        set_attribute(waiting, 'data-tone', waits > 0 ? 'wait' : 'off');
        set_text(memory, in_memory ? bytes(model.size) : '');
        const { cells: all, used, kept } = model.kv ?? {};
        cells.update(all ? percent(used / all) : '', all ? used / all : NaN, all ? kept / all : 0);
        row.cells[5].title = all ? `${count(used)} of ${count(all)} tokens in use, ${count(kept)} kept for later` : '';
        set_text(expires, expiry(model));
        set_attribute(row, 'data-in-memory', in_memory);
        this.#update_button(button, model, in_memory);
        show_text(problem, this.#problems.get(name) ?? (model.error ? `Last load failed: ${model.error}` : ''));
        problem_row.hidden = problem.hidden;
      },
    };
  }

  // The bar is for generations, if the model does that.
  #update_slots(slots, embeds, model) {
    const [first, second] = tasks_of(model).filter(({ slots }) => slots > 0);
    const words = ({ running, slots }) => `${running} / ${slots}`;
    slots.update(first ? words(first) : '', first ? first.running / first.slots : NaN);
    show_text(embeds, second ? `${words(second)} embed` : '');
  }

  #was_deleted(name) {
    this.#problems.delete(name);
    this.#on_disk = this.#on_disk.filter((model) => model.name !== name);
    this.#in_memory = this.#in_memory.filter((model) => model.name !== name);
    this.announce(`${name} is deleted`);
    this.#draw();
    this.changed();
  }

  #update_button(button, model, in_memory) {
    const verb = in_memory ? 'Unload' : 'Load';
    set_text(button, verb);
    set_attribute(button, 'aria-label', `${verb} ${model.name}`);
    button.verb = verb;
    // A button that is really disabled would lose the focus.
    set_attribute(button, 'aria-disabled', button.busy === true || ['draining', 'stopping'].includes(model.state));
  }

  async #act(button, name) {
    if (button.getAttribute('aria-disabled') === 'true') return;
    const { verb } = button;
    // A load may take minutes, and be called off meanwhile; the list shows how far it is.
    button.busy = verb === 'Unload';
    this.#problems.delete(name);
    this.announce(`${verb}ing ${name}`);
    const done = verb === 'Load' ? api.load(name) : api.unload(name);
    this.changed();
    try {
      await done;
      this.announce(`${name} is ${verb === 'Load' ? 'loaded' : 'unloaded'}`);
    } catch (error) {
      this.#problems.set(name, error.advice ?? `${error}`);
      this.announce(`${verb}ing ${name} failed`);
    }
    button.busy = false;
    this.#draw();
    this.changed();
  }
}
