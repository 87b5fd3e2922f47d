import { describe, expect, it } from "vitest";
import { formatDuration, Progress } from "./progress.ts";

function recorded(isTTY: boolean): { progress: (total: number, initial?: number) => Progress; tick: (ms: number) => void; text: () => string } {
  let time = 0;
  let text = "";
  const stream = { isTTY, columns: 60, write: (chunk: string) => (text += chunk) };
  return {
    progress: (total, initial = 0) => new Progress({ label: "training", total, initial, stream, now: () => time }),
    tick: (ms) => (time += ms),
    text: () => text,
  };
}

describe("progress", () => {
  it("rewrites one line on a terminal and ends it", () => {
    const { progress, tick, text } = recorded(true);
    const line = progress(100);
    tick(2000);
    line.update(1, "reward 0.71");
    tick(50);
    line.update(2);
    tick(98_000);
    line.update(100);
    line.finish();
    const lines = text().split("\r\u001b[2K");
    expect(lines[1]).toBe("training ░░░░░░░░░░░░░░░░░░░░ 1/100 1 %, 3:18 left  reward ");
    expect(lines).toHaveLength(3);
    expect(lines[2]).toBe("training ████████████████████ 100/100 100 % in 1:40\n");
  });

  it("writes a line every ten seconds elsewhere, and the last one", () => {
    const { progress, tick, text } = recorded(false);
    const line = progress(30);
    for (let step = 1; step <= 30; step++) {
      tick(1000);
      line.update(step);
    }
    line.finish();
    expect(text().split("\n")).toEqual(["training 1/30 3 %, 0:29 left", "training 11/30 36 %, 0:19 left", "training 21/30 70 %, 0:09 left", "training 30/30 100 % in 0:30", ""]);
  });

  it("does not take resumed work for speed", () => {
    const { progress, tick, text } = recorded(false);
    const line = progress(100, 90);
    tick(1000);
    line.update(91);
    expect(text()).toBe("training 91/100 91 %, 0:09 left\n");
  });

  it("writes durations as clocks do", () => {
    expect([0, 7499, 754_000, 11_045_000].map(formatDuration)).toEqual(["0:00", "0:07", "12:34", "3:04:05"]);
  });
});
