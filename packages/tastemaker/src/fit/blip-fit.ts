import { type Blip, blipImageTokens, blipJointClass, type Checkpoint, checkTokenIds, encodeSafetensors, linear, type Scope, shorterSideCrop } from "@tastemaker/diffusion";
import { reshape, type Tensor, weight } from "@tastemaker/tensor";
import { blipTextLength, openBlipFiles } from "../rewards/blip-reward.ts";
import { openRewardFile } from "../rewards/reward-files.ts";
import { openRewardTokenizer } from "../rewards/reward-tokenizer.ts";
import { tokenizerFiles } from "./copied-files.ts";
import type { OpenedFit } from "./fit-model.ts";
import { pixelInput } from "./pixel-input.ts";

/** Share of the layers that ImageReward trains; the first 70 % stay. */
const trainedShare = 0.3;

/** Number and width of the head's layers, as published (dropout lay at the numbers between), for a text tower of 768. */
const publishedHead = [[0, 1024], [2, 128], [4, 64], [6, 16], [7, 1]] as const;

/** The head that a file holds, or a new one in the published proportions. */
function headLayers(weights: Checkpoint, width: number): (readonly [number: number, width: number])[] {
  const numbers = weights.keys().flatMap((key) => /^mlp\.layers\.(\d+)\.weight$/.exec(key)?.[1] ?? []).map(Number).sort((a, b) => a - b);
  if (numbers.length > 0) return numbers.map((number) => [number, weights.shapeOf(`mlp.layers.${number}.weight`)![0]!]);
  return publishedHead.map(([number, size]) => [number, size === 1 ? 1 : Math.max(4, Math.round((size * width) / 768))]);
}

/** Which parameters are trained: the last layers of both towers with what comes after them, and the head. */
export function blipTraining({ vision, text }: Pick<Blip, "vision" | "text">, last: number | undefined): (key: string) => boolean {
  const first = (layers: number): number => layers - Math.min(layers, last ?? Math.ceil(layers * trainedShare));
  const firsts = { blocks: first(vision.layers), layer: first(text.layers) };
  return (key) => {
    const layer = /^blip\.(?:visual_encoder\.(blocks)|text_encoder\.encoder\.(layer))\.(\d+)\./.exec(key);
    if (layer === null) return /^(?:mlp\.|blip\.visual_encoder\.norm\.)/.test(key);
    return Number(layer[3]) >= firsts[(layer[1] ?? layer[2]) as keyof typeof firsts];
  };
}

/**
 * ImageReward (Xu et al. 2023, arXiv 2304.05977): a BLIP whose text looks at the picture, an affine head on its class token, trained on choices (Bradley–Terry).
 *
 * @param from A BLIP, for a new head, or an ImageReward. @param last See `blipTraining`.
 * @throws UsageError whatever the files give reason to
 */
export async function blipFit(from: string, vocabulary: string | undefined, last: number | undefined): Promise<OpenedFit> {
  const { path, blip, head, folder } = await openBlipFiles(from);
  const { weights } = await openRewardFile(from);
  const tokenizer = await openRewardTokenizer("bert", folder, vocabulary);
  const layers = headLayers(weights, blip.text.width);
  const stored = blip.scope();
  const textSpec = (count: number): { shape: readonly [number, number]; dtype: "int32" } => ({ shape: [count, blipTextLength], dtype: "int32" });
  const applyHead = (scope: Scope, x: Tensor): Tensor => {
    let y = x;
    for (const [number, width] of layers) y = linear(scope.at(`mlp.layers.${number}`), y, width);
    return reshape(y, [y.shape[0]!]);
  };
  const { vision, text } = blip;
  return {
    name: "image-reward",
    path,
    weightFiles: [path],
    usualRate: vision.width >= 512 ? 1e-5 : 2e-4,
    usualPasses: 4,
    picture: pixelInput(shorterSideCrop(vision.imageSize, "half-even")),
    isTrained: blipTraining(blip, last),
    stored: (key, shape) => {
      if (key.startsWith("blip.")) return stored.get(key.slice("blip.".length), shape);
      return head === undefined ? undefined : weight(weights.take(key, shape));
    },
    textInputs: (count) => ({ input_ids: textSpec(count), attention_mask: textSpec(count) }),
    textsOf: (prompts) => {
      const { ids, mask } = tokenizer.encode(prompts, blipTextLength);
      checkTokenIds(ids, text.vocabulary, `tokenizer of ${path}`);
      return { input_ids: ids, attention_mask: mask };
    },
    score: (scope, pictures, texts) => {
      const below = scope.at("blip");
      return applyHead(scope, blipJointClass(below, blip, texts["input_ids"]!, texts["attention_mask"]!, blipImageTokens(below, blip, pictures)));
    },
    files: async (values, parameters) => {
      const json = {
        vision: { heads: vision.heads, image_size: vision.imageSize, layer_norm_eps: vision.eps },
        text: { heads: text.heads, layer_norm_eps: text.eps },
      };
      const tensors = new Map(parameters.map(({ key, shape }) => [key, { dtype: "F16" as const, shape, data: values.get(key)! }]));
      return new Map<string, string | Uint8Array>([
        ...(await tokenizerFiles("bert", folder, vocabulary)),
        ["config.json", `${JSON.stringify(json, null, 2)}\n`],
        ["model.safetensors", encodeSafetensors(tensors, new Map([["format", "pt"]]))],
      ]);
    },
  };
}
