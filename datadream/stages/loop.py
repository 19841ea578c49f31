"""The training loop both adapters share: AdamW, cosine, gradient clip, checkpoint, resume to the exact step."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from datadream import durable
from datadream.stages.emit import Stopped, stopping
from datadream.stages.kept import owner_of, tensors_digest

CHECKPOINT_SECONDS = 5.0
MOMENTS = ("exp_avg", "exp_avg_sq")


@dataclass(frozen=True)
class Schedule:
    """Linear warm-up from `floor` to `peak`, then half a cosine back to `floor`."""

    steps: int
    peak: float
    warmup: int
    floor: float = 0.0

    def rate(self, step: int) -> float:
        """Learning rate of step 0..steps-1."""
        if step < self.warmup:
            return self.floor + (self.peak - self.floor) * step / self.warmup
        part = (step - self.warmup) / max(1, self.steps - self.warmup)
        return self.floor + (self.peak - self.floor) * 0.5 * (1 + math.cos(math.pi * part))


class Loop:
    """Counts steps and updates `parameters`; `step` is the next one to do.

    A checkpoint holds values, Adam's moments and the step; every draw of a step is keyed by its number, so
    nothing else is needed to go on bit for bit. `label` and the folder's owner say whose checkpoint it is; another's is
    not resumed, and neither is one whose bytes don't have the checksum they were written with.
    """

    def __init__(
        self,
        parameters: Mapping[str, nn.Parameter],
        schedule: Schedule,
        *,
        weight_decay: float,
        max_grad_norm: float,
        checkpoint: Path,
        label: str = "",
    ) -> None:
        self.parameters = dict(parameters)
        self.schedule, self.max_grad_norm = schedule, max_grad_norm
        self.path, self.label, self.owner = checkpoint / "state.safetensors", label, owner_of(checkpoint)
        values = list(self.parameters.values())
        self.optimizer = torch.optim.AdamW(values, lr=schedule.peak, weight_decay=weight_decay, fused=True)
        self.step = 0
        self._saved = time.monotonic()
        self._resume()

    @property
    def running(self) -> bool:
        """Whether steps are left."""
        return self.step < self.schedule.steps

    def update(self, loss: Tensor) -> None:
        """One optimizer step on `loss`.

        The checkpoint of the steps before comes first, so that whatever was told of them is told. Raises Stopped.
        """
        if stopping.is_set():
            self.save()
            raise Stopped
        if time.monotonic() - self._saved > CHECKPOINT_SECONDS:
            self.save()
        for group in self.optimizer.param_groups:
            group["lr"] = self.schedule.rate(self.step)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(list(self.parameters.values()), self.max_grad_norm)
        self.optimizer.step()
        self.step += 1

    def save(self) -> None:
        """Write the checkpoint."""
        tensors: dict[str, Tensor] = {}
        for name, parameter in self.parameters.items():
            tensors[f"value/{name}"] = parameter
            for moment in MOMENTS:
                tensors[f"{moment}/{name}"] = self.optimizer.state[parameter].get(moment, torch.zeros_like(parameter))
        durable.make_dir(self.path.parent)
        durable.rotate(self.path)
        words = (str(self.step), self.label, self.owner)
        metadata = dict(zip(("step", "label", "owner"), words, strict=True))
        durable.write_safetensors(self.path, tensors, {**metadata, "sha256": tensors_digest(tensors, *words)})
        self._saved = time.monotonic()

    def _resume(self) -> None:
        """Go on from the newest checkpoint that is whole; a damaged one costs the steps since the one before."""
        for path in (self.path, durable.previous(self.path)):
            if path.exists() and self._load(path):
                return

    def _load(self, path: Path) -> bool:
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata()
                if metadata["label"] != self.label:
                    return False
                found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
        except (SafetensorError, OSError, KeyError, TypeError) as error:
            sys.stderr.write(f"{path} is damaged and left aside: {error}\n")
            return False
        words = [metadata.get(name, "") for name in ("step", "label", "owner")]
        if "sha256" in metadata and metadata["sha256"] != tensors_digest(found, *words):  # the first version wrote none
            sys.stderr.write(f"{path} is damaged and left aside: its checksum does not match\n")
            return False
        if metadata.get("owner", self.owner) != self.owner:
            sys.stderr.write(f"{path} belongs to another job or to other inputs, and is left aside\n")
            return False
        if set(found) != {f"{part}/{name}" for name in self.parameters for part in ("value", *MOMENTS)}:
            return False
        self.step = int(metadata["step"])
        for name, parameter in self.parameters.items():
            parameter.data.copy_(found[f"value/{name}"])
            state = {moment: found[f"{moment}/{name}"].to(parameter.device) for moment in MOMENTS}
            self.optimizer.state[parameter] = {"step": torch.tensor(float(self.step)), **state}
        return True
