import { UsageError } from "@tastemaker/tensor";
import type { RewardSetting } from "../config/train-config.ts";
import { type LocateOptions, locateWeights } from "../hub/locate-weights.ts";
import { neededForClipTowers, neededForVocabulary, type NeededFiles } from "../hub/needed-files.ts";
import { parseWeightsName } from "../hub/weights-name.ts";
import { isWorldModel, worldName } from "../models/emoji-world.ts";

/** Where the files of a reward are: paths or, before `locatePlaces`, names of the hub and addresses. */
export interface RewardPlaces {
  readonly path: string;
  readonly vocabulary?: string | undefined;
  readonly clip?: string | undefined;
}

/** Where a reward's own weights are when nobody says otherwise. */
export interface UsualPlaces {
  /** Folder of the embedded world. */
  readonly world?: string;
  /** Published weights, as names of the hub or addresses. */
  readonly published?: RewardPlaces;
}

/**
 * The places that a setting means: those it names (`emoji` as the path means the embedded world's), else those that belong to the base model, the embedded world's or the published
 * ones. What a reward's publishers keep apart from the weights (a vocabulary, a CLIP) is added where nothing can lie beside them: to a single file that is fetched, and to the
 * published repository. Paths of this disk are left as they are.
 *
 * @param model Name of the base model.
 * @throws UsageError `reward-weights-missing` where there are none
 */
export function placesOf({ name, path, vocabulary, clip }: Omit<RewardSetting, "weight">, { world, published }: UsualPlaces, model: string | undefined): RewardPlaces {
  if (path === worldName || (path === undefined && isWorldModel(model))) {
    if (world !== undefined) return { path: world, vocabulary, clip };
    if (path === worldName) throw new UsageError("reward-weights-missing", `reward ${name}: expected one that the embedded world has, got none`, `say where its weights are: {"name": "${name}", "path": FOLDER or owner/name}`);
  }
  const completed = (own: string): RewardPlaces => ({ path: own, vocabulary: vocabulary ?? published?.vocabulary, clip: clip ?? published?.clip });
  if (path === undefined) {
    if (published !== undefined) return completed(published.path);
    throw new UsageError("reward-weights-missing", `reward ${name}: expected the path of its weights, got none`, `say where they are: {"name": "${name}", "path": FOLDER or owner/name}`);
  }
  const given = parseWeightsName(path);
  const usual = published === undefined ? undefined : parseWeightsName(published.path);
  const isAlone = given.kind === "url" || (given.kind === "hub" && (given.file !== undefined || (usual?.kind === "hub" && usual.repository === given.repository)));
  return isAlone ? completed(path) : { path, vocabulary, clip };
}

/** What a repository must hold for each place. */
export function neededForPlaces(needed: NeededFiles | undefined, { vocabulary }: RewardPlaces): Readonly<Record<keyof RewardPlaces, NeededFiles | undefined>> {
  return { path: vocabulary === undefined ? needed : neededForClipTowers, vocabulary: neededForVocabulary, clip: neededForClipTowers };
}

/**
 * Paths of the places; what is not on this disk is fetched.
 * @throws UsageError `reward-weights-missing` and as `locate`
 */
export async function locatePlaces(name: string, places: RewardPlaces, needed: NeededFiles | undefined, fetching: LocateOptions): Promise<RewardPlaces> {
  const wanted = neededForPlaces(needed, places);
  const locate = (place: keyof RewardPlaces, what: string): Promise<string> => locateWeights(places[place]!, wanted[place], { ...fetching, what: `reward ${name}${what}`, missingCode: "reward-weights-missing" });
  return {
    path: await locate("path", ""),
    ...(places.vocabulary === undefined ? {} : { vocabulary: await locate("vocabulary", ", vocabulary") }),
    ...(places.clip === undefined ? {} : { clip: await locate("clip", ", CLIP") }),
  };
}
