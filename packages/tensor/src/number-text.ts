/** A number's text with nothing lost: JSON has no infinities and `String` no −0. */
export const numberText = (value: number): string => (Object.is(value, -0) ? "-0" : String(value));
