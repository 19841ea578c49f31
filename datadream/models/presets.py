"""A backbone is data: where its two models lie, and the recipe values that its size asks for. No torch here."""

from __future__ import annotations

import difflib
import hashlib
import tomllib
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from datadream.canonical import sha256_file
from datadream.errors import UserError
from datadream.models.diffusion_folder import refuse_file
from datadream.paths import expand

HERE = Path(__file__).parent
PRESETS = HERE / "presets"
WEIGHTS = HERE / "weights"


class ModelRef(BaseModel):
    """One model: a hub id with a revision, or a folder with the digest of its contents.

    `location` is where it is read from; `identity` is what goes into an artifact's id, so that moving a folder
    changes nothing and changing a weight changes everything.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    location: str
    revision: str | None = None
    digest: str | None = None

    @property
    def identity(self) -> dict[str, str | None]:
        """What the id of anything made with this model depends on."""
        return {"sha256": self.digest} if self.digest else {"model": self.location, "revision": self.revision}


class Backbone(BaseModel):
    """Two models and a label. `defaults` replaces values of the built-in recipes, section by section."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str
    about: str = ""
    diffusion: ModelRef
    clip: ModelRef
    defaults: dict[str, dict[str, Any]] = {}


def names() -> list[str]:
    """The shipped presets."""
    return sorted(path.stem for path in PRESETS.glob("*.toml"))


def preset_values(section: str) -> dict[str, dict[str, Any]]:
    """What each shipped preset puts in place of the paper's values in a recipe's `section`."""
    found = {}
    for name in names():
        raw = tomllib.loads((PRESETS / f"{name}.toml").read_text(encoding="utf-8"))
        found[name] = dict(raw.get("defaults", {}).get(section, {}))
    return found


def load_backbone(name: str, diffusion: str | None = None, clip: str | None = None) -> Backbone:
    """The preset `name`, with either model replaced by a folder or hub id.

    Raises UserError for an unknown preset, naming the nearest, and for a folder that is not there.
    """
    path = PRESETS / f"{name}.toml"
    if name not in names():
        near = difflib.get_close_matches(name, names(), n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"one of {', '.join(names())}"
        raise UserError(f"no backbone called {name!r}", hint=hint)
    raw = tomllib.loads(path.read_text(encoding="utf-8"))
    for part, other in (("diffusion", diffusion), ("clip", clip)):
        if other is not None:
            raw[part] = {"location": other}
            raw["name"] = f"{raw['name']}+{Path(other).name}"
        raw[part] = _resolve(raw[part], part)
    try:
        return Backbone.model_validate(raw)
    except ValidationError as error:
        raise UserError(f"the preset is malformed: {error.errors()[0]['msg']}", at=path) from error


def _resolve(entry: dict[str, Any], part: str) -> dict[str, Any]:
    """A location that is a folder gets its digest; `weights/...` is inside this package."""
    location = str(entry["location"])
    if "://" in location:  # not repeated here, nor kept in a spec: an address may hold a password
        raise UserError("a model can't be an address", hint="give a folder or a hub id, as ORG/NAME")
    folder = HERE / location if location.startswith("weights/") else expand(location)
    if folder.is_dir():
        return {"location": str(folder.resolve()), "digest": folder_digest(folder)}
    if folder.is_file():
        raise refuse_file(folder, part)
    if location.startswith((".", "/", "~", "weights/")):
        raise UserError("no such model folder", at=folder, hint="give a diffusers or open_clip folder, or a hub id")
    return entry


def folder_digest(folder: Path) -> str:
    """sha256 over the names and contents of the model files below `folder` (cards and pictures left out)."""
    total = hashlib.sha256()
    for path in sorted(folder.rglob("*"), key=lambda path: path.relative_to(folder).as_posix()):
        if path.is_file() and path.suffix in {".json", ".safetensors", ".txt", ".model"}:
            total.update(f"{path.relative_to(folder).as_posix()}\0{sha256_file(path)}\n".encode())
    return total.hexdigest()
