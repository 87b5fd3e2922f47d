import { execFile } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { promisify } from "node:util";
import { type Picture, pictureOf } from "@tastemaker/diffusion";
import { gradients, input, program, sum } from "@tastemaker/tensor";
import { afterAll, describe, expect, it } from "vitest";
import { nodeBackend } from "../platform/runtime.ts";
import { moduleLoadError } from "./module-reward.ts";
import { openReward } from "./open-reward.ts";
import type { Reward } from "./reward.ts";

const backend = nodeBackend({ threads: 1 });
const folder: string = mkdtempSync(join(tmpdir(), "tastemaker-modules-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

let count = 0;
/** Opens a module with this text. A module is loaded once per path, so each gets a path of its own. */
async function open(text: string, extension = "mjs"): Promise<Reward> {
  count += 1;
  const path = join(folder, `module-${count}.${extension}`);
  await writeFile(path, text);
  return openReward({ name: "mine", path }, backend, undefined);
}

/** A picture of one colour per quarter. */
function picture(side: number, phase: number): Picture {
  return pictureOf(Float32Array.from({ length: 3 * side * side }, (_, i) => 0.5 + 0.5 * Math.sin(i * 0.37 + phase)), side, side);
}

const meanSquare = ({ pixels }: Picture): number => pixels.reduce((total, value) => total + (value / 255) ** 2, 0) / pixels.length;
const meanOf = ({ pixels }: Picture): number => pixels.reduce((total, value) => total + value, 0) / pixels.length / 255;

describe("a module with a trace", () => {
  it("gives numbers for pictures of any size and a gradient, without importing anything", async () => {
    const reward = await open("export default { unit: 'brightness', trace: (image, { ops }) => ops.mean(ops.square(image), [1, 2, 3]) };");
    const pictures = [picture(8, 0), picture(8, 1), picture(12, 2)];
    const scores = await reward.score(pictures, ["a", "b", "c"]);
    for (const [row, score] of scores.entries()) expect(score).toBeCloseTo(meanSquare(pictures[row]!), 6);
    const image = input("image", [2, 3, 8, 8]);
    const term = reward.gradient!.term(-2, 2);
    expect(term).toMatchObject({ name: "mine", weight: -2, inputs: {} });
    const executable = await backend.compile(program({ slope: gradients(sum(term.score(image, {})), [image])[0]! }));
    const { slope } = await executable.run({ image: new Float32Array(2 * 3 * 64).fill(0.25) });
    expect(slope!.data).toHaveLength(2 * 3 * 64);
    for (const value of slope!.data) expect(value).toBeCloseTo((2 * 0.25) / 192, 8);
    await executable.dispose();
    await reward.dispose();
    expect(reward).toMatchObject({ unit: "brightness", typicalRange: [0, 1], needsText: false });
    expect(reward.files).toEqual([expect.stringMatching(/module-\d+\.mjs$/)]);
  });

  it("reads prompts as numbers, also those it does not use", async () => {
    const reward = await open(`export default {
      prompt: { inputs: { level: [], pair: [2], unused: [3] }, values: (prompt) => ({ level: prompt.length, pair: [1, prompt.length], unused: [0, 0, 0] }) },
      trace: (image, { ops, inputs }) => ops.add(ops.mul(ops.mean(image, [1, 2, 3]), inputs.level), ops.sum(inputs.pair, 1)),
    };`);
    const shown = picture(8, 0);
    const scores = await reward.score([shown, shown], ["abc", "abcde"]);
    expect(scores[0]).toBeCloseTo(3 * meanOf(shown) + 4, 5);
    expect(scores[1]).toBeCloseTo(5 * meanOf(shown) + 6, 5);
    expect(reward.gradient!.term(1, 4).inputs).toEqual({ level: { shape: [4] }, pair: { shape: [4, 2] }, unused: { shape: [4, 3] } });
    expect(await reward.gradient!.inputsFor(["abc", "a"])).toMatchObject({ level: Float32Array.of(3, 1), pair: Float32Array.of(1, 3, 1, 1) });
    await reward.dispose();
  });

  it("may report by exact numbers beside it", async () => {
    const reward = await open("export default { trace: (image, { ops }) => ops.mean(image, [1, 2, 3]), score: (pictures, prompts) => prompts.map((prompt) => prompt.length) };");
    expect(await reward.score([picture(8, 0)], ["four"])).toEqual([4]);
    expect(reward.gradient).toBeDefined();
  });

  it.each([
    ["(image, { ops }) => ops.mean(image)", /expected trace to return a tensor \[B\], one number per picture, got \[\] for 1 picture /],
    ["() => 3", /got number that the given ops did not make/],
    ["async (image, { ops }) => ops.mean(image, [1, 2, 3])", /got a promise/],
    ["(image, { ops }) =>\n ops.mean(image.nothing.here, [1, 2, 3])", /reward mine: trace failed: Cannot read properties of undefined \(reading 'here'\) \(at .*\.mjs:2\)$/],
    ["(image, { ops }) => ops.log(ops.sub(ops.mean(image, [1, 2, 3]), 2))", /expected 1 finite number, one per picture, got NaN at place 1/],
  ])("that is wrong, %s, is one clear error", async (trace, message) => {
    const reward = await open(`export default { trace: ${trace} };`);
    await expect(reward.score([picture(8, 0)], ["a"])).rejects.toMatchObject({ name: "UsageError", message: expect.stringMatching(message) as string });
    await reward.dispose();
  });

  it("refuses numbers of a prompt that do not fit", async () => {
    const reward = await open("export default { prompt: { inputs: { colour: [3] }, values: () => ({ colour: [1, 2] }) }, trace: (image, { ops }) => ops.mean(image, [1, 2, 3]) };");
    await expect(reward.score([picture(8, 0)], ["red"])).rejects.toMatchObject({ name: "UsageError", message: expect.stringContaining('expected 3 finite numbers as prompt input colour, got [1,2]') as string });
  });
});

describe("a module with numbers", () => {
  it("scores at once or later, and has no gradient", async () => {
    const reward = await open("export default { score: async (pictures) => pictures.map(({ width, height }) => width * height) };");
    expect(await reward.score([picture(8, 0), picture(4, 0)], ["a", "b"])).toEqual([64, 16]);
    expect(reward.gradient).toBeUndefined();
  });

  it.each([
    ["() => []", /expected 2 finite numbers, one per picture, got 0 /],
    ["() => [1, NaN]", /got NaN at place 2 /],
    ["() => [1, 'two']", /got "two" at place 2 /],
    ["() => 7", /got a number /],
    ["() => undefined", /got none /],
    ["() => {\n throw new Error('no luck') }", /reward mine: score failed: no luck \(at .*\.mjs:2\)$/],
    ["async () => { throw 'text' }", /reward mine: score failed: text /],
  ])("that are wrong, %s, is one clear error", async (score, message) => {
    const reward = await open(`export default { score: ${score} };`);
    await expect(reward.score([picture(4, 0), picture(4, 1)], ["a", "b"])).rejects.toMatchObject({ name: "UsageError", message: expect.stringMatching(message) as string });
  });
});

describe("a module", () => {
  it.each([
    ["const a = 1;", /expected a reward as the module's default export, got none .*; export default \{ trace/],
    ["export default () => 1;", /got a function/],
    ["export default {};", /expected "trace" \(can be trained on by gradient\) or "score" \(numbers\), got neither/],
    ["export default { scor: () => [] };", /got "scor" .*; did you mean "score"\?/],
    ["export default { trace: 3 };", /trace: expected a function/],
    ["export default { score: () => [], prompt: { inputs: {}, values: () => ({}) } };", /expected "trace" beside "prompt"/],
    ["export default { score: () => [], typicalRange: [1, 0] };", /expected a typicalRange \[low, high\], got \[1, 0\]/],
    ["export default { score: () => [], files: ['none.bin'] };", /expected a file that the module names in "files", got none \(at .*none\.bin\)/],
    ["import 'a-package-that-is-not-installed-here';", /expected a module that loads, got Error: /],
    ["throw new TypeError('at once');", /expected a module that loads, got TypeError: at once/],
  ])("%s is one clear error", async (text, message) => {
    await expect(open(text)).rejects.toMatchObject({ name: "UsageError", message: expect.stringMatching(message) as string });
  });

  it("names the files it depends on", async () => {
    await writeFile(join(folder, "table.json"), "[1]");
    const reward = await open("export default { score: () => [], files: ['table.json'] };");
    expect(reward.files).toEqual([expect.stringMatching(/module-\d+\.mjs$/), expect.stringMatching(/table\.json$/)]);
  });

  it("may be TypeScript, where Node reads it", async () => {
    const reward = await open("const side: number = 2;\nexport default { score: (pictures: readonly { readonly width: number }[]) => pictures.map(({ width }) => width * side) };", "ts");
    expect(await reward.score([picture(8, 0)], ["a"])).toEqual([16]);
    // Node by itself, without the loader that the tests run under.
    const path = reward.files[0]!;
    const script = `import(${JSON.stringify(pathToFileURL(path).href)}).then(() => console.log("{}"), ({ code, message }) => console.log(JSON.stringify({ code, message })))`;
    const { stdout } = await promisify(execFile)(process.execPath, ["-e", script]);
    const outcome = JSON.parse(stdout) as { code?: string; message?: string };
    if (outcome.message === undefined) return;
    expect(moduleLoadError("mine", path, Object.assign(new Error(outcome.message), { code: outcome.code })).message).toMatch(
      /got TypeScript, which Node \d+\.\d+\.\d+ cannot read \(at .*\.ts\); use Node 22\.18 or newer; or install tsx .* NODE_OPTIONS=--import=tsx/,
    );
  });
});

describe("a reward of one's own", () => {
  it("needs a name of its own and a path that says its kind", async () => {
    const path = join(folder, "named.mjs");
    await writeFile(path, "export default { score: () => [] };");
    await mkdir(join(folder, "folder.ts"));
    const rows: readonly (readonly [Parameters<typeof openReward>[0], RegExp])[] = [
      [{ name: "aesthetic", path }, /expected a name of its own for a reward of your own, got "aesthetic", which is built in/],
      [{ name: "my reward", path }, /expected a name that begins with a letter/],
      [{ name: "__proto__", path }, /expected a name that begins with a letter/],
      [{ name: "mine", path: join(folder, "none.mjs") }, /reward mine: expected a module .*, got nothing/],
      [{ name: "asthetic", path: folder }, /got a folder .*; weights belong to a built-in reward: did you mean "aesthetic"\?/],
      [{ name: "mine", path: join(folder, "folder.ts") }, /expected a file, got a folder/],
      [{ name: "mine", path, endpoint: { batchSize: 1, concurrency: 1, retries: 0, timeoutSeconds: 1 } }, /expected an http\(s\) address where "endpoint" is set/],
      [{ name: "mine", path, vocabulary: folder }, /expected no "vocabulary"/],
      [{ name: "mine" }, /reward: expected one of /],
    ];
    for (const [setting, message] of rows) await expect(openReward(setting, backend, undefined), setting.name).rejects.toMatchObject({ name: "UsageError", message: expect.stringMatching(message) as string });
  });
});
