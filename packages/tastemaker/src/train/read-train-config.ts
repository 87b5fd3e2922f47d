import { join } from "node:path";
import { UsageError } from "@tastemaker/tensor";
import { type TrainConfig, trainConfigSchema } from "../config/train-config.ts";
import { readRunRecord } from "../storage/run-directory.ts";

/** The configuration of a training run, from its directory. @throws UsageError `run-missing`, `run-kind`, `run-damaged` */
export async function readTrainConfig(root: string): Promise<TrainConfig> {
  const record = await readRunRecord(root);
  if (record.kind !== "train") throw new UsageError("run-kind", `run directory: expected a training run, got one of \`tastemaker ${record.kind}\` (at ${root})`, "give the folder that `tastemaker train` printed; pretraining continues with its own command");
  const parsed = trainConfigSchema.safeParse(record.config);
  if (parsed.success) return parsed.data;
  throw new UsageError("run-damaged", `run directory: expected a training configuration, got ${parsed.error.issues[0]?.message} (at ${join(root, "run.json")}, setting ${parsed.error.issues[0]?.path.join(".")})`, "run.json was edited or written by another version");
}
