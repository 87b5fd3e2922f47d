import { existsSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Command } from "commander";
import { describe, expect, it } from "vitest";
import { encodeTorchZip } from "../../../diffusion/src/testing/torch-zip.ts";
import { runShell, runTastemaker, withTemporaryFolder } from "../testing/child.ts";
import type { TrainConfig } from "../config/train-config.ts";
import type { Engine } from "./command-context.ts";
import { register as registerGenerate, type GenerateOptions } from "./commands/generate.ts";
import { register as registerTrain } from "./commands/train.ts";

function safetensors(header: object, dataBytes: number): Buffer {
  const json = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  return Buffer.concat([length, json, Buffer.alloc(dataBytes)]);
}

describe("tastemaker", () => {
  it("prints help with an example for the program and for every command", async () => {
    const main = await runTastemaker("--help");
    expect(main).toMatchObject({ code: 0, stderr: "" });
    const names = [...main.stdout.matchAll(/^ {2}([a-z]+) /gm)].map(([, name]) => name!).filter((name) => name !== "help");
    expect(names).toEqual(expect.arrayContaining(["report", "inspect", "doctor"]));
    for (const name of names) {
      const help = await runTastemaker(name, "--help");
      expect(help.code).toBe(0);
      expect(help.stdout, name).toMatch(/\n\nExamples?:\n(  # .*\n)?  \$ tastemaker /);
    }
  });

  it("names the nearest command and option, with exit code 2 and no stack", async () => {
    const command = await runTastemaker("inspct", "x");
    expect(command).toMatchObject({ code: 2, stdout: "" });
    expect(command.stderr).toMatch(/^error: unknown command 'inspct'\n\(Did you mean inspect\?\)/);
    const option = await runTastemaker("inspect", "x", "--mtch", "y");
    expect(option.code).toBe(2);
    expect(option.stderr).toMatch(/^error: unknown option '--mtch'\n\(Did you mean --match\?\)/);
    const argument = await runTastemaker("--json", "inspect");
    expect(argument.code).toBe(2);
    expect(JSON.parse(argument.stdout)).toMatchObject({ error: { code: "missing-argument", message: expect.stringContaining("missing required argument 'file'") as string } });
  });

  it("lists a safetensors file for people and for machines", () =>
    withTemporaryFolder(async (folder) => {
      const path = join(folder, "a.safetensors");
      const header = { __metadata__: { alpha: "16" }, "down.\u001b[31mweight": { dtype: "F16", shape: [2, 3], data_offsets: [0, 12] }, bias: { dtype: "F32", shape: [], data_offsets: [12, 16] } };
      await writeFile(path, safetensors(header, 16));
      const text = await runTastemaker("inspect", path);
      expect(text).toMatchObject({ code: 0, stderr: "" });
      expect(text.stdout.split("\n")[0]).toMatch(/^down\.\\u001b\[31mweight {2}F16 {3}\[2, 3\] +12 B$/);
      expect(text.stdout).toContain("metadata alpha: 16\n2 tensors, 7 numbers, 16 B");
      const json = await runTastemaker("inspect", path, "--json", "--match", "bias");
      expect(json.stdout.trimEnd().split("\n")).toHaveLength(1);
      expect(JSON.parse(json.stdout)).toMatchObject({ metadata: { alpha: "16" }, tensors: [{ name: "bias", dtype: "F32", shape: [], sizeBytes: 4 }] });
    }));

  it("lists PyTorch files without running anything of them", () =>
    withTemporaryFolder(async (folder) => {
      const path = join(folder, "a.pt");
      await writeFile(path, encodeTorchZip(new Map([["layer.weight", { dtype: "F32", shape: [2, 3], data: Float32Array.of(1, 2, 3, 4, 5, 6) }]])));
      const listed = await runTastemaker("inspect", path);
      expect(listed).toMatchObject({ code: 0, stderr: "" });
      expect(listed.stdout).toMatch(/^layer\.weight {2}F32 {3}\[2, 3\] +24 B\n1 tensors, 6 numbers, 24 B \(pytorch zip file of \d+ B\)\n$/);
      const marker = join(folder, "made-by-the-pickle");
      await writeFile(path, Buffer.concat([Buffer.from([0x80, 2]), Buffer.from(`cposix\nsystem\nX${String.fromCharCode(6 + marker.length)}\0\0\0touch ${marker}\x85R.`, "latin1")]));
      const refused = await runTastemaker("inspect", path);
      expect(refused).toMatchObject({ code: 2, stdout: "" });
      expect(refused.stderr).toMatch(/^error: [^\n]*got the name "posix\.system"[^\n]*\n$/);
      expect(existsSync(marker)).toBe(false);
    }));

  it("refuses damaged files with one message", () =>
    withTemporaryFolder(async (folder) => {
      const path = join(folder, "a.safetensors");
      for (const bytes of [Buffer.from(""), Buffer.alloc(8, 255), safetensors({ a: { dtype: "F32", shape: [9], data_offsets: [0, 36] } }, 35), safetensors({ a: { dtype: "F32", shape: [-1], data_offsets: [0, 4] } }, 4)]) {
        await writeFile(path, bytes);
        const end = await runTastemaker("inspect", path);
        expect(end).toMatchObject({ code: 2, stdout: "" });
        expect(end.stderr).toMatch(/^error: [^\n]*expected [^\n]*\n$/);
      }
      expect(await runTastemaker("inspect", join(folder, "none"))).toMatchObject({ code: 2, stderr: expect.stringMatching(/^error: [^\n]*none/) as string });
      expect(await runTastemaker("report", folder, "--json")).toMatchObject({ code: 2, stdout: expect.stringContaining('{"error":{"code":"run-missing"') as string });
    }));

  it("tells whether the machine is fit, and what to do", async () => {
    const text = await runTastemaker("doctor");
    expect(text.stdout).toMatch(/^yes {2}Node 20 or newer +20\./);
    const json = JSON.parse((await runTastemaker("--json", "doctor")).stdout) as { healthy: boolean; checks: { name: string; status: string }[] };
    expect(json.checks.map(({ name }) => name)).toEqual(expect.arrayContaining(["onnxruntime loads", "vector instructions", "memory", "cache is writable"]));
    const broken = await runShell(`TASTEMAKER_CACHE=/proc/nowhere ${process.execPath} --import tsx --conditions=@tastemaker/source src/cli/main.ts doctor`, join(import.meta.dirname, "../.."));
    expect(broken.code).toBe(2);
    expect(broken.stdout).toMatch(/no +cache is writable[^\n]*\n +→ set TASTEMAKER_CACHE/);
  });
});

async function trainConfig(...args: string[]): Promise<TrainConfig> {
  let found: TrainConfig | undefined;
  const engine: Engine<TrainConfig> = () =>
    Promise.resolve((config) => {
      found = config;
      return Promise.resolve();
    });
  const program = new Command().exitOverride();
  registerTrain(program, engine);
  await program.parseAsync(["train", ...args], { from: "user" });
  return found!;
}

describe("train options", () => {
  it("become a resolved configuration, with flags over the file", () =>
    withTemporaryFolder(async (folder) => {
      const file = join(folder, "c.json");
      await writeFile(file, JSON.stringify({ steps: 4, seed: 9, lora: { alpha: 8 } }));
      const config = await trainConfig("-c", file, "--steps", "2", "--beta", "linear:1:0.1", "--reward", "clip-score:2", "--reward", "aesthetic", "--rank", "4", "--out", "7", "--set", "adam.beta2=0.99");
      expect(config).toMatchObject({
        steps: 2,
        seed: 9,
        lora: { rank: 4, alpha: 8 },
        beta: { schedule: "linear", from: 1, to: 0.1 },
        rewards: [
          { name: "clip-score", weight: 2 },
          { name: "aesthetic", weight: 1 },
        ],
        out: "7",
        adam: { beta2: 0.99 },
      });
    }));

  it("take rewards with weights, paths and addresses, whose colons are not weights", async () => {
    const rewards = async (...texts: string[]): Promise<unknown> => (await trainConfig(...texts.flatMap((text) => ["--reward", text]))).rewards;
    expect(await rewards("clip-score:2, aesthetic")).toEqual([
      { name: "clip-score", weight: 2 },
      { name: "aesthetic", weight: 1 },
    ]);
    expect(await rewards("warmth=./warmth.ts,sharp:-0.5=C:\\rewards\\sharp.onnx", "mine:1e-2=http://localhost:8080/score?k=1")).toEqual([
      { name: "warmth", weight: 1, path: "./warmth.ts" },
      { name: "sharp", weight: -0.5, path: "C:\\rewards\\sharp.onnx" },
      { name: "mine", weight: 0.01, path: "http://localhost:8080/score?k=1" },
    ]);
    for (const [text, message] of [
      ["", "--reward: expected NAME[:WEIGHT][=PATH], got \"\""],
      ["clip-score,", "got \"\""],
      ["clip-score:", "got \"clip-score:\""],
      ["warmth=", "got \"warmth=\""],
      ["./warmth.ts", "a reward of your own needs a name: --reward my-reward=./warmth.ts"],
      ["http://localhost:1/score", "a reward of your own needs a name: --reward my-reward=http://localhost:1/score"],
      ["warmth=./warmth.ts:0.5", "the weight comes before the path: --reward warmth:0.5=./warmth.ts"],
      ["clip-score:much", 'expected a number, got "much" (at --reward'],
    ] as const) {
      await expect(rewards(text), text).rejects.toMatchObject({ name: "UsageError", message: expect.stringContaining(message) as string });
    }
  });

  it("refuse bad values naming the option", async () => {
    await expect(trainConfig("--beta", "-1")).rejects.toMatchObject({ name: "UsageError", message: expect.stringContaining("expected a number >= 0, got -1 (at --beta)") as string });
    await expect(trainConfig("--steps", "60")).rejects.toMatchObject({ message: expect.stringContaining("got 60 (at --steps)") as string });
    await expect(trainConfig("--guidance", "0")).rejects.toMatchObject({ message: expect.stringContaining("got 0 (at --guidance)") as string });
    await expect(trainConfig("--divergence", "jss")).rejects.toMatchObject({ message: expect.stringContaining('did you mean "js"?') as string });
  });
});

describe("generate options", () => {
  it("carry prompts, numbers and defaults to the engine", async () => {
    let found: GenerateOptions | undefined;
    const program = new Command().exitOverride();
    registerGenerate(program, () =>
      Promise.resolve((options) => {
        found = options;
        return Promise.resolve();
      }),
    );
    await program.parseAsync(["generate", "a cat", "a dog", "--steps", "4", "--seed", "3"], { from: "user" });
    expect(found).toMatchObject({ prompts: ["a cat", "a dog"], steps: 4, seed: 3, count: 1 });
    // The adapter's run may say the model, so there is no default here.
    expect(found).not.toHaveProperty("model");
  });
});
