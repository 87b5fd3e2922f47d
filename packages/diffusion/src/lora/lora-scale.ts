import { UsageError } from "@tastemaker/tensor";
import { asJsonObject, parseJson } from "../files/random-access-file.ts";

type JsonObject = Readonly<Record<string, unknown>>;

/** What an adapter's configuration says about one module. */
export type LoraScaleRule = (module: string, rank: number) => number;

/** Scale 1: what every reader assumes when a file says nothing (alpha = rank). */
export const unitScale: LoraScaleRule = () => 1;

/**
 * The configuration that diffusers (0.34 and later) writes into the safetensors header under `lora_adapter_metadata`, with keys such as `unet.r`; undefined
 * when there is none for the U-Net.
 */
export function peftConfigOfHeader(metadata: ReadonlyMap<string, string>, where: string): JsonObject | undefined {
  const text = metadata.get("lora_adapter_metadata");
  if (text === undefined) return undefined;
  const all = asJsonObject(parseJson(text, `lora_adapter_metadata of ${where}`), `lora_adapter_metadata of ${where}`);
  const entries = Object.entries(all)
    .filter(([key]) => key.startsWith("unet."))
    .map(([key, value]): [string, unknown] => [key.slice("unet.".length), value]);
  return entries.length === 0 ? undefined : Object.fromEntries(entries);
}

/** Whether a PEFT pattern names `module`: the whole path or its last parts. */
function patternMatches(pattern: string, module: string): boolean {
  const anchored = pattern.startsWith("^");
  const literal = anchored ? pattern.slice(1) : pattern;
  return module === literal || (!anchored && module.endsWith(`.${literal}`));
}

/**
 * The scale α/r of each module (α/√r for rank-stabilised LoRA) from a PEFT configuration (`adapter_config.json` or the header): `lora_alpha`, `r`, `alpha_pattern`,
 * `rank_pattern`, `use_rslora`. The rule throws `UsageError` when a module's rank is not the configured one. Patterns are taken literally;
 * regular expressions are refused.
 */
export function scaleRuleOf(config: JsonObject, where: string): LoraScaleRule {
  const fail = (key: string, expected: string): never => {
    throw new UsageError("lora-config", `adapter ${key}: expected ${expected}, got ${JSON.stringify(config[key])?.slice(0, 80)} (at ${where})`);
  };
  const positive = (key: string): number => {
    const value = config[key];
    return typeof value === "number" && Number.isFinite(value) && value > 0 ? value : fail(key, "a positive number");
  };
  const patterns = (key: string): [string, number][] =>
    Object.entries(asJsonObject(config[key] ?? {}, `${key} of ${where}`)).map(([pattern, value]) => {
      if (typeof value !== "number" || !(value > 0) || /[*+?()[\]{}|\\$]/.test(pattern)) fail(key, "positive numbers by literal module names");
      return [pattern, value as number];
    });
  if ((config["use_dora"] ?? false) !== false) fail("use_dora", "false");
  const rank = positive("r");
  const alpha = positive("lora_alpha");
  const rankPatterns = patterns("rank_pattern");
  const alphaPatterns = patterns("alpha_pattern");
  const isStabilised = config["use_rslora"] === true;
  return (module, actualRank) => {
    const moduleRank = rankPatterns.find(([pattern]) => patternMatches(pattern, module))?.[1] ?? rank;
    if (moduleRank !== actualRank) {
      throw new UsageError("lora-rank", `adapter: expected rank ${moduleRank} as its configuration says, got ${actualRank} for ${module} (at ${where})`);
    }
    const moduleAlpha = alphaPatterns.find(([pattern]) => patternMatches(pattern, module))?.[1] ?? alpha;
    return moduleAlpha / (isStabilised ? Math.sqrt(actualRank) : actualRank);
  };
}
