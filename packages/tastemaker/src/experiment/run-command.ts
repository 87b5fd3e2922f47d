import type { Budget } from "./budget.ts";
import type { RunSpec } from "./run-record.ts";

/** Settings of the common command line that have a flag of their own there. */
const flags = ["objective", "model", "threads"] as const;

/** Arguments of the `tastemaker train` that makes a run. */
export function trainArguments(spec: RunSpec, out: string): string[] {
  const { settings, beta, learningRate, seed, iterations } = spec;
  const args = ["train"];
  for (const flag of flags) if (settings[flag] !== undefined) args.push(`--${flag}`, String(settings[flag]));
  args.push("--learning-rate", String(learningRate), "--seed", String(seed), "--iterations", String(iterations));
  if (beta !== null) args.push("--beta", String(beta));
  for (const [path, value] of Object.entries(settings)) {
    if (!(flags as readonly string[]).includes(path)) args.push("--set", `${path}=${typeof value === "string" ? value : JSON.stringify(value)}`);
  }
  args.push("--out", out);
  return args;
}

/** What the final comparison is made with: the same for every model of a kind, so that pictures share their noise and the base model's are made once. */
export function finalArguments({ world, finalPrompts }: Budget, out: string): string[] {
  const prompts = typeof world.heldOut === "string" ? ["--prompts", world.heldOut] : world.heldOut.flatMap((prompt) => ["--prompt", prompt]);
  const metrics = world.metrics.map((name) => (world.places[name] === undefined ? name : `${name}=${world.places[name]}`));
  return [...prompts, "--limit", String(finalPrompts), "--metrics", metrics.join(","), "--seeds", "1", "--seed", "0", "--threads", "1", "--cache-limit", "4", "--out", out];
}

/** Settings of sampling and their flags of `tastemaker evaluate`: pictures of all runs are compared with those of one untrained model. */
export const samplingFlags = { steps: "--steps", timesteps: "--timesteps", guidanceScale: "--guidance" } as const;

/** Arguments of the `tastemaker evaluate` that measures an untrained model. */
export function baseArguments(budget: Budget, kind: "emoji" | "emoji-teacher", out: string): string[] {
  const { models, settings } = budget.world;
  const given = Object.entries(samplingFlags).flatMap(([path, flag]) => (settings[path] === undefined ? [] : [flag, String(settings[path])]));
  return ["evaluate", "--model", models[kind], ...given, ...finalArguments(budget, out)];
}

/** A command line as one types it. */
export function shellLine(args: readonly string[]): string {
  return ["tastemaker", ...args].map((arg) => (/^[\w./:=,@+-]+$/.test(arg) ? arg : `'${arg.replaceAll("'", `'\\''`)}'`)).join(" ");
}
