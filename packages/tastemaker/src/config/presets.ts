import { unknownNameError } from "@tastemaker/tensor";
import type { Override } from "./load-config.ts";

const plain = { objective: "rocm", "divergence.kind": "none", beta: 0 } as const;

/**
 * Published methods that go through the reward's gradient without a divergence, as settings of the objective rocm: which steps carry gradient, and AlignProp's optimiser, whose code
 * trains an adapter as this does. DRaFT has no published code, and ReFL's trains the whole network, so their other settings are the usual ones.
 */
const presets: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
  draft: plain,
  "draft-k": { ...plain, backpropSteps: 1 },
  alignprop: { ...plain, backpropSteps: "random", learningRate: 1e-3, weightDecay: 1e-4, maxGradNorm: 1, "lora.rank": 4, "lora.alpha": 4 },
  refl: { ...plain, backpropSteps: "predicted" },
};

export const presetNames: readonly string[] = Object.keys(presets);

/** The settings of a preset. @throws UsageError `unknown-name` */
export function presetOverrides(name: string): Override[] {
  if (!Object.hasOwn(presets, name)) throw unknownNameError("--preset", name, presetNames);
  return Object.entries(presets[name]!).map(([path, value]) => ({ path, value, option: `--preset ${name}` }));
}
