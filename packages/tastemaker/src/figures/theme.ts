/*
 * One look for all figures. Units are CSS pixels: 672 = 7 inches, and 12 = 9 points, the smallest text. Methods have their colours in `method-style.ts`;
 * dashes, markers and hatching repeat what colours say, for print in grey. The background is an opaque card, so that a figure reads the same on a dark page.
 */
export const figureWidth = 672;
export const margin = 16;
export const textSize = 12;
export const titleSize = 15;
export const lineHeight = 16;

export const ink = "#1f2328";
export const quiet = "#57606a";
export const faint = "#8c959f";
export const grid = "#e6e9ed";
export const card = "#ffffff";
export const cardBorder = "#d0d7de";
/** Of what is wrong: shaded regions, losses. */
export const alarm = "#c4470c";
/** Of what is right: gold, wins. */
export const gain = "#0059a6";

/** Arimo has the advance widths of Arial and Helvetica, so text takes the same room whichever of these a viewer has. */
export const fontFamily = "Arimo, 'Liberation Sans', Arial, Helvetica, sans-serif";
