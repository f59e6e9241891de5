// Models whose files are wrong: whoever makes one is told what is wrong with it. Where that cannot be seen in the file,
// a load or an answer ends with an error, and nobody else notices.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { describe, test } from 'node:test';

import { renamed } from './gguf.mjs';
import { mutations } from './gguf_mutations.mjs';
import { Server, cria_file, server_for_suite, server_for_test, sha256, short } from './harness.mjs';

// Of what is refused at create: what must be named.
const refused = [
  [/^llama\.block_count = u32 \[(0|1000000|4294967295)\]$/, /^llama\.block_count is \d+, .* between 1 and 512$/],
  [/rms_epsilon = f32 \[NaN\]$/, /^llama\.attention\.layer_norm_rms_epsilon is not a number$/],
  [/rms_epsilon = f32 \[-1\]$/, /^llama\.attention\.layer_norm_rms_epsilon is -1, and must be a number from 0 on$/],
  [/^llama\.attention\.head_count_kv = u32 \[3\]$/, /head_count_kv is 3, and must divide/],
  [/^llama\.expert_used_count = u32 \[3\]$/, /expert_used_count is 3, and must be 0$/],
  [/^llama\.rope\.scaling\.type = text \[x\]$/, /must be none, linear, yarn or longrope$/],
  [/^tokens: (all|two) the same$/, /^tokenizer\.ggml\.tokens: \d+ and \d+ are the same token$/],
  [/^tokens: 200 that are no UTF-8, the same$/, /are the same token$/],
  [/^tokens: none$/, /^tokenizer\.ggml\.tokens is empty/],
  [/^tokenizer\.ggml\.model = text \[none\]$/, /^tokenizer\.ggml\.model is "none"/],
  [/^template: (not|minus|pipes|members|sums|choices)$/, /^tokenizer\.chat_template has more than 2000 parts/],
  [/^template: (brackets|lists)$/, /^tokenizer\.chat_template has brackets that are nested/],
  [/^template: elif$/, /^tokenizer\.chat_template has blocks that are nested/],
  [/^template: (2 MB|if|for|set)$/, /^tokenizer\.chat_template has more than 1048576 bytes$/],
  [/^(token_embd|blk\.0\.attn_q)\.weight: I16$/, /\.weight has the type I16, which is not valid for weights$/],
  [/^token_embd\.weight: has no rows$/, /^GGUF tensor token_embd\.weight has a dimension of 0$/],
];

describe('models whose files are wrong', () => {
  const server = server_for_suite({ env: { OLLAMA_LOAD_TIMEOUT: '60', DROVER_HANG_TIMEOUT: '60' } });
  const own = fs.readFileSync(cria_file);
  const all = mutations(own);

  // Makes a model of a file that may have been uploaded before.
  async function create(bytes) {
    const digest = `sha256:${sha256(bytes)}`;
    const headers = { 'content-type': 'application/octet-stream' };
    const uploaded = await server.send('POST', `/api/blobs/${digest}`, bytes, headers);
    assert.ok([200, 201].includes(uploaded.status), uploaded.text);
    return server.post('/api/create', { model: 'wrong', files: { 'model.gguf': digest }, stream: false });
  }

  test('what the engine would not survive is refused, by name', async () => {
    for (const [names, text] of refused) {
      const found = all.filter(({ name }) => names.test(name));
      assert.ok(found.length > 0, `${names}`);
      for (const { name, bytes } of found) {
        const answer = await create(bytes());
        assert.equal(answer.status, 400, `${name}: ${answer.text}`);
        assert.match(answer.json.error, text, name);
      }
    }
  });

  // Each file in turn takes long: a part of them, another one each day. All of them: DROVER_TEST_MUTATIONS=all.
  test('no other one ends its process', async () => {
    const share = process.env.DROVER_TEST_MUTATIONS === 'all' ? 1 : short ? 60 : 20;
    const today = Math.floor(Date.now() / 86_400_000);
    const chosen = all.filter((_, i) => (i + today) % share === 0);
    for (const { name, bytes } of chosen) {
      const file = bytes();
      if (file.equals(own)) continue; // what is set is what was there
      const made = await create(file);
      assert.ok([200, 400].includes(made.status), `${name}: ${made.text}`);
      if (made.status === 400) continue;
      const asked = {
        model: 'wrong',
        messages: [{ role: 'user', content: 'Count to 3' }],
        stream: false,
        keep_alive: 0,
        options: { num_predict: 8 },
      };
      const answer = await server.post('/api/chat', asked);
      const died = /terminated|unexpectedly|timed out/.test(answer.json?.error ?? '');
      assert.ok(!died, `${name}: ${answer.text}`);
      assert.equal((await server.send('DELETE', '/api/delete', { model: 'wrong' })).status, 200);
      assert.equal((await server.generate('Count to 3')).response, '1, 2, 3', name);
    }
  });

  // The file was put there by another program, or has changed on the disk.
  test('a model that is there already is told to be broken', async (t) => {
    const models = fs.mkdtempSync(path.join(os.tmpdir(), 'drover-e2e-models-'));
    t.after(() => fs.rmSync(models, { recursive: true, force: true }));
    const first = new Server({ models });
    await first.start();
    const whole = renamed('Here');
    await first.create('here', whole);
    await first.stop();
    const key = 'llama.block_count';
    whole.writeUInt32LE(0, whole.indexOf(key) + key.length + 4);
    fs.writeFileSync(path.join(models, 'blobs', `sha256-${sha256(renamed('Here'))}`), whole);
    const second = await server_for_test(t, { models });
    const answer = await second.post('/api/generate', { model: 'here', prompt: 'x', stream: false });
    assert.equal(answer.status, 500, answer.text);
    const text = "model 'here:latest' is broken: llama.block_count is 0, and must be between 1 and 512";
    assert.equal(answer.json.error, text);
    assert.equal((await second.generate('Count to 3')).response, '1, 2, 3');
  });
});
