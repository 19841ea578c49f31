"""A backbone is data: where its two models lie, and the recipe values that its size asks for. No torch here."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from datadream.errors import UserError
from datadream.models import clip_folder, diffusion_folder, digests, hub, kinds, zoo
from datadream.models.digests import FOLDER, HUB
from datadream.models.hub import HubId
from datadream.models.kinds import Kind
from datadream.paths import expand

HERE = Path(__file__).parent
PRESETS = HERE / "presets"
PACKED = "weights/"  # how the location of a model inside this package begins
Part = Literal["diffusion", "clip"]
SECTIONS: dict[Part, tuple[str, ...]] = {"diffusion": ("adapt", "generate"), "clip": ("classify",)}
OTHER: dict[Part, Part] = {"diffusion": "clip", "clip": "diffusion"}
WORD: dict[Part, str] = {"diffusion": "Stable Diffusion", "clip": "CLIP"}
HINTS: dict[Part, str] = {
    "diffusion": "give a diffusers folder, or a hub id: ORG/NAME or ORG/NAME@REVISION",
    "clip": "give an open_clip folder, hf-hub:ORG/NAME, or NAME:WEIGHTS, e.g. ViT-B-16-quickgelu:openai",
}


class ModelRef(BaseModel):
    """One model: a folder or weights file with the digest of its contents, or a hub model with its commit.

    `location` is where it is read from; `identity` is what goes into an artifact's id, so that moving a folder
    changes nothing and changing a weight changes everything. Until it is `pinned`, a hub model's `revision` is the
    branch or tag that was asked for, None for the default branch.
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
    """Two models and a label. `defaults` replaces values of the built-in recipes, section by section.

    `given` are the parts that took the place of the preset's own, and `strange` those of them whose architecture isn't
    the preset's, with what they are: the preset's values are not theirs, and have been left out.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str
    about: str = ""
    diffusion: ModelRef
    clip: ModelRef
    defaults: dict[str, dict[str, Any]] = {}
    preset: str = ""
    given: tuple[Part, ...] = ()
    strange: dict[Part, str] = {}


def names() -> list[str]:
    """The shipped presets."""
    return sorted(path.stem for path in PRESETS.glob("*.toml"))


def preset_values(section: str) -> dict[str, dict[str, Any]]:
    """What each shipped preset puts in place of the paper's values in a recipe's `section`."""
    return {name: dict(_preset(name).get("defaults", {}).get(section, {})) for name in names()}


def load_backbone(name: str, diffusion: str | None = None, clip: str | None = None) -> Backbone:
    """The preset `name`, with either model replaced by a folder, a weights file or a hub id.

    Hub ids aren't looked up; `pinned` does that. Raises UserError for an unknown preset, naming the nearest, and for a
    place where no model can be.
    """
    others: dict[Part, str | None] = {"diffusion": diffusion, "clip": clip}
    raw = _preset(name)
    given = tuple(part for part, other in others.items() if other is not None)
    for part, other in others.items():
        raw[part] = _own(raw, part) if other is None else resolve(other, part)
        if other is not None:
            raw["name"] = f"{raw['name']}+{Path(raw[part].location if raw[part].digest else other).name}"
    try:
        return _fitted(Backbone.model_validate({**raw, "preset": name, "given": given}))
    except ValidationError as error:
        hint = "reinstall the package"
        raise UserError(f"the preset {name!r} is malformed: {error.errors()[0]['msg']}", hint=hint) from error


def pinned(backbone: Backbone, parts: Collection[Part]) -> tuple[Backbone, list[str]]:
    """`backbone` with the hub models among `parts` at the commit that their branch names now, and what to say of that.

    Raises UserError where that can't be learned.
    """
    found: dict[str, ModelRef] = {}
    said: list[str] = []
    for part in parts:
        ref: ModelRef = getattr(backbone, part)
        if ref.digest is None:
            commit, words = hub.commit_of(hub_id(ref), f"--{part} {HUB if part == 'clip' else ''}")
            found[part] = ref.model_copy(update={"revision": commit})
            said += [words] if words else []
    if not found:
        return backbone, said
    own = _preset(backbone.preset).get("defaults", {})
    return _fitted(backbone.model_copy(update={**found, "defaults": own, "strange": {}})), said


def check_fit(backbone: Backbone, parts: Collection[Part]) -> list[str]:
    """What to say of the values that `parts` are used with: one line for each that doesn't take the preset's.

    Raises UserError for a model of which nobody knows whether the preset's values are its own, and, where both parts
    are used, for one that was given alone and doesn't go with the preset's other one.
    """
    said = []
    for part, text in backbone.strange.items():
        if part not in parts:
            continue
        if not text:
            raise _unknown(part, getattr(backbone, part))
        own = kind_of(OTHER[part], getattr(backbone, OTHER[part]))
        if OTHER[part] in parts and OTHER[part] not in backbone.given and own is not None:
            raise UserError(
                f"--{part} is {text}, and the {WORD[OTHER[part]]} of --backbone {backbone.preset} is for {own.side} px",
                hint=f"give the {WORD[OTHER[part]]} with --{OTHER[part]}, or the --backbone it belongs to",
            )
        said.append(f"values for {text}: the paper's, as those of --backbone {backbone.preset} are for another model")
    for part in parts:
        kind = kind_of(part, getattr(backbone, part)) if part in backbone.given else None
        for place in kind.outside if kind else ():
            said.append(f"--{part} also reads {place}, which is not part of its identity and may change unnoticed")
    return said


def hub_id(ref: ModelRef) -> HubId:
    """The repository that a ref without a digest is read from, and the revision."""
    name, colon, tag = ref.location.partition(":")
    if colon and not ref.location.startswith(HUB):
        return HubId(zoo.repository(name, tag) or name, ref.revision or "")
    wanted = hub.parse(ref.location)
    return HubId(wanted.repo if wanted else ref.location, ref.revision or "")


def kind_of(part: Part, ref: ModelRef) -> Kind | None:
    """What the model is by its configuration; None when that can't be read."""
    return (kinds.diffusion_kind if part == "diffusion" else kinds.clip_kind)(ref.location, ref.revision)


