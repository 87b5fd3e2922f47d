import { pictureName, picturesFolder, variantFolder } from "./picture-path.ts";
import type { EvaluationFile } from "./record.ts";

const digits = (value: number): number => Number(value.toPrecision(5));

/** What the gallery's script needs, as JSON that cannot end its element. Lists are [variant] of [picture]. */
function galleryData(file: EvaluationFile): string {
  const { metrics, variants, prompts, settings } = file;
  const data = {
    prompts: prompts.texts,
    seeds: settings.seeds,
    metrics: metrics.map(({ name, higherIsBetter }) => ({ name, higher: higherIsBetter })),
    names: variants[0]!.pictures.map((_, place) => pictureName(file, place)),
    variants: variants.map(({ label, measured }, index) => ({
      label,
      folder: `${picturesFolder}/${variantFolder(file, index)}/`,
      scores: metrics.map(({ name }) => measured.scores[name]!.map(digits)),
      change: index === 0 ? null : (measured.distance ?? measured.pixels!).map(digits),
    })),
  };
  return JSON.stringify(data).replaceAll("<", String.raw`\u003c`);
}

/** The gallery: an empty frame that the script fills from the data beside it, and pictures as files beside the page. */
export function gallerySection(file: EvaluationFile): string {
  return `<section id="gallery" style="--columns:${file.variants.length}"><h2>Pictures</h2><div class="controls"><label>sort by <select id="key"></select></label><label id="of-label">of <select id="of"></select></label><label><select id="order" aria-label="order"><option value="-1">highest first</option><option value="1">lowest first</option></select></label><label class="grow"><input id="filter" type="search" placeholder="filter prompts" aria-label="filter prompts"></label><span id="count" class="soft"></span></div>
<div id="rows"></div><div id="more"></div><noscript><p class="notice">Sorting and filtering need JavaScript. The pictures lie in the folder <code>${picturesFolder}</code> beside this page.</p></noscript>
<dialog id="large"><form method="dialog"><button aria-label="close">×</button></form><div id="large-body"></div></dialog></section>
<script type="application/json" id="data">${galleryData(file)}</script>`;
}
