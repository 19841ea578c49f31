"""LoRA-fine-tune Stable Diffusion on the shots (paper section 3.2).

Loss: E ||target - UNet(z_t, τ(c), t)||², target ε or v as the base was trained, t uniform, one a image; no prior
preservation. `dset` trains one adapter on all shots; `cls` one a class, one after another over the same model.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms.v2 import functional as vision

from datadream.canonical import sha256_file
from datadream.data.decode import handling
from datadream.data.shots import ShotSet, open_shots
from datadream.errors import UserError
from datadream.models import runtime
from datadream.models.attention import reach
from datadream.models.diffusion import TEXT_PROJECTIONS, UNET_PROJECTIONS, Diffusion, load_diffusion, training_target
from datadream.models.lora import Lora, save_adapter
from datadream.stages.emit import heed_stop
from datadream.stages.failing import not_finite
from datadream.stages.kept import Finished
from datadream.stages.loop import Loop, Schedule
from datadream.stages.moments import MomentStore
from datadream.stages.pixels import cut_squares, scaled_size
from datadream.stages.settings import AdaptSettings
from datadream.stages.task import Result, Task
from datadream.stages.told import warn_of_diffusion

CROPS = 8  # cached random crops of an image that is not square; new noise is drawn on each every step
ALL_CLASSES = -1


@dataclass(frozen=True)
class Moments:
    """E(x) of every crop of every shot: `values[rows]` (n, 2c, h, w), the crops of each image, and its label."""

    values: MomentStore
    crops: list[range]
    labels: list[int]


def adapt(task: Task[AdaptSettings]) -> Result:
    """Write `adapter.safetensors`, or `class-00000.safetensors` and on, into `out`; resumes from both folders.

    Raises UserError when a shot can't be read or the backbone lacks a part.
    """
    settings, shots = task.settings, task.few
    sd = load_diffusion(task.backbone)
    warn_of_diffusion(sd, shots.classes, shots.prompts, task.emit)
    names = {"unet": [UNET_PROJECTIONS[target] for target in settings.targets]}
    if settings.text_encoder:
        names["text_encoder"] = [TEXT_PROJECTIONS[target] for target in settings.targets]
    titles = {"unet": "UNet", "text_encoder": "text encoder"}
    paths = reach({titles[part]: getattr(sd, part) for part in names}, settings.targets)
    parts = {part: (getattr(sd, part), paths[titles[part]]) for part in names}
    moments = encode_shots(sd, shots, settings, task.seed, task.checkpoint)
    lora = Lora(parts, rank=settings.rank, alpha=settings.alpha)
    finished = Finished(task.out, task.checkpoint)
    try:
        steps = settings.steps_of(shots.shots, len(shots.classes))
        for index, count in enumerate(steps):
            class_ = index if settings.per == "class" else ALL_CLASSES
            path = task.out / adapter_file(class_)
            if not finished.holds(path):
                _train(task, sd, lora, moments, class_, Part(count, sum(steps[:index]), sum(steps)))
                save_adapter(path, lora.adapter(), names)
                finished.add(path, sha256_file(path))
    finally:
        finished.close()
        lora.detach()
    return {}


def adapter_file(class_: int) -> str:
    """Name of the adapter of one class, or of the one for ALL_CLASSES."""
    return "adapter.safetensors" if class_ == ALL_CLASSES else f"class-{class_:05d}.safetensors"


def find_adapter(folder: Path, class_: int) -> Path:
    """The file in an adapter artifact that serves `class_`."""
    shared = folder / adapter_file(ALL_CLASSES)
    return shared if shared.exists() else folder / adapter_file(class_)


@dataclass(frozen=True)
class Part:
    """Steps of one adapter: how many, after how many of the others', and of how many in all."""

    steps: int
    before: int
    total: int


