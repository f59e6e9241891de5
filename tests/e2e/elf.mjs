// Breaks shared libraries (64-bit ELF) on purpose: puts other code where a function begins, or another text.
import assert from 'node:assert/strict';
import fs from 'node:fs';

const load = 1; // a program header: a part that is mapped
const dynamic_symbols = 11; // a section

const number = (bytes, at) => Number(bytes.readBigUInt64LE(at));

function parts_of(bytes) {
  const start = number(bytes, 32);
  return Array.from({ length: bytes.readUInt16LE(56) }, (_, i) => start + i * bytes.readUInt16LE(54))
    .filter((at) => bytes.readUInt32LE(at) === load)
    .map((at) => ({ offset: number(bytes, at + 8), address: number(bytes, at + 16), size: number(bytes, at + 32) }));
}

function* symbols_of(bytes) {
  const start = number(bytes, 40);
  const section = (index) => {
    const at = start + index * bytes.readUInt16LE(58);
    return {
      type: bytes.readUInt32LE(at + 4),
      offset: number(bytes, at + 24),
      size: number(bytes, at + 32),
      link: bytes.readUInt32LE(at + 40),
    };
  };
  for (let index = 0; index < bytes.readUInt16LE(60); index++) {
    const { type, offset, size, link } = section(index);
    if (type !== dynamic_symbols) continue;
    const names = section(link).offset;
    for (let at = offset; at < offset + size; at += 24) {
      const name = names + bytes.readUInt32LE(at);
      yield { name: bytes.toString('latin1', name, bytes.indexOf(0, name)), address: number(bytes, at + 8) };
    }
  }
}

// Each exported function whose name matches begins with `code`.
export function patch_function(file, pattern, code) {
  const bytes = fs.readFileSync(file);
  let patched = 0;
  for (const { name, address } of symbols_of(bytes)) {
    if (!pattern.test(name) || address === 0) continue;
    const part = parts_of(bytes).find(({ address: from, size }) => address >= from && address < from + size);
    code.copy(bytes, address - part.address + part.offset);
    patched++;
  }
  assert.ok(patched > 0, `${file} has no function ${pattern}`);
  fs.writeFileSync(file, bytes);
}

// Replaces each occurrence of a text by one of the same length.
export function patch_text(file, from, to) {
  assert.equal(from.length, to.length);
  const bytes = fs.readFileSync(file);
  let patched = 0;
  for (let at = bytes.indexOf(from); at >= 0; at = bytes.indexOf(from, at + from.length)) {
    bytes.write(to, at, 'latin1');
    patched++;
  }
  assert.ok(patched > 0, `${file} does not hold ${JSON.stringify(from)}`);
  fs.writeFileSync(file, bytes);
}
