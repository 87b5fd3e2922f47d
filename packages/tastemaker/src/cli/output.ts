import type { Command } from "commander";

/** Where a command writes: results to stdout, everything else to stderr. With `--json`, stdout carries exactly one JSON line. */
export interface Output {
  readonly isJson: boolean;
  /** A line for people on stdout; silent with `--json`. */
  print(text: string): void;
  /** A line for people on stderr (progress, warnings), also with `--json`. */
  note(text: string): void;
  /** The command's result for machines: one line on stdout with `--json`, otherwise nothing. Call it once, at the end. */
  result(value: object): void;
}

/** The output of a running command, which obeys the global `--json`. */
export function outputOf(command: Command): Output {
  const isJson = command.optsWithGlobals()["json"] === true;
  return {
    isJson,
    print: (text) => {
      if (!isJson) process.stdout.write(`${text}\n`);
    },
    note: (text) => {
      process.stderr.write(`${text}\n`);
    },
    result: (value) => {
      if (isJson) process.stdout.write(`${JSON.stringify(value)}\n`);
    },
  };
}

/** Makes control characters visible, so that a name from a file cannot steer the terminal. */
export function printable(text: string): string {
  // oxlint-disable-next-line no-control-regex -- control characters are what is searched for
  return text.replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

/** Bytes for people: `12 B`, `3.4 kB`, `5.6 MB`, in powers of 1000. */
export function formatBytes(bytes: number): string {
  const units = ["B", "kB", "MB", "GB", "TB", "PB"];
  let value = bytes;
  let unit = 0;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit++;
  }
  return `${unit === 0 || value >= 99.95 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`;
}
