"""LoRA (Hu et al. 2021): h' = W h + (alpha / rank) B A h, with A (rank, in) gaussian and B (out, rank) zero.

peft trains it; merging is ours: `W = W0 + scale * B A` from a kept W0, in place, so that swapping adapters needs
no reloading and leaves no rounding behind.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from datadream import durable
from datadream.errors import UserError
from datadream.models import headers, runtime
from datadream.models.finite import not_finite

NAME = "default"


@dataclass(frozen=True)
class Adapter:
    """δ: pairs `<part>.<module>.lora_A.weight` (rank, in), `.lora_B.weight` (out, rank), float32, and their scale."""

    tensors: dict[str, Tensor]
    rank: int
    alpha: float

    @property
    def scale(self) -> float:
        """Factor of B A."""
        return self.alpha / self.rank

    def modules(self) -> Iterable[tuple[str, Tensor, Tensor]]:
        """(`<part>.<module>`, A, B) in the order of names."""
        for name in sorted(self.tensors):
            if name.endswith(".lora_A.weight"):
                module = name.removesuffix(".lora_A.weight")
                yield module, self.tensors[name], self.tensors[f"{module}.lora_B.weight"]


class Lora:
    """Trainable adapters inside some modules' projections: each part's module, and the names or paths of projections.

    `parameters` maps `<part>.<module>.lora_A.weight` (and B) to float32 parameters. `detach` leaves the modules
    as they were before.
    """

    def __init__(
        self,
        parts: Mapping[str, tuple[nn.Module, Iterable[str]]],
        *,
        rank: int,
        alpha: float,
        dropout: float = 0.0,
    ) -> None:
        self.rank, self.alpha = rank, alpha
        self._modules = {part: module for part, (module, _) in parts.items()}
        self.parameters: dict[str, nn.Parameter] = {}
        for part, (module, targets) in parts.items():
            config = LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules=sorted(targets))
            inject_adapter_in_model(config, module, NAME)
            for path, layer in module.named_modules():
                if isinstance(layer, LoraLayer):
                    for letter, pair in (("A", layer.lora_A), ("B", layer.lora_B)):
                        weight = pair[NAME].weight
                        weight.data = weight.data.float()
                        self.parameters[f"{part}.{path}.lora_{letter}.weight"] = weight

    def reset(self, purpose: str, seed: int, *parts: int | str) -> None:
        """A gaussian with deviation 1 / rank, each from a draw of its own; B zero."""
        for name, parameter in self.parameters.items():
            if name.endswith("lora_A.weight"):
                draw = runtime.normal(tuple(parameter.shape), purpose, seed, *parts, name)
                parameter.data.copy_(draw / self.rank)
            else:
                parameter.data.zero_()

    def train(self, mode: bool) -> None:
        """Switch the adapters' dropout on or off; the base stays in eval mode."""
        for module in self._modules.values():
            for layer in module.modules():
                if isinstance(layer, LoraLayer):
                    layer.lora_dropout.train(mode)

    def adapter(self) -> Adapter:
        """A copy of the present values."""
        tensors = {name: parameter.detach().cpu().clone() for name, parameter in self.parameters.items()}
        return Adapter(tensors, self.rank, self.alpha)

    def detach(self) -> None:
        """Take the adapters out; the base weights were never touched."""
        for module in self._modules.values():
            for path, layer in list(module.named_modules()):
                if isinstance(layer, LoraLayer):
                    parent, _, name = path.rpartition(".")
                    setattr(module.get_submodule(parent), name, layer.get_base_layer())
            if hasattr(module, "peft_config"):
                del module.peft_config
            module.requires_grad_(False)
        self.parameters = {}


