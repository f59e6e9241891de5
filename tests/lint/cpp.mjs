// Reads C++ as far as the rules of lint.mjs need it: comments, literals, scopes and function definitions. No grammar:
// it relies on sources that clang-format has formatted.

// The same text with comments, preprocessor lines and the contents of literals replaced by spaces; lines and columns
// stay where they are. `strings`: keep the contents of string literals.
export function blank(text, { strings = false } = {}) {
  const out = [...text.replace(/[^\n\x20-\x7e]/g, ' ')];
  const wipe = (from, to) => {
    for (let i = from; i < to; ++i) if (out[i] !== '\n') out[i] = ' ';
  };
  let at = 0;
  let line_is_empty = true; // nothing but blanks since the line began
  while (at < text.length) {
    const rest = text.slice(at, at + 2);
    const end_of = (pattern, from) => {
      const found = text.indexOf(pattern, from);
      return found === -1 ? text.length : found + pattern.length;
    };
    let end = at + 1;
    if (rest === '//') {
      end = end_of('\n', at) - 1;
      wipe(at, end);
    } else if (rest === '/*') {
      end = end_of('*/', at + 2);
      wipe(at, end);
    } else if (text[at] === '#' && line_is_empty) {
      do end = end_of('\n', end);
      while (text[end - 2] === '\\' && end < text.length);
      wipe(at, end - 1);
      end = end - 1;
    } else if (text[at] === '"') {
      const raw = /R$/.test(text.slice(Math.max(0, at - 3), at)) && /^"([^\s()\\]{0,16})\(/.exec(text.slice(at, at + 19));
      if (raw) {
        end = end_of(`)${raw[1]}"`, at);
      } else {
        while (end < text.length && text[end] !== '"' && text[end] !== '\n') end += text[end] === '\\' ? 2 : 1;
        ++end;
      }
      if (!strings) wipe(at + 1, end - 1);
    } else if (text[at] === "'" && !/[0-9a-fA-F]/.test(text[at - 1] ?? '')) {
      while (end < text.length && text[end] !== "'" && text[end] !== '\n') end += text[end] === '\\' ? 2 : 1;
      ++end;
      wipe(at + 1, end - 1);
    }
    line_is_empty = text[end - 1] === '\n' || (line_is_empty && /\s/.test(text[at]));
    at = end;
  }
  return out.join('');
}

const closers = { '(': ')', '{': '}', '[': ']' };

// The index behind the bracket that closes the one at `at`.
export function behind(code, at) {
  const open = code[at];
  let depth = 0;
  for (let i = at; i < code.length; ++i) {
    if (code[i] === open) ++depth;
    if (code[i] === closers[open] && --depth === 0) return i + 1;
  }
  return code.length;
}

// Parts between commas that stand in no bracket.
function split_commas(code) {
  const parts = [];
  let depth = 0;
  let start = 0;
  for (let i = 0; i < code.length; ++i) {
    if ('({[<'.includes(code[i])) ++depth;
    if (')}]'.includes(code[i]) || (code[i] === '>' && code[i - 1] !== '-')) --depth;
    if (code[i] === ',' && depth === 0) {
      parts.push(code.slice(start, i));
      start = i + 1;
    }
  }
  parts.push(code.slice(start));
  return parts.map((part) => part.trim()).filter((part) => part !== '');
}

function without_angles(code) {
  let before;
  do {
    before = code;
    code = code.replace(/<[^<>]*>/g, '');
  } while (code !== before);
  return code;
}

const basic = new Set(
  'auto bool char double float int long short signed unsigned void size_t const volatile struct class'.split(' '),
);

