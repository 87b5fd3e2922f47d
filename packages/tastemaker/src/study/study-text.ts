import { percent } from "../evaluate/table.ts";
import { formatNumber } from "../report/html.ts";
import type { StudyAnalysis } from "./analyse-study.ts";

const inPercent = (value: number): string => (100 * value).toFixed(1);
const orDash = (value: number | null, digits = 2): string => (value === null ? "–" : formatNumber(value, digits));

/** An analysis as lines of text: win rates, strengths where there are more than two methods, people. */
export function studyLines({ matches, strengths, annotators }: StudyAnalysis): string[] {
  const lines: string[] = [];
  for (const [index, match] of matches.entries()) {
    const { first, second, question, answers, pairs, rate, low, high, wins, ties, losses } = match;
    const before = matches[index - 1];
    if (before?.first !== first || before.second !== second) lines.push(...(index > 0 ? [""] : []), `${first} against ${second}: ${pairs} pairs, ${match.annotators} annotator${match.annotators === 1 ? "" : "s"}; win rate with ties as half, 95 % interval between pairs and annotators`);
    const interval = low === null || high === null ? "" : ` (${inPercent(low)} … ${inPercent(high)})`;
    lines.push(`  ${question.padEnd(18)}  ${inPercent(rate)} %${interval}   wins ${percent(wins)}, ties ${percent(ties)}, losses ${percent(losses)} of ${answers}   agreement: Fleiss' κ ${orDash(match.fleissKappa)}, Krippendorff's α ${orDash(match.krippendorffAlpha)}`);
  }
  if (new Set(strengths.map(({ method }) => method)).size > 2) {
    const isApart = strengths.some(({ group }) => group !== undefined);
    lines.push("", `Bradley-Terry strengths (logarithm of odds, mean 0${isApart ? " in each group: methods of different groups were never compared, directly or over others" : ""})`);
    for (const { question, group, method, strength, low, high } of strengths) lines.push(`  ${question.padEnd(18)}${isApart ? `  group ${group ?? 1}` : ""}  ${method}  ${strength.toFixed(2)}${low === null || high === null ? "" : ` (${low.toFixed(2)} … ${high.toFixed(2)})`}`);
  }
  lines.push("", "annotators: answers, ties, share for the left picture, agreement with most of the others");
  for (const { annotator, answers, ties, left, withMajority } of annotators) lines.push(`  ${annotator}  ${answers}  ${percent(ties)}  ${left === null ? "–" : percent(left)}  ${withMajority === null ? "–" : percent(withMajority)}`);
  return lines;
}
