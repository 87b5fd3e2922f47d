import { createHash } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { join, relative } from "node:path";

/** A file of a repository of the test hub. */
export interface ServedFile {
  readonly content: Buffer;
  /** Kept by SHA-256 on the other port, as large files are; otherwise by git's hash on the hub itself. */
  readonly isLarge: boolean;
}

export interface ServedRepository {
  /** Branches and tags. */
  readonly revisions: Map<string, string>;
  /** Files by commit. */
  readonly commits: Map<string, Map<string, ServedFile>>;
  isGated?: boolean;
}

/** One request that arrived. */
export interface Seen {
  readonly host: "hub" | "cdn";
  readonly url: string;
  readonly range: string | undefined;
  readonly authorization: string | undefined;
}

/** Answers a request instead of the server when it returns true. */
export type Disturbance = (seen: Seen, request: IncomingMessage, response: ServerResponse) => boolean;

const sha256 = (content: Buffer): string => createHash("sha256").update(content).digest("hex");
export const gitHash = (content: Buffer): string => createHash("sha1").update(`blob ${content.length}\0`).update(content).digest("hex");

async function listen(server: Server): Promise<string> {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/**
 * The hub's interface on two ports of this machine: the interface itself and small files on one, large files behind redirects on the other. Statuses, headers and JSON are those
 * that the hub documents and that `huggingface_hub` relies on.
 */
export class HubServer {
  readonly repositories: Map<string, ServedRepository> = new Map();
  readonly seen: Seen[] = [];
  /** Files behind plain addresses of the second port, by path. */
  readonly files: Map<string, { content: Buffer; etag?: string }> = new Map();
  disturb: Disturbance = () => false;
  /** Files per page of a listing. */
  pageSize = 3;
  /** Tokens that exist; undefined lets any pass. */
  token: string | undefined;
  endpoint = "";
  cdn = "";
  readonly #servers: Server[] = [];

  static async start(): Promise<HubServer> {
    const hub = new HubServer();
    for (const host of ["hub", "cdn"] as const) {
      const server = createServer((request, response) => {
        const seen = { host, url: request.url ?? "", range: request.headers.range, authorization: request.headers.authorization };
        hub.seen.push(seen);
        if (hub.disturb(seen, request, response)) return;
        if (host === "hub") hub.#answer(request, response);
        else hub.#answerFile(request, response);
      });
      hub.#servers.push(server);
      hub[host === "hub" ? "endpoint" : "cdn"] = await listen(server);
    }
    return hub;
  }

  async close(): Promise<void> {
    for (const server of this.#servers) {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    }
  }

  /** Adds a commit to a repository and moves `main` to it; returns the commit. */
  add(name: string, files: Readonly<Record<string, string | Buffer>>): string {
    const repository = this.repositories.get(name) ?? { revisions: new Map(), commits: new Map() };
    this.repositories.set(name, repository);
    const served = new Map(
      Object.entries(files).map(([path, data]): [string, ServedFile] => {
        const content = Buffer.from(data);
        return [path, { content, isLarge: /\.(?:safetensors|bin|pt)$/.test(path) }];
      }),
    );
    const commit = createHash("sha1").update(name).update(String(repository.commits.size)).digest("hex");
    repository.commits.set(commit, served);
    repository.revisions.set("main", commit);
    return commit;
  }

  /** Adds everything below a folder as a commit. */
  async addFolder(name: string, folder: string, others: Readonly<Record<string, string>> = {}): Promise<string> {
    const files: Record<string, Buffer | string> = { ...others };
    for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
      const path = join(entry.parentPath, entry.name);
      if (entry.isFile()) files[relative(folder, path).replaceAll("\\", "/")] = await readFile(path);
    }
    return this.add(name, files);
  }

  /** Requests whose address contains a text. */
  requests(text: string): Seen[] {
    return this.seen.filter(({ url }) => url.includes(text));
  }

  #refuse(response: ServerResponse, status: number, code: string, message: string): void {
    response.writeHead(status, { "x-error-code": code, "x-error-message": message, "content-type": "application/json" }).end(JSON.stringify({ error: message }));
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const url = new URL(request.url ?? "", this.endpoint);
    const [, name, kind, rawRevision, rawPath] =
      /^\/api\/models\/([^/]+\/[^/]+)\/(revision|tree)\/([^/]+)$/.exec(url.pathname) ?? /^\/([^/]+\/[^/]+)\/(resolve)\/([^/]+)\/(.+)$/.exec(url.pathname) ?? [];
    const token = request.headers.authorization?.replace(/^Bearer /, "");
    if (token !== undefined && this.token !== undefined && token !== this.token) {
      response.writeHead(401, { "x-error-message": "Invalid credentials in Authorization header" }).end();
      return;
    }
    const repository = this.repositories.get(name ?? "");
    if (repository === undefined) {
      if (token === undefined) this.#refuse(response, 401, "RepoNotFound", "Invalid username or password.");
      else this.#refuse(response, 404, "RepoNotFound", "Repository not found");
      return;
    }
    const revision = decodeURIComponent(rawRevision!);
    const commit = repository.commits.has(revision) ? revision : repository.revisions.get(revision);
    const files = commit === undefined ? undefined : repository.commits.get(commit);
    if (commit === undefined || files === undefined) return this.#refuse(response, 404, "RevisionNotFound", `Invalid rev id: ${revision}`);
    if (kind === "revision") {
      response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify({ _id: "0", id: name, sha: commit, siblings: [] }));
      return;
    }
    if (kind === "tree") return this.#answerTree(url, response, files);
    if (repository.isGated === true && token === undefined) return this.#refuse(response, 401, "GatedRepo", `Access to model ${name} is restricted.`);
    if (repository.isGated === true && token !== "hf_accepted") return this.#refuse(response, 403, "GatedRepo", `Access to model ${name} is restricted and you are not in the authorized list.`);
    const path = decodeURIComponent(rawPath!);
    const file = files.get(path);
    if (file === undefined) return this.#refuse(response, 404, "EntryNotFound", "Entry not found");
    if (file.isLarge) {
      const hash = sha256(file.content);
      this.files.set(`/blobs/${hash}`, { content: file.content, etag: `"${hash.slice(0, 8)}"` });
      response.writeHead(302, { location: `${this.cdn}/blobs/${hash}?signature=1`, "x-linked-etag": `"${hash}"`, "x-linked-size": file.content.length, "x-repo-commit": commit }).end();
      return;
    }
    response.setHeader("x-repo-commit", commit);
    this.#send(request, response, file.content, `"${gitHash(file.content)}"`);
  }

  #answerTree(url: URL, response: ServerResponse, files: ReadonlyMap<string, ServedFile>): void {
    const folders = new Set([...files.keys()].flatMap((path) => (path.includes("/") && !path.startsWith("/") && !path.startsWith("..") ? [path.slice(0, path.indexOf("/"))] : [])));
    const entries = [
      ...[...folders].map((path) => ({ type: "directory", oid: "0".repeat(40), size: 0, path })),
      ...[...files].map(([path, { content, isLarge }]) => {
        const pointer = Buffer.from(`version https://git-lfs.github.com/spec/v1\noid sha256:${sha256(content)}\nsize ${content.length}\n`);
        return { type: "file", size: content.length, path, ...(isLarge ? { oid: gitHash(pointer), lfs: { oid: sha256(content), size: content.length, pointerSize: pointer.length } } : { oid: gitHash(content) }) };
      }),
    ];
    const start = Number(url.searchParams.get("cursor") ?? 0);
    const next = start + this.pageSize;
    url.searchParams.set("cursor", String(next));
    response.writeHead(200, { "content-type": "application/json", ...(next < entries.length ? { link: `<${url.href}>; rel="next"` } : {}) }).end(JSON.stringify(entries.slice(start, next)));
  }

  #answerFile(request: IncomingMessage, response: ServerResponse): void {
    const file = this.files.get(new URL(request.url ?? "", this.cdn).pathname);
    if (file === undefined) response.writeHead(404).end();
    else this.#send(request, response, file.content, file.etag);
  }

  #send(request: IncomingMessage, response: ServerResponse, content: Buffer, etag: string | undefined): void {
    const common: Record<string, string> = { "accept-ranges": "bytes", "content-type": "application/octet-stream", ...(etag === undefined ? {} : { etag }) };
    const first = /^bytes=(\d+)-$/.exec(request.headers.range ?? "")?.[1];
    const condition = request.headers["if-range"];
    if (first === undefined || (condition !== undefined && condition !== etag)) {
      response.writeHead(200, { ...common, "content-length": content.length }).end(content);
    } else if (Number(first) >= content.length) {
      response.writeHead(416, { ...common, "content-range": `bytes */${content.length}` }).end();
    } else {
      const part = content.subarray(Number(first));
      response.writeHead(206, { ...common, "content-length": part.length, "content-range": `bytes ${first}-${content.length - 1}/${content.length}` }).end(part);
    }
  }
}
