import { clipImageEmbedding, encodeSafetensors, linear, normalizePixels, type Parameter, collectParameters, type Scope } from "@tastemaker/diffusion";
import { type Backend, div, gelu, input, mean, neg, permutation, program, reshape, softplus, sqrt, square, sub, sum, type Tensor, uniform } from "@tastemaker/tensor";
import { Progress } from "../../cli/progress.ts";
import type { ClipNetwork } from "../../rewards/clip-network.ts";
import type { Stage } from "../../pretrain/stage.ts";
import { trainableScope, trainingProgram } from "../../pretrain/trainable.ts";
import { tensorsOf } from "../../pretrain/unet-stage.ts";
import type { EmojiImages } from "./emoji-images.ts";
import { drawPreference, goldTaste } from "./gold-taste.ts";

const layers = [128, 1] as const;
const pictureCount = 6000;
const batch = 256;
const embedBatch = 64;

/** The head on embeddings of length 1: [B, E] → [B]. */
function head(scope: Scope, x: Tensor): Tensor {
  const hidden = gelu(linear(scope.at("layers.0"), x, layers[0]));
  return reshape(linear(scope.at("layers.1"), hidden, 1), [x.shape[0]!]);
}

const headParameters = (width: number): Parameter[] =>
  collectParameters((scope) => {
    head(scope, input("x", [1, width]));
  });

/** Embeddings of length 1 of the first pictures of a source, and their gold taste. */
async function embedPictures(images: EmojiImages, count: number, clip: ClipNetwork, backend: Backend): Promise<{ embeddings: Float32Array; gold: Float64Array }> {
  const raw = clipImageEmbedding(clip.scope(), clip.config, normalizePixels(input("image", [embedBatch, 3, images.imageSize, images.imageSize])));
  const executable = await backend.compile(program({ embedding: div(raw, sqrt(sum(square(raw), 1, true))) }));
  const width = clip.config.projection;
  const embeddings = new Float32Array(count * width);
  const gold = new Float64Array(count);
  const each = 3 * images.imageSize ** 2;
  const progress = new Progress({ label: "embedding pictures", total: count });
  for (let start = 0; start < count; start += embedBatch) {
    const { pixels } = images.sampleBatch(Array.from({ length: embedBatch }, (_, i) => start + i));
    const { embedding } = await executable.run({ image: pixels });
    const real = Math.min(embedBatch, count - start);
    embeddings.set((embedding!.data as Float32Array).subarray(0, real * width), start * width);
    for (let i = 0; i < real; i++) gold[start + i] = goldTaste(pixels.subarray(i * each, (i + 1) * each), 1);
    progress.update(start + real);
  }
  progress.finish();
  await executable.dispose();
  return { embeddings, gold };
}

/**
 * Training the world's taste: an MLP on the mini-CLIP's picture embedding, from noisy pairwise choices (Bradley–Terry) of the hidden gold taste
 * on real renders. Scores are scaled to mean 0 and standard deviation 1 over real renders at the end.
 */
export async function tasteHeadStage(images: EmojiImages, heldOut: EmojiImages, clip: ClipNetwork, seed: number, backend: Backend): Promise<Stage> {
  const width = clip.config.projection;
  const parameters = headParameters(width);
  const train = await embedPictures(images, pictureCount, clip, backend);
  const test = await embedPictures(heldOut, 1024, clip, backend);
  const scope = trainableScope("");
  const preferred = head(scope, input("preferred", [batch, width]));
  const other = head(scope, input("other", [batch, width]));
  const loss = mean(softplus(neg(sub(preferred, other))));
  const scoring = program({ score: head(trainableScope(""), input("x", [1024, width])) });
  const score = async (average: ReadonlyMap<string, Float32Array>, embeddings: Float32Array): Promise<Float32Array> => {
    const executable = await backend.compile(scoring);
    const outputs = await executable.run({ ...Object.fromEntries(average), x: embeddings.subarray(0, 1024 * width) });
    await executable.dispose();
    return outputs["score"]!.data as Float32Array;
  };
  return {
    name: "taste head",
    parameters,
    optimizer: { beta1: 0.9, beta2: 0.99, epsilon: 1e-8, weightDecay: 0.01, maxGradNorm: 1 },
    learningRate: 2e-3,
    warmupSteps: 20,
    averageDecay: 0.98,
    phases: [
      {
        until: 1,
        batch,
        program: trainingProgram(loss, {}, parameters.map(({ key }) => key)),
        feeds: async (seen) => {
          const order = permutation({ seed, stream: "taste-pairs", indices: [Math.floor(seen / batch)] }, pictureCount);
          const [winners, losers] = [new Float32Array(batch * width), new Float32Array(batch * width)];
          for (let row = 0; row < batch; row++) {
            const [a, b] = [order[2 * row]!, order[2 * row + 1]!];
            const isFirst = drawPreference(train.gold[a]!, train.gold[b]!, { seed, index: seen + row });
            winners.set(train.embeddings.subarray((isFirst ? a : b) * width, ((isFirst ? a : b) + 1) * width), row * width);
            losers.set(train.embeddings.subarray((isFirst ? b : a) * width, ((isFirst ? b : a) + 1) * width), row * width);
          }
          return { preferred: winners, other: losers };
        },
      },
    ],
    sample: async (average) => {
      const scores = await score(average, test.embeddings);
      const draws = uniform({ seed, stream: "taste-test", indices: [] }, 4000);
      let right = 0;
      for (let i = 0; i < 2000; i++) {
        const [a, b] = [Math.floor(draws[2 * i]! * 1024), Math.floor(draws[2 * i + 1]! * 1024)];
        if (scores[a]! > scores[b]! === test.gold[a]! > test.gold[b]!) right++;
      }
      return { scores: { agreement: right / 2000 } };
    },
    finish: async (average) => {
      const scores = await score(average, train.embeddings);
      const center = scores.reduce((total, v) => total + v, 0) / scores.length;
      const deviation = Math.sqrt(scores.reduce((total, v) => total + (v - center) ** 2, 0) / scores.length);
      const scaled = new Map(average);
      scaled.set("layers.1.weight", average.get("layers.1.weight")!.map((v) => v / deviation));
      scaled.set("layers.1.bias", average.get("layers.1.bias")!.map((v) => (v - center) / deviation));
      const json = {
        clip: "../clip",
        layers,
        activation: "gelu",
        unit: "standard deviations of real pictures",
        typicalRange: [-3, 3],
        source: "an MLP on the mini-CLIP's embedding, trained on noisy choices of the emoji world's hidden taste",
      };
      return new Map<string, string | Uint8Array>([
        ["aesthetic/config.json", `${JSON.stringify(json, null, 2)}\n`],
        ["aesthetic/model.safetensors", encodeSafetensors(tensorsOf(scaled, parameters, ""))],
      ]);
    },
  };
}
