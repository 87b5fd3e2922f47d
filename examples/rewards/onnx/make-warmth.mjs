// A scorer as an ONNX file, made with Tastemaker's own encoder: warm pictures, more red than blue. Any other exporter will do.
//   node examples/rewards/onnx/make-warmth.mjs warmth.onnx
//   tastemaker train --reward warm=warmth.onnx --iterations 50
import { writeFileSync } from "node:fs";
import { constant, encodeProgram, matmul, mean, reshape, tanh, trace } from "@tastemaker/tensor";

const program = trace(
  ({ image }) => {
    // [1, 3, 32, 32] → the mean of each channel [1, 3] → one number [1, 1].
    const channels = mean(image, [2, 3]);
    const warmth = matmul(channels, constant([1, 0, -1], [3, 1]));
    return { score: reshape(tanh(warmth), [1, 1]) };
  },
  { image: { shape: [1, 3, 32, 32] } },
);
const { model } = encodeProgram(program, { provider: "cpu", convInputGradient: "flip" });
writeFileSync(process.argv[2] ?? "warmth.onnx", model);
