import { existsSync } from "node:fs";
import { join, resolve } from "node:path";
import { folderOf } from "@tastemaker/diffusion";
import { UsageError } from "@tastemaker/tensor";
import { openNodeFolder } from "../platform/node-files.ts";
import { cacheDirectory } from "../storage/cache-directory.ts";
import { fetchUrl } from "./fetch-url.ts";
import { resolveCommit } from "./hub-api.ts";
import { cachedCommit, type RepositoryCache, repositoryCache, sizeBehind, writeRef } from "./hub-cache.ts";
import { HubRepository } from "./hub-repository.ts";
import { type HubSettings, hubSettings, type Variables } from "./hub-settings.ts";
import { neededForAny, type NeededFiles } from "./needed-files.ts";
import type { TransferOptions } from "./transfer.ts";
import { hubNameText, parseWeightsName, type WeightsName, weightsForms } from "./weights-name.ts";

export interface LocateOptions extends TransferOptions {
  /** What the weights are for, for messages: `model`, `reward pick-score`. */
  readonly what?: string;
  /** Code of the error for a path where nothing is. Default `weights-missing`. */
  readonly missingCode?: string;
  /** What to do about it. */
  readonly cure?: string;
  /** Ask the hub what a branch or tag names now, also where the cache knows a commit. Default false: a name means the same until it is fetched anew. */
  readonly refresh?: boolean;
  /** Environment variables. Default: the process'. */
  readonly variables?: Variables;
}

/** Weights that are on this disk. */
export interface LocatedWeights {
  /** Absolute path of the folder or file. */
  readonly path: string;
  /** Name that means these very weights everywhere: with the commit for a repository, otherwise as given. */
  readonly pinned: string;
  /** Files of a repository's folder that are needed; empty for a single file and for what was a path. */
  readonly files: readonly string[];
  /** Bytes that came over the network. */
  readonly receivedBytes: number;
}

type HubName = Extract<WeightsName, { kind: "hub" }>;

/** Errors that mean a file is absent; everything else is wrong with what is there. */
const absentCodes: readonly string[] = ["file-missing", "weights-missing", "model-directory", "not-a-directory", "weights-kind"];

/** Files of a snapshot that are needed and here; or why they are not complete. */
async function findInCache(snapshot: string, file: string | undefined, needed: NeededFiles): Promise<readonly string[] | UsageError> {
  const files = new Set<string>();
  try {
    const folder = await openNodeFolder(snapshot);
    const opened = folderOf(snapshot, folder.has, async (path) => {
      files.add(path);
      return folder.open(path);
    });
    for (const name of file === undefined ? await needed(opened) : [file]) await opened.open(name);
    return [...files].sort();
  } catch (error) {
    if (error instanceof UsageError && absentCodes.includes(error.code)) return error;
    throw error;
  }
}

function withoutHint({ message, hint }: UsageError): string {
  return hint === undefined ? message : message.slice(0, -hint.length - 2);
}

function offlineError(name: HubName, { cacheFolder }: HubSettings, cache: RepositoryCache, reason: UsageError | undefined): UsageError {
  const text = hubNameText(name);
  const got = reason === undefined ? "nothing of it" : `not all of it: ${withoutHint(reason)}`;
  return new UsageError(
    "weights-offline",
    `weights: expected ${text} in the cache because HF_HUB_OFFLINE is set, got ${got} (at ${cache.root})`,
    `unset HF_HUB_OFFLINE, or on a connected machine run \`tastemaker fetch ${text}\` and copy ${cache.root} here (below ${cacheFolder})`,
  );
}

/** The commit of a repository that is to be used, and where it came from. */
async function commitOf({ repository, revision = "main" }: HubName, settings: HubSettings, cache: RepositoryCache, options: LocateOptions): Promise<{ commit: string; isNew: boolean } | undefined> {
  const known = await cachedCommit(cache, revision);
  if (known !== undefined && (options.refresh !== true || settings.isOffline)) return { commit: known, isNew: false };
  if (settings.isOffline) return undefined;
  return { commit: await resolveCommit({ repository, revision }, settings, options), isNew: true };
}

