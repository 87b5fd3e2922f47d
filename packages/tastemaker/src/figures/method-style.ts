import type { Method } from "../experiment/run-record.ts";
import type { LineStyle } from "./marks.ts";

/** How a method is drawn and called in every figure. ROCM's five are solid lines; the methods it is compared with are dashed. */
export interface MethodStyle extends LineStyle {
  readonly label: string;
}

/**
 * The colours were searched for: near familiar hues, a contrast of 3:1 or more on white, and as far apart as that allows (CIE 1976 distance of 20 or more)
 * for people who see all colours and for those who lack red, green, or blue cones (simulated after Machado, Oliveira, Fernandes 2009).
 */
export const methodStyles: Readonly<Record<Method, MethodStyle>> = {
  "rocm-none": { label: "ROCM, β = 0", colour: "#1a1b1d", dash: "", marker: "circle", isHollow: true },
  "rocm-js": { label: "ROCM-JS", colour: "#179edc", dash: "", marker: "square", isHollow: false },
  "rocm-kl": { label: "ROCM-KL", colour: "#0432a0", dash: "", marker: "circle", isHollow: false },
  "rocm-hellinger": { label: "ROCM-Hellinger", colour: "#006d47", dash: "", marker: "diamond", isHollow: false },
  "rocm-fisher": { label: "ROCM-Fisher", colour: "#ab1ee6", dash: "", marker: "triangle", isHollow: false },
  rlcm: { label: "RLCM", colour: "#a8340b", dash: "7 3", marker: "square", isHollow: true },
  ddpo: { label: "DDPO", colour: "#c6890b", dash: "2.5 2.5", marker: "triangle-down", isHollow: true },
  d3po: { label: "D3PO", colour: "#a3337e", dash: "8 3 2 3", marker: "diamond", isHollow: true },
  dpok: { label: "DPOK", colour: "#99948d", dash: "4 2", marker: "cross", isHollow: false },
};

/** Dark to light with rising β: lightness keeps the order in grey print (viridis without its last, pale part). */
const ramp = ["#440154", "#433d84", "#2f6a8f", "#1f968b", "#4cb36a", "#9bbf26"] as const;

/** The style of the `index`-th of `count` values of β in rising order. */
export function betaStyle(index: number, count: number): LineStyle {
  const markers = ["circle", "square", "triangle", "diamond", "triangle-down", "star"] as const;
  const place = count < 2 ? 0 : Math.round((index * (ramp.length - 1)) / (count - 1));
  return { colour: ramp[place]!, dash: "", marker: markers[index % markers.length]!, isHollow: false };
}

const metricNames: Readonly<Record<string, string>> = {
  "pick-score": "PickScore",
  hpsv2: "HPSv2",
  "clip-score": "CLIPScore",
  aesthetic: "Aesthetic",
  "blip-score": "BLIPScore",
  "image-reward": "ImageReward",
  gold: "Gold",
  "gold-appeal": "Gold appeal",
  judge: "Judge",
  diversity: "Diversity",
};

/** A metric's or reward's name as papers write it; unknown names stay as they are. */
export function metricLabel(name: string): string {
  return Object.hasOwn(metricNames, name) ? metricNames[name]! : name;
}
