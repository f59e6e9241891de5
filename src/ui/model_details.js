// What is known of a model that is there, below its row, and its end.
import * as api from './api.js';
import { count, h, set_attribute, show_text } from './dom.js';

const texts = { parameters: 'Parameters', system: 'System message', template: 'Template', license: 'License' };

// A model's own key is named after its architecture: "llama.context_length".
const info_of = (model_info, name) => {
  const key = Object.keys(model_info ?? {}).find((one) => one.endsWith(`.${name}`));
  return key && count(model_info[key]);
};

function figures_of({ capabilities, details, model_info, modified_at }) {
  const figures = [
    ['Can', capabilities?.join(', ')],
    ['Family', details?.family],
    ['Parameters', details?.parameter_size],
    ['Quantization', details?.quantization_level],
    ['Context', info_of(model_info, 'context_length')],
    ['Embedding', info_of(model_info, 'embedding_length')],
    ['Made from', details?.parent_model],
    ['Changed', modified_at?.slice(0, 10)],
  ];
  return figures.filter(([, value]) => value);
}

export class ModelDetails {
  // `deleted` is called when it has been.
  constructor(name, deleted) {
    Object.assign(this, { name, deleted });
    this.content = h('div', {});
    this.problem = h('p', { class: 'problem', role: 'status', hidden: true });
    this.actions = h('div', { class: 'actions' });
    const panel = h('div', { class: 'panel' }, this.problem, this.content, this.actions);
    this.node = h('tr', { class: 'detail', hidden: true }, h('td', { colspan: '8' }, panel));
    this.#offer();
  }

  async toggle(button) {
    this.node.hidden = !this.node.hidden;
    set_attribute(button, 'aria-expanded', !this.node.hidden);
    this.#offer();
    if (this.node.hidden) return;
    show_text(this.problem, '');
    try {
      const shown = await api.show(this.name);
      const figures = figures_of(shown).map(([term, value]) => h('div', {}, h('dt', {}, term), h('dd', {}, value)));
      const folded = Object.entries(texts)
        .filter(([field]) => shown[field])
        .map(([field, title]) =>
          h('details', {}, h('summary', {}, title), h('pre', { tabindex: '0' }, shown[field].trimEnd())),
        );
      this.content.replaceChildren(h('dl', { class: 'facts' }, ...figures), ...folded);
    } catch (error) {
      this.content.replaceChildren();
      show_text(this.problem, error.advice ?? `${error}`);
    }
  }

  #offer() {
    const label = `Delete ${this.name}`;
    const button = h('button', { type: 'button', class: 'danger', 'aria-label': `${label}…` }, 'Delete…');
    button.addEventListener('click', () => this.#ask());
    this.actions.replaceChildren(button);
  }

  #ask() {
    const keep = h('button', { type: 'button' }, 'Keep');
    keep.addEventListener('click', () => {
      this.#offer();
      this.actions.firstChild.focus();
    });
    const yes = h('button', { type: 'button', class: 'danger', 'aria-label': `Delete ${this.name}` }, 'Delete');
    yes.addEventListener('click', () => this.#delete(yes));
    const words = h('span', {}, `Delete ${this.name} from this server’s disk?`);
    this.actions.replaceChildren(words, yes, keep);
    keep.focus();
  }

  // What it still answers is finished first.
  async #delete(button) {
    if (button.getAttribute('aria-disabled') === 'true') return;
    set_attribute(button, 'aria-disabled', true);
    try {
      await api.unload(this.name);
      await api.remove(this.name);
      this.deleted();
    } catch (error) {
      show_text(this.problem, `Not deleted. ${error.advice ?? error}`);
      this.#offer();
    }
  }
}
