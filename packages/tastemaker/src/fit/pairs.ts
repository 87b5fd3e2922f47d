import { createHash } from "node:crypto";
import { readFile, realpath, stat } from "node:fs/promises";
import { dirname, extname, isAbsolute, join, relative, resolve, sep } from "node:path";
import { permutation, UsageError } from "@tastemaker/tensor";
import { decodeUtf8 } from "../data/decode-utf8.ts";
import { openParquetTable } from "../data/parquet-rows.ts";
import { parseCsv } from "../data/parse-csv.ts";
import { readJsonObjects } from "../data/read-lines.ts";
import { writeFileAtomic } from "../storage/atomic-file.ts";
import { ensureFolder } from "../storage/ensure-folder.ts";
import { hashFile } from "../storage/file-hash.ts";
import { storageError } from "../storage/storage-error.ts";

/** Two pictures for one prompt, and which of them somebody preferred. */
export interface Pair {
  readonly prompt: string;
  /** Absolute paths. */
  readonly first: string;
  readonly second: string;
  /** Whether the pictures' bytes lie in the table, so that their paths are those of copies. */
  readonly isCopied: boolean;
  /** 1: the first is better, 0: the second, 0.5: neither. */
  readonly label: number;
  /** True probability that the first is preferred, where the annotator is simulated and it is known. */
  readonly probability: number | undefined;
  /** `FILE, row N`. */
  readonly where: string;
}

/** The pairs of a file. */
export interface PairFile {
  readonly path: string;
  readonly sha256: string;
  readonly pairs: readonly Pair[];
}

/** Text tables are read whole; a million pairs have about 200 MB. */
const mostTextBytes = 512 * 2 ** 20;
/** An embedded picture. */
const mostPictureBytes = 64 * 2 ** 20;
/** Characters. */
const longestPrompt = 10_000;

/** Our names first; the others are those of Pick-a-Pic. */
const columns = {
  prompt: ["prompt", "caption", "text"],
  first: ["image_a", "image_0", "jpg_0"],
  second: ["image_b", "image_1", "jpg_1"],
  label: ["label", "label_0"],
} as const;

const labels: ReadonlyMap<string, number> = new Map([
  ["a", 1],
  ["b", 0],
  ["tie", 0.5],
]);

type Row = Readonly<Record<string, unknown>>;

async function* textRows(path: string, kind: string): AsyncGenerator<Row> {
  const { size } = await stat(path);
  if (size > mostTextBytes) throw new UsageError("pairs-size", `pairs: expected a table of at most ${mostTextBytes} bytes, got ${size} (at ${path})`, "write it as parquet, or in parts");
  if (kind === ".csv") {
    for (const { fields } of parseCsv(decodeUtf8(await readFile(path), "pairs", path), path).rows) yield fields;
    return;
  }
  yield* readJsonObjects(path, (got, where) => new UsageError("pairs-row", `pairs: expected a JSON object per line, got "${got}" (at ${where})`, 'for example {"prompt": "a cat", "image_a": "1.png", "image_b": "2.png", "label": 1}'));
}

async function* parquetRows(path: string): AsyncGenerator<Row> {
  const table = await openParquetTable(path);
  const wanted = [...Object.values(columns).map((names) => names.find((name) => table.names.includes(name))), "probability"];
  yield* table.read(0, wanted.filter((name) => name !== undefined && table.names.includes(name)) as string[]);
}

/** Turns rows into pairs; pictures that lie in the table are written to `cacheFolder`, under a name made of their bytes. */
class PairReader {
  readonly #path: string;
  readonly #folder: string;
  readonly #cacheFolder: string;
  #realFolder: string | undefined;
  /** By what the table says; pictures are often in several pairs. */
  readonly #known: Map<string, string> = new Map();

  constructor(path: string, cacheFolder: string) {
    this.#path = path;
    this.#folder = dirname(resolve(path));
    this.#cacheFolder = cacheFolder;
  }

