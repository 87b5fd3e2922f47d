import { createHash } from "node:crypto";
import { open, stat } from "node:fs/promises";
import { UsageError } from "@tastemaker/tensor";
import type { PromptList } from "../data/prompt-lists.ts";
import type { OpenedModel } from "../models/open-model.ts";
import type { Reward } from "../rewards/reward.ts";
import { hashFile, hashText } from "../storage/file-hash.ts";
import type { RunRecord } from "../storage/run-directory.ts";

type Inputs = RunRecord["inputs"];
type Mutable = Record<string, Inputs[string]>;

/** Above this size only the head and the tail are hashed: enough to tell checkpoints apart without reading gigabytes at every start. */
const wholeFileBytes = 256 * 2 ** 20;
const partBytes = 4 * 2 ** 20;

async function hashWeights(role: string, path: string, inputs: Mutable): Promise<void> {
  const { size } = await stat(path);
  if (size <= wholeFileBytes) {
    inputs[role] = { path, ...(await hashFile(path)) };
    return;
  }
  const hash = createHash("sha256");
  const handle = await open(path);
  try {
    for (const position of [0, size - partBytes]) hash.update((await handle.read(Buffer.alloc(partBytes), 0, partBytes, position)).buffer);
  } finally {
    await handle.close();
  }
  inputs[`${role} (first and last 4 MiB)`] = { path, sha256: hash.digest("hex"), sizeBytes: size };
}

/**
 * Hashes of everything a run's numbers depend on besides its configuration: weights and prompts.
 * @param scorers what scores pictures, by role
 */
export async function hashInputs(model: OpenedModel, scorers: Readonly<Record<string, Partial<Pick<Reward, "files" | "version">>>>, lists: Readonly<Record<string, PromptList>>): Promise<Inputs> {
  const inputs: Mutable = {};
  for (const [role, { weights }] of Object.entries({ unet: model.parts.unet, vae: model.parts.vae, "text encoder": model.parts.textEncoder })) {
    const files = [...new Set(weights.keys().map((key) => weights.entry(key).file.name))];
    for (const [index, file] of files.entries()) await hashWeights(files.length === 1 ? role : `${role} ${index + 1}`, file, inputs);
  }
  for (const [role, { files = [], version }] of Object.entries(scorers)) {
    if (version !== undefined) inputs[`${role} version`] = { path: version, sha256: hashText(version) };
    for (const [index, file] of files.entries()) await hashWeights(index === 0 ? role : `${role} ${index + 1}`, file, inputs);
  }
  for (const [role, { source, sha256 }] of Object.entries(lists)) inputs[role] = { path: source, sha256 };
  return inputs;
}

/**
 * Compares what a run was begun with and what is there now.
 * @throws UsageError `inputs-changed` naming the first that differs: continuing would mix two experiments
 */
export function checkInputs(begun: Inputs, now: Inputs): void {
  for (const [role, { path, sha256 }] of Object.entries(begun)) {
    const found = now[role];
    if (found?.sha256 === sha256) continue;
    throw new UsageError("inputs-changed", `resume: expected the same ${role} as when the run began (SHA-256 ${sha256.slice(0, 12)}…), got ${found === undefined ? "none" : `${found.sha256.slice(0, 12)}…`} (at ${path})`, "restore it, or begin a new run");
  }
}
