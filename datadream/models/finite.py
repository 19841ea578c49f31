"""Numbers that aren't finite: found at the first step that has one, without making a GPU wait for each answer."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor


class Watch:
    """Remembers, on the device, the first step at which each of some named values was not finite."""

    def __init__(self) -> None:
        self._names: tuple[str, ...] = ()
        self._first: Tensor | None = None

    def look(self, step: int, **values: Tensor) -> None:
        """Note `step` for each value that holds NaN or infinity now and never did; the same names in every call."""
        bad = torch.stack([~value.detach().isfinite().all() for value in values.values()])
        if self._first is None:
            self._names = tuple(values)
            self._first = torch.full_like(bad, -1, dtype=torch.int64)
        self._first = torch.where((self._first < 0) & bad, step, self._first)

    def found(self, *, wait: bool = False) -> tuple[str, int] | None:
        """(name, step) of the first that was not finite. Values on a GPU are only asked for with `wait`."""
        if self._first is None or (self._first.device.type != "cpu" and not wait):
            return None
        steps = [(name, step) for name, step in zip(self._names, self._first.tolist(), strict=True) if step >= 0]
        return min(steps, key=lambda found: found[1], default=None)


@torch.no_grad()
def not_finite(tensors: Iterable[tuple[str, Tensor]]) -> list[str]:
    """The names of those floating tensors that hold NaN or infinity; one pass, and one wait for the device."""
    named = [(name, tensor) for name, tensor in tensors if tensor.is_floating_point() and tensor.numel()]
    if not named:
        return []
    # Least and greatest in one pass and without a copy; NaN comes out of both.
    ends = torch.stack([torch.stack(torch.aminmax(tensor.detach())).float() for _, tensor in named])
    good = ends.isfinite().all(dim=1).tolist()
    return [name for (name, _), fine in zip(named, good, strict=True) if not fine]
