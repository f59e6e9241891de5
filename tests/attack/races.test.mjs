// Clients that make, copy, delete and use models of the same names at the same time.
import { renamed } from '../e2e/gguf.mjs';
import { sha256 } from '../e2e/harness.mjs';
import { attacks, short } from './attack.mjs';

const files = ['Rac1', 'Rac2', 'Rac3'].map(renamed);
const digests = files.map((file) => `sha256:${sha256(file)}`);

// What a client does next, by a small generator of its own, and what it may be told.
async function one_operation(arena, next) {
  const name = `race${next(2)}`;
  const which = next(files.length);
  const expect = async (what, allowed, answer) => {
    const { status, text } = await answer;
    if (!allowed.includes(status)) throw new Error(`${what}: ${status} ${text.slice(0, 200)}`);
    return status;
  };
  const create = (body) => arena.ask('POST', '/api/create', { model: name, stream: false, ...body });
  switch (next(6)) {
    case 0: {
      // An upload that was acknowledged is there for who uploaded it.
      const uploaded = await expect('upload', [200, 201], arena.ask('POST', `/api/blobs/${digests[which]}`, files[which], { headers: { 'content-type': 'application/octet-stream' } }));
      return [uploaded, await expect('create after upload', [200], create({ files: { 'model.gguf': digests[which] } }))];
    }
    case 1:
      return [await expect('create from', [200], create({ from: 'cria', system: `${next(1000)}` }))];
    case 2:
      return [await expect('copy', [200, 404], arena.ask('POST', '/api/copy', { source: name, destination: `race${next(3)}` }))];
    case 3:
      return [await expect('delete', [200, 404], arena.ask('DELETE', '/api/delete', { model: name }))];
    case 4:
      return [await expect('show', [200, 404], arena.ask('POST', '/api/show', { model: name }))];
    default:
      return [await expect('generate', [200, 404], arena.generate({ model: name, keep_alive: 0, options: { num_predict: 3 } }))];
  }
}

attacks('races', { gap: { cap_ms: 3000 } }, [
  {
    name: '8 clients on three names',
    short: true,
    status: [200, 201, 400, 404],
    within_s: 60,
    attack: async (arena) => {
      const found = [];
      const wrong = new Map();
      const end = performance.now() + (short ? 6 : 20) * 1000;
      const client = async (seed) => {
        let state = seed;
        const next = (below) => ((state = (Math.imul(state, 1664525) + 1013904223) >>> 0) >>> 8) % below;
        while (performance.now() < end)
          try {
            found.push(...(await one_operation(arena, next)));
          } catch ({ message }) {
            wrong.set(message, (wrong.get(message) ?? 0) + 1);
          }
      };
      await Promise.all(Array.from({ length: 8 }, (_, i) => client(i + 1)));
      if (wrong.size > 0) throw new Error([...wrong].map(([text, count]) => `${count} × ${text}`).join('; '));
      return found;
    },
  },
]);
