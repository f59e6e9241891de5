// Elements, lists of them that keep their identity, and figures as people read them.

// h('td', { class: 'number' }, 'text', child): text is always text, never markup.
export function h(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS('http://www.w3.org/2000/svg', tag), attributes, children);
}

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith('on')) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, '');
    else if (value !== false && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

export const by_id = (id) => document.getElementById(id);

// What does not change is not touched: a screen reader or a selection would notice.
export function set_text(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

export function set_attribute(node, name, value) {
  if (node.getAttribute(name) !== `${value}`) node.setAttribute(name, value);
}

// Shows `text`, or nothing and takes no room.
export function show_text(node, text) {
  set_text(node, text);
  node.hidden = text === '';
}

// A row for each item, made once per key and updated from then on, so that focus and selection stay where they are.
// `make(item)` returns { node, update(item) }. Whoever has the focus in a row that goes away finds it in the row that
// takes its place, or on `fallback`.
export class Rows {
  #rows = new Map();

  constructor(container, make, fallback) {
    this.container = container;
    this.make = make;
    this.fallback = fallback;
  }

  show(items, key_of) {
    const active = document.activeElement;
    const focused = this.#remove_all_but(new Set(items.map(key_of)));
    let place = this.container.tHead ? this.container.tHead.nextElementSibling : this.container.firstElementChild;
    for (const item of items) {
      const key = key_of(item);
      if (!this.#rows.has(key)) this.#rows.set(key, this.make(item));
      const row = this.#rows.get(key);
      row.update(item);
      if (row.node === place) place = place.nextElementSibling;
      else this.container.insertBefore(row.node, place);
    }
    if (focused >= 0) this.#focus(focused);
    // A row that has moved has lost the focus on its way.
    else if (active !== document.activeElement && active.isConnected) active.focus({ preventScroll: true });
  }

  // Where the row was that had the focus and is gone; -1: there is none.
  #remove_all_but(kept) {
    let focused = -1;
    for (const [key, { node }] of this.#rows) {
      if (kept.has(key)) continue;
      if (node.contains(document.activeElement)) focused = [...this.container.children].indexOf(node);
      node.remove();
      this.#rows.delete(key);
    }
    return focused;
  }

  #focus(index) {
    const row = this.container.children[Math.min(index, this.container.children.length - 1)];
    (row?.querySelector('button') ?? this.fallback).focus();
  }
}

// A thin bar under a figure: `share` of it is full, and `rest` more of it is held.
export function bar() {
  const used = h('i');
  const held = h('i', { class: 'held' });
  const node = h('span', { class: 'bar', 'aria-hidden': 'true' }, used, held);
  const text = h('span', {});
  return {
    nodes: [text, node],
    update(words, share, rest = 0) {
      set_text(text, words);
      node.hidden = !(share >= 0);
      used.style.width = `${Math.min(1, Math.max(0, share)) * 100}%`;
      held.style.width = `${Math.min(1, Math.max(0, rest)) * 100}%`;
    },
  };
}

// ---- figures

const none = '–';
const whole = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });
const tenths = new Intl.NumberFormat('en', { minimumFractionDigits: 1, maximumFractionDigits: 1 });
const hundredths = new Intl.NumberFormat('en', { minimumFractionDigits: 2, maximumFractionDigits: 2 });
const is_number = (value) => typeof value === 'number' && Number.isFinite(value);

export function count(value) {
  return is_number(value) ? whole.format(value) : none;
}

export function rate(value) {
  if (!is_number(value)) return none;
  return value > 0 && value < 100 ? tenths.format(value) : whole.format(value);
}

export function percent(share) {
  return is_number(share) ? `${whole.format(share * 100)} %` : none;
}

// 0.84 ms · 12 ms · 1.24 s · 3:05 · 2 h 05
export function duration(ms) {
  if (!is_number(ms)) return none;
  if (ms < 1) return ms > 0 ? `${hundredths.format(ms)} ms` : '0 ms';
  if (ms < 9.95) return `${tenths.format(ms)} ms`;
  if (ms < 999.5) return `${whole.format(ms)} ms`;
  if (ms < 9_995) return `${hundredths.format(ms / 1000)} s`;
  if (ms < 59_950) return `${tenths.format(ms / 1000)} s`;
  const seconds = Math.round(ms / 1000);
  const two = (value) => `${value}`.padStart(2, '0');
  if (seconds < 3600) return `${Math.floor(seconds / 60)}:${two(seconds % 60)}`;
  return `${whole.format(Math.floor(seconds / 3600))} h ${two(Math.floor((seconds % 3600) / 60))}`;
}

// For what is known to a second or so, and counts on: 0.4 s · 17 s · 3:05
export function coarse_duration(ms) {
  if (!is_number(ms) || ms >= 59_500) return duration(ms);
  return `${ms < 9_950 ? tenths.format(ms / 1000) : whole.format(ms / 1000)} s`;
}

export function bytes(value) {
  if (!is_number(value) || value <= 0) return none;
  const units = ['B', 'KB', 'MB', 'GB', 'TB'];
  let unit = 0;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit++;
  }
  return `${value < 9.95 && unit > 0 ? tenths.format(value) : whole.format(value)} ${units[unit]}`;
}
