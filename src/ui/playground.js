// Sends one request, or many at once, and shows what became of each.
import { Run } from './run.js';
import * as api from './api.js';
import { by_id, count, duration, h, rate, Rows, set_attribute, set_text, show_text } from './dom.js';

const draw_ms = 100;

const random_name = () => crypto.getRandomValues(new Uint32Array(1))[0].toString(16).padStart(8, '0');

const median = (values) => values.sort((a, b) => a - b)[Math.floor((values.length - 1) / 2)];

export class Playground {
  #runs = [];
  #chosen = 0;
  #abort;
  #timer;

  constructor(changed) {
    this.changed = changed;
    this.form = by_id('playground');
    this.stop = by_id('stop');
    this.rows = new Rows(by_id('crowd-rows'), (run) => this.#row(run), by_id('stop'));
    this.form.addEventListener('submit', (event) => {
      event.preventDefault();
      this.#send();
    });
    this.form.addEventListener('keydown', (event) => {
      if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) {
        event.preventDefault();
        this.form.requestSubmit();
      }
    });
    this.stop.addEventListener('click', () => this.#abort?.abort());
  }

  // Names to choose from; the first one is there already unless something was typed.
  offer(names) {
    const list = by_id('model-names');
    const known = [...list.children].map(({ value }) => value).join('\n');
    if (known !== names.join('\n')) list.replaceChildren(...names.map((value) => h('option', { value })));
    const { model } = this.form.elements;
    if (model.value === '' && model !== document.activeElement && !model.dataset.offered && names.length > 0) {
      model.value = names[0];
      model.dataset.offered = 'yes';
    }
  }

  // What GET /api/queue lists: where each of the requests is.
  note_queue(requests) {
    if (!this.#abort) return;
    const now = performance.now();
    const listed = new Map(requests.map((request) => [request.id, request]));
    for (const run of this.#runs) if (listed.has(run.id)) run.note_phase(listed.get(run.id), now);
  }

  async #send() {
    if (this.#abort) return;
    const { model, prompt, count: number, tokens, temperature } = this.form.elements;
    const options = { num_predict: tokens.valueAsNumber };
    if (temperature.value !== '') options.temperature = temperature.valueAsNumber;
    const body = { model: model.value.trim(), prompt: prompt.value, stream: true, options };
    const name = random_name();
    const started = performance.now();
    const all = number.valueAsNumber;
    this.#runs = Array.from({ length: all }, (_, index) => new Run(index, `ui-${name}-${index + 1}`, started));
    this.#choose(0);
    this.#abort = new AbortController();
    this.#show_busy(all === 1 ? 'One request is sent.' : `${all} requests are sent.`);
    this.#draw();
    this.#timer = setInterval(() => this.#draw(), draw_ms);
    this.changed();
    await api.generate_all(body, this.#runs, this.#abort.signal);
    clearInterval(this.#timer);
    this.#abort = undefined;
    const failed = this.#runs.filter(({ problem }) => problem).length;
    this.#show_busy(failed ? `Ended; ${failed} of ${all} without an answer.` : 'Ended.');
    this.#draw();
    this.changed();
  }

  #show_busy(status) {
    const busy = this.#abort !== undefined;
    set_text(by_id('playground-status'), status);
    const send = this.form.querySelector('[type=submit]');
    set_attribute(send, 'aria-disabled', busy);
    // The keyboard's user stays where the next step is.
    const had_focus = document.activeElement === this.stop;
    this.stop.disabled = !busy;
    if (had_focus && !busy) send.focus();
  }

  #choose(index) {
    this.#chosen = index;
    by_id('answer').replaceChildren();
    this.shown = undefined;
  }

  // ---- what is shown

  #draw() {
    const now = performance.now();
    const many = this.#runs.length > 1;
    by_id('results').hidden = false;
    by_id('crowd').hidden = !many;
    by_id('crowd-legend').hidden = !many;
    this.span_ms = Math.max(1, ...this.#runs.map((run) => run.times(now).total));
    this.now = now;
    this.rows.show(many ? this.#runs : [], ({ id }) => id);
    set_text(by_id('summary'), many ? this.#summary(now) : '');
    by_id('summary').hidden = !many;
    this.#draw_answer(this.#runs[this.#chosen], now, many);
  }

  #summary(now) {
    const ended = this.#runs.filter((run) => run.ended);
    const failed = ended.filter(({ problem }) => problem).length;
    const tokens = this.#runs.reduce((sum, run) => sum + run.tokens, 0);
    const waits = this.#runs.map((run) => run.times(now).wait).filter((wait) => wait !== undefined);
    const words = [
      `${ended.length} of ${this.#runs.length} ended`,
      failed > 0 ? `${failed} without an answer` : '',
      duration(this.span_ms),
      tokens > 0 ? `${rate((tokens * 1000) / this.span_ms)} tokens/s together` : '',
      waits.length > 0 ? `median wait ${duration(median(waits))}` : '',
    ];
    return words.filter((word) => word).join(' · ');
  }

  #row(first) {
    const { index } = first;
    const button = h('button', { type: 'button', onclick: () => this.#pick(index) }, `${index + 1}`);
    const parts = ['waiting', 'prefill', 'generating'].map((phase) => h('i', { 'data-phase': phase }));
    const words = h('span', {});
    const cells = ['Wait', 'First token', 'Tokens/s'].map(() => h('td', { class: 'number' }));
    const node = h(
      'tr',
      {},
      h('th', { scope: 'row' }, button),
      h('td', { class: 'line' }, h('span', { class: 'timeline' }, ...parts, words)),
      ...cells,
    );
    return {
      node,
      update: (run) => {
        const times = run.times(this.now);
        const lengths = [times.wait ?? times.total, times.prefill ?? 0, times.generation ?? 0];
        parts.forEach((part, i) => (part.style.width = `${(lengths[i] / this.span_ms) * 100}%`));
        set_text(words, run.word);
        set_attribute(node, 'data-outcome', run.outcome);
        set_attribute(button, 'aria-pressed', this.#chosen === index);
        set_attribute(button, 'aria-label', `Show answer ${index + 1}: ${run.word || 'ended'}`);
        set_text(cells[0], duration(times.wait ?? (run.ended ? undefined : times.total)));
        set_text(cells[1], duration(times.first));
        set_text(cells[2], rate(run.tokens_per_second(this.now)));
      },
    };
  }

  #pick(index) {
    this.#choose(index);
    this.#draw();
  }

  #draw_answer(run, now, many) {
    set_text(by_id('answer-title'), many ? `Answer ${run.index + 1}` : 'Answer');
    show_text(by_id('answer-problem'), run.problem ?? '');
    this.#draw_text(run);
    const nothing = run.problem !== undefined && run.first === undefined;
    by_id('answer').hidden = nothing;
    by_id('timings').hidden = nothing;
    const times = run.times(now);
    const { prompt_eval_count: prompt, prompt_eval_cached_count: cached = 0 } = run.last ?? {};
    const figures = [
      ['Wait', duration(times.wait ?? (run.ended ? undefined : times.total))],
      ['First token', duration(times.first)],
      ['Tokens/s', rate(run.tokens_per_second(now))],
      ['Prompt', prompt ? `${count(prompt)}${cached ? `, ${count(cached)} cached` : ''}` : '–'],
      ['Output', count(run.tokens)],
      ['Total', duration(times.total)],
    ];
    const list = by_id('timings');
    if (!list.firstChild) list.append(...figures.map(([term]) => h('div', {}, h('dt', {}, term), h('dd', {}))));
    figures.forEach(([, text], index) => set_text(list.children[index].lastChild, text));
  }

  #draw_text(run) {
    const box = by_id('answer');
    if (this.shown?.run !== run) {
      const thinking = h('span', { class: 'thinking' });
      const answer = document.createTextNode('');
      const note = h('span', { class: 'faint' });
      box.replaceChildren(thinking, answer, note);
      this.shown = { run, thinking, answer, note };
    }
    const follows = box.scrollTop + box.clientHeight >= box.scrollHeight - 8;
    const { thinking, answer, note } = this.shown;
    set_text(thinking, run.thinking);
    if (run.text.length > answer.length) answer.appendData(run.text.slice(answer.length));
    set_text(note, run.text || run.thinking || run.problem ? '' : run.waiting_words);
    if (follows) box.scrollTop = box.scrollHeight;
  }
}
