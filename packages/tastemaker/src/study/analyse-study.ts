import { uniform } from "@tastemaker/tensor";
import type { BootstrapOptions } from "../evaluate/bootstrap.ts";
import { wilson } from "../evaluate/cluster-statistics.ts";
import { meanOf, studentQuantile } from "../report/paired-statistics.ts";
import { fleissKappa, krippendorffAlpha } from "./agreement.ts";
import { type Answer, type Question, questions } from "./answers.ts";
import { bradleyTerry, connectedSets } from "./bradley-terry.ts";

/** What people say of one method against another. */
export interface MatchResult {
  readonly first: string;
  readonly second: string;
  readonly question: Question;
  readonly answers: number;
  readonly pairs: number;
  readonly annotators: number;
  /** Shares of answers. */
  readonly wins: number;
  readonly ties: number;
  readonly losses: number;
  /** Share won by the first, ties half, with its 95 % interval; null below two pairs or two annotators. */
  readonly rate: number;
  readonly low: number | null;
  readonly high: number | null;
  readonly fleissKappa: number | null;
  readonly krippendorffAlpha: number | null;
}

/** Strength of a method in the Bradley-Terry model of one question. */
export interface MethodStrength {
  readonly question: Question;
  readonly method: string;
  /** Which methods of the question were compared with each other, directly or over others, from 1: strengths of different groups cannot be compared. Absent where all were. */
  readonly group?: number;
  /** Natural logarithm of odds, mean 0 over the methods of the group. */
  readonly strength: number;
  readonly low: number | null;
  readonly high: number | null;
}

/** How one person answered. */
export interface AnnotatorResult {
  readonly annotator: string;
  readonly answers: number;
  readonly ties: number;
  /** Share of decided answers that went to the picture on the left: far from ½ is a habit. */
  readonly left: number | null;
  /** Share of answers that equal what most of the other people said of the same pair and question; null where there were no others. */
  readonly withMajority: number | null;
}

export interface StudyAnalysis {
  readonly matches: readonly MatchResult[];
  readonly strengths: readonly MethodStrength[];
  readonly annotators: readonly AnnotatorResult[];
}

/** An answer as a number for the method named first in the study. */
interface Vote {
  readonly pair: string;
  readonly annotator: string;
  /** 1: the first won, 0: the second, ½: a tie. */
  readonly value: number;
}

