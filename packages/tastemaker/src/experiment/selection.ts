import { unknownNameError } from "@tastemaker/tensor";
import { isDivergenceMethod, type Method, methods, type Part, type TrainedReward, trainedRewards } from "./run-record.ts";

/** What the runs are for: the paper's tables and figures, and two of our own. */
export const targets = ["table1", "table2", "table4", "fig3", "fig4", "fig5", "fig6", "auto", "search"] as const;
export type Target = (typeof targets)[number];

/** The piece of an experiment that is asked for. */
export interface Selection {
  readonly targets: readonly Target[];
  readonly rewards: readonly TrainedReward[];
  readonly methods: readonly Method[];
}

export const everything: Selection = { targets, rewards: trainedRewards, methods };

/** What has a learning rate of its own: all variants of ROCM share one. */
export const searched = ["rocm", "rlcm", "ddpo", "d3po", "dpok"] as const;
export type Searched = (typeof searched)[number];

export function searchedOf(method: Method): Searched {
  return searched.find((name) => name === method) ?? "rocm";
}

function isDirectlyWanted({ targets: asked, rewards, methods: rows }: Selection, part: Part, reward: TrainedReward, method: Method): boolean {
  if (!rewards.includes(reward) || !rows.includes(method)) return false;
  const has = (...names: Target[]): boolean => names.some((name) => asked.includes(name));
  if (part === "main") return has("table1", "fig3", "fig5");
  if (part === "sweep") return isDivergenceMethod(method) && (has("table2") || (has("fig4") && method === "rocm-kl"));
  if (part === "auto") return has("auto") && isDivergenceMethod(method);
  if (part === "animals") return has("fig6") && reward === "aesthetic" && searchedOf(method) === "rocm";
  return has("search");
}

/** Whether runs of a part with a reward and a method are asked for, or must be made before those that are. */
export function isWanted(selection: Selection, part: Part, reward: TrainedReward, method: Method): boolean {
  if (isDirectlyWanted(selection, part, reward, method)) return true;
  // Where rows of Table 1 and the animals have their beta from.
  return part === "sweep" && isDivergenceMethod(method) && (isDirectlyWanted(selection, "main", reward, method) || isDirectlyWanted(selection, "animals", reward, method));
}

/** Reads a list of names separated by commas. @throws UsageError `unknown-name` */
export function parseNames<Name extends string>(what: string, text: string, known: readonly Name[]): readonly Name[] {
  return [...new Set(text.split(",").map((part) => part.trim()))].map((name) => {
    const found = known.find((one) => one === name);
    if (found === undefined) throw unknownNameError(what, name, known);
    return found;
  });
}