async function locateInHub(name: HubName, needed: NeededFiles, options: LocateOptions): Promise<LocatedWeights> {
  const { repository, revision = "main", file } = name;
  const settings = await hubSettings(options.variables);
  const cache = repositoryCache(settings.cacheFolder, repository);
  const found = await commitOf(name, settings, cache, options);
  if (found === undefined) throw offlineError(name, settings, cache, undefined);
  const { commit, isNew } = found;
  const snapshot = cache.snapshot(commit);
  const located = (files: readonly string[], receivedBytes: number): LocatedWeights => ({
    path: resolve(file === undefined ? snapshot : join(snapshot, file)),
    pinned: hubNameText({ repository, revision: commit, file }),
    files: file === undefined ? files : [],
    receivedBytes,
  });
  // What Python or an earlier command fetched is used without asking anybody.
  const here = existsSync(snapshot) ? await findInCache(snapshot, file, needed) : undefined;
  if (Array.isArray(here)) {
    if (isNew) await writeRef(cache, revision, commit);
    return located(here as readonly string[], 0);
  }
  if (settings.isOffline) throw offlineError(name, settings, cache, here as UsageError | undefined);
  const remote = new HubRepository(repository, commit, settings, cache, options);
  await remote.fetch(file === undefined ? await needed(remote.folder()) : [file]);
  // Last, so that an interrupted change leaves the name with what is complete.
  await writeRef(cache, revision, commit);
  return located([...remote.used].sort(), remote.receivedBytes);
}

/**
 * Finds weights by the name that a person gave, and fetches what is not on this disk.
 *
 * @param name A path, `owner/name[@revision][:file]` or an https address (with `#sha256=…` where the sum is known).
 * @param needed Which files of a repository are needed. Default: those of the kind of model it holds.
 * @throws UsageError `weights-missing` (or `missingCode`), `weights-offline`, `weights-name`, `weights-address`, `hub-repository-missing`, `hub-revision-missing`, `hub-file-missing`,
 * `hub-gated`, `hub-token`, `unreachable`, `download-hash`, `disk-full`, and what the files give reason to
 */
export async function locate(name: string, needed: NeededFiles = neededForAny, options: LocateOptions = {}): Promise<LocatedWeights> {
  const parsed = parseWeightsName(name);
  if (parsed.kind === "path") {
    if (!existsSync(parsed.path)) {
      throw new UsageError(options.missingCode ?? "weights-missing", `${options.what ?? "weights"}: expected ${weightsForms}, got nothing (at ${parsed.path})`, options.cure ?? "check the path");
    }
    const path = resolve(parsed.path);
    return { path, pinned: path, files: [], receivedBytes: 0 };
  }
  if (parsed.kind === "hub") return locateInHub(parsed, needed, options);
  const { isOffline } = await hubSettings(options.variables);
  const fetched = await fetchUrl(parsed.url, parsed.sha256, isOffline, { ...options, cacheFolder: options.variables?.["TASTEMAKER_CACHE"] ?? cacheDirectory() });
  return { path: resolve(fetched.path), pinned: name, files: [], receivedBytes: fetched.receivedBytes };
}

/** Absolute path of the folder or file that `locate` finds or fetches. @throws UsageError as `locate` */
export async function locateWeights(name: string, needed?: NeededFiles, options?: LocateOptions): Promise<string> {
  return (await locate(name, needed, options)).path;
}

/** True when the name is neither a path that exists nor one that could: a repository of the hub or an address. */
export function isRemoteName(name: string): boolean {
  return parseWeightsName(name).kind !== "path";
}

/**
 * The name with the commit that it means now, so that a run can be repeated with the same weights whatever happens to the branch; other names come back as they are.
 * @throws UsageError as `locate`
 */
export async function pinWeights(name: string, options: LocateOptions = {}): Promise<string> {
  const parsed = parseWeightsName(name);
  if (parsed.kind !== "hub") return name;
  const settings = await hubSettings(options.variables);
  const cache = repositoryCache(settings.cacheFolder, parsed.repository);
  const found = await commitOf(parsed, settings, cache, options);
  if (found === undefined) throw offlineError(parsed, settings, cache, undefined);
  if (found.isNew) await writeRef(cache, parsed.revision ?? "main", found.commit);
  return hubNameText({ ...parsed, revision: found.commit });
}

/** Size in bytes of what `locate` found in a folder; for reports. */
export async function sizeOfFiles({ path, files }: LocatedWeights): Promise<number> {
  let total = 0;
  for (const file of files) total += (await sizeBehind(join(path, file))) ?? 0;
  return total;
}