function groupBy<T>(items: readonly T[], key: (item: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>();
  for (const item of items) {
    const group = groups.get(key(item));
    if (group === undefined) groups.set(key(item), [item]);
    else group.push(item);
  }
  return groups;
}

/** Variance of the mean from sums of deviations within clusters, with the factor G/(G − 1) for few clusters. */
function clusterVariance(votes: readonly Vote[], mean: number, key: (vote: Vote) => string): number {
  const clusters = [...groupBy(votes, key).values()];
  const squares = clusters.reduce((sum, cluster) => sum + cluster.reduce((deviation, { value }) => deviation + value - mean, 0) ** 2, 0);
  return ((squares / votes.length ** 2) * clusters.length) / (clusters.length - 1);
}

/**
 * Variance of a mean of votes that go together within a pair and within a person: V(pairs) + V(people) − V(single votes), not below the larger of the first two.
 * Source: Cameron, Gelbach, Miller, "Robust inference with multiway clustering", Journal of Business & Economic Statistics 29(2), 2011.
 */
function twoWayVariance(votes: readonly Vote[], mean: number): number {
  const pairs = clusterVariance(votes, mean, ({ pair }) => pair);
  const people = clusterVariance(votes, mean, ({ annotator }) => annotator);
  const single = clusterVariance(votes, mean, ({ pair, annotator }) => JSON.stringify([pair, annotator]));
  return Math.max(pairs, people, pairs + people - single);
}

function ratingsOf(votes: readonly Vote[]): (string | null)[][] {
  const people = [...new Set(votes.map(({ annotator }) => annotator))];
  return [...groupBy(votes, ({ pair }) => pair).values()].map((list) => {
    const given = new Map(list.map(({ annotator, value }) => [annotator, String(value)]));
    return people.map((person) => given.get(person) ?? null);
  });
}

function matchResult(first: string, second: string, question: Question, votes: readonly Vote[]): MatchResult {
  const share = (value: number): number => votes.filter((vote) => vote.value === value).length / votes.length;
  const rate = meanOf(votes.map(({ value }) => value));
  const pairs = new Set(votes.map(({ pair }) => pair)).size;
  const annotators = new Set(votes.map(({ annotator }) => annotator)).size;
  const clusters = Math.min(pairs, annotators);
  const variance = clusters < 2 ? Number.NaN : twoWayVariance(votes, rate);
  const effective = Math.min(votes.length, Math.max(clusters, variance > 0 ? (rate * (1 - rate)) / variance : clusters));
  const ends = clusters < 2 ? { low: null, high: null } : wilson(rate, effective, studentQuantile(clusters - 1));
  const ratings = ratingsOf(votes);
  return { first, second, question, answers: votes.length, pairs, annotators, wins: share(1), ties: share(0.5), losses: share(0), rate, ...ends, fleissKappa: fleissKappa(ratings), krippendorffAlpha: krippendorffAlpha(ratings) };
}

/** Answers with the two methods in one order per match: that of its first answer. */
function orient(answers: readonly Answer[]): (Vote & { readonly question: Question; readonly first: string; readonly second: string })[] {
  const order = new Map<string, readonly [string, string]>();
  return answers.map(({ methodA, methodB, pair, annotator, question, answer }) => {
    const key = JSON.stringify([methodA, methodB].sort());
    const [first, second] = order.get(key) ?? [methodA, methodB];
    order.set(key, [first, second]);
    const value = answer === "tie" ? 0.5 : Number((answer === "A" ? methodA : methodB) === first);
    return { pair, annotator, question, first, second, value };
  });
}

type Oriented = ReturnType<typeof orient>[number];

/** Strengths of one question, group by group; intervals from bootstrap samples of pairs and people, crossed. */
function strengthsOf(question: Question, votes: readonly Oriented[], { seed, resamples }: BootstrapOptions): MethodStrength[] {
  const pairs = [...new Set(votes.map(({ pair }) => pair))];
  const people = [...new Set(votes.map(({ annotator }) => annotator))];
  const [pairPlace, personPlace] = [new Map(pairs.map((pair, place) => [pair, place])), new Map(people.map((person, place) => [person, place]))];
  const contests = [...groupBy(votes, ({ first, second }) => JSON.stringify([first, second])).values()].map((list) => ({
    first: list[0]!.first,
    second: list[0]!.second,
    values: Float64Array.from(list, ({ value }) => value),
    pairs: Uint32Array.from(list, ({ pair }) => pairPlace.get(pair)!),
    people: Uint32Array.from(list, ({ annotator }) => personPlace.get(annotator)!),
  }));
  const fit = (ofPairs: Float64Array, ofPeople: Float64Array): Map<string, number> =>
    bradleyTerry(
      contests.map(({ first, second, values, ...places }) => {
        let [wins, losses] = [0, 0];
        for (let i = 0; i < values.length; i++) {
          const weight = ofPairs[places.pairs[i]!]! * ofPeople[places.people[i]!]!;
          wins += weight * values[i]!;
          losses += weight * (1 - values[i]!);
        }
        return { first, second, wins, losses };
      }),
    );
  const found = fit(new Float64Array(pairs.length).fill(1), new Float64Array(people.length).fill(1));
  const clusters = Math.min(pairs.length, people.length);
  const samples = new Map([...found.keys()].map((method) => [method, [] as number[]]));
  for (let sample = 0; sample < (clusters < 2 ? 0 : resamples); sample++) {
    const draw = uniform({ seed, stream: "study/bootstrap", indices: [questions.indexOf(question), sample] }, pairs.length + people.length);
    const [ofPairs, ofPeople] = [new Float64Array(pairs.length), new Float64Array(people.length)];
    for (let i = 0; i < pairs.length; i++) ofPairs[Math.floor(draw[i]! * pairs.length)]! += 1;
    for (let i = 0; i < people.length; i++) ofPeople[Math.floor(draw[pairs.length + i]! * people.length)]! += 1;
    for (const [method, strength] of fit(ofPairs, ofPeople)) samples.get(method)!.push(strength);
  }
  const groups = connectedSets(contests);
  const isApart = new Set(groups.values()).size > 1;
  const strengths = [...found].map(([method, strength]): MethodStrength => {
    const list = samples.get(method)!;
    const about = { question, method, ...(isApart ? { group: groups.get(method)! } : {}), strength };
    if (list.length < 2) return { ...about, low: null, high: null };
    const mean = meanOf(list);
    const deviation = Math.sqrt(list.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (list.length - 1));
    const reach = studentQuantile(clusters - 1) * deviation;
    return { ...about, low: strength - reach, high: strength + reach };
  });
  return strengths.sort((a, b) => groups.get(a.method)! - groups.get(b.method)!);
}

function annotatorResults(answers: readonly Answer[]): AnnotatorResult[] {
  const items = groupBy(answers, ({ pair, question }) => JSON.stringify([pair, question]));
  return [...groupBy(answers, ({ annotator }) => annotator)].map(([annotator, own]) => {
    const decided = own.filter(({ answer }) => answer !== "tie");
    const left = decided.filter(({ answer, aSide }) => (answer === "A") === (aSide === "left")).length;
    const agreeing = own.flatMap(({ pair, question, answer }) => {
      const counts = { A: 0, B: 0, tie: 0 };
      for (const other of items.get(JSON.stringify([pair, question]))!) if (other.annotator !== annotator) counts[other.answer]++;
      const most = Math.max(counts.A, counts.B, counts.tie);
      const leaders = (["A", "B", "tie"] as const).filter((name) => counts[name] === most);
      // Without one leading answer there is no majority to agree with.
      return most === 0 || leaders.length > 1 ? [] : [Number(leaders[0] === answer)];
    });
    return { annotator, answers: own.length, ties: (own.length - decided.length) / own.length, left: decided.length === 0 ? null : left / decided.length, withMajority: agreeing.length === 0 ? null : meanOf(agreeing) };
  });
}

/**
 * Everything that a study says, real or simulated: win rates whose intervals know that answers of one person and of one pair go together, Bradley-Terry strengths of the
 * methods, agreement between people, and how each person answered.
 */
export function analyseStudy(answers: readonly Answer[], options: BootstrapOptions): StudyAnalysis {
  const votes = orient(answers);
  const byMatch = [...groupBy(votes, ({ first, second }) => JSON.stringify([first, second])).values()];
  const matches = byMatch.flatMap((list) => questions.flatMap((question) => {
    const own = list.filter((vote) => vote.question === question);
    return own.length === 0 ? [] : [matchResult(list[0]!.first, list[0]!.second, question, own)];
  }));
  const strengths = questions.flatMap((question) => {
    const own = votes.filter((vote) => vote.question === question);
    return own.length === 0 ? [] : strengthsOf(question, own, options);
  });
  return { matches, strengths, annotators: annotatorResults(answers).sort((a, b) => (a.annotator < b.annotator ? -1 : 1)) };
}
