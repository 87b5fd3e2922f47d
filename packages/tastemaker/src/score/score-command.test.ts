import { mkdtempSync, rmSync } from "node:fs";
import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileWriter, parquetWrite } from "hyparquet-writer";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { sharedPath } from "../../../tensor/src/testing/shared.ts";
import type { ScoreOptions } from "../cli/commands/score.ts";
import { encodePng } from "../images/contact-sheet.ts";
import { readCase, readCaseTensors } from "../replay/case-file.ts";
import { picturesOf } from "../replay/reward-case.ts";
import { readJsonLines } from "../storage/append-log.ts";
import { hashFile } from "../storage/file-hash.ts";
import { runTastemaker } from "../testing/child.ts";
import { writeTinyWorld } from "../testing/tiny-world.ts";
import { runScore } from "./score-command.ts";

const golden = sharedPath("golden", "rewards");
const folder: string = mkdtempSync(join(tmpdir(), "tastemaker-score-"));
let world: Awaited<ReturnType<typeof writeTinyWorld>>;
const pictures: Uint8Array[] = [];
const prompts: readonly string[] = ["a red cat", "a blue dog", "a green fox", "a small house", "a big fox"];

beforeAll(async () => {
  process.env["TASTEMAKER_CACHE"] = join(folder, "cache");
  world = await writeTinyWorld(folder, 5);
  for (const n of prompts.keys()) {
    pictures.push(await encodePng({ height: 12, width: 9 + n, pixels: Uint8Array.from({ length: 36 * (9 + n) }, (_, i) => (i * (37 + 11 * n)) & 255) }));
    await writeFile(join(folder, `${n}.png`), pictures[n]!);
  }
});
afterAll(() => {
  delete process.env["TASTEMAKER_CACHE"];
  rmSync(folder, { recursive: true, force: true });
});

interface Result {
  readonly scores: readonly { readonly image: string; readonly prompt: string; readonly scores: Readonly<Record<string, number>> }[];
  readonly rewards: readonly { readonly name: string; readonly preprocessing: string; readonly files: readonly { readonly path: string; readonly sha256: string }[] }[];
  readonly summary: Readonly<Record<string, { readonly n: number; readonly mean: number; readonly standardError: number }>>;
}

async function score(options: Partial<ScoreOptions> & Pick<ScoreOptions, "reward">): Promise<Result> {
  let found: object | undefined;
  const output = { isJson: true, print: () => undefined, note: () => undefined, result: (value: object) => void (found = value) };
  await runScore({ threads: 1, provider: "cpu", ...options }, { output, signal: new AbortController().signal });
  return found as Result;
}

const clip = (): string => `clip-score=${world.clip}`;
const list = (): string[] => prompts.map((_, n) => join(folder, `${n}.png`));

