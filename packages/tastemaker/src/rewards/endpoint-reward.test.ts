import { createServer, type IncomingHttpHeaders, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { setTimeout } from "node:timers/promises";
import { type Picture, pictureOf } from "@tastemaker/diffusion";
import sharp from "sharp";
import { afterEach, describe, expect, it } from "vitest";
import { nodeBackend } from "../platform/runtime.ts";
import { openReward } from "./open-reward.ts";
import type { Reward } from "./reward.ts";

const backend = nodeBackend({ threads: 1 });

interface Request {
  readonly headers: IncomingHttpHeaders;
  readonly items: readonly { readonly prompt: string; readonly image: string }[];
}

/** How a server answers its nth request (from 0; the first is the probe). */
type Answer = (request: Request, response: ServerResponse, index: number) => void | Promise<void>;

const closing: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0)) await close();
  delete process.env["TASTEMAKER_REWARD_TOKEN"];
  delete process.env["TASTEMAKER_REWARD_TOKEN_MY_TASTE"];
});

/** A real server on this machine, which is closed after the test. */
async function serve(answer: Answer): Promise<{ readonly address: string; readonly requests: Request[] }> {
  const requests: Request[] = [];
  const server = createServer((request, response) => {
    void (async () => {
      let text = "";
      for await (const chunk of request.setEncoding("utf8")) text += String(chunk);
      const { protocol, items } = JSON.parse(text) as { protocol: string; items: Request["items"] };
      expect(protocol).toBe("tastemaker-reward/1");
      expect(request.method).toBe("POST");
      requests.push({ headers: request.headers, items });
      await answer(requests.at(-1)!, response, requests.length - 1);
    })();
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  closing.push(async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });
  return { address: `http://127.0.0.1:${(server.address() as AddressInfo).port}/score`, requests };
}

const reply = (response: ServerResponse, value: unknown, status = 200): void => void response.writeHead(status, { "content-type": "application/json" }).end(typeof value === "string" ? value : JSON.stringify(value));
const lengths = ({ items }: Request): number[] => items.map(({ prompt }) => prompt.length);

function pictures(count: number): { pictures: Picture[]; prompts: string[] } {
  return {
    pictures: Array.from({ length: count }, (_, index) => pictureOf(new Float32Array(3 * 16).fill(index / count), 4, 4)),
    prompts: Array.from({ length: count }, (_, index) => "x".repeat(index + 1)),
  };
}

const quick = { batchSize: 2, concurrency: 2, timeoutSeconds: 5, retries: 2 };
const open = (path: string, changes: Partial<typeof quick> = {}, name = "my-taste"): Promise<Reward> => openReward({ name, path, endpoint: { ...quick, ...changes } }, backend, undefined);

async function expectFailure(action: Promise<unknown>, message: RegExp): Promise<void> {
  await expect(action).rejects.toMatchObject({ name: "UsageError", message: expect.stringMatching(message) as string });
}

describe("an endpoint", () => {
  it("is asked once at the start, then in batches, and each score finds its picture", async () => {
    let atOnce = 0;
    let most = 0;
    const { address, requests } = await serve(async (request, response, index) => {
      atOnce += 1;
      most = Math.max(most, atOnce);
      // The first batches take longest, so that answers come in another order.
      await setTimeout(60 - 10 * index);
      atOnce -= 1;
      reply(response, { scores: lengths(request), about: { unit: "letters", typicalRange: [0, 9] } });
    });
    const reward = await open(address);
    expect(requests).toHaveLength(1);
    expect(reward).toMatchObject({ name: "my-taste", unit: "letters", typicalRange: [0, 9], files: [], source: address });
    expect(reward.gradient).toBeUndefined();
    const { pictures: shown, prompts } = pictures(7);
    expect(await reward.score(shown, prompts)).toEqual([1, 2, 3, 4, 5, 6, 7]);
    expect(requests.slice(1).map(({ items }) => items.length).sort()).toEqual([1, 2, 2, 2]);
    expect(most).toBe(2);
    const last = requests.flatMap(({ items }) => items).find(({ prompt }) => prompt === "xxx")!;
    const { data, info } = await sharp(Buffer.from(last.image, "base64")).raw().toBuffer({ resolveWithObject: true });
    expect(info).toMatchObject({ width: 4, height: 4, channels: 3 });
    expect(data.equals(shown[2]!.pixels)).toBe(true);
  });

  it("is given a token from the environment, its own before the common one", async () => {
    const { address, requests } = await serve((request, response) => reply(response, { scores: lengths(request) }));
    await open(address);
    process.env["TASTEMAKER_REWARD_TOKEN"] = "common";
    await open(address);
    process.env["TASTEMAKER_REWARD_TOKEN_MY_TASTE"] = "own";
    await open(address);
    expect(requests.map(({ headers }) => headers.authorization)).toEqual([undefined, "Bearer common", "Bearer own"]);
    process.env["TASTEMAKER_REWARD_TOKEN_MY_TASTE"] = "two words";
    await expectFailure(open(address), /expected a token of printable characters/);
  });

  it("that fails for a while is asked again, with the same request", async () => {
    const { address, requests } = await serve((request, response, index) => {
      if (index === 1) return reply(response, "busy", 503);
      if (index === 2) return void response.socket!.destroy();
      return reply(response, { scores: lengths(request) });
    });
    const reward = await open(address);
    const { pictures: shown, prompts } = pictures(2);
    expect(await reward.score(shown, prompts)).toEqual([1, 2]);
    expect(requests).toHaveLength(4);
    expect(requests[2]!.items).toEqual(requests[1]!.items);
    expect(requests[3]!.items).toEqual(requests[1]!.items);
  });

  it(
    "is asked again when Retry-After says, instead of ever later",
    async () => {
      const { address, requests } = await serve((request, response, index) => {
        if (index > 0 && index < 7) return void response.writeHead(429, { "retry-after": "0" }).end();
        return reply(response, { scores: lengths(request) });
      });
      const reward = await open(address, { retries: 6 });
      const { pictures: shown, prompts } = pictures(1);
      expect(await reward.score(shown, prompts)).toEqual([1]);
      expect(requests).toHaveLength(8);
    },
    // Without the header the six waits would take 31.5 s.
    20_000,
  );

  it("that goes on failing is an error with address, status and what it says", async () => {
    const { address, requests } = await serve((request, response, index) => (index === 0 ? reply(response, { scores: lengths(request) }) : reply(response, "out of memory", 500)));
    const reward = await open(address, { retries: 1 });
    const { pictures: shown, prompts } = pictures(1);
    await expectFailure(reward.score(shown, prompts), /^reward my-taste: expected an answer, got status 500: "out of memory" after 2 tries \(at http:\/\/127\.0\.0\.1:\d+\/score\)$/);
    expect(requests).toHaveLength(3);
  });

  it("that does not work fails when it is opened, without a second try", async () => {
    const rows: readonly (readonly [Answer, RegExp])[] = [
      [(_request, response) => reply(response, "", 503), /got status 503 \(at http/],
      [(_request, response) => reply(response, "who are you", 401), /got status 401: "who are you" \(at http.*\); set TASTEMAKER_REWARD_TOKEN/],
      [(_request, response) => reply(response, "", 404), /got status 404 .*check the address/],
      [(_request, response) => void response.writeHead(302, { location: "http://elsewhere.invalid/" }).end(), /got status 302, a redirect to http:\/\/elsewhere\.invalid\/ /],
      [(_request, response) => reply(response, "<html>"), /got an answer that is no JSON \("<html>"\)/],
      [(_request, response) => reply(response, '{"scores": [NaN]}'), /no JSON .*JSON knows neither NaN nor Infinity/],
      [(_request, response) => reply(response, { scores: [null] }), /expected 1 finite number, one per picture, got null at place 1 \(at http/],
      [(_request, response) => reply(response, '{"scores": [1e999]}'), /got Infinity at place 1/],
      [(_request, response) => reply(response, { scores: [1, 2] }), /expected 1 finite number, one per picture, got 2 \(at http/],
      [(_request, response) => reply(response, { scores: "1" }), /got a string \(at http/],
      [(_request, response) => reply(response, {}), /got none \(at http/],
      [(_request, response) => reply(response, [1]), /expected an answer \{"scores": \[numbers\]/],
      [(_request, response) => reply(response, { scores: [1], about: { unit: 3 } }), /about\.unit/],
      [(_request, response) => reply(response, { protocol: "tastemaker-reward/2", scores: [1] }), /expected protocol tastemaker-reward\/1, got "tastemaker-reward\/2"/],
      [(_request, response) => reply(response, `{"scores": [1], "more": "${"x".repeat(5 * 2 ** 20)}"}`), /got an answer of more than 4 MiB/],
      [(_request, response) => void response.socket!.destroy(), /got no connection \(.+\) \(at http/],
      [(_request, response) => void response.writeHead(200, { "content-length": "100" }).write("{", () => response.socket!.destroy()), /got no connection \(.+\) \(at http/],
    ];
    for (const [answer, message] of rows) {
      const { address, requests } = await serve(answer);
      await expectFailure(open(address), message);
      expect(requests).toHaveLength(1);
    }
  });

  it("that is slow or absent is an error", async () => {
    const { address } = await serve(async (request, response) => {
      await setTimeout(3000);
      reply(response, { scores: lengths(request) });
    });
    await expectFailure(open(address, { timeoutSeconds: 0.2 }), /got no answer within 0\.2 s \(at http/);
    const gone = (await serve(() => undefined)).address;
    for (const close of closing.splice(-1)) await close();
    await expectFailure(open(gone), /got no connection \(.*ECONNREFUSED.*\) \(at http/);
  });

  it("that changes its version on the way is an error", async () => {
    const { address } = await serve((request, response, index) => reply(response, { scores: lengths(request), about: { version: index === 0 ? "1" : "2" } }));
    const reward = await open(address);
    expect(reward.version).toBe(`${address} 1`);
    const { pictures: shown, prompts } = pictures(1);
    await expectFailure(reward.score(shown, prompts), /expected version 1 of the endpoint throughout, got 2/);
  });

  it("needs an address that may be written down", async () => {
    await expectFailure(open("http://user:secret@127.0.0.1/"), /^reward my-taste: expected an address without user name and password(?!.*secret)/);
    await expectFailure(open("http://"), /expected an http\(s\) address, got "http:\/\/"/);
  });
});
