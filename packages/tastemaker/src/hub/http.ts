import { setTimeout as delay } from "node:timers/promises";
import { UsageError } from "@tastemaker/tensor";
import { formatDuration } from "../cli/progress.ts";
import { wallClock } from "../storage/clock.ts";
import { packageVersion } from "../storage/package-version.ts";

/** How patient a download is and whom it tells; everything has a default. */
export interface Patience {
  /** Ends waiting and reading. */
  readonly signal?: AbortSignal;
  /** Told about every new attempt. */
  readonly note?: (text: string) => void;
  /** Waits before the second, third, … attempt; the list's length is the number of further attempts. */
  readonly retryDelaysMs?: readonly number[];
  /** A connection that brings nothing for so long counts as dropped. Default 60000. */
  readonly stallMs?: number;
}

const usualDelaysMs: readonly number[] = [1000, 2000, 4000, 8000, 16_000];
const usualStallMs = 60_000;
/** A server that asks for a longer pause than this is answered by giving up. */
const longestWaitMs = 5 * 60_000;
const mostRedirects = 10;
/** A failed attempt that brought this many bytes counts as the first again. */
const progressBytes = 2 ** 20;

/** A failure that another attempt may mend. */
export class TransientFailure extends Error {
  /** Least wait that the server asks for. */
  readonly waitMs: number;
  /** True when the host could not be reached at all: then there is probably no network, and few attempts are enough. */
  readonly isUnreachable: boolean;

  constructor(message: string, waitMs = 0, isUnreachable = false) {
    super(message);
    this.waitMs = waitMs;
    this.isUnreachable = isUnreachable;
  }
}

export function interruptedError(): UsageError {
  return new UsageError("interrupted", "fetch: stopped; what has arrived is kept", "the same command goes on from there");
}

/** Aborts when nothing happened for a while, or when the caller's signal does. */
class Watchdog {
  readonly #controller = new AbortController();
  readonly #caller: AbortSignal | undefined;
  readonly #timer: NodeJS.Timeout;
  hasStalled = false;

  constructor(stallMs: number, caller: AbortSignal | undefined) {
    this.#caller = caller;
    this.#timer = setTimeout(() => {
      this.hasStalled = true;
      this.#controller.abort();
    }, stallMs);
    if (caller?.aborted === true) this.#controller.abort();
    caller?.addEventListener("abort", this.#follow);
  }

  readonly #follow = (): void => this.#controller.abort();

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  get isCancelled(): boolean {
    return this.#caller?.aborted === true;
  }

  /** Something arrived. */
  touch(): void {
    this.#timer.refresh();
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#caller?.removeEventListener("abort", this.#follow);
  }
}

/** An answer whose body is still to be read. `chunks` or `close` must be called, else the connection stays open. */
export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  /** Where it came from after redirects. */
  readonly url: URL;
  /** @throws TransientFailure when the connection drops or stalls */
  chunks(): AsyncGenerator<Uint8Array>;
  close(): Promise<void>;
}

const certificateCodes = /^(?:CERT_|ERR_TLS|ERR_SSL|DEPTH_ZERO|SELF_SIGNED|UNABLE_TO_)/;

/** What went wrong on the network, as an error of ours. */
function networkError(error: unknown, url: URL, watchdog: Watchdog): Error {
  if (watchdog.isCancelled) return interruptedError();
  if (watchdog.hasStalled) return new TransientFailure(`${url.host} sent nothing for too long`);
  let cause = error;
  while (cause instanceof Error && cause.cause instanceof Error) ({ cause } = cause);
  // Several addresses of one host are tried; the errors are collected.
  if (cause instanceof AggregateError && cause.errors[0] instanceof Error) cause = cause.errors[0];
  const code = String((cause as { code?: unknown } | undefined)?.code ?? "");
  const reason = `${cause instanceof Error ? cause.message : String(cause)}`.slice(0, 200);
  if (certificateCodes.test(code)) {
    return new UsageError("certificate", `fetch: expected a certificate of ${url.host} that this machine trusts, got ${reason}`, "behind a company's proxy, set NODE_EXTRA_CA_CERTS to its certificate");
  }
  const isUnreachable = ["ENOTFOUND", "EAI_AGAIN", "ECONNREFUSED", "ENETUNREACH", "EHOSTUNREACH"].includes(code);
  return new TransientFailure(isUnreachable ? `${url.host} cannot be reached: ${reason}` : `the connection to ${url.host} dropped: ${reason}`, 0, isUnreachable);
}

/** Milliseconds that a server asks to wait: `Retry-After` (seconds or a date), or the hub's `RateLimit` with its seconds `t=`. */
function askedWaitMs(headers: Headers): number {
  const after = headers.get("retry-after")?.trim();
  if (after !== undefined && /^\d{1,9}$/.test(after)) return Number(after) * 1000;
  const date = after === undefined ? Number.NaN : Date.parse(after);
  if (Number.isFinite(date)) return Math.max(0, date - wallClock().getTime());
  const reset = /(?:^|;)\s*t=(\d{1,9})/.exec(headers.get("ratelimit") ?? "")?.[1];
  return reset === undefined ? 0 : Number(reset) * 1000;
}