describe("score gives the reference's numbers", () => {
  const kinds = [
    ["pickscore", "pick-score", "model", "score"],
    ["hpsv2", "hpsv2", "", "score"],
    ["clipscore", "clip-score", "openai_tiny.pt", "score"],
    ["blip", "blip-score", "", "cos"],
    ["imagereward", "image-reward", "", "score"],
  ] as const;

  it.skipIf(golden === undefined).each(kinds)("%s from PNG files and prompts, and its gradient", async (kind, name, file, tensor) => {
    const kase = await readCase(join(golden!, kind));
    const expected = await readCaseTensors(join(golden!, kind, "expected.safetensors"));
    const { prompts: texts, pairs } = kase.fields as { prompts: readonly string[]; pairs: readonly (readonly [number, number])[] };
    const files: string[] = [];
    for (const [n, picture] of picturesOf(kase).entries()) {
      files.push(join(folder, `${kind}-${n}.png`));
      await writeFile(files[n]!, await encodePng(picture));
    }
    const gradient = join(folder, `${kind}.safetensors`);
    const { scores } = await score({ reward: [`${name}=${join(golden!, kind, file)}`], image: pairs.map(([, image]) => files[image]!), prompt: pairs.map(([prompt]) => texts[prompt]!), gradient });
    const matrix = expected.get(tensor)!;
    for (const [i, [prompt, image]] of pairs.entries()) {
      const wanted = matrix.data[prompt * matrix.shape[1]! + image]!;
      expect(Math.abs(scores[i]!.scores[name]! - wanted), `pair ${i}`).toBeLessThan(1e-4 * Math.max(1, Math.abs(wanted)));
    }
    const slopes = await readCaseTensors(gradient);
    for (const [i, [, image]] of pairs.entries()) {
      const wanted = expected.get(`float.grad_image.${image}`);
      if (wanted === undefined) continue;
      const found = slopes.get(`${name}.${i}`)!;
      expect(found.shape).toEqual(wanted.shape);
      const size = wanted.data.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
      expect(wanted.data.reduce((most, value, at) => Math.max(most, Math.abs(value - found.data[at]!)), 0), `gradient of pair ${i}`).toBeLessThan(1e-3 * size);
    }
  });

  it.skipIf(golden === undefined)("a published aesthetic head on OpenAI's file", async () => {
    const images = picturesOf(await readCase(join(golden!, "clipscore")));
    const expected = (await readCaseTensors(join(golden!, "aesthetic", "expected.safetensors"))).get("score")!;
    const files: string[] = [];
    for (const [n, picture] of images.entries()) await writeFile(files[n] = join(folder, `head-${n}.png`), await encodePng(picture));
    const { scores } = await score({ reward: [`aesthetic=${join(golden!, "aesthetic", "aesthetic_tiny.pth")}`], clip: join(golden!, "clipscore", "openai_tiny_torchscript.pt"), image: files });
    for (const [n, value] of expected.data.entries()) expect(Math.abs(scores[n]!.scores["aesthetic"]! - value)).toBeLessThan(1e-3);
  });
});

describe("pictures and prompts from anywhere give the same scores", () => {
  let wanted: number[];
  beforeAll(async () => {
    const { scores, summary, rewards } = await score({ reward: [clip()], image: list(), prompt: prompts });
    wanted = scores.map((row) => row.scores["clip-score"]!);
    expect(new Set(wanted).size).toBe(prompts.length);
    expect(summary["clip-score"]).toMatchObject({ n: prompts.length });
    expect(rewards[0]!.files[0]!.sha256).toMatch(/^[0-9a-f]{64}$/);
    expect(rewards[0]!.preprocessing).toContain("shorter side to 8");
  });

  it("hashes of weight files are kept, and true", async () => {
    const { path, sha256 } = (await score({ reward: [clip()], image: list(), prompt: prompts })).rewards[0]!.files[0]!;
    const stores = join(folder, "cache", "evaluations", "values");
    const kept = await Promise.all((await readdir(stores)).map((name) => readFile(join(stores, name), "utf8")));
    expect(kept.join("")).toContain(`"value":"${sha256}"`);
    expect(sha256).toBe((await hashFile(path)).sha256);
  });
  const values = ({ scores }: Result): number[] => scores.map((row) => row.scores["clip-score"]!);

  it("a folder with captions beside its pictures", async () => {
    const captioned = join(folder, "captioned");
    await mkdir(captioned);
    for (const [n, prompt] of prompts.entries()) {
      await writeFile(join(captioned, `${n}.png`), pictures[n]!);
      await writeFile(join(captioned, `${n}.txt`), `${prompt}\n`);
    }
    expect(values(await score({ reward: [clip()], image: [captioned] }))).toEqual(wanted);
  });

  it("JSON lines with paths relative to the table", async () => {
    const table = join(folder, "rows.jsonl");
    const lines = prompts.map((prompt, n) => JSON.stringify({ file_name: `${n}.png`, caption: prompt }));
    // Also as editors of Windows write it.
    for (const text of [lines.join("\n"), `\ufeff${lines.join("\r\n")}\r\n`]) {
      await writeFile(table, text);
      expect(values(await score({ reward: [clip()], rows: table }))).toEqual(wanted);
    }
  });

  it.each(["UNCOMPRESSED", "SNAPPY"] as const)("a parquet table with the pictures in it (%s), several row groups", async (codec) => {
    const table = join(folder, `rows-${codec}.parquet`);
    const writer = fileWriter(table);
    parquetWrite({
      // Its own declarations disagree about a field that only encryption needs.
      writer: writer as Parameters<typeof parquetWrite>[0]["writer"],
      codec,
      rowGroupSize: 2,
      columnData: [
        { name: "picture", data: pictures, type: "BYTE_ARRAY" },
        { name: "caption", data: [...prompts], type: "STRING" },
        { name: "other", data: prompts.map((_, n) => n), type: "INT32" },
      ],
    });
    expect(values(await score({ reward: [clip()], rows: table, imageColumn: "picture" }))).toEqual(wanted);
  });

  it("an output file that was cut anywhere is continued to the same bytes", async () => {
    const out = join(folder, "scores.jsonl");
    const args = { reward: [clip(), `aesthetic=${world.taste}`], image: list(), prompt: prompts, out };
    await score(args);
    const whole = await readFile(out, "utf8");
    const lines = whole.split("\n");
    expect(lines).toHaveLength(prompts.length + 2);
    for (const cut of [lines[0]!.length + 1, whole.length - 30, whole.length]) {
      await writeFile(out, whole.slice(0, cut));
      await score(args);
      expect(await readFile(out, "utf8")).toBe(whole);
    }
    expect(await readJsonLines(out)).toHaveLength(prompts.length + 1);
    await expect(score({ ...args, prompt: ["a red cat"] })).rejects.toMatchObject({ code: "score-out-other" });
    await expect(score({ ...args, reward: [clip()] })).rejects.toMatchObject({ code: "score-out-other" });
  });
});

