/** `model_index.json` of a pipeline of the SD 1.x family without a safety checker. */
export function pipelineIndex(pipeline: "StableDiffusionPipeline" | "LatentConsistencyModelPipeline"): string {
  const absent = [null, null];
  const index = {
    _class_name: pipeline,
    feature_extractor: absent,
    image_encoder: absent,
    requires_safety_checker: false,
    safety_checker: absent,
    scheduler: ["diffusers", pipeline === "StableDiffusionPipeline" ? "DDIMScheduler" : "LCMScheduler"],
    text_encoder: ["transformers", "CLIPTextModel"],
    tokenizer: ["transformers", "CLIPTokenizer"],
    unet: ["diffusers", "UNet2DConditionModel"],
    vae: ["diffusers", "AutoencoderKL"],
  };
  return `${JSON.stringify(index, null, 2)}\n`;
}