def _train(task: Task[AdaptSettings], sd: Diffusion, lora: Lora, moments: Moments, class_: int, part: Part) -> None:
    """Train the attached adapter for one class or for all: L_D of section 3.2."""
    settings, shots, seed, emit = task.settings, task.few, task.seed, task.emit
    lora.reset("adapt.init", seed, class_)
    whose = f", class {shots.classes[class_].name!r}" if class_ != ALL_CLASSES else ""
    schedule = Schedule(part.steps, settings.learning_rate, min(settings.warmup_steps, part.steps // 2))
    loop = Loop(
        lora.parameters,
        schedule,
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        checkpoint=task.checkpoint,
        blame=partial(_blame, settings, whose),
        label=adapter_file(class_),
    )
    mine = [i for i, label in enumerate(moments.labels) if class_ in (ALL_CLASSES, label)]
    size = settings.batch_size
    while loop.running:
        step = loop.step
        images = [mine[i] for i in runtime.stream(len(mine), f"adapt.order.{class_}", seed, step * size, size)]
        draw = runtime.generator("adapt.step", seed, class_, step)
        latents = draw_latents(moments, images, draw).to(runtime.device()) * sd.vae.config.scaling_factor
        noise = torch.randn(latents.shape, generator=draw).to(runtime.device())
        t = torch.randint(0, sd.noise.config.num_train_timesteps, (size,), generator=draw).to(runtime.device())
        noisy = sd.noise.add_noise(latents, noise, t)
        target = training_target(sd.noise, latents, noise, t)
        labels = [moments.labels[i] for i in images]
        unique = sorted(set(labels))
        text = sd.encode_prompts([shots.prompts[label] for label in unique])
        text = text[[unique.index(label) for label in labels]]
        predicted = sd.denoise(noisy.to(runtime.base_dtype()), t, text)
        loss = F.mse_loss(predicted.float(), target.float())
        loop.update(loss)
        if loop.tells:
            emit({"kind": "metric", "step": part.before + loop.step, "loss": loss.item()})
            emit({"kind": "progress", "done": part.before + loop.step, "total": part.total, "unit": "steps"})


def _blame(settings: AdaptSettings, whose: str, what: str, where: str) -> UserError:
    return not_finite(what, f"{where}{whose}", settings)


def draw_latents(moments: Moments, images: list[int], draw: torch.Generator) -> Tensor:
    """A fresh sample of E(x) for each image (random crop among the cached), (B, c, h, w) unscaled float32."""
    picks = torch.rand(len(images), generator=draw).tolist()
    rows = [moments.crops[i][int(pick * len(moments.crops[i]))] for i, pick in zip(images, picks, strict=True)]
    mean, logvar = moments.values[rows].chunk(2, dim=1)
    noise = torch.randn(mean.shape, generator=draw)
    return mean + torch.exp(0.5 * logvar.clamp(-30, 20)) * noise


@torch.no_grad()
def encode_shots(sd: Diffusion, shots: ShotSet, settings: AdaptSettings, seed: int, folder: Path) -> Moments:
    """Encode every shot once. A square image has one crop, another CROPS random ones (or its centre).

    What is more than MOMENTS_BYTES goes into a file without a name in the file system of `folder`.
    """
    values = MomentStore(folder)
    crops, labels = [], []
    total = 0
    for number, (ref, image) in enumerate(open_shots(shots, "train")):
        heed_stop()
        draw = runtime.generator("adapt.crop", seed, number)
        with handling(ref.key):
            cuts = [normalised(cut) for cut in squares(image, sd.resolution, settings.crop, draw)]
        for cut in cuts:
            found = sd.moments(cut[None]).float().cpu()[0]
            if not found.isfinite().all():
                raise not_finite(f"the VAE's encoding of the shot {ref.key!r}", runtime.precision(), settings)
            values.append(found)
        crops.append(range(total, total + len(cuts)))
        labels.append(ref.label)
        total += len(cuts)
    return Moments(values, crops, labels)


def squares(image: Image.Image, side: int, crop: str, draw: torch.Generator) -> list[Image.Image]:
    """`image` with its shorter side resized to `side` (bilinear), cut to squares."""
    width, height = scaled_size(image, side)
    if width == height or crop == "center":
        offsets = [((width - side) // 2, (height - side) // 2)]
    else:
        spots = torch.rand(CROPS, 2, generator=draw).tolist()
        offsets = [(int(x * (width - side + 1)), int(y * (height - side + 1))) for x, y in spots]
    return cut_squares(image, side, offsets, Image.Resampling.BILINEAR)


def normalised(image: Image.Image) -> Tensor:
    """RGB image to (3, H, W) float32 in [-1, 1]."""
    return vision.pil_to_tensor(image).float() / 127.5 - 1
