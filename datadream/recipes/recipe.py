"""A recipe is a method's settings: which stages run, with what values, on which mixes of real and synthetic.

Values are laid over each other in this order: built-in recipes hold the paper's, a backbone replaces those that
do not fit its size, your own recipe file replaces both, and `-o section.key=value` replaces all.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from datadream.errors import UserError
from datadream.models.presets import Backbone
from datadream.paths import expand
from datadream.stages.settings import AdaptSettings, ClassifySettings, GenerateSettings, SelectSettings, Settings
from datadream.stages.table import METHOD, TABLE

BUILT_IN = Path(__file__).parent
Data = Literal["none", "real", "synth", "real+synth"]
DATA: tuple[Data, ...] = get_args(Data)
SECTIONS: dict[str, type[Settings]] = {stage: TABLE[stage].settings for stage in METHOD}
ORDER = (
    *("zero-shot", "real-only", "name-only", "real-guidance", "disef-start"),
    *("datadream-dset", "datadream-cls", "clip-filter"),
)
Layer = dict[str, Any]


class Recipe(BaseModel):
    """A method, ready to run. A missing section means that stage does not run.

    `overrides` holds the values that `-o` changed (not those it only repeated), as the stages use them; `file` is the
    TOML file of a recipe that isn't built in.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str = Field(min_length=1, pattern=r"^[^\x00-\x1f/]+$")
    about: str = ""
    data: tuple[Data, ...] = Field(min_length=1)
    adapt: AdaptSettings | None = None
    generate: GenerateSettings | None = None
    select: SelectSettings | None = None
    classify: ClassifySettings
    overrides: dict[str, Any] = {}
    file: str = ""

    @model_validator(mode="after")
    def _stages_fit(self) -> Recipe:
        synthetic = any("synth" in data for data in self.data)
        if synthetic and self.generate is None:
            raise ValueError("data with synth needs a [generate] section")
        if self.adapt is not None and self.generate is None:
            raise ValueError("an [adapt] section needs a [generate] section")
        if self.select is not None and self.generate is None:
            raise ValueError("a [select] section needs a [generate] section")
        return self

    @property
    def label(self) -> str:
        """The overrides as text, '' for the recipe as shipped: `generate.guidance_scale=3.0`, however it was typed."""
        return label(self.overrides)


def label(values: Mapping[str, Any]) -> str:
    """`section.key=value` for each, sorted."""
    return " ".join(f"{key}={value_text(value)}" for key, value in sorted(values.items()))


def value_text(value: Any) -> str:
    """A setting's value as a reader sees it: `16`, `2.0`, `q,v`."""
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def built_in_names() -> list[str]:
    """The shipped recipes, simplest first."""
    found = [path.stem for path in BUILT_IN.glob("*.toml")]
    return sorted(found, key=lambda name: (ORDER.index(name) if name in ORDER else len(ORDER), name))


def load_recipe(name: str, backbone: Backbone, overrides: Iterable[str] = ()) -> Recipe:
    """The recipe called `name` (or in the TOML file `name`) for `backbone`, with `section.key=value` overrides.

    Overrides of a section this recipe doesn't have are left out; `check_overrides` refuses one that no recipe
    has. Raises UserError for an unknown recipe or key, naming the nearest.
    """
    chain = _chain(name, ())
    merged: Layer = {}
    for _, layer in (entry for entry in chain if entry[0].parent == BUILT_IN):
        _lay(merged, layer)
    for section, values in backbone.defaults.items():
        if section in merged:
            merged[section] = {**merged[section], **values}
    for _, layer in (entry for entry in chain if entry[0].parent != BUILT_IN):
        _lay(merged, layer)
    as_shipped = dict(merged)
    used: list[str] = []
    for text in overrides:
        section, key, value = parse_override(text)
        if section in merged:
            merged[section] = {**merged[section], key: value}
            used.append(f"{section}.{key}")
    path = chain[-1][0]
    own = {"overrides": {}, "file": "" if path.parent == BUILT_IN else str(path)}
    try:
        recipe = Recipe.model_validate({**merged, **own})
    except ValidationError as error:
        raise _explain(error, path) from error
    return recipe.model_copy(update={"overrides": _changed(recipe, as_shipped, used)})


