// Watches and writes rooms of a Greenroom server, and always comes back. Streams are read with fetch: an EventSource
// gives up on any answer but 200, and does not notice a dead connection. greenroom.d.ts says what each method does.

export class GreenroomError extends Error {
  constructor(status, body, retryAfterMs = 0, cause) {
    super(body?.message ?? body?.error ?? (status ? `HTTP ${status}` : "no answer"), { cause });
    Object.assign(this, { name: "GreenroomError", status, code: body?.error ?? "", body, retryAfterMs });
  }

  get isTemporary() {
    return !this.status || this.status >= 500 || [408, 425, 429].includes(this.status);
  }
}

export class Greenroom {
  #url; #options; #token; #isClosed = false;
  #rooms = new Map(); // what is watched
  #lines = new Set(); // streams, each of up to 100 rooms
  #puts = new Map(); // what is written
  #pauses = new Set();
  #goOn = () => { for (const end of [...this.#pauses]) end(); };

  constructor(url = "", options = {}) {
    this.#url = url.replace(/\/+$/, "");
    this.#options = { longestMs: 30_000, quietMs: 45_000, retryMs: 2000, ...options };
    globalThis.addEventListener?.("online", this.#goOn);
  }

  watch(id, onRecord) {
    let room = this.#rooms.get(id);
    if (!room) this.#rooms.set(id, room = { listeners: new Set(), line: this.#lineFor(id) });
    const listener = (record) => queueMicrotask(() => room.listeners.has(listener) && onRecord(record));
    room.listeners.add(listener);
    if (room.record) listener(room.record);
    return () => {
      if (!room.listeners.delete(listener) || room.listeners.size) return;
      this.#rooms.delete(id);
      room.line.rooms.delete(id);
      this.#change(room.line);
    };
  }

  record(id) {
    return this.#rooms.get(id)?.record;
  }

  async get(id) {
    return (await this.#get(id)).record;
  }

  put(id, state, { secret } = {}) {
    return new Promise((resolve, reject) => {
      const queue = this.#puts.get(id);
      const waiters = [...(queue?.next?.waiters ?? []), { resolve, reject }];
      const next = { body: JSON.stringify({ state }), secret, key: newKey(), waiters };
      if (queue) queue.next = next;
      else this.#sendPuts(id, { next });
    });
  }

  async update(id, change, { secret } = {}) {
    for (let attempt = 0; ; attempt++) {
      const { record, tag } = await this.#get(id);
      const state = await change(record && structuredClone(record.state), record);
      if (state === undefined) return record;
      const condition = record ? { "If-Match": `"${tag}"` } : { "If-None-Match": "*" };
      try {
        return await this.#insist(id, { body: JSON.stringify({ state }), secret, key: newKey() }, condition);
      } catch (error) {
        if (error.status !== 412 || attempt > 30) throw error;
        await this.#pause(Math.random() * 20 * attempt);
      }
    }
  }

  close() {
    this.#isClosed = true;
    globalThis.removeEventListener?.("online", this.#goOn);
    for (const line of this.#lines) line.end?.();
    this.#rooms.clear();
    this.#goOn();
  }

  // -- requests

  async #fetch(path, init, isAgain) {
    const { token, fetch = globalThis.fetch } = this.#options;
    const used = this.#token ??= (async () => token?.call ? token() : token)();
    const forget = () => { if (this.#token === used) this.#token = undefined; };
    const bearer = await used.catch((error) => { forget(); throw error; });
    const headers = { ...init.headers, ...(bearer && { Authorization: `Bearer ${bearer}` }) };
    const answer = await fetch(this.#url + path, { cache: "no-store", ...init, headers });
    if (answer.ok) return answer;
    if (answer.status === 401) {
      forget();
      if (token?.call && !isAgain) return this.#fetch(path, init, true);
    }
    const body = await answer.json().catch(() => null);
    throw new GreenroomError(answer.status, body, 1000 * answer.headers.get("Retry-After") || 0);
  }

  async #ask(id, init = {}) {
    try {
      const answer = await this.#fetch(pathOf(id), { signal: AbortSignal.timeout?.(20_000), ...init });
      return { record: await answer.json(), tag: answer.headers.get("ETag")?.replace(/^(W\/)?"|"$/g, "") };
    } catch (error) {
      throw asError(error);
    }
  }

  #get(id) {
    return this.#ask(id).catch((error) => {
      if (error.code === "room_not_found") return { record: null };
      throw error;
    });
  }

  /** Puts until an answer stays; before a repeat, `newest` may give another put. */
  async #insist(id, put, condition, newest = () => put) {
    for (let failures = 0; ; failures++) {
      const { body, secret, key } = newest();
      const headers = { "Content-Type": "application/json", "Idempotency-Key": key, ...condition };
      if (secret) headers["X-Room-Secret"] = secret;
      try {
        return (await this.#ask(id, { method: "PUT", headers, body })).record;
      } catch (error) {
        if (error.code === "superseded") return this.get(id); // written, and overwritten since
        if (this.#isClosed || !error.isTemporary) throw error;
        await this.#pause(this.#backOff(failures, error));
        if (this.#isClosed) throw error;
      }
    }
  }

  async #sendPuts(id, queue) {
    this.#puts.set(id, queue);
    while (queue.next) {
      let put;
      const newest = () => {
        if (queue.next) put = { ...queue.next, waiters: [...(put?.waiters ?? []), ...queue.next.waiters] };
        queue.next = undefined;
        return put;
      };
      try {
        const record = await this.#insist(id, undefined, {}, newest);
        for (const waiter of put.waiters) waiter.resolve(record);
      } catch (error) {
        for (const waiter of put.waiters) waiter.reject(error);
      }
    }
    this.#puts.delete(id);
  }

  // -- streams

  #lineFor(id) {
    let line = [...this.#lines].find(({ rooms, isRefused }) => rooms.size < 100 && !isRefused);
    if (line) {
      line.rooms.add(id);
      this.#change(line);
    } else {
      this.#lines.add(line = { rooms: new Set([id]) });
      // Rooms that are watched in the same turn are asked for together.
      queueMicrotask(() => this.#follow(line));
    }
    return line;
  }

  async #follow(line) {
    const isOver = () => this.#isClosed || !line.rooms.size;
    const tell = (status) => this.#options.onStatus?.({ rooms: [...line.rooms], ...status });
    for (let failures = 0; !isOver(); ) {
      let error;
      line.pauseMs = line.id = undefined;
      try {
        await this.#read(line, () => { failures = 0; line.isRefused = false; tell({ isOpen: true }); });
      } catch (caught) {
        error = asError(caught);
      }
      if (isOver()) break;
      if (error && !error.isTemporary) {
        line.isRefused = true;
        if (line.rooms.size > 1) {
          this.#split(line);
          continue;
        }
      }
      const pauseMs = line.pauseMs ?? this.#backOff(failures++, error);
      tell({ isOpen: false, error, pauseMs });
      await this.#pause(pauseMs);
    }
    this.#lines.delete(line);
  }

  #split(line) {
    const half = { rooms: new Set([...line.rooms].slice(line.rooms.size / 2)), isRefused: true };
    for (const id of half.rooms) {
      line.rooms.delete(id);
      this.#rooms.get(id).line = half;
    }
    this.#lines.add(half);
    this.#follow(half);
  }

  /** Has the stream carry the rooms that are wanted, without a reconnect if possible. */
  async #change(line) {
    if (!line.rooms.size) {
      this.#lines.delete(line);
      line.end?.();
      return this.#goOn();
    }
    if (!line.id || line.isChanging) return;
    line.isChanging = true;
    for (;;) {
      const { id } = line;
      const add = [...line.rooms].filter((room) => !line.carried.includes(room));
      const remove = line.carried.filter((room) => !line.rooms.has(room));
      if (!id || !(add.length + remove.length)) break;
      const init = { method: "POST", body: JSON.stringify({ add, remove }), signal: AbortSignal.timeout?.(20_000) };
      try {
        line.carried = (await (await this.#fetch(`/api/streams/${id}`, init)).json()).rooms;
      } catch {
        if (id === line.id) line.end(line.pauseMs = 0);
        break;
      }
    }
    line.isChanging = false;
  }

  async #read(line, onOpen) {
    const ending = new AbortController();
    line.end = () => ending.abort();
    let timer;
    const heard = () => { clearTimeout(timer); timer = setTimeout(line.end, this.#options.quietMs); };
    heard();
    try {
      const query = [...line.rooms].map((id) => `room=${encodeURIComponent(id)}`);
      if (line.tag) query.push(`last_event_id=${line.tag}`);
      if (this.#options.onViewers) query.push("viewers=1");
      const init = { headers: { Accept: EVENTS }, signal: ending.signal };
      const answer = await this.#fetch(`/api/stream?${query.join("&")}`, init);
      // A login page may be a 200 too.
      if (!answer.headers.get("Content-Type")?.startsWith(EVENTS)) throw new GreenroomError(0, { error: "no_events" });
      onOpen();
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      for (let text = ""; ; ) {
        const { done, value } = await reader.read();
        if (done) return;
        heard();
        const frames = (text + value).split("\n\n");
        text = frames.pop();
        for (const frame of frames) this.#hear(line, frame);
      }
    } finally {
      clearTimeout(timer);
      ending.abort();
    }
  }

  #hear(line, frame) {
    const fields = {};
    for (const part of frame.split("\n")) fields[part.split(":", 1)] = part.slice(part.indexOf(":") + 1).trim();
    if (fields.retry) this.#options.retryMs = +fields.retry;
    const data = fields.data && JSON.parse(fields.data);
    if (fields.event === "open") {
      Object.assign(line, { id: data.stream_id, carried: data.rooms });
      this.#change(line);
    } else if (fields.event === "state") {
      line.tag = fields.id;
      const room = this.#rooms.get(data.room_id);
      if (room) room.record = data;
      for (const listener of room?.listeners ?? []) listener(data);
    } else if (fields.event === "reset") {
      this.#options.onReset?.(data);
    } else if (fields.event === "viewers") {
      this.#options.onViewers?.(data);
    } else if (fields.event === "drain") {
      line.pauseMs = data.retry_ms;
    } else if (fields.event === "expired") {
      this.#token = undefined;
      line.pauseMs = 0;
    }
  }

  // -- waiting

  /** How long to wait after so many failures: doubling, spread, not sooner than the answer allows. */
  #backOff(failures, error) {
    const { retryMs, longestMs } = this.#options;
    // Who is refused for good comes back when somebody has changed that: not soon.
    const most = error && !error.isTemporary ? longestMs : Math.min(longestMs, retryMs * 2 ** failures);
    const asked = Math.min(longestMs, error?.retryAfterMs ?? 0);
    return Math.max(most * (0.5 + Math.random() / 2), asked * (1 + Math.random() / 4));
  }

  #pause(ms) {
    return new Promise((resolve) => {
      const end = () => { clearTimeout(timer); this.#pauses.delete(end); resolve(); };
      const timer = setTimeout(end, ms);
      this.#pauses.add(end);
    });
  }
}

const EVENTS = "text/event-stream";
const pathOf = (id) => `/api/rooms/${encodeURIComponent(id)}`;
// crypto.randomUUID is there in secure contexts only.
const newKey = () => Array.from({ length: 4 }, () => Math.random().toString(36).slice(2, 10)).join("");
const asError = (error) => error instanceof GreenroomError ? error : new GreenroomError(0, null, 0, error);
