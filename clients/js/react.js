// A room as React state: <https://react.dev/reference/react/useSyncExternalStore>.

import { useCallback, useSyncExternalStore } from "react";

/** The newest record of a room, undefined until it has come, and how to write it. */
export function useRoom(greenroom, id) {
  const subscribe = useCallback((changed) => greenroom.watch(id, changed), [greenroom, id]);
  const read = useCallback(() => greenroom.record(id), [greenroom, id]);
  const record = useSyncExternalStore(subscribe, read, () => undefined);
  const put = useCallback((state, options) => greenroom.put(id, state, options), [greenroom, id]);
  const update = useCallback((change, options) => greenroom.update(id, change, options), [greenroom, id]);
  return { record, state: record?.state, put, update };
}
