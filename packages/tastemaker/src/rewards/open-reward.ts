import { existsSync } from "node:fs";
import { type Backend, unknownNameError, UsageError } from "@tastemaker/tensor";
import type { RewardSetting } from "../config/train-config.ts";
import { worldName, worldPart } from "../models/emoji-world.ts";
import { openAestheticReward } from "./aesthetic-reward.ts";
import { openBlipScore, openImageReward } from "./blip-reward.ts";
import { openClipReward } from "./clip-reward.ts";
import { openCustomReward, refuseCustomSetting } from "./custom-reward.ts";
import { isJpegReward, jpegReward, jpegRewardNames } from "./jpeg-reward.ts";
import type { Reward } from "./reward.ts";

/** Where the files of a reward lie; paths. */
interface RewardPlaces {
  readonly path: string;
  readonly vocabulary?: string | undefined;
  readonly clip?: string | undefined;
}

interface RewardEntry {
  /** Part of the embedded world that holds such weights. */
  readonly world?: string;
  /** Published weights, as `owner/name[:file]` of the hub or an address. */
  readonly published?: RewardPlaces;
  open(places: RewardPlaces, backend: Backend): Promise<Reward>;
}

const vitL14 = "openai/clip-vit-large-patch14";
const vitH14 = "laion/CLIP-ViT-H-14-laion2B-s32B-b79K";
const bert = "google-bert/bert-base-uncased:vocab.txt";

/** Every built-in reward: how it is opened and where its weights are. To add one, add a row. */
const rewards: Readonly<Record<string, RewardEntry>> = {
  "pick-score": {
    published: { path: "yuvalkirstain/PickScore_v1", vocabulary: vitH14 },
    open: ({ path, vocabulary }, backend) => openClipReward("pick-score", path, backend, vocabulary),
  },
  "hpsv2.1": {
    published: { path: "xswu/HPSv2:HPS_v2.1_compressed.pt", vocabulary: vitL14 },
    open: ({ path, vocabulary }, backend) => openClipReward("hpsv2.1", path, backend, vocabulary),
  },
  "hpsv2.0": {
    published: { path: "xswu/HPSv2:HPS_v2_compressed.pt", vocabulary: vitL14 },
    open: ({ path, vocabulary }, backend) => openClipReward("hpsv2.0", path, backend, vocabulary),
  },
  hpsv2: { open: ({ path, vocabulary }, backend) => openClipReward("hpsv2", path, backend, vocabulary) },
  "clip-score": {
    world: worldPart("clip"),
    published: { path: vitL14 },
    open: ({ path, vocabulary }, backend) => openClipReward("clip-score", path, backend, vocabulary),
  },
  "clip-score-100": {
    published: { path: vitL14 },
    open: ({ path, vocabulary }, backend) => openClipReward("clip-score-100", path, backend, vocabulary),
  },
  aesthetic: {
    world: worldPart("aesthetic"),
    published: { path: "https://github.com/christophschuhmann/improved-aesthetic-predictor/raw/6934dd81792f086e613a121dbce43082cb8be85e/sac+logos+ava1-l14-linearMSE.pth", clip: vitL14 },
    open: ({ path, clip }, backend) => openAestheticReward(path, backend, clip),
  },
  "blip-score": {
    published: { path: "https://storage.googleapis.com/sfr-vision-language-research/BLIP/models/model_large.pth", vocabulary: bert },
    open: ({ path, vocabulary }, backend) => openBlipScore(path, backend, vocabulary),
  },
  "image-reward": {
    published: { path: "THUDM/ImageReward:ImageReward.pt", vocabulary: bert },
    open: ({ path, vocabulary }, backend) => openImageReward(path, backend, vocabulary),
  },
};

/** Names of all built-in rewards. */
export const rewardNames: readonly string[] = [...Object.keys(rewards), ...jpegRewardNames];

/**
 * Where a reward's files are: as the setting says (`emoji` as the path means the embedded world's), else those that belong to the base model, the embedded world's or the
 * published ones.
 */
function placesOf({ name, path, vocabulary, clip }: Omit<RewardSetting, "weight">, { world, published }: RewardEntry, model: string | undefined): RewardPlaces {
  if (path !== undefined && path !== worldName) return { path, vocabulary, clip };
  if (path === worldName || model === worldName) {
    if (world !== undefined) return { path: world, vocabulary, clip };
    if (path === worldName) throw new UsageError("reward-weights-missing", `reward ${name}: expected one that the embedded world has, got none`, `say where its weights are: {"name": "${name}", "path": FOLDER}`);
  }
  if (published !== undefined) return { path: published.path, vocabulary: vocabulary ?? published.vocabulary, clip: clip ?? published.clip };
  throw new UsageError("reward-weights-missing", `reward ${name}: expected the path of its weights, got none`, `say where they are: {"name": "${name}", "path": PATH}`);
}

/**
 * Opens a reward by name. A name that is not built in needs a path, which says what kind of reward it is (`openCustomReward`; a module's code is run).
 *
 * @param model Name of the base model, whose own rewards are the default; undefined: the published ones.
 * @throws UsageError `unknown-name`, `reward-weights-missing` and whatever the files give reason to
 */
export async function openReward(setting: Omit<RewardSetting, "weight">, backend: Backend, model: string | undefined): Promise<Reward> {
  const { name, path } = setting;
  if (path !== undefined && !rewardNames.includes(name)) return openCustomReward({ ...setting, path }, backend, rewardNames);
  refuseCustomSetting(setting);
  if (isJpegReward(name)) return jpegReward(name, path);
  const found = Object.hasOwn(rewards, name) ? rewards[name] : undefined;
  if (found === undefined) throw unknownNameError("reward", name, rewardNames);
  const places = placesOf(setting, found, model);
  if (!existsSync(places.path)) {
    const hint = places.path === found.world ? "the embedded world's weights are not built; run `npm run world`" : "check the path";
    throw new UsageError("reward-weights-missing", `reward ${name}: expected its weights, got nothing (at ${places.path})`, hint);
  }
  return found.open(places, backend);
}

/** The rewards of the embedded world that are not trained here, to be shown beside those that are; none for other models. */
export async function openOtherRewards(model: string, trained: readonly string[], backend: Backend): Promise<Reward[]> {
  if (model !== worldName) return [];
  const others = Object.entries(rewards).filter(([name, { world }]) => !trained.includes(name) && world !== undefined && existsSync(world));
  return Promise.all(others.map(([, other]) => other.open({ path: other.world! }, backend)));
}
