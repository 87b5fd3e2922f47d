import { type Backend, referenceBackend } from "@tastemaker/tensor";
import type { BootstrapOptions } from "../../evaluate/bootstrap.ts";
import { paperStudy } from "../../study/simulate-study.ts";
import { type BetaChoice, tableBetas } from "../choose-beta.ts";
import { type BaseRecord, goldMetrics, paperMetrics, type RunRecord, trainedRewards } from "../run-record.ts";
import { type BetaTable, betaTable } from "./beta-table.ts";
import { type Claim, judgeClaims } from "./claims.ts";
import { type DivergenceCost, type DivergenceRow, divergenceTable } from "./divergence-table.ts";
import { type MatchedReward, matchedReward } from "./matched-reward.ts";
import { type BaseRow, baseTable, equalEvaluationsTable, type MethodTable, methodTable } from "./method-table.ts";
import { type PreferenceCurve, preferenceByBeta } from "./preference-by-beta.ts";
import { type SpeedRow, timeToQuality } from "./time-to-quality.ts";
import { type TrainingCurve, trainingCurves } from "./training-curves.ts";
import { type RewardStudy, userStudies } from "./user-study.ts";

/** Everything the records say: the content of every table and figure. */
export interface Analysis {
  readonly prompts: number;
  readonly runs: number;
  readonly choices: readonly BetaChoice[];
  /** Table 1 and its version at equal reward evaluations, for the rewards that have runs. */
  readonly methods: readonly MethodTable[];
  readonly equalEvaluations: readonly MethodTable[];
  /** Table 2. */
  readonly beta: BetaTable;
  /** Table 3; costs are null where they were not measured. */
  readonly divergences: readonly DivergenceRow[];
  readonly costs: readonly DivergenceCost[] | null;
  /** Table 4. */
  readonly bases: readonly BaseRow[];
  /** Fig. 4 and Fig. 5. */
  readonly preference: readonly PreferenceCurve[];
  readonly curves: readonly TrainingCurve[];
  readonly matched: MatchedReward;
  readonly speed: readonly SpeedRow[];
  readonly claims: readonly Claim[];
  readonly studies: readonly RewardStudy[];
}

export interface AnalysisOptions extends BootstrapOptions {
  /** From `benchDivergences`. */
  readonly costs?: readonly DivergenceCost[];
  /** In float64; default: the interpreter. */
  readonly backend?: Backend;
}

/** What intervals are made from where nothing else is asked for. */
export const defaultBootstrap: BootstrapOptions = { seed: 1, resamples: 2000 };

/**
 * From records to every number of the report. The same records and options give the same numbers, bit for bit.
 * @throws UsageError `record-metric`, `record-prompts` for records that do not fit `base`
 */
export async function analyseRecords(records: readonly RunRecord[], base: BaseRecord, options: AnalysisOptions = defaultBootstrap): Promise<Analysis> {
  const choices = tableBetas(records, base);
  const metrics = [...paperMetrics, ...goldMetrics];
  const methods = trainedRewards.map((reward) => methodTable(records, base, reward, choices, options)).filter(({ rows }) => rows.length > 0);
  const equalEvaluations = methods.map(({ reward }) => equalEvaluationsTable(records, base, reward, choices, options));
  const beta = betaTable(records, base, choices, options);
  const preference = preferenceByBeta(records, base, options);
  const matched = matchedReward(records, base, choices);
  const speed = timeToQuality(records, base, choices, options);
  return {
    prompts: base.prompts.length,
    runs: records.length,
    choices,
    methods,
    equalEvaluations,
    beta,
    divergences: await divergenceTable(options.backend ?? referenceBackend(() => new Float64Array()), { seed: options.seed, samples: 100_000 }),
    costs: options.costs ?? null,
    bases: baseTable(records, base, metrics, options),
    preference,
    curves: trainingCurves(records, base, choices, metrics),
    matched,
    speed: speed.map(({ row }) => row),
    claims: judgeClaims({ records, base, choices, beta, preference, speed, matched, options }),
    studies: userStudies(records, base, choices, methods, { ...paperStudy, seed: options.seed }, { seed: options.seed, resamples: Math.min(500, options.resamples) }),
  };
}
