"""Draw the synthetic set (paper section 4.1): N images a class, class-free guidance, adapter merged in place.

Image i of class c starts from noise drawn from (seed, class, i) alone; a sampler that adds noise on its way draws
that from them too. A class is cut into fixed runs of `batch_size` images; a run that an interruption left incomplete
is redone whole, so that on the CPU even the bytes agree.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from datadream import durable
from datadream.data.decode import handling
from datadream.data.image_folders import image_file
from datadream.data.prompts import ClassInfo
from datadream.data.shots import ShotSet, image_reader
from datadream.methods import plugs
from datadream.methods.guidance import Guidance
from datadream.methods.starts import Request, Start
from datadream.models import runtime
from datadream.models.diffusion import Diffusion, load_diffusion, takes_generator, to_bytes
from datadream.models.finite import Watch
from datadream.models.lora import Merger, load_adapter
from datadream.stages.adapt import find_adapter, normalised, squares
from datadream.stages.emit import heed_stop
from datadream.stages.failing import not_finite
from datadream.stages.kept import Finished
from datadream.stages.settings import GenerateSettings
from datadream.stages.task import Result, Task
from datadream.stages.told import warn_of_diffusion

WRITERS = 2
PENDING_MAX = 256  # encoded images waiting for a writer: bounds memory when the disk is slower than the model
PNG_LEVEL = 1  # lossless at any level; 1 is seven times faster than the default


@dataclass(frozen=True)
class Run:
    """Images start..stop-1 of one class, denoised together."""

    class_: int
    start: int
    stop: int


def runs(settings: GenerateSettings, classes: int) -> list[Run]:
    """The fixed partition of the whole set, class by class."""
    size, count = settings.batch_size, settings.images_per_class
    return [
        Run(class_, start, min(start + size, count)) for class_ in range(classes) for start in range(0, count, size)
    ]


def generate(task: Task[GenerateSettings]) -> Result:
    """Write `out` as an image folder (torchvision and Hugging Face): README.md, data/train/<class>/<i>.png and
    data/train/metadata.jsonl. A shard (i, n) holds the images of every n-th run from the i-th, and nothing else.
    `task.folders` name the class folders where the classes' own won't do.

    Complete runs already in `out` are kept while each image has the sha256 that `checkpoint` remembers or `known` (by
    name in `out`) says; all others are drawn again. The shots are for a start from real images.

    Raises UserError when the disk fills, a part of the adapter fits nothing in the model, or a number is not finite;
    Stopped when asked to.
    """
    train = task.out / "data" / "train"
    classes = task.classes
    if task.folders:
        classes = tuple(
            class_.model_copy(update={"folder": folder}) for class_, folder in zip(classes, task.folders, strict=True)
        )
    for class_ in classes:
        durable.make_dir(train / class_.folder)
    first, step = task.shard or (0, 1)
    mine = runs(task.settings, len(classes))[first::step]
    finished = Finished(task.out, task.checkpoint, task.known)
    try:
        if not all(_drawn(finished, train, classes, run) for run in mine):
            _draw(task, classes, train, mine, finished)
    finally:
        finished.close()
    if task.shard is None:
        rows = metadata(task, classes, train)
        text_rows = "".join(json.dumps(row, ensure_ascii=False, sort_keys=True) + "\n" for row in rows)
        durable.write_text(train / "metadata.jsonl", text_rows)
        durable.write_text(task.out / "README.md", CARD + RENAMED if task.folders else CARD)
    return {}


def _files(train: Path, classes: Sequence[ClassInfo], run: Run) -> list[Path]:
    return [train / classes[run.class_].folder / image_file(i) for i in range(run.start, run.stop)]


def _drawn(finished: Finished, train: Path, classes: Sequence[ClassInfo], run: Run) -> bool:
    heed_stop()  # every image that is there is hashed
    return all(finished.holds(path) for path in _files(train, classes, run))


def _draw(
    task: Task[GenerateSettings], classes: Sequence[ClassInfo], train: Path, mine: Sequence[Run], finished: Finished
) -> None:
    """The images of those runs in `mine` that aren't all there."""
    settings, prompts, seed, emit = task.settings, task.prompts, task.seed, task.emit
    adapter, shots = task.path("adapter"), task.shots
    sd = load_diffusion(task.backbone)
    warn_of_diffusion(sd, classes, prompts, emit)
    merger = Merger({"unet": sd.unet, "text_encoder": sd.text_encoder})
    total = sum(run.stop - run.start for run in mine)
    done = 0
    merged: Path | None = None
    text: Tensor | None = None
    moments: Tensor | None = None
    current = -1
    writers = ThreadPoolExecutor(WRITERS, thread_name_prefix="png")
    pending: list[Future[None]] = []
    try:
        for run in mine:
            if not _drawn(finished, train, classes, run):
                paths = _files(train, classes, run)
                if run.class_ != current:
                    file = find_adapter(adapter, run.class_) if adapter else None
                    if file != merged:
                        merger.merge(load_adapter(file) if file else None)
                        merged = file
                    text, current = guidance_text(sd, prompts[run.class_]), run.class_
                    if not text.isfinite().all():
                        what = f"the text encoder's output for the prompt {prompts[run.class_]!r}"
                        raise not_finite(what, runtime.precision(), settings)
                    if settings.start != "noise" and shots is not None:
                        moments = class_moments(sd, shots, run.class_, settings)
                assert text is not None
                images = denoise(sd, settings, text, run, seed, classes[run.class_].name, moments)
                pending += [
                    writers.submit(_finish, finished, path, image) for path, image in zip(paths, images, strict=True)
                ]
                while len(pending) > PENDING_MAX:
                    pending.pop(0).result()
            done += run.stop - run.start
            emit({"kind": "progress", "done": done, "total": total, "unit": "images"})
        for future in pending:
            future.result()
    finally:
        writers.shutdown(cancel_futures=True)
        merger.restore()


