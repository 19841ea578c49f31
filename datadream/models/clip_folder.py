"""What a CLIP's folder or weights file is, read from its JSON and the header of its weights. No torch here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datadream.errors import UserError
from datadream.models import headers, zoo
from datadream.models.configs import AGAIN, as_count, as_words, read_config, readable, side_of
from datadream.models.weights import Shape, lacking, refuse_pickled, strip_prefix

WANTED = "expected an open_clip folder: open_clip_config.json and open_clip_model.safetensors"
CONFIG = "open_clip_config.json"
PREFERRED = ("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors", "model.safetensors")


@dataclass(frozen=True)
class ClipFolder:
    """What an open_clip folder says of itself, or a weights file and the architecture it is given for."""

    config: dict[str, Any]
    weights: Path
    shapes: dict[str, Shape]


def refuse_file(path: Path) -> UserError:
    """Why a single file, without an architecture or of another format, can't be a CLIP."""
    if path.suffix != ".safetensors":
        hint = "save the weights as safetensors on a machine where you trust them"
        return UserError("only safetensors are read, as a pickle can run arbitrary code", at=path, hint=hint)
    hint = f"use NAME:FILE with open_clip's name of its architecture, e.g. ViT-B-16:{path}"
    return UserError("a weights file alone does not name its architecture", at=path, hint=hint)


def describe_clip(folder: Path, *, trained: bool = False) -> ClipFolder:
    """What the CLIP in `folder` is. Raises UserError when it is another model, or not whole.

    `trained` says that LoRA is to go into it, which a ResNet can't take.
    """
    with readable(folder):
        return _describe(folder, trained)


def describe_weights(name: str, path: Path, *, trained: bool = False) -> ClipFolder:
    """What the weights in `path` are for open_clip's architecture `name`. Raises UserError as `describe_clip` does."""
    config = zoo.known_config(name)
    _check_config(config, path, trained)
    return ClipFolder(config, path, _shapes(path))


def _describe(folder: Path, trained: bool) -> ClipFolder:
    at = folder / CONFIG
    if not at.is_file():
        raise _without_config(folder)
    config = read_config(at).get("model_cfg")
    if not isinstance(config, dict):
        raise UserError("the configuration has no model_cfg", at=at, hint=AGAIN)
    _check_config(config, at, trained)
    weights = _weights(folder)
    return ClipFolder(config, weights, _shapes(weights))


def _check_config(config: dict[str, Any], at: Path, trained: bool) -> None:
    """Refuse a `model_cfg` of what can't serve here."""
    for key in ("vision_cfg", "text_cfg"):
        if not isinstance(config.get(key), dict):
            raise UserError(f"the model_cfg has no {key}", at=at, hint=AGAIN)
    if as_count(config.get("embed_dim")) is None:
        raise UserError(f"embed_dim is {as_words(config.get('embed_dim'))}, not a width", at=at, hint=AGAIN)
    vision = config["vision_cfg"]
    size = vision.get("image_size", 224)
    if side_of(size) is None:
        raise UserError(f"image_size is {as_words(size)}: only square images are supported", at=at, hint=AGAIN)
    if vision.get("output_tokens") and not config.get("multimodal_cfg"):
        raise UserError(
            "the image tower returns tokens beside its feature (output_tokens)", at=at, hint="set it to false"
        )
    if trained and is_resnet(config):
        raise UserError(
            "this CLIP's image tower is a ResNet, and LoRA can't reach its single attention (0 of 1)",
            at=at,
            hint="use a CLIP with a vision transformer; zero-shot runs with this one",
        )


def _shapes(weights: Path) -> dict[str, Shape]:
    """The shape of every tensor in a CLIP's weights; refused when they are of something else."""
    shapes = headers.read(weights)
    if "logit_scale" not in shapes:
        prefix = strip_prefix(shapes, "logit_scale")
        if prefix != "module.":  # open_clip takes that one off itself
            raise lacking("the CLIP", "logit_scale", prefix, weights)
    return shapes


def is_resnet(config: dict[str, Any]) -> bool:
    """Whether the image tower is one of OpenAI's ResNets."""
    vision = config["vision_cfg"]
    return isinstance(vision.get("layers"), list) and not vision.get("timm_model_name")


def _without_config(folder: Path) -> UserError:
    """What a folder without open_clip's configuration is instead."""
    names = sorted(path.name for path in folder.iterdir())
    if not names:
        return UserError("the folder is empty", at=folder, hint=WANTED)
    if "model_index.json" in names:
        return UserError("this is a diffusers pipeline, not a CLIP", at=folder, hint="give it with --diffusion")
    if "config.json" in names:
        config = read_config(folder / "config.json")
        kind = config.get("model_type") or config.get("_class_name")
        if kind in ("clip", "siglip", "siglip2"):
            return UserError(
                f"this is transformers' {'CLIPModel' if kind == 'clip' else 'SiglipModel'} folder, not open_clip's",
                at=folder,
                hint="give the open_clip version of the model, as hf-hub:ORG/NAME or NAME:WEIGHTS",
            )
        return UserError(f"this is not a CLIP: its config.json says {as_words(kind)}", at=folder, hint=WANTED)
    return UserError(f"{CONFIG} is missing, so this is not an open_clip folder", at=folder, hint=WANTED)


def _weights(folder: Path) -> Path:
    """The safetensors file that open_clip would take."""
    names = sorted(path.name for path in folder.glob("*.safetensors"))
    chosen = next((name for name in PREFERRED if name in names), names[0] if len(names) == 1 else None)
    if chosen is not None:
        return folder / chosen
    if any("-00001-of-" in name for name in names):
        hint = "save it as one file, open_clip_model.safetensors"
        raise UserError("the CLIP's weights are sharded, which open_clip can't read", at=folder, hint=hint)
    if names:
        raise UserError(
            f"the folder has several weights files ({', '.join(names[:3])}) and none with open_clip's name",
            at=folder,
            hint="rename the one to use to open_clip_model.safetensors",
        )
    refuse_pickled(folder, "the CLIP", "file")
    raise UserError("the CLIP has no weights: open_clip_model.safetensors is missing", at=folder, hint=AGAIN)
