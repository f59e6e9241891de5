// Texts embedded per second, by clients that each send one request after another over a connection of their own. They
// do as little as they can with an answer: they run on the processors that are measured.
import net from 'node:net';

import { word_list } from './words.mjs';

// Words per text; most are short, some fill pages.
const varied = [2, 5, 9, 3, 14, 30, 7, 80, 4, 12, 200, 6];

function text_of(number, length) {
  const count = length === 'varied' ? varied[number % varied.length] : Number(length);
  return Array.from({ length: count }, (_, i) => word_list[(number * 7 + i * i + (number >> 5) * i) % 35]).join(' ');
}

function request_of(model, input) {
  const body = JSON.stringify({ model, input });
  const head = 'POST /v1/embeddings HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n';
  return `${head}Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`;
}

const head_end = Buffer.from('\r\n\r\n');

// Sends requests for as long as `next` gives some: each when the one before is answered, over a connection that is kept
// as long as the server keeps it, which llama-server does for 100 requests.
async function drive(port, next) {
  let request = next();
  while (request !== undefined) request = await drive_connection(port, request, next);
}

// Sends `request` and those that follow over one connection. The one that is left when the server closes it.
function drive_connection(port, request, next) {
  return new Promise((resolve, reject) => {
    const socket = net.connect({ host: '127.0.0.1', port, noDelay: true });
    let missing; // of the answer; unknown until its head is here
    let closes = false;
    let head = Buffer.alloc(0);
    const answered = () => {
      request = next();
      missing = undefined;
      head = Buffer.alloc(0);
      if (request !== undefined && !closes) return socket.write(request);
      socket.destroy();
      resolve(request);
    };
    socket.on('connect', () => socket.write(request));
    socket.on('error', reject);
    socket.on('close', () => reject(new Error('the server has closed a connection')));
    socket.on('data', (bytes) => {
      if (missing !== undefined) {
        missing -= bytes.length;
      } else {
        head = Buffer.concat([head, bytes]);
        const end = head.indexOf(head_end);
        if (end < 0) return;
        const text = head.toString('latin1', 0, end);
        if (!text.startsWith('HTTP/1.1 200')) return reject(new Error(head.toString()));
        closes = /^connection: *close/im.test(text);
        missing = Number(/^content-length: *(\d+)/im.exec(text)[1]) - (head.length - end - head_end.length);
      }
      if (missing <= 0) answered();
    });
  });
}

// Texts of `length` words ('varied': of many lengths) per second, from so many clients for so long; each request has a
// list of `size` texts, or a single one.
export async function texts_per_second({ port, model }, { clients, length, size = 1, milliseconds }) {
  const started = performance.now();
  let texts = 0;
  let answered = started;
  const client = async (index) => {
    let turn = -1;
    await drive(port, () => {
      if (turn >= 0) texts += size;
      answered = performance.now();
      turn++;
      if (answered - started > milliseconds) return undefined;
      const number = (index + turn * clients) * size;
      if (size === 1) return request_of(model, text_of(number, length));
      return request_of(model, Array.from({ length: size }, (_, i) => text_of(number + i, length)));
    });
  };
  await Promise.all(Array.from({ length: clients }, (_, index) => client(index)));
  return (texts * 1000) / (answered - started);
}
