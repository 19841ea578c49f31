"""CLIP through open_clip: a zoo name, a hub id or a folder, with attention split so that q, k, v can be adapted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.transformer import text_global_pool
from torch import Tensor, nn
from torch.nn import functional as F

from datadream.errors import UserError
from datadream.models import headers, runtime
from datadream.models.attention import reach, split_attention
from datadream.models.clip_folder import CONFIG, ClipFolder, describe_clip, describe_weights
from datadream.models.configs import AGAIN
from datadream.models.digests import FOLDER, weights_file
from datadream.models.fetch import clip_folder, clip_pair
from datadream.models.loading import check_finite, check_loaded, check_shapes, hub_refusal, refusal, shapes_of
from datadream.models.presets import HINTS, ModelRef, check_pair
from datadream.models.verify import LoadedOnce
from datadream.models.weights import Shape

PROJECTIONS = {"q": "q_proj", "k": "k_proj", "v": "v_proj", "out": "out_proj"}
SHORTAGE = (MemoryError, torch.OutOfMemoryError)


@dataclass(frozen=True)
class Clip:
    """A frozen CLIP in float32 and how it wants its images."""

    model: Any
    tokenizer: Any
    resolution: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def tokens(self, prompts: Sequence[str]) -> Tensor:
        """Ids (n, longest): columns past every end-of-text token are cut; under a causal mask they change nothing.

        Raises UserError when the tokenizer knows words that the text tower doesn't.
        """
        ids = self.tokenizer(list(prompts))
        vocabulary = getattr(self.model, "vocab_size", None)
        if vocabulary and int(ids.max()) >= vocabulary:
            raise UserError(
                f"the tokenizer does not belong to this CLIP: it gives token {int(ids.max())}, "
                f"the text tower has {vocabulary}",
                hint="get the tokenizer's files from the source of the weights",
            )
        causal = isinstance(self.model, open_clip.CLIP) and self.model.attn_mask is not None
        if causal and self.model.text_pool_type == "argmax":
            ids = ids[:, : int(ids.argmax(dim=-1).max()) + 1]
        return ids.to(runtime.device())

    def reach(self, targets: Sequence[str]) -> list[str]:
        """The projections that `targets` mean in both towers; UserError with counts when some can't be reached."""
        plain = isinstance(self.model, open_clip.CLIP)
        text = {"text tower": self.model.transformer if plain else self.model.text}
        found = reach({"image tower": self.model.visual, **text}, targets)
        inside = {"image tower": "visual", "text tower": "transformer" if plain else "text"}
        return [f"{inside[tower]}.{path}" for tower, paths in found.items() for path in paths]

    def encode_text(self, ids: Tensor) -> Tensor:
        """Unit text features (n, embed)."""
        model = self.model
        if not isinstance(model, open_clip.CLIP):
            return model.encode_text(ids, normalize=True)
        length = ids.shape[1]
        x = model.token_embedding(ids) + model.positional_embedding[:length]
        mask = None if model.attn_mask is None else model.attn_mask[:length, :length]
        x = model.ln_final(model.transformer(x, attn_mask=mask))
        x = text_global_pool(x, ids, model.text_pool_type, eos_token_id=getattr(model, "text_eos_id", None))
        projection = model.text_projection
        if projection is not None:
            x = projection(x) if isinstance(projection, nn.Linear) else x @ projection
        return F.normalize(x, dim=-1)

    def encode_image(self, images: Tensor) -> Tensor:
        """Unit image features (B, embed) of normalised images (B, 3, H, W)."""
        return self.model.encode_image(images, normalize=True)

    def logits(self, features: Tensor, text: Tensor) -> Tensor:
        """f(x): (B, N) from unit image features (B, embed) and unit text features (N, embed)."""
        return self.model.logit_scale.exp() * features @ text.T

    def normalise(self, images: Tensor) -> Tensor:
        """uint8 (B, 3, H, W) to the model's input range, on the runtime's device."""
        images = images.to(runtime.device(), torch.float32) / 255
        mean = torch.tensor(self.mean, device=images.device)[:, None, None]
        std = torch.tensor(self.std, device=images.device)[:, None, None]
        return (images - mean) / std


