// Rooms that are written over HTTP and watched over Phoenix channels, on the package ws.
'use strict';

const http = require('node:http');
const { WebSocketServer } = require('ws');

const PORT = Number(process.env.PORT || 4000);
const MAX_BYTES = 32768;
const ROOM = /^\/api\/rooms\/([A-Za-z0-9_-]{1,64})$/;

const records = new Map(); // room id -> { version, text }
const audiences = new Map(); // topic -> Set of sockets

function answer(response, status, text) {
  response.writeHead(status, { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(text) });
  response.end(text);
}

function recordOf(id) {
  const nothing = `{"room_id":"${id}","version":0,"updated_at":null,"state":null}`;
  return records.get(id)?.text ?? nothing;
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
    const text = JSON.stringify(value);
    records.set(id, { version, text });
    answer(response, 200, text);
    const topic = `state:${id}`;
    const audience = audiences.get(topic);
    if (audience === undefined) return undefined;
    const frame = Buffer.from(`[null,null,"${topic}","state",${text}]`);
    for (const socket of audience) socket.send(frame, { binary: false });
    return undefined;
  });
}

function reply(socket, joinRef, ref, topic, status, response) {
  socket.send(`[${JSON.stringify(joinRef)},${JSON.stringify(ref)},${JSON.stringify(topic)},"phx_reply",` +
    `{"status":"${status}","response":${response}}]`);
}

function hear(socket, data) {
  const [joinRef, ref, topic, event] = JSON.parse(data);
  if (topic === 'phoenix') return reply(socket, null, ref, topic, 'ok', '{}');
  if (event === 'phx_join') {
    let audience = audiences.get(topic);
    if (audience === undefined) audiences.set(topic, (audience = new Set()));
    audience.add(socket);
    socket.topics.add(topic);
    return reply(socket, joinRef, ref, topic, 'ok', recordOf(topic.slice('state:'.length)));
  }
  const reason = socket.topics.has(topic) ? 'read_only' : 'unmatched topic';
  return reply(socket, joinRef, ref, topic, 'error', `{"reason":"${reason}"}`);
}

function forget(socket) {
  for (const topic of socket.topics) {
    const audience = audiences.get(topic);
    audience.delete(socket);
    if (audience.size === 0) audiences.delete(topic);
  }
}

const server = http.createServer((request, response) => {
  const match = ROOM.exec(request.url);
  if (match === null) return answer(response, 404, '{"error":"not_found"}');
  if (request.method === 'PUT') return write(request, response, match[1]);
  return answer(response, 200, recordOf(match[1]));
});

const sockets = new WebSocketServer({ server, perMessageDeflate: false, maxPayload: 1 << 20 });
sockets.on('connection', (socket) => {
  socket.topics = new Set();
  socket.on('message', (data) => hear(socket, data));
  socket.on('close', () => forget(socket));
});

server.keepAliveTimeout = 60000;
server.listen(PORT, '127.0.0.1', 4096);
