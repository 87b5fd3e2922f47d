import { readFileSync } from "node:fs";
import { join } from "node:path";
import { loadCheckpoint, openAffineHead, unitRows } from "@tastemaker/diffusion";
import { input, program } from "@tastemaker/tensor";
import { describe, expect, it } from "vitest";
import { sharedPath } from "../../../tensor/src/testing/shared.ts";
import { openNodeFile } from "../platform/node-files.ts";
import { nodeBackend, oracleBackend } from "../platform/runtime.ts";
import { openClipNetwork } from "../rewards/clip-network.ts";
import { type CaseFile, readCase, readCaseTensors } from "./case-file.ts";
import { judge, type Verdict } from "./judge.ts";
import { replayOpenedCase } from "./replay-case.ts";
import { rewardCaseKinds } from "./reward-case.ts";

const root = sharedPath("golden", "rewards");
const weights = sharedPath("data", "weights");
const runtime = nodeBackend({ threads: 2 });

async function missed(kase: CaseFile, options: { readonly backend: ReturnType<typeof nodeBackend>; readonly relative?: number; readonly except?: readonly string[] }): Promise<string[]> {
  const { backend, relative, except = [] } = options;
  const produced = new Map([...(await replayOpenedCase(kase, backend))].map(([name, { shape, data }]) => [name, { shape, data: Float64Array.from(data) }]));
  const expected = await readCaseTensors(join(kase.directory, "expected.safetensors"));
  for (const name of except) expected.delete(name);
  // Every recorded id, too, from the prompts alone.
  for (const [name, tensor] of await readCaseTensors(join(kase.directory, "inputs.safetensors")).catch(() => new Map<string, never>())) if (/input_ids|attention_mask/.test(name)) expected.set(name, tensor);
  if (kase.kind === "pickscore") expected.delete("attention_mask");
  const exact = relative === undefined ? undefined : { relative, absolute: 1e-12 };
  const tolerance = { ...kase.tolerance, "input_ids": { relative: 0, absolute: 0 } };
  return judge(expected, produced, tolerance, exact && (() => exact))
    .filter(({ passed }) => !passed)
    .map(({ name, error, bar, size, note }: Verdict) => `${name}: ${note ?? `error ${error.toExponential(1)}, bar ${bar.toExponential(1)}, largest ${size.toExponential(1)}`}`);
}

describe("recorded rewards", () => {
  it.skipIf(root === undefined).each(rewardCaseKinds)("%s: ids, both picture paths, features, scores and gradients are within 1e-4, gradients 1e-3, of the reference", async (kind) => {
    expect(await missed(await readCase(join(root!, kind)), { backend: runtime })).toEqual([]);
  });

  it.skipIf(root === undefined).each(rewardCaseKinds)("%s agrees to 1e-9 in float64", async (kind) => {
    const kase = await readCase(join(root!, kind));
    if (kind !== "hpsv2") {
      expect(await missed(kase, { backend: oracleBackend(), relative: 1e-9 })).toEqual([]);
      return;
    }
    // torchvision resizes in float32 arithmetic, which only its own order of sums reproduces: the network is fed what it made.
    const pixels = (await readCaseTensors(join(kase.directory, "expected.safetensors"))).get("pixel_values")!;
    const fed = { ...kase, inputs: new Map([...kase.inputs, ["pixel_values", pixels]]) };
    expect(await missed(fed, { backend: oracleBackend(), relative: 1e-9, except: ["pixel_values", "plain.pixel_values", "plain.cos"] })).toEqual([]);
  });

  it.skipIf(root === undefined)("OpenAI's TorchScript release, its plain file and the transformers folder hold the same CLIP", async () => {
    const folder = join(root!, "clipscore");
    const shapes = [];
    for (const name of ["openai_tiny.pt", "openai_tiny_torchscript.pt", "hf"]) {
      const { config } = await openClipNetwork(join(folder, name));
      shapes.push({ ...config, logitScaleInit: 0, text: { ...config.text, eosTokenId: 0 } });
    }
    expect(shapes[1]).toEqual(shapes[0]);
    expect(shapes[2]).toEqual(shapes[0]);
  });
});

describe("the two published aesthetic heads", () => {
  const vectors: readonly ((i: number) => number)[] = [(i) => Math.sin(0.1 * i), (i) => Math.cos(0.05 * i) + 0.2, (i) => ((i * 37) % 101) / 101 - 0.5, (i) => (i === 0 ? 1 : 0), () => 1, (i) => -Math.exp(-i / 100)];

  it.skipIf(root === undefined || weights === undefined)("score the recorded vectors, raw and at length 1, to 1e-5", async () => {
    const { cases } = JSON.parse(readFileSync(join(root!, "aesthetic", "real_heads.json"), "utf8")) as { cases: readonly Record<"mlp" | "linear" | "mlp_of_raw_vector" | "linear_of_raw_vector", number>[] };
    expect(cases).toHaveLength(vectors.length);
    const rows = Float32Array.from({ length: vectors.length * 768 }, (_, i) => vectors[Math.floor(i / 768)]!(i % 768));
    for (const [file, name] of [["sac+logos+ava1-l14-linearMSE.pth", "mlp"], ["sa_0_4_vit_l_14_linear.pth", "linear"]] as const) {
      const head = openAffineHead(await loadCheckpoint([await openNodeFile(join(weights!, file))]));
      const leaf = input("rows", [vectors.length, 768]);
      const executable = await runtime.compile(program({ raw: head.apply(leaf), unit: head.apply(unitRows(leaf)) }));
      const { raw, unit } = await executable.run({ rows });
      await executable.dispose();
      for (const [i, kase] of cases.entries()) {
        expect(Math.abs(unit!.data[i]! - kase[name]), `${name} of vector ${i}`).toBeLessThan(1e-5 * Math.max(1, Math.abs(kase[name])));
        expect(Math.abs(raw!.data[i]! - kase[`${name}_of_raw_vector`]), `${name} of raw vector ${i}`).toBeLessThan(2e-5 * Math.max(1, Math.abs(kase[`${name}_of_raw_vector`])));
      }
    }
  });
});
