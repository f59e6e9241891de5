// What prompts and texts are made of: words that are one token each in llama3's vocabulary.
const vocabulary =
  'apple river stone cloud garden window mountain paper silver music winter bridge candle forest letter market ocean ' +
  'pencil queen rabbit story table train valley water yellow bread chair door earth fire glass house island jacket ' +
  'kitchen lamp mirror night orange plate road snow tower uncle voice wheel year bird coat dream engine flower gold ' +
  'hill ink jungle key leaf moon nest oil pearl rope';
export const word_list = vocabulary.split(' ');

// A source of random words that depends on nothing but its name.
export function words_of(name) {
  return (count, salt) => {
    let state = 2166136261;
    for (const character of `${name} ${salt}`) state = Math.imul(state ^ character.charCodeAt(0), 16777619);
    const next = () => {
      state = (state + 0x9e3779b9) | 0;
      let mixed = Math.imul(state ^ (state >>> 16), 0x21f0aaad);
      mixed = Math.imul(mixed ^ (mixed >>> 15), 0x735a2d97);
      return (mixed ^ (mixed >>> 15)) >>> 0;
    };
    return Array.from({ length: count }, () => word_list[next() % word_list.length]).join(' ');
  };
}
