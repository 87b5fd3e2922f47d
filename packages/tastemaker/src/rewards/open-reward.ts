import { existsSync } from "node:fs";
import { type Backend, unknownNameError, UsageError } from "@tastemaker/tensor";
import type { RewardSetting } from "../config/train-config.ts";
import { isWorldModel, worldPart } from "../models/emoji-world.ts";
import type { LocateOptions } from "../hub/locate-weights.ts";
import { neededForClip, type NeededFiles } from "../hub/needed-files.ts";
import { openAestheticReward } from "./aesthetic-reward.ts";
import { openBlipScore, openImageReward } from "./blip-reward.ts";
import { type ClipRewardName, openClipReward } from "./clip-reward.ts";
import { openCustomReward, refuseCustomSetting } from "./custom-reward.ts";
import { isJpegReward, jpegReward, jpegRewardNames } from "./jpeg-reward.ts";
import type { Reward } from "./reward.ts";
import { locatePlaces, neededForPlaces, placesOf, type RewardPlaces, type UsualPlaces } from "./reward-places.ts";

interface RewardEntry extends UsualPlaces {
  /** Which files of a whole repository are needed. Default: weights are single files. */
  readonly needed?: NeededFiles;
  /** The embedded world's own counts where it is built, and is measured only where it is named. */
  readonly isExtra?: true;
  open(places: RewardPlaces, backend: Backend): Promise<Reward>;
}

const vitL14 = "openai/clip-vit-large-patch14";
const vitH14 = "laion/CLIP-ViT-H-14-laion2B-s32B-b79K";
const bert = "google-bert/bert-base-uncased:vocab.txt";

/** What the scores of CLIP models have in common. */
const ofClip = (name: ClipRewardName): Pick<RewardEntry, "needed" | "open"> => ({
  needed: neededForClip,
  open: ({ path, vocabulary }, backend) => openClipReward(name, path, backend, vocabulary),
});

/** Every built-in reward: how it is opened and where its weights are. To add one, add a row. */
const rewards: Readonly<Record<string, RewardEntry>> = {
  "pick-score": {
    world: worldPart("pick-score"),
    isExtra: true,
    ...ofClip("pick-score"),
    published: { path: "yuvalkirstain/PickScore_v1", vocabulary: vitH14 },
  },
  "hpsv2.1": {
    ...ofClip("hpsv2.1"),
    published: { path: "xswu/HPSv2:HPS_v2.1_compressed.pt", vocabulary: vitL14 },
  },
  "hpsv2.0": {
    ...ofClip("hpsv2.0"),
    published: { path: "xswu/HPSv2:HPS_v2_compressed.pt", vocabulary: vitL14 },
  },
  hpsv2: {
    world: worldPart("hpsv2"),
    isExtra: true,
    ...ofClip("hpsv2"),
  },
  "clip-score": {
    world: worldPart("clip"),
    ...ofClip("clip-score"),
    published: { path: vitL14 },
  },
  "clip-score-100": {
    ...ofClip("clip-score-100"),
    published: { path: vitL14 },
  },
  aesthetic: {
    world: worldPart("aesthetic"),
    published: { path: "https://github.com/christophschuhmann/improved-aesthetic-predictor/raw/6934dd81792f086e613a121dbce43082cb8be85e/sac+logos+ava1-l14-linearMSE.pth", clip: vitL14 },
    open: ({ path, clip }, backend) => openAestheticReward(path, backend, clip),
  },
  "blip-score": {
    world: worldPart("blip"),
    isExtra: true,
    published: { path: "https://storage.googleapis.com/sfr-vision-language-research/BLIP/models/model_large.pth", vocabulary: bert },
    open: ({ path, vocabulary }, backend) => openBlipScore(path, backend, vocabulary),
  },
  "image-reward": {
    world: worldPart("image-reward"),
    isExtra: true,
    published: { path: "THUDM/ImageReward:ImageReward.pt", vocabulary: bert },
    open: ({ path, vocabulary }, backend) => openImageReward(path, backend, vocabulary),
  },
};

/** Names of all built-in rewards. */
export const rewardNames: readonly string[] = [...Object.keys(rewards), ...jpegRewardNames];

function entryOf(name: string): RewardEntry {
  const found = Object.hasOwn(rewards, name) ? rewards[name] : undefined;
  if (found === undefined) throw unknownNameError("reward", name, rewardNames);
  const { world, isExtra, ...others } = found;
  return isExtra === true && world !== undefined && !existsSync(world) ? others : found;
}

/**
 * Where a built-in reward's files are, as names that `openReward` takes; undefined for rewards without files and for rewards of one's own.
 * @throws UsageError `reward-weights-missing`
 */
export function rewardPlaces(setting: Omit<RewardSetting, "weight">, model: string | undefined): RewardPlaces | undefined {
  return Object.hasOwn(rewards, setting.name) ? placesOf(setting, entryOf(setting.name), model) : undefined;
}

/** The published files of a built-in reward, as names with what is needed of each; undefined for a name that is no reward or has none. */
export function publishedFiles(name: string): { readonly name: string; readonly needed: NeededFiles | undefined }[] | undefined {
  const entry = Object.hasOwn(rewards, name) ? rewards[name] : undefined;
  if (entry?.published === undefined) return undefined;
  const { published } = entry;
  const needed = neededForPlaces(entry.needed, published);
  return (["path", "vocabulary", "clip"] as const).flatMap((place) => (published[place] === undefined ? [] : [{ name: published[place], needed: needed[place] }]));
}

/**
 * Opens a reward by name. What a built-in one needs and is not on this disk is fetched. A name that is not built in needs a path, which says what kind of reward it is
 * (`openCustomReward`; a module's code is run, and never fetched).
 *
 * @param model Name of the base model, whose own rewards are the default; undefined: the published ones.
 * @throws UsageError `unknown-name`, `reward-weights-missing`, as `locate`, and whatever the files give reason to
 */
export async function openReward(setting: Omit<RewardSetting, "weight">, backend: Backend, model: string | undefined, fetching: LocateOptions = {}): Promise<Reward> {
  const { name, path } = setting;
  if (path !== undefined && !rewardNames.includes(name)) return openCustomReward({ ...setting, path }, backend, rewardNames);
  refuseCustomSetting(setting);
  if (isJpegReward(name)) return jpegReward(name, path);
  const entry = entryOf(name);
  const places = placesOf(setting, entry, model);
  if (places.path === entry.world && !existsSync(places.path)) {
    throw new UsageError("reward-weights-missing", `reward ${name}: expected its weights, got nothing (at ${places.path})`, "the embedded world's weights are not built; run `npm run world`");
  }
  return entry.open(await locatePlaces(name, places, entry.needed, fetching), backend);
}

/** The rewards of the embedded world that are not trained here, to be shown beside those that are; none for other models. */
export async function openOtherRewards(model: string, trained: readonly string[], backend: Backend): Promise<Reward[]> {
  if (!isWorldModel(model)) return [];
  const others = Object.entries(rewards).filter(([name, { world, isExtra }]) => !trained.includes(name) && isExtra !== true && world !== undefined && existsSync(world));
  return Promise.all(others.map(([, other]) => other.open({ path: other.world! }, backend)));
}
