// A live line chart of the last two minutes. Where the pointer is, or the arrow keys lead, all charts show that moment.
import { h, set_attribute, set_text, svg } from './dom.js';

export const window_ms = 120_000;
const height = 76;
const top = 8;
const bottom = 4;
const gap_ms = 3500; // readings further apart than this are not joined by a line
const step_ms = 1000;

// The moment that all charts show; undefined: now.
const cursor = { ago_ms: undefined, charts: [] };

function point_at(ago_ms) {
  cursor.ago_ms = ago_ms === undefined ? undefined : Math.min(window_ms, Math.max(0, ago_ms));
  for (const chart of cursor.charts) chart.draw_values();
}

// The least 1, 2, 5 times a power of ten that is not below the value.
function round_up(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 3, 4, 5, 6, 8].map((factor) => factor * power).find((end) => end >= value * 0.9999) ?? 10 * power;
}

export class Chart {
  #samples = [];
  #width = 300;

  // series: [{ key, label, tone, area, dashed }]; the first one is the large figure. `stacked`: each begins where the
  // one before it ends. `end_min`: where the axis ends at least; `end_fixed`: always.
  constructor({ title, note = '', series, format, end_min = 1, end_fixed, stacked = false }) {
    Object.assign(this, { title, series, format, end_min, end_fixed, stacked });
    this.large = h('strong', {});
    this.when = h('span', { class: 'when' }, note);
    this.note = note;
    this.small = series.slice(1).map(({ label, tone }) => {
      const value = h('b', {});
      return { value, node: h('span', { 'data-tone': tone }, `${label} `, value) };
    });
    const lead = series[0].label ? [h('span', { class: 'lead', 'data-tone': series[0].tone }, series[0].label)] : [];
    this.picture = svg('svg', { 'aria-hidden': 'true' });
    this.node = h(
      'figure',
      { tabindex: '0', role: 'group', onkeydown: (event) => this.#on_key(event), onblur: () => point_at(undefined) },
      h('figcaption', {}, h('span', { class: 'title' }, title), this.when),
      h('div', { class: 'values' }, this.large, ...lead, ...this.small.map(({ node }) => node)),
      this.picture,
    );
    this.#make_picture();
    cursor.charts.push(this);
    new ResizeObserver(([{ contentRect }]) => {
      this.#width = Math.max(60, Math.round(contentRect.width));
      this.draw();
    }).observe(this.picture.parentNode);
    this.picture.addEventListener('pointermove', ({ offsetX }) =>
      point_at((1 - offsetX / this.picture.clientWidth) * window_ms),
    );
    this.picture.addEventListener('pointerleave', () => point_at(undefined));
    this.picture.addEventListener('pointercancel', () => point_at(undefined));
  }

  #make_picture() {
    this.grid = [svg('line', { class: 'grid' }), svg('line', { class: 'grid' }), svg('line', { class: 'base' })];
    this.end_text = svg('text', { class: 'end', x: 0, y: top + 9 });
    this.paths = this.series.map(({ tone, area, dashed }) => ({
      area: area ? svg('path', { class: 'area', 'data-tone': tone }) : undefined,
      line: svg('path', { class: dashed ? 'line dashed' : 'line', 'data-tone': tone }),
    }));
    this.hair = svg('line', { class: 'hair', y1: top, y2: height - bottom, visibility: 'hidden' });
    const paths = this.paths.flatMap(({ area, line }) => (area ? [area, line] : [line]));
    this.picture.append(...this.grid, ...paths, this.end_text, this.hair);
  }

