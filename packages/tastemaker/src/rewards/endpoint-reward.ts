import type { Picture } from "@tastemaker/diffusion";
import { UsageError } from "@tastemaker/tensor";
import { z } from "zod";
import { type EndpointSetting, endpointSchema } from "../config/train-config.ts";
import { encodePng } from "../images/contact-sheet.ts";
import { checkScores } from "./check-scores.ts";
import { postJson, type RequestOptions } from "./endpoint-client.ts";
import type { Reward } from "./reward.ts";

/*
 * Protocol, version 1. One kind of request:
 *
 *   POST <address>      Content-Type: application/json      Authorization: Bearer <token>, where there is one
 *   { "protocol": "tastemaker-reward/1", "items": [ { "prompt": "a red cat", "image": "<PNG, base64>" }, … ] }
 *   200 { "scores": [ 0.71, … ], "about": { … } }
 *
 * Score i belongs to item i. `about` may say `unit`, `typicalRange`, `describe` and `version`. Scoring the same item twice must give the same number: requests are repeated.
 */
const protocol = "tastemaker-reward/1";

const answerSchema = z.object({
  protocol: z.string().optional(),
  scores: z.unknown().optional(),
  about: z
    .object({
      unit: z.string().min(1).max(200).optional(),
      typicalRange: z.tuple([z.number(), z.number()]).optional(),
      describe: z.string().max(1000).optional(),
      version: z.string().min(1).max(200).optional(),
    })
    .optional(),
});

type Answer = z.infer<typeof answerSchema>;

/** The bearer token: of this reward alone, or of all. It is read from the environment, because a configuration is copied into every run directory. */
function tokenOf(name: string): string | undefined {
  const own = process.env[`TASTEMAKER_REWARD_TOKEN_${name.toUpperCase().replaceAll("-", "_")}`];
  const token = own === undefined || own === "" ? process.env["TASTEMAKER_REWARD_TOKEN"] : own;
  if (token === undefined || token === "") return undefined;
  if (/^[\x21-\x7e]+$/.test(token)) return token;
  throw new UsageError("endpoint-token", `reward ${name}: expected a token of printable characters without spaces in the environment, got another text`, "set TASTEMAKER_REWARD_TOKEN again");
}

function checkAddress(name: string, address: string): string {
  if (!URL.canParse(address)) throw new UsageError("endpoint-address", `reward ${name}: expected an http(s) address, got ${JSON.stringify(address)}`);
  const { username, password } = new URL(address);
  if (username === "" && password === "") return address;
  throw new UsageError("endpoint-address", `reward ${name}: expected an address without user name and password, which would be written into the run directory`, "give a token in TASTEMAKER_REWARD_TOKEN instead");
}

/** Runs `work` on 0 … count − 1, at most `limit` at a time; after a failure nothing further begins. */
async function inParallel(count: number, limit: number, work: (index: number) => Promise<void>): Promise<void> {
  let next = 0;
  let hasFailed = false;
  const lane = async (): Promise<void> => {
    while (next < count && !hasFailed) {
      await work(next++).catch((error: unknown) => {
        hasFailed = true;
        throw error;
      });
    }
  };
  await Promise.all(Array.from({ length: Math.min(limit, count) }, lane));
}

/** A grey ramp of 64 × 64 pixels: what the endpoint is asked about before it is needed. */
function probePicture(): Picture {
  const side = 64;
  return { width: side, height: side, pixels: Uint8Array.from({ length: side * side * 3 }, (_, i) => 4 * (Math.floor(i / 3) % side)) };
}

/**
 * Scores by somebody's server, numbers only. It is asked about one picture first, without a second try, so that a run with an endpoint that does not work does not begin.
 * @throws UsageError `endpoint-address`, `endpoint-token`, `endpoint-failed`, `endpoint-answer`, `reward-scores`
 */
export async function openEndpointReward(name: string, given: string, settings: EndpointSetting = endpointSchema.parse({})): Promise<Reward> {
  const address = checkAddress(name, given);
  const options = { ...settings, token: tokenOf(name) };
  const ask = async (pictures: readonly Picture[], prompts: readonly string[], how: RequestOptions): Promise<{ scores: number[]; about: NonNullable<Answer["about"]> }> => {
    const items = await Promise.all(pictures.map(async (picture, row) => ({ prompt: prompts[row]!, image: Buffer.from(await encodePng(picture)).toString("base64") })));
    const parsed = answerSchema.safeParse(await postJson(`reward ${name}`, address, { protocol, items }, how));
    const fail = (expected: string, got: string): never => {
      throw new UsageError("endpoint-answer", `reward ${name}: expected ${expected}, got ${got} (at ${address})`, 'see "An endpoint" in docs/rewards.md');
    };
    if (!parsed.success) return fail('an answer {"scores": [numbers], "about": {…}}', parsed.error.issues.map(({ path, message }) => `${path.join(".") || "the whole"}: ${message}`).join("; "));
    const { protocol: spoken = protocol, scores, about = {} } = parsed.data;
    if (spoken !== protocol) return fail(`protocol ${protocol}`, JSON.stringify(spoken.slice(0, 80)));
    return { scores: checkScores(name, scores, pictures.length, address), about };
  };
  const { about } = await ask([probePicture()], ["a grey ramp"], { ...options, retries: 0 });
  const { unit = "points", typicalRange = [0, 1], describe = "Scores by an endpoint.", version: ownVersion } = about;
  return {
    name,
    unit,
    typicalRange,
    source: address,
    describe,
    needsText: true,
    files: [],
    version: ownVersion === undefined ? address : `${address} ${ownVersion}`,
    score: async (pictures, prompts) => {
      const scores: number[] = [];
      const { batchSize, concurrency } = settings;
      await inParallel(Math.ceil(pictures.length / batchSize), concurrency, async (index) => {
        const [start, end] = [index * batchSize, (index + 1) * batchSize];
        const part = await ask(pictures.slice(start, end), prompts.slice(start, end), options);
        if (part.about.version !== ownVersion) {
          throw new UsageError("endpoint-answer", `reward ${name}: expected version ${ownVersion ?? "none"} of the endpoint throughout, got ${part.about.version ?? "none"} (at ${address})`, "begin a new run: scores of two versions cannot be compared");
        }
        for (const [row, score] of part.scores.entries()) scores[start + row] = score;
      });
      return scores;
    },
    dispose: () => Promise.resolve(),
  };
}
