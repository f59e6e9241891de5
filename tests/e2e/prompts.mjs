// Prompts whose right answers are known, all different, the same in each run.

const names = ['Ana', 'Ben', 'Cleo', 'Dan', 'Eva', 'Finn', 'Gus', 'Hana', 'Ivan', 'Jade', 'Kai', 'Lena', 'Max', 'Nora'];
const words = ['llama', 'sun', 'tree', 'river', 'stone', 'cloud', 'bird', 'fish', 'house', 'garden', 'bread', 'apple'];

// A small generator of fixed seed: next(n) is a whole number below n.
export function generator(state) {
  return (n) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * n);
  };
}

const sequence = (first, last) => Array.from({ length: last - first + 1 }, (_, i) => first + i).join(', ');

function count(next) {
  const first = next(120);
  const last = first + 5 + next(40);
  return { prompt: `Count from ${first} to ${last}`, answer: sequence(first, last) };
}

function repeat(next) {
  const text = [words[next(words.length)], words[next(words.length)], 100 + next(900)].join(' ');
  return { prompt: `Repeat after me: ${text}`, answer: text };
}

function look_up(next) {
  const first = next(names.length);
  const people = Array.from({ length: 3 + next(5) }, (_, i) => names[(first + i) % names.length]);
  const table = people.map((person) => `${person}: ${100 + next(900)}`);
  const wanted = next(people.length);
  return {
    prompt: `Here is a list.\n${table.join('\n')}\nWhat is the number of ${people[wanted]}?`,
    answer: table[wanted],
  };
}

// `wanted` prompts, the kinds in turn: [{prompt, answer}].
export function prompts(wanted) {
  const next = generator(42);
  const found = new Map();
  for (let i = 0; found.size < wanted; i++) {
    const { prompt, answer } = [count, repeat, look_up][i % 3](next);
    found.set(prompt, answer);
  }
  return [...found].map(([prompt, answer]) => ({ prompt, answer }));
}
