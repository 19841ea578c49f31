"""'Run these methods on these sets': from what a user asks for to jobs. The command line and the screens both ask here.

`check` reads nothing of a home, `plan` says what a request would take, `submit` queues it.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields

from datadream import durable
from datadream.data.seen import Seen, remarks
from datadream.data.shots import ShotSet, draw_shot_set, make_shot_set
from datadream.data.source import Listed, open_source
from datadream.data.twins import Fingerprint
from datadream.errors import UserError
from datadream.jobs import experiments, marks
from datadream.jobs import plan as plans
from datadream.jobs import submit as jobs
from datadream.jobs.artifacts import read_manifest
from datadream.jobs.home import Home
from datadream.jobs.launchers import check_launcher
from datadream.jobs.lease import lock
from datadream.jobs.plan import Run
from datadream.jobs.quoting import command_line
from datadream.jobs.sets import NamedSet, default_name, find_set, free_name, keep, load_set, told_of
from datadream.jobs.spec import JobSpec
from datadream.jobs.state import is_id
from datadream.models.makes import check_models
from datadream.models.presets import SECTIONS, Backbone, ModelRef, Part, check_fit, load_backbone, pinned
from datadream.models.tokens import Tokens, clip_tokens, diffusion_tokens
from datadream.models.verify import checked
from datadream.recipes.recipe import DATA, Data, Recipe, check_overrides, load_recipe

SHOTS = (16,)  # with a source, when nothing else is said
SEEDS = (1,)
DEMO = ("zero-shot", "real-only", "name-only", "datadream-dset", "datadream-cls")
LISTED_SECONDS = 20  # a preview lists a folder anew after this


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


@dataclass(frozen=True)
class Plan:
    """What a request takes: `missing` jobs in the order they are queued, and how many finished artifacts serve again.

    A `dry` one has sets that aren't kept, and may not be submitted as it is. `notes` are worth telling.
    """

    request: Request
    runs: tuple[Run, ...]
    sets: tuple[NamedSet, ...]
    missing: tuple[JobSpec, ...]
    reused: int
    dry: bool = False
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


def plan(home: Home, request: Request, methods: Methods | None = None, *, dry: bool = False) -> Plan:
    """What is missing for `request`, whose `methods` are checked here unless that is done.

    With a source its sets are made and kept; with `dry` nothing is written, and no image is read: the images are
    taken to be as they were when a kept set of the same source was made. Raises UserError as `datadream run` does.
    """
    methods = methods or check(request, dry=dry)
    if request.sets:
        sets = _named(home, request.sets, request.seeds)
    else:
        assert request.source is not None
        asked = [(shots, seed) for shots in request.shots or SHOTS for seed in request.seeds or SEEDS]
        sets = (preview_sets if dry else make_sets)(home, request.source, asked)

    def planned(repeat: int) -> list[Run]:
        return plans.plan_all(methods.recipes, sets, methods.backbone, methods.data, repeat, without)

    def without(synthetic: JobSpec) -> tuple[str, ...]:
        return marks.excluded(home, synthetic) if request.without_marked else ()

    runs = planned(next_repeat(home, planned) if request.force else 0)
    missing, reused = _missing(home, runs, request.shards)
    return Plan(request, tuple(runs), tuple(sets), tuple(missing), reused, dry, methods.notes)


def _missing(home: Home, runs: Sequence[Run], shards: int) -> tuple[list[JobSpec], int]:
    """The jobs that `runs` lack, parts before what joins them; and how many finished artifacts serve again."""
    specs = {spec.id: spec for run in runs for spec in run.jobs.values()}
    todo = jobs.missing(home, list(specs.values()))
    split = [part for spec in todo for part in (*_parts(spec, shards), spec)]
    return jobs.missing(home, split), len(specs) - len(todo)


def models_of(plan: Plan) -> list[tuple[str, str]]:
    """Of each model that isn't its preset's own, or comes from the hub: its part, and which it is with whose values."""
    found = []
    for backbone in [run.backbone for run in plan.runs[:1]]:
        used = {spec.stage != "classify" for run in plan.runs for spec in run.jobs.values()}
        parts: tuple[tuple[str, Part, ModelRef], ...] = (
            ("model", "diffusion", backbone.diffusion),
            ("CLIP", "clip", backbone.clip),
        )
        for label, part, ref in parts:
            if (part == "diffusion") in used and (part in backbone.given or ref.digest is None):
                which = ref.digest[:12] if ref.digest else f"commit {(ref.revision or 'unknown')[:12]}"
                own = any(section in backbone.defaults for section in SECTIONS[part])
                values = f"the values of --backbone {backbone.preset}" if own else "the paper's values"
                found.append((label, f"{ref.location} ({which}), {values}"))
    return found


def told(home: Home, planned: Plan) -> list[str]:
    """Notes and warnings on a plan: what occurs twice in its sets, and prompts that its models don't tell apart.

    Of models that aren't on this machine, and of sets a `dry` plan would make, nothing is known yet.
    """
    lines = dict.fromkeys([*(f"note: {text}" for text in planned.notes), *told_of(home, planned.sets)])
    asked: dict[tuple[str, Tokens], list[ShotSet]] = {}
    for run in planned.runs:
        readers = [("CLIP", clip_tokens(run.backbone.clip))]
        if "generate" in run.jobs:
            readers.append(("the diffusion model", diffusion_tokens(run.backbone.diffusion)))
        for who, tokens in readers:
            if tokens is not None:
                asked.setdefault((who, tokens), []).append(run.set.shots)
    for (who, tokens), sets in asked.items():
        for classes, prompts in dict.fromkeys((shots.classes, shots.prompts) for shots in sets):
            texts = remarks(who, tokens.limit, functools.partial(_seen, tokens), classes, prompts)
            lines |= dict.fromkeys(f"warning: {text}" for text in texts)
    return list(lines)


def _seen(tokens: Tokens, texts: Sequence[str]) -> list[Seen]:
    return [Seen(*found) for found in tokens.read(texts)]


def submit(home: Home, asked: Request | Plan) -> list[str]:
    """Record the runs and queue the jobs they lack, inputs first; the jobs' ids. The runner isn't started here.

    The records come first: of a submission that is cut short, nothing is computed that no table finds. They also keep
    what is there: what a `gc` took away until this moment is asked for again, and from here on it takes nothing.
    """
    if isinstance(asked, Request):
        asked = plan(home, asked)
    elif asked.dry:
        shown, asked = asked, plan(home, asked.request)
        _refuse_another(shown, asked)
    request = asked.request
    for model in {spec.model for spec in asked.missing if spec.model is not None and spec.model.digest}:
        checked(model)
    jobs.check(home, asked.missing, request.launcher)
    while not _record(home, asked):
        asked = plan(home, request)
    missing, _ = _missing(home, asked.runs, request.shards)
    titles = plans.titles_of(asked.runs)
    parts = {}
    for spec in missing:
        split = _parts(spec, request.shards)
        if split:
            parts[spec.id] = [part.id for part in split]
            titles |= {part.id: f"{titles[spec.id]} {i + 1}/{request.shards}" for i, part in enumerate(split)}
    if request.experiment:
        experiments.add_runs(home, request.experiment, [run.id for run in asked.runs])
    return jobs.submit(
        home,
        missing,
        titles,
        experiment=request.experiment,
        priority=request.priority,
        launcher=request.launcher,
        shards=parts,
    )


def _record(home: Home, asked: Plan) -> bool:
    """Write the runs down; False when they were to be new, and another has just asked for the same."""
    with lock(durable.make_dir(home.path / "runs") / ".lease"):
        if asked.request.force and any(home.run(run.id).exists() for run in asked.runs):
            return False
        for run in asked.runs:
            plans.record(home, run)
    return True


def make_sets(home: Home, source: str, asked: Sequence[tuple[int, int]]) -> list[NamedSet]:
    """The sets for every (shots, seed), kept; reads and checks the source once."""
    opened = open_source(source)
    known: dict[str, Fingerprint] = {}
    drawn = [draw_shot_set(opened, shots, seed, known=known) for shots, seed in asked]
    return [keep(home, opened, entry, free=True) for entry in drawn]


def preview_sets(home: Home, source: str, asked: Sequence[tuple[int, int]]) -> list[NamedSet]:
    """The same without reading an image or writing: the kept set of the very same images, else one of no real id."""
    found = []
    for shots, seed in asked:
        drawn = _drawn(source, shots, seed, int(time.monotonic() / LISTED_SECONDS))
        kept = next((entry for entry in _kept(home, drawn) if _outline(entry) == _outline(drawn)), None) or drawn
        found.append(NamedSet(free_name(home, default_name(kept), kept.id), kept.id, kept))
    return found


def next_repeat(home: Home, planned: Callable[[int], list[Run]]) -> int:
    """How often these runs were asked for already."""
    repeat = 1
    while any(_asked_before(home, entry) for entry in planned(repeat)):
        repeat += 1
    return repeat


def _asked_before(home: Home, run: Run) -> bool:
    job = run.jobs["classify"].id  # older records of runs with overrides have ids of their own
    return home.run(run.id).exists() or home.job(job).exists() or home.has("classifier", job)


@functools.lru_cache(maxsize=64)
def _drawn(source: str, shots: int, seed: int, moment: int) -> ShotSet:
    """The set as it would be drawn, its images not read. `moment` lets a folder that changed be listed again."""
    return make_shot_set(Listed(open_source(source)), shots, seed, check="used")


def _kept(home: Home, drawn: ShotSet) -> Iterator[ShotSet]:
    """The kept sets of the same source, shots and seed. One that can't be read is none."""
    folder = home.path / "artifacts" / "set"
    for set_id in sorted(path.name for path in folder.glob("*") if is_id(path.name)):
        with suppress(UserError):
            spec = read_manifest(home, "set", set_id)["spec"]
            if (spec.get("shots"), spec.get("seed")) == (drawn.shots, drawn.seed):
                kept = load_set(home, set_id)
                if kept.source == drawn.source:
                    yield kept


