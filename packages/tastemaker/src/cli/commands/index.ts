import type { Command } from "commander";
import { register as registerDemo } from "./demo.ts";
import { register as registerDistill } from "./distill.ts";
import { register as registerDoctor } from "./doctor.ts";
import { register as registerEvaluate } from "./evaluate.ts";
import { register as registerExperiment } from "./experiment.ts";
import { register as registerExport } from "./export.ts";
import { register as registerFetch } from "./fetch.ts";
import { register as registerGenerate } from "./generate.ts";
import { register as registerInspect } from "./inspect.ts";
import { register as registerPretrain } from "./pretrain.ts";
import { register as registerReplay } from "./replay.ts";
import { register as registerReport } from "./report.ts";
import { register as registerResume } from "./resume.ts";
import { register as registerReward } from "./reward.ts";
import { register as registerScore } from "./score.ts";
import { register as registerStudy } from "./study.ts";
import { register as registerTokenize } from "./tokenize.ts";
import { register as registerTrain } from "./train.ts";
import { register as registerWorld } from "./world.ts";

/**
 * Registers every command, in the order of the help text. A command file holds options and help only; what does the work is imported when
 * the command runs. A command with an engine is registered as
 * `registerTrain(program, async () => (await import("../../train/train-command.ts")).runTrain)`.
 */
export function registerCommands(program: Command): void {
  registerGenerate(program, async () => (await import("../../generate/generate-command.ts")).runGenerate);
  registerTrain(program, async () => (await import("../../train/train-command.ts")).runTrain);
  registerResume(program, async () => (await import("../../train/train-command.ts")).runResume);
  registerEvaluate(program, async () => (await import("../../evaluate/evaluate-command.ts")).runEvaluate);
  registerScore(program, async () => (await import("../../score/score-command.ts")).runScore);
  registerReward(program, async () => (await import("../../fit/fit-command.ts")).runRewardFit, async () => (await import("../../fit/check-command.ts")).runRewardCheck);
  registerExport(program, async () => (await import("../../export/export-command.ts")).runExport);
  registerFetch(program, async () => (await import("../../hub/fetch-command.ts")).runFetch);
  registerDemo(program, async () => (await import("../../demo/demo-command.ts")).runDemo);
  registerPretrain(program, async () => (await import("../../pretrain/pretrain-command.ts")).runPretrain);
  registerDistill(program, async () => (await import("../../pretrain/pretrain-command.ts")).runDistill);
  registerWorld(program, async () => (await import("../../worlds/emoji/world-command.ts")).runWorld);
  registerExperiment(program, async () => (await import("../../experiment/experiment-command.ts")).runExperiment);
  registerReplay(program, async () => (await import("../../replay/replay-command.ts")).runReplay);
  registerStudy(program, async () => (await import("../../study/study-command.ts")).runStudy);
  registerReport(program);
  registerInspect(program);
  registerTokenize(program);
  registerDoctor(program);
}
