import { join } from "node:path";
import type { Budget } from "./budget.ts";

/** Where an experiment keeps its things: results, which are worth committing, and working folders, which are not. */
export interface ExperimentPaths {
  readonly results: string;
  readonly calibration: string;
  readonly base: string;
  readonly costs: string;
  readonly runs: string;
  readonly pictures: string;
  readonly work: string;
  readonly cache: string;
  readonly lock: string;
}

/** Paths of a budget's experiment below a folder for results and one for working folders. Nothing is created. */
export function experimentPaths({ name }: Pick<Budget, "name">, out: string, workRoot: string): ExperimentPaths {
  const results = join(out, name);
  const work = join(workRoot, name);
  return {
    results,
    calibration: join(results, "calibration.json"),
    base: join(results, "base.json"),
    costs: join(results, "divergence-costs.json"),
    runs: join(results, "runs"),
    pictures: join(results, "pictures"),
    work,
    cache: join(work, "cache"),
    lock: join(work, "lock"),
  };
}

/** What belongs to one run, by its id. */
export function specPaths(paths: ExperimentPaths, id: string): { readonly record: string; readonly run: string; readonly evaluation: string; readonly log: string; readonly picture: string; readonly basePicture: (kind: "emoji" | "emoji-teacher", isAnimals: boolean) => string } {
  return {
    record: join(paths.runs, `${id}.json`),
    run: join(paths.work, "runs", id),
    evaluation: join(paths.work, "evaluations", id),
    log: join(paths.work, "logs", `${id}.log`),
    picture: join(paths.pictures, `${id}.webp`),
    basePicture: (kind, isAnimals) => join(paths.pictures, "base", `${kind}${isAnimals ? "-animals" : ""}.webp`),
  };
}
