import { UsageError } from "@tastemaker/tensor";

/** What one tensor of an adapter file is. */
export interface LoraKey {
  /** Module path below the U-Net, e.g. `mid_block.attentions.0.transformer_blocks.0.attn1.to_q`; undefined when no known module has this name. */
  readonly module: string | undefined;
  /** The module as the file writes it, for messages. */
  readonly writtenModule: string;
  readonly part: "down" | "up" | "alpha";
}

/** Endings of the known styles, longest first where one contains another. */
const endings: readonly (readonly [ending: RegExp, part: LoraKey["part"]])[] = [
  [/\.lora_A(?:\.default)?\.weight$/, "down"],
  [/\.lora_B(?:\.default)?\.weight$/, "up"],
  [/\.lora_down\.weight$/, "down"],
  [/\.lora_up\.weight$/, "up"],
  [/\.lora(?:_linear_layer)?\.down\.weight$/, "down"],
  [/\.lora(?:_linear_layer)?\.up\.weight$/, "up"],
  [/_lora\.down\.weight$/, "down"],
  [/_lora\.up\.weight$/, "up"],
  [/(?:\.lora|_lora)?\.alpha$/, "alpha"],
];

/**
 * Reads the keys of LoRA files for a U-Net. Styles: PEFT (`unet.<m>.lora_A.weight`, with or without `base_model.model.` and `unet.`), kohya
 * (`lora_unet_<m with _>.lora_down.weight`, `.alpha`), diffusers (`unet.<m>.lora.down.weight`), attention processors
 * (`unet.<attention>.processor.to_q_lora.down.weight`).
 *
 * @param modules Every module path of the model that can carry an adapter; resolves kohya's underscores.
 */
export function loraKeyReader(modules: readonly string[]): (key: string, where: string) => LoraKey {
  const known = new Set(modules);
  const byUnderscores = new Map(modules.map((module) => [module.replaceAll(".", "_"), module]));
  return (key, where) => {
    if (/^(text_encoder|lora_te|base_model\.model\.text_encoder|te\d?_)/.test(key)) {
      throw new UsageError("lora-text-encoder", `adapter: expected tensors of a U-Net only, got "${key}" (at ${where})`, "adapters of text encoders are not supported; export the U-Net part alone");
    }
    if (/dora_scale|lora_magnitude_vector|hada_|lokr_|lora_mid|lora_B\.bias|lora_embedding_/.test(key)) {
      throw new UsageError("lora-kind", `adapter: expected a plain LoRA (down and up matrices), got "${key}" (at ${where})`, "DoRA, LoHa, LoKr, LoCon and adapters with biases are not supported");
    }
    const match = endings.map(([ending, part]) => ({ found: ending.exec(key), part })).find(({ found }) => found !== null);
    if (match?.found === undefined || match.found === null) {
      throw new UsageError("lora-key", `adapter: expected keys such as unet.<module>.lora_A.weight, got "${key}" (at ${where})`, "the file is not a LoRA adapter");
    }
    const written = key.slice(0, match.found.index);
    if (written.startsWith("lora_unet_")) {
      const name = written.slice("lora_unet_".length);
      return { module: byUnderscores.get(name), writtenModule: name, part: match.part };
    }
    let path = written.replace(/^base_model\.model\./, "").replace(/^unet\./, "");
    // `attn1.processor.to_out_lora` belongs to the first of the two modules of `to_out` (the second is dropout).
    path = path.replace(/\.processor\.(to_[a-z]+)$/, (_, name: string) => (name === "to_out" ? ".to_out.0" : `.${name}`));
    return { module: known.has(path) ? path : undefined, writtenModule: path, part: match.part };
  };
}
