import { join } from "node:path";
import type { CommandContext } from "../../cli/command-context.ts";
import type { WorldOptions } from "../../cli/commands/world.ts";
import { contactSheet } from "../../images/contact-sheet.ts";
import { ImageSampler, pictureNoise } from "../../models/image-sampler.ts";
import { worldGuidanceScale } from "../../models/default-guidance.ts";
import { worldFolder } from "../../models/emoji-world.ts";
import { openModel } from "../../models/open-model.ts";
import { TextContexts } from "../../models/text-contexts.ts";
import { nodeBackend } from "../../platform/runtime.ts";
import { writeFileAtomic } from "../../storage/atomic-file.ts";
import { buildWorld } from "./build-world.ts";
import { checkWorld, formatCheck } from "./check-world.ts";
import { makePreferences } from "./preferences.ts";
import { heldOutPrompts } from "./prompts.ts";

/** `tastemaker world build|check|sheet|preferences`. */
export async function runWorld(options: WorldOptions, context: CommandContext): Promise<void> {
  const { action, seed, threads } = options;
  if (action === "build") {
    await buildWorld({ out: options.out ?? join(worldFolder, "build"), seed, threads }, context);
    return;
  }
  const backend = nodeBackend({ threads });
  if (action === "preferences") {
    await makePreferences({ out: options.out ?? join(worldFolder, "build", "preferences"), prompts: options.count, seed }, backend, context);
    return;
  }
  if (action === "check") {
    const check = await checkWorld(options, backend);
    if (options.out !== undefined) await writeFileAtomic(options.out, `${JSON.stringify(check, null, 2)}\n`);
    context.output.print(formatCheck(check));
    context.output.result(check);
    return;
  }
  const model = await openModel(options.model);
  const contexts = new TextContexts(model, backend, context.output.note);
  const sampler = await ImageSampler.open(model, { settings: { steps: options.steps, timesteps: "linspace", guidanceScale: worldGuidanceScale }, batchSize: 16, contextShape: contexts.shape }, backend);
  const requests = await Promise.all(
    heldOutPrompts(options.count).map(async ({ caption }, index) => ({
      context: await contexts.of(caption),
      noise: pictureNoise({ seed, stream: "sheet", index }, model.latentShape, options.steps),
    })),
  );
  const pictures = await sampler.sample(requests);
  const out = options.out ?? "sheet.png";
  await writeFileAtomic(out, await contactSheet(pictures, model.imageSize, 8));
  await sampler.dispose();
  await contexts.dispose();
  context.output.print(out);
  context.output.result({ sheet: out });
}
