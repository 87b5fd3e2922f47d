/** Prompts of the world's own preference set. Apart from the plan, so that the command line's help need not load it. */
export const preferencePrompts = 11_000;
