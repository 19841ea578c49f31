"""What the form of a new experiment says, turned into a request and looked at. Runs in the pool, knows no widget."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from datadream.errors import UserError
from datadream.text import counted

if TYPE_CHECKING:
    from datadream.plans.request import Request
    from tui.services.data import Data

ANEW, UNMARKED = "anew", "without marked"
FREE_STEP = 1 << 27  # so that noise repaints nothing
SETS_MAX = 500  # the newest; older ones are found by the command line


@dataclass(frozen=True)
class Form:
    """The fields, as they stand."""

    recipes: tuple[str, ...] = ()
    files: str = ""
    sets: tuple[str, ...] = ()
    source: str = ""
    shots: str = ""
    seeds: str = ""
    data: tuple[str, ...] = ()
    images: str = ""
    backbone: str = "mini"
    diffusion: str = ""
    clip: str = ""
    overrides: str = ""
    experiment: str = ""
    priority: str = ""
    more: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outlook:
    """What the form would do; with `wrong`, why it can't be done. `command` is "" when it can't even be said."""

    form: Form
    wrong: str = ""
    failure: Exception | None = None
    command: str = ""
    runs: int = 0
    sets: int = 0
    jobs: int = 0
    reused: int = 0
    stages: str = ""
    time: str = ""
    disk: str = ""
    free: int = 0
    models: tuple[tuple[str, str], ...] = ()
    told: tuple[str, ...] = ()


@dataclass(frozen=True)
class Started:
    """Jobs that weren't queued before, and notes and warnings on the plan."""

    jobs: tuple[str, ...]
    told: tuple[str, ...] = ()


@dataclass(frozen=True)
class Choices:
    """Recipes and backbones: (name, about)."""

    recipes: tuple[tuple[str, str], ...]
    backbones: tuple[tuple[str, str], ...]


def request_of(form: Form) -> Request:
    """The request the form makes. Raises UserError for a field that can't be read."""
    from datadream.plans.request import Request

    overrides = list(_parts(form.overrides, "overrides"))
    if form.images.strip():
        (images,) = _numbers(form.images, "images per class", 1, one=True)
        overrides.insert(0, f"generate.images_per_class={images}")
    source = form.source.strip() or None
    if form.sets and not source and (form.shots.strip() or form.seeds.strip()):
        raise UserError(
            "shots and seeds apply to a source; the selected sets have their own",
            hint="clear them, or deselect the sets",
        )
    if form.sets and source:
        raise UserError("both sets and a source are given", hint="deselect the sets, or clear the source")
    return Request(
        recipes=(*form.recipes, *_parts(form.files, "recipe files")),
        sets=form.sets,
        source=source,
        shots=_numbers(form.shots, "shots", 1) if source else (),
        seeds=_numbers(form.seeds, "seeds", 0) if source else (),
        data=form.data,
        backbone=form.backbone,
        diffusion=form.diffusion.strip() or None,
        clip=form.clip.strip() or None,
        overrides=tuple(overrides),
        experiment=form.experiment.strip(),
        priority=_whole(form.priority),
        force=ANEW in form.more,
        without_marked=UNMARKED in form.more,
    )


def look(data: Data, form: Form) -> Outlook:
    """Everything the screen tells about `form`. Writes nothing; raises nothing."""
    command = ""
    try:
        from datadream.home import room
        from datadream.plans import ask, enqueue
        from datadream.plans import request as requests
        from datadream.plans.estimate import estimate

        request = request_of(form)
        command = requests.command(request) if request.recipes and (request.sets or request.source) else ""
        plan = ask.plan(data.home, request, dry=True)
        found = estimate(data.home, plan)
        enqueue.check(data.home, plan.missing)
        return Outlook(
            form,
            command=command,
            runs=len(plan.runs),
            sets=len(plan.sets),
            jobs=len(plan.missing),
            reused=plan.reused,
            stages=", ".join(f"{count} {stage}" for stage, count in found.stages.items()),
            time=found.time_text(),
            disk=found.disk_text(),
            free=room.least(data.home).size // FREE_STEP * FREE_STEP,
            models=tuple(ask.models_of(plan)),
            told=tuple(ask.told(data.home, plan)),
        )
    except UserError as error:
        return Outlook(form, wrong=str(error), command=command)
    except Exception as error:  # noqa: BLE001 - handed to the screen, which makes it a panel
        return Outlook(form, wrong=f"{type(error).__name__}: {error}", failure=error, command=command)


def start(data: Data, form: Form, paused: bool) -> Started:
    """Queue what the form asks for, and start the runner; or with `paused`, pause the queue first and start nothing.

    Raises UserError before anything is changed, but for the sets of a source, which are kept.
    """
    from datadream.home import queue
    from datadream.jobs import follow, spawn
    from datadream.jobs.losses import losses
    from datadream.plans import ask

    plan = ask.plan(data.home, request_of(form))
    if paused and not queue.read_settings(data.home).paused:
        queue.change(data.home, paused=True)
    waiting = follow.waiting(data.home, {spec.id for spec in plan.missing})
    jobs = ask.submit(data.home, plan)
    if not paused:
        spawn.ensure_runner(data.home)
    told = (*ask.told(data.home, plan), *(f"warning: {text}" for text in losses(data.home, jobs)))
    return Started(tuple(job_id for job_id in jobs if job_id not in waiting), told)


def choices(_: Data) -> Choices:
    """What ships with the package."""
    from datadream.models.presets import load_backbone, names
    from datadream.recipes.recipe import built_in_names, load_recipe

    backbones = tuple((name, load_backbone(name).about) for name in names())
    mini = load_backbone(Form().backbone)
    return Choices(tuple((name, load_recipe(name, mini).about) for name in built_in_names()), backbones)


def sets(data: Data) -> tuple[tuple[str, str], ...]:
    """The home's few-shot sets, newest first: (name, what it is)."""
    from store import queries

    rows = queries.page(data.registry(), "set", limit=SETS_MAX)
    named = [row for row in rows if row["name"]]
    return tuple(
        (
            str(row["name"]),
            f"{row['id'][:8]}  {row['source']}, {counted(row['shots'], 'shot')}, seed {row['seed']}, "
            f"{counted(row['classes'], 'class')}",
        )
        for row in named
    )


def _parts(text: str, what: str) -> tuple[str, ...]:
    """Words as a shell would read them: quotes keep spaces."""
    try:
        return tuple(shlex.split(text))
    except ValueError as error:
        raise UserError(f"can't read the {what}: {str(error).lower()}", hint="close the quotes") from error


def _numbers(text: str, what: str, least: int, one: bool = False) -> tuple[int, ...]:
    """`1,5,10` as whole numbers, each once; () for nothing."""
    if not text.strip():
        return ()
    try:
        found = [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        found = []
    if not found or min(found) < least or (one and len(found) > 1):
        form = f"one integer >= {least}" if one else f"integers >= {least}"
        raise UserError(f"{what}: expected {form}, not {text!r}", hint="e.g. 40" if one else "e.g. 1,5,10")
    return tuple(dict.fromkeys(found))


def _whole(text: str) -> int:
    try:
        return int(text.strip() or 0)
    except ValueError as error:
        raise UserError(f"priority: expected an integer, not {text!r}", hint="higher runs first") from error


def started(data: Data, form: Form, paused: bool) -> Started | str | Exception:
    """`start`, or the sentence that says why it can't be, or what went wrong; raises nothing."""
    try:
        return start(data, form, paused)
    except UserError as error:
        return str(error)
    except Exception as error:  # noqa: BLE001 - handed to the screen, which makes it a panel
        return error