@torch.no_grad()
def guidance_text(sd: Diffusion, prompt: str) -> Tensor:
    """Text states of "" and `prompt` through the (adapted) text encoder: (2, tokens, width)."""
    return sd.encode_prompts(["", prompt]).to(runtime.base_dtype())


@torch.no_grad()
def class_moments(sd: Diffusion, shots: ShotSet, class_: int, settings: GenerateSettings) -> Tensor:
    """Mean and log-variance of E(x) for the centre square of each shot of a class: (K, 2 * c, h, w), CPU."""
    read, found = image_reader(shots), []
    for ref in shots.train:
        if ref.label == class_:
            with handling(ref.key):
                (cut,) = squares(read(ref), sd.resolution, "center", torch.Generator())
            found.append(sd.moments(normalised(cut)[None]).float().cpu()[0])
            if not found[-1].isfinite().all():
                raise not_finite(f"the VAE's encoding of the shot {ref.key!r}", runtime.precision(), settings)
    return torch.stack(found)


@torch.no_grad()
def denoise(
    sd: Diffusion,
    settings: GenerateSettings,
    text: Tensor,
    run: Run,
    seed: int,
    name: str = "",
    moments: Tensor | None = None,
) -> Tensor:
    """One run's images, uint8 (n, H, W, 3).

    `settings.start` says what they are drawn from (`moments`: of the class's shots), `settings.cfg` what is made
    of the predictions for "" and the prompt. Noise that the sampler adds is drawn image by image. Raises UserError,
    naming the class by `name`, at the first step whose latents aren't finite, or when the images aren't.
    """
    solver = sd.solver(settings.scheduler, settings.num_inference_steps)
    places = [(run.class_, index) for index in range(run.start, run.stop)]
    start: Start = plugs.find("starts", settings.start)
    guide: Guidance = plugs.find("guidance", settings.cfg)
    request = Request(
        solver=solver,
        steps=settings.num_inference_steps,
        shape=sd.latent_shape,
        seed=seed,
        places=places,
        strength=settings.start_strength,
        moments=moments,
        scaling_factor=sd.vae.config.scaling_factor,
    )
    latents, first = start(request)
    latents = latents.to(runtime.device())
    steps = solver.timesteps[first:]
    draws = {}
    if takes_generator(solver):
        draws = {"generator": [runtime.generator("generate.step", seed, *place) for place in places]}
    guided = settings.guidance_scale > 1
    states = text.repeat_interleave(len(places), dim=0) if guided else text[1:].expand(len(places), -1, -1)
    watch = Watch()
    for number, t in enumerate(steps, start=1):
        heed_stop()
        given = solver.scale_model_input(latents, t).to(runtime.base_dtype())
        eps = sd.denoise(torch.cat([given, given]) if guided else given, t.to(latents.device), states).float()
        if guided:
            empty, prompted = eps.chunk(2)
            eps = guide(empty, prompted, settings.guidance_scale, (number - 1) / max(1, len(steps) - 1))
        latents = solver.step(eps, t, latents, **draws).prev_sample
        watch.look(number, latents=latents)
        found = watch.found(wait=number == len(steps))
        if found is not None:
            where = f"at sampling step {found[1]} of {len(steps)}, {_images(run, name)}"
            raise not_finite("a latent", where, settings)
    images = sd.decode(latents)
    if not images.isfinite().all():
        where = f"{runtime.precision()}, so they would be black"
        raise not_finite(f"the VAE's decoding of {_images(run, name)}", where, settings)
    return to_bytes(images)