  #on_key(event) {
    const ago = cursor.ago_ms ?? 0;
    const moves = { ArrowLeft: ago + step_ms, ArrowRight: ago - step_ms, Home: window_ms, End: 0, Escape: undefined };
    if (!(event.key in moves)) return;
    event.preventDefault();
    point_at(moves[event.key]);
  }

  // Samples are { at, key: value… }, the oldest first; a value that is undefined is a gap.
  show(samples) {
    this.#samples = samples;
    this.draw();
  }

  draw() {
    const now = this.#samples.at(-1)?.at ?? 0;
    this.#set_size();
    const tops = this.#samples.map((sample) => this.#levels(sample));
    const largest = Math.max(0, ...tops.flat().filter((value) => value !== undefined));
    const end = this.end_fixed ?? round_up(Math.max(largest, this.end_min));
    const x_of = (at) => this.#width - ((now - at) / window_ms) * this.#width;
    const y_of = (value) => height - bottom - (value / end) * (height - top - bottom);
    set_text(this.end_text, this.format(end).replace(/\.0+(?=\D|$)/, ''));
    this.paths.forEach(({ area, line }, index) => {
      const runs = this.#runs(tops, index);
      const points = (run) => run.map(({ at, value }) => `${x_of(at).toFixed(1)} ${y_of(value).toFixed(1)}`).join('L');
      line.setAttribute('d', runs.map((run) => `M${points(run)}`).join(''));
      const base = y_of(0);
      area?.setAttribute(
        'd',
        runs.map((run) => `M${x_of(run[0].at)} ${base}L${points(run)}L${x_of(run.at(-1).at)} ${base}Z`).join(''),
      );
    });
    this.draw_values();
  }

  #set_size() {
    set_attribute(this.picture, 'viewBox', `0 0 ${this.#width} ${height}`);
    [top, (top + height - bottom) / 2, height - bottom].forEach((y, index) => {
      for (const [name, value] of [['x1', 0], ['x2', this.#width], ['y1', y], ['y2', y]])
        set_attribute(this.grid[index], name, Math.round(value) + (name[0] === 'y' ? 0.5 : 0));
    });
  }

  // What is drawn of a sample, one height a series.
  #levels(sample) {
    let sum = 0;
    return this.series.map(({ key }) => {
      const value = sample[key];
      if (value === undefined || !this.stacked) return value;
      return (sum += value);
    });
  }

  // The parts of a line that hold together: [[{ at, value }…]…].
  #runs(tops, index) {
    const runs = [];
    let last_at;
    this.#samples.forEach(({ at }, i) => {
      const value = tops[i][index];
      if (value === undefined) return void (last_at = undefined);
      if (last_at === undefined || at - last_at > gap_ms) runs.push([]);
      runs.at(-1).push({ at, value });
      last_at = at;
    });
    // A reading that stands alone is a short line.
    for (const run of runs) if (run.length === 1) run.push({ ...run[0], at: run[0].at + step_ms / 2 });
    return runs;
  }

  draw_values() {
    const now = this.#samples.at(-1)?.at ?? 0;
    const { ago_ms } = cursor;
    const wanted = now - (ago_ms ?? 0);
    const near = this.#samples.findLast(({ at }) => Math.abs(at - wanted) <= step_ms);
    const sample = ago_ms === undefined ? this.#samples.at(-1) : near;
    const texts = this.series.map(({ key }) => this.format(sample?.[key]));
    set_text(this.large, texts[0]);
    this.small.forEach(({ value }, index) => set_text(value, texts[index + 1]));
    set_text(this.when, ago_ms === undefined ? this.note : `${Math.round(ago_ms / 1000)} s ago`);
    set_attribute(this.when, 'data-note', ago_ms === undefined);
    set_attribute(this.large, 'data-empty', sample?.[this.series[0].key] === undefined);
    const words = this.series.map(({ label }, index) => `${label ?? ''} ${texts[index]}`.trim()).join(', ');
    set_attribute(this.node, 'aria-label', `${this.title}: ${words}`);
    const x = this.#width * (1 - (ago_ms ?? 0) / window_ms);
    set_attribute(this.hair, 'x1', x);
    set_attribute(this.hair, 'x2', x);
    set_attribute(this.hair, 'visibility', ago_ms === undefined ? 'hidden' : 'visible');
  }
}
