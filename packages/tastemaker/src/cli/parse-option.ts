import { InvalidArgumentError } from "commander";

/** An option parser for whole numbers of a range; commander turns its error into a usage message that names the option. */
export function wholeNumber(low: number, high: number = Number.MAX_SAFE_INTEGER): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (text.trim() === "" || !Number.isInteger(value) || value < low || value > high) {
      throw new InvalidArgumentError(`expected a whole number ${high === Number.MAX_SAFE_INTEGER ? `>= ${low}` : `from ${low} to ${high}`}.`);
    }
    return value;
  };
}

/** An option parser for numbers of a range, both ends included. */
export function realNumber(low: number, high: number = Number.MAX_VALUE): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (text.trim() === "" || !Number.isFinite(value) || value < low || value > high) {
      throw new InvalidArgumentError(`expected a number ${high === Number.MAX_VALUE ? `>= ${low}` : `from ${low} to ${high}`}.`);
    }
    return value;
  };
}

/** An option parser for numbers above `low`, which is not one of them, up to `high`. */
export function numberAbove(low: number, high: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (!(value > low && value <= high)) throw new InvalidArgumentError(`expected a number above ${low} and at most ${high}.`);
    return value;
  };
}

/** An option parser for a checkpoint of a run: `last`, `best` or a step. */
export function checkpointChoice(text: string): "last" | "best" | number {
  if (text === "last" || text === "best") return text;
  if (/^\d{1,9}$/.test(text)) return Number(text);
  throw new InvalidArgumentError("expected last, best or the number of a checkpoint.");
}
