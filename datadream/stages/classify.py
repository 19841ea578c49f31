"""LoRA-fine-tune CLIP on real images, synthetic ones, or both (paper section 3.3), and count what it gets right.

The last checkpoint is reported, never the best on the test images. Zero-shot is the same evaluation of the
untouched model.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms import v2

from datadream import durable
from datadream.data.decode import handling
from datadream.data.image_folders import image_file
from datadream.data.shots import image_reader, open_shots
from datadream.errors import UserError
from datadream.methods import plugs
from datadream.methods.losses import Loss
from datadream.models import runtime
from datadream.models.clip import PROJECTIONS, Clip, load_clip
from datadream.models.lora import Lora, save_adapter
from datadream.stages.emit import heed_stop
from datadream.stages.failing import not_finite
from datadream.stages.loop import Loop, Schedule
from datadream.stages.pixels import ImageBank, Reader, fit, training_batch
from datadream.stages.select import missing
from datadream.stages.settings import ClassifySettings
from datadream.stages.task import Result, Task
from datadream.stages.told import warn_of_clip

EVAL_BATCH = 256
UNMARK = "remove marks with `datadream synth mark --undo`"


@dataclass(frozen=True)
class Pool:
    """Training images with labels and where they come from; real ones repeated to balance the synthetic."""

    images: ImageBank
    names: list[str]
    labels: list[int]
    real: list[bool]
    order: list[int]  # indices into the four above, repeats included


def classify(task: Task[ClassifySettings]) -> Result:
    """Train (unless `data` is none), evaluate, and write into `out`:

    `classifier.safetensors` (the adapter), `predictions.csv` (key, label, prediction, confidence), `logits.safetensors`
    (n, N) float16, `scores.json` (correct, n, per class, confusion counts [label][prediction]). Returns the totals.
    Synthetic images that a selection leaves out, or that are `excluded`, aren't trained on; the steps stay the same.
    """
    settings, shots = task.settings, task.few
    clip = load_clip(task.backbone)
    warn_of_clip(clip, shots.classes, shots.prompts, task.emit)
    ids = clip.tokens(shots.prompts)
    if task.data == "none":
        _evaluate(clip, ids, task)
        return {"steps": 0, "image_passes": 0}
    targets = [PROJECTIONS[target] for target in settings.targets]
    parts = {"clip": (clip.model, clip.reach(settings.targets))}
    lora = Lora(parts, rank=settings.rank, alpha=settings.alpha, dropout=settings.dropout)
    try:
        pool = make_pool(task)
        steps = settings.total_steps(len(shots.classes))
        _train(task, clip, lora, ids, pool, steps)
        save_adapter(task.out / "classifier.safetensors", lora.adapter(), {"clip": targets})
        _evaluate(clip, ids, task)
    finally:
        lora.detach()
    return {"steps": steps, "image_passes": steps * settings.batch_size}


def make_pool(task: Task[ClassifySettings]) -> Pool:
    """Real shots, each `images_per_class // shots` times, beside the synthetic images that aren't left out; or one
    kind alone. Raises UserError when that leaves a class without any image.
    """
    shots, synthetic = task.few, task.inputs.get("synthetic")
    chosen = missing(task.path("selection"))
    marked = chosen.marked.union(task.excluded)
    excluded = marked | chosen.left_out
    readers: list[Reader] = []
    names: list[str] = []
    labels: list[int] = []
    real: list[bool] = []
    order: list[int] = []
    if task.data in ("real", "real+synth"):
        read = image_reader(shots)
        for ref in shots.train:
            readers.append(partial(read, ref))
            names.append(ref.key)
            labels.append(ref.label)
            real.append(True)
        order = list(range(len(readers))) * max(1, task.images_per_class // shots.shots)
    if task.data in ("synth", "real+synth"):
        assert synthetic is not None
        for label, folder in enumerate(synthetic.image_folders or [class_.folder for class_ in shots.classes]):
            for index in range(task.images_per_class):
                name = f"{folder}/{image_file(index)}"
                if name in excluded:
                    continue
                path = synthetic.path / "data" / "train" / name
                order.append(len(readers))
                readers.append(partial(_read, path))
                names.append(name)
                labels.append(label)
                real.append(False)
    held = set(labels)
    empty = [class_.name for label, class_ in enumerate(shots.classes) if label not in held]
    if empty:
        by_hand = not chosen.left_out
        why, hint = ("marked as bad", UNMARK) if by_hand else ("marked or not selected", "raise select.keep")
        raise UserError(
            f"all images of {empty[0]!r} are {why}, so the class has no training images",
            hint=f"{hint}, or add real images with --data real+synth",
        )
    images = ImageBank(readers)
    for i in range(sum(real)):
        images[i]  # a shot that is gone or has changed is told now, not in the middle of the training
    return Pool(images, names, labels, real, order)


def _read(path: Path) -> Image.Image:
    with handling(str(path)), Image.open(path) as image:
        return image.convert("RGB")


def _train(task: Task[ClassifySettings], clip: Clip, lora: Lora, ids: Tensor, pool: Pool, steps: int) -> None:
    """Minimise L_C of section 3.3, or another of `methods.losses`, over `steps` batches of the pool."""
    settings, seed, emit = task.settings, task.seed, task.emit
    lora.reset("classify.init", seed)
    warmup = int(settings.warmup * steps)
    loop = Loop(
        lora.parameters,
        Schedule(steps, settings.learning_rate, warmup, settings.min_learning_rate),
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        checkpoint=task.checkpoint,
        blame=lambda what, where: not_finite(what, where, settings),
    )
    weight = {"real": 1.0, "synth": 0.0, "real+synth": settings.real_weight}[task.data]
    loss_of: Loss = plugs.find("losses", settings.loss)
    lora.train(True)
    size, classes = settings.batch_size, len(ids)
    while loop.running:
        step = loop.step
        chosen = [pool.order[i] for i in runtime.stream(len(pool.order), "classify.order", seed, step * size, size)]
        named = ((pool.names[i], pool.images[i]) for i in chosen)
        images = training_batch(named, settings.augment, clip.resolution, seed, step)
        labels = torch.tensor([pool.labels[i] for i in chosen]).to(runtime.device())
        real = torch.tensor([pool.real[i] for i in chosen]).to(runtime.device())
        x = clip.normalise(images)
        y = F.one_hot(labels, classes).float()
        runtime.seed_global("classify.mix", seed, step)
        if torch.rand(()).item() < settings.mix:
            mix = (v2.CutMix, v2.MixUp)[int(torch.randint(2, ()))](num_classes=classes)
            for rows in (real.nonzero()[:, 0], (~real).nonzero()[:, 0]):
                if len(rows):
                    x[rows], y[rows] = mix(x[rows], labels[rows])
        runtime.seed_global("classify.dropout", seed, step)
        text = clip.encode_text(ids)  # before the images: dropout draws from one stream
        logits = clip.logits(clip.encode_image(x), text)
        loss = loss_of(logits[real], y[real], logits[~real], y[~real], weight)
        loop.update(loss)
        if loop.tells:
            emit({"kind": "metric", "step": loop.step, "loss": loss.item()})
            emit({"kind": "progress", "done": loop.step, "total": steps, "unit": "steps"})
    lora.train(False)


@torch.no_grad()
def _evaluate(clip: Clip, ids: Tensor, task: Task[ClassifySettings]) -> None:
    """Every image of the reported part once, in the set's order.

    Raises Stopped between two batches, and UserError when an answer is not finite.
    """
    settings, shots, out, emit = task.settings, task.few, task.out, task.emit
    text = clip.encode_text(ids)
    if not text.isfinite().all():
        raise not_finite(f"the feature of the prompt {_first_bad(text, shots.prompts)!r}", "", settings)
    refs, parts = [], []
    batch: list[Tensor] = []
    total = len(getattr(shots, settings.evaluate))
    for ref, image in open_shots(shots, settings.evaluate):
        refs.append(ref)
        with handling(ref.key):
            batch.append(fit(image, clip.resolution))
        if len(batch) == EVAL_BATCH or len(refs) == total:
            heed_stop()
            features = clip.encode_image(clip.normalise(torch.stack(batch)))
            answers = clip.logits(features, text).float().cpu()
            for what, values in (("feature", features.cpu()), ("answer", answers)):
                if not values.isfinite().all():
                    keys = [ref.key for ref in refs[-len(batch) :]]
                    raise not_finite(f"the {what} for the image {_first_bad(values, keys)!r}", "", settings)
            parts.append(answers)
            batch = []
            emit({"kind": "progress", "done": len(refs), "total": total, "unit": "images checked"})
    logits = torch.cat(parts)
    if not logits.half().isfinite().all():
        raise not_finite(
            f"a logit (up to {logits.abs().max():.3g})", "in float16, the format they are saved in", settings
        )
    predictions = logits.argmax(dim=1)
    labels = torch.tensor([ref.label for ref in refs])
    scores = score(labels, predictions, len(shots.classes))
    confidence = logits.softmax(dim=1).max(dim=1).values
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["key", "label", "prediction", "confidence"])
    for ref, prediction, sure in zip(refs, predictions.tolist(), confidence.tolist(), strict=True):
        writer.writerow([ref.key, ref.label, prediction, f"{sure:.4f}"])
    durable.write_text(out / "predictions.csv", table.getvalue())
    durable.write_safetensors(out / "logits.safetensors", {"logits": logits.half()})
    durable.write_json(out / "scores.json", {"split": settings.evaluate, **scores})


def _first_bad(rows: Tensor, names: Sequence[str]) -> str:
    """Whose row is the first that is not finite."""
    return names[int((~rows.isfinite().all(dim=1)).nonzero()[0])]


def score(labels: Tensor, predictions: Tensor, classes: int) -> dict[str, object]:
    """Exact counts: `correct`, `n`, `per_class` [[correct, n], ...] and `confusion` [label][prediction]."""
    confusion = torch.bincount(labels * classes + predictions, minlength=classes * classes).reshape(classes, classes)
    per_class = [[int(confusion[i, i]), int(confusion[i].sum())] for i in range(classes)]
    return {
        "correct": int(confusion.diagonal().sum()),
        "n": len(labels),
        "per_class": per_class,
        "confusion": confusion.tolist(),
    }
