"""What can be known of a request's models before anything is queued. No torch here."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from datadream.errors import UserError
from datadream.models.clip_folder import describe_clip
from datadream.models.configs import read_config
from datadream.models.diffusion_folder import describe_diffusion, side_of
from datadream.models.presets import ModelRef


def check_models(diffusion: ModelRef | None, solvers: Iterable[str], clip: ModelRef, trained: bool) -> None:
    """Refuse a local model that is of another make, or not whole.

    `diffusion` is None when no image is drawn; `solvers` are the values of `generate.scheduler`; `trained` is whether
    LoRA goes into the CLIP. Models on the hub are looked at when they are loaded.
    """
    if diffusion is not None and diffusion.digest and Path(diffusion.location).is_dir():
        _check_diffusion(diffusion, frozenset(solvers))
    if clip.digest and Path(clip.location).is_dir():
        _check_clip(clip, trained)


# A folder that was found good is good as long as its digest is the same; a screen asks at every key.
@lru_cache(maxsize=32)
def _check_diffusion(ref: ModelRef, solvers: frozenset[str]) -> None:
    describe_diffusion(Path(ref.location), solvers)


@lru_cache(maxsize=32)
def _check_clip(ref: ModelRef, trained: bool) -> None:
    describe_clip(Path(ref.location), trained=trained)


def resolution_of(ref: ModelRef) -> int | None:
    """Pixels a side of a local diffusion model's images; None where its folder doesn't say."""
    try:
        folder = Path(ref.location)
        blocks = read_config(folder / "vae" / "config.json").get("block_out_channels")
        side = side_of(read_config(folder / "unet" / "config.json").get("sample_size"))
    except UserError:
        return None
    return side * 2 ** (len(blocks) - 1) if side and isinstance(blocks, list) and 0 < len(blocks) < 16 else None