describe("score refuses", () => {
  it("what it cannot score, in one line each", async () => {
    const table = join(folder, "bad.jsonl");
    const cases: readonly (readonly [Partial<ScoreOptions>, string])[] = [
      [{}, "score-nothing"],
      [{ image: list() }, "score-prompts"],
      [{ image: list(), prompt: ["a", "b"] }, "score-prompts"],
      [{ image: [join(folder, "none.png")], prompt: ["a"] }, "picture-unreadable"],
      [{ image: [join(world.clip, "config.json")], prompt: ["a"] }, "picture-unreadable"],
      [{ rows: table, prompt: ["a"] }, "score-table"],
      [{ rows: join(folder, "0.png") }, "score-table"],
    ];
    for (const [options, code] of cases) await expect(score({ reward: [clip()], ...options }), JSON.stringify(options)).rejects.toMatchObject({ name: "UsageError", code });
    await writeFile(table, Buffer.from('{"image": "0.png", "prompt": "caf\xe9"}\n', "latin1"));
    await expect(score({ reward: [clip()], rows: table })).rejects.toMatchObject({ name: "UsageError", code: "not-utf8" });
    for (const [line, code] of [["[1]", "score-row"], ['{"image": 3, "prompt": "a"}', "score-row"], ['{"image": "0.png"}', "score-column"], ['{"pic": "0.png", "prompt": "a"}', "score-column"]] as const) {
      await writeFile(table, `${line}\n`);
      await expect(score({ reward: [clip()], rows: table }), line).rejects.toMatchObject({ name: "UsageError", code });
    }
    await writeFile(table, "\n");
    await expect(score({ reward: [clip()], rows: table })).rejects.toMatchObject({ name: "UsageError", code: "score-nothing" });
    const parquet = join(folder, "bad.parquet");
    await writeFile(parquet, "PAR1 nonsense PAR1");
    await expect(score({ reward: [clip()], rows: parquet })).rejects.toMatchObject({ code: "parquet-damaged" });
  });

  it("an unknown reward with the known ones, exit code 2", async () => {
    const end = await runTastemaker("score", "--reward", "clip-scor", "--image", join(folder, "0.png"), "--json");
    expect(end.code).toBe(2);
    expect(end.stderr).toContain("clip-score");
    expect(JSON.parse(end.stdout)).toMatchObject({ error: { code: "unknown-name" } });
  });
});
