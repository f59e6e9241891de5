// A live line chart of the last ten minutes. Where the pointer is, or the arrow keys lead, all charts show that moment.
import { duration, h, set_attribute, set_text, svg } from './dom.js';

export const window_ms = 600_000;
const height = 90;
const top = 8;
const bottom = 18; // for the axis
const tick_ms = 60_000;
const step_ms = 5000; // of the arrow keys
// Readings are joined by a line unless one is missing between them.
const is_gap = (sample, before) => sample.at - before.at > 2 * Math.max(sample.span_ms, before.span_ms) + 1500;

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
  #now = 0;
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
    this.ticks = Array.from({ length: window_ms / tick_ms + 1 }, () => svg('line', { class: 'tick' }));
    this.times = [
      [window_ms, `−${window_ms / 60_000} min`, 'start'],
      [window_ms / 2, `−${window_ms / 120_000} min`, 'middle'],
      [0, 'now', 'end'],
    ].map(([ago, text, anchor]) => ({ ago, node: svg('text', { class: 'time', y: height - 3, 'text-anchor': anchor }, text) }));
    this.end_text = svg('text', { class: 'end', x: 0, y: top + 9 });
    this.paths = this.series.map(({ tone, area, dashed }) => ({
      area: area ? svg('path', { class: 'area', 'data-tone': tone }) : undefined,
      line: svg('path', { class: dashed ? 'line dashed' : 'line', 'data-tone': tone }),
    }));
    this.hair = svg('line', { class: 'hair', y1: top, y2: height - bottom, visibility: 'hidden' });
    const paths = this.paths.flatMap(({ area, line }) => (area ? [area, line] : [line]));
    const times = this.times.map(({ node }) => node);
    this.picture.append(...this.grid, ...this.ticks, ...times, ...paths, this.end_text, this.hair);
  }

  #on_key(event) {
    const ago = cursor.ago_ms ?? 0;
    const moves = { ArrowLeft: ago + step_ms, ArrowRight: ago - step_ms, Home: window_ms, End: 0, Escape: undefined };
    if (!(event.key in moves)) return;
    event.preventDefault();
    point_at(moves[event.key]);
  }

  // Samples are { at, span_ms, key: value… }, the oldest first; a value that is undefined is a gap. `now` is where the
  // axis ends: later than the last sample while none comes.
  show(samples, now) {
    this.#samples = samples;
    this.#now = now;
    this.draw();
  }

  draw() {
    const now = this.#now;
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
    const x_of = (ago_ms) => this.#width * (1 - ago_ms / window_ms);
    this.ticks.forEach((tick, index) => {
      const x = Math.min(this.#width - 0.5, Math.max(0.5, Math.round(x_of(index * tick_ms)) + 0.5));
      for (const [name, value] of [['x1', x], ['x2', x], ['y1', height - bottom], ['y2', height - bottom + 3]])
        set_attribute(tick, name, value);
    });
    for (const { ago, node } of this.times) set_attribute(node, 'x', x_of(ago));
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
    let before;
    this.#samples.forEach((sample, i) => {
      const value = tops[i][index];
      if (value === undefined) return void (before = undefined);
      if (before === undefined || is_gap(sample, before)) runs.push([]);
      runs.at(-1).push({ at: sample.at, value });
      before = sample;
    });
    // A reading that stands alone is a short line.
    for (const run of runs) if (run.length === 1) run.unshift({ ...run[0], at: run[0].at - 2000 });
    return runs;
  }

  // The sample that tells of this moment, if one does.
  #nearest(wanted) {
    const far = ({ at }) => Math.abs(at - wanted);
    const near = this.#samples.reduce((best, one) => (best && far(best) <= far(one) ? best : one), undefined);
    return near && far(near) <= near.span_ms ? near : undefined;
  }

  // "2:35 ago, 14:03:12"
  #moment(ago_ms) {
    const time = new Date(this.#now - ago_ms).toLocaleTimeString([], { hour12: false });
    const seconds = Math.round(ago_ms / 1000);
    return `${seconds < 60 ? `${seconds} s` : duration(seconds * 1000)} ago, ${time}`;
  }

  draw_values() {
    const { ago_ms } = cursor;
    const sample = ago_ms === undefined ? this.#samples.at(-1) : this.#nearest(this.#now - ago_ms);
    const texts = this.series.map(({ key }) => this.format(sample?.[key]));
    set_text(this.large, texts[0]);
    this.small.forEach(({ value }, index) => set_text(value, texts[index + 1]));
    set_text(this.when, ago_ms === undefined ? this.note : this.#moment(ago_ms));
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
