import { mkdtempSync, rmSync } from "node:fs";
import { mkdir, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import sharp from "sharp";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import type { RunRecord } from "../storage/run-directory.ts";
import { runShell, runTastemaker, startTastemaker } from "../testing/child.ts";
import { HubServer } from "../testing/hub-server.ts";
import { tinyTrainConfig, writeTinyWorld } from "../testing/tiny-world.ts";

let hub: HubServer;
let root: string;
const outside = { ...process.env };
beforeAll(async () => {
  hub = await HubServer.start();
  root = mkdtempSync(join(tmpdir(), "tastemaker-"));
});
beforeEach(() => {
  hub.seen.length = 0;
  hub.disturb = () => false;
  // Inherited by the processes that are started.
  Object.assign(process.env, { HF_ENDPOINT: hub.endpoint, HF_HOME: join(root, "hf"), TASTEMAKER_CACHE: join(root, "own") });
  for (const name of ["HF_TOKEN", "HF_HUB_CACHE", "HF_HUB_OFFLINE"]) delete process.env[name];
});
afterAll(async () => {
  process.env = outside;
  await hub.close();
  rmSync(root, { recursive: true, force: true });
});

const canMount = (await runShell("unshare -rm mount -t tmpfs -o size=64k none /mnt")).code === 0;

describe("tastemaker fetch", () => {
  it("fetches what is named and says what it did, once more without a download, and then it is there offline", async () => {
    const world = await writeTinyWorld(join(root, "world"), 3);
    const commit = await hub.addFolder("tiny/clip", world.clip, { "README.md": "x" });
    const heads = hub.add("tiny/heads", { "head.pt": "head" });
    const first = await runTastemaker("fetch", "tiny/clip", "tiny/heads:head.pt", "--json");
    expect([first.code, first.stderr]).toEqual([0, ""]);
    const path = join(root, "hf", "hub", "models--tiny--clip", "snapshots", commit);
    const files = ["config.json", "merges.txt", "model.safetensors", "special_tokens_map.json", "tokenizer_config.json", "vocab.json"];
    const sizes = await Promise.all(files.map(async (name) => (await stat(join(world.clip, name))).size));
    const sizeBytes = sizes.reduce((total, size) => total + size, 0);
    expect(JSON.parse(first.stdout)).toEqual({
      fetched: [
        { name: "tiny/clip", pinned: `tiny/clip@${commit}`, path, files, sizeBytes, receivedBytes: sizeBytes },
        { name: "tiny/heads:head.pt", pinned: `tiny/heads@${heads}:head.pt`, path: join(root, "hf", "hub", "models--tiny--heads", "snapshots", heads, "head.pt"), files: [], sizeBytes: 4, receivedBytes: 4 },
      ],
    });
    const again = await runTastemaker("fetch", "tiny/clip");
    expect(again.stdout).toMatch(new RegExp(`^tiny/clip@${commit}: already here, 6 files of [\\d.]+ kB\n  ${path}\n$`));
    process.env["HF_HUB_OFFLINE"] = "1";
    hub.seen.length = 0;
    expect((await runTastemaker("fetch", "tiny/clip", "--json")).code).toBe(0);
    const missing = await runTastemaker("generate", "a red cat", "--model", "tiny/lcm", "--out", join(root, "x.png"));
    expect([missing.code, missing.stderr]).toEqual([2, expect.stringMatching(/^error: weights: expected tiny\/lcm in the cache because HF_HUB_OFFLINE is set, got nothing of it .*tastemaker fetch tiny\/lcm/)]);
    expect(hub.seen).toEqual([]);
  });

  it("goes on where it was killed", async () => {
    const content = Buffer.alloc(3_000_000, 7);
    hub.add("big/model", { "w.pt": content });
    const blobs = join(root, "hf", "hub", "models--big--model", "blobs");
    hub.disturb = ({ host }, _request, response) => {
      if (host !== "cdn") return false;
      response.writeHead(200, { "content-length": content.length }).write(content.subarray(0, 1_000_000));
      return true;
    };
    const { child, finished } = startTastemaker("fetch", "big/model:w.pt");
    for (let tries = 0; tries < 2000; tries++) {
      const [name] = await readdir(blobs).catch(() => []);
      if (name !== undefined && (await stat(join(blobs, name))).size === 1_000_000) break;
      await delay(10);
    }
    child.kill("SIGKILL");
    expect((await finished).signal).toBe("SIGKILL");
    hub.disturb = () => false;
    hub.seen.length = 0;
    // Its lock is left, and recognised as that of a dead process.
    const second = await runTastemaker("fetch", "big/model:w.pt", "--json");
    expect(JSON.parse(second.stdout)).toMatchObject({ fetched: [{ sizeBytes: 3_000_000, receivedBytes: 2_000_000 }] });
    expect(hub.seen.filter(({ host }) => host === "cdn").map(({ range }) => range)).toEqual(["bytes=1000000-"]);
  });

  it("is told in one sentence what a wrong name is", async () => {
    const end = await runTastemaker("fetch", "nothing", "--json");
    expect(end.code).toBe(2);
    expect(JSON.parse(end.stdout)).toMatchObject({ error: { code: "weights-missing", message: expect.stringContaining("owner/name") as string } });
  });

  it.skipIf(!canMount)("says how much space is missing, or that the disk became full", async () => {
    hub.add("big/model", { "big.pt": Buffer.alloc(300_000) });
    hub.files.set("/stream.pt", { content: Buffer.alloc(300_000) });
    hub.disturb = ({ url }, _request, response) => {
      // No size is announced.
      if (url === "/stream.pt") response.writeHead(200).end(Buffer.alloc(300_000));
      return url === "/stream.pt";
    };
    const main = fileURLToPath(new URL("../cli/main.ts", import.meta.url));
    const fetchThere = (name: string): string => `HF_HOME=/mnt/hf TASTEMAKER_CACHE=/mnt/own ${process.execPath} --import tsx --conditions=@tastemaker/source ${main} fetch ${name}`;
    const mounted = (script: string): Promise<{ stderr: string }> => runShell(`unshare -rm sh -c 'mount -t tmpfs -o size=128k none /mnt && ${script}'`, fileURLToPath(new URL("../../", import.meta.url)));
    expect((await mounted(fetchThere("big/model:big.pt"))).stderr).toMatch(/^error: fetch: expected 300 kB of free space, got [\d.]+ kB \(at \/mnt\/hf\/hub\/models--big--model\); free some/);
    expect((await mounted(fetchThere(`${hub.cdn}/stream.pt`))).stderr).toMatch(/^error: cannot write \/mnt\/own\/downloads\/.*: no space left; free some space/);
  });
});

describe("a distillation with a teacher of the hub", () => {
  it("records its commit and goes on with it", async () => {
    const { model } = await writeTinyWorld(join(root, "teacher"), 5);
    const { time_cond_proj_dim: _guidance, ...unet } = JSON.parse(await readFile(join(model, "unet", "config.json"), "utf8")) as Record<string, unknown>;
    await writeFile(join(model, "unet", "config.json"), JSON.stringify(unet));
    const commit = await hub.addFolder("run/teacher", model);
    const pictures = join(root, "pictures");
    await mkdir(pictures);
    for (const [index, word] of ["red", "green", "blue", "small"].entries()) {
      await sharp({ create: { width: 8, height: 8, channels: 3, background: { r: 60 * index, g: 90, b: 20 } } }).png().toFile(join(pictures, `${index}.png`));
      await writeFile(join(pictures, `${index}.txt`), `a ${word} cat`);
    }
    const settings = ["imageSize=8", "batch=2", "trajectories=2", "visits=1", "cache=4", "condWidth=8"].flatMap((setting) => ["--set", setting]);
    const distill = (samples: number): ReturnType<typeof runTastemaker> => runTastemaker("distill", "run/teacher", "--data", pictures, "--out", join(root, "lcm"), "--samples", String(samples), ...settings);
    const first = await distill(8);
    expect(first.code, first.stderr).toBe(0);
    const recordedTeacher = async (): Promise<unknown> => ((JSON.parse(await readFile(join(root, "lcm", "run.json"), "utf8")) as RunRecord).config as { teacher?: unknown }).teacher;
    expect(await recordedTeacher()).toBe(`run/teacher@${commit}`);

    hub.add("run/teacher", { "model_index.json": "{}" });
    await rm(join(root, "hf"), { recursive: true });
    hub.seen.length = 0;
    const second = await distill(8);
    expect(second.code, second.stderr).toBe(0);
    expect(hub.requests("/resolve/").length).toBeGreaterThan(0);
    expect(hub.seen.every(({ url }) => url.includes(commit) || url.startsWith("/blobs/"))).toBe(true);
  });
});

describe("a run with a model and a reward of the hub", () => {
  it("records their commits, and goes on with these whatever the names mean by then", async () => {
    const world = await writeTinyWorld(join(root, "world"), 3);
    const model = await hub.addFolder("run/lcm", world.model);
    const clip = await hub.addFolder("run/clip", world.clip);
    const config = tinyTrainConfig(world, { model: "run/lcm", rewards: [{ name: "pick-score", path: "run/clip" }], iterations: 2 });
    await writeFile(join(root, "config.json"), JSON.stringify(config));
    const run = join(root, "run");
    const trained = await runTastemaker("train", "--config", join(root, "config.json"), "--out", run);
    expect(trained.stderr).not.toContain("error");
    expect(trained.code).toBe(0);
    const record = JSON.parse(await readFile(join(run, "run.json"), "utf8")) as RunRecord;
    expect(record.config).toMatchObject({ model: `run/lcm@${model}`, rewards: [{ path: `run/clip@${clip}` }] });

    // The branches move, and the cache is lost.
    const other = await writeTinyWorld(join(root, "other"), 4);
    await hub.addFolder("run/lcm", other.model);
    await hub.addFolder("run/clip", other.clip);
    await rm(join(root, "hf"), { recursive: true });
    expect((await runTastemaker("fetch", "run/lcm", "run/clip")).code).toBe(0);
    hub.seen.length = 0;
    const resumed = await runTastemaker("resume", run, "--json");
    expect(resumed.stderr).not.toContain("error");
    expect(JSON.parse(resumed.stdout)).toMatchObject({ finished: true });
    expect(hub.requests("/resolve/").length).toBeGreaterThan(0);
    expect(hub.requests("/resolve/").every(({ url }) => url.includes(model) || url.includes(clip))).toBe(true);
  });
});
