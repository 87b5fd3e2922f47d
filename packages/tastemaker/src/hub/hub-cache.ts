import { copyFile, link, readFile, rename, rm, stat, symlink } from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import { temporaryName, writeFileAtomic } from "../storage/atomic-file.ts";
import { ensureFolder } from "../storage/ensure-folder.ts";
import { isSystemError, storageError } from "../storage/storage-error.ts";
import { isCommit } from "./weights-name.ts";

/*
 * The cache that Python's `huggingface_hub` keeps as well:
 *
 *   models--owner--name/refs/main                      the commit that a branch or tag named when it was last asked for
 *   models--owner--name/blobs/<hash>                   contents, by the hash that the hub knows them by
 *   models--owner--name/snapshots/<commit>/<path>      links to the contents
 */

/** Paths of one repository in the cache. */
export interface RepositoryCache {
  readonly root: string;
  ref(revision: string): string;
  blob(hash: string): string;
  snapshot(commit: string): string;
  /** Lock of one blob; beside those of `huggingface_hub`, which are of another kind. */
  lock(hash: string): string;
}

/** Paths of a repository (`owner/name`) in the cache; nothing is read or created. */
export function repositoryCache(cacheFolder: string, repository: string): RepositoryCache {
  const name = `models--${repository.replace("/", "--")}`;
  const root = join(cacheFolder, name);
  return {
    root,
    ref: (revision) => join(root, "refs", ...revision.split("/")),
    blob: (hash) => join(root, "blobs", hash),
    snapshot: (commit) => join(root, "snapshots", commit),
    lock: (hash) => join(cacheFolder, ".locks", name, `${hash}.tastemaker.lock`),
  };
}

/** The commit that the cache knows a revision by; a commit is its own. Undefined when there is none. */
export async function cachedCommit(cache: RepositoryCache, revision: string): Promise<string | undefined> {
  if (isCommit(revision)) return revision;
  const text = await readFile(cache.ref(revision), "utf8").catch((error: unknown) => {
    if (isSystemError(error) && ["ENOENT", "ENOTDIR", "EISDIR"].includes(error.code)) return "";
    throw storageError(error, "read", cache.ref(revision));
  });
  return isCommit(text.trim()) ? text.trim() : undefined;
}

/** Remembers which commit a branch or tag names. */
export async function writeRef(cache: RepositoryCache, revision: string, commit: string): Promise<void> {
  if (isCommit(revision) || (await cachedCommit(cache, revision)) === commit) return;
  const path = cache.ref(revision);
  await ensureFolder(dirname(path));
  await writeFileAtomic(path, commit);
}

/** Makes `snapshots/<commit>/<path>` lead to the blob; a link where the system allows one, else a second name of the file, else a copy. */
export async function linkBlob(cache: RepositoryCache, commit: string, path: string, hash: string): Promise<string> {
  const target = join(cache.snapshot(commit), ...path.split("/"));
  const blob = cache.blob(hash);
  await ensureFolder(dirname(target));
  const temporary = temporaryName(target);
  try {
    await symlink(relative(dirname(target), blob), temporary).catch(async (error: unknown) => {
      if (!isSystemError(error) || !["EPERM", "EACCES", "ENOSYS", "ENOTSUP", "EOPNOTSUPP", "EINVAL", "UNKNOWN"].includes(error.code)) throw error;
      await link(blob, temporary).catch(() => copyFile(blob, temporary));
    });
    await rename(temporary, target);
    return target;
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => undefined);
    throw storageError(error, "write", target);
  }
}

/** Size of the file behind a path, links followed; undefined when there is none. */
export async function sizeBehind(path: string): Promise<number | undefined> {
  const stats = await stat(path).catch(() => undefined);
  return stats?.isFile() === true ? stats.size : undefined;
}
