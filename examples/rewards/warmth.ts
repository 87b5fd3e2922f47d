// Warm pictures: more red than blue. A traced function of the picture, so it can be trained on by gradient:
//   tastemaker train --reward warmth=examples/rewards/warmth.ts --iterations 50
import type { RewardModule } from "tastemaker";

export default {
  describe: "Warm pictures: more red than blue.",
  unit: "mean of red minus blue",
  typicalRange: [-1, 1],
  trace: (image, { ops }) => {
    const red = ops.sliceAxis(image, 1, 0, 1);
    const blue = ops.sliceAxis(image, 1, 2, 3);
    return ops.mean(ops.sub(red, blue), [1, 2, 3]);
  },
} satisfies RewardModule;
