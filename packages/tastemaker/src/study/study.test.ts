import { normal, uniform } from "@tastemaker/tensor";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { fleissKappa, krippendorffAlpha } from "./agreement.ts";
import { analyseStudy } from "./analyse-study.ts";
import { type Answer, answersCsv, answersJsonl, parseAnswers } from "./answers.ts";
import { bradleyTerry } from "./bradley-terry.ts";
import { paperStudy, type PictureQualities, simulateStudy, type StudyMatch, type StudySettings } from "./simulate-study.ts";
import { studyLines } from "./study-text.ts";

const settings: StudySettings = { ...paperStudy, seed: 1 };
const options = { seed: 1, resamples: 60 };

function qualities(address: number, prompts: number, lead: Partial<Record<keyof PictureQualities, number>> = {}): PictureQualities {
  const draw = (part: number, plus = 0): number[] => [...normal({ seed: address, stream: "study-test", indices: [part] }, prompts)].map((z) => z + plus);
  return { gold: draw(0, lead.gold), appeal: draw(1, lead.appeal), alignment: draw(2, lead.alignment) };
}

function match(prompts: number, lead: Partial<Record<keyof PictureQualities, number>> = {}): StudyMatch {
  return { methodA: "ours", methodB: "theirs", prompts: Array.from({ length: prompts }, (_, index) => `prompt ${index}, "quoted"`), a: qualities(1, prompts, lead), b: qualities(2, prompts), picture: (method, prompt) => `${method}/${prompt}.png` };
}

describe("agreement", () => {
  it("has the published values", () => {
    // Fleiss' own example as retold widely: 10 items, 14 raters, 5 categories, kappa .210.
    const counts = [[0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1], [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7]];
    const ratings = counts.map((row) => row.flatMap((count, category) => Array.from({ length: count }, () => String(category))));
    expect(fleissKappa(ratings)).toBeCloseTo(0.21, 3);
    // Krippendorff's example of four observers, twelve units and missing values: nominal alpha .743.
    const observers = ["12332141 2NNN", "12332241 25N3", "N3332342 251N", "12332441 251N"].map((row) => [...row].filter((character) => character !== " "));
    const units = Array.from({ length: 12 }, (_, unit) => observers.map((row) => (row[unit] === "N" ? null : row[unit]!)));
    expect(krippendorffAlpha(units)).toBeCloseTo(0.743, 3);
  });

  it("is 1 for equal ratings, about 0 for chance, and unknown where nobody could disagree", () => {
    expect([fleissKappa([["a", "a"], ["b", "b"]]), krippendorffAlpha([["a", "a"], ["b", "b"]])]).toEqual([1, 1]);
    expect([fleissKappa([["a", "a"]]), krippendorffAlpha([["a", "a"]]), fleissKappa([]), krippendorffAlpha([["a", null]])]).toEqual([null, null, null, null]);
    const random = Array.from({ length: 2000 }, (_, item) => [...uniform({ seed: 1, stream: "ratings", indices: [item] }, 5)].map((u) => (u < 0.3 ? "a" : u < 0.5 ? "tie" : "b")));
    expect(Math.abs(fleissKappa(random)!)).toBeLessThan(0.02);
    expect(Math.abs(krippendorffAlpha(random)!)).toBeLessThan(0.02);
  });
});

describe("Bradley-Terry", () => {
  it("recovers strengths from the shares they imply, and centres methods that were never compared apart", () => {
    const truth: Readonly<Record<string, number>> = { a: 1, b: 0, c: -1 };
    const contest = (first: string, second: string) => ({ first, second, wins: 1e6 / (1 + Math.exp(truth[second]! - truth[first]!)), losses: 1e6 / (1 + Math.exp(truth[first]! - truth[second]!)) });
    const strengths = bradleyTerry([contest("a", "b"), contest("b", "c"), contest("a", "c"), { first: "x", second: "y", wins: 3, losses: 3 }]);
    for (const [name, strength] of Object.entries(truth)) expect(strengths.get(name)).toBeCloseTo(strength, 4);
    expect(strengths.get("x")).toBeCloseTo(0, 10);
  });

  it("is finite for a method that never lost", () => {
    const strengths = bradleyTerry([{ first: "a", second: "b", wins: 10, losses: 0 }]);
    expect(strengths.get("a")! - strengths.get("b")!).toBeCloseTo(Math.log(10.5 / 0.5), 8);
  });
});

