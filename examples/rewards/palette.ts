// Few colours, as in flat design. Plain numbers from 8-bit pictures: any code, any library, but no gradient.
//   tastemaker score --reward palette=examples/rewards/palette.ts --image FOLDER
import type { RewardModule } from "tastemaker";

export default {
  describe: "Pictures of few colours: minus the number of different colours, four bits per channel.",
  unit: "minus colours",
  typicalRange: [-1000, 0],
  score: (pictures) =>
    pictures.map(({ pixels }) => {
      const colours = new Set<number>();
      for (let i = 0; i < pixels.length; i += 3) colours.add(((pixels[i]! >> 4) << 8) | ((pixels[i + 1]! >> 4) << 4) | (pixels[i + 2]! >> 4));
      return -colours.size;
    }),
} satisfies RewardModule;
