/** A comparison of two methods: how often the first won, ties as half a win for each. */
export interface Contest {
  readonly first: string;
  readonly second: string;
  /** Wins of the first and of the second; may be fractions. */
  readonly wins: number;
  readonly losses: number;
}

/**
 * Strengths of the Bradley-Terry model: P(first beats second) = 1/(1 + exp(second − first)), natural-logarithmic, mean 0.
 *
 * By Hunter's minorisation with a pseudo-win of `prior` on each side of every contest, so that a method that never lost has a finite strength. Source: Hunter, "MM algorithms for generalized
 * Bradley-Terry models", Annals of Statistics 32(1), 2004. Methods that no chain of contests connects are not comparable; each connected set (`connectedSets`) has mean 0.
 */
export function bradleyTerry(contests: readonly Contest[], prior = 0.5): Map<string, number> {
  const names = [...new Set(contests.flatMap(({ first, second }) => [first, second]))];
  const index = new Map(names.map((name, place) => [name, place]));
  const pairs = contests.map(({ first, second, wins, losses }) => ({ a: index.get(first)!, b: index.get(second)!, wins: wins + prior, losses: losses + prior }));
  const won = names.map((_, place) => pairs.reduce((sum, { a, b, wins, losses }) => sum + (a === place ? wins : 0) + (b === place ? losses : 0), 0));
  let strength = names.map(() => 1);
  for (let round = 0; round < 10_000; round++) {
    const weight = names.map(() => 0);
    for (const { a, b, wins, losses } of pairs) {
      const share = (wins + losses) / (strength[a]! + strength[b]!);
      weight[a]! += share;
      weight[b]! += share;
    }
    const next = won.map((wins, place) => wins / weight[place]!);
    const scale = Math.exp(next.reduce((sum, value) => sum + Math.log(value), 0) / next.length);
    const scaled = next.map((value) => value / scale);
    const change = Math.max(...scaled.map((value, place) => Math.abs(Math.log(value / strength[place]!))));
    strength = scaled;
    if (change < 1e-12) break;
  }
  return new Map(centre(names, strength.map(Math.log), contests));
}

/**
 * The sets of methods that contests connect, directly or over others: the number of each method's set, from 1 in the order in which the contests name them. Strengths of different sets
 * say nothing about each other.
 */
export function connectedSets(contests: readonly Pick<Contest, "first" | "second">[]): Map<string, number> {
  const set = new Map<string, number>();
  for (const { first, second } of contests) for (const name of [first, second]) set.set(name, set.get(name) ?? set.size);
  for (let round = 0; round < set.size; round++) {
    for (const { first, second } of contests) {
      const least = Math.min(set.get(first)!, set.get(second)!);
      set.set(first, least).set(second, least);
    }
  }
  const numbers = [...new Set(set.values())];
  return new Map([...set].map(([name, own]) => [name, numbers.indexOf(own) + 1]));
}

/** Subtracts each connected set's own mean. */
function centre(names: readonly string[], logs: readonly number[], contests: readonly Contest[]): (readonly [string, number])[] {
  const sets = connectedSets(contests);
  return names.map((name, place) => {
    const members = logs.filter((_, other) => sets.get(names[other]!) === sets.get(name));
    return [name, logs[place]! - members.reduce((sum, value) => sum + value, 0) / members.length];
  });
}
