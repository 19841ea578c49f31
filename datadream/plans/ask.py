"""'Run these methods on these sets': from what a user asks for to jobs. The command line and the screens both ask here.

`plan` says what a request would take, `submit` queues it.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from datadream import durable
from datadream.data.seen import Seen, remarks
from datadream.data.shots import ShotSet
from datadream.errors import UserError
from datadream.home import experiments, marks, runs
from datadream.home.layout import Home
from datadream.home.lease import lock
from datadream.home.runs import Run
from datadream.home.sets import NamedSet, told_of
from datadream.home.spec import JobSpec
from datadream.models.presets import SECTIONS, ModelRef, Part
from datadream.models.tokens import Tokens, clip_tokens, diffusion_tokens
from datadream.models.verify import checked
from datadream.plans import draws, enqueue, grid
from datadream.plans.request import SEEDS, SHOTS, Methods, Request, check


@dataclass(frozen=True)
class Plan:
    """What a request takes: the specs of all its jobs in the order they are queued, those without a finished artifact
    (`missing`), and how many finished artifacts serve again. `titles` and `shards` are by the ids of jobs.

    A `dry` one has sets that aren't kept, and may not be submitted as it is. `notes` are worth telling.
    """

    request: Request
    runs: tuple[Run, ...]
    sets: tuple[NamedSet, ...]
    specs: tuple[JobSpec, ...]
    missing: tuple[JobSpec, ...]
    reused: int
    titles: Mapping[str, str]
    shards: Mapping[str, tuple[str, ...]]
    dry: bool = False
    notes: tuple[str, ...] = ()


def plan(home: Home, request: Request, methods: Methods | None = None, *, dry: bool = False) -> Plan:
    """What is missing for `request`, whose `methods` are checked here unless that is done.

    With a source its sets are made and kept; with `dry` nothing is written, and no image is read: the images are
    taken to be as they were when a kept set of the same source was made. Raises UserError as `datadream run` does.
    """
    methods = methods or check(request, dry=dry)
    if request.sets:
        sets = draws.named_sets(home, request.sets, request.seeds)
    else:
        assert request.source is not None
        asked = [(shots, seed) for shots in request.shots or SHOTS for seed in request.seeds or SEEDS]
        sets = (draws.preview_sets if dry else draws.make_sets)(home, request.source, asked)

    def without(synthetic: JobSpec) -> tuple[str, ...]:
        return marks.excluded(home, synthetic) if request.without_marked else ()

    taken = functools.partial(_asked_before, home) if request.force else None
    found = grid.runs_of(methods.recipes, sets, methods.backbone, methods.data, without, taken)
    specs, titles, shards = grid.jobs_of(found, request.shards)
    missing = enqueue.missing(home, specs, shards)
    reused = sum(spec.shard is None for spec in specs) - sum(spec.shard is None for spec in missing)
    return Plan(
        request, tuple(found), tuple(sets), tuple(specs), tuple(missing), reused, titles, shards, dry, methods.notes
    )


def _asked_before(home: Home, run: Run) -> bool:
    job = run.jobs["classify"].id  # older records of runs with overrides have ids of their own
    return home.run(run.id).exists() or home.job(job).exists() or home.has("classifier", job)


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
    enqueue.check(home, asked.missing, request.launcher)
    while not _record(home, asked):
        asked = plan(home, request)
    if request.experiment:
        experiments.add_runs(home, request.experiment, [run.id for run in asked.runs])
    return enqueue.enqueue(
        home,
        asked.specs,
        asked.titles,
        experiment=request.experiment,
        priority=request.priority,
        launcher=request.launcher,
        shards=asked.shards,
    )


def _record(home: Home, asked: Plan) -> bool:
    """Write the runs down; False when they were to be new, and another has just asked for the same."""
    with lock(durable.make_dir(home.path / "runs") / ".lease"):
        if asked.request.force and any(home.run(run.id).exists() for run in asked.runs):
            return False
        for run in asked.runs:
            runs.record(home, run)
    return True


def _refuse_another(shown: Plan, now: Plan) -> None:
    """Raise UserError when what would be queued isn't what was shown: a file it was made from changed in between."""
    before, after = ([(run.recipe, run.backbone, run.data) for run in entry.runs] for entry in (shown, now))
    if before != after:
        raise UserError(
            "a recipe or model changed after this plan was made",
            hint="review the plan again, then start it",
        )
