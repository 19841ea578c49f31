"""What an image is drawn from: the latents that the sampler begins with, and at which of its steps it begins.

A start is a function (request) -> (latents, first). Latents (n, c, h, w) float32 on the CPU, as noisy as the sampler
expects them at its step `first`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from datadream.errors import UserError
from datadream.models import runtime

MIDWAY = "choose another, as -o generate.scheduler=dpm++2m"


@dataclass(frozen=True)
class Request:
    """Images `places` (class, index), drawn by `solver` in `steps` steps.

    `moments` are (K, 2 * c, h, w) of E(x) for the class's shots, unscaled; None for a start that needs none.
    `strength` is the part of the steps that is taken, 0 to 1.
    """

    solver: Any
    steps: int
    shape: tuple[int, int, int]
    seed: int
    places: Sequence[tuple[int, int]]
    strength: float = 1.0
    moments: Tensor | None = None
    scaling_factor: float = 1.0


Start = Callable[[Request], tuple[Tensor, int]]


def from_noise(request: Request) -> tuple[Tensor, int]:
    """Standard normal, times what the sampler calls its first sigma (Kim et al. 2024, section 3.2)."""
    return _noise(request) * request.solver.init_noise_sigma, 0


def from_shots(request: Request) -> tuple[Tensor, int]:
    """A real shot of the class, drawn with replacement, noised to `strength` (DISEF, da Costa et al. 2024; the real
    guidance of He et al. 2023): z = q(E(x), t_first), first = steps - round(strength * steps).

    Raises UserError for a sampler that can't begin midway.
    """
    assert request.moments is not None
    solver, first = request.solver, request.steps - max(1, round(request.strength * request.steps))
    if len(solver.timesteps) != request.steps:  # several predictions a step, or a history that begins at the first
        raise UserError(f"{type(solver).__name__} can't begin midway, from noised shots", hint=MIDWAY)
    rows, draws = [], []
    for place in request.places:
        draw = runtime.generator("generate.shot", request.seed, *place)
        rows.append(int(torch.randint(len(request.moments), (), generator=draw)))
        draws.append(torch.randn(request.shape, generator=draw))
    mean, logvar = request.moments[rows].chunk(2, dim=1)
    clean = (mean + torch.exp(0.5 * logvar.clamp(-30, 20)) * torch.stack(draws)) * request.scaling_factor
    if hasattr(solver, "set_begin_index"):
        solver.set_begin_index(first)
    t = solver.timesteps[first].cpu().repeat(len(clean))
    return solver.add_noise(clean, _noise(request), t), first


def _noise(request: Request) -> Tensor:
    """Image i of class c has noise of its own, from (seed, c, i) alone."""
    return torch.stack([runtime.normal(request.shape, "generate", request.seed, *place) for place in request.places])