def _outline(shots: ShotSet) -> object:
    """A set but for the bytes of its images."""
    refs = [[(ref.key, ref.label) for ref in part] for part in (shots.train, shots.val, shots.test)]
    return shots.split_seed, shots.sampler, shots.classes, shots.prompts, refs


def _named(home: Home, names: Sequence[str], seeds: Sequence[int]) -> list[NamedSet]:
    found = [find_set(home, name) for name in dict.fromkeys(names)]
    for entry in found:
        if seeds and entry.shots.seed not in seeds:
            raise UserError(
                f"the set {entry.name!r} was drawn with seed {entry.shots.seed} and serves only that seed",
                hint="omit --seeds, or use --source and --shots to draw a set for each seed",
            )
    missing = sorted(set(seeds) - {entry.shots.seed for entry in found})
    if missing:
        raise UserError(
            f"no given set has seed {missing[0]}",
            hint="add --set for it, or use --source and --shots to draw a set for each seed",
        )
    return found


def _parts(spec: JobSpec, shards: int) -> list[JobSpec]:
    return plans.shards_of(spec, shards) if shards > 1 and spec.stage == "generate" and spec.shard is None else []


def _refuse_another(shown: Plan, now: Plan) -> None:
    """Raise UserError when what would be queued isn't what was shown: a file it was made from changed in between."""
    before, after = ([(run.recipe, run.backbone, run.data) for run in entry.runs] for entry in (shown, now))
    if before != after:
        raise UserError(
            "a recipe or model changed after this plan was made",
            hint="review the plan again, then start it",
        )


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
