const entities: Readonly<Record<string, string>> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };

/** Text as HTML, safe in elements and quoted attributes. */
export function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => entities[character]!);
}

/** A number in four significant digits, with a real minus sign; `–` for what is no number. */
export function formatNumber(value: number | undefined, digits = 4): string {
  if (value === undefined || !Number.isFinite(value)) return "–";
  const magnitude = Math.abs(value);
  const text = magnitude !== 0 && (magnitude < 1e-4 || magnitude >= 1e6) ? value.toExponential(Math.max(0, digits - 2)) : String(Number(value.toPrecision(digits)));
  return text.replace("-", "−");
}

/** Decimals that show an error with two significant digits. */
function decimalsFor(error: number): number | undefined {
  return Number.isFinite(error) && error > 1e-8 ? Math.min(8, Math.max(0, 1 - Math.floor(Math.log10(error)))) : undefined;
}

/** A number with as many decimals as its error justifies. */
export function formatTo(value: number, error: number): string {
  const decimals = decimalsFor(error);
  return decimals === undefined || !Number.isFinite(value) ? formatNumber(value) : value.toFixed(decimals).replace(/^-(?=0\.?0*$)/, "").replace("-", "−");
}

/** `formatTo` with the sign written out. */
export function formatSignedTo(value: number, error: number): string {
  return value > 0 ? `+${formatTo(value, error)}` : formatTo(value, error);
}
