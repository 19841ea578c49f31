"""What a model is by its configuration alone: its sizes, and what to call it. No torch, no weights.

Recipes' values belong to a size of model: the miniature's learning rate is thirty times the paper's. So a model that
takes the place of a preset's is compared with it by shape, and never by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datadream.errors import UserError
from datadream.models import hub, zoo
from datadream.models.configs import read_config, side_of
from datadream.models.digests import FOLDER, weights_file

OF_WIDTH = {768: "Stable Diffusion 1.x", 1024: "Stable Diffusion 2.x", 2048: "Stable Diffusion XL"}
Read = Callable[[str], Mapping[str, Any]]


@dataclass(frozen=True)
class Kind:
    """A model's architecture: `shape` is equal for equal shapes of all weights, `side` its pixels a side (0 unknown).

    `outside` names what is read from other places when it is loaded, and so isn't covered by its identity.
    """

    text: str
    shape: tuple[object, ...]
    side: int
    outside: tuple[str, ...] = ()


def diffusion_kind(location: str, revision: str | None) -> Kind | None:
    """What the diffusion model there is; None when its configuration can't be read."""
    read = reader(location, revision)
    unet, blocks = read("unet/config.json"), read("vae/config.json").get("block_out_channels")
    if not unet:
        return None
    width, side = unet.get("cross_attention_dim"), side_of(unet.get("sample_size"))
    factor = 2 ** (len(blocks) - 1) if isinstance(blocks, list) and 0 < len(blocks) < 16 else 0
    side = (side or 0) * factor
    names = ("block_out_channels", "layers_per_block", "cross_attention_dim", "down_block_types")
    text = OF_WIDTH.get(width, "a diffusion model of another size") if isinstance(width, int) else "a diffusion model"
    shape = (*(_plain(unet.get(name)) for name in names), _plain(blocks))
    return Kind(f"{text} at {side} px" if side else text, shape, side)


def clip_kind(location: str, revision: str | None) -> Kind | None:
    """What the CLIP there is; None when its configuration can't be read."""
    config = clip_config(location, revision)
    vision, text = _table(config.get("vision_cfg")), _table(config.get("text_cfg"))
    if not vision:
        return None
    side = side_of(vision.get("image_size")) or 0
    names = ("image_size", "layers", "width", "patch_size", "timm_model_name")
    shape = (
        config.get("embed_dim"),
        *(_plain(vision.get(name)) for name in names),
        *(_plain(text.get(name)) for name in ("width", "layers", "heads", "context_length", "vocab_size")),
    )
    called = "" if _has_own_config(location) else _pair(location)[0]
    known = called or str(vision.get("timm_model_name") or f"CLIP with {vision.get('layers')} layers")
    return Kind(f"{known} at {side} px" if side else known, shape, side, _outside(text, location, revision))


def clip_config(location: str, revision: str | None) -> Mapping[str, Any]:
    """A CLIP's `model_cfg`: its own, or that of open_clip's architecture of that name; empty when it can't be read."""
    if _has_own_config(location):
        return _table(reader(location, revision)("open_clip_config.json").get("model_cfg"))
    return zoo.config(_pair(location)[0]) or {}


def _outside(text: Mapping[str, Any], location: str, revision: str | None) -> tuple[str, ...]:
    """What open_clip reads elsewhere: the configuration of a text tower, and a tokenizer where none comes with it."""
    found = [str(text["hf_model_name"])] if text.get("hf_model_name") else []
    named = str(text.get("hf_tokenizer_name") or "")
    in_zoo = not _is_folder(location) and not location.startswith(hub.HUB)
    if named and in_zoo and not (revision and named == zoo.repository(*_pair(location))):
        found.append(named)
    return tuple(dict.fromkeys(found))


def _pair(location: str) -> tuple[str, str]:
    name, _, tag = location.partition(":")
    return name, tag


def _has_own_config(location: str) -> bool:
    """Whether a CLIP says itself what it is: a folder or a repository does, open_clip's pairs and files don't."""
    return _is_folder(location) or (weights_file(location) is None and hub.parse(location) is not None)


def reader(location: str, revision: str | None) -> Read:
    """Reads a JSON file of a model by its name in it; empty for what can't be read."""
    if _is_folder(location):
        folder = Path(location.removeprefix(FOLDER))
        return lambda name: _read(folder / name)
    wanted = hub.parse(location)
    if wanted is None or not hub.is_commit(revision):
        return lambda _: {}
    return lambda name: hub.read_json(wanted.repo, str(revision), name)


def _is_folder(location: str) -> bool:
    return Path(location.removeprefix(FOLDER)).is_dir()


def _read(path: Path) -> Mapping[str, Any]:
    try:
        return read_config(path)
    except UserError:
        return {}


def _table(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _plain(value: Any) -> object:
    return tuple(map(_plain, value)) if isinstance(value, list) else value
