// Taking turns on a machine that others may use as well.
import { LoadWatch } from './load.mjs';

const others_max = 0.05; // of all processors, used by others: more, and a measurement does not count
const retries = 1;

// The list, begun elsewhere in each round.
export function in_turn(list, round) {
  const begins = round % list.length;
  return [...list.slice(begins), ...list.slice(0, begins)];
}

// Measures once, and anew if others have used the processors meanwhile: {values, disturbed}; no values if it failed.
// `measure` is told the number of the attempt, so as not to send the same prompts again.
export async function undisturbed(measure, name, say) {
  for (let attempt = 0; ; attempt++) {
    const watch = new LoadWatch();
    let values;
    try {
      values = await measure(attempt);
    } catch (error) {
      say(`  ${name}: ${error.message}`);
      return { values: undefined, disturbed: false };
    }
    const others = watch.others();
    if (others <= others_max) return { values, disturbed: false };
    say(`  ${name}: others used ${(100 * others).toFixed(0)} % of the processors`);
    if (attempt === retries) return { values, disturbed: true };
  }
}

// The first request of a model costs more than those that follow.
export const warm_up = (client) =>
  client.chat([{ role: 'user', content: 'warm' }], { max_tokens: 8, stream: false }).done;
