import { UsageError } from "@tastemaker/tensor";
import { z } from "zod";

/** How rewards become advantages. */
export interface AdvantageSettings {
  /** Most recent rewards that are kept per prompt; 32 in RLCM, 16 or 32 in DDPO. */
  readonly buffer: number;
  /** Rewards that a prompt needs for statistics of its own; 16 in both. Below it, those of the whole batch are used. */
  readonly minimum: number;
  /** A_max: advantages are clamped to ±limit; 10 in RLCM, 5 in DDPO. */
  readonly limit: number;
}

/** The last rewards of every prompt seen, oldest first. Never changed in place. */
export type PromptStatistics = ReadonlyMap<string, readonly number[]>;

/** Added to the standard deviation, so that equal rewards give advantage 0. */
const epsilon = 1e-6;

/** Mean and population standard deviation (divisor n). */
export function statisticsOf(values: readonly number[]): { readonly mean: number; readonly std: number } {
  const mean = values.reduce((total, value) => total + value, 0) / values.length;
  return { mean, std: Math.sqrt(values.reduce((total, value) => total + (value - mean) ** 2, 0) / values.length) };
}

/** @throws UsageError `advantage-settings` */
function checkSettings({ buffer, minimum, limit }: AdvantageSettings): void {
  const fail = (what: string, expected: string, got: number): never => {
    throw new UsageError("advantage-settings", `${what}: expected ${expected}, got ${got}`);
  };
  if (!Number.isSafeInteger(buffer) || buffer < 1) fail("buffer", "a whole number of at least 1", buffer);
  // A minimum beyond the buffer could never be reached.
  if (!Number.isSafeInteger(minimum) || minimum < 1 || minimum > buffer) fail("minimum", `a whole number from 1 to the buffer's ${buffer}`, minimum);
  if (!(limit > 0)) fail("limit", "a number above 0", limit);
}

/**
 * The advantages of a batch, A = clamp((r − mean)/(std + 1e-6), ±limit), and the statistics with the batch in them (DDPO's per-prompt tracker; specification §5). The batch's
 * rewards enter their prompts' buffers first; then every reward is compared with its prompt's buffer, or with the whole batch while that holds fewer than `minimum`.
 *
 * @param prompts One per reward; the same prompt may occur several times.
 * @throws UsageError `advantage-settings`; `shape-mismatch` for another number of prompts than rewards; `not-finite` naming the prompt
 */
export function advantagesOf(before: PromptStatistics, prompts: readonly string[], rewards: ArrayLike<number>, settings: AdvantageSettings): { readonly advantages: Float64Array; readonly statistics: PromptStatistics } {
  checkSettings(settings);
  if (prompts.length !== rewards.length || prompts.length === 0) throw new UsageError("shape-mismatch", `advantages: expected a prompt for each of at least one reward, got ${prompts.length} prompts and ${rewards.length} rewards`);
  const values = Array.from(rewards);
  const bad = values.findIndex((value) => !Number.isFinite(value));
  if (bad >= 0) throw new UsageError("not-finite", `advantages: expected finite rewards, got ${values[bad]} (at prompt "${prompts[bad]}")`, "check the reward");
  const statistics = new Map(before);
  for (const [i, prompt] of prompts.entries()) statistics.set(prompt, [...(statistics.get(prompt) ?? []), values[i]!].slice(-settings.buffer));
  const batch = statisticsOf(values);
  const own = new Map([...new Set(prompts)].map((prompt) => {
    const kept = statistics.get(prompt)!;
    return [prompt, kept.length < settings.minimum ? batch : statisticsOf(kept)];
  }));
  const advantages = Float64Array.from(values, (value, i) => {
    const { mean, std } = own.get(prompts[i]!)!;
    return Math.min(settings.limit, Math.max(-settings.limit, (value - mean) / (std + epsilon)));
  });
  return { advantages, statistics };
}

const storedSchema = z.array(z.tuple([z.string(), z.array(z.number()).min(1)]));

/** The statistics as JSON: pairs of a prompt and its rewards, which any prompt's text survives. */
export function statisticsToJson(statistics: PromptStatistics): (readonly [prompt: string, rewards: readonly number[]])[] {
  return [...statistics];
}

/**
 * The statistics from `statisticsToJson`'s value.
 *
 * @param where Named in the error.
 * @throws UsageError `state-mismatch` when it is something else, names a prompt twice or holds more rewards than the buffer
 */
export function statisticsFromJson(value: unknown, { buffer }: Pick<AdvantageSettings, "buffer">, where: string): PromptStatistics {
  const parsed = storedSchema.safeParse(value);
  const statistics = parsed.success ? new Map(parsed.data) : undefined;
  if (statistics === undefined || statistics.size !== parsed.data!.length || [...statistics.values()].some(({ length }) => length > buffer)) {
    throw new UsageError("state-mismatch", `prompt statistics: expected pairs of a prompt and its last rewards, at most ${buffer} each (at ${where})`, "the checkpoint was changed, or belongs to a run with other settings");
  }
  return statistics;
}
