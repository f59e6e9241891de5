// What is made of the figures of several rounds.
export const median = (values) => {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
};

// A round in which it was not measured, or failed, counts for nothing.
export const known = (values) => (values ?? []).filter((value) => typeof value === 'number');

// One's figure against the other's, for each round that has both and where the other one is not zero.
export const ratios = (ones = [], others = []) =>
  known(ones.map((one, round) => (typeof one === 'number' && others[round] > 0 ? one / others[round] : undefined)));