@LoadedOnce
def load_clip(ref: ModelRef) -> Clip:
    """The model `ref` names: a folder, `hf-hub:ORG/NAME`, or an open_clip `NAME:WEIGHTS` pair.

    Raises UserError when it is another model, or a tensor is missing, of another shape, or not finite.
    """
    runtime.quiet_libraries()
    with runtime.only_data():
        model, tokenizer = _read(ref)
    check_finite("the CLIP", ref.location, model)
    split_attention(model)
    model.requires_grad_(False)
    model.to(runtime.device(), torch.float32)
    model.eval()
    size = model.visual.image_size
    sides = {int(side) for side in (size if isinstance(size, tuple | list) else (size,))}
    if len(sides) != 1:
        raise UserError(
            f"the CLIP reads images of {size}; only square images are supported", at=ref.location, hint=HINTS["clip"]
        )
    means, stds = _colours(model.visual.preprocess_cfg, ref.location)
    return Clip(model, tokenizer, sides.pop(), means, stds)


def _read(ref: ModelRef) -> tuple[Any, Any]:
    """Model and tokenizer."""
    if (given := weights_file(ref.location)) is not None:
        return _whole(given[0], describe_weights(*given), f"open_clip's {given[0]}", given[1])
    try:
        folder = clip_folder(ref)
    except SHORTAGE:
        raise
    except Exception as error:  # whatever the hub's client raises
        raise hub_refusal("the CLIP model", ref.location, error) from error
    if folder is None:
        return _from_zoo(ref)
    return _whole(f"{FOLDER}{folder}", describe_clip(folder), f"the model that {CONFIG} describes", folder / CONFIG)


def _whole(name: str, found: ClipFolder, what: str, at: Path) -> tuple[Any, Any]:
    """What open_clip calls `name`, with the weights that were found; `what` and `at` say that to a user.

    open_clip itself resizes positions that don't fit and fills in what is missing; here both are refused.
    """
    try:
        model = open_clip.create_model(name, load_weights=False, pretrained_text=False)
    except SHORTAGE:
        raise
    except Exception as error:
        raise refusal(what, at, error, AGAIN) from error
    wanted = shapes_of(model)
    check_shapes("the CLIP", found.weights, wanted, _as_in(wanted, found.shapes))
    try:
        keys = open_clip.factory.load_checkpoint(model, str(found.weights), strict=False)
    except SHORTAGE:
        raise
    except Exception as error:
        raise refusal("the CLIP's weights", found.weights, error, AGAIN) from error
    check_loaded("the CLIP", found.weights, model, keys.missing_keys, keys.unexpected_keys, len(wanted))
    try:
        return model, open_clip.get_tokenizer(name)
    except Exception as error:
        raise refusal("the CLIP's tokenizer", at.parent, error, AGAIN) from error


def _as_in(wanted: dict[str, Shape], given: dict[str, Shape]) -> dict[str, Shape]:
    """The file's shapes by the model's names: open_clip takes off `module.` and moves an old text tower to `text.`"""
    found = {}
    for name, shape in given.items():
        plain = name.removeprefix("module.")
        key = plain if plain in wanted or f"text.{plain}" not in wanted else f"text.{plain}"
        if shape not in ((), (1,)):  # a single number has either shape
            found[key] = shape
    return found


def _from_zoo(ref: ModelRef) -> tuple[Any, Any]:
    """Model and tokenizer of open_clip's list of weights; open_clip refuses weights that don't fit."""
    check_pair(ref.location)
    try:
        with clip_pair(ref) as (name, tag, file, told):
            if file is not None:
                headers.check_file(file)
            model = open_clip.create_model(name, pretrained=tag, require_pretrained=True)
            return model, open_clip.get_tokenizer(name, **told)
    except (*SHORTAGE, UserError):
        raise
    except Exception as error:
        if "loading state_dict" in str(error):
            what = "the CLIP's weights do not match the architecture in its configuration"
            raise UserError(what, at=ref.location, hint=HINTS["clip"]) from error
        raise hub_refusal("the CLIP model", ref.location, error) from error


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _colours(config: Any, location: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation of the three channels."""
    found = []
    for key in ("mean", "std"):
        values = config.get(key)
        good = isinstance(values, list | tuple) and len(values) == 3 and all(_is_number(v) for v in values)
        if not good or (key == "std" and min(values) <= 0):
            raise UserError(f"preprocess_cfg's {key} must be three numbers, not {values!r}", at=location, hint=AGAIN)
        found.append(tuple(values))
    return found[0], found[1]
