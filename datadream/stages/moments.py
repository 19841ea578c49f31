"""Latents of the shots between their encoding and the steps that use them: bounded in memory, whatever the shots."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from datadream import durable

MOMENTS_BYTES = 1 << 30  # held in memory; what is more lies on the disk


class MomentStore:
    """Float32 tensors of one shape, by number: the first MOMENTS_BYTES of them in memory, the others in a file.

    `held` counts the bytes in memory. Reading gives what was appended, bit for bit.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._kept: list[Tensor] = []
        self._file: durable.Scratch | None = None
        self.held = 0

    def append(self, value: Tensor) -> None:
        """One more. Raises UserError when the disk has no room for it."""
        size = value.numel() * value.element_size()
        if self._file is None and self.held + size <= MOMENTS_BYTES:
            self._kept.append(value.clone())  # else it would hold the batch it is a row of
            self.held += size
            return
        if self._file is None:
            self._file = durable.Scratch(self._folder)
            self._shape = value.shape
        self._file.append(value.contiguous().numpy().tobytes())

    def __getitem__(self, rows: Sequence[int]) -> Tensor:
        """Those of the numbers in `rows`, stacked: (len(rows), *shape)."""
        return torch.stack([self._one(row) for row in rows])

    def _one(self, row: int) -> Tensor:
        if row < len(self._kept):
            return self._kept[row]
        assert self._file is not None
        size = 4 * self._shape.numel()
        data = self._file.read((row - len(self._kept)) * size, size)
        return torch.from_numpy(np.frombuffer(data, np.float32).reshape(self._shape).copy())
