"""Which of a class's drawn images a classifier trains on: one drawn pool, many selections.

A selection is a function (request) -> indices to keep, of the drawn images of one class.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from datadream.models import runtime


@dataclass(frozen=True)
class Request:
    """The drawn images of class `class_` by their unit CLIP features `drawn` (n, d), those of the class's shots `shots`
    (K, d), and every class's prompt `texts` (N, d), in the order of the set; `scale` is CLIP's, of cosines to logits.
    `count` is how many to keep at most. A selection that looks at no image gets empty features, and n as `total`.
    """

    class_: int
    total: int
    count: int
    seed: int
    drawn: Tensor
    shots: Tensor
    texts: Tensor
    scale: float = 100.0


Selection = Callable[[Request], list[int]]


def every(request: Request) -> list[int]:
    """The first `count` that were drawn: all of them, unless fewer are asked for."""
    return list(range(min(request.total, request.count)))


def clip_filter(request: Request) -> list[int]:
    """Those whose class CLIP finds likelier than chance, softmax(scale * cos)[class_] > 1/N; of more than `count` a
    random choice, of fewer the `count` likeliest (IsSynth, He et al. 2023, arXiv 2210.07574).
    """
    likely = (request.scale * request.drawn @ request.texts.T).softmax(dim=1)[:, request.class_]
    passing = (likely > 1 / len(request.texts)).nonzero()[:, 0]
    if len(passing) < request.count:
        return sorted(likely.argsort(descending=True, stable=True)[: request.count].tolist())
    draw = runtime.generator("select", request.seed, request.class_)
    return sorted(passing[torch.randperm(len(passing), generator=draw)[: request.count]].tolist())
