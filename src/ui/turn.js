// One turn of the conversation: what was asked, what came of it, once or many times at once, and how it looks.
import { at_once_max } from './api.js';
import { count, duration, h, rate, Rows, set_attribute, set_text, show_text } from './dom.js';
import { Markdown } from './markdown.js';

const median = (values) => values.sort((a, b) => a - b)[Math.floor((values.length - 1) / 2)];
const phases = { unsent: 'is not sent yet', waiting: 'waits', prefill: 'reads its prompt', generating: 'generates' };
const crowd_heads = ['Wait', 'First token', 'Tokens/s'];

function crowd_table() {
  const heads = crowd_heads.map((words) => h('th', { scope: 'col', class: 'number' }, words));
  const first = h('th', { scope: 'col' }, h('span', { class: 'unseen' }, 'Request'));
  const body = h('tbody');
  const head = h('thead', {}, h('tr', {}, first, h('th', { scope: 'col' }, 'Timeline'), ...heads));
  return { body, node: h('table', { class: 'crowd' }, head, body) };
}

export class Turn {
  #chosen = 0;
  #drawn_thinking = '';

  // `text` was asked of `model`; `runs` are what comes of it, one at least.
  constructor(text, model, runs) {
    Object.assign(this, { text, model, runs });
    this.title = h('h3', {}, model);
    this.thoughts_title = h('summary');
    this.thoughts = h('div', { class: 'thinking' });
    this.thoughts_box = h('details', { class: 'thoughts', hidden: true }, this.thoughts_title, this.thoughts);
    this.answer = h('div', { class: 'answer' });
    this.markdown = new Markdown(this.answer);
    this.note = h('p', { class: 'faint note' });
    this.problem = h('p', { class: 'problem', hidden: true });
    this.facts = h('dl', { class: 'facts' });
    const said = h('div', { class: 'asked' }, h('h3', { class: 'unseen' }, 'You'), h('p', {}, text));
    const parts = [this.title, this.thoughts_box, this.answer, this.note, this.problem, this.facts];
    this.node = h('article', { class: 'turn' }, said, ...this.#make_crowd(), ...parts);
  }

  #make_crowd() {
    if (!this.many) return [];
    this.summary = h('p', { class: 'summary' });
    const { node, body } = crowd_table();
    this.rows = new Rows(body, (run) => this.#row(run), node);
    const all_at_once = this.runs.length <= at_once_max;
    const shown = Object.entries(phases).filter(([phase]) => phase !== 'unsent' || !all_at_once);
    const legend = shown.map(([phase, words]) => h('span', { 'data-phase': phase }, words));
    const limit = `The browser has six connections for one server: ${at_once_max} of these requests are sent at a time.`;
    const note = h('p', { class: 'faint note', hidden: all_at_once }, limit);
    return [this.summary, node, h('p', { class: 'legend' }, ...legend), note];
  }

  get many() {
    return this.runs.length > 1;
  }

  get chosen() {
    return this.runs[this.#chosen];
  }

  // What the next turn is told of this one: nothing if there was no answer.
  get messages() {
    const { text } = this.chosen;
    if (text === '') return [];
    return [
      { role: 'user', content: this.text },
      { role: 'assistant', content: text },
    ];
  }

  draw(now) {
    this.now = now;
    const run = this.chosen;
    if (this.many) this.#draw_crowd(now);
    set_text(this.title, this.many ? `${this.model}, answer ${run.index + 1}` : this.model);
    this.#draw_thoughts(run, now);
    this.markdown.show(run.text);
    const words = run.text || run.thinking || run.problem ? '' : run.waiting_words;
    show_text(this.note, words);
    show_text(this.problem, run.problem ?? '');
    this.#draw_facts(run, now);
  }

  #draw_thoughts(run, now) {
    this.thoughts_box.hidden = run.thinking === '';
    if (run.thinking !== this.#drawn_thinking) set_text(this.thoughts, run.thinking);
    this.#drawn_thinking = run.thinking;
    const thinks = !run.ended && run.answered === undefined;
    const time = (run.answered ?? run.ended ?? now) - run.first;
    set_text(this.thoughts_title, thinks ? `Thinks… ${duration(time)}` : `Thoughts, ${duration(time)}`);
  }

  #draw_facts(run, now) {
    this.facts.hidden = run.first === undefined && run.problem !== undefined;
    const times = run.times(now);
    const { prompt_eval_count: prompt, prompt_eval_cached_count: cached = 0 } = run.last ?? {};
    const figures = [
      ['Wait', duration(times.wait ?? times.waiting)],
      ['First token', duration(times.first)],
      ['Tokens/s', rate(run.tokens_per_second(now))],
      ['Prompt', prompt ? `${count(prompt)}${cached ? `, ${count(cached)} cached` : ''}` : '–'],
      ['Output', count(run.tokens)],
      ['Total', duration(times.total)],
    ];
    const list = this.facts;
    if (!list.firstChild) list.append(...figures.map(([term]) => h('div', {}, h('dt', {}, term), h('dd', {}))));
    figures.forEach(([, text], index) => set_text(list.children[index].lastChild, text));
  }

  // ---- many at once

  #draw_crowd(now) {
    this.span_ms = Math.max(1, ...this.runs.map((run) => run.times(now).total));
    this.rows.show(this.runs, ({ id }) => id);
    const ended = this.runs.filter((run) => run.ended);
    const failed = ended.filter(({ problem }) => problem).length;
    const tokens = this.runs.reduce((sum, run) => sum + run.tokens, 0);
    const waits = this.runs.map((run) => run.times(now).wait).filter((wait) => wait !== undefined);
    const words = [
      `${ended.length} of ${this.runs.length} ended`,
      failed > 0 ? `${failed} without an answer` : '',
      duration(this.span_ms),
      tokens > 0 ? `${rate((tokens * 1000) / this.span_ms)} tokens/s together` : '',
      waits.length > 0 ? `median wait ${duration(median(waits))}` : '',
    ];
    set_text(this.summary, words.filter((word) => word).join(' · '));
  }

  #row({ index }) {
    const button = h('button', { type: 'button', onclick: () => this.#choose(index) }, `${index + 1}`);
    const parts = Object.keys(phases).map((phase) => h('i', { 'data-phase': phase }));
    const words = h('span', {});
    const cells = crowd_heads.map(() => h('td', { class: 'number' }));
    const timeline = h('td', { class: 'line' }, h('span', { class: 'timeline' }, ...parts, words));
    const node = h('tr', {}, h('th', { scope: 'row' }, button), timeline, ...cells);
    return {
      node,
      update: (run) => {
        const times = run.times(this.now);
        const wait = times.wait ?? times.waiting;
        const lengths = [times.unsent, wait ?? 0, times.prefill ?? 0, times.generation ?? 0];
        parts.forEach((part, i) => (part.style.width = `${(lengths[i] / this.span_ms) * 100}%`));
        set_text(words, run.word);
        set_attribute(node, 'data-outcome', run.outcome);
        set_attribute(button, 'aria-pressed', this.#chosen === index);
        set_attribute(button, 'aria-label', `Show answer ${index + 1}: ${run.word || 'ended'}`);
        set_text(cells[0], duration(wait));
        set_text(cells[1], duration(times.first));
        set_text(cells[2], rate(run.tokens_per_second(this.now)));
      },
    };
  }

  // The one that is shown is the one that the conversation goes on from.
  #choose(index) {
    this.#chosen = index;
    this.draw(performance.now());
  }
}