def resolve(location: str, part: Part) -> ModelRef:
    """What `location` names: a folder, a weights file (of a CLIP), or a model of the hub.

    `weights/...` is inside this package. Raises UserError for what can be none of these.
    """
    if "://" in location:  # not repeated here, nor kept in a spec: an address may hold a password
        raise UserError("a model can't be a URL", hint="give a folder or a hub id (ORG/NAME)")
    folder = HERE / location if location.startswith(PACKED) else expand(location.removeprefix(FOLDER))
    if folder.is_dir():
        place = str(folder.resolve())
        return ModelRef(location=place, digest=digests.digest(place))
    if part == "clip" and (given := digests.weights_file(location)) is not None:
        return _weights(*given)
    if folder.exists():
        raise (diffusion_folder if part == "diffusion" else clip_folder).refuse_file(folder)
    if location.startswith((".", "/", "~", PACKED, FOLDER)):
        raise UserError("no such model folder", at=folder, hint="give a diffusers or open_clip folder, or a hub id")
    if part == "clip" and ":" in location and not location.startswith(HUB):
        check_pair(location)
        return ModelRef(location=location)
    wanted = hub.parse(location)
    if wanted is None or (part == "clip" and not location.startswith(HUB) and "/" not in location):
        what = f"{location!r} is neither an existing folder nor a {WORD[part]} name"
        raise UserError(what, hint=HINTS[part])
    return ModelRef(location=f"{HUB if part == 'clip' else ''}{wanted.repo}", revision=wanted.revision or None)


def _weights(name: str, path: Path) -> ModelRef:
    """open_clip's architecture `name` with the weights in a file."""
    zoo.known_config(name)
    if not path.is_file():
        raise UserError("no such weights file", at=path, hint="check the path after the colon")
    if path.suffix != ".safetensors":
        raise clip_folder.refuse_file(path)
    place = f"{name}:{path.resolve()}"
    return ModelRef(location=place, digest=digests.digest(place))


def check_pair(location: str) -> None:
    """Raise UserError unless `location` is one of open_clip's own pairs of architecture and weights."""
    name, _, tag = location.partition(":")
    zoo.known_config(name)
    if zoo.repository(name, tag) is None:
        hint = f"it has {', '.join(zoo.tags(name)) or 'none'}; give a weights file by its path"
        raise UserError(f"open_clip has no weights {tag!r} for {name}", hint=hint)


def _fitted(backbone: Backbone) -> Backbone:
    """Without the preset's values for parts whose architecture isn't the preset's own."""
    raw = _preset(backbone.preset)
    defaults, strange = dict(backbone.defaults), {}
    for part in backbone.given:
        if not any(section in defaults for section in SECTIONS[part]):
            continue
        own = kind_of(part, _own(raw, part))
        kind = kind_of(part, getattr(backbone, part))
        if kind is None or own is None or kind.shape != own.shape:
            strange[part] = kind.text if kind else ""
            defaults = {section: values for section, values in defaults.items() if section not in SECTIONS[part]}
    return backbone.model_copy(update={"defaults": defaults, "strange": strange})


def _own(raw: Mapping[str, Any], part: Part) -> ModelRef:
    """A preset's own model: inside this package, or of the hub."""
    location = str(raw[part]["location"])
    return resolve(location, part) if location.startswith(PACKED) else ModelRef.model_validate(raw[part])


def _preset(name: str) -> dict[str, Any]:
    if name not in names():
        near = difflib.get_close_matches(name, names(), n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"one of {', '.join(names())}"
        raise UserError(f"unknown backbone {name!r}", hint=hint)
    return tomllib.loads((PRESETS / f"{name}.toml").read_text(encoding="utf-8"))


def _unknown(part: Part, ref: ModelRef) -> UserError:
    """Nobody can tell what that model of the hub is; a folder is looked into before."""
    name = {"diffusion": "unet/config.json", "clip": "open_clip_config.json"}[part]
    hint = "choose the values to use with --backbone, e.g. --backbone sd2.1-base"
    return UserError(f"can't identify the model of --{part}: no readable {name}", at=ref.location, hint=hint)