// A parameter's name, '' if it has none, null for what is no parameter ("void", "...").
export function parameter_name(parameter) {
  const code = without_angles(parameter.replace(/\[\[.*?\]\]/g, '').replace(/\/\*.*?\*\//g, ''))
    .replace(/=.*$/s, '')
    .replace(/\[[^\]]*\]/g, '')
    .trim();
  if (code === '' || code === 'void' || code === '...') return null;
  const inner = /\((?:\w+::)*[*&]\s*(\w+)?\s*\)/.exec(code); // a pointer to a function
  if (inner) return inner[1] ?? '';
  const words = code.match(/\w+(?:::\w+)*/g) ?? [];
  const last = words.at(-1);
  if (!/\w$/.test(code) || last === undefined || last.includes('::') || basic.has(last)) return '';
  return words.filter((word) => word !== 'const' && word !== 'volatile' && word !== 'struct').length > 1 ? last : '';
}

// The same length, but nothing between angle brackets that belong to a template's arguments.
function mask_angles(code) {
  let before;
  do {
    before = code;
    code = code.replace(/(\w\s*)<([^<>]*)>/g, (_, word, inner) => `${word}~${'~'.repeat(inner.length)}~`);
  } while (code !== before);
  return code;
}

// What stands in front of a bracket that opens no list of parameters: words of the language, and clang's annotations.
const not_a_function =
  /^(decltype|alignas|noexcept|__attribute__|explicit|requires|if|for|while|switch|\w*CAPABILITY|(PT_)?GUARDED_BY|ACQUIRED_\w+)$/;

// Where the list of parameters opens in the text before a function's body, or -1.
function open_of_parameters(text) {
  const head = mask_angles(text);
  const named = /\boperator\s*(\(\s*\)|[^\s\w(]+|\w[\w\s:*&<>]*?)\s*(?=\()/.exec(head);
  if (named) return named.index + named[0].length;
  for (let i = head.indexOf('('); i !== -1; i = head.indexOf('(', behind(head, i))) {
    const before = /(\w+)[\s~]*$/.exec(head.slice(0, i));
    if (before && !not_a_function.test(before[1])) return i;
  }
  return -1;
}

// Is the brace behind `head` the body of a function whose parameters open at `open`? A constructor's list of members may
// have braces of its own.
function is_body(head, open) {
  const tail = head.slice(behind(head, open)).replace(/::/g, '');
  if (/=\s*$/.test(tail)) return false;
  return !/:/.test(tail) || /[)}]\s*(try\s*)?$/.test(tail);
}

// All functions that are defined in a file, outermost only: [{ name, line, lines, head, parameters, body, inner }]. `line`
// counts from 1, `lines` includes the head, `parameters` are texts, `body` is blanked, `inner` has the strings.
export function functions(text) {
  const code = blank(text);
  const kept = blank(text, { strings: true });
  const found = [];
  const line_of = (at) => code.slice(0, at).split('\n').length;
  let start = 0; // of the statement or declaration that is being read
  let at = 0;
  while (at < code.length) {
    const c = code[at];
    if (c === '(' || c === '[') {
      at = behind(code, at);
      continue;
    }
    if (c === ';' || c === '}' || (c === ':' && /\b(public|private|protected)\s*$/.test(code.slice(start, at)))) start = at + 1;
    if (c !== '{') {
      ++at;
      continue;
    }
    const head = code.slice(start, at);
    const plain = without_angles(head).replace(/\[\[.*?\]\]|\b\w*CAPABILITY\([^)]*\)/g, '');
    const scope = /^\s*(?:inline\s+)?namespace\b|^\s*extern\s*"|^[^()=]*\b(class|struct|union)\b(?![^{]*\))[^()=]*$/.test(plain);
    if (scope) {
      start = ++at;
      continue;
    }
    const end = behind(code, at);
    const open = /^[^(]*[^=!<>(]=[^=]/.test(plain.replace(/operator\s*\S+/, '')) ? -1 : open_of_parameters(head);
    if (open === -1 || !is_body(head, open)) {
      at = end; // an enum, an initializer, or the braces of a constructor's member: the statement goes on
      continue;
    }
    const first = start + head.length - head.trimStart().length;
    const parameters = split_commas(head.slice(open + 1, behind(head, open) - 1));
    found.push({
      name: /((?:~?\w+::)*(?:operator.*|~?\w+))\s*$/s.exec(without_angles(head.slice(0, open)).trim())?.[1] ?? '?',
      line: line_of(first),
      lines: line_of(end - 1) - line_of(first) + 1,
      head: head.trim(),
      tail: head.slice(behind(head, open)).trim(),
      parameters,
      body: code.slice(at + 1, end - 1),
      inner: kept.slice(at + 1, end - 1),
    });
    at = end;
    start = end;
  }
  return found;
}
