import { statSync } from "node:fs";
import { dirname, extname, isAbsolute, join, resolve } from "node:path";
import { UsageError } from "@tastemaker/tensor";
import { openParquetTable } from "../data/parquet-rows.ts";
import { readJsonObjects } from "../data/read-lines.ts";
import { listCaptionedFiles, listPictures } from "../data/image-folder.ts";
import { hashFile, hashText } from "../storage/file-hash.ts";

/** A picture to score. */
export interface ScoreRow {
  /** Path of the picture as it was given, or the place in the table for pictures that lie in one. */
  readonly image: string;
  /** File, or the file's bytes. */
  readonly source: string | Uint8Array;
  readonly prompt: string;
}

/** Pictures to score, read as they are needed. */
export interface ScoreRows {
  /** Undefined where only reading to the end would tell. */
  readonly count: number | undefined;
  /** Tells lists apart; the same list gives the same text. */
  readonly identity: string;
  /** Rows from `first` (counted from 0) on. */
  read(first: number): AsyncIterable<ScoreRow>;
}

const imageColumns = ["image", "image_path", "file_name", "path", "img_path"];
const promptColumns = ["prompt", "caption", "text"];

/** What the command line says about the pictures. */
export interface RowRequest {
  readonly images: readonly string[];
  readonly prompts: readonly string[];
  /** JSONL or parquet. */
  readonly rows?: string | undefined;
  readonly imageColumn?: string | undefined;
  readonly promptColumn?: string | undefined;
  /** Whether any reward reads the prompt. */
  readonly needsText: boolean;
}

const isFolder = (path: string): boolean => statSync(path, { throwIfNoEntry: false })?.isDirectory() === true;

/** Files and folders of the command line, with one prompt for all, one per picture, or the folders' captions. */
async function listedRows({ images, prompts, needsText }: RowRequest): Promise<ScoreRows> {
  const rows: { image: string; prompt: string | undefined }[] = [];
  for (const path of images) {
    if (!isFolder(path)) rows.push({ image: path, prompt: undefined });
    else if (prompts.length > 0 || !needsText) rows.push(...(await listPictures(path)).map((file) => ({ image: join(path, file), prompt: undefined })));
    else rows.push(...(await listCaptionedFiles(path)).map(({ file, caption }) => ({ image: join(path, file), prompt: caption })));
  }
  if (prompts.length > 1 && prompts.length !== rows.length) {
    throw new UsageError("score-prompts", `--prompt: expected one for all pictures or one for each of ${rows.length}, got ${prompts.length}`, "repeat --prompt as often as there are pictures");
  }
  const complete = rows.map(({ image, prompt }, i): ScoreRow => {
    const own = prompt ?? (prompts.length > 1 ? prompts[i] : prompts[0]);
    if (own === undefined && needsText) throw new UsageError("score-prompts", `score: expected a prompt for every picture, got none (for ${image})`, "give --prompt, or a folder with captions");
    return { image, source: resolve(image), prompt: own ?? "" };
  });
  return {
    count: complete.length,
    identity: hashText(JSON.stringify(complete.map(({ image, prompt }) => [image, prompt]))),
    read: async function* (first) {
      yield* complete.slice(first);
    },
  };
}

/** Turns the columns of one row of a table into a row to score. */
function rowReader(request: RowRequest, table: string): (row: Readonly<Record<string, unknown>>, index: number) => ScoreRow {
  const folder = dirname(resolve(table));
  const { needsText } = request;
  const column = (row: Readonly<Record<string, unknown>>, wanted: string | undefined, usual: readonly string[], index: number, option: string): unknown => {
    const name = wanted ?? usual.find((candidate) => candidate in row);
    if (name !== undefined && name in row) return row[name];
    throw new UsageError("score-column", `table: expected a column ${wanted ?? usual.join(", ")}, got ${Object.keys(row).slice(0, 12).join(", ") || "none"} (at ${table}, row ${index + 1})`, `name it with ${option}`);
  };
  const fail = (expected: string, got: unknown, index: number): never => {
    throw new UsageError("score-row", `table: expected ${expected}, got ${(JSON.stringify(got) ?? "nothing").slice(0, 60)} (at ${table}, row ${index + 1})`);
  };
  return (row, index) => {
    const picture = column(row, request.imageColumn, imageColumns, index, "--image-column");
    const text = needsText ? column(row, request.promptColumn, promptColumns, index, "--prompt-column") : "";
    const prompt = text instanceof Uint8Array ? new TextDecoder().decode(text) : text;
    if (typeof prompt !== "string") return fail("a prompt as text", prompt, index);
    const place = `${table}#${index + 1}`;
    if (picture instanceof Uint8Array) return { image: place, source: picture, prompt };
    if (typeof picture === "string") return { image: picture, source: isAbsolute(picture) ? picture : join(folder, picture), prompt };
    // Tables of the datasets library hold {bytes, path}.
    const { bytes, path } = typeof picture === "object" && picture !== null ? (picture as { bytes?: unknown; path?: unknown }) : {};
    if (bytes instanceof Uint8Array) return { image: typeof path === "string" ? path : place, source: bytes, prompt };
    if (typeof path === "string") return { image: path, source: isAbsolute(path) ? path : join(folder, path), prompt };
    return fail("a picture as a path or as bytes", picture, index);
  };
}

async function jsonLineRows(path: string, request: RowRequest): Promise<ScoreRows> {
  const toRow = rowReader(request, path);
  return {
    count: undefined,
    identity: (await hashFile(path)).sha256,
    read: async function* (first) {
      let index = first;
      const fault = (got: string, where: string): UsageError => new UsageError("score-row", `table: expected a JSON object per line, got "${got}" (at ${where})`);
      for await (const value of readJsonObjects(path, fault, first)) yield toRow(value, index++);
    },
  };
}

async function parquetRows(path: string, request: RowRequest): Promise<ScoreRows> {
  const { sha256 } = await hashFile(path);
  const table = await openParquetTable(path);
  const pick = (wanted: string | undefined, usual: readonly string[]): string[] => [wanted ?? usual.find((name) => table.names.includes(name))].filter((name) => name !== undefined && table.names.includes(name)) as string[];
  const columns = [...pick(request.imageColumn, imageColumns), ...(request.needsText ? pick(request.promptColumn, promptColumns) : [])];
  const toRow = rowReader(request, path);
  return {
    count: table.count,
    identity: sha256,
    read: async function* (first) {
      let index = first;
      for await (const row of table.read(first, columns)) yield toRow(row, index++);
    },
  };
}

/**
 * The pictures that a command line means: files and folders, or a table.
 * @throws UsageError `score-nothing`, `score-prompts`, `score-table` and while reading `score-row`, `score-column`, `parquet-damaged`
 */
export async function openScoreRows(request: RowRequest): Promise<ScoreRows> {
  const { images, prompts, rows } = request;
  if (rows === undefined) {
    if (images.length === 0) throw new UsageError("score-nothing", "score: expected pictures, got none", "give --image FILE… or --rows TABLE");
    return listedRows(request);
  }
  if (images.length > 0 || prompts.length > 0) throw new UsageError("score-table", "score: expected --rows alone, got --image or --prompt as well", "the table says which pictures and prompts");
  const kind = extname(rows).toLowerCase();
  if (kind === ".parquet") return parquetRows(rows, request);
  if (kind === ".jsonl" || kind === ".ndjson") return jsonLineRows(rows, request);
  throw new UsageError("score-table", `--rows: expected a .jsonl or .parquet file, got ${rows}`);
}
