"""What a user can ask for, and what of it can be checked without a home."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

from datadream.errors import UserError
from datadream.home.launchers import check_launcher
from datadream.home.quoting import command_line
from datadream.models.makes import check_models
from datadream.models.presets import Backbone, Part, check_fit, load_backbone, pinned
from datadream.recipes.recipe import DATA, Data, Recipe, check_overrides, load_recipe

SHOTS = (16,)  # with a source, when nothing else is said
SEEDS = (1,)
DEMO = ("zero-shot", "real-only", "name-only", "datadream-dset", "datadream-cls")


@dataclass(frozen=True)
class Request:
    """What `datadream run` can be asked for, field by field. `sets` or `source`, never both.

    `shots` go with a source; `seeds` choose draws of a source, and must be the seeds of given sets.
    """

    recipes: tuple[str, ...]
    sets: tuple[str, ...] = ()
    source: str | None = None
    shots: tuple[int, ...] = ()
    seeds: tuple[int, ...] = ()
    data: tuple[str, ...] = ()
    backbone: str = "mini"
    diffusion: str | None = None
    clip: str | None = None
    overrides: tuple[str, ...] = ()
    experiment: str = ""
    priority: int = 0
    launcher: str = "local"
    shards: int = 1
    force: bool = False
    without_marked: bool = False


@dataclass(frozen=True)
class Methods:
    """A request's recipes, ready for its backbone, and the mixes it is limited to; `notes` are worth telling.

    The models that the recipes use are settled: every hub model among them has its commit.
    """

    recipes: tuple[Recipe, ...]
    backbone: Backbone
    data: tuple[Data, ...] | None
    notes: tuple[str, ...] = ()


def demo_request(shots: Sequence[int] = (4,), seeds: Sequence[int] = (1,)) -> Request:
    """The built-in experiment: the paper's comparison on real handwriting."""
    return Request(recipes=DEMO, source="digits", shots=tuple(shots), seeds=tuple(seeds))


def command(request: Request) -> str:
    """The exactly equal command line; only what isn't the default."""
    return command_line(["datadream", "run", *_words(request)])


def check(request: Request, *, dry: bool = False) -> Methods:
    """The methods of a request. Raises UserError for anything wrong that can be known without a home.

    With `dry` a hub model whose commit can't be learned is no error yet, but noted.
    """
    if not request.recipes:
        raise UserError("no methods given", hint="give at least one recipe, e.g. datadream-dset")
    if bool(request.sets) == bool(request.source):
        raise UserError("no images given", hint="give either --set NAME or --source digits (or a folder)")
    mixes = tuple(word for word in DATA if word in request.data)
    unknown = [word for word in request.data if word not in DATA]
    if unknown:
        raise UserError(f"unknown --data value {unknown[0]!r}", hint=f"use any of {', '.join(DATA)}")
    check_launcher(request.launcher)
    asked = tuple(dict.fromkeys(request.recipes))
    backbone = load_backbone(request.backbone, request.diffusion, request.clip)
    backbone, notes = settled(backbone, asked, request.overrides, dry=dry)
    recipes = [load_recipe(name, backbone, request.overrides) for name in asked]
    check_overrides(request.overrides, recipes)
    return Methods(tuple(recipes), backbone, mixes or None, tuple(notes))


def settled(
    backbone: Backbone, names: Sequence[str], overrides: Sequence[str] = (), *, dry: bool = False
) -> tuple[Backbone, list[str]]:
    """`backbone` as these recipes use it, and what to say: hub models at their commits, values that are theirs.

    Raises UserError for a model that can't be used so. With `dry` a commit that can't be learned is told instead.
    """
    recipes = [load_recipe(name, backbone, overrides) for name in names]
    solvers = {recipe.generate.scheduler for recipe in recipes if recipe.generate is not None}
    trained = any(data != "none" for recipe in recipes for data in recipe.data)
    draws = bool(solvers)
    check_models(backbone.diffusion if draws else None, solvers, backbone.clip, trained)
    parts: list[Part] = ["diffusion", "clip"] if draws else ["clip"]
    notes = []
    if "diffusion" in backbone.given and not draws:
        notes.append("--diffusion is unused: none of these methods generates images")
    try:
        backbone, notes_of_hub = pinned(backbone, parts)
        notes += notes_of_hub
    except UserError as error:
        if not dry:
            raise
        return backbone, [*notes, f"can't run this: {error}"]
    return backbone, [*notes, *check_fit(backbone, parts)]


def _words(request: Request) -> Iterator[str]:
    """Arguments and options, in the order of the help. A name like an option comes after `--`."""
    recipes = list(request.recipes)
    if not any(name.startswith("-") for name in recipes):
        yield from recipes
    for name in request.sets:
        yield from _option("--set", name)
    if request.source is not None:
        yield from _option("--source", request.source)
        if request.shots not in ((), SHOTS):
            yield from _option("--shots", ",".join(map(str, request.shots)))
    if request.seeds and not (request.source is not None and request.seeds == SEEDS):
        yield from _option("--seeds", ",".join(map(str, request.seeds)))
    if request.data:
        yield from _option("--data", ",".join(request.data))
    default = {field.name: field.default for field in fields(Request)}
    for name in ("backbone", "diffusion", "clip"):
        if getattr(request, name) != default[name]:
            yield from _option(f"--{name}", getattr(request, name))
    for text in request.overrides:
        yield from _option("-o", text)
    if request.force:
        yield "--force"
    if request.without_marked:
        yield "--without-marked"
    for name in ("experiment", "priority", "launcher", "shards"):
        if getattr(request, name) != default[name]:
            yield from _option(f"--{name}", str(getattr(request, name)))
    if any(name.startswith("-") for name in recipes):
        yield from ("--", *recipes)


def _option(name: str, value: str) -> tuple[str, ...]:
    """Glued with = where the value would pass for an option."""
    if not value.startswith("-"):
        return name, value
    return (f"{name}={value}",) if name.startswith("--") else (f"{name}{value}",)
