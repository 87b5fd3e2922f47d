import { describe, expect, it } from "vitest";
import { probeProvider } from "./probe-provider.ts";

describe("trying a provider", () => {
  it("finds that the processor computes", async () => {
    expect(await probeProvider("cpu")).toBeUndefined();
  });

  it("says in one line why another does not start", async () => {
    const problem = await probeProvider("cuda");
    if (problem !== undefined) expect(problem).toMatch(/^[^\n]{10,300}$/);
  });
});
