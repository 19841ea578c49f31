"""open_clip's own list of models, read without importing open_clip, which would load torch."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import sys
import types
from functools import lru_cache
from pathlib import Path
from typing import Any

from datadream.errors import UserError
from datadream.models.configs import read_config

HEAVY = "safetensors.torch"


def repository(name: str, tag: str) -> str | None:
    """The hub repository of the weights `NAME:TAG`; None when open_clip has no such pair there."""
    tables = _tables()
    entry = tables.get_pretrained_cfg(_clean(name), tag) if tables else {}
    return str(entry.get("hf_hub", "")).rpartition("/")[0] or None


def tags(name: str) -> list[str]:
    """The tags of an architecture's weights."""
    tables = _tables()
    return list(tables.list_pretrained_tags_by_model(_clean(name))) if tables else []


def names() -> list[str]:
    """The architectures."""
    return sorted(path.stem for path in _configs())


def config(name: str) -> dict[str, Any] | None:
    """The configuration of an architecture (`model_cfg`); None when there is none of that name."""
    path = next((path for path in _configs() if path.stem == _clean(name)), None)
    return read_config(path) if path else None


def known_config(name: str) -> dict[str, Any]:
    """The configuration of an architecture. Raises UserError for an unknown one, naming the nearest."""
    found = config(name)
    if found is None:
        near = difflib.get_close_matches(name, names(), n=1)
        hint = f"did you mean {near[0]!r}?" if near else "see open_clip.list_models()"
        raise UserError(f"open_clip has no architecture {name!r}", hint=hint)
    return found


def _clean(name: str) -> str:
    return name.replace("/", "-")


def _folders() -> list[str]:
    spec = importlib.util.find_spec("open_clip")
    return list(spec.submodule_search_locations or []) if spec else []


def _configs() -> list[Path]:
    return [path for folder in _folders() for path in (Path(folder) / "model_configs").glob("*.json")]


@lru_cache(maxsize=1)
def _tables() -> Any:
    """The module with open_clip's tables of weights; None where it has another shape.

    It is imported below a package of another name, and told that there is no safetensors library, which needs torch.
    """
    if "open_clip.pretrained" in sys.modules:
        return sys.modules["open_clip.pretrained"]
    package = types.ModuleType("_open_clip_tables")
    package.__path__ = _folders()
    sys.modules[package.__name__] = package
    hidden = HEAVY not in sys.modules
    if hidden:
        sys.modules[HEAVY] = None  # type: ignore[assignment]
    try:
        return importlib.import_module(f"{package.__name__}.pretrained")
    except (ImportError, AttributeError):
        return None
    finally:
        if hidden:
            del sys.modules[HEAVY]