class Merger:
    """Merges one adapter at a time into the base weights of `parts`, in place."""

    def __init__(self, parts: Mapping[str, nn.Module]) -> None:
        self._parts = dict(parts)
        self._base: dict[str, Tensor] = {}

    @torch.no_grad()
    def merge(self, adapter: Adapter | None) -> None:
        """Weights become W0 + scale * B A (computed in float32), or W0 again for None."""
        self.restore()
        for name, low, high in adapter.modules() if adapter else ():
            weight = self._weight(name)
            if name not in self._base:
                self._base[name] = weight.detach().clone()
            if weight.shape != (high.shape[0], low.shape[1]):
                raise UserError(
                    f"the adapter does not match this model: {name}", hint="use the model it was trained on"
                )
            product = high.to(weight.device, torch.float32) @ low.to(weight.device, torch.float32)
            weight.copy_(self._base[name].float() + adapter.scale * product if adapter else weight)

    @torch.no_grad()
    def restore(self) -> None:
        """The pristine weights, to the last bit."""
        for name, base in self._base.items():
            self._weight(name).copy_(base)

    def _weight(self, name: str) -> Tensor:
        part, _, path = name.partition(".")
        try:
            weight = self._parts[part].get_submodule(path).weight
        except (KeyError, AttributeError) as error:
            raise UserError(
                f"the adapter has a part this model lacks: {name}", hint="use the model it was trained on"
            ) from error
        assert isinstance(weight, Tensor)
        return weight


def save_adapter(path: Path, adapter: Adapter, targets: Mapping[str, Iterable[str]]) -> None:
    """One safetensors file that diffusers' `load_lora_weights` reads, with rank and alpha in its metadata.

    transformers 5 dropped the `text_model.` level from CLIPTextModel; the file keeps it, as every other tool
    expects.
    """
    bad = not_finite(adapter.tensors.items())
    if bad:
        what = f"the adapter is not finite in {len(bad)} of {len(adapter.tensors)} tensors, e.g. {bad[0]}"
        raise UserError(what, at=path, hint="nothing is saved; lower the learning rate")
    tensors = {_file_name(name): tensor for name, tensor in adapter.tensors.items()}
    config = {
        f"{part}.{key}": value
        for part, names in targets.items()
        for key, value in (("r", adapter.rank), ("lora_alpha", adapter.alpha), ("target_modules", sorted(names)))
    }
    metadata = {
        "format": "pt",
        "rank": str(adapter.rank),
        "alpha": repr(float(adapter.alpha)),
        "lora_adapter_metadata": json.dumps(config, sort_keys=True),
    }
    durable.write_safetensors(path, tensors, metadata)


def load_adapter(path: Path) -> Adapter:
    """What `save_adapter` wrote. Raises UserError when the file is something else, or damaged."""
    headers.check_file(path)
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {_module_name(name): file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        adapter = Adapter(tensors, _rank(metadata), _number(metadata, "alpha"))
        _check(adapter)
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        hint = "remove its folder and run the command again"
        raise UserError(f"can't read an adapter: {_reason(error)}", at=path, hint=hint) from error
    return adapter


def _number(metadata: Mapping[str, str], key: str) -> float:
    try:
        return float(metadata[key])
    except KeyError:
        raise ValueError(f"it states no {key}") from None
    except ValueError:
        raise ValueError(f"its {key} is not a number") from None


def _rank(metadata: Mapping[str, str]) -> int:
    rank = _number(metadata, "rank")
    if not rank.is_integer():
        raise ValueError("its rank is not an integer")
    return int(rank)


def _reason(error: Exception) -> str:
    """Our own words, or what kind of file it is not."""
    if isinstance(error, KeyError):  # of a pair
        return f"it lacks {error.args[0]}"
    if isinstance(error, OSError):
        return error.strerror or "the file can't be read"
    return "it is damaged" if isinstance(error, SafetensorError) else str(error)


def _check(adapter: Adapter) -> None:
    """Raise ValueError unless all of it is pairs of A and B of its rank, and finite."""
    pairs = list(adapter.modules())
    if adapter.rank < 1 or not math.isfinite(adapter.alpha) or not pairs or len(adapter.tensors) != 2 * len(pairs):
        raise ValueError("it does not consist of pairs with a rank and an alpha")
    for name, low, high in pairs:
        if low.ndim != 2 or high.ndim != 2 or low.shape[0] != adapter.rank or high.shape[1] != adapter.rank:
            raise ValueError(f"the pair of {name} does not have rank {adapter.rank}")
        if not (low.isfinite().all() and high.isfinite().all()):
            raise ValueError(f"the pair of {name} holds numbers that are not finite")


def _file_name(name: str) -> str:
    return name.replace("text_encoder.", "text_encoder.text_model.", 1) if name.startswith("text_encoder.") else name


def _module_name(name: str) -> str:
    return name.replace("text_encoder.text_model.", "text_encoder.", 1)
