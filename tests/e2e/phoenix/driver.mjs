// One Phoenix client, driven over its standard input and heard over its standard output.
//
//   node driver.mjs <1.6|1.7|1.8> <url of the socket> '<options as JSON>'
//
// Options: params, authToken, transport ("websocket", the default, or "longpoll"),
// longPollFallbackMs, timeout, heartbeatIntervalMs.
//
// Commands, one JSON object a line; `id` comes back with what they bring about:
//   {do: "connect"}                                    {do: "disconnect"}
//   {do: "join", topic, payload?, events?: [name], presence?: bool}   {do: "leave", topic}
//   {do: "push", id, topic, event, payload | base64}   {do: "raw", frame: text}
//   {do: "drop"}   cut the connection without a word   {do: "params", params}
//   {do: "presence", topic}                            {do: "quit"}
// Events, one JSON object a line:
//   {on: "open"} {on: "close", code} {on: "error"}
//   {on: "joined" | "refused" | "timeout", topic, response}
//   {on: "reply", id, status, response}
//   {on: "event", topic, event, payload}   {on: "channel_error" | "channel_close", topic, payload}
//   {on: "presence", topic, list}          {on: "state", topic, state}
// Binary payloads appear as {base64}.

import { createRequire } from "node:module"
import { createInterface } from "node:readline"

const require = createRequire(import.meta.url)
globalThis.self = globalThis // clients before 1.8 look for their globals there
globalThis.XMLHttpRequest = require("xhr2") // how clients before 1.8 poll

const [version, url, optionsText = "{}"] = process.argv.slice(2)
const { Socket, Presence, LongPoll } = require(`phoenix-${version}`)
const WebSocket = require("ws")

const options = JSON.parse(optionsText)
let params = options.params ?? {}
const remembered = new Map()
const channels = new Map()

const say = (message) => process.stdout.write(JSON.stringify(message) + "\n")
const shown = (value) =>
  value instanceof ArrayBuffer ? { base64: Buffer.from(value).toString("base64") } : value

const socket = new Socket(url, {
  params: () => params,
  authToken: options.authToken,
  transport: options.transport === "longpoll" ? LongPoll : WebSocket,
  longPollFallbackMs: options.longPollFallbackMs,
  timeout: options.timeout ?? 10000,
  heartbeatIntervalMs: options.heartbeatIntervalMs ?? 30000,
  sessionStorage: {
    getItem: (key) => remembered.get(key) ?? null,
    setItem: (key, value) => remembered.set(key, value),
  },
})
socket.onOpen(() => say({ on: "open", transport: socket.transport === LongPoll ? "longpoll" : "websocket" }))
socket.onClose((event) => say({ on: "close", code: event?.code ?? null, reason: event?.reason ?? "" }))
socket.onError(() => say({ on: "error" }))

const join = ({ topic, payload = {}, events = [], presence = false }) => {
  const channel = socket.channel(topic, payload)
  channels.set(topic, channel)
  for (const event of events) {
    channel.on(event, (payload) => say({ on: "event", topic, event, payload: shown(payload) }))
  }
  if (presence) watch({ topic })
  channel.onError((payload) => say({ on: "channel_error", topic, payload: shown(payload) ?? null }))
  channel.onClose((payload) => say({ on: "channel_close", topic, payload: shown(payload) ?? null }))
  channel
    .join()
    .receive("ok", (response) => say({ on: "joined", topic, response: shown(response) }))
    .receive("error", (response) => say({ on: "refused", topic, response }))
    .receive("timeout", () => say({ on: "timeout", topic }))
}

const push = ({ id, topic, event, payload = {}, base64 }) => {
  const bytes = base64 === undefined ? undefined : Buffer.from(base64, "base64")
  const data = bytes ? bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length) : payload
  channels
    .get(topic)
    .push(event, data)
    .receive("ok", (response) => say({ on: "reply", id, status: "ok", response: shown(response) }))
    .receive("error", (response) => say({ on: "reply", id, status: "error", response: shown(response) }))
    .receive("timeout", () => say({ on: "reply", id, status: "timeout", response: null }))
}

const watch = ({ topic }) => {
  const presence = new Presence(channels.get(topic))
  presence.onSync(() => {
    const list = Object.fromEntries(presence.list((key, { metas }) => [key, metas]))
    say({ on: "presence", topic, list })
  })
}

const commands = {
  connect: () => socket.connect(),
  disconnect: () => socket.disconnect(() => say({ on: "disconnected" })),
  join,
  push,
  leave: ({ topic }) => channels.get(topic).leave(),
  presence: watch,
  params: (command) => (params = command.params),
  state: ({ topic }) => say({ on: "state", topic, state: channels.get(topic).state }),
  raw: ({ frame }) => socket.conn.send(frame),
  drop: () => socket.conn.terminate(),
  quit: () => process.exit(0),
}

const input = createInterface({ input: process.stdin })
input.on("line", (line) => {
  const command = JSON.parse(line)
  commands[command.do](command)
})
input.on("close", () => process.exit(0))
process.on("uncaughtException", (error) => {
  say({ on: "broken", message: String(error) })
  process.exit(1)
})
