import { UsageError } from "@tastemaker/tensor";
import { jsonOrText } from "./json-or-text.ts";

/** A reward as the command line names it; what the values may be is the schema's business. */
export interface RewardOption {
  readonly name: string;
  readonly weight?: unknown;
  readonly path?: string;
}

/**
 * `NAME[:WEIGHT][=PATH]`: what stands behind the first equals sign is a path or an address, colons and all.
 * @throws UsageError `option-invalid`
 */
function parseReward(text: string): RewardOption {
  const fail = (got: string, hint: string): never => {
    throw new UsageError("option-invalid", `--reward: expected NAME[:WEIGHT][=PATH], got "${got}"`, hint);
  };
  const equals = text.indexOf("=");
  const [head, path] = equals < 0 ? [text, undefined] : [text.slice(0, equals), text.slice(equals + 1)];
  const colon = head.lastIndexOf(":");
  const [name, weight] = colon < 0 ? [head, undefined] : [head.slice(0, colon), head.slice(colon + 1)];
  if (name === "" || weight === "" || path === "") return fail(text, "for example --reward clip-score:2,warmth:0.5=./warmth.ts");
  if (name.includes("/")) return fail(text, `a reward of your own needs a name: --reward my-reward=${text}`);
  const behind = path === undefined ? null : /^(.*\.(?:[cm]?[jt]s|onnx)):([^/:]+)$/.exec(path);
  if (behind !== null) return fail(text, `the weight comes before the path: --reward ${name}:${behind[2]}=${behind[1]}`);
  return { name, ...(weight === undefined ? {} : { weight: jsonOrText(weight) }), ...(path === undefined ? {} : { path }) };
}

/** The rewards of `--reward`, which may be repeated and may list several, separated by commas. (A path with a comma goes into a configuration file.) */
export function parseRewards(texts: readonly string[]): RewardOption[] {
  return texts.flatMap((text) => text.split(",")).map((text) => parseReward(text.trim()));
}