  async pair(row: Row, index: number): Promise<Pair> {
    const where = `${this.#path}, row ${index + 1}`;
    const prompt = asText(this.#column(row, "prompt", where), where);
    if (typeof prompt !== "string" || prompt.trim() === "" || prompt.length > longestPrompt) throw rowError("prompt", `a text of 1 to ${longestPrompt} characters`, typeof prompt === "string" ? prompt.slice(0, 60) : prompt, where, "every pair needs the text that both pictures were made for");
    const first = await this.#picture(this.#column(row, "first", where), "the first picture", where);
    const second = await this.#picture(this.#column(row, "second", where), "the second picture", where);
    const isCopied = [first, second].some((picture) => dirname(picture) === this.#cacheFolder);
    return { prompt, first, second, isCopied, label: parseLabel(this.#column(row, "label", where), where), probability: parseProbability(row["probability"], where), where };
  }

  #column(row: Row, column: keyof typeof columns, where: string): unknown {
    const name = columns[column].find((candidate) => Object.hasOwn(row, candidate));
    if (name !== undefined) return row[name];
    throw new UsageError("pairs-column", `pairs: expected a column ${columns[column].join(" or ")}, got ${Object.keys(row).slice(0, 12).join(", ") || "none"} (at ${where})`, "the columns are prompt, image_a, image_b, label");
  }

  async #picture(given: unknown, what: string, where: string): Promise<string> {
    const { bytes, path } = typeof given === "object" && given !== null && !(given instanceof Uint8Array) ? (given as { bytes?: unknown; path?: unknown }) : { bytes: given, path: given };
    if (bytes instanceof Uint8Array) return this.#embedded(bytes, what, where);
    if (typeof path !== "string" || path === "") throw rowError(what, "a path or the bytes of a picture", path, where, "give a path relative to the table");
    const known = this.#known.get(path);
    if (known !== undefined) return known;
    const full = isAbsolute(path) ? path : join(this.#folder, path);
    const real = await realpath(full).catch(() => undefined);
    if (real === undefined || !(await stat(real)).isFile()) throw rowError(what, "a file", path, where, `there is none at ${full}`);
    if (!isAbsolute(path)) {
      this.#realFolder ??= await realpath(this.#folder);
      const inside = relative(this.#realFolder, real);
      if (inside === ".." || inside.startsWith(`..${sep}`) || isAbsolute(inside)) throw rowError(what, "a path inside the folder of the table", path, where, "give the absolute path, if the table is yours");
    }
    this.#known.set(path, full);
    return full;
  }

  async #embedded(bytes: Uint8Array, what: string, where: string): Promise<string> {
    if (bytes.length === 0 || bytes.length > mostPictureBytes) throw rowError(what, `1 to ${mostPictureBytes} bytes`, `${bytes.length} bytes`, where, "the table is damaged");
    const name = createHash("sha256").update(bytes).digest("hex");
    const known = this.#known.get(name);
    if (known !== undefined) return known;
    await ensureFolder(this.#cacheFolder);
    const path = join(this.#cacheFolder, name);
    if ((await stat(path).catch(() => undefined))?.size !== bytes.length) await writeFileAtomic(path, bytes);
    this.#known.set(name, path);
    return path;
  }
}

/** Tables may hold texts as bytes. @throws UsageError `not-utf8` */
function asText(value: unknown, where: string): unknown {
  return value instanceof Uint8Array ? decodeUtf8(value, "pairs", where) : value;
}

function rowError(what: string, expected: string, got: unknown, where: string, cure: string): UsageError {
  const shown = typeof got === "string" ? got : typeof got === "bigint" ? String(got) : (JSON.stringify(got) ?? "nothing");
  return new UsageError("pairs-row", `${what}: expected ${expected}, got "${shown.slice(0, 80)}" (at ${where})`, cure);
}

function toNumber(value: unknown): number {
  if (typeof value === "number" || typeof value === "bigint") return Number(value);
  return typeof value === "string" && value.trim() !== "" ? Number(value) : Number.NaN;
}

function parseLabel(given: unknown, where: string): number {
  const text = asText(given, where);
  const named = typeof text === "string" ? labels.get(text.trim().toLowerCase()) : undefined;
  const value = named ?? toNumber(text);
  if (value === 0 || value === 0.5 || value === 1) return value;
  throw rowError("label", "1 or a (the first is better), 0 or b (the second), 0.5 or tie", text, where, "leave out pairs that nobody judged");
}

function parseProbability(given: unknown, where: string): number | undefined {
  if (given === undefined || given === null || given === "") return undefined;
  const value = toNumber(asText(given, where));
  if (value >= 0 && value <= 1) return value;
  throw rowError("probability", "a number from 0 to 1: how likely the first is preferred", given, where, "leave the column out where it is not known");
}

/**
 * Reads the pairs of a CSV, JSONL or parquet file with the columns prompt, image_a, image_b, label and perhaps probability.
 *
 * Pictures are paths, relative to the file and then not outside its folder, or bytes in a parquet file. They are looked for here, and decoded when they are needed.
 *
 * @param cacheFolder Where pictures that lie in the file are written.
 * @throws UsageError `pairs-file`, `pairs-empty`, `pairs-column`, `pairs-row`, `pairs-size`, `not-utf8`, `csv-damaged`, `parquet-damaged`
 */
export async function readPairs(path: string, cacheFolder: string): Promise<PairFile> {
  const kind = extname(path).toLowerCase();
  if (![".csv", ".jsonl", ".ndjson", ".parquet"].includes(kind)) throw new UsageError("pairs-file", `pairs: expected a .csv, .jsonl or .parquet file, got ${path}`, "the columns are prompt, image_a, image_b, label");
  const { sha256 } = await hashFile(path);
  const reader = new PairReader(path, cacheFolder);
  const pairs: Pair[] = [];
  try {
    for await (const row of kind === ".parquet" ? parquetRows(path) : textRows(path, kind)) pairs.push(await reader.pair(row, pairs.length));
  } catch (error) {
    throw storageError(error, "read", path);
  }
  if (pairs.length === 0) throw new UsageError("pairs-empty", `pairs: expected at least one, got none (at ${path})`, "the columns are prompt, image_a, image_b, label");
  return { path: resolve(path), sha256, pairs };
}

/**
 * Splits pairs by their prompts, so that no prompt is in both parts: prompts are drawn until `share` of the pairs is held out. A function of the prompts and the seed alone, not of
 * the order of the file.
 *
 * @throws UsageError `pairs-prompts` where one part would be empty
 */
export function splitByPrompt(pairs: readonly Pair[], share: number, seed: number): { readonly training: Pair[]; readonly heldOut: Pair[] } {
  const counts = new Map<string, number>();
  for (const { prompt } of pairs) counts.set(prompt, (counts.get(prompt) ?? 0) + 1);
  const prompts = [...counts.keys()].sort();
  const drawn = new Set<string>();
  let held = 0;
  for (const index of permutation({ seed, stream: "reward-held-out", indices: [] }, prompts.length)) {
    if (held >= share * pairs.length) break;
    drawn.add(prompts[index]!);
    held += counts.get(prompts[index]!)!;
  }
  const parts = { training: pairs.filter(({ prompt }) => !drawn.has(prompt)), heldOut: pairs.filter(({ prompt }) => drawn.has(prompt)) };
  if (parts.training.length > 0 && parts.heldOut.length > 0) return parts;
  throw new UsageError("pairs-prompts", `held-out pairs: expected prompts for both parts, got ${prompts.length} different ${prompts.length === 1 ? "prompt" : "prompts"} and a share of ${share}`, "give pairs of more prompts, or a file with --held-out");
}
