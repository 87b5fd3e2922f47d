import { existsSync } from "node:fs";
import { UsageError } from "@tastemaker/tensor";
import { isSafePath } from "./safe-path.ts";

/** Weights as a person names them: something on this disk, a repository of the hub or one of its files, or a file behind an address. */
export type WeightsName =
  | { readonly kind: "path"; readonly path: string }
  | {
      readonly kind: "hub";
      /** `owner/name`. */
      readonly repository: string;
      /** Branch, tag or commit; undefined: `main`. */
      readonly revision: string | undefined;
      /** Path inside the repository; undefined: the whole model. */
      readonly file: string | undefined;
    }
  | { readonly kind: "url"; readonly url: string; /** Expected SHA-256, lower-case hex. */ readonly sha256: string | undefined };

/** What may stand where weights are named; for messages. */
export const weightsForms = "an existing folder or file, a repository of the hub (owner/name, owner/name@revision, owner/name:file) or an https address";

const hubName = /^([A-Za-z0-9][\w.-]{0,95}\/[A-Za-z0-9_][\w.-]{0,95})(?:@([^@:\s]+))?(?::(\S.*))?$/;
/** A name without revision and file that ends like this is a mistyped path, not a repository. */
const fileEnding = /\.(?:safetensors|pt|pth|bin|ckpt|pkl|json|onnx|[cm]?[jt]s)$/;
const commitName = /^[0-9a-f]{40}$/;

/** True for the full name of a commit, which never changes its meaning. */
export function isCommit(revision: string): boolean {
  return commitName.test(revision);
}

function isRevision(text: string): boolean {
  return text.length <= 255 && /^[\w.+/-]+$/.test(text) && isSafePath(text);
}

/** True for addresses that leave this machine unprotected: http to anywhere but this machine itself. */
function isOpenHttp({ protocol, hostname }: URL): boolean {
  return protocol === "http:" && !["localhost", "127.0.0.1", "[::1]"].includes(hostname);
}

function parseUrl(text: string): WeightsName {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || !["https:", "http:"].includes(url.protocol) || isOpenHttp(url)) {
    throw new UsageError("weights-address", `weights: expected an https address, got "${text.slice(0, 200)}"`, "what comes over http or another protocol could be changed on its way; fetch the file yourself and give its path");
  }
  if (url.username !== "" || url.password !== "") {
    throw new UsageError("weights-address", `weights: expected an address without a password, got one for ${url.host}`, "addresses are recorded with runs; fetch the file yourself and give its path");
  }
  const { hash } = url;
  const sha256 = /^#sha256=([0-9a-f]{64})$/i.exec(hash)?.[1]?.toLowerCase();
  if (hash !== "" && sha256 === undefined) {
    throw new UsageError("weights-address", `weights: expected #sha256= and 64 hexadecimal digits after the address, got "${hash.slice(0, 100)}"`);
  }
  url.hash = "";
  return { kind: "url", url: url.href, sha256 };
}

/**
 * Reads the name of weights. What exists on this disk wins over a repository of the same name.
 * @throws UsageError `weights-address`, `weights-name` for an address or a repository's name that is not written right
 */
export function parseWeightsName(text: string): WeightsName {
  if (/^[a-z][a-z0-9+.-]+:\/\//i.test(text)) return parseUrl(text);
  if (existsSync(text)) return { kind: "path", path: text };
  const [, repository, revision, file] = hubName.exec(text) ?? [];
  if (repository === undefined || (revision === undefined && file === undefined && fileEnding.test(repository))) return { kind: "path", path: text };
  if (/--|\.\./.test(repository)) throw new UsageError("weights-name", `weights: expected a repository's name without -- and .., got "${repository}"`, `expected forms: ${weightsForms}`);
  if (revision !== undefined && !isRevision(revision)) throw new UsageError("weights-name", `weights: expected a branch, a tag or a commit after @, got "${revision}" (in ${text})`);
  if (file !== undefined && !isSafePath(file)) throw new UsageError("weights-name", `weights: expected the path of a file inside the repository after :, got "${file}" (in ${text})`);
  return { kind: "hub", repository, revision, file };
}

/** The text that `parseWeightsName` reads as this repository or file. */
export function hubNameText({ repository, revision, file }: { readonly repository: string; readonly revision?: string | undefined; readonly file?: string | undefined }): string {
  return `${repository}${revision === undefined ? "" : `@${revision}`}${file === undefined ? "" : `:${file}`}`;
}