def values_of(recipe: Recipe) -> dict[str, Any]:
    """Every `section.key` and its value, as JSON holds it."""
    content = recipe.model_dump(mode="json", include=set(SECTIONS))
    return {f"{section}.{key}": value for section, part in content.items() for key, value in (part or {}).items()}


def _changed(recipe: Recipe, as_shipped: Layer, keys: Iterable[str]) -> dict[str, Any]:
    """Those of `keys` that have another value than `as_shipped`, a recipe's layers before any override."""
    values = values_of(recipe)
    try:
        before = values_of(Recipe.model_validate({**as_shipped, "overrides": {}, "file": ""}))
    except ValidationError:  # a recipe that can't run without its overrides
        before = {}
    return {key: values[key] for key in keys if key not in before or before[key] != values[key]}


def check_overrides(overrides: Iterable[str], recipes: Iterable[Recipe]) -> None:
    """Refuse an override of a section that none of `recipes` has."""
    held = {section for recipe in recipes for section in SECTIONS if getattr(recipe, section) is not None}
    for text in overrides:
        section, _, _ = parse_override(text)
        if section not in held:
            raise UserError(f"none of these recipes has a [{section}] stage", at=text, hint="remove this override")


def parse_override(text: str) -> tuple[str, str, Any]:
    """`generate.guidance_scale=3` as (section, key, value); the value is TOML, or else the text itself."""
    path, equals, value = text.partition("=")
    section, dot, key = path.strip().partition(".")
    if not equals or not dot or not key:
        raise UserError(
            f"can't read the override {text!r}", hint="use section.key=value, e.g. generate.guidance_scale=3"
        )
    if section not in SECTIONS:
        raise UserError(f"unknown section {section!r} in {text!r}", hint=_nearest(section, SECTIONS))
    fields = SECTIONS[section].model_fields
    if key not in fields:
        raise UserError(f"unknown key {section + '.' + key!r}", hint=_nearest(key, fields))
    try:
        return section, key, tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return section, key, value.strip()


def _chain(name: str, seen: tuple[str, ...]) -> list[tuple[Path, Layer]]:
    """The recipe's file and those it extends, base first."""
    path = _find(name)
    if str(path) in seen:
        raise UserError(f"recipe {name!r} extends itself", at=path, hint="break the `extends` cycle")
    try:
        layer = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"not valid TOML: {error}", at=path, hint="fix that line") from error
    base = layer.pop("extends", None)
    layer.setdefault("name", path.stem)
    if base is None:
        return [(path, layer)]
    if not isinstance(base, str):
        raise UserError("`extends` must be a recipe's name", at=path, hint='e.g. extends = "datadream-dset"')
    sibling = path.parent / base
    return [*_chain(str(sibling) if sibling.is_file() else base, (*seen, str(path))), (path, layer)]


def _find(name: str) -> Path:
    path = BUILT_IN / f"{name}.toml"
    if name in built_in_names():
        return path
    if name.endswith(".toml"):
        given = expand(name)
        if given.is_file():
            return given.resolve()
        raise UserError("no such recipe file", at=given, hint="check the path")
    raise UserError(f"no recipe {name!r}", hint=_nearest(name, built_in_names()) + ", or a path to a .toml file")


def _lay(merged: Layer, layer: Layer) -> None:
    """Lay `layer` over `merged`, section by section."""
    for key, value in layer.items():
        below = merged.get(key)
        merged[key] = {**below, **value} if isinstance(below, dict) and isinstance(value, dict) else value


def _explain(error: ValidationError, path: Path) -> UserError:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        *section, key = [str(part) for part in first["loc"]]
        fields: Mapping[str, Any] = SECTIONS[section[0]].model_fields if section else Recipe.model_fields
        known = [field for field in fields if field not in ("overrides", "file")] + ([] if section else ["extends"])
        return UserError(f"unknown key {where!r}", at=path, hint=_nearest(key, known))
    message = str(first["msg"]).removeprefix("Value error, ")
    given = f", not {first['input']!r}" if where and not isinstance(first["input"], dict) else ""
    return UserError(f"{where}: {message}{given}" if where else message, at=path, hint="fix that value")


def _nearest(word: str, known: Iterable[str]) -> str:
    candidates = list(known)
    near = difflib.get_close_matches(word, candidates, n=1, cutoff=0.5)
    return f"did you mean {near[0]!r}?" if near else f"use one of {', '.join(candidates)}"
