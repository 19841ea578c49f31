"""After a library loaded a part: is every tensor from its file, and finite? If it didn't load: why, in our words."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from datadream import durable
from datadream.errors import UserError
from datadream.models.configs import AGAIN
from datadream.models.finite import not_finite
from datadream.models.runtime import NotData
from datadream.models.weights import Shape

# In files, and no loss: a buffer that libraries make themselves, and a projection that a text encoder doesn't use.
IDLE = re.compile(r"(^|\.)position_ids$|^(text_model\.)?text_projection\.weight$|^logit_scale$")
HUB = "check the name, the network and HF_TOKEN"
# What huggingface_hub raises, by name: it says what a hub's answer was.
ANSWERS = {
    "GatedRepoError": "it is gated: its terms were not accepted",
    "RevisionNotFoundError": "no such revision on the hub",
    "RepositoryNotFoundError": "no such model on the hub, or it is private",
    "HFValidationError": "not a valid hub model name",
    "OfflineModeIsEnabled": "it is not cached, and HF_HUB_OFFLINE is set",
}


def check_loaded(
    part: str, at: Path | str, model: nn.Module, missing: Iterable[str], unexpected: Iterable[str], total: int
) -> None:
    """Raise UserError unless every tensor of `model` came from its file, and the file held no others.

    Tensors that were left without values (on the meta device) count as missing.
    """
    tensors = [*model.named_parameters(), *model.named_buffers()]
    lacking = sorted({*missing, *(name for name, tensor in tensors if tensor.is_meta)})
    extra = sorted(name for name in unexpected if not IDLE.search(name))
    if lacking:
        also = f"; the file has {len(extra)} with other names, e.g. {extra[0]}" if extra else ""
        raise UserError(f"{part} lacks {len(lacking)} of {total} weights, e.g. {lacking[0]}{also}", at=at, hint=AGAIN)
    if extra:
        raise UserError(
            f"{part}'s file has weights unknown to its configuration, e.g. {extra[0]} ({len(extra)} in all)",
            at=at,
            hint="the configuration and the weights are of different models; get both from one place",
        )


def check_shapes(part: str, at: Path | str, wanted: Mapping[str, Shape], given: Mapping[str, Shape]) -> None:
    """Raise UserError when a tensor has another shape in the file than the configuration asks for."""
    other = sorted(name for name, shape in given.items() if name in wanted and wanted[name] != shape)
    if other:
        name = other[0]
        raise UserError(
            f"{part}'s weight {name} is {_shape(given[name])} in the file and {_shape(wanted[name])} by its "
            f"configuration ({len(other)} of {len(wanted)} differ)",
            at=at,
            hint="the configuration and the weights are of different models; get both from one place",
        )


def check_finite(part: str, at: Path | str, model: nn.Module) -> None:
    """Raise UserError when a weight holds NaN or infinity."""
    held = model.state_dict()  # without buffers that are made anew, as a mask of minus infinity
    bad = not_finite(held.items())
    if bad:
        raise UserError(
            f"{part} holds NaN or infinity in {len(bad)} of {len(held)} weights, e.g. {bad[0]}",
            at=at,
            hint=AGAIN,
        )


def refusal(what: str, at: Path | str, error: Exception, hint: str) -> UserError:
    """`error` from a library's loader as one of ours. Its own words are in the job's log, below this one."""
    causes = list(durable.causes(error))
    own = next((cause for cause in causes if isinstance(cause, UserError)), None)
    if own is not None:
        return own
    refused = next((cause for cause in causes if isinstance(cause, NotData)), None)
    if refused is not None:
        return UserError(f"can't load {what}: {refused}", at=at, hint=hint)
    if any(isinstance(cause, OSError) and cause.errno for cause in causes):
        said = next(cause.strerror for cause in causes if isinstance(cause, OSError) and cause.errno)
        return UserError(f"can't load {what}: a file can't be read ({said})", at=at, hint="check its permissions")
    return UserError(f"can't load {what}: rejected by the library that reads it", at=at, hint=hint)


def hub_refusal(what: str, name: str, error: Exception) -> UserError:
    """Why the hub didn't deliver `name`."""
    causes = list(durable.causes(error))
    own = next((cause for cause in causes if isinstance(cause, UserError)), None)
    if own is not None:
        return own
    refused = next((cause for cause in causes if isinstance(cause, NotData)), None)
    kinds = {kind.__name__ for cause in causes for kind in type(cause).__mro__}
    answer = next((words for kind, words in ANSWERS.items() if kind in kinds), None)
    if answer is None and "LocalEntryNotFoundError" in kinds and os.environ.get("HF_HUB_OFFLINE", "0") not in ("", "0"):
        answer = ANSWERS["OfflineModeIsEnabled"]
    if answer is None and any("safetensors" in str(cause) for cause in causes):
        answer = "no safetensors weights on the hub"
    reason = str(refused) if refused else answer or "the hub is unreachable, or does not have it"
    return UserError(f"can't load {what}: {reason}", at=name, hint=HUB)


def shapes_of(model: nn.Module) -> dict[str, Shape]:
    """The shape of every tensor that a file of `model` must hold."""
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def _shape(shape: Shape) -> str:
    return "x".join(map(str, shape)) or "a single number"


def meta_shapes(kind: Any, config: Mapping[str, Any]) -> dict[str, Shape]:
    """The shapes that a diffusers class asks for with this configuration; no memory is taken."""
    with torch.device("meta"):
        return shapes_of(kind.from_config(dict(config)))
