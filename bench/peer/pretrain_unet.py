"""Repeats a recorded run of the U-Net stage of pretraining in PyTorch. Started by bench/pretrain-unet.ts:

    python pretrain_unet.py FOLDER

FOLDER holds unet/ and text_encoder/ (configuration and starting weights), steps.safetensors (what every step was fed with) and plan.json.
Prints one JSON line: losses, gradient norms, median seconds per step, peak resident memory.
"""
import json, resource, statistics, sys, time
from pathlib import Path
import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import load_file
from transformers import CLIPTextModel

folder = Path(sys.argv[1]); plan = json.loads((folder / "plan.json").read_text()); steps = load_file(folder / "steps.safetensors")
torch.set_num_threads(2)
unet = UNet2DConditionModel.from_pretrained(folder / "unet").train()
text = CLIPTextModel.from_pretrained(folder / "text_encoder").train()
parameters = [*unet.parameters(), *text.parameters()]
optimizer = torch.optim.AdamW(parameters, lr=1e-3, betas=(plan["beta1"], plan["beta2"]), eps=plan["epsilon"], weight_decay=plan["weightDecay"])
losses, norms, seconds = [], [], []
for i in range(plan["steps"]):
    start = time.perf_counter()
    sample, noise, weight, ids, timestep = (steps[f"{i}.{name}"] for name in ("sample", "noise", "weight", "ids", "timestep"))
    predicted = unet(sample, timestep.long(), text(ids.long()).last_hidden_state).sample
    loss = ((predicted - noise).square().mean((1, 2, 3)) * weight).mean()
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    norms.append(float(torch.nn.utils.clip_grad_norm_(parameters, plan["maxGradNorm"])))
    for group in optimizer.param_groups: group["lr"] = plan["learningRates"][i]
    optimizer.step()
    losses.append(float(loss)); seconds.append(time.perf_counter() - start)
print(json.dumps({"torch": torch.__version__, "losses": losses, "gradNorms": norms, "secondsPerStep": statistics.median(seconds[2:]),
                  "peakRssMiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))
