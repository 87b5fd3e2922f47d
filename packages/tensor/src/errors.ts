/** Bad input from a person: shown as one message without a stack (CLI exit code 2, HTTP 4xx). */
export class UsageError extends Error {
  /** Stable machine-readable code, kebab-case, e.g. `weight-missing`. */
  readonly code: string;
  /** What to do about it, one sentence. */
  readonly hint: string | undefined;
  constructor(code: string, message: string, hint?: string) {
    super(hint === undefined ? message : `${message}; ${hint}`);
    this.name = "UsageError";
    this.code = code;
    this.hint = hint;
  }
}

/** A fault of this software: shown with its stack and a request to report it. */
export class InternalError extends Error {
  constructor(message: string) {
    super(`${message} (this is a fault of Tastemaker; please report it with the command that caused it)`);
    this.name = "InternalError";
  }
}

/** Levenshtein distance, for "did you mean". */
function editDistance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const substituted = previous[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      row.push(Math.min(substituted, previous[j]! + 1, row[j - 1]! + 1));
    }
    previous = row;
  }
  return previous[b.length]!;
}

/** The known name nearest to `name`, or undefined when none is within `most` edits (default: half its length). */
export function nearestName(name: string, known: readonly string[], most: number = Math.max(2, Math.ceil(name.length / 2))): string | undefined {
  let best: string | undefined;
  let bestDistance = most + 1;
  for (const candidate of known) {
    const distance = editDistance(name.toLowerCase(), candidate.toLowerCase());
    if (distance < bestDistance) [best, bestDistance] = [candidate, distance];
  }
  return best;
}

/** Builds the error for an unknown name: lists what is known and the nearest. */
export function unknownNameError(what: string, name: string, known: readonly string[]): UsageError {
  const nearest = nearestName(name, known);
  return new UsageError(
    "unknown-name",
    `${what}: expected one of ${known.join(", ")}, got "${name}"`,
    nearest === undefined ? undefined : `did you mean "${nearest}"?`,
  );
}
