import { UsageError } from "@tastemaker/tensor";
import { printable } from "../cli/output.ts";
import type { FileHash } from "./download-file.ts";
import type { HubSettings } from "./hub-settings.ts";
import { type Answer, type Patience, readText, request, withRetries } from "./http.ts";
import { isSafePath } from "./safe-path.ts";
import { hubNameText, isCommit, weightsForms } from "./weights-name.ts";

/** A file of a repository at one commit. */
export interface HubFile {
  readonly path: string;
  readonly sizeBytes: number;
  /** SHA-256 of large files, git's blob hash of small ones; also the file's name in the cache. */
  readonly hash: FileHash;
}

/** What is asked for: `file` for a download, otherwise the repository at a revision. */
export interface HubTarget {
  readonly repository: string;
  readonly revision: string;
  readonly file?: string;
}

const pageBytes = 32 * 2 ** 20;
const mostPages = 200;
const mostFiles = 200_000;

const encodePath = (path: string): string => path.split("/").map(encodeURIComponent).join("/");

/** Address of a file's content. */
export function fileAddress({ endpoint }: HubSettings, repository: string, commit: string, path: string): string {
  return `${endpoint}/${repository}/resolve/${encodeURIComponent(commit)}/${encodePath(path)}`;
}

/** Explains an answer that is no success: who may read what, and what does not exist. */
export function refusal(answer: Pick<Answer, "status" | "headers">, { repository, revision, file }: HubTarget, { endpoint, token }: HubSettings): UsageError {
  const { status, headers } = answer;
  const code = headers.get("x-error-code") ?? "";
  const said = headers.get("x-error-message") ?? "";
  const place = `${repository} on ${new URL(endpoint).host}`;
  if (code === "GatedRepo" || (status === 403 && said !== "Access to this resource is disabled.")) {
    const cure = `accept its licence at ${endpoint}/${repository}, make an access token at ${endpoint}/settings/tokens, and set HF_TOKEN`;
    return new UsageError("hub-gated", `hub: expected permission to read ${place}, got ${token === undefined ? "none: it asks for a licence to be accepted, and no token is set" : "none for the account of the token that is set"}`, token === undefined ? cure : `${cure} to one of that account with read permission`);
  }
  if (status === 401 && token !== undefined && code !== "RepoNotFound") {
    return new UsageError("hub-token", `hub: expected an access token that ${new URL(endpoint).host} knows, got one that it refuses`, `make a new one at ${endpoint}/settings/tokens and set HF_TOKEN, or unset it for public models`);
  }
  if (code === "EntryNotFound" || (status === 404 && file !== undefined && code === "")) {
    return new UsageError("hub-file-missing", `hub: expected the file ${file ?? "asked for"} in ${place} (revision ${revision}), got none`, "check its name on the repository's page");
  }
  if (code === "RevisionNotFound" || (status === 404 && code === "" && revision !== "main")) {
    return new UsageError("hub-revision-missing", `hub: expected the revision ${revision} of ${place}, got none`, "give a branch, a tag or a commit that exists, or none for the newest");
  }
  if (status === 401 || status === 404) {
    return new UsageError(
      "hub-repository-missing",
      `weights: expected ${weightsForms}; got "${repository}", which is no path here and no repository that ${token === undefined ? "everybody" : "the account of the token"} may read on ${new URL(endpoint).host}`,
      `check the name${token === undefined ? "; for a private repository set HF_TOKEN" : ""}`,
    );
  }
  return new UsageError("hub-refused", `hub: expected ${file ?? hubNameText({ repository, revision })} of ${place}, got status ${status}${said === "" ? "" : `: ${printable(said).slice(0, 200)}`}`);
}

function answerError(where: string, got: string): UsageError {
  return new UsageError("hub-answer", `hub: expected an answer as the hub's interface describes it, got ${got} (at ${where})`, "check HF_ENDPOINT; something between may also change answers");
}

