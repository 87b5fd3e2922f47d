/** Gives the event loop a turn: onnxruntime's `run()` blocks its thread, and signals, timers and servers wait until then. */
export function letSignalsIn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
