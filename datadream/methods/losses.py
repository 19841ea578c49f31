"""What the classifier minimises over a batch of real and synthetic images.

A loss is a function (logits_real, y_real, logits_synth, y_synth, real_weight) -> scalar. Logits (B, N); labels (B,) or,
mixed, (B, N).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

Loss = Callable[[Tensor, Tensor, Tensor, Tensor, float], Tensor]


def mixed(logits_real: Tensor, y_real: Tensor, logits_synth: Tensor, y_synth: Tensor, real_weight: float) -> Tensor:
    """L_C = real_weight * CE(real) + (1 - real_weight) * CE(synth) (Kim et al. 2024, section 3.3).

    Each CE is the mean over its own rows, so the weight does not depend on how many of each a batch holds; a batch
    without one kind contributes only the other, with its weight.
    """
    loss = logits_real.new_zeros(()) if len(logits_real) else logits_synth.new_zeros(())
    if len(logits_real):
        loss = loss + real_weight * F.cross_entropy(logits_real, y_real)
    if len(logits_synth):
        loss = loss + (1 - real_weight) * F.cross_entropy(logits_synth, y_synth)
    return loss


def pooled(logits_real: Tensor, y_real: Tensor, logits_synth: Tensor, y_synth: Tensor, real_weight: float) -> Tensor:
    """CE over all rows alike, whatever they are (the usual mixing, and that of replacement: DiffDA-Eval, 2026).

    `real_weight` counts for nothing.
    """
    del real_weight
    return F.cross_entropy(torch.cat([logits_real, logits_synth]), torch.cat([y_real, y_synth]))
