import { realpathSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { UsageError } from "@tastemaker/tensor";
import type { RewardSetting } from "../config/train-config.ts";
import { writeFileAtomic } from "../storage/atomic-file.ts";
import { cacheDirectory } from "../storage/cache-directory.ts";
import { ensureFolder } from "../storage/ensure-folder.ts";
import { hashFile } from "../storage/file-hash.ts";
import type { RunRecord } from "../storage/run-directory.ts";
import { customKind } from "./custom-reward.ts";
import { rewardNames } from "./open-reward.ts";

/*
 * A run directory may come from somebody else. What its run.json names must not make this machine run code, or send pictures and a token somewhere, without the person's consent. So a person
 * who names a module or an endpoint (a command line, a configuration file) allows it by that, and this is remembered; what only a run names has to have been allowed before.
 */

/** What is allowed: a module by place and content (what it imports lies beside it), an endpoint by its address. */
interface Permission {
  readonly what: string;
  /** As it is remembered, one line. */
  readonly line: string;
  /** What `TASTEMAKER_ALLOW_REWARD` must say. */
  readonly consent: string;
}

const variable = "TASTEMAKER_ALLOW_REWARD";

function storePath(): string {
  return join(cacheDirectory(), "allowed-rewards.txt");
}

async function allowedLines(): Promise<string[]> {
  const text = await readFile(storePath(), "utf8").catch(() => "");
  return text.split("\n").filter((line) => line !== "");
}

/** The permission a reward needs; undefined for one that runs no code of others and asks nobody. @throws UsageError when the module is missing */
async function permissionOf({ name, path }: Pick<RewardSetting, "name" | "path">): Promise<Permission | undefined> {
  // A built-in reward's path or address is where its weights are.
  const kind = path === undefined || rewardNames.includes(name) ? undefined : customKind(path);
  // An ONNX file is no code: its graph becomes part of our programs.
  if (path === undefined || kind === undefined || kind === "onnx") return undefined;
  if (kind === "endpoint") return { what: `the endpoint of reward ${name} at ${path}`, line: `endpoint ${JSON.stringify(path)}`, consent: path };
  const { sha256 } = await hashFile(path);
  const place = realpathSync(path);
  return { what: `the module of reward ${name} at ${place}`, line: `module ${sha256} ${JSON.stringify(place)}`, consent: sha256 };
}

/** Remembers what a person named. Where it cannot be written, a later `resume` asks for consent. */
export async function allowRewards(rewards: readonly Pick<RewardSetting, "name" | "path">[]): Promise<void> {
  const known = await allowedLines();
  const added: string[] = [];
  for (const reward of rewards) {
    const permission = await permissionOf(reward);
    if (permission !== undefined && !known.includes(permission.line)) added.push(permission.line);
  }
  if (added.length === 0) return;
  try {
    await ensureFolder(cacheDirectory());
    await writeFileAtomic(storePath(), `${[...known, ...added].join("\n")}\n`);
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
  }
}

/**
 * Before the rewards of a run are opened by `resume` or `evaluate`: refuses modules and endpoints that no person named on this machine, and modules that have changed since the run began.
 * @param note Told what is used.
 * @throws UsageError `inputs-changed`, `reward-not-allowed`
 */
export async function requireAllowedRewards(rewards: readonly Pick<RewardSetting, "name" | "path">[], inputs: RunRecord["inputs"], note: (text: string) => void): Promise<void> {
  const allowed = await allowedLines();
  for (const reward of rewards) {
    const permission = await permissionOf(reward);
    if (permission === undefined) continue;
    const { what, line, consent } = permission;
    const begun = inputs[`reward ${reward.name}`];
    if (line.startsWith("module ") && begun?.sha256 !== consent) {
      throw new UsageError("inputs-changed", `resume: expected the same reward ${reward.name} as when the run began (SHA-256 ${String(begun?.sha256).slice(0, 12)}…), got ${consent.slice(0, 12)}… (at ${reward.path})`, "restore it, or begin a new run");
    }
    if (!allowed.includes(line)) {
      if (process.env[variable] !== consent) {
        throw new UsageError(
          "reward-not-allowed",
          `resume: expected rewards that were named on this machine before, got ${what}, which only the run directory names`,
          `${line.startsWith("module ") ? "it can do anything you can do: read it" : "it is sent every picture: make sure that you know it"}, then set ${variable}=${consent} once`,
        );
      }
      await allowRewards([reward]);
    }
    note(`using ${what}${line.startsWith("module ") ? ` (SHA-256 ${consent.slice(0, 12)}…)` : ""}`);
  }
}
