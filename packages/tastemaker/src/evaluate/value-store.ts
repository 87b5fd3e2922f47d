import { open, readFile, utimes } from "node:fs/promises";
import { dirname, join } from "node:path";
import { wallClock } from "../storage/clock.ts";
import { ensureFolder } from "../storage/ensure-folder.ts";
import { hashText } from "../storage/file-hash.ts";
import { isSystemError, storageError } from "../storage/storage-error.ts";
import { contentKey } from "./content-key.ts";

/** What a store can keep: a score, or text (a hash, an embedding in base64). */
export type StoredValue = number | string;

const checkOf = (key: string, value: StoredValue): string => hashText(JSON.stringify([key, value])).slice(0, 16);

/**
 * Values by key in one file of JSON lines, named by the hash of what they are values of. Lines carry a check sum: a torn or damaged one counts as absent. Several processes
 * may append to the same file.
 */
export class ValueStore {
  readonly #path: string;
  readonly #about: object;
  readonly #values: Map<string, StoredValue>;
  /** Whether the file ends in the middle of a line (its writer was killed). */
  #isTorn: boolean;
  #isNew: boolean;

  private constructor(path: string, about: object, values: Map<string, StoredValue>, isTorn: boolean, isNew: boolean) {
    this.#path = path;
    this.#about = about;
    this.#values = values;
    this.#isTorn = isTorn;
    this.#isNew = isNew;
  }

  /**
   * Opens the store of an identity below a folder; nothing is created before the first value.
   * @param about What the values depend on besides their keys; written into the first line for people.
   */
  static async open(folder: string, about: object): Promise<ValueStore> {
    const path = join(folder, `${contentKey(about)}.jsonl`);
    const text = await readFile(path, "utf8").catch((error: unknown) => {
      if (isSystemError(error) && error.code === "ENOENT") return undefined;
      throw storageError(error, "read", path);
    });
    const values = new Map<string, StoredValue>();
    for (const line of (text ?? "").split("\n")) {
      const entry = parseLine(line);
      if (entry !== undefined) values.set(...entry);
    }
    if (text !== undefined) {
      const now = wallClock();
      await utimes(path, now, now).catch(() => undefined);
    }
    return new ValueStore(path, about, values, text !== undefined && text !== "" && !text.endsWith("\n"), text === undefined);
  }

  get(key: string): StoredValue | undefined {
    return this.#values.get(key);
  }

  /** Keeps values. @throws UsageError `disk-full`, `no-permission` */
  async add(entries: readonly (readonly [key: string, value: StoredValue])[]): Promise<void> {
    if (entries.length === 0) return;
    const lines = entries.map(([key, value]) => `${JSON.stringify({ key, value, check: checkOf(key, value) })}\n`);
    const head = `${this.#isTorn ? "\n" : ""}${this.#isNew ? `${JSON.stringify({ about: this.#about })}\n` : ""}`;
    await ensureFolder(dirname(this.#path));
    try {
      const handle = await open(this.#path, "a");
      try {
        // One write, so that lines of several processes do not mix.
        await handle.appendFile(head + lines.join(""));
      } finally {
        await handle.close();
      }
    } catch (error) {
      throw storageError(error, "append to", this.#path);
    }
    this.#isTorn = this.#isNew = false;
    for (const [key, value] of entries) this.#values.set(key, value);
  }
}

function parseLine(line: string): [string, StoredValue] | undefined {
  try {
    const { key, value, check } = JSON.parse(line) as { key?: unknown; value?: unknown; check?: unknown };
    if (typeof key !== "string" || (typeof value !== "number" && typeof value !== "string")) return undefined;
    return check === checkOf(key, value) ? [key, value] : undefined;
  } catch {
    return undefined;
  }
}
