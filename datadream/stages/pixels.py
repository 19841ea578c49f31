"""Images for the models: read, cut to squares, augmented. uint8 until the model's own normalisation.

What is held is bounded: decoded images by KEEP_BYTES, what is made of one image by ENLARGED_BYTES or its own size.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as vision

from datadream.data.decode import handling
from datadream.models import runtime

KEEP_BYTES = 2 << 30  # decoded images held in memory; above this they are read again every time
PIXEL_BYTES = 4  # of an RGB pixel, as Pillow holds it
ENLARGED_BYTES = 64 << 20  # of a whole resized image; one that would be larger is cut first, and only the cut resized
Reader = Callable[[], Image.Image]


class ImageBank:
    """Images by number, each read through its reader once while there is room for them; `held` counts their bytes."""

    def __init__(self, readers: Sequence[Reader]) -> None:
        self._readers = list(readers)
        self._kept: dict[int, Image.Image] = {}
        self.held = 0

    def __len__(self) -> int:
        return len(self._readers)

    def __getitem__(self, i: int) -> Image.Image:
        image = self._kept.get(i)
        if image is None:
            image = self._readers[i]()
            size = PIXEL_BYTES * image.width * image.height
            if self.held + size <= KEEP_BYTES:
                self.held += size
                self._kept[i] = image
        return image


def fit(image: Image.Image, side: int) -> Tensor:
    """CLIP's test transform: shorter side to `side` (bicubic), centre crop; uint8 (3, side, side)."""
    width, height = scaled_size(image, side)
    offset = (width - side) // 2, (height - side) // 2
    (square,) = cut_squares(image, side, [offset], Image.Resampling.BICUBIC)
    return vision.pil_to_tensor(square)


def scaled_size(image: Image.Image, side: int) -> tuple[int, int]:
    """Width and height of `image` once its shorter side is `side`."""
    scale = side / min(image.size)
    return max(side, round(image.width * scale)), max(side, round(image.height * scale))


def cut_squares(
    image: Image.Image, side: int, offsets: Sequence[tuple[int, int]], how: Image.Resampling
) -> list[Image.Image]:
    """The squares of `side` pixels at `offsets` (left, top) of `image` resized to `scaled_size`.

    Where all of that would take more than ENLARGED_BYTES, as of a strip of one row, the squares are cut before they
    are resized, and nothing outside them is.
    """
    width, height = scaled_size(image, side)
    if PIXEL_BYTES * width * height <= ENLARGED_BYTES:
        whole = image.resize((width, height), how)
        return [whole.crop((x, y, x + side, y + side)) for x, y in offsets]
    across, down = image.width / width, image.height / height
    boxes = [
        (x * across, y * down, min((x + side) * across, image.width), min((y + side) * down, image.height))
        for x, y in offsets
    ]
    return [image.resize((side, side), how, box) for box in boxes]


def training_batch(images: Iterable[tuple[str, Image.Image]], augment: str, side: int, seed: int, step: int) -> Tensor:
    """Augmented uint8 images (B, 3, side, side); each image's draws are keyed by (seed, step, place in the batch).

    `images` are named, and taken one after another: a batch of large ones is never held as a whole.
    """
    chain = CHAINS[augment](side) if augment in CHAINS else None
    done = []
    for place, (name, image) in enumerate(images):
        with handling(name):
            if chain is None:
                done.append(fit(image, side))
            else:
                runtime.seed_global("augment", seed, step, place)
                done.append(vision.pil_to_tensor(chain(image)))
    batch = torch.stack(done)
    return affine(batch, runtime.generator("augment", seed, step)) if augment == "affine" else batch


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
