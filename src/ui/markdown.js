// Markdown as models write it, made of elements. What is text in the source stays text, whatever it looks like.
import { h } from './dom.js';

const depth_max = 8; // of lists, quotes and emphasis within each other
const label_max = 1000; // characters of a link
const address_max = 2000;
const safe_schemes = ['http:', 'https:', 'mailto:'];

// ---- within a line

const special = /[\\`*_~[]|https?:\/\//g;
const is_space = (character) => character === undefined || /\s/.test(character);
const is_word = (character) => character !== undefined && /[\p{L}\p{N}]/u.test(character);

function link(address, ...label) {
  let url;
  try {
    url = new URL(address);
  } catch {
    return undefined; // No relative ones: they would lead into this server.
  }
  if (!safe_schemes.includes(url.protocol)) return undefined;
  return h('a', { href: url.href, target: '_blank', rel: 'noopener noreferrer nofollow' }, ...label);
}

class Inline {
  #nodes = [];
  #plain = ''; // text that is not in #nodes yet
  #at = 0;
  #unclosed = new Set(); // marks that nothing closes from here on
  #link_middle = -1; // where the next "](" is

  constructor(text, depth) {
    this.text = text;
    this.depth = depth;
  }

  parse() {
    const { text } = this;
    while (this.#at < text.length) {
      special.lastIndex = this.#at;
      const found = special.exec(text);
      this.#plain += text.slice(this.#at, found?.index ?? text.length);
      if (!found) break;
      this.#at = found.index;
      const taken = this.#take(found[0]);
      if (taken) continue;
      this.#plain += found[0];
      this.#at += found[0].length;
    }
    this.#end_text();
    return this.#nodes;
  }

  #end_text() {
    if (this.#plain) this.#nodes.push(this.#plain);
    this.#plain = '';
  }

  // True: it was something, and #at is behind it.
  #take(mark) {
    if (mark === '\\') return this.#escaped();
    if (mark === '`') return this.#code();
    if (mark === '[') return this.#link();
    if (mark.startsWith('http')) return this.#address();
    return this.#emphasis(mark);
  }

  #add(node, end) {
    this.#end_text();
    this.#nodes.push(node);
    this.#at = end;
    return true;
  }

  #escaped() {
    const next = this.text[this.#at + 1];
    if (next === undefined || !/[\p{P}\p{S}]/u.test(next)) return false;
    this.#plain += next;
    this.#at += 2;
    return true;
  }

  #code() {
    const { text } = this;
    let start = this.#at;
    while (text[start] === '`') start++;
    const mark = text.slice(this.#at, start);
    const end = this.#unclosed.has(mark) ? -1 : this.#code_end(mark, start);
    if (end < 0) {
      this.#unclosed.add(mark);
      this.#plain += mark;
      this.#at = start;
      return true;
    }
    return this.#add(h('code', {}, text.slice(start, end).replace(/^ (?=`)|(?<=`) $/g, '')), end + mark.length);
  }

  #code_end(mark, from) {
    for (let at = this.text.indexOf(mark, from); at >= 0; at = this.text.indexOf(mark, at)) {
      let end = at;
      while (this.text[end] === '`') end++;
      if (end - at === mark.length) return at;
      at = end;
    }
    return -1;
  }

  #emphasis(character) {
    const { text } = this;
    let end = this.#at;
    while (text[end] === character) end++;
    const length = end - this.#at;
    const kinds = character === '~' ? { 2: ['del'] } : { 1: ['em'], 2: ['strong'], 3: ['strong', 'em'] };
    const opens = !is_space(text[end]) && (character !== '_' || !is_word(text[this.#at - 1]));
    const tags = opens && this.depth < depth_max ? kinds[length] : undefined;
    const mark = character.repeat(length);
    const close = tags && !this.#unclosed.has(mark) ? this.#close(mark, end) : -1;
    if (close < 0) {
      if (tags) this.#unclosed.add(mark);
      this.#plain += mark;
      this.#at = end;
      return true;
    }
    const inner = inline(text.slice(end, close), this.depth + 1);
    const node = tags.reduceRight((nodes, tag) => [h(tag, {}, ...nodes)], inner)[0];
    return this.#add(node, close + length);
  }

  // Where this mark stands alone, behind something.
  #close(mark, from) {
    const { text } = this;
    for (let at = text.indexOf(mark, from); at >= 0; at = text.indexOf(mark, at)) {
      let end = at;
      while (text[end] === mark[0]) end++;
      // Of a longer run the last ones close: what was opened within has been closed by the first ones.
      const closes = end - at === mark.length || (end - at === 3 && mark.length < 3);
      const apart = mark[0] !== '_' || !is_word(text[end]);
      if (closes && apart && !is_space(text[at - 1])) return end - mark.length;
      at = end;
    }
    return -1;
  }

  #link() {
    const { text } = this;
    if (this.#link_middle < this.#at) {
      const next = text.indexOf('](', this.#at);
      this.#link_middle = next < 0 ? Infinity : next;
    }
    const middle = this.#link_middle;
    if (middle - this.#at > label_max || this.depth >= depth_max) return false;
    const start = middle + 2;
    let open = 1;
    let end = start;
    while (end < text.length && end - start < address_max) {
      if (text[end] === '(') open++;
      if (text[end] === ')' && --open === 0) break;
      end++;
    }
    if (open > 0) return false;
    const [address = ''] = text.slice(start, end).trim().split(/\s/); // A title may follow.
    const node = link(address.replace(/^<|>$/g, ''), ...inline(text.slice(this.#at + 1, middle), depth_max));
    return node !== undefined && this.#add(node, end + 1);
  }

  #address() {
    if (is_word(this.text[this.#at - 1])) return false;
    const [whole] = /^[^\s<>"'`|]{1,2000}/.exec(this.text.slice(this.#at, this.#at + address_max));
    let address = whole.replace(/[.,;:!?*_~]{1,9}$/, '');
    if (!address.includes('(')) address = address.replace(/\).*$/, '');
    const node = link(address, address);
    return node !== undefined && this.#add(node, this.#at + address.length);
  }
}

function inline(text, depth = 0) {
  return new Inline(text, depth).parse();
}

// ---- blocks

const fence = /^ {0,3}(`{3,}|~{3,})([^`]*)$/;
const heading = /^ {0,3}(#{1,6})(?:[ \t]|$)/;
const rule = /^ {0,3}([-*_])(?:[ \t]*\1){2,}[ \t]*$/;
const quote = /^ {0,3}> ?/;
const item = /^(\s*)([-*+]|\d{1,9}[.)])(?:[ \t]|$)/;
const is_blank = (line) => line.trim() === '';
const indent_of = (line) => line.search(/\S|$/);
const starts_block = (line) => fence.test(line) || heading.test(line) || rule.test(line) || quote.test(line) || item.test(line);

const cells_of = (line) =>
  line
    .trim()
    .replace(/^\||\|$/g, '')
    .split('|')
    .map((cell) => cell.trim());
const is_table = (line, next) =>
  line.includes('|') && next?.includes('-') === true && cells_of(next).every((cell) => /^:?-+:?$/.test(cell));

// Readers take lines from `at` on and return { node, end }.
function read_fence(lines, at) {
  const [, mark] = fence.exec(lines[at]);
  const closes = (line) => line.trim().startsWith(mark) && line.trim().replaceAll(mark[0], '') === '';
  let end = at + 1;
  while (end < lines.length && !closes(lines[end])) end++;
  const indent = indent_of(lines[at]);
  const text = lines.slice(at + 1, end).map((line) => line.slice(Math.min(indent, indent_of(line))));
  return { node: h('pre', { tabindex: '0' }, h('code', {}, text.join('\n'))), end: end + 1 };
}

function read_heading(lines, at) {
  const [whole, marks] = heading.exec(lines[at]);
  const text = lines[at].slice(whole.length).trim();
  // The page has levels of its own above these.
  return { node: h(`h${Math.min(6, marks.length + 3)}`, {}, ...inline(text)), end: at + 1 };
}

function read_quote(lines, at, depth) {
  let end = at;
  while (end < lines.length && quote.test(lines[end])) end++;
  const inner = lines.slice(at, end).map((line) => line.replace(quote, ''));
  return { node: h('blockquote', {}, ...blocks(inner, depth + 1)), end };
}

function read_table(lines, at) {
  const row = (line, tag) => h('tr', {}, ...cells_of(line).map((cell) => h(tag, {}, ...inline(cell))));
  let end = at + 2;
  while (end < lines.length && lines[end].includes('|')) end++;
  const body = lines.slice(at + 2, end).map((line) => row(line, 'td'));
  const table = h('table', {}, h('thead', {}, row(lines[at], 'th')), h('tbody', {}, ...body));
  return { node: h('div', { class: 'scroll', tabindex: '0' }, table), end };
}

function read_list(lines, at, depth) {
  const [, first_indent, first_mark] = item.exec(lines[at]);
  const ordered = /\d/.test(first_mark);
  const node = h(ordered ? 'ol' : 'ul', ordered ? { start: Number.parseInt(first_mark) } : {});
  const is_next = (line) => {
    const found = item.exec(line);
    return found && found[1].length < first_indent.length + 2 && /\d/.test(found[2]) === ordered;
  };
  let end = at;
  while (end < lines.length && is_next(lines[end])) {
    const [whole] = item.exec(lines[end]);
    const inner = [lines[end].slice(whole.length)];
    const outer = indent_of(lines[end]);
    end++;
    // What is indented belongs to the item, and so does text that directly follows it.
    while (end < lines.length) {
      const line = lines[end];
      const belongs = is_blank(line)
        ? end + 1 < lines.length && indent_of(lines[end + 1]) > outer && !is_blank(lines[end + 1])
        : indent_of(line) > outer + 1 || (!starts_block(line) && !is_blank(inner.at(-1)));
      if (!belongs) break;
      inner.push(line.slice(Math.min(indent_of(line), Math.max(outer + 2, whole.length))));
      end++;
    }
    // Items may have lines without text between them.
    if (end + 1 < lines.length && is_blank(lines[end]) && is_next(lines[end + 1])) end++;
    node.append(h('li', {}, ...blocks(inner, depth + 1)));
  }
  return { node, end };
}

function read_paragraph(lines, at) {
  let end = at + 1;
  while (end < lines.length && !is_blank(lines[end]) && !starts_block(lines[end])) end++;
  return { node: h('p', {}, ...inline(lines.slice(at, end).join('\n').trim())), end };
}

function read_block(lines, at, depth) {
  const line = lines[at];
  if (fence.test(line)) return read_fence(lines, at);
  if (heading.test(line)) return read_heading(lines, at);
  if (rule.test(line)) return { node: h('hr', {}), end: at + 1 };
  if (depth < depth_max && quote.test(line)) return read_quote(lines, at, depth);
  if (depth < depth_max && item.test(line)) return read_list(lines, at, depth);
  if (is_table(line, lines[at + 1])) return read_table(lines, at);
  return read_paragraph(lines, at);
}

function blocks(lines, depth) {
  const nodes = [];
  for (let at = 0; at < lines.length;) {
    if (is_blank(lines[at])) {
      at++;
      continue;
    }
    const { node, end } = read_block(lines, at, depth);
    nodes.push(node);
    at = end;
  }
  return nodes;
}

// Shows a text that grows: what has not changed stays the same elements, and so does what is selected in it.
export class Markdown {
  #shown = []; // { node, end } of each block; end: in the text
  #text = '';

  constructor(container) {
    this.container = container;
  }

  show(text) {
    if (text === this.#text) return;
    // A text that grows changes its last block; and the one before that, if it turns out to be the head of a table.
    const kept = text.startsWith(this.#text) ? this.#shown.slice(0, -2) : [];
    const start = kept.length > 0 ? kept.at(-1).end : 0;
    for (const { node } of this.#shown.slice(kept.length)) node.remove();
    this.#text = text;
    this.#shown = kept;
    const lines = text.slice(start).split('\n');
    let offset = start;
    for (let at = 0; at < lines.length;) {
      if (is_blank(lines[at])) {
        offset += lines[at].length + 1;
        at++;
        continue;
      }
      const { node, end } = read_block(lines, at, 0);
      for (; at < Math.min(end, lines.length); at++) offset += lines[at].length + 1;
      this.container.append(node);
      this.#shown.push({ node, end: Math.min(offset, text.length) });
    }
  }
}
