// Takes GGUF files apart and puts them together again: adapters for cria, and cria in several files.
import assert from 'node:assert/strict';

const uint16 = 2,
  uint32 = 4,
  int32 = 5,
  float32 = 6,
  string = 8,
  array = 9;
const sizes = { 0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8 };
const bytes_per_element = { 0: 4, 1: 2 }; // of the tensor types that are used here: F32, F16
const alignment = 32;

const padded = (size) => Math.ceil(size / alignment) * alignment;
const number = (write, size) => (value) => {
  const bytes = Buffer.alloc(size);
  bytes[write](value);
  return bytes;
};
const u32 = number('writeUInt32LE', 4);
const u64 = (value) => number('writeBigUInt64LE', 8)(BigInt(value));
const text = (value) => Buffer.concat([u64(Buffer.byteLength(value)), Buffer.from(value)]);
const encoders = { [uint16]: number('writeUInt16LE', 2), [int32]: number('writeInt32LE', 4), [uint32]: u32 };
encoders[float32] = number('writeFloatLE', 4);
encoders[string] = text;

const pair = (key, type, value) => Buffer.concat([text(key), u32(type), encoders[type](value)]);

// {pairs, tensors}: the key/values as they are, and [{name, dimensions, type, data}].
export function take_apart(file) {
  let at = 8;
  const length = () => Number(file.readBigUInt64LE((at += 8) - 8));
  const word = () => file.readUInt32LE((at += 4) - 4);
  const skip = (type) => {
    if (type === string) {
      const size = length();
      at += size;
    } else if (type === array) {
      const element = word();
      for (let left = length(); left > 0; left--) skip(element);
    } else {
      at += sizes[type];
    }
  };
  const tensor_count = length();
  const pairs = [];
  for (let left = length(); left > 0; left--) {
    const start = at;
    skip(string);
    skip(word());
    pairs.push(file.subarray(start, at));
  }
  const tensors = [];
  for (let left = tensor_count; left > 0; left--) {
    const size = length();
    const name = file.toString('utf8', at, (at += size));
    const dimensions = Array.from({ length: word() }, length);
    tensors.push({ name, dimensions, type: word(), offset: length() });
  }
  const start = padded(at);
  for (const tensor of tensors) {
    const elements = tensor.dimensions.reduce((product, dimension) => product * dimension, 1);
    const from = start + tensor.offset;
    tensor.data = file.subarray(from, from + elements * bytes_per_element[tensor.type]);
    assert.equal(tensor.data.length, elements * bytes_per_element[tensor.type], tensor.name);
  }
  return { pairs, tensors };
}

export function put_together({ pairs, tensors }) {
  let offset = 0;
  const infos = tensors.map(({ name, dimensions, type, data }) => {
    const info = [text(name), u32(dimensions.length), ...dimensions.map(u64), u32(type), u64(offset)];
    offset += padded(data.length);
    return Buffer.concat(info);
  });
  const head = Buffer.concat([Buffer.from('GGUF'), u32(3), u64(tensors.length), u64(pairs.length), ...pairs, ...infos]);
  const pad = (bytes) => Buffer.concat([bytes, Buffer.alloc(padded(bytes.length) - bytes.length)]);
  return Buffer.concat([pad(head), ...tensors.map(({ data }) => pad(data))]);
}

// The files that a model is split into, as llama.cpp splits them: all metadata is in the first one.
export function split(file, count) {
  const { pairs, tensors } = take_apart(file);
  const per_part = Math.ceil(tensors.length / count);
  return Array.from({ length: count }, (_, i) =>
    put_together({
      pairs: [
        ...(i === 0 ? pairs : []),
        pair('split.no', uint16, i),
        pair('split.count', uint16, count),
        pair('split.tensors.count', int32, tensors.length),
      ],
      tensors: tensors.slice(i * per_part, (i + 1) * per_part),
    }),
  );
}

// A LoRA for cria that adds about `strength` to what each layer's feed-forward part says. 0: it changes nothing.
export function lora({ strength, seed = 1, architecture = 'llama', width = 256, inner = 640 }) {
  const rank = 4;
  let state = seed;
  const values = (count, scale) => {
    const floats = new Float32Array(count);
    for (let i = 0; i < count; i++) {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      floats[i] = (state / 2 ** 31 - 1) * scale;
    }
    return Buffer.from(floats.buffer);
  };
  const tensors = [];
  for (let layer = 0; layer < 4; layer++) {
    const name = `blk.${layer}.ffn_down.weight`;
    tensors.push({ name: `${name}.lora_a`, dimensions: [inner, rank], type: 0, data: values(inner * rank, 1) });
    tensors.push({ name: `${name}.lora_b`, dimensions: [rank, width], type: 0, data: values(rank * width, strength) });
  }
  return put_together({
    pairs: [
      pair('general.type', string, 'adapter'),
      pair('general.architecture', string, architecture),
      pair('adapter.type', string, 'lora'),
      pair('adapter.lora.alpha', float32, rank),
    ],
    tensors,
  });
}


// The same model without the template that says how to show tools and thoughts.
export function without_template(file) {
  const { pairs, tensors } = take_apart(file);
  return put_together({ pairs: pairs.filter((pair) => !pair.includes('tokenizer.chat_template')), tensors });
}

// The same model with another template, in Jinja, and a name of its own.
export function with_template(file, template, name = 'templated') {
  const { pairs, tensors } = take_apart(file);
  const others = pairs.filter((pair) => !pair.includes('tokenizer.chat_template') && !pair.includes('general.name'));
  const own = [pair('general.name', string, name), pair('tokenizer.chat_template', string, template)];
  return put_together({ pairs: [...others, ...own], tensors });
}

// The same model with words (not letters and what stands in <>) of `length` bytes: a few tokens are megabytes of answer.
export function with_long_words(file, length) {
  const { pairs, tensors } = take_apart(file);
  const key = text('tokenizer.ggml.tokens');
  const at = pairs.findIndex((pair) => pair.subarray(0, key.length).equals(key));
  const list = pairs[at];
  const words = [];
  let next = key.length + 4 + 4 + 8; // behind the types and the count
  const head = list.subarray(0, next);
  while (next < list.length) {
    const size = Number(list.readBigUInt64LE(next));
    const word = list.toString('utf8', next + 8, next + 8 + size);
    const is_kept = [...word].length === 1 || word.startsWith('<');
    words.push(text(is_kept ? word : `w${words.length}`.padEnd(length, 'o')));
    next += 8 + size;
  }
  pairs[at] = Buffer.concat([head, ...words]);
  return put_together({ pairs, tensors });
}
