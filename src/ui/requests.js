// What runs and what waits, and the end of it.
import * as api from './api.js';
import { by_id, coarse_duration, count, h, Rows, set_attribute, set_text, show_text } from './dom.js';

const few_max = 10;
const shown_max = 200;

const phases = {
  queued: 'waiting',
  loading: 'waiting',
  prefill: 'prefill',
  generating: 'generating',
  canceling: 'ended',
};

const sentence = (text) => `${text[0].toUpperCase()}${text.slice(1)}.`;

export class Requests {
  #canceling = new Set(); // ids

  constructor(changed, announce) {
    this.changed = changed;
    this.announce = announce;
    this.rows = new Rows(by_id('requests'), (request) => this.#row(request), by_id('requests-title'));
    this.all = false;
    by_id('requests-more').addEventListener('click', () => {
      this.all = !this.all;
      this.show(this.last);
    });
  }

  show(queue) {
    this.last = queue;
    const { running, waiting, waiting_max, requests } = queue;
    const listed = requests.slice(0, this.all ? shown_max : few_max);
    // Several requests may carry the same id.
    const seen = new Map();
    const keys = new Map();
    for (const request of listed) {
      const times = seen.get(request.id) ?? 0;
      seen.set(request.id, times + 1);
      keys.set(request, `${request.id}\n${times}`);
    }
    this.rows.show(listed, (request) => keys.get(request));
    const present = new Set(requests.map(({ id }) => id));
    for (const id of this.#canceling) if (!present.has(id)) this.#canceling.delete(id);
    by_id('requests-table').hidden = listed.length === 0;
    by_id('requests-empty').hidden = listed.length > 0;
    const everyone = running + waiting;
    by_id('requests-more').hidden = everyone <= few_max;
    const first = everyone > shown_max ? `the first ${shown_max} of ` : 'all ';
    set_text(by_id('requests-more'), this.all ? 'Show fewer' : `Show ${first}${count(everyone)}`);
    show_text(by_id('requests-advice'), queue.advice ? sentence(queue.advice.text) : '');
    set_text(
      by_id('requests-summary'),
      `${count(running)} running, ${count(waiting)} waiting of at most ${count(waiting_max)}`,
    );
  }

  #row({ id, model, client, route }) {
    const who = `${client} · ${route} · ${id}`;
    const phase = h('span', { class: 'phase' });
    const age = h('td', { class: 'number', 'data-label': 'Age' });
    const tokens = h('td', { class: 'number', 'data-label': 'Tokens' });
    const wait = h('td', { class: 'number', 'data-label': 'Starts in' });
    const button = h(
      'button',
      { type: 'button', 'aria-label': `Cancel request ${id}`, onclick: () => this.#cancel(id) },
      'Cancel',
    );
    const node = h(
      'tr',
      {},
      h('td', { 'data-label': 'Phase' }, phase),
      h('th', { scope: 'row', title: `${model} · ${who}` }, h('span', { class: 'name' }, model), h('small', {}, who)),
      age,
      tokens,
      wait,
      h('td', { class: 'action' }, button),
    );
    return {
      node,
      update: (request) => {
        set_attribute(phase, 'data-phase', phases[request.phase] ?? 'waiting');
        set_text(phase, request.position > 0 ? `${request.phase} ${request.position}` : request.phase);
        set_text(age, coarse_duration(request.age_ms));
        const { prompt_tokens, output_tokens } = request;
        set_text(tokens, prompt_tokens ? `${count(prompt_tokens)} → ${count(output_tokens)}` : '');
        const estimate = request.estimated_wait_ms;
        set_text(wait, estimate === null ? '' : `≈ ${coarse_duration(Math.ceil(estimate / 100) * 100)}`);
        set_attribute(button, 'aria-disabled', this.#canceling.has(id) || request.phase === 'canceling');
      },
    };
  }

  async #cancel(id) {
    if (this.#canceling.has(id)) return;
    this.#canceling.add(id);
    show_text(by_id('requests-problem'), '');
    try {
      await api.cancel(id);
      this.announce(`Request ${id} is canceled`);
    } catch (error) {
      this.#canceling.delete(id);
      // It has ended by itself in the meantime: what was wanted is so.
      if (error.status !== 404) show_text(by_id('requests-problem'), `Not canceled. ${error.advice}`);
    }
    this.changed();
  }
}