def _images(run: Run, name: str) -> str:
    return f"images {run.start} to {run.stop - 1} of class {name or run.class_!r}"


def write_png(path: Path, image: Tensor) -> str:
    """uint8 (H, W, 3) as a lossless PNG, atomically; its sha256."""
    buffer = io.BytesIO()
    Image.fromarray(image.numpy()).save(buffer, format="PNG", compress_level=PNG_LEVEL)
    durable.write_bytes(path, buffer.getvalue())
    return hashlib.sha256(buffer.getvalue()).hexdigest()


def _finish(finished: Finished, path: Path, image: Tensor) -> None:
    finished.add(path, write_png(path, image))


def metadata(
    task: Task[GenerateSettings], classes: Sequence[ClassInfo], train: Path
) -> Iterator[dict[str, str | int | float]]:
    """One row an image of `classes` (as their folders are called here), the same keys in every row.

    `file_name` is relative to `train`; `folder` is the source's, where the folders here are called otherwise.
    """
    settings = task.settings
    adapter = task.inputs.get("adapter")
    for label, class_ in enumerate(classes):
        heed_stop()
        for index in range(settings.images_per_class):
            path = train / class_.folder / image_file(index)
            yield {
                "file_name": f"{class_.folder}/{image_file(index)}",
                "label": class_.name,
                "prompt": task.prompts[label],
                "negative_prompt": "",
                "seed": task.seed,
                "index": index,
                "guidance_scale": settings.guidance_scale,
                "num_inference_steps": settings.num_inference_steps,
                "scheduler": settings.scheduler,
                "adapter": adapter.id if adapter else "",
                "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
                **({"folder": task.classes[label].folder} if task.folders else {}),
            }


# Two configurations, because a matched metadata file takes the place of folder labels in Hugging Face datasets.
CARD = """---
configs:
- config_name: default
  default: true
  data_files:
  - split: train
    path: data/train/*/*.png
- config_name: prompts
  data_files:
  - split: train
    path: data/train/**
---

# A synthetic image set

`data/train/<class>/<index>.png`, lossless, made by DataDream. `data/train/metadata.jsonl` has a row for every image:
prompt, seed, index, guidance scale, steps, scheduler, adapter and sha256.

- torchvision: `ImageFolder("data/train")`
- Hugging Face: `load_dataset("imagefolder", ...)` through this card: `default` gives `image` and `label`, `prompts`
  gives the metadata.
"""
RENAMED = """
Class folders whose names such tools skip, or another system can't have, are called `class-NNNNN-...` here: in
`metadata.jsonl`, `label` is the class's name and `folder` the source's folder.
"""
