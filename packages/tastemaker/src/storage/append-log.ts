import { open, readFile, type FileHandle } from "node:fs/promises";
import { UsageError } from "@tastemaker/tensor";
import type { LogPosition } from "./checkpoint.ts";
import { isSystemError, storageError } from "./storage-error.ts";

/** A file of JSON lines that only grows, except when a resumed run takes it back to a checkpoint. */
export class AppendLog {
  readonly path: string;
  readonly #handle: FileHandle;
  #position: LogPosition;

  private constructor(path: string, handle: FileHandle, position: LogPosition) {
    this.path = path;
    this.#handle = handle;
    this.#position = position;
  }

  /**
   * Opens (or creates) the log and cuts it to `position`, so that a resumed run repeats no line and a torn last line disappears.
   * @throws UsageError `run-damaged` when the file is shorter than that
   */
  static async open(path: string, position: LogPosition): Promise<AppendLog> {
    try {
      const handle = await open(path, "a+");
      const { size } = await handle.stat();
      if (size < position.bytes) {
        await handle.close();
        throw new UsageError(
          "run-damaged",
          `log: expected at least ${position.bytes} bytes, got ${size} (at ${path})`,
          "delete the newest folder under checkpoints/ to go on from the one before",
        );
      }
      if (size > position.bytes) await handle.truncate(position.bytes);
      return new AppendLog(path, handle, position);
    } catch (error) {
      throw storageError(error, "open", path);
    }
  }

  get position(): LogPosition {
    return this.#position;
  }

  /** Appends one line; numbers that JSON lacks (NaN, infinities) are written as strings so that nothing is lost silently. */
  async append(line: object): Promise<void> {
    const text = `${JSON.stringify(line, (_key, value: unknown) => (typeof value === "number" && !Number.isFinite(value) ? String(value) : value))}\n`;
    try {
      await this.#handle.appendFile(text);
    } catch (error) {
      // A part of the line may be on the disk; cut it off so that the file stays readable.
      await this.#handle.truncate(this.#position.bytes).catch(() => undefined);
      throw storageError(error, "append to", this.path);
    }
    this.#position = { lines: this.#position.lines + 1, bytes: this.#position.bytes + Buffer.byteLength(text) };
  }

  /** Waits until everything appended is on the disk. */
  async sync(): Promise<void> {
    try {
      await this.#handle.sync();
    } catch (error) {
      throw storageError(error, "write", this.path);
    }
  }

  async close(): Promise<void> {
    await this.#handle.close();
  }
}

/**
 * Reads a file of JSON lines; a torn last line (the writer was killed) is left out, a missing file gives no lines.
 * @throws UsageError `run-damaged` for any other line that is not a JSON object
 */
export async function readJsonLines(path: string): Promise<Record<string, unknown>[]> {
  const text = await readFile(path, "utf8").catch((error: unknown) => {
    if (isSystemError(error) && error.code === "ENOENT") return "";
    throw storageError(error, "read", path);
  });
  const lines = text.split("\n");
  lines.pop();
  return lines.map((line, index) => {
    try {
      const value = JSON.parse(line) as unknown;
      if (typeof value === "object" && value !== null) return value as Record<string, unknown>;
    } catch {
      // Reported below together with lines that are JSON but no object.
    }
    throw new UsageError("run-damaged", `log: expected a JSON object, got "${line.slice(0, 60)}" (at ${path}:${index + 1})`, "restore the file from a copy");
  });
}
