// The colour that the prompt names. A trace never sees a prompt: `prompt` turns it into numbers, which arrive as the tensor inputs.colour, [B, 3].
//   tastemaker train --reward clip-score,named-colour:0.5=examples/rewards/named-colour.ts --iterations 50
import type { RewardModule } from "tastemaker";

const colours: Readonly<Record<string, readonly [number, number, number]>> = {
  red: [0.85, 0.15, 0.15],
  green: [0.2, 0.65, 0.25],
  blue: [0.15, 0.35, 0.85],
  yellow: [0.95, 0.8, 0.2],
};

export default {
  describe: "How near the picture's mean colour is to the colour that the prompt names; grey where it names none.",
  unit: "minus squared distance in RGB",
  typicalRange: [-1, 0],
  prompt: {
    inputs: { colour: [3] },
    values: (prompt) => ({ colour: colours[prompt.split(" ").find((word) => Object.hasOwn(colours, word)) ?? ""] ?? [0.5, 0.5, 0.5] }),
  },
  trace: (image, { ops, inputs }) => {
    const mean = ops.mean(image, [2, 3]);
    return ops.neg(ops.sum(ops.square(ops.sub(mean, inputs["colour"]!)), 1));
  },
} satisfies RewardModule;
