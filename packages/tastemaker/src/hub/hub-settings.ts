import { readFile } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import { UsageError } from "@tastemaker/tensor";
import { isSystemError, storageError } from "../storage/storage-error.ts";

/** Where the hub is, where its files are kept, and who asks; as the variables of Python's `huggingface_hub` say. */
export interface HubSettings {
  /** Without a slash at the end. */
  readonly endpoint: string;
  /** Folder with one `models--owner--name` per repository. */
  readonly cacheFolder: string;
  readonly token: string | undefined;
  readonly isOffline: boolean;
}

export type Variables = Readonly<Record<string, string | undefined>>;

function isOn(value: string | undefined): boolean {
  return value !== undefined && ["1", "ON", "YES", "TRUE"].includes(value.toUpperCase());
}

function expandHome(path: string): string {
  return path === "~" || path.startsWith("~/") ? join(homedir(), path.slice(1)) : path;
}

function firstOf(variables: Variables, ...names: readonly string[]): string | undefined {
  for (const name of names) {
    const value = variables[name];
    if (value !== undefined && value.trim() !== "") return value;
  }
  return undefined;
}

async function readToken(variables: Variables, home: string): Promise<string | undefined> {
  let token = firstOf(variables, "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN");
  let where = "HF_TOKEN";
  if (token === undefined && !isOn(variables["HF_HUB_DISABLE_IMPLICIT_TOKEN"])) {
    where = expandHome(firstOf(variables, "HF_TOKEN_PATH") ?? join(home, "token"));
    token = await readFile(where, "utf8").catch((error: unknown) => {
      if (isSystemError(error) && ["ENOENT", "ENOTDIR"].includes(error.code)) return undefined;
      throw storageError(error, "read", where);
    });
  }
  const trimmed = token?.trim();
  if (trimmed === undefined || trimmed === "") return undefined;
  // The token itself is not shown: messages end up in logs.
  if (!/^[\x21-\x7e]{1,1000}$/.test(trimmed)) throw new UsageError("hub-token", `hub: expected an access token of printable characters without spaces, got something else (at ${where})`, "copy it again from the settings page of your account");
  return trimmed;
}

/**
 * Reads `HF_ENDPOINT`, `HF_HOME`, `HF_HUB_CACHE`, `HF_TOKEN`, `HF_TOKEN_PATH` and `HF_HUB_OFFLINE` (and their older names).
 * @throws UsageError `hub-endpoint`, `hub-token`, and when the token's file cannot be read
 */
export async function hubSettings(variables: Variables = process.env): Promise<HubSettings> {
  const home = expandHome(firstOf(variables, "HF_HOME") ?? join(firstOf(variables, "XDG_CACHE_HOME") ?? join(homedir(), ".cache"), "huggingface"));
  const endpoint = (firstOf(variables, "HF_ENDPOINT") ?? "https://huggingface.co").trim().replace(/\/+$/, "");
  const url = URL.canParse(endpoint) ? new URL(endpoint) : undefined;
  if (url === undefined || !["http:", "https:"].includes(url.protocol) || url.search !== "" || url.hash !== "" || url.username !== "") {
    throw new UsageError("hub-endpoint", `hub: expected the address of a hub in HF_ENDPOINT, got "${endpoint.slice(0, 200)}"`, "unset it, or give for example https://huggingface.co");
  }
  return {
    endpoint,
    cacheFolder: expandHome(firstOf(variables, "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE") ?? join(home, "hub")),
    token: await readToken(variables, home),
    isOffline: isOn(variables["HF_HUB_OFFLINE"]) || isOn(variables["TRANSFORMERS_OFFLINE"]),
  };
}
