"""What can be known of a request's models before anything is queued. No torch here."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from datadream.models.clip_folder import describe_clip, describe_weights
from datadream.models.diffusion_folder import describe_diffusion
from datadream.models.digests import weights_file
from datadream.models.kinds import diffusion_kind
from datadream.models.presets import ModelRef


def check_models(diffusion: ModelRef | None, solvers: Iterable[str], clip: ModelRef, trained: bool) -> None:
    """Refuse a local model that is of another make, or not whole.

    `diffusion` is None when no image is drawn; `solvers` are the values of `generate.scheduler`; `trained` is whether
    LoRA goes into the CLIP. Models on the hub are looked at when they are loaded.
    """
    if diffusion is not None and diffusion.digest:
        _check_diffusion(diffusion, frozenset(solvers))
    if clip.digest:
        _check_clip(clip, trained)


# A model that was found good is good as long as its digest is the same; a screen asks at every key.
@lru_cache(maxsize=32)
def _check_diffusion(ref: ModelRef, solvers: frozenset[str]) -> None:
    describe_diffusion(Path(ref.location), solvers)


@lru_cache(maxsize=32)
def _check_clip(ref: ModelRef, trained: bool) -> None:
    if (given := weights_file(ref.location)) is not None:
        describe_weights(*given, trained=trained)
    else:
        describe_clip(Path(ref.location), trained=trained)


def resolution_of(ref: ModelRef) -> int | None:
    """Pixels a side of a local diffusion model's images; None where its folder doesn't say."""
    kind = diffusion_kind(ref.location, None) if ref.digest else None
    return (kind.side or None) if kind else None
