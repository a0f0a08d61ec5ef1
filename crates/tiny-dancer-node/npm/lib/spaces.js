// Room for numbers that are read before a call returns, kept for the next call.

/** Numbers that are kept; those of a large question would stay as long as the process. */
export const KEPT = 1 << 20

/** @param {any} Kind of typed array */
export function space(Kind) {
  const none = new Kind(0)
  let held = none
  return {
    /** At least so many numbers, the caller's until they are given back: a getter that asks in the meantime gets others. */
    take(size) {
      const taken = held.length < size ? new Kind(size) : held
      held = none
      return taken
    },
    keep(taken) {
      if (taken.length <= KEPT) held = taken
    },
  }
}
