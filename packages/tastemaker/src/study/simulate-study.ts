import { InternalError, normal, permutation, uniform } from "@tastemaker/tensor";
import { type Answer, type Question, questions } from "./answers.ts";

/** What stands for a person's look at a picture, prompt by prompt, higher is better. */
export interface PictureQualities {
  readonly gold: readonly number[];
  readonly appeal: readonly number[];
  readonly alignment: readonly number[];
}

/** Two methods with pictures for the same prompts. */
export interface StudyMatch {
  readonly methodA: string;
  readonly methodB: string;
  readonly prompts: readonly string[];
  readonly a: PictureQualities;
  readonly b: PictureQualities;
  /** Reference of a picture, such as its path. */
  readonly picture: (method: string, prompt: number) => string;
}

export interface StudySettings {
  readonly seed: number;
  /** Pairs shown; fewer where there are fewer prompts. */
  readonly pairs: number;
  readonly annotators: number;
  /** How differently people weigh the three qualities: standard deviation of the logarithm of their weights. */
  readonly weightSpread: number;
  /** Noise of a single answer in standard deviations of the qualities' differences (scale of a logistic distribution), and the standard deviation of its logarithm between people. */
  readonly temperature: number;
  readonly temperatureSpread: number;
  /** Differences that a person calls a tie, in the same unit: mean over people (exponentially distributed). */
  readonly tieThreshold: number;
  /** Standard deviation over people of what a picture on the left is worth to them. */
  readonly positionBias: number;
}

/** The paper's protocol: 300 pairs, 10 people. The people's noise is ours. */
export const paperStudy: Omit<StudySettings, "seed"> = { pairs: 300, annotators: 10, weightSpread: 0.4, temperature: 0.5, temperatureSpread: 0.4, tieThreshold: 0.15, positionBias: 0.1 };

/** Weights of gold, appeal and alignment in each question; a person's own are these times e^(spread·z). */
const questionWeights: Readonly<Record<Question, readonly [number, number, number]>> = {
  "general preference": [1, 0.3, 0.3],
  "visual appeal": [0.2, 1, 0.05],
  "prompt alignment": [0.1, 0.05, 1],
};

interface Person {
  readonly name: string;
  readonly weights: readonly (readonly number[])[];
  readonly temperature: number;
  readonly tie: number;
  readonly bias: number;
}

function personOf(index: number, { seed, weightSpread, temperature, temperatureSpread, tieThreshold, positionBias }: StudySettings): Person {
  const z = normal({ seed, stream: "study/person", indices: [index] }, 2 + 3 * questions.length);
  const [u] = uniform({ seed, stream: "study/person-ties", indices: [index] }, 1);
  return {
    name: `annotator-${String(index + 1).padStart(2, "0")}`,
    weights: questions.map((question, place) => questionWeights[question].map((weight, part) => weight * Math.exp(weightSpread * z[2 + 3 * place + part]!))),
    temperature: temperature * Math.exp(temperatureSpread * z[0]!),
    tie: -tieThreshold * Math.log(u!),
    bias: positionBias * z[1]!,
  };
}

/** B minus A, in standard deviations of the differences over the prompts (around 0, so that a constant lead stays one). */
function scaledDifferences({ a, b }: StudyMatch): number[][] {
  return ([a.gold, a.appeal, a.alignment] as const).map((list, part) => {
    const other = [b.gold, b.appeal, b.alignment][part]!;
    if (list.length !== other.length) throw new InternalError(`study: expected as many qualities of both methods, got ${list.length} and ${other.length}`);
    const differences = list.map((value, prompt) => other[prompt]! - value);
    const spread = Math.sqrt(differences.reduce((sum, value) => sum + value ** 2, 0) / differences.length);
    return differences.map((value) => (spread > 0 ? value / spread : 0));
  });
}

/**
 * Answers of simulated people, as the file of a real study would have them. Every draw is addressed by seed, pair, person and question: leaving people or pairs out changes no
 * other answer.
 */
export function simulateStudy(match: StudyMatch, settings: StudySettings): Answer[] {
  const { seed, pairs, annotators } = settings;
  const { methodA, methodB, prompts, picture } = match;
  const differences = scaledDifferences(match);
  const people = Array.from({ length: annotators }, (_, index) => personOf(index, settings));
  const chosen = [...permutation({ seed, stream: "study/prompts", indices: [] }, prompts.length)].slice(0, pairs);
  return chosen.flatMap((prompt, pair) =>
    people.flatMap((person, annotator) => {
      // Sides are drawn anew for every person, so that a habit of looking left is no advantage for a method.
      const [side, ...noise] = uniform({ seed, stream: "study/answers", indices: [pair, annotator] }, 1 + questions.length);
      const aSide = side! < 0.5 ? "left" : "right";
      return questions.map((question, place): Answer => {
        const weights = person.weights[place]!;
        const sum = weights.reduce((all, weight) => all + weight, 0);
        const lead = weights.reduce((all, weight, part) => all + (weight / sum) * differences[part]![prompt]!, 0);
        const felt = lead + (aSide === "left" ? -person.bias : person.bias) + person.temperature * Math.log(noise[place]! / (1 - noise[place]!));
        const answer = Math.abs(felt) < person.tie ? "tie" : felt > 0 ? "B" : "A";
        return { pair: `pair-${String(pair + 1).padStart(3, "0")}`, prompt: prompts[prompt]!, methodA, methodB, pictureA: picture(methodA, prompt), pictureB: picture(methodB, prompt), aSide, annotator: person.name, question, answer };
      });
    }),
  );
}
