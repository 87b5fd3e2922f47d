import { convolution, groupNormalization, linear, type Parameter, collectParameters, type Scope } from "@tastemaker/diffusion";
import { add, concat, input, mean, reshape, silu, type Tensor } from "@tastemaker/tensor";
import { colors, objects, sizes, styles } from "./vocabulary.ts";

/** Classes of each head; the last class of `right`, `bottom` means "none". */
export const judgeHeads = {
  left: objects.length,
  right: objects.length + 1,
  top: colors.length,
  bottom: colors.length + 1,
  style: styles.length,
  size: sizes.length,
} as const;

export type JudgeHead = keyof typeof judgeHeads;

const GROUPS = 8;

function block(scope: Scope, x: Tensor, out: number): Tensor {
  const h = silu(groupNormalization(scope.at("norm1"), convolution(scope.at("conv1"), x, out, { kernel: 3, stride: 2, padding: 1 }), GROUPS, 1e-5));
  return add(h, silu(groupNormalization(scope.at("norm2"), convolution(scope.at("conv2"), h, out, { kernel: 3, padding: 1 }), GROUPS, 1e-5)));
}

/**
 * The network that measures pictures of the emoji world and is never a loss: which object stands left (or alone) and right, the colours above
 * and below, style and size. Shares nothing with any other network.
 *
 * @param image `[B, 3, 64, 64]` in [0, 1].
 * @returns Logits `[B, classes]` per head.
 */
export function judge(scope: Scope, image: Tensor, width: number): Record<JudgeHead, Tensor> {
  const batch = image.shape[0]!;
  let h = convolution(scope.at("stem"), image, width, { kernel: 3, padding: 1 });
  for (const [i, factor] of [1, 2, 4, 6].entries()) h = block(scope.at(`blocks.${i}`), h, width * factor);
  // Position matters (left and right objects, upper and lower colours), so the 4×4 map is kept, beside its mean.
  const features = concat([reshape(h, [batch, -1]), mean(h, [2, 3])], 1);
  const hidden = silu(linear(scope.at("hidden"), features, 8 * width));
  return Object.fromEntries(Object.entries(judgeHeads).map(([name, classes]) => [name, linear(scope.at(`heads.${name}`), hidden, classes)])) as Record<JudgeHead, Tensor>;
}

/** Every parameter of the judge. */
export function judgeParameters(width: number): Parameter[] {
  return collectParameters((scope) => {
    judge(scope, input("image", [1, 3, 64, 64]), width);
  });
}
