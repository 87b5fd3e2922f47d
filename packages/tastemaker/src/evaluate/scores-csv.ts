import { csvCell } from "../data/csv-cell.ts";
import type { EvaluationFile } from "./record.ts";

/** Every single score: one line per picture, one column per metric; numbers with all their digits. */
export function scoresCsv({ settings, prompts, metrics, variants }: Pick<EvaluationFile, "settings" | "prompts" | "metrics" | "variants">): string {
  const names = metrics.map(({ name }) => name);
  const head = ["variant", "prompt number", "prompt", "seed number", "picture sha256", ...names, "distance to base", "pixel distance to base"];
  const lines = variants.flatMap(({ label, pictures, measured }) =>
    pictures.map((hash, place) => {
      const prompt = Math.floor(place / settings.seeds);
      return [label, prompt, prompts.texts[prompt]!, place % settings.seeds, hash, ...names.map((name) => measured.scores[name]![place]!), measured.distance?.[place] ?? "", measured.pixels?.[place] ?? ""];
    }),
  );
  return `${[head, ...lines].map((line) => line.map((value) => csvCell(String(value))).join(",")).join("\n")}\n`;
}
