/** A room's record. `version` is 0, and `state` null, where there is no room. */
export interface RoomRecord<State = any> {
  room_id: string;
  version: number;
  updated_at: string | null;
  state: State | null;
}

/** Whether the stream of some rooms is open; if not, why, and when the next attempt is made. */
export interface Status {
  rooms: string[];
  isOpen: boolean;
  error?: GreenroomError;
  pauseMs?: number;
}

export interface Options {
  /** Sent as `Authorization: Bearer`. A function is called again when its last token was refused or has expired. */
  token?: string | (() => string | Promise<string>);
  /** The room has begun anew: what was seen before does not lead to what comes next. */
  onReset?(reset: { room_id: string; previous: string }): void;
  onStatus?(status: Status): void;
  /** How many listen to a watched room, at all nodes: at once, and then on change. Asked for only where it is given. */
  onViewers?(told: { room_id: string; viewers: number }): void;
  /** The longest pause between two attempts, and the most that Retry-After may ask for; 30000. */
  longestMs?: number;
  /** A stream silent for longer is opened again: three heartbeats of the server; 45000. */
  quietMs?: number;
  /** The first pause, until the server says another; 2000. */
  retryMs?: number;
  fetch?: typeof fetch;
}

export interface WriteOptions {
  /** The room's secret: given to the room by the put that creates it, needed from then on. */
  secret?: string;
}

export class GreenroomError extends Error {
  /** Of HTTP; 0 where no answer came. */
  status: number;
  /** As `invalid_state`; empty where the answer had none. */
  code: string;
  body: any;
  retryAfterMs: number;
  /** Whether the same request may succeed later by itself. */
  get isTemporary(): boolean;
}

export class Greenroom {
  /** `url` is where the server is, without a path; as it is not given, where the page comes from. */
  constructor(url?: string, options?: Options);
  /** Calls `onRecord` with the newest record, now if it is known and whenever it changes; returns how to stop. */
  watch<State = any>(id: string, onRecord: (record: RoomRecord<State>) => void): () => void;
  /** The newest record that has come of a watched room. */
  record<State = any>(id: string): RoomRecord<State> | undefined;
  /** The record now; null if there is no room. */
  get<State = any>(id: string): Promise<RoomRecord<State> | null>;
  /**
   * Overwrites the room. While an earlier put waits for its answer, or nobody answers, only the newest state is kept,
   * and sent until it is answered; the promises of those it replaces resolve with its record.
   */
  put<State extends object>(id: string, state: State, options?: WriteOptions): Promise<RoomRecord<State>>;
  /** Writes what `change` makes of the newest state, again if somebody was quicker; undefined writes nothing. */
  update<State extends object = any>(
    id: string,
    change: (
      state: State | null,
      record: RoomRecord<State> | null,
    ) => State | undefined | Promise<State | undefined>,
    options?: WriteOptions,
  ): Promise<RoomRecord<State> | null>;
  /** Ends all streams, and gives up what could not be written. */
  close(): void;
}
