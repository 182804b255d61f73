import type { Greenroom, RoomRecord, WriteOptions } from "./greenroom.js";

/** The newest record of a room, undefined until it has come, and how to write it. */
export function useRoom<State extends object = any>(
  greenroom: Greenroom,
  id: string,
): {
  record: RoomRecord<State> | undefined;
  state: State | null | undefined;
  put(state: State, options?: WriteOptions): Promise<RoomRecord<State>>;
  update(
    change: (state: State | null) => State | undefined | Promise<State | undefined>,
    options?: WriteOptions,
  ): Promise<RoomRecord<State> | null>;
};