describe("a study's file", () => {
  const answers = simulateStudy(match(3), { ...settings, annotators: 2 });

  it("is read as it was written, as CSV and JSONL, whatever the texts hold", () => {
    expect(parseAnswers(answersCsv(answers), "answers.csv")).toEqual(answers);
    expect(parseAnswers(answersJsonl(answers), "answers.jsonl")).toEqual(answers);
    fc.assert(
      fc.property(fc.array(fc.string({ minLength: 1 }), { minLength: 1, maxLength: 5 }), (texts) => {
        const odd = texts.map((prompt, index): Answer => ({ ...answers[0]!, prompt, pair: `${index}`, annotator: `${texts[0]}${index}` }));
        expect(parseAnswers(answersCsv(odd), "odd.csv")).toEqual(odd);
      }),
      { numRuns: 200, seed: 1 },
    );
  });

  it("may have its columns in any order, an ending of either kind, and a mark at the beginning", () => {
    const [head, ...rows] = answersCsv(answers).trimEnd().split("\n");
    const turned = `\uFEFF${["note", head].join(",")}\r\n${rows.map((row) => `"a, ""b""",${row}`).join("\r\n")}\r\n`;
    expect(parseAnswers(turned, "turned.csv")).toEqual(answers);
  });

  it("is refused with the place where it is wrong", () => {
    const csv = answersCsv(answers);
    const last = csv.trimEnd().split("\n").length;
    for (const [content, message] of [
      [csv.replace(/(A|B|tie)\n$/, "left\n"), new RegExp(`expected one of "A"\\|"B"\\|"tie", got "left" \\(at answer, line ${last} of f.csv\\)`)],
      [csv.replace("annotator,", "who,"), /got no annotator \(at line 1/],
      [csv + csv.split("\n")[1]! + "\n", /expected one answer per pair, annotator and question, got two of pair pair-001/],
      [csv.replace("pair-003", '"pair-003'), /line|fields/],
      [csv.split("\n")[0]! + "\n", /expected answers, got none/],
      ["", /got no pair, prompt/],
      ['{"pair": 1}\n', /at pair, line 1/],
      ["{oops\n", /expected a JSON object/],
      [csv.replaceAll(",theirs,", ",ours,"), /expected two different methods, got "ours" twice \(at methodB, line 2 of f.csv\)/],
    ] as const) expect(() => parseAnswers(content, "f.csv"), content.slice(-80)).toThrow(message);
    const other = answers.map((answer, index) => (index === 0 ? { ...answer, methodA: "another" } : answer));
    expect(() => parseAnswers(answersCsv(other), "f.csv")).toThrow(/expected one prompt and two methods per pair/);
  });
});

describe("strengths of methods that were never compared", () => {
  const between = (methodA: string, methodB: string): Answer[] =>
    simulateStudy({ ...match(6), methodA, methodB }, { ...settings, annotators: 3 }).map((answer) => ({ ...answer, pair: `${methodA}-${methodB} ${answer.pair}` }));

  it("are in groups of their own, and the text says so", () => {
    const apart = analyseStudy([...between("a", "c"), ...between("b", "d"), ...between("c", "e")], options);
    const general = apart.strengths.filter(({ question }) => question === "general preference");
    expect(general.map(({ method, group }) => [method, group])).toEqual([["a", 1], ["c", 1], ["e", 1], ["b", 2], ["d", 2]]);
    for (const group of [1, 2]) expect(general.filter((one) => one.group === group).reduce((sum, { strength }) => sum + strength, 0)).toBeCloseTo(0, 10);
    const lines = studyLines(apart);
    expect(lines).toContain("Bradley-Terry strengths (logarithm of odds, mean 0 in each group: methods of different groups were never compared, directly or over others)");
    expect(lines.filter((line) => /^ {2}general preference {2}group 2 {2}[bd] {2}-?\d/.test(line))).toHaveLength(2);
  });

  it("are one group, and no matter for the text, where a chain of comparisons connects them", () => {
    const whole = analyseStudy([...between("a", "b"), ...between("c", "d"), ...between("d", "a")], options);
    for (const strength of whole.strengths) expect(strength).not.toHaveProperty("group");
    expect(studyLines(whole).join("\n")).not.toContain("group");
  });
});

describe("a simulated study", () => {
  it("has the paper's size, one answer per pair, person and question, and draws that do not depend on who else takes part", () => {
    const answers = simulateStudy(match(500), settings);
    expect(answers).toHaveLength(300 * 10 * 3);
    expect(new Set(answers.map(({ pair }) => pair)).size).toBe(300);
    const fewer = simulateStudy(match(500), { ...settings, annotators: 3, pairs: 20 });
    const kept = new Set(fewer.map(({ annotator }) => annotator));
    expect(answers.filter(({ pair, annotator }) => Number(pair.slice(5)) <= 20 && kept.has(annotator))).toEqual(fewer);
    expect(simulateStudy(match(500), { ...settings, seed: 2 })).not.toEqual(answers);
    const left = answers.filter(({ aSide }) => aSide === "left").length / answers.length;
    expect(Math.abs(left - 0.5)).toBeLessThan(0.03);
  });

  it("finds the planted leads in the questions they belong to", () => {
    const { matches, strengths } = analyseStudy(simulateStudy(match(400, { gold: 0.6, appeal: 1.5 }), settings), options);
    const of = (question: string) => matches.find((result) => result.question === question)!;
    expect(of("visual appeal").low).toBeGreaterThan(0.65);
    expect(of("general preference").low).toBeGreaterThan(0.55);
    expect(of("prompt alignment").low! < 0.56 && of("prompt alignment").high! > 0.46).toBe(true);
    for (const { wins, ties, losses, rate } of matches) {
      expect(wins + ties + losses).toBeCloseTo(1, 12);
      expect(rate).toBeCloseTo(wins + ties / 2, 12);
    }
    const lead = strengths.filter(({ question }) => question === "visual appeal").map(({ strength }) => strength);
    // Two methods: the difference of strengths is the logarithm of the odds.
    expect(lead[0]! - lead[1]!).toBeCloseTo(Math.log(of("visual appeal").rate / (1 - of("visual appeal").rate)), 2);
  });

  it("recovers the win rate of people who decide by one quality without noise", () => {
    const exact = { ...settings, weightSpread: 0, temperature: 1e-9, temperatureSpread: 0, tieThreshold: 0, positionBias: 0, pairs: 400 };
    const study = match(400, { appeal: 0.5 });
    const { matches } = analyseStudy(simulateStudy({ ...study, a: { ...study.a, gold: study.b.gold, alignment: study.b.alignment } }, exact), options);
    const truth = study.a.appeal.filter((value, prompt) => value > study.b.appeal[prompt]!).length / 400;
    for (const { rate, fleissKappa: kappa } of matches) {
      expect(rate).toBeCloseTo(truth, 12);
      expect(kappa).toBeCloseTo(1, 12);
    }
  });

  it("has intervals that hold the truth where methods are alike, though answers of a person and of a pair go together", () => {
    const worlds = 60;
    let holds = 0;
    for (let world = 0; world < worlds; world++) {
      const study = { ...match(40), a: qualities(1000 + world, 40), b: qualities(5000 + world, 40) };
      const { low, high } = analyseStudy(simulateStudy(study, { ...settings, seed: world, positionBias: 0.5 }), { seed: 1, resamples: 2 }).matches[0]!;
      holds += Number(low! <= 0.5 && 0.5 <= high!);
    }
    expect(holds / worlds).toBeGreaterThan(0.88);
  });

  it("shows who always looks left and who answers at random", () => {
    const answers = simulateStudy(match(200), { ...settings, positionBias: 0, temperature: 0.1 }).map((answer): Answer => {
      if (answer.annotator === "annotator-01") return { ...answer, answer: answer.aSide === "left" ? "A" : "B" };
      if (answer.annotator !== "annotator-02") return answer;
      const [u] = uniform({ seed: 3, stream: "random-person", indices: [Number(answer.pair.slice(5)), answer.question.length] }, 1);
      return { ...answer, answer: u! < 0.5 ? "A" : "B" };
    });
    const { annotators } = analyseStudy(answers, options);
    expect(annotators[0]!.left).toBe(1);
    expect(annotators[0]!.withMajority).toBeLessThan(0.65);
    expect(annotators[1]!.withMajority).toBeLessThan(0.65);
    for (const { left, withMajority } of annotators.slice(2)) {
      expect(Math.abs(left! - 0.5)).toBeLessThan(0.12);
      expect(withMajority).toBeGreaterThan(0.7);
    }
  });
});
