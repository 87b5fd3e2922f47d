/** Which of a fixed set of categories each rater gave each item; null where a rater gave none: `[item][rater]`. */
export type Ratings = readonly (readonly (string | null)[])[];

/** How often each category was given to an item. */
function countsOf(item: readonly (string | null)[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const rating of item) if (rating !== null) counts.set(rating, (counts.get(rating) ?? 0) + 1);
  return counts;
}

const total = (counts: ReadonlyMap<string, number>): number => [...counts.values()].reduce((sum, count) => sum + count, 0);

/**
 * Fleiss' kappa: 1 for perfect agreement, 0 for that of chance, with equal raters. κ = (P̄ − P̄ₑ)/(1 − P̄ₑ), P̄ the mean over items of the share of agreeing pairs of ratings, P̄ₑ the sum of the
 * categories' squared shares.
 *
 * Only items that as many raters judged as any item count. Source: Fleiss, Psychological Bulletin 76(5), 1971.
 * @returns null below two raters, without items, or when one category alone was ever used
 */
export function fleissKappa(ratings: Ratings): number | null {
  const all = ratings.map(countsOf);
  const raters = Math.max(0, ...all.map(total));
  const items = all.filter((counts) => total(counts) === raters);
  if (raters < 2 || items.length === 0) return null;
  const shares = new Map<string, number>();
  let agreement = 0;
  for (const counts of items) {
    let pairs = 0;
    for (const [category, count] of counts) {
      pairs += count * (count - 1);
      shares.set(category, (shares.get(category) ?? 0) + count / (raters * items.length));
    }
    agreement += pairs / (raters * (raters - 1)) / items.length;
  }
  const chance = [...shares.values()].reduce((sum, share) => sum + share ** 2, 0);
  return shares.size < 2 ? null : (agreement - chance) / (1 - chance);
}

/**
 * Krippendorff's alpha for nominal ratings, which may be missing: 1 − observed/expected disagreement. Items with a single rating do not count.
 *
 * With n_ic the ratings c of item i, n_i = Σ_c n_ic, n_c = Σ_i n_ic, n = Σ_c n_c: D_o = Σ_i Σ_c n_ic (n_i − n_ic)/(n_i − 1)/n, D_e = Σ_c n_c (n − n_c)/(n (n − 1)).
 * Source: Krippendorff, "Content analysis", 3rd ed., ch. 11.
 * @returns null where nobody could disagree: no item with two ratings, or one category alone
 */
export function krippendorffAlpha(ratings: Ratings): number | null {
  const items = ratings.map(countsOf).filter((counts) => total(counts) > 1);
  const sums = new Map<string, number>();
  let disagreement = 0;
  for (const counts of items) {
    const size = total(counts);
    for (const [category, count] of counts) {
      sums.set(category, (sums.get(category) ?? 0) + count);
      disagreement += (count * (size - count)) / (size - 1);
    }
  }
  const n = total(sums);
  const expected = [...sums.values()].reduce((sum, count) => sum + count * (n - count), 0) / (n - 1);
  return sums.size < 2 ? null : 1 - disagreement / expected;
}