/**
 * Asks for `start` and follows redirects. The token goes to the origin of `start` and to no other, also not after a detour.
 * @throws TransientFailure for what another attempt may mend (dropped, stalled, 408, 429, 5xx)
 * @throws UsageError `redirects`, `certificate`, `interrupted`
 */
export async function request(start: string, { headers, token }: { readonly headers?: Readonly<Record<string, string>>; readonly token?: string | undefined }, patience: Patience): Promise<Answer> {
  const watchdog = new Watchdog(patience.stallMs ?? usualStallMs, patience.signal);
  let url = new URL(start);
  const { origin } = url;
  let secret = token;
  try {
    for (let hops = 0; ; hops++) {
      const response = await fetch(url.href, {
        // Sizes, ranges and hashes are those of the file itself.
        headers: { "accept-encoding": "identity", "user-agent": `tastemaker/${packageVersion()}`, ...headers, ...(secret === undefined ? {} : { authorization: `Bearer ${secret}` }) },
        redirect: "manual",
        signal: watchdog.signal,
      }).catch((error: unknown) => {
        throw networkError(error, url, watchdog);
      });
      watchdog.touch();
      const { status } = response;
      const location = response.headers.get("location");
      if ([301, 302, 303, 307, 308].includes(status) && location !== null) {
        await response.body?.cancel().catch(() => undefined);
        const next = URL.canParse(location, url.href) ? new URL(location, url) : undefined;
        if (next === undefined || hops === mostRedirects || (next.protocol !== "https:" && next.protocol !== url.protocol)) {
          const got = next === undefined ? "one to no address" : hops === mostRedirects ? `more than ${mostRedirects}` : `one from ${url.protocol}// to ${next.protocol}// (${next.host})`;
          throw new UsageError("redirects", `fetch: expected a few redirects to https, got ${got} (at ${start})`, "the server is not set up right, or something between changes its answers");
        }
        if (next.origin !== origin) secret = undefined;
        url = next;
        continue;
      }
      if (status === 408 || status === 429 || status >= 500) {
        await response.body?.cancel().catch(() => undefined);
        const wait = askedWaitMs(response.headers);
        throw new TransientFailure(`${url.host} answers ${status}${status === 429 ? " (too many requests)" : ""}`, wait);
      }
      return answerOf(response, url, watchdog);
    }
  } catch (error) {
    watchdog.stop();
    throw error;
  }
}

function answerOf(response: Response, url: URL, watchdog: Watchdog): Answer {
  const reader = response.body?.getReader();
  const close = async (): Promise<void> => {
    watchdog.stop();
    await reader?.cancel().catch(() => undefined);
  };
  return {
    status: response.status,
    headers: response.headers,
    url,
    close,
    async *chunks() {
      try {
        for (;;) {
          const part = await reader?.read().catch((error: unknown) => {
            throw networkError(error, url, watchdog);
          });
          if (part === undefined || part.done) return;
          watchdog.touch();
          yield part.value as Uint8Array;
        }
      } finally {
        await close();
      }
    },
  };
}

/**
 * Does `work` until it succeeds, with growing waits between attempts.
 * @param received Bytes so far; attempts that bring many do not count against the limit.
 * @throws UsageError `unreachable` after the last attempt; other errors of `work` at once
 */
export async function withRetries<T>(what: string, work: () => Promise<T>, patience: Patience, received: () => number = () => 0): Promise<T> {
  const delays = patience.retryDelaysMs ?? usualDelaysMs;
  let failures = 0;
  let before = received();
  for (;;) {
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof TransientFailure)) throw error;
      if (received() - before >= progressBytes) failures = 0;
      before = received();
      const most = error.isUnreachable && before === 0 ? Math.min(1, delays.length) : delays.length;
      const wait = Math.max(delays[failures] ?? 0, error.waitMs);
      if (failures >= most || wait > longestWaitMs) {
        const got = wait > longestWaitMs ? `${error.message}, with the request to wait ${formatDuration(wait)}` : `${error.message}${failures === 0 ? "" : ` (after ${failures + 1} attempts)`}`;
        const cure = wait > longestWaitMs ? "run the command again then" : error.isUnreachable ? "check the connection; what is in the cache already can be used without one" : "run the command again later; what has arrived is kept";
        throw new UsageError("unreachable", `fetch: expected ${what}, got none: ${got}`, cure);
      }
      failures++;
      patience.note?.(`${error.message}; trying again in ${formatDuration(wait)}`);
      await delay(wait, undefined, patience.signal === undefined ? {} : { signal: patience.signal }).catch(() => {
        throw interruptedError();
      });
    }
  }
}

/**
 * Reads a body of at most `limitBytes` as text.
 * @throws UsageError `answer-too-long`; TransientFailure
 */
export async function readText(answer: Answer, limitBytes: number): Promise<string> {
  const parts: Uint8Array[] = [];
  let size = 0;
  for await (const part of answer.chunks()) {
    size += part.byteLength;
    if (size > limitBytes) throw new UsageError("answer-too-long", `fetch: expected an answer of at most ${limitBytes} bytes, got more (at ${answer.url.href})`);
    parts.push(part);
  }
  return Buffer.concat(parts).toString("utf8");
}
