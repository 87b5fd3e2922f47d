import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { lstat, mkdir, readdir, readFile, readlink, rm, stat, symlink, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { openModel } from "../models/open-model.ts";
import { openReward } from "../rewards/open-reward.ts";
import { nodeBackend } from "../platform/runtime.ts";
import { withTemporaryFolder } from "../testing/child.ts";
import { gitHash, HubServer } from "../testing/hub-server.ts";
import { writeTinyWorld } from "../testing/tiny-world.ts";
import { downloadPath } from "./fetch-url.ts";
import { locate, type LocateOptions, locateWeights, pinWeights } from "./locate-weights.ts";
import { neededForClip, neededForPipeline } from "./needed-files.ts";

let hub: HubServer;
beforeAll(async () => {
  hub = await HubServer.start();
});
afterAll(async () => hub.close());
beforeEach(() => {
  hub.seen.length = 0;
  hub.repositories.clear();
  hub.files.clear();
  hub.disturb = () => false;
  hub.token = undefined;
});

/** Runs `use` with an empty cache of its own. */
async function withCache(use: (folder: string, options: LocateOptions & { notes: string[] }, variables: Record<string, string>) => Promise<void>): Promise<void> {
  await withTemporaryFolder(async (folder) => {
    const variables: Record<string, string> = { HF_ENDPOINT: hub.endpoint, HF_HOME: join(folder, "hf"), TASTEMAKER_CACHE: join(folder, "own") };
    const notes: string[] = [];
    await use(folder, { variables, notes, note: (text) => notes.push(text), retryDelaysMs: [5, 5, 5], stallMs: 20_000, stream: { write: () => true } }, variables);
  });
}

/** Other things that lie in a repository and are not needed. */
const clutter = {
  "README.md": "# model",
  "lcm_4k.safetensors": "x".repeat(1000),
  "preview.png": "png",
  "safety_checker/config.json": "{}",
  "safety_checker/model.safetensors": "s",
  "unet/diffusion_pytorch_model.bin": "b",
  "unet/diffusion_pytorch_model.fp16.safetensors": "f",
  "unet/diffusion_flax_model.msgpack": "m",
  "text_encoder/pytorch_model.bin": "p",
  "vae/model.onnx": "o",
};
const bytes = (size: number, seed = 1): Buffer => Buffer.from(Uint8Array.from({ length: size }, (_, i) => (i * 31 + seed * 17 + (i >> 8)) & 255));
const sha256 = (content: Buffer): string => createHash("sha256").update(content).digest("hex");
/** Waits until a file has a size, so that what a server does next comes after what was sent has been written. */
async function untilSize(path: string, sizeBytes: number): Promise<void> {
  for (let tries = 0; tries < 2000 && (await stat(path).catch(() => undefined))?.size !== sizeBytes; tries++) await delay(5);
}
const repository = (home: string, name: string): string => join(home, "hf", "hub", `models--${name.replace("/", "--")}`);

describe("a model of the hub", () => {
  it("is fetched into the usual cache, with only the files that are read, and opens", () =>
    withCache(async (folder, options) => {
      const world = await writeTinyWorld(join(folder, "world"), 3);
      const commit = await hub.addFolder("tiny/lcm", world.model, clutter);
      const model = await openModel("tiny/lcm", { fetching: options });
      expect(model.path).toBe(join(repository(folder, "tiny/lcm"), "snapshots", commit));
      expect(model.imageSize).toBe(8);
      expect((await readdir(model.path, { recursive: true, withFileTypes: true })).filter((entry) => !entry.isDirectory()).map((entry) => join(entry.parentPath, entry.name).slice(model.path.length + 1)).sort()).toEqual([
        "model_index.json",
        "scheduler/scheduler_config.json",
        "text_encoder/config.json",
        "text_encoder/model.safetensors",
        "tokenizer/merges.txt",
        "tokenizer/special_tokens_map.json",
        "tokenizer/tokenizer_config.json",
        "tokenizer/vocab.json",
        "unet/config.json",
        "unet/diffusion_pytorch_model.safetensors",
        "vae/config.json",
        "vae/diffusion_pytorch_model.safetensors",
      ]);
      expect(await readFile(join(repository(folder, "tiny/lcm"), "refs", "main"), "utf8")).toBe(commit);
      // Links to blobs by hash, as huggingface_hub lays them.
      const weights = await readFile(join(world.model, "unet/diffusion_pytorch_model.safetensors"));
      expect(await readlink(join(model.path, "unet/diffusion_pytorch_model.safetensors"))).toBe(join("..", "..", "..", "blobs", sha256(weights)));
      expect(await readlink(join(model.path, "model_index.json"))).toBe(join("..", "..", "blobs", gitHash(await readFile(join(world.model, "model_index.json")))));
      expect((await readdir(join(repository(folder, "tiny/lcm"), "blobs"))).every((name) => /^[0-9a-f]{40,64}$/.test(name))).toBe(true);
      // Once more without a request.
      const before = hub.seen.length;
      await openModel("tiny/lcm", { fetching: options });
      expect(hub.seen).toHaveLength(before);
    }));

  it("is refused before its weights are fetched when it is of another kind", () =>
    withCache(async (folder, options) => {
      const world = await writeTinyWorld(join(folder, "world"), 3);
      const index = JSON.parse(await readFile(join(world.model, "model_index.json"), "utf8")) as object;
      await writeFile(join(world.model, "model_index.json"), JSON.stringify({ ...index, text_encoder_2: ["transformers", "CLIPTextModelWithProjection"] }));
      await hub.addFolder("tiny/xl", world.model);
      await expect(openModel("tiny/xl", { fetching: options })).rejects.toMatchObject({ code: "model-part" });
      expect(hub.requests("safetensors")).toEqual([]);
    }));

  it("comes in shards by their index, and in half precision or PyTorch's format where nothing else is there", () =>
    withCache(async (_folder, options) => {
      const needed = neededForClip;
      const clip = { model_type: "clip", projection_dim: 8, text_config: { hidden_size: 16 }, vision_config: {} };
      const tokenizer = await withTinyTokenizer();
      const base = { "config.json": JSON.stringify(clip), ...tokenizer };
      hub.add("a/shards", {
        ...base,
        "model.safetensors.index.json": JSON.stringify({ weight_map: { a: "model-00001-of-00002.safetensors", b: "model-00002-of-00002.safetensors" } }),
        "model-00001-of-00002.safetensors": "1",
        "model-00002-of-00002.safetensors": "2",
        "model-00003-of-00002.safetensors": "3",
        "pytorch_model.bin": "p",
      });
      hub.add("a/half", { ...base, "model.fp16.safetensors": "h", "pytorch_model.bin": "p" });
      hub.add("a/pickle", { ...base, "pytorch_model.bin": "p", "flax_model.msgpack": "f", "tf_model.h5": "t" });
      const weightsOf = async (name: string): Promise<string[]> => (await locate(name, needed, options)).files.filter((file) => /model[.-]/.test(file));
      expect(await weightsOf("a/shards")).toEqual(["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json"]);
      expect(await weightsOf("a/half")).toEqual(["model.fp16.safetensors"]);
      expect(await weightsOf("a/pickle")).toEqual(["pytorch_model.bin"]);
    }));

  it("cannot name shards outside its folder, and names in its listing that lead out are as good as absent", () =>
    withCache(async (folder, options) => {
      hub.add("bad/index", { ...(await withTinyTokenizer()), "config.json": tinyClipConfig, "model.safetensors.index.json": JSON.stringify({ weight_map: { a: "../../evil.safetensors" } }), "../../evil.safetensors": "e" });
      await expect(locate("bad/index", neededForClip, options)).rejects.toMatchObject({ code: "shard-name" });
      for (const path of ["../../../evil.pt", "/etc/evil.pt", "a/../../../evil.pt", "C:/evil.pt", "a\\..\\evil.pt", "a/./b.pt", "a//b.pt", "nul\u0000.pt"]) {
        hub.add("bad/names", { [path]: "evil" });
        await expect(locate(`bad/names:${path}`, undefined, { ...options, refresh: true })).rejects.toMatchObject({ name: "UsageError", code: "weights-name" });
        await expect(locate("bad/names", async () => [path], { ...options, refresh: true })).rejects.toMatchObject({ code: "hub-file-missing" });
      }
      expect((await readdir(folder, { recursive: true })).filter((name) => name.includes("evil"))).toEqual([]);
    }));

  it("may be one file of a repository, at a branch, a tag or a commit", () =>
    withCache(async (folder, options) => {
      const first = hub.add("xs/heads", { "v2.1.pt": bytes(3000), "v2.pt": bytes(10) });
      const second = hub.add("xs/heads", { "v2.1.pt": bytes(4000) });
      hub.repositories.get("xs/heads")!.revisions.set("refs/pr/1", first);
      const path = await locateWeights("xs/heads:v2.1.pt", undefined, options);
      expect(path).toBe(join(repository(folder, "xs/heads"), "snapshots", second, "v2.1.pt"));
      expect(await readFile(path)).toEqual(bytes(4000));
      expect(await readFile(await locateWeights("xs/heads@refs/pr/1:v2.1.pt", undefined, options))).toEqual(bytes(3000));
      expect(await readFile(await locateWeights(`xs/heads@${first}:v2.1.pt`, undefined, options))).toEqual(bytes(3000));
      expect(await readFile(join(repository(folder, "xs/heads"), "refs", "refs", "pr", "1"), "utf8")).toBe(first);
      expect(hub.requests("v2.pt")).toEqual([]);
    }));

  it("that Python fetched is used without a request, also offline", () =>
    withCache(async (folder, options, variables) => {
      const world = await writeTinyWorld(join(folder, "world"), 3);
      const root = repository(folder, "py/clip");
      const commit = "0123456789abcdef0123456789abcdef01234567";
      await layAsPython(root, commit, world.clip);
      const backend = nodeBackend({ threads: 1 });
      const reward = await openReward({ name: "pick-score", path: "py/clip" }, backend, undefined, options);
      await reward.dispose();
      variables["HF_HUB_OFFLINE"] = "1";
      expect(await locateWeights("py/clip", neededForClip, options)).toBe(join(root, "snapshots", commit));
      expect(await locateWeights(`py/clip@${commit}`, neededForClip, options)).toBe(join(root, "snapshots", commit));
      // Another place that Python knows.
      variables["HF_HUB_CACHE"] = dirname(root);
      delete variables["HF_HOME"];
      expect(await locateWeights("py/clip", neededForClip, options)).toBe(join(root, "snapshots", commit));
      expect(hub.seen).toEqual([]);
    }));

  it("that is here in part is completed at the commit that is here", () =>
    withCache(async (folder, options, variables) => {
      const world = await writeTinyWorld(join(folder, "world"), 3);
      const old = await hub.addFolder("py/clip", world.clip);
      hub.add("py/clip", { "config.json": "{}" });
      const root = repository(folder, "py/clip");
      await layAsPython(root, old, world.clip, (name) => name !== "model.safetensors");
      variables["HF_HUB_OFFLINE"] = "1";
      await expect(locate("py/clip", neededForClip, options)).rejects.toThrow(/weights: expected py\/clip in the cache because HF_HUB_OFFLINE is set, got not all of it: .*model\.safetensors.*tastemaker fetch py\/clip/);
      delete variables["HF_HUB_OFFLINE"];
      const { path, receivedBytes } = await locate("py/clip", neededForClip, options);
      expect(path).toBe(join(root, "snapshots", old));
      expect(receivedBytes).toBe((await stat(join(world.clip, "model.safetensors"))).size);
      expect(hub.requests("/resolve/").map(({ url }) => url)).toEqual([`/py/clip/resolve/${old}/model.safetensors`]);
    }));

  it("stays at its commit until it is fetched anew, which takes over what did not change", () =>
    withCache(async (folder, options) => {
      const world = await writeTinyWorld(join(folder, "world"), 3);
      const old = await hub.addFolder("tiny/clip", world.clip);
      await locate("tiny/clip", undefined, options);
      await writeFile(join(world.clip, "config.json"), `${await readFile(join(world.clip, "config.json"), "utf8")}\n`);
      const now = await hub.addFolder("tiny/clip", world.clip);
      expect((await locate("tiny/clip", undefined, options)).pinned).toBe(`tiny/clip@${old}`);
      hub.seen.length = 0;
      const located = await locate("tiny/clip", undefined, { ...options, refresh: true });
      expect(located.pinned).toBe(`tiny/clip@${now}`);
      expect(hub.requests("/resolve/").map(({ url }) => url)).toEqual([`/tiny/clip/resolve/${now}/config.json`]);
      expect((await locate("tiny/clip", undefined, options)).pinned).toBe(`tiny/clip@${now}`);
      expect((await locate(`tiny/clip@${old}`, undefined, options)).path).toContain(old);
      expect(await pinWeights("tiny/clip", options)).toBe(`tiny/clip@${now}`);
    }));
});

describe("a download", () => {
  it("goes on after dropped connections, from where it was", () =>
    withCache(async (folder, options) => {
      const content = bytes(300_000);
      hub.add("a/b", { "w.pt": content });
      const partial = join(repository(folder, "a/b"), "blobs", `${sha256(content)}.tastemaker.incomplete`);
      let drops = 0;
      hub.disturb = ({ host, range }, _request, response) => {
        if (host !== "cdn" || drops === 3) return false;
        drops++;
        const start = Number(/bytes=(\d+)-/.exec(range ?? "")?.[1] ?? 0);
        response.writeHead(start === 0 ? 200 : 206, { "content-length": content.length - start, ...(start === 0 ? {} : { "content-range": `bytes ${start}-${content.length - 1}/${content.length}` }) });
        response.write(content.subarray(start, start + 70_000));
        void untilSize(partial, start + 70_000).then(() => response.destroy());
        return true;
      };
      expect(await readFile(await locateWeights("a/b:w.pt", undefined, options))).toEqual(content);
      expect(hub.seen.filter(({ host }) => host === "cdn").map(({ range }) => range)).toEqual([undefined, "bytes=70000-", "bytes=140000-", "bytes=210000-"]);
      expect(options.notes).toHaveLength(3);
      expect(options.notes[0]).toMatch(/^the connection to 127\.0\.0\.1:\d+ (?:dropped|ended early)/);
    }));

  it("goes on in a later command, and starts over where the part does not fit", () =>
    withCache(async (folder, options) => {
      const content = bytes(100_000);
      hub.add("a/b", { "w.pt": content });
      const partial = join(repository(folder, "a/b"), "blobs", `${sha256(content)}.tastemaker.incomplete`);
      await mkdir(dirname(partial), { recursive: true });
      await writeFile(partial, content.subarray(0, 40_000));
      expect(await locate("a/b:w.pt", undefined, options)).toMatchObject({ receivedBytes: 60_000 });
      expect(hub.seen.at(-1)!.range).toBe("bytes=40000-");
      await rm(repository(folder, "a/b"), { recursive: true });

      // As after a power cut: the length is right, the content is not.
      await mkdir(dirname(partial), { recursive: true });
      await writeFile(partial, Buffer.alloc(40_000));
      const path = await locateWeights("a/b:w.pt", undefined, options);
      expect(await readFile(path)).toEqual(content);
      expect(options.notes).toEqual(["the parts of w.pt of a/b do not fit together; fetching it again"]);
      await rm(repository(folder, "a/b"), { recursive: true });

      // Longer than the file.
      await mkdir(dirname(partial), { recursive: true });
      await writeFile(partial, bytes(200_000));
      expect(await readFile(await locateWeights("a/b:w.pt", undefined, options))).toEqual(content);
      expect(existsSync(partial)).toBe(false);
    }));

  it("starts over where the server does not resume, or says that there is no such part", () =>
    withCache(async (folder, options) => {
      const content = bytes(50_000);
      hub.add("a/b", { "w.pt": content });
      const partial = join(repository(folder, "a/b"), "blobs", `${sha256(content)}.tastemaker.incomplete`);
      for (const status of [200, 416, 206]) {
        await mkdir(dirname(partial), { recursive: true });
        await writeFile(partial, content.subarray(0, 20_000));
        hub.disturb = ({ host, range }, _request, response) => {
          if (host !== "cdn" || range === undefined) return false;
          // The last one sends another range than was asked for.
          response.writeHead(status, status === 206 ? { "content-range": `bytes 10000-49999/50000` } : {}).end(status === 200 ? content : content.subarray(10_000));
          return true;
        };
        expect(await readFile(await locateWeights("a/b:w.pt", undefined, options))).toEqual(content);
        await rm(repository(folder, "a/b"), { recursive: true });
      }
    }));

  it("with another content than announced is deleted and is one error", () =>
    withCache(async (folder, options) => {
      const content = bytes(5000);
      hub.add("a/b", { "w.pt": content, "config.json": "{}" });
      const wrong = Buffer.from(content);
      wrong[777]! ^= 1;
      hub.disturb = ({ host }, _request, response) => {
        if (host === "cdn") response.writeHead(200, { "content-length": wrong.length }).end(wrong);
        return host === "cdn";
      };
      await expect(locate("a/b:w.pt", undefined, options)).rejects.toThrow(new RegExp(`^fetch: expected w.pt of a/b with sha256 ${sha256(content)}, got ${sha256(wrong)}`));
      hub.disturb = ({ url }, _request, response) => {
        if (url.includes("config.json")) response.writeHead(200).end("[]");
        return url.includes("config.json");
      };
      await expect(locate("a/b:config.json", undefined, options)).rejects.toMatchObject({ code: "download-hash" });
      expect(await readdir(join(repository(folder, "a/b"), "blobs"))).toEqual([]);
      expect(existsSync(join(repository(folder, "a/b"), "snapshots"))).toBe(false);
    }));

  it("of more than was announced ends there", () =>
    withCache(async (folder, options) => {
      hub.add("a/b", { "w.pt": bytes(5000) });
      let sent = 0;
      hub.disturb = ({ host }, _request, response) => {
        if (host !== "cdn") return false;
        response.writeHead(200);
        const timer = setInterval(() => {
          sent += 10_000;
          if (!response.write(bytes(10_000)) || sent > 10_000_000) clearInterval(timer);
        }, 1);
        response.on("close", () => clearInterval(timer));
        return true;
      };
      await expect(locate("a/b:w.pt", undefined, options)).rejects.toMatchObject({ code: "download-size" });
      expect(sent).toBeLessThan(10_000_000);
      expect(await readdir(join(repository(folder, "a/b"), "blobs"))).toEqual([]);
    }));

  it("waits as long as the server asks, and tries again when it is busy or stalls", () =>
    withCache(async (_folder, options) => {
      hub.add("a/b", { "w.pt": bytes(5000) });
      const answers = [503, 429, 500, "stall"];
      hub.disturb = ({ host }, _request, response) => {
        const answer = host === "cdn" ? answers.shift() : undefined;
        if (answer === undefined) return false;
        if (answer === "stall") response.writeHead(200, { "content-length": 5000 }).write(bytes(100));
        else response.writeHead(Number(answer), answer === 429 ? { "retry-after": "1" } : {}).end();
        return true;
      };
      const path = await locateWeights("a/b:w.pt", undefined, { ...options, retryDelaysMs: [5, 5, 5, 5], stallMs: 1000 });
      expect(await readFile(path)).toEqual(bytes(5000));
      const host = new URL(hub.cdn).host;
      expect(options.notes).toEqual([
        `${host} answers 503; trying again in 0:00`,
        `${host} answers 429 (too many requests); trying again in 0:01`,
        `${host} answers 500; trying again in 0:00`,
        `${host} sent nothing for too long; trying again in 0:00`,
      ]);
    }));

  it("gives up after the last attempt, or when it is asked to wait for long", () =>
    withCache(async (_folder, options) => {
      hub.add("a/b", { "w.pt": bytes(5000) });
      hub.disturb = (_seen, _request, response) => {
        response.writeHead(503).end();
        return true;
      };
      await expect(locate("a/b:w.pt", undefined, options)).rejects.toThrow(/^fetch: expected an answer from 127\.0\.0\.1:\d+, got none: 127\.0\.0\.1:\d+ answers 503 \(after 4 attempts\)/);
      expect(hub.seen).toHaveLength(4);
      hub.disturb = (_seen, _request, response) => {
        response.writeHead(429, { ratelimit: '"api";r=0;t=7200' }).end();
        return true;
      };
      await expect(locate("a/b:w.pt", undefined, options)).rejects.toThrow(/answers 429 \(too many requests\), with the request to wait 2:00:00; run the command again then/);
    }));

  it("stops when it is told to, and keeps what has arrived", () =>
    withCache(async (folder, options) => {
      const content = bytes(100_000);
      hub.add("a/b", { "w.pt": content });
      const controller = new AbortController();
      const partial = join(repository(folder, "a/b"), "blobs", `${sha256(content)}.tastemaker.incomplete`);
      hub.disturb = ({ host }, _request, response) => {
        if (host !== "cdn") return false;
        response.writeHead(200, { "content-length": content.length }).write(content.subarray(0, 30_000));
        void untilSize(partial, 30_000).then(() => controller.abort());
        return true;
      };
      await expect(locate("a/b:w.pt", undefined, { ...options, signal: controller.signal })).rejects.toMatchObject({ code: "interrupted" });
      expect((await stat(partial)).size).toBe(30_000);
      hub.disturb = () => false;
      expect(await locate("a/b:w.pt", undefined, options)).toMatchObject({ receivedBytes: 70_000 });
    }));

  it("by several at the same time happens once", () =>
    withCache(async (folder, options) => {
      const content = bytes(200_000);
      hub.add("a/b", { "w.pt": content });
      hub.disturb = ({ host }, _request, response) => {
        if (host !== "cdn") return false;
        response.writeHead(200, { "content-length": content.length }).write(content.subarray(0, 100_000));
        setTimeout(() => response.end(content.subarray(100_000)), 100);
        return true;
      };
      const paths = await Promise.all([1, 2, 3].map(() => locateWeights("a/b:w.pt", undefined, options)));
      expect(await readFile(paths[2]!)).toEqual(content);
      expect(hub.seen.filter(({ host }) => host === "cdn")).toHaveLength(1);
      expect(await readdir(join(folder, "hf", "hub", ".locks", "models--a--b"))).toEqual([]);
    }));

  it("keeps out of the way of another machine's", () =>
    withCache(async (folder, options) => {
      const content = bytes(2000);
      hub.add("a/b", { "w.pt": content });
      const root = repository(folder, "a/b");
      const partial = join(root, "blobs", `${sha256(content)}.tastemaker.incomplete`);
      const lock = join(folder, "hf", "hub", ".locks", "models--a--b", `${sha256(content)}.tastemaker.lock`);
      for (const [path, text] of [[partial, "theirs"], [lock, JSON.stringify({ pid: 1, host: "another", startedAt: "2020-01-01T00:00:00Z" })]] as const) {
        await mkdir(dirname(path), { recursive: true });
        await writeFile(path, text);
      }
      expect(await readFile(await locateWeights("a/b:w.pt", undefined, options))).toEqual(content);
      expect(await readFile(partial, "utf8")).toBe("theirs");
      expect((await readdir(join(root, "blobs"))).sort()).toEqual([sha256(content), `${sha256(content)}.tastemaker.incomplete`].sort());
    }));
});

describe("permission and absence", () => {
  it("are told apart", () =>
    withCache(async (_folder, options, variables) => {
      hub.add("a/b", { "w.pt": "w" });
      const failure = async (name: string): Promise<string> => locate(name, undefined, options).then(() => "none", (error: { code: string; message: string }) => `${error.code}: ${error.message}`);
      const host = new URL(hub.endpoint).host;
      expect(await failure("a/none")).toBe(
        `hub-repository-missing: weights: expected an existing folder or file, a repository of the hub (owner/name, owner/name@revision, owner/name:file) or an https address; got "a/none", which is no path here and no repository that everybody may read on ${host}; check the name; for a private repository set HF_TOKEN`,
      );
      expect(await failure("a/b@v9")).toBe(`hub-revision-missing: hub: expected the revision v9 of a/b on ${host}, got none; give a branch, a tag or a commit that exists, or none for the newest`);
      expect(await failure("a/b:none.pt")).toMatch(/^hub-file-missing: hub: expected the file none\.pt in a\/b \(commit [0-9a-f]{40}\), got none/);
      expect(await failure("a/b")).toMatch(/^weights-kind: weights: expected a pipeline in the diffusers layout or a CLIPModel, got something else \(at a\/b@[0-9a-f]{12}\); name one file of it: owner\/name:file/);
      hub.repositories.get("a/b")!.isGated = true;
      expect(await failure("a/b:w.pt")).toBe(
        `hub-gated: hub: expected permission to read a/b on ${host}, got none: it asks for a licence to be accepted, and no token is set; accept its licence at ${hub.endpoint}/a/b, make an access token at ${hub.endpoint}/settings/tokens, and set HF_TOKEN`,
      );
      variables["HF_TOKEN"] = "hf_other";
      expect(await failure("a/b:w.pt")).toMatch(/^hub-gated: .*none for the account of the token that is set/);
      variables["HF_TOKEN"] = "hf_accepted";
      expect(await failure("a/b:w.pt")).toBe("none");
      expect(await failure("a/none")).toMatch(/no repository that the account of the token may read/);
      hub.token = "hf_real";
      expect(await failure("a/none")).toMatch(/^hub-token: hub: expected an access token that .* knows, got one that it refuses/);
    }));

  it("of anything by a name of no known form is one error that lists the forms", () =>
    withCache(async (folder, options) => {
      const forms = "an existing folder or file, a repository of the hub (owner/name, owner/name@revision, owner/name:file) or an https address";
      for (const name of ["nothing", "./a/b", "a/b/c", join(folder, "none"), "models/weights.safetensors", "~/x"]) {
        await expect(locate(name, undefined, { ...options, what: "model", missingCode: "model-missing" })).rejects.toMatchObject({ code: "model-missing", message: `model: expected ${forms}, got nothing (at ${name}); check the path` });
      }
      for (const name of ["a/b@", "a--b/c", "a/b@../x", "a/b@x y", "a/b:", "a/b:../c"]) {
        await expect(locate(name, undefined, options)).rejects.toMatchObject({ name: "UsageError", code: expect.stringMatching(/^weights-(?:name|missing)$/) as string });
      }
      expect(hub.seen).toEqual([]);
    }));

  it("does not hide a path of this disk that looks like a repository", () =>
    withCache(async (folder, options) => {
      const before = process.cwd();
      await mkdir(join(folder, "a", "b"), { recursive: true });
      process.chdir(folder);
      try {
        expect(await locate("a/b", undefined, options)).toMatchObject({ path: join(process.cwd(), "a", "b"), receivedBytes: 0 });
        expect(hub.seen).toEqual([]);
      } finally {
        process.chdir(before);
      }
    }));

  it("without a network is said quickly", () =>
    withCache(async (_folder, options, variables) => {
      const closed = await HubServer.start();
      await closed.close();
      variables["HF_ENDPOINT"] = closed.endpoint;
      await expect(locate("a/b", undefined, options)).rejects.toThrow(/^fetch: expected an answer from 127\.0\.0\.1:\d+, got none: 127\.0\.0\.1:\d+ cannot be reached: .*\(after 2 attempts\); check the connection/);
      variables["HF_HUB_OFFLINE"] = "yes";
      await expect(locate("a/b", undefined, options)).rejects.toMatchObject({ code: "weights-offline" });
      await expect(locate("https://example.org/model_large.pth", undefined, options)).rejects.toMatchObject({ code: "weights-offline" });
    }));
});

describe("the access token", () => {
  it("goes to the hub only, from HF_TOKEN or the file that login writes", () =>
    withCache(async (folder, options, variables) => {
      hub.token = "hf_secret";
      hub.add("a/b", { "w.pt": bytes(5000), "small.json": "{}" });
      await mkdir(join(folder, "hf"), { recursive: true });
      await writeFile(join(folder, "hf", "token"), "hf_secret\n");
      await locate("a/b:w.pt", undefined, options);
      variables["HF_TOKEN"] = " hf_secret";
      await locate("a/b:small.json", undefined, options);
      expect(new Set(hub.seen.filter(({ host }) => host === "hub").map(({ authorization }) => authorization))).toEqual(new Set(["Bearer hf_secret"]));
      expect(hub.seen.filter(({ host }) => host === "cdn").map(({ authorization }) => authorization)).toEqual([undefined]);
      variables["HF_TOKEN"] = "hf_with\nbreak";
      await expect(locate("a/b:other", undefined, options)).rejects.toThrow(/^(?!.*hf_with).*printable/);
    }));

  it("does not come back after a detour, and pages of a listing stay on the hub", () =>
    withCache(async (_folder, options, variables) => {
      variables["HF_TOKEN"] = "hf_secret";
      hub.add("a/b", { "small.json": "{}" });
      hub.disturb = ({ host, url }, _request, response) => {
        if (!url.includes("/resolve/") || url.includes("back")) return false;
        response.writeHead(307, { location: host === "hub" ? `${hub.cdn}${url}` : `${hub.endpoint}${url}?back` }).end();
        return true;
      };
      await locate("a/b:small.json", undefined, options);
      expect(hub.requests("/resolve/").map(({ host, authorization }) => [host, authorization])).toEqual([
        ["hub", "Bearer hf_secret"],
        ["cdn", undefined],
        ["hub", undefined],
      ]);
      hub.disturb = ({ url }, _request, response) => {
        if (!url.includes("/tree/")) return false;
        response.writeHead(200, { link: `<${hub.cdn}/steal>; rel="next"` }).end("[]");
        return true;
      };
      await expect(locate("a/b:other.json", undefined, options)).rejects.toMatchObject({ code: "hub-answer" });
      expect(hub.requests("steal")).toEqual([]);
    }));

  it("is not followed in circles", () =>
    withCache(async (_folder, options) => {
      hub.add("a/b", { "w.pt": "w" });
      hub.disturb = ({ host, url }, _request, response) => {
        if (url.includes("/resolve/") || host === "cdn") response.writeHead(302, { location: `${hub.cdn}/again` }).end();
        return url.includes("/resolve/") || host === "cdn";
      };
      await expect(locate("a/b:w.pt", undefined, options)).rejects.toThrow(/^fetch: expected a few redirects to https, got more than 10/);
      hub.disturb = ({ url }, _request, response) => {
        if (url.includes("/resolve/")) response.writeHead(302, { location: "file:///etc/passwd" }).end();
        return url.includes("/resolve/");
      };
      await expect(locate("a/b:w.pt", undefined, options)).rejects.toMatchObject({ code: "redirects" });
    }));
});

describe("an answer that is none", () => {
  it("is an error that names the address", () =>
    withCache(async (_folder, options) => {
      hub.add("a/b", { "w.pt": "w" });
      const answers: [string, string][] = [
        ["/revision/", "<html>"],
        ["/revision/", '{"sha": "main"}'],
        ["/tree/", "{}"],
        ["/tree/", '[{"type":"file","path":"w.pt","size":1,"oid":"../../x"}]'],
        ["/tree/", '[{"type":"file","path":"w.pt","size":-1,"oid":"0000000000000000000000000000000000000000"}]'],
        ["/tree/", "[null]"],
      ];
      for (const [part, text] of answers) {
        hub.disturb = ({ url }, _request, response) => {
          if (url.includes(part)) response.writeHead(200).end(text);
          return url.includes(part);
        };
        await expect(locate("a/b:w.pt", undefined, { ...options, refresh: true })).rejects.toThrow(new RegExp(`^hub: expected an answer as the hub's interface describes it, got .*${part}`));
      }
    }));
});

describe("a file behind an address", () => {
  const content = bytes(60_000);

  it("is fetched once into Tastemaker's cache, with its sum checked where it is given", () =>
    withCache(async (folder, options, variables) => {
      hub.files.set("/model_large.pth", { content });
      const address = `${hub.cdn}/model_large.pth`;
      const located = await locate(address, undefined, options);
      expect(located).toMatchObject({ pinned: address, receivedBytes: 60_000 });
      expect(located.path).toMatch(new RegExp(`^${join(folder, "own", "downloads")}/[0-9a-f]{16}/model_large\\.pth$`));
      expect(await readFile(located.path)).toEqual(content);
      variables["HF_HUB_OFFLINE"] = "1";
      expect(await locate(`${address}#sha256=${sha256(content)}`, undefined, options)).toMatchObject({ path: located.path, receivedBytes: 0 });
      await expect(locate(`${address}#sha256=${"0".repeat(64)}`, undefined, options)).rejects.toMatchObject({ code: "download-hash" });
      delete variables["HF_HUB_OFFLINE"];
      await rm(dirname(located.path), { recursive: true });
      await expect(locate(`${address}#sha256=${"0".repeat(64)}`, undefined, options)).rejects.toMatchObject({ code: "download-hash" });
      expect((await readdir(dirname(located.path))).filter((name) => !name.endsWith(".lock"))).toEqual([]);
      expect(hub.seen.filter(({ authorization }) => authorization !== undefined)).toEqual([]);
    }));

  it("is resumed while the server says that it is the same, and fetched anew when it has changed", () =>
    withCache(async (folder, options) => {
      const address = `${hub.cdn}/w.pth`;
      const partial = `${downloadPath(address, join(folder, "own"))}.incomplete`;
      const interrupted = (etag: string, data: Buffer): void => {
        hub.files.set("/w.pth", { content: data, etag });
        hub.disturb = (_seen, _request, response) => {
          response.writeHead(200, { etag, "content-length": data.length }).write(data.subarray(0, 20_000));
          void untilSize(partial, 20_000).then(() => response.destroy());
          return true;
        };
      };
      interrupted('"one"', content);
      await expect(locate(address, undefined, { ...options, retryDelaysMs: [] })).rejects.toMatchObject({ code: "unreachable" });
      hub.disturb = () => false;
      expect(await locate(address, undefined, options)).toMatchObject({ receivedBytes: 40_000 });
      await rm(dirname((await locate(address, undefined, options)).path), { recursive: true });

      interrupted('"one"', content);
      await expect(locate(address, undefined, { ...options, retryDelaysMs: [] })).rejects.toMatchObject({ code: "unreachable" });
      hub.disturb = () => false;
      const changed = bytes(60_000, 2);
      hub.files.set("/w.pth", { content: changed, etag: '"two"' });
      const located = await locate(address, undefined, options);
      expect(await readFile(located.path)).toEqual(changed);
      expect((await readdir(dirname(located.path))).sort()).toEqual(["w.pth", "w.pth.json"]);
    }));

  it("must come over https and be a file", () =>
    withCache(async (_folder, options) => {
      for (const address of ["http://example.org/w.pt", "ftp://example.org/w.pt", "file:///etc/passwd", "https://user:secret@example.org/w.pt", "https://example.org/w.pt#sha256=abc"]) {
        await expect(locate(address, undefined, options)).rejects.toMatchObject({ code: "weights-address" });
      }
      hub.disturb = (_seen, _request, response) => {
        response.writeHead(200, { "content-type": "text/html; charset=utf-8" }).end("<html>");
        return true;
      };
      await expect(locate(`${hub.cdn}/page.pt`, undefined, options)).rejects.toMatchObject({ code: "download-page" });
      hub.disturb = () => false;
      await expect(locate(`${hub.cdn}/none.pt?key=secret`, undefined, options)).rejects.toThrow(/^fetch: expected a file, got status 404 \(at http:\/\/127\.0\.0\.1:\d+\/none\.pt\); check the address/);
    }));
});

const tinyClipConfig = JSON.stringify({ model_type: "clip", projection_dim: 8, text_config: { hidden_size: 16 }, vision_config: {} });

async function withTinyTokenizer(): Promise<Record<string, Buffer>> {
  const files: Record<string, Buffer> = {};
  await withTemporaryFolder(async (folder) => {
    const { clip } = await writeTinyWorld(folder, 3);
    for (const name of await readdir(clip)) if (!/^(?:config\.json|model\.safetensors)$/.test(name)) files[name] = await readFile(join(clip, name));
  });
  return files;
}

/** A repository as `huggingface_hub` leaves it: blobs, links, the branch's commit, markers of files that do not exist, lock files. */
async function layAsPython(root: string, commit: string, source: string, isFetched: (name: string) => boolean = () => true): Promise<void> {
  for (const folder of ["blobs", "refs", `snapshots/${commit}`, `.no_exist/${commit}`, `../.locks/${root.slice(dirname(root).length + 1)}`]) await mkdir(join(root, folder), { recursive: true });
  await writeFile(join(root, "refs", "main"), commit);
  await writeFile(join(root, ".no_exist", commit, "added_tokens.json"), "");
  for (const name of await readdir(source)) {
    const content = await readFile(join(source, name));
    const hash = name.endsWith(".safetensors") ? sha256(content) : gitHash(content);
    await writeFile(join(dirname(root), ".locks", root.slice(dirname(root).length + 1), `${hash}.lock`), "");
    if (!isFetched(name)) continue;
    await writeFile(join(root, "blobs", hash), content);
    await symlink(join("..", "..", "blobs", hash), join(root, "snapshots", commit, name));
    expect((await lstat(join(root, "snapshots", commit, name))).isSymbolicLink()).toBe(true);
  }
}

it("the pipeline's files are asked for by the functions that open it", async () => {
  await withTemporaryFolder(async (folder) => {
    const world = await writeTinyWorld(folder, 3);
    const { openNodeFolder } = await import("../platform/node-files.ts");
    expect(await neededForPipeline(await openNodeFolder(world.model))).toEqual(["unet/diffusion_pytorch_model.safetensors", "vae/diffusion_pytorch_model.safetensors", "text_encoder/model.safetensors"]);
  });
});
