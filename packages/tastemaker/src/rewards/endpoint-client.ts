import { setTimeout } from "node:timers/promises";
import { UsageError } from "@tastemaker/tensor";

/** How long and how often one request is tried. */
export interface RequestOptions {
  readonly timeoutSeconds: number;
  /** Times it is sent again. */
  readonly retries: number;
  /** Sent as `Authorization: Bearer`. */
  readonly token?: string | undefined;
}

/** Longer answers are refused, so that a broken server cannot fill the memory. */
const largestAnswerBytes = 4 * 2 ** 20;
/** Waits are never longer, whatever a server asks for. */
const longestWaitMs = 60_000;
const firstWaitMs = 500;
/** Answers after which the same request may succeed. */
const transient: ReadonlySet<number> = new Set([408, 425, 429, 500, 502, 503, 504]);

interface Failure {
  readonly reason: string;
  readonly isTransient: boolean;
  readonly hint?: string | undefined;
  /** What the server asks to wait. */
  readonly waitMs?: number | undefined;
}

/** The text of an answer; undefined when it is too long. */
async function readLimited(response: Response): Promise<string | undefined> {
  const decoder = new TextDecoder();
  let text = "";
  let sizeBytes = 0;
  for await (const chunk of (response.body ?? []) as AsyncIterable<Uint8Array>) {
    sizeBytes += chunk.length;
    // Leaving the loop closes the connection.
    if (sizeBytes > largestAnswerBytes) return undefined;
    text += decoder.decode(chunk, { stream: true });
  }
  return text + decoder.decode();
}

function causeOf(error: unknown, timeoutSeconds: number): string {
  if (error instanceof Error && error.name === "TimeoutError") return `no answer within ${timeoutSeconds} s`;
  // fetch says "fetch failed" and puts the reason (ECONNREFUSED, ENOTFOUND, …) into the cause.
  const { cause } = error as { cause?: unknown };
  const { code, message } = (cause ?? error) as { code?: string; message?: string };
  return `no connection (${message === undefined || message === "" ? (code ?? String(error)) : message})`;
}

function hintOf(status: number): string | undefined {
  if (status === 401 || status === 403) return "set TASTEMAKER_REWARD_TOKEN to the endpoint's token";
  if (status === 404 || status === 405) return "check the address; it must accept POST";
  if (status === 413) return "lower endpoint.batchSize";
  return undefined;
}

async function tryOnce(url: string, body: string, { timeoutSeconds, token }: RequestOptions): Promise<{ readonly json: unknown } | Failure> {
  let response: Response;
  let text: string | undefined;
  try {
    response = await fetch(url, {
      method: "POST",
      headers: { "content-type": "application/json", accept: "application/json", ...(token === undefined ? {} : { authorization: `Bearer ${token}` }) },
      body,
      // A redirect would carry pictures and token to an address that nobody named.
      redirect: "manual",
      signal: AbortSignal.timeout(timeoutSeconds * 1000),
    });
    text = await readLimited(response);
  } catch (error) {
    return { reason: causeOf(error, timeoutSeconds), isTransient: true };
  }
  const { status } = response;
  if (status >= 300 && status < 400) return { reason: `status ${status}, a redirect to ${response.headers.get("location") ?? "nowhere"}`, isTransient: false, hint: "give the address it leads to" };
  if (status !== 200) {
    const after = Number(response.headers.get("retry-after") ?? Number.NaN);
    const said = text === undefined || text.trim() === "" ? "" : `: ${JSON.stringify(text.trim().slice(0, 200))}`;
    return { reason: `status ${status}${said}`, isTransient: transient.has(status), hint: hintOf(status), waitMs: Number.isFinite(after) ? after * 1000 : undefined };
  }
  if (text === undefined) return { reason: `an answer of more than ${largestAnswerBytes / 2 ** 20} MiB`, isTransient: false };
  try {
    return { json: JSON.parse(text) as unknown };
  } catch {
    return { reason: `an answer that is no JSON (${JSON.stringify(text.slice(0, 80))})`, isTransient: false, hint: "JSON knows neither NaN nor Infinity" };
  }
}

/**
 * Posts JSON and returns the JSON of the answer. What may pass (no connection, a timeout, status 408, 425, 429, 5xx) is tried again after 0.5 s, 1 s, 2 s, …, or after what `Retry-After`
 * says, at most 60 s; so the same request may arrive twice.
 * @throws UsageError `endpoint-failed` naming address and status
 */
export async function postJson(what: string, url: string, value: unknown, options: RequestOptions): Promise<unknown> {
  const body = JSON.stringify(value);
  for (let attempt = 0; ; attempt++) {
    const result = await tryOnce(url, body, options);
    if ("json" in result) return result.json;
    if (result.isTransient && attempt < options.retries) {
      await setTimeout(Math.min(longestWaitMs, result.waitMs ?? firstWaitMs * 2 ** attempt));
      continue;
    }
    const tries = attempt === 0 ? "" : ` after ${attempt + 1} tries`;
    throw new UsageError("endpoint-failed", `${what}: expected an answer, got ${result.reason}${tries} (at ${url})`, result.hint);
  }
}
