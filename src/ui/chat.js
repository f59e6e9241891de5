// A conversation with a model. Each message may be sent many times, to see how the server takes it.
import * as api from './api.js';
import { by_id, h, set_attribute, set_text } from './dom.js';
import { Run } from './run.js';
import { Turn } from './turn.js';

const draw_ms = 100;
const announced_max = 500; // characters of an answer

const random_name = () => crypto.getRandomValues(new Uint32Array(1))[0].toString(16).padStart(8, '0');

export class Chat {
  #turns = [];
  #models = []; // { name, loaded, thinks }
  #abort;

  constructor(changed, announce) {
    this.changed = changed;
    this.announce = announce;
    this.form = by_id('chat-form');
    this.box = by_id('conversation');
    this.stop = by_id('stop');
    this.form.addEventListener('submit', (event) => {
      event.preventDefault();
      this.#send();
    });
    const { model, prompt } = this.form.elements;
    prompt.addEventListener('keydown', (event) => {
      if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.form.requestSubmit();
    });
    model.addEventListener('change', () => {
      this.picked = true;
      this.#show_model();
    });
    // What is wrong has to be seen.
    this.form.addEventListener('invalid', () => (by_id('chat-settings').open = true), true);
    this.stop.addEventListener('click', () => this.#abort?.abort());
    by_id('chat-new').addEventListener('click', () => this.#begin_anew());
    this.#show_conversation();
  }

  // The models that generate, those in memory first. One of them is chosen until the user does.
  offer(models) {
    const { model } = this.form.elements;
    const before = model.value;
    const known = JSON.stringify(models);
    if (known === this.known) return;
    this.known = known;
    // What was chosen does not change by itself, even if it is gone: whoever sends then is told so.
    const keeps = before !== '' && (this.picked || this.#turns.length > 0);
    const missing = keeps && !models.some(({ name }) => name === before) ? [{ name: before }] : [];
    this.#models = [...models, ...missing];
    const groups = [
      ['In memory', this.#models.filter(({ loaded }) => loaded)],
      ['On disk', this.#models.filter(({ loaded }) => !loaded)],
    ].filter(([, members]) => members.length > 0);
    model.replaceChildren(
      ...groups.map(([label, members]) =>
        h('optgroup', { label }, ...members.map(({ name }) => h('option', { value: name }, name))),
      ),
    );
    model.value = keeps ? before : (this.#models[0]?.name ?? '');
    this.#show_model();
  }

  // What GET /api/queue lists: where each of the requests is.
  note_queue(requests) {
    if (!this.#abort) return;
    const now = performance.now();
    const listed = new Map(requests.map((request) => [request.id, request]));
    for (const run of this.#turns.at(-1)?.runs ?? []) if (listed.has(run.id)) run.note_phase(listed.get(run.id), now);
  }

  #show_model() {
    const { model } = this.form.elements;
    const chosen = this.#models.find(({ name }) => name === model.value);
    by_id('chat-think').hidden = chosen?.thinks !== true;
    this.#show_conversation();
  }

  #show_conversation() {
    const hint = by_id('chat-hint');
    hint.hidden = this.#turns.length > 0;
    const none = this.known !== undefined && this.#models.length === 0;
    set_text(
      hint,
      none
        ? 'No model here generates text yet: pull one, under Models.'
        : 'Several turns are one conversation. It stays in this page, until that is closed.',
    );
  }

  #begin_anew() {
    this.#abort?.abort();
    this.#turns = [];
    this.box.replaceChildren();
    this.#show_conversation();
    this.form.elements.prompt.focus();
    this.announce('A new chat');
  }

  #request(text) {
    const { model, system, think, tokens, temperature } = this.form.elements;
    const options = { num_predict: tokens.valueAsNumber };
    if (temperature.value !== '') options.temperature = temperature.valueAsNumber;
    const messages = this.#turns.flatMap((turn) => turn.messages);
    if (system.value.trim() !== '') messages.unshift({ role: 'system', content: system.value });
    messages.push({ role: 'user', content: text });
    const request = { model: model.value, messages, stream: true, options };
    if (!by_id('chat-think').hidden) request.think = think.checked;
    return request;
  }

  async #send() {
    if (this.#abort) return;
    const { model, prompt, count: number } = this.form.elements;
    const text = prompt.value;
    const request = this.#request(text);
    const name = random_name();
    const started = performance.now();
    const all = number.valueAsNumber;
    const runs = Array.from({ length: all }, (_, index) => new Run(index, `ui-${name}-${index + 1}`, started));
    const turn = new Turn(text, model.value, runs);
    const abort = new AbortController();
    this.#abort = abort;
    this.#turns.push(turn);
    this.box.append(turn.node);
    prompt.value = '';
    this.#show_conversation();
    this.#show_busy();
    this.announce(all === 1 ? 'Sent' : `${all} requests`);
    turn.draw(performance.now());
    this.box.scrollTop = this.box.scrollHeight;
    const timer = setInterval(() => this.#draw(turn), draw_ms);
    this.changed();
    await api.generate_all(request, runs, abort.signal);
    clearInterval(timer);
    this.#draw(turn);
    this.#abort = undefined;
    this.#show_busy();
    this.#announce_end(turn);
    // What had no answer is there to be sent again.
    if (turn.chosen.text === '' && turn.chosen.problem && prompt.value === '' && turn.node.isConnected) prompt.value = text;
    this.changed();
  }

  // Whoever is at the end stays there; on a small screen that is the page's.
  #draw(turn) {
    const boxes = [this.box, document.scrollingElement].filter(
      (box) => box.scrollTop > 0 && box.scrollTop + box.clientHeight >= box.scrollHeight - 24,
    );
    turn.draw(performance.now());
    for (const box of boxes) box.scrollTop = box.scrollHeight;
  }

  #announce_end(turn) {
    const failed = turn.runs.filter(({ problem }) => problem).length;
    const { text, problem } = turn.chosen;
    if (turn.many) this.announce(`All have ended, ${failed} without an answer`);
    else this.announce(problem ?? `Answer: ${text.slice(0, announced_max)}`);
  }

  #show_busy() {
    const busy = this.#abort !== undefined;
    const send = this.form.querySelector('[type=submit]');
    set_attribute(send, 'aria-disabled', busy);
    // The keyboard's user stays where the next step is.
    const had_focus = document.activeElement === this.stop;
    this.stop.disabled = !busy;
    if (had_focus && !busy) send.focus();
  }
}
