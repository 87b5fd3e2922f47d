import type { EvaluationFile } from "./record.ts";

function cell(value: string | number): string {
  const text = String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

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
  return `${[head, ...lines].map((line) => line.map(cell).join(",")).join("\n")}\n`;
}
