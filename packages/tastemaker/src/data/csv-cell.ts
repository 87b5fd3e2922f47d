/** A field in double quotes, as RFC 4180 wants it. */
export function quotedCell(text: string): string {
  return `"${text.replaceAll('"', '""')}"`;
}

/** A field as RFC 4180 wants it: in quotes where it holds commas, quotes or line ends. */
export function csvCell(text: string): string {
  return /[",\r\n]/.test(text) ? quotedCell(text) : text;
}
