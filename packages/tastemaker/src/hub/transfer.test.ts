import { describe, expect, it } from "vitest";
import { checkSpace, TransferProgress } from "./transfer.ts";

describe("the progress of a transfer", () => {
  it("is silent for two seconds and then shows bytes and the time left", () => {
    let time = 0;
    let text = "";
    const progress = new TransferProgress("fetching owner/name", 30e6, { isTTY: false, write: (chunk) => (text += chunk) }, () => time);
    progress.skip(5e6);
    const report = progress.file("unet.safetensors");
    // 10 MB were left by an earlier command.
    report(10e6, 25e6);
    for (let done = 11e6; done <= 15e6; done += 1e6) {
      time += 500;
      report(done, 25e6);
    }
    expect(text).toBe("fetching owner/name 19.0 MB/30.0 MB 63 %, 0:06 left  unet.safetensors\n");
    report(25e6, 25e6);
    progress.finish();
    expect(text.split("\n")[1]).toBe("fetching owner/name 30.0 MB/30.0 MB 100 % in 0:03  unet.safetensors");
    expect(progress.receivedBytes).toBe(15e6);
  });

  it("counts again what is fetched again", () => {
    const progress = new TransferProgress("fetching", 0, { write: () => true });
    const report = progress.file("w.pt");
    for (const done of [0, 600, 0, 400, 1000]) report(done, 1000);
    expect(progress.receivedBytes).toBe(1600);
  });
});

it("a transfer that will not fit is refused before it begins", async () => {
  await expect(checkSpace("/tmp/not/there/yet", 1e18, "free some")).rejects.toThrow(/^fetch: expected 1000 PB of free space, got .* \(at \/tmp\/not\/there\/yet\); free some/);
  await checkSpace("/tmp/not/there/yet", 1, "free some");
});
