import type { BootstrapOptions } from "../../evaluate/bootstrap.ts";
import { analyseStudy, type StudyAnalysis } from "../../study/analyse-study.ts";
import type { Answer } from "../../study/answers.ts";
import { type PictureQualities, simulateStudy, type StudySettings } from "../../study/simulate-study.ts";
import { type BetaChoice } from "../choose-beta.ts";
import { type BaseRecord, divergenceMethods, type Method, type RunRecord, type TrainedReward, trainedRewards } from "../run-record.ts";
import type { MethodTable } from "./method-table.ts";
import { finalGrid, groupRuns, rowOf, type RunGroup } from "./select-runs.ts";

/** A simulated study of one reward's models. */
export interface RewardStudy {
  readonly reward: TrainedReward;
  readonly method: Method;
  readonly answers: readonly Answer[];
  readonly analysis: StudyAnalysis;
}

function qualitiesOf(group: RunGroup, base: BaseRecord): PictureQualities {
  const first = (metric: string): readonly number[] => finalGrid(group, base, metric)[0]!;
  return { gold: first("gold"), appeal: first("gold-appeal"), alignment: first("judge") };
}

/**
 * The paper's user study with simulated people: for every reward the divergence of highest held-out gain (`tables`: Table 1) against RLCM, the first seed of each, on the same prompts.
 * Rewards without both are left out.
 */
export function userStudies(records: readonly RunRecord[], base: BaseRecord, choices: readonly BetaChoice[], tables: readonly MethodTable[], settings: StudySettings, options: BootstrapOptions): RewardStudy[] {
  const groups = groupRuns(records);
  return trainedRewards.flatMap((reward) => {
    const rows = tables.find((table) => table.reward === reward)?.rows ?? [];
    const ours = rows.filter((row) => (divergenceMethods as readonly Method[]).includes(row.method) && row.heldOut !== null);
    const rlcm = rowOf(groups, choices, reward, "rlcm");
    if (ours.length === 0 || rlcm === undefined) return [];
    const { method } = ours.reduce((best, row) => (row.heldOut!.gain.mean > best.heldOut!.gain.mean ? row : best));
    const group = rowOf(groups, choices, reward, method)!;
    const ids: Readonly<Record<string, string>> = { [method]: group.runs[0]!.spec.id, rlcm: rlcm.runs[0]!.spec.id };
    const answers = simulateStudy({ methodA: method, methodB: "rlcm", prompts: base.prompts, a: qualitiesOf(group, base), b: qualitiesOf(rlcm, base), picture: (name, prompt) => `${ids[name]}#${prompt}` }, settings);
    return [{ reward, method, answers, analysis: analyseStudy(answers, options) }];
  });
}