async function getJson(address: string, target: HubTarget, settings: HubSettings, patience: Patience): Promise<{ value: unknown; headers: Headers }> {
  return withRetries(
    `an answer from ${new URL(address).host}`,
    async () => {
      const answer = await request(address, { headers: { accept: "application/json" }, token: settings.token }, patience);
      if (answer.status !== 200) {
        await answer.close();
        throw refusal(answer, target, settings);
      }
      const text = await readText(answer, pageBytes);
      try {
        return { value: JSON.parse(text) as unknown, headers: answer.headers };
      } catch {
        throw answerError(address, `"${printable(text.slice(0, 40))}…"`);
      }
    },
    patience,
  );
}

/**
 * The commit that a branch or tag names now.
 * @throws UsageError `hub-repository-missing`, `hub-revision-missing`, `hub-gated`, `hub-token`, `hub-answer`, `unreachable`
 */
export async function resolveCommit(target: HubTarget, settings: HubSettings, patience: Patience): Promise<string> {
  const address = `${settings.endpoint}/api/models/${target.repository}/revision/${encodeURIComponent(target.revision)}`;
  const { value } = await getJson(address, target, settings, patience);
  const commit = (value as { sha?: unknown } | null)?.sha;
  if (typeof commit !== "string" || !isCommit(commit)) throw answerError(address, "no commit");
  return commit;
}

function parseEntry(entry: unknown, address: string): HubFile | undefined {
  const { type, path, size, oid, lfs } = (entry ?? {}) as Record<string, unknown>;
  if (type === "directory") return undefined;
  const large = lfs as { oid?: unknown; size?: unknown } | null | undefined;
  const sizeBytes = large?.size ?? size;
  const hex = large?.oid ?? oid;
  const kind = large?.oid === undefined ? "git-sha1" : "sha256";
  const isHash = typeof hex === "string" && (kind === "sha256" ? /^[0-9a-f]{64}$/ : /^[0-9a-f]{40}$/).test(hex);
  if (typeof path !== "string" || !Number.isSafeInteger(sizeBytes) || (sizeBytes as number) < 0 || !isHash) throw answerError(address, `the file ${printable(JSON.stringify(entry) ?? "").slice(0, 200)}`);
  // Names that would leave the folder are as good as absent: nothing here asks for such a file.
  return isSafePath(path) ? { path, sizeBytes: sizeBytes as number, hash: { kind, hex } } : undefined;
}

/**
 * All files of a repository at a commit, by path.
 * @throws UsageError as `resolveCommit`
 */
export async function listFiles(target: HubTarget, settings: HubSettings, patience: Patience): Promise<ReadonlyMap<string, HubFile>> {
  const files = new Map<string, HubFile>();
  let address: string | undefined = `${settings.endpoint}/api/models/${target.repository}/tree/${encodeURIComponent(target.revision)}?recursive=true`;
  for (let page = 0; address !== undefined; page++) {
    const { value, headers } = await getJson(address, target, settings, patience);
    if (!Array.isArray(value)) throw answerError(address, "no list of files");
    for (const entry of value) {
      const file = parseEntry(entry, address);
      if (file !== undefined) files.set(file.path, file);
    }
    const next: string | undefined = /<([^<>]+)>\s*;\s*rel="?next"?/.exec(headers.get("link") ?? "")?.[1];
    if (next === undefined) break;
    // The token goes with every page, so pages stay on the hub.
    const url: URL | undefined = URL.canParse(next, address) ? new URL(next, address) : undefined;
    if (url?.origin !== new URL(settings.endpoint).origin) throw answerError(address, `a further page at another place (${printable(next).slice(0, 200)})`);
    if (page + 1 >= mostPages || files.size > mostFiles) throw answerError(address, `more than ${Math.max(files.size, mostPages)} files or pages`);
    address = url.href;
  }
  return files;
}
