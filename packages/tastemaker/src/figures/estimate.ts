/** An estimate with the ends of its interval. */
export interface Estimate {
  readonly value: number;
  readonly low: number;
  readonly high: number;
}

/** Integers with a thin gap between thousands, as captions write n. */
export function formatCount(count: number): string {
  return String(Math.round(count)).replace(/\B(?=(\d{3})+$)/g, ",");
}

/** True when all three numbers are finite. */
export function isFiniteEstimate(estimate: Estimate): boolean {
  return Number.isFinite(estimate.value) && Number.isFinite(estimate.low) && Number.isFinite(estimate.high);
}
