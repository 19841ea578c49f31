"""Images for the classifier: read, fitted, augmented. uint8 until the model's own normalisation."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as vision

from datadream.models import runtime

KEEP_BYTES = 2 << 30  # decoded images held in memory; above this they are read again every time
Reader = Callable[[], Image.Image]


class ImageBank:
    """Images by number, each read through its reader once while there is room for them."""

    def __init__(self, readers: Sequence[Reader]) -> None:
        self._readers = list(readers)
        self._kept: dict[int, Image.Image] = {}
        self._room = KEEP_BYTES

    def __len__(self) -> int:
        return len(self._readers)

    def __getitem__(self, i: int) -> Image.Image:
        image = self._kept.get(i)
        if image is None:
            image = self._readers[i]()
            size = 3 * image.width * image.height
            if size <= self._room:
                self._room -= size
                self._kept[i] = image
        return image


def fit(image: Image.Image, side: int) -> Tensor:
    """CLIP's test transform: shorter side to `side` (bicubic), centre crop; uint8 (3, side, side)."""
    width, height = image.size
    scale = side / min(width, height)
    width, height = max(side, round(width * scale)), max(side, round(height * scale))
    image = image.resize((width, height), Image.Resampling.BICUBIC)
    left, top = (width - side) // 2, (height - side) // 2
    return vision.pil_to_tensor(image.crop((left, top, left + side, top + side)))


def training_batch(images: Sequence[Image.Image], augment: str, side: int, seed: int, step: int) -> Tensor:
    """Augmented uint8 images (B, 3, side, side); each image's draws are keyed by (seed, step, place in the batch)."""
    if augment in ("none", "affine"):
        plain = torch.stack([fit(image, side) for image in images])
        return plain if augment == "none" else affine(plain, runtime.generator("augment", seed, step))
    chain = CHAINS[augment](side)
    done = []
    for place, image in enumerate(images):
        runtime.seed_global("augment", seed, step, place)
        done.append(vision.pil_to_tensor(chain(image)))
    return torch.stack(done)


def affine(images: Tensor, draw: torch.Generator) -> Tensor:
    """Rotation up to 15°, scale 0.85..1.15, shear up to 0.15, shift up to 10 %, one draw an image; no flips."""
    n = len(images)

    def between(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(n, generator=draw)

    angle, shear = between(-math.pi / 12, math.pi / 12), between(-0.15, 0.15)
    wide, high = between(0.85, 1.15), between(0.85, 1.15)
    cos, sin = torch.cos(angle), torch.sin(angle)
    rows = [
        torch.stack([wide * cos, shear - high * sin, between(-0.2, 0.2)], dim=1),
        torch.stack([shear + wide * sin, high * cos, between(-0.2, 0.2)], dim=1),
    ]
    grid = F.affine_grid(torch.stack(rows, dim=1), [*images.shape], align_corners=False)
    moved = F.grid_sample(images.float(), grid, padding_mode="border", align_corners=False)
    return moved.round().clamp(0, 255).to(torch.uint8)


def _crop(side: int) -> v2.Transform:
    return v2.Compose(
        [
            v2.RandomResizedCrop(side, scale=(0.25, 1.0), interpolation=v2.InterpolationMode.BICUBIC),
            v2.RandomHorizontalFlip(),
        ]
    )


def _datadream(side: int) -> v2.Transform:
    """The authors' chain, in their order."""
    return v2.Compose(
        [
            v2.RandAugment(num_ops=2, magnitude=9),
            _crop(side),
            v2.RandomApply([v2.ColorJitter(0.4, 0.4, 0.2, 0.1)], p=0.8),
            v2.RandomGrayscale(p=0.2),
            v2.RandomApply([v2.GaussianBlur(kernel_size=13, sigma=(0.1, 2.0))], p=0.2),
            v2.RandomSolarize(threshold=128, p=0.2),
        ]
    )


CHAINS = {"crop": _crop, "datadream": _datadream}
