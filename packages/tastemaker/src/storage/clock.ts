/** The only place that reads the wall clock; nothing that enters `metrics.jsonl`, an adapter or a sample may depend on it. */
export function wallClock(): Date {
  return new Date();
}

/** Milliseconds of a clock that never goes back; only differences mean something. */
export function monotonicMs(): number {
  return performance.now();
}
