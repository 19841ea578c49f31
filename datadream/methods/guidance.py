"""How the UNet's two predictions of a step, for the empty prompt and for the class's, become the one that is followed.

A rule is a function (empty, prompted, scale, part) -> prediction. Predictions (n, c, h, w) are eps or v, as the UNet
was trained; `part` is how much of the sampling is done, 0 at the first step to 1 at the last.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

Guidance = Callable[[Tensor, Tensor, float, float], Tensor]
INTERVAL = (0.2, 0.8)  # ours: the paper's interval is one of noise levels, tuned for each model


def constant(empty: Tensor, prompted: Tensor, scale: float, part: float) -> Tensor:
    """empty + scale * (prompted - empty) at every step (Ho and Salimans 2022)."""
    del part
    return empty + scale * (prompted - empty)


def interval(empty: Tensor, prompted: Tensor, scale: float, part: float) -> Tensor:
    """The same in the middle of the sampling alone, and the prompted prediction as it is before and after
    (Kynkäänniemi et al. 2024, arXiv 2404.07724): early guidance costs variety, late guidance does nothing.
    """
    low, high = INTERVAL
    return constant(empty, prompted, scale, part) if low <= part <= high else prompted
