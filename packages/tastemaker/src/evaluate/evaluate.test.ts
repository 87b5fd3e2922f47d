import { mkdtempSync, rmSync } from "node:fs";
import { cp, mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { normal } from "@tastemaker/tensor";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { adapterKeys, adapterLayout, encodeAdapter } from "../models/adapter.ts";
import { openModel } from "../models/open-model.ts";
import type { EvaluationRecord } from "../report/report-data.ts";
import { hashText } from "../storage/file-hash.ts";
import { startTastemaker } from "../testing/child.ts";
import { type Ended, runInProcess } from "../testing/in-process.ts";
import { tinyHeldOutPrompts, tinyPrompts, tinyTrainConfig, writeTinyWorld } from "../testing/tiny-world.ts";
import type { EvaluationFile } from "./record.ts";
import type { WorkCounts } from "./measure.ts";

const folder: string = mkdtempSync(join(tmpdir(), "tastemaker-evaluate-"));
let world: Awaited<ReturnType<typeof writeTinyWorld>>;
let [strong, weak, none] = ["", "", ""];

/** A LoRA file for the tiny model whose effect grows with `scale`. */
async function writeAdapter(name: string, scale: number): Promise<string> {
  const layout = adapterLayout(await openModel(world.model), { rank: 2, alpha: 2, targets: ["to_q", "to_k", "to_v", "to_out.0"] });
  const parameters = new Map<string, Float32Array>();
  for (const { module, in: width, out } of layout.layers) {
    const { down, up } = adapterKeys(module);
    parameters.set(down, Float32Array.from(normal({ seed: 9, stream: down, indices: [] }, 2 * width)));
    parameters.set(up, Float32Array.from(normal({ seed: 9, stream: up, indices: [] }, out * 2), (z) => scale * z));
  }
  const path = join(folder, `${name}.safetensors`);
  await writeFile(path, encodeAdapter(layout, parameters));
  return path;
}

beforeAll(async () => {
  world = await writeTinyWorld(folder, 1);
  strong = await writeAdapter("strong", 0.6);
  weak = await writeAdapter("weak", 0.05);
  none = await writeAdapter("none", 0);
  await writeFile(join(folder, "prompts.txt"), `# a comment\n${tinyHeldOutPrompts.join("\n")}\n`);
  await writeFile(join(folder, "more.txt"), `${[...tinyHeldOutPrompts, ...tinyPrompts.slice(0, 2)].join("\n")}\n`);
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

let caches = 0;
const newCache = (): void => {
  process.env["TASTEMAKER_CACHE"] = join(folder, `cache-${caches++}`);
  process.env["HF_HUB_OFFLINE"] = "1";
  process.env["HF_HUB_CACHE"] = join(folder, "hub");
};
beforeEach(newCache);

const usual = (): string[] => ["--model", world.model, "--steps", "3", "--threads", "1", "--prompts", join(folder, "prompts.txt")];
const metrics = (...names: ("clip-score" | "aesthetic")[]): string[] => ["--metrics", names.map((name) => `${name}=${name === "aesthetic" ? world.taste : world.clip}`).join(",")];

interface Result {
  readonly counts: WorkCounts;
  readonly out: string;
  readonly file: EvaluationFile;
}

const readRecord = async (out: string): Promise<EvaluationFile> => JSON.parse(await readFile(join(out, "evaluation.json"), "utf8")) as EvaluationFile;

async function evaluate(out: string, ...args: string[]): Promise<Result> {
  const end = await runInProcess("--json", "evaluate", ...args, "--out", join(folder, out));
  expect(end.code, end.stderr).toBe(0);
  const result = JSON.parse(end.stdout) as { counts: WorkCounts; out: string };
  return { ...result, file: await readRecord(result.out) };
}

/** Runs a command that must end with one line of error and exit code 2. */
async function expectError(message: RegExp, ...args: string[]): Promise<void> {
  const end = await runInProcess("evaluate", ...args);
  const lines = end.stderr.trimEnd().split("\n").filter((line) => !/^(?:warning|pictures|scores|embeddings|changed since)/.test(line));
  expect(lines, args.join(" ")).toHaveLength(1);
  expect(lines[0]).toMatch(message);
  expect(end).toMatchObject({ code: 2, stdout: "" });
}

describe("an evaluation", () => {
  it("compares adapters on equal noise, with every number and where it comes from", async () => {
    const { file, counts, out } = await evaluate("whole", ...usual(), ...metrics("clip-score", "aesthetic"), "--lora", strong, "--lora", none, "--seeds", "2");
    const total = 2 * tinyHeldOutPrompts.length;
    expect(counts).toEqual({ picturesMade: 3 * total, picturesCached: 0, scoresComputed: 6 * total, scoresCached: 0, embeddingsComputed: 3 * total, embeddingsCached: 0 });
    expect(file.variants.map(({ label, kind }) => [label, kind])).toEqual([["base", "base"], ["strong", "adapter"], ["none", "adapter"]]);
    const [base, other, same] = file.variants;

    // An adapter of zeros changes no bit; the other changes all pictures.
    expect(same!.pictures).toEqual(base!.pictures);
    expect(same!.measured.scores).toEqual(base!.measured.scores);
    expect(same!.measured.distance!.every((value) => value === 0)).toBe(true);
    expect(same!.summary.metrics["clip-score"]).toMatchObject({ verdict: "unclear", difference: { mean: 0, low: 0, high: 0 }, wins: { rate: 0.5, ties: total } });
    expect(other!.pictures.every((hash, place) => hash !== base!.pictures[place])).toBe(true);
    expect(other!.summary.nearness!.pixels.mean).toBeGreaterThan(1);
    expect(other!.summary.nearness!.distance!.mean).toBeGreaterThan(0);
    expect(other!.summary.diversity!.ratio).toBeGreaterThan(0);
    // Seeds of a prompt are different noise.
    expect(new Set(base!.pictures).size).toBe(total);

    expect(file.prompts).toMatchObject({ source: join(folder, "prompts.txt"), sha256: hashText(tinyHeldOutPrompts.join("\n")), texts: tinyHeldOutPrompts });
    expect(file.settings).toMatchObject({ steps: 3, timesteps: "linspace", guidanceScale: 8, seed: 0, seeds: 2, provider: "cpu", resamples: 10_000 });
    expect(file.machine.onnxruntime).toMatch(/^\d+\./);
    expect(file.environment.tastemaker).toMatch(/^\d+\./);
    expect(Object.keys(base!.files)).toEqual(["unet", "vae", "text encoder"]);
    expect(Object.keys(other!.files)).toContain("adapter");
    expect(file.metrics).toMatchObject([
      { name: "clip-score", higherIsBetter: true, readsPrompt: true, preprocessing: expect.stringContaining("shorter side to 8") as string },
      { name: "aesthetic", readsPrompt: false },
    ]);
    expect(file.metrics[0]!.files.map(({ path }) => path.slice(world.clip.length + 1))).toEqual(expect.arrayContaining(["model.safetensors", "config.json", "vocab.json"]));

    const csv = (await readFile(join(out, "scores.csv"), "utf8")).trimEnd().split("\n");
    expect(csv).toHaveLength(1 + 3 * total);
    expect(csv[1]!.split(",").slice(0, 6)).toEqual(["base", "0", tinyHeldOutPrompts[0], "0", base!.pictures[0], String(base!.measured.scores["clip-score"]![0])]);
    expect((await readdir(join(out, "pictures"))).sort()).toEqual(["0-base", "1-strong", "2-none"]);
    expect(await readdir(join(out, "pictures", "1-strong"))).toHaveLength(total);
  });

  it("prints a table with intervals and writes a page that needs no network and trusts no text", async () => {
    const evil = '</script><img src=x onerror=alert(1)> "red" & \'cat\'';
    const end = await runInProcess("evaluate", ...usual().slice(0, 6), ...metrics("clip-score"), "--lora", strong, "--prompt", evil, "--prompt", "a red cat", "--prompt", "a cat, a dog", "--out", join(folder, "page"));
    expect(end.code, end.stderr).toBe(0);
    expect(end.stderr).toContain("3 prompts are few");
    expect(end.stdout).toMatch(/^3 prompts × 2 seeds = 6 pictures each/);
    expect(end.stdout).toMatch(/\n {2}clip-score ↑ +0\.\d+ ± 0\.\d+ +−?0\.\d+ ± 0\.\d+ +[+−]0\.\d+ +[+−]0\.\d+ … [+−]0\.\d+ +[✓✗·] +\d/);
    const page = await readFile(join(folder, "page", "evaluation.html"), "utf8");
    expect(page).not.toMatch(/(src|href)="(?!data:)|url\(|@import|fetch\(|https?:\/\//);
    expect(page).not.toMatch(/NaN|undefined<|Infinity/);
    expect(page).not.toContain("<img src=x");
    expect(page.match(/<\/script>/g)).toHaveLength(2);
    const data = JSON.parse(/<script type="application\/json" id="data">(.*?)<\/script>/s.exec(page)![1]!) as { prompts: string[]; names: string[]; variants: { folder: string; scores: number[][] }[] };
    expect(data.prompts[0]).toBe(evil);
    for (const { folder: place } of data.variants) for (const name of data.names) expect((await readFile(join(folder, "page", place, name))).subarray(1, 4).toString()).toBe("PNG");
    const csv = await readFile(join(folder, "page", "scores.csv"), "utf8");
    expect(csv).toContain('"</script><img src=x onerror=alert(1)> ""red"" & \'cat\'"');
  });

  it("of a run shows the very pictures and scores of the run's own comparison", async () => {
    const config = join(folder, "train.json");
    await writeFile(config, JSON.stringify(tinyTrainConfig(world, { seed: 5 })));
    const run = join(folder, "run");
    expect(await runInProcess("train", "-c", config, "--out", run)).toMatchObject({ code: 0 });
    const own = JSON.parse(await readFile(join(run, "evaluation.json"), "utf8")) as EvaluationRecord;
    const end = await runInProcess("--json", "evaluate", run, "--seeds", "3");
    expect(end.code, end.stderr).toBe(0);
    const file = await readRecord(join(run, "evaluation"));
    const [base, tuned] = file.variants;
    const first = (values: readonly number[]): number[] => values.filter((_, place) => place % 3 === 0);
    expect(first(base!.measured.scores["aesthetic"]!)).toEqual(own.metrics["aesthetic"]!.base);
    expect(first(tuned!.measured.scores["aesthetic"]!)).toEqual(own.metrics["aesthetic"]!.tuned);
    expect(tuned).toMatchObject({ label: "run, step 6", run: { path: run, step: 6, trained: ["aesthetic"], promptsSeen: 0 } });
    expect(file.settings).toMatchObject({ seed: 5, steps: 3 });
    expect(end.stderr).toContain("prompts are few");
    expect(await readFile(join(run, "evaluation", "evaluation.html"), "utf8")).toContain("trained on");
    // Prompts that it was trained on are no test.
    const seen = await runInProcess("evaluate", run, "--prompt", tinyPrompts[0]!, "--prompt", "a cat", "--seeds", "1", "--out", join(folder, "seen"));
    expect(seen.stderr).toContain("warning: 1 of the 2 prompts are among those that run, step 6 was trained on; they are not held out");
    expect(await readFile(join(folder, "seen", "evaluation.html"), "utf8")).toContain("they are not held out");
    // The run itself is as it was.
    expect(JSON.parse(await readFile(join(run, "evaluation.json"), "utf8"))).toEqual(own);
  });

  it("compares whole models and refuses those whose noise has another shape", async () => {
    const second = await writeTinyWorld(join(folder, "second"), 2);
    const { file } = await evaluate("models", ...usual(), ...metrics("aesthetic"), "--compare", second.model, "--seeds", "1");
    expect(file.variants.map(({ kind }) => kind)).toEqual(["base", "model"]);
    expect(file.variants[1]!.modelHash).not.toBe(file.variants[0]!.modelHash);
    expect(file.variants[0]!.summary.diversity).toBeNull();
    const config = join(second.model, "unet", "config.json");
    await writeFile(config, (await readFile(config, "utf8")).replace(/"sample_size":\s*4/, '"sample_size": 8'));
    await expectError(/compare: expected latents \[4, 4, 4\]/, ...usual(), ...metrics("aesthetic"), "--compare", second.model);
  });
});

describe("the cache", () => {
  const total = 2 * tinyHeldOutPrompts.length;

  it("computes only what is new when metrics, adapters, prompts or seeds are added", async () => {
    const first = await evaluate("cached", ...usual(), ...metrics("clip-score"), "--lora", strong);
    expect(first.counts).toMatchObject({ picturesMade: 2 * total, scoresComputed: 2 * total, embeddingsComputed: 2 * total });
    const again = await evaluate("cached", ...usual(), ...metrics("clip-score"), "--lora", strong);
    expect(again.counts).toEqual({ picturesMade: 0, picturesCached: 2 * total, scoresComputed: 0, scoresCached: 2 * total, embeddingsComputed: 0, embeddingsCached: 2 * total });
    expect(again.file.variants).toEqual(first.file.variants);
    const metric = await evaluate("cached", ...usual(), ...metrics("clip-score", "aesthetic"), "--lora", strong);
    expect(metric.counts).toMatchObject({ picturesMade: 0, scoresComputed: 2 * total, scoresCached: 2 * total, embeddingsComputed: 0 });
    const adapter = await evaluate("cached", ...usual(), ...metrics("clip-score", "aesthetic"), "--lora", weak, "--lora", strong);
    expect(adapter.counts).toMatchObject({ picturesMade: total, picturesCached: 2 * total, scoresComputed: 2 * total, embeddingsComputed: total });
    const prompts = await evaluate("cached", ...usual().slice(0, 6), "--prompts", join(folder, "more.txt"), ...metrics("clip-score", "aesthetic"), "--lora", strong);
    expect(prompts.counts).toMatchObject({ picturesMade: 2 * 2 * 2, picturesCached: 2 * total, scoresComputed: 2 * 2 * 2 * 2 });
    const seeds = await evaluate("cached", ...usual(), ...metrics("clip-score"), "--lora", strong, "--seeds", "3");
    expect(seeds.counts).toMatchObject({ picturesMade: total, picturesCached: 2 * total, scoresComputed: total, scoresCached: 2 * total });
    // Other settings are other pictures.
    expect((await evaluate("cached", ...usual(), ...metrics("clip-score"), "--steps", "2")).counts.picturesMade).toBe(total);
    expect((await evaluate("cached", ...usual(), ...metrics("clip-score"), "--seed", "1")).counts.picturesMade).toBe(total);
    expect((await evaluate("cached", ...usual(), ...metrics("clip-score"), "--guidance", "2")).counts.picturesMade).toBe(total);
  });

  it("does not trust names: weights under an old name are new weights, damaged entries are made again", async () => {
    const path = join(folder, "changing.safetensors");
    await cp(strong, path);
    const first = await evaluate("changing", ...usual(), ...metrics("clip-score"), "--lora", path);
    await cp(weak, path);
    const second = await evaluate("changing", ...usual(), ...metrics("clip-score"), "--lora", path);
    expect(second.counts).toMatchObject({ picturesMade: total, picturesCached: total });
    expect(second.file.variants[1]!.pictures).not.toEqual(first.file.variants[1]!.pictures);
    const pictures = join(process.env["TASTEMAKER_CACHE"]!, "evaluations", "pictures");
    for (const name of await readdir(pictures, { recursive: true })) if (name.endsWith(".png")) await writeFile(join(pictures, name), "damaged");
    const third = await evaluate("changing", ...usual(), ...metrics("clip-score"), "--lora", path);
    expect(third.counts).toMatchObject({ picturesMade: 2 * total, scoresComputed: 0 });
    expect(third.file.variants).toEqual(second.file.variants);
    // A changed configuration of the metric is another metric.
    const taste = join(folder, "taste-2");
    await cp(world.taste, taste, { recursive: true });
    const own = ["--metrics", `aesthetic=${taste}`];
    expect((await evaluate("changing", ...usual(), ...own)).counts.scoresComputed).toBe(total);
    expect((await evaluate("changing", ...usual(), ...own)).counts.scoresComputed).toBe(0);
    const config = join(taste, "config.json");
    await writeFile(config, JSON.stringify({ ...(JSON.parse(await readFile(config, "utf8")) as object), unit: "stars" }));
    expect((await evaluate("changing", ...usual(), ...own)).counts.scoresComputed).toBe(total);
  });

  it("lets a killed evaluation go on where it was, to the same bytes", async () => {
    const whole = await evaluate("unbroken", ...usual(), ...metrics("clip-score"), "--lora", strong, "--seeds", "20");
    newCache();
    const pictures = join(process.env["TASTEMAKER_CACHE"]!, "evaluations", "pictures");
    const count = async (): Promise<number> => (await readdir(pictures, { recursive: true }).catch(() => [])).filter((name) => /\.[0-9a-f]{64}\.png$/.test(name)).length;
    const started = startTastemaker("evaluate", ...usual(), ...metrics("clip-score"), "--lora", strong, "--seeds", "20", "--out", join(folder, "broken"));
    const all = whole.counts.picturesMade;
    while ((await count()) < 5) await setTimeout(5);
    started.child.kill("SIGKILL");
    await started.finished;
    const made = await count();
    expect(made).toBeLessThan(all);
    const rest = await evaluate("broken", ...usual(), ...metrics("clip-score"), "--lora", strong, "--seeds", "20");
    expect(rest.counts).toMatchObject({ picturesMade: all - made, picturesCached: made });
    expect(rest.file.variants).toEqual(whole.file.variants);
  });

  it("can be emptied", async () => {
    await evaluate("emptied", ...usual(), ...metrics("clip-score"), "--cache-limit", "0");
    expect(await readdir(process.env["TASTEMAKER_CACHE"]!)).toEqual([]);
  });
});

describe("--verify", () => {
  let original: string;
  beforeAll(async () => {
    newCache();
    const copy = join(folder, "verified-weights.safetensors");
    await cp(strong, copy);
    original = (await evaluate("verified", ...usual(), ...metrics("clip-score", "aesthetic"), "--lora", copy)).out;
  });

  /** Verifies a copy of the evaluation after a change; answers code, JSON and what was said. */
  async function verify(change: (file: EvaluationFile, out: string) => unknown = () => undefined, ...args: string[]): Promise<Ended & { json: { holds: boolean; exact: boolean; changes: string[]; difference: { what: string } | null } }> {
    const out = join(folder, "copy");
    await rm(out, { recursive: true, force: true });
    await cp(original, out, { recursive: true });
    const file = await readRecord(out);
    await change(file, out);
    await writeFile(join(out, "evaluation.json"), JSON.stringify(file));
    const end = await runInProcess("--json", "evaluate", "--verify", join(out, "evaluation.json"), ...args);
    return { ...end, json: JSON.parse(end.stdout) as { holds: boolean; exact: boolean; changes: string[]; difference: { what: string } | null } };
  }
  type Writable<T> = { -readonly [K in keyof T]: Writable<T[K]> };
  const edit = (work: (file: Writable<EvaluationFile>) => unknown) => (file: EvaluationFile) => work(file as Writable<EvaluationFile>);

  it("holds to the last digit on the same machine, without the cache, from another place and with other threads", async () => {
    const { code, json, stderr } = await verify(undefined, "--threads", "2");
    expect(json).toMatchObject({ holds: true, exact: true, changes: [], difference: null });
    expect(code).toBe(0);
    expect(stderr).toMatch(/pictures 24\/24 100 %/);
    expect((await readdir(process.env["TASTEMAKER_CACHE"]!)).filter((name) => name.startsWith("verify-"))).toEqual([]);
    const moved = join(folder, "moved.safetensors");
    await cp(strong, moved);
    const elsewhere = await verify(edit((file) => (file.settings.variants[1]!.path = file.variants[1]!.path = join(folder, "gone.safetensors"))), "--lora", moved);
    expect(elsewhere.json).toMatchObject({ holds: true, exact: true });
  });

  it.each<[string, (file: Writable<EvaluationFile>) => unknown, RegExp]>([
    ["an edited score", (file) => (file.variants[1]!.measured.scores["clip-score"]![3]! += 1e-12), /^summary of verified-weights from its scores|^scores\.csv/],
    ["an edited summary", (file) => (file.variants[1]!.summary.metrics["aesthetic"]!.difference!.high! += 0.01), /^summary of verified-weights from its scores, metrics, aesthetic, difference, high/],
    ["an edited prompt", (file) => (file.prompts.texts[0] = "a red fox"), /^SHA-256 of the prompts/],
    ["an edited prompt with its hash", (file) => { file.prompts.texts[0] = "a red fox"; file.prompts.sha256 = hashText(file.prompts.texts.join("\n")); }, /^scores\.csv, line 2/],
    ["an edited seed", (file) => (file.settings.seed = 1), /^summary of/],
    ["other preprocessing", (file) => (file.metrics[0]!.preprocessing = "none"), /^metric clip-score, preprocessing/],
  ])("detects %s before anything is computed", async (_, work, what) => {
    const { code, json, stderr } = await verify(edit(work));
    expect(json.holds).toBe(false);
    expect(json.difference!.what).toMatch(what);
    expect(code).toBe(1);
    expect(stderr).not.toContain("pictures");
  });

  it("detects a consistent forgery: scores, summaries and table edited together", async () => {
    const { json, code } = await verify(async (file, out) => {
      const { summarise } = await import("./summary.ts");
      const { summaryDesign } = await import("./record.ts");
      const { scoresCsv } = await import("./scores-csv.ts");
      const forged = file as Writable<EvaluationFile>;
      forged.variants[1]!.measured.scores["aesthetic"]![4]! += 1e-9;
      const summaries = summarise(file.variants.map(({ measured }) => measured), summaryDesign(file));
      for (const [index, variant] of forged.variants.entries()) variant.summary = summaries[index] as typeof variant.summary;
      await writeFile(join(out, "scores.csv"), scoresCsv(file));
    });
    expect(json.difference!.what).toMatch(/^aesthetic of verified-weights, prompt 2 \("a small green dog"\), seed number 0$/);
    expect(code).toBe(1);
  });

  it("detects changed weights, prompt files and pictures", async () => {
    const weights = join(folder, "verified-weights.safetensors");
    await cp(weak, weights);
    try {
      const { json, code } = await verify();
      expect(json.difference!.what).toMatch(/^SHA-256 of the weights: adapter of verified-weights/);
      expect(code).toBe(1);
    } finally {
      await cp(strong, weights);
    }
    const list = join(folder, "prompts.txt");
    const before = await readFile(list, "utf8");
    await writeFile(list, before.replace("a big cat", "a big dog"));
    try {
      expect((await verify()).json.difference).toMatchObject({ what: expect.stringMatching(/prompts\.txt, number 3$/) as string, recorded: '"a big cat"', found: '"a big dog"' });
    } finally {
      await writeFile(list, before);
    }
    const swapped = await verify((_, out) => cp(join(out, "pictures", "0-base", "0-0.png"), join(out, "pictures", "1-verified-weights", "0-0.png")));
    expect(swapped.json.difference!.what).toBe("picture file pictures/1-verified-weights/0-0.png of verified-weights");
    const metric = join(world.taste, "config.json");
    const config = await readFile(metric, "utf8");
    await writeFile(metric, config.replace("}", ', "unit": "x"}'));
    try {
      expect((await verify()).json.difference!.what).toMatch(/^SHA-256 of a file of metric aesthetic/);
    } finally {
      await writeFile(metric, config);
    }
  });

  it("says so when another version or machine wrote it, and then allows for rounding only", async () => {
    const other = (file: Writable<EvaluationFile>): void => {
      file.environment.tastemaker = "0.0.1";
      file.machine.cpu = "another";
    };
    const { json, code } = await verify(edit(other));
    expect(json).toMatchObject({ holds: true, exact: false });
    expect(json.changes).toEqual([expect.stringMatching(/^tastemaker 0\.0\.1 → /) as string, expect.stringMatching(/^processor another → /) as string]);
    expect(code).toBe(0);
    const forged = await verify(async (file, out) => {
      other(file as Writable<EvaluationFile>);
      const { summarise } = await import("./summary.ts");
      const { summaryDesign } = await import("./record.ts");
      const copy = file as Writable<EvaluationFile>;
      copy.variants[1]!.measured.scores["aesthetic"]![4]! += 0.5;
      const summaries = summarise(file.variants.map(({ measured }) => measured), summaryDesign(file));
      for (const [index, variant] of copy.variants.entries()) variant.summary = summaries[index] as typeof variant.summary;
      await rm(join(out, "scores.csv"));
    });
    expect(forged.json).toMatchObject({ holds: false, difference: { what: expect.stringMatching(/^aesthetic of verified-weights, prompt 2/) as string } });
    expect(forged.code).toBe(1);
  });

  it("ends with 2 for what is no evaluation, and runs no code that a file names", async () => {
    const path = join(folder, "odd.json");
    const verifyText = async (content: string): Promise<{ code: number; json: unknown }> => {
      await writeFile(path, content);
      const { code, stdout } = await runInProcess("--json", "evaluate", "--verify", path);
      return { code, json: JSON.parse(stdout) as unknown };
    };
    const attempt = async (content: string, message: RegExp): Promise<void> => {
      await writeFile(path, content);
      await expectError(message, "--verify", path);
    };
    await attempt("{", /expected JSON/);
    await attempt("{}", /expected format tastemaker-evaluation\/1/);
    await attempt(await readFile(join(folder, "train.json"), "utf8").catch(() => "[]"), /expected format/);
    const file = await readRecord(original);
    await attempt(JSON.stringify({ ...file, variants: file.variants.slice(0, 1) }), /expected 2 variants/);
    const marker = join(folder, "ran");
    const module = join(folder, "evil.mjs");
    await writeFile(module, `import { writeFileSync } from "node:fs"; writeFileSync(${JSON.stringify(marker)}, "");`);
    // The record of a metric of one's own whose module lies there.
    const own = JSON.parse(JSON.stringify(file).replaceAll('"clip-score"', '"mine"')) as Writable<EvaluationFile>;
    own.settings.metrics[0] = { name: "mine", path: module };
    const forged = await verifyText(JSON.stringify(own));
    expect(forged).toMatchObject({ code: 1, json: { holds: false, difference: { what: `SHA-256 of the module of metric mine (${module})` } } });
    own.metrics[0]!.files[0]!.sha256 = hashText(await readFile(module, "utf8"));
    await attempt(JSON.stringify(own), /expected rewards that were named on this machine before/);
    own.settings.metrics[0] = { name: "mine", path: "http://localhost:9/score" };
    await attempt(JSON.stringify(own), /expected rewards that were named on this machine before/);
    await expect(readFile(marker)).rejects.toMatchObject({ code: "ENOENT" });
    await expectError(/no such file/, "--verify", join(folder, "nowhere.json"));
  });
});

describe("bad input of an evaluation", () => {
  it("is one clear error each", async () => {
    const broken = join(folder, "broken-clip");
    await cp(world.clip, broken, { recursive: true });
    await mkdir(join(folder, "full"), { recursive: true });
    await writeFile(join(folder, "full", "mine.txt"), "");
    const [clip] = [metrics("clip-score")];
    const rows: [RegExp, ...string[]][] = [
      [/expected at least one metric, got none that comes with the model/, ...usual()],
      [/metric: expected one of all, [^\n]*got "clipscore"; did you mean "clip-score"/, ...usual(), "--metrics", "clipscore"],
      [/reward hpsv2: expected the path of its weights, got none/, ...usual(), "--metrics", "hpsv2"],
      [/expected openai\/clip-vit-large-patch14 in the cache because HF_HUB_OFFLINE is set/, ...usual(), "--metrics", "clip-score"],
      [/metric judge: expected pictures and prompts of the embedded world/, ...usual(), "--metrics", "judge"],
      [/--metrics: expected NAME or NAME=PATH, got ""/, ...usual(), "--metrics", "clip-score,"],
      [/--metrics: expected each name once, got "clip-score" twice/, ...usual(), "--metrics", `clip-score=${world.clip},clip-score=${world.clip}`],
      [/expected --prompts FILE or --prompt TEXT, got neither/, "--model", world.model, ...clip],
      [/expected --prompts or --prompt, got both/, ...usual(), ...clip, "--prompt", "a cat"],
      [/adapter: expected a LoRA file or a run directory, got nothing/, ...usual(), ...clip, "--lora", join(folder, "nothing")],
      [/got the same weights twice/, ...usual(), ...clip, "--lora", strong, "--lora", strong],
      [/expected a run directory or --model, got both/, folder, "--model", world.model],
      [/run directory: expected [^\n]*run\.json, got no such file/, folder],
      [/--timesteps: expected linspace, skipping or falling whole numbers/, ...usual(), ...clip, "--timesteps", "1,2"],
      [/expected 3 timesteps \(one per step\), got 2/, ...usual(), ...clip, "--timesteps", "999,499"],
      [/expected a new or empty folder, or one with an evaluation, got mine\.txt/, ...usual(), ...clip, "--out", join(folder, "full")],
    ];
    for (const [message, ...args] of rows) await expectError(message, ...args, ...(args.includes("--out") ? [] : ["--out", join(folder, "never")]));
  });

  it("names metric, picture and prompt when a score is not finite", async () => {
    const { encodeSafetensors } = await import("@tastemaker/diffusion");
    const head = join(folder, "nan-taste");
    await mkdir(head);
    await writeFile(join(head, "config.json"), JSON.stringify({ clip: "../clip", layers: [1] }));
    await writeFile(join(head, "model.safetensors"), encodeSafetensors(new Map([["layers.0.weight", { dtype: "F32", shape: [1, 8], data: new Float32Array(8).fill(Number.NaN) }], ["layers.0.bias", { dtype: "F32", shape: [1], data: new Float32Array(1) }]])));
    await expectError(/expected finite numbers, got NaN from metric aesthetic \(at base, prompt "a blue fox", seed number 0, picture [^\n]*\.png\)/, ...usual(), "--metrics", `aesthetic=${head}`, "--out", join(folder, "never"));
  });
});
