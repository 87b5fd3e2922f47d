import { createReadStream } from "node:fs";
import { UsageError } from "@tastemaker/tensor";

/** A line without its end (`\n` or `\r\n`). */
export interface Line {
  /** From 1. */
  readonly number: number;
  readonly text: string;
}

/**
 * The lines of a stream of UTF-8, as they arrive. A line feed at the very end begins no further line. Other characters that some call line ends (U+2028,
 * a lone carriage return) are part of a line.
 *
 * Throws `UsageError` for other bytes than UTF-8. @param where Name of the stream for messages.
 */
export async function* readLines(stream: AsyncIterable<Uint8Array>, where: string): AsyncGenerator<Line> {
  const decoder = new TextDecoder("utf-8", { fatal: true });
  let number = 0;
  // Parts of a line that has not ended yet, joined once.
  let parts: string[] = [];
  const decode = (bytes?: Uint8Array): string => {
    try {
      return bytes === undefined ? decoder.decode() : decoder.decode(bytes, { stream: true });
    } catch {
      throw new UsageError("not-utf8", `text: expected UTF-8, got other bytes (at line ${number + 1} or later of ${where})`, "convert the texts to UTF-8");
    }
  };
  const end = (): Line => {
    const text = parts.join("");
    parts = [];
    number++;
    return { number, text: text.endsWith("\r") ? text.slice(0, -1) : text };
  };
  for await (const bytes of stream) {
    const pieces = decode(bytes).split("\n");
    for (const [index, piece] of pieces.entries()) {
      if (piece !== "") parts.push(piece);
      if (index + 1 < pieces.length) yield end();
    }
  }
  const rest = decode();
  if (rest !== "") parts.push(rest);
  if (parts.length > 0) yield end();
}

/**
 * The objects of a JSONL file, one per line; empty lines do not count.
 * @param fault The error for a line that is no object: what it begins with, and where it is. @param first So many objects are passed over, unread.
 * @throws UsageError `not-utf8`, and `fault`'s
 */
export async function* readJsonObjects(path: string, fault: (got: string, where: string) => UsageError, first = 0): AsyncGenerator<Readonly<Record<string, unknown>>> {
  let index = 0;
  for await (const { number, text } of readLines(createReadStream(path), path)) {
    // trim() takes a byte-order mark away, too.
    if (text.trim() === "" || index++ < first) continue;
    let value: unknown;
    try {
      value = JSON.parse(text.trim());
    } catch {
      value = undefined;
    }
    if (typeof value !== "object" || value === null || Array.isArray(value)) throw fault(text.slice(0, 60), `${path}:${number}`);
    yield value as Readonly<Record<string, unknown>>;
  }
}
