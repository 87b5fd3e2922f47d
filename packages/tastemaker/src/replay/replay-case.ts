import { type Backend, UsageError, unknownNameError } from "@tastemaker/tensor";

import type { RocmStepOptions } from "../train/rocm-step.ts";
import { replayBlip } from "./blip-case.ts";
import { type CaseFile, type ReplayedTensor, readCase } from "./case-file.ts";
import { replayAesthetic, replayClipReward } from "./clip-case.ts";
import { replayLora } from "./lora-case.ts";
import { replayModule } from "./module-case.ts";
import { replayOptimizer } from "./optimizer-case.ts";
import { replayD3po, replayPolicy } from "./policy-case.ts";
import { replayRocm } from "./rocm-case.ts";
import { replayDdim, replayLcm } from "./sample-case.ts";

export interface ReplayCaseOptions {
  /** How `rocm` runs its trajectory; the numbers do not depend on it. Default `step`: for a single run, compiling matters more than running. */
  readonly checkpointing?: RocmStepOptions["checkpointing"];
}

/**
 * Computes a recorded case again.
 *
 * @param caseDirectory Directory with `case.json` and `inputs.safetensors`.
 * @returns Every tensor that the case expects (perhaps more), by name.
 * @throws UsageError `unknown-name` for an unknown kind, `case-invalid` and `case-input` for a malformed case.
 */
export async function replayCase(caseDirectory: string, backend: Backend, options: ReplayCaseOptions = {}): Promise<Map<string, ReplayedTensor>> {
  return replayOpenedCase(await readCase(caseDirectory), backend, options);
}

/** @throws UsageError `not-finite` when a reward came out as something else than numbers */
async function finiteOnly({ directory }: CaseFile, running: Promise<Map<string, ReplayedTensor>>): Promise<Map<string, ReplayedTensor>> {
  const results = await running;
  for (const [name, { data }] of results) {
    for (let i = 0; i < data.length; i++) {
      if (!Number.isFinite(Number(data[i]))) throw new UsageError("not-finite", `case: expected finite numbers, got ${data[i]} in element ${i} of ${name} (at ${directory})`, "the weights are damaged, or belong to another model");
    }
  }
  return results;
}

/** `replayCase` for a case that has been read. */
export async function replayOpenedCase(kase: CaseFile, backend: Backend, { checkpointing = "step" }: ReplayCaseOptions = {}): Promise<Map<string, ReplayedTensor>> {
  const kinds: Readonly<Record<string, () => Promise<Map<string, ReplayedTensor>> | Map<string, ReplayedTensor>>> = {
    module: () => replayModule(kase, backend),
    "sample-lcm": () => replayLcm(kase, backend),
    "sample-ddim": () => replayDdim(kase, backend),
    rocm: () => replayRocm(kase, backend, checkpointing),
    policy: () => replayPolicy(kase, backend),
    d3po: () => replayD3po(kase, backend),
    optimizer: () => replayOptimizer(kase),
    lora: () => replayLora(kase, backend),
    pickscore: () => finiteOnly(kase, replayClipReward(kase, backend)),
    hpsv2: () => finiteOnly(kase, replayClipReward(kase, backend)),
    clipscore: () => finiteOnly(kase, replayClipReward(kase, backend)),
    aesthetic: () => finiteOnly(kase, replayAesthetic(kase, backend)),
    blip: () => finiteOnly(kase, replayBlip(kase, backend)),
    imagereward: () => finiteOnly(kase, replayBlip(kase, backend)),
  };
  if (!Object.hasOwn(kinds, kase.kind)) throw unknownNameError("case kind", kase.kind, Object.keys(kinds));
  return kinds[kase.kind]!();
}
