// The room API on plain node:http, as one would write it by hand.
'use strict';

const http = require('node:http');

const PORT = Number(process.env.PORT || 4000);
const MAX_BYTES = 32768;
const ROOM = /^\/api\/rooms\/([A-Za-z0-9_-]{1,64})(\/stream)?$/;

const records = new Map(); // room id -> { version, text }
const audiences = new Map(); // room id -> Set of responses
const epoch = Date.now().toString(36);

function answer(response, status, text) {
  response.writeHead(status, { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(text) });
  response.end(text);
}

function event(record) {
  return `event: state\nid: ${epoch}-${record.version}\ndata: ${record.text}\n\n`;
}

function write(request, response, id) {
  const chunks = [];
  let size = 0;
  request.on('data', (chunk) => {
    size += chunk.length;
    if (size <= MAX_BYTES) chunks.push(chunk);
  });
  request.on('end', () => {
    if (size > MAX_BYTES) return answer(response, 413, '{"error":"payload_too_large"}');
    let body;
    try {
      body = JSON.parse(Buffer.concat(chunks).toString());
    } catch {
      body = null;
    }
    if (body === null || typeof body !== 'object' || typeof body.state !== 'object' || body.state === null) {
      return answer(response, 422, '{"error":"invalid_state"}');
    }
    const version = (records.get(id)?.version ?? 0) + 1;
    const value = { room_id: id, version, updated_at: new Date().toISOString(), state: body.state };
    const record = { version, text: JSON.stringify(value) };
    records.set(id, record);
    answer(response, 200, record.text);
    const audience = audiences.get(id);
    if (audience === undefined) return undefined;
    const bytes = Buffer.from(event(record));
    for (const member of audience) member.write(bytes);
    return undefined;
  });
}

function stream(request, response, id) {
  request.socket.setNoDelay(true);
  response.writeHead(200, {
    'Content-Type': 'text/event-stream',
    'Cache-Control': 'no-cache',
    'X-Accel-Buffering': 'no',
  });
  const nothing = `{"room_id":"${id}","version":0,"updated_at":null,"state":null}`;
  response.write(event(records.get(id) ?? { version: 0, text: nothing }));
  let audience = audiences.get(id);
  if (audience === undefined) audiences.set(id, (audience = new Set()));
  audience.add(response);
  response.on('close', () => {
    audience.delete(response);
    if (audience.size === 0 && audiences.get(id) === audience) audiences.delete(id);
  });
}

const server = http.createServer((request, response) => {
  const match = ROOM.exec(request.url);
  if (match === null) return answer(response, 404, '{"error":"not_found"}');
  const [, id, wantsStream] = match;
  if (wantsStream !== undefined) return stream(request, response, id);
  if (request.method === 'PUT') return write(request, response, id);
  const record = records.get(id);
  if (record === undefined) return answer(response, 404, '{"error":"room_not_found"}');
  return answer(response, 200, record.text);
});

server.keepAliveTimeout = 60000;
server.listen(PORT, '127.0.0.1', 4096);
