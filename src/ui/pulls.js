// Models that are being fetched from a registry, with how far they are.
import * as api from './api.js';
import { by_id, bytes, coarse_duration, h, set_text } from './dom.js';

const rate_span_ms = 10_000;

// What the registry said comes as an error of the server.
function words_of(error) {
  return error.status === 500 ? `Not pulled: ${error.message}` : (error.advice ?? `${error}`);
}

// Of all layers that have been named so far.
class Progress {
  #layers = new Map(); // digest: { completed, total }
  #points = []; // { at, completed } of the last seconds

  note({ digest, total = 0, completed = 0 }, now) {
    if (!digest) return;
    this.#layers.set(digest, { total, completed });
    this.#points.push({ at: now, completed: this.#sum('completed') });
    while (this.#points.length > 2 && this.#points[1].at < now - rate_span_ms) this.#points.shift();
  }

  #sum(field) {
    return [...this.#layers.values()].reduce((sum, layer) => sum + layer[field], 0);
  }

  get share() {
    const total = this.#sum('total');
    return total > 0 ? this.#sum('completed') / total : undefined;
  }

  // "310 MB of 2.0 GB, 45 MB/s, 38 s left"
  get words() {
    const [first, last] = [this.#points[0], this.#points.at(-1)];
    const total = this.#sum('total');
    if (!last || total === 0) return '';
    const parts = [`${bytes(last.completed) || '0 B'} of ${bytes(total)}`];
    const rate = last.at > first.at ? ((last.completed - first.completed) * 1000) / (last.at - first.at) : 0;
    if (rate > 0 && last.completed < total) {
      const left = ((total - last.completed) / rate) * 1000;
      parts.push(`${bytes(rate)}/s`, `${coarse_duration(left)} left`);
    }
    return parts.join(', ');
  }
}

export class Pulls {
  #running = new Set(); // names

  // `changed` is called when a model has come.
  constructor(changed, announce) {
    Object.assign(this, { changed, announce });
    this.form = by_id('pull');
    this.list = by_id('pulls');
    this.form.addEventListener('submit', (event) => {
      event.preventDefault();
      const { model } = this.form.elements;
      const name = model.value.trim();
      if (name === '' || this.#running.has(name)) return;
      model.value = '';
      this.#pull(name);
    });
    // Only what has come is kept when the page goes, and whoever asks for it again goes on from there.
    addEventListener('beforeunload', (event) => {
      if (this.#running.size > 0) event.preventDefault();
    });
  }

  async #pull(name) {
    const abort = new AbortController();
    const status = h('span', { class: 'faint' }, 'Asks the registry…');
    const meter = h('progress', { max: '1', 'aria-label': `Progress of ${name}` });
    const button = h('button', { type: 'button', 'aria-label': `Cancel the pull of ${name}` }, 'Cancel');
    button.addEventListener('click', () => abort.abort());
    const node = h('li', {}, h('span', { class: 'name' }, name), button, meter, status);
    this.list.append(node);
    this.#running.add(name);
    this.announce(`Pulls ${name}`);
    const progress = new Progress();
    const note = (item) => {
      progress.note(item, performance.now());
      if (progress.share === undefined) meter.removeAttribute('value');
      else meter.value = progress.share;
      set_text(status, item.digest ? progress.words : item.status);
    };
    let problem = '';
    try {
      await api.pull(name, note, abort.signal);
      this.announce(`${name} is here`);
    } catch (error) {
      problem = error.name === 'AbortError' ? '' : words_of(error);
    }
    this.#running.delete(name);
    this.#end(node, name, problem);
    this.changed();
  }

  // Whoever had the focus here finds it where the next one is asked for.
  #end(node, name, problem) {
    const had_focus = node.contains(document.activeElement);
    if (problem === '') {
      node.remove();
    } else {
      const close = h('button', { type: 'button', 'aria-label': `Dismiss the pull of ${name}` }, 'Dismiss');
      close.addEventListener('click', () => this.#end(node, name, ''));
      node.replaceChildren(h('span', { class: 'name' }, name), close, h('p', { class: 'problem' }, problem));
      this.announce(`${name} could not be pulled: ${problem}`);
    }
    if (had_focus) this.form.elements.model.focus();
  }
}
