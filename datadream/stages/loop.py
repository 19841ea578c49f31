"""The training loop both adapters share: AdamW, cosine, gradient clip, checkpoint, resume to the exact step."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from datadream import durable
from datadream.errors import UserError
from datadream.models.finite import Watch, not_finite
from datadream.stages.emit import Stopped, stopping
from datadream.stages.kept import owner_of, tensors_digest

CHECKPOINT_SECONDS = 5.0
MOMENTS = ("exp_avg", "exp_avg_sq")
METRIC_EVERY = 10
Blame = Callable[[str, str], UserError]
"""(what, where) to the error that ends the stage: "the loss", "at step 3 of 10"."""


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

    A loss, gradient or value that is not finite raises what `blame` makes of it, before anything of it is told or
    kept: at its step on the CPU; on a GPU, which isn't made to wait every step, at the next step that `tells`.
    """

    def __init__(
        self,
        parameters: Mapping[str, nn.Parameter],
        schedule: Schedule,
        *,
        weight_decay: float,
        max_grad_norm: float,
        checkpoint: Path,
        blame: Blame,
        label: str = "",
    ) -> None:
        self.parameters = dict(parameters)
        self.schedule, self.max_grad_norm = schedule, max_grad_norm
        self.path, self.label, self.owner = checkpoint / "state.safetensors", label, owner_of(checkpoint)
        self._blame, self._watch, self._checked = blame, Watch(), False
        values = list(self.parameters.values())
        self.optimizer = torch.optim.AdamW(values, lr=schedule.peak, weight_decay=weight_decay, fused=True)
        self.step = 0
        self._saved = time.monotonic()
        self._resume()

    @property
    def running(self) -> bool:
        """Whether steps are left."""
        return self.step < self.schedule.steps

    @property
    def tells(self) -> bool:
        """Whether the steps so far are to be told of: every METRIC_EVERY, and the last."""
        return self.step % METRIC_EVERY == 0 or not self.running

    def update(self, loss: Tensor) -> None:
        """One optimizer step on `loss`.

        The checkpoint of the steps before comes first, so that whatever was told of them is told. Raises Stopped, and
        UserError when a number is not finite or a part of the adapter gets no gradient.
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
        self._check_reached()
        norm = nn.utils.clip_grad_norm_(list(self.parameters.values()), self.max_grad_norm)
        self._watch.look(self.step + 1, loss=loss, gradient=norm)
        self.optimizer.step()
        self.step += 1
        self._check_steps(wait=self.tells)
        if not self.running:
            self._check_values(self.parameters)

    def _check_reached(self) -> None:
        """At the first update: every tensor of the adapter has a gradient (zero for A at the start, as B is zero)."""
        if self._checked:
            return
        self._checked = True
        without = sorted(name for name, parameter in self.parameters.items() if parameter.grad is None)
        if without:
            raise UserError(
                f"LoRA does not reach the whole model: {len(without)} of {len(self.parameters)} adapter tensors get no "
                f"gradient, e.g. {without[0]}",
                hint="adapt fewer projections (targets), or use another model",
            )

    def _check_steps(self, *, wait: bool) -> None:
        found = self._watch.found(wait=wait)
        if found is not None:
            raise self._blame(f"the {found[0]}", f"at step {found[1]} of {self.schedule.steps}")

    def _check_values(self, tensors: Mapping[str, Tensor]) -> None:
        bad = not_finite(tensors.items())
        if bad:
            where = f"in {len(bad)} of {len(tensors)} tensors after step {self.step} of {self.schedule.steps}"
            raise self._blame("the adapter", where)

    def save(self) -> None:
        """Write the checkpoint; never of numbers that are not finite."""
        self._check_steps(wait=True)
        tensors: dict[str, Tensor] = {}
        for name, parameter in self.parameters.items():
            tensors[f"value/{name}"] = parameter
            for moment in MOMENTS:
                tensors[f"{moment}/{name}"] = self.optimizer.state[parameter].get(moment, torch.zeros_like(parameter))
        self._check_values(tensors)
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
        """Take values, moments and step from `path`. False when it is another's, or damaged, which is logged."""
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
            if metadata["label"] != self.label:
                return False
            words = [metadata.get(name, "") for name in ("step", "label", "owner")]
            if "sha256" in metadata and metadata["sha256"] != tensors_digest(found, *words):  # at first there was none
                raise ValueError("its checksum does not match")
            if metadata.get("owner", self.owner) != self.owner:
                sys.stderr.write(f"{path} belongs to another job or other inputs; ignored\n")
                return False
            shapes = {f"{part}/{name}": p.shape for name, p in self.parameters.items() for part in ("value", *MOMENTS)}
            if {name: tensor.shape for name, tensor in found.items()} != shapes:
                return False
            step = int(metadata["step"])
            bad = not_finite(found.items())
            if bad:
                raise ValueError(f"{len(bad)} of its tensors are not finite")
        except (SafetensorError, OSError, KeyError, ValueError) as error:
            sys.stderr.write(f"{path} is damaged; ignored: {error}\n")
            return False
        self._restore(step, found)
        return True

    def _restore(self, step: int, found: Mapping[str, Tensor]) -> None:
        """Put values, moments and step where a fresh optimizer has them: a fused one's step is on the device."""
        self.step = step
        state = self.optimizer.state_dict()
        for number, (name, parameter) in enumerate(self.parameters.items()):
            parameter.data.copy_(found[f"value/{name}"])
            moments = {moment: found[f"{moment}/{name}"] for moment in MOMENTS}
            state["state"][number] = {"step": torch.tensor(float(step)), **moments}
        self.optimizer.load_state_dict(state)
