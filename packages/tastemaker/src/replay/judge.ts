import type { CaseTensor, Tolerance } from "./case-file.ts";

/** How one tensor of a case compares with its expected values. */
export interface Verdict {
  readonly name: string;
  /** max|p − e|; infinite when the tensor is missing, has another shape, or holds a NaN. */
  readonly error: number;
  /** relative·max|e| + absolute */
  readonly bar: number;
  /** max|e| */
  readonly size: number;
  readonly passed: boolean;
  readonly note: string | undefined;
}

/** The tolerance of a name: its own entry, or the group (`grad.param.*`) with the longest matching prefix. */
export function toleranceOf(name: string, tolerances: Readonly<Record<string, Tolerance>>): Tolerance | undefined {
  const own = tolerances[name];
  if (own !== undefined) return own;
  const groups = Object.keys(tolerances).filter((key) => key.endsWith("*") && name.startsWith(key.slice(0, -1)));
  const best = groups.sort((a, b) => b.length - a.length)[0];
  return best === undefined ? undefined : tolerances[best];
}

function judgeOne(name: string, expected: CaseTensor, produced: Pick<CaseTensor, "shape" | "data"> | undefined, tolerance: Tolerance): Verdict {
  const size = expected.data.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
  const bar = tolerance.relative * size + tolerance.absolute;
  const fail = (note: string): Verdict => ({ name, error: Infinity, bar, size, passed: false, note });
  if (produced === undefined) return fail("missing");
  if (produced.shape.join() !== expected.shape.join()) return fail(`expected shape [${expected.shape.join(", ")}], got [${produced.shape.join(", ")}]`);
  let error = 0;
  for (const [i, e] of expected.data.entries()) {
    const distance = Math.abs(produced.data[i]! - e);
    if (Number.isNaN(distance)) return fail(`NaN at element ${i}`);
    error = Math.max(error, distance);
  }
  return { name, error, bar, size, passed: error <= bar, note: undefined };
}

/**
 * Judges every expected tensor. A tensor that no tolerance covers must be equal exactly.
 *
 * @param override Replaces the case's tolerances (a float64 backend should be far closer than a float32 one).
 */
export function judge(
  expected: ReadonlyMap<string, CaseTensor>,
  produced: ReadonlyMap<string, Pick<CaseTensor, "shape" | "data">>,
  tolerances: Readonly<Record<string, Tolerance>>,
  override?: (tolerance: Tolerance) => Tolerance,
): Verdict[] {
  return [...expected].map(([name, tensor]) => {
    const tolerance = toleranceOf(name, tolerances) ?? { relative: 0, absolute: 0 };
    return judgeOne(name, tensor, produced.get(name), override === undefined ? tolerance : override(tolerance));
  });
}
