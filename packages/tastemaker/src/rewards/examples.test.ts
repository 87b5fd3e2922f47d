import { mkdtempSync, rmSync } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type Picture, pictureOf } from "@tastemaker/diffusion";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { encodePng } from "../images/contact-sheet.ts";
import { nodeBackend } from "../platform/runtime.ts";
import type { MetricsLine } from "../report/report-data.ts";
import { readJsonLines } from "../storage/append-log.ts";
import { runTastemaker, startScript } from "../testing/child.ts";
import { tinyTrainConfig, writeTinyWorld } from "../testing/tiny-world.ts";
import { openReward } from "./open-reward.ts";

const examples: string = fileURLToPath(new URL("../../../../examples/rewards/", import.meta.url));
const backend = nodeBackend({ threads: 1 });
const folder: string = mkdtempSync(join(tmpdir(), "tastemaker-examples-"));
let world: Awaited<ReturnType<typeof writeTinyWorld>>;

beforeAll(async () => {
  // What a person names is remembered there.
  process.env["TASTEMAKER_CACHE"] = join(folder, "cache");
  world = await writeTinyWorld(folder, 1);
});
afterAll(() => {
  delete process.env["TASTEMAKER_CACHE"];
  rmSync(folder, { recursive: true, force: true });
});

/** A picture of one colour, each channel from 0 to 1. */
function plain(...colour: readonly [number, number, number]): Picture {
  return pictureOf(Float32Array.from({ length: 3 * 64 }, (_, i) => colour[Math.floor(i / 64)]!), 8, 8);
}

const noisy: Picture = { width: 8, height: 8, pixels: Uint8Array.from({ length: 192 }, (_, i) => (i * i * 37) % 256) };

describe("the example", () => {
  it("warmth prefers red to blue and is trained on by the documented command", async () => {
    const reward = await openReward({ name: "warmth", path: join(examples, "warmth.ts") }, backend, undefined);
    const [red, blue] = await reward.score([plain(1, 0, 0), plain(0, 0, 1)], ["a", "b"]);
    expect([red, blue]).toEqual([1, -1]);
    await reward.dispose();
    const config = join(folder, "train.json");
    await writeFile(config, JSON.stringify(tinyTrainConfig(world)));
    const out = join(folder, "run");
    const end = await runTastemaker("train", "-c", config, "--reward", `warmth:2=${join(examples, "warmth.ts")},named-colour=${join(examples, "named-colour.ts")}`, "--iterations", "2", "--out", out);
    expect(end.code, end.stderr).toBe(0);
    const lines = (await readJsonLines(join(out, "metrics.jsonl"))) as unknown as MetricsLine[];
    expect(lines).toHaveLength(2);
    for (const { reward: sum, rewards } of lines) expect(sum).toBeCloseTo(2 * rewards["warmth"]! + rewards["named-colour"]!, 9);
    const record = JSON.parse(await readFile(join(out, "run.json"), "utf8")) as { inputs: Record<string, { path: string }> };
    expect(record.inputs["reward warmth"]!.path).toBe(join(examples, "warmth.ts"));
  });

  it("named-colour prefers the colour that the prompt names", async () => {
    const reward = await openReward({ name: "named-colour", path: join(examples, "named-colour.ts") }, backend, undefined);
    const pictures = [plain(0.85, 0.15, 0.15), plain(0.15, 0.35, 0.85)];
    const [redRed, blueRed] = await reward.score(pictures, ["a red cat", "a red cat"]);
    const [redBlue, blueBlue] = await reward.score(pictures, ["a blue cat", "a blue cat"]);
    expect(redRed).toBeCloseTo(0, 4);
    expect(blueBlue).toBeCloseTo(0, 4);
    expect(blueRed).toBeLessThan(-0.5);
    expect(redBlue).toBeLessThan(-0.5);
    await reward.dispose();
  });

  it("palette counts colours", async () => {
    const reward = await openReward({ name: "palette", path: join(examples, "palette.ts") }, backend, undefined);
    const [one, many] = await reward.score([plain(1, 0, 0), noisy], ["a", "b"]);
    expect(one).toBe(-1);
    expect(many).toBeLessThan(-20);
    expect(reward.gradient).toBeUndefined();
    const picture = join(folder, "noisy.png");
    await writeFile(picture, await encodePng(noisy));
    const end = await runTastemaker("score", "--json", "--reward", `palette=${join(examples, "palette.ts")}`, "--image", picture);
    expect(end.code, end.stderr).toBe(0);
    expect(JSON.parse(end.stdout)).toMatchObject({ scores: [{ scores: { palette: many } }] });
  });

  it("server answers over HTTP and refuses what it does not know", async () => {
    const server = startScript(join(examples, "http/server.mjs"), "0");
    try {
      const [address] = /http:\S+/.exec(await server.printed("/\n"))!;
      const reward = await openReward({ name: "plain", path: address }, backend, undefined);
      expect(reward).toMatchObject({ unit: "minus kB of the PNG", version: `${address} 1` });
      const [one, many] = await reward.score([plain(1, 0, 0), noisy], ["a", "b"]);
      expect(one).toBeGreaterThan(many!);
      const picture = join(folder, "plain.png");
      await writeFile(picture, await encodePng(plain(1, 0, 0)));
      const end = await runTastemaker("score", "--json", "--reward", `plain=${address}`, "--image", picture, "--prompt", "a red square");
      expect(end.code, end.stderr).toBe(0);
      expect(JSON.parse(end.stdout)).toMatchObject({ scores: [{ scores: { plain: one } }], rewards: [{ version: `${address} 1` }] });
      const refused = await fetch(address, { method: "POST", body: '{"protocol": "other"}' });
      expect(refused.status).toBe(400);
    } finally {
      server.child.kill();
      await server.finished;
    }
  });
});
