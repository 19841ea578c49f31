"""Runs made up for tables: what was run in a few words, and the answers as a string of 0 and 1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from datadream.canonical import short_id
from datadream.jobs.facts import RunFacts, Traits
from datadream.report.collect import Answered
from datadream.report.judge import judge
from datadream.report.rows import Run, rows
from datadream.report.tables import Compared

CLIP = {"clip": "bdfcafb2 mini/clip"}
MODELS = {"diffusion": "80c4a08f mini/sd", **CLIP}
DIGITS = {"frame": "digits", "classes": '"zero", "one"', "test images": "4 (7f08f692)"}


@dataclass(frozen=True)
class Made(Run):
    """A run with its answers."""

    answers: Answered = Answered("", np.zeros(0, dtype=np.bool_))


def make_run(
    method: str = "real-only",
    data: str = "real",
    seed: int = 1,
    correct: str = "1101",
    *,
    shots: int = 4,
    source: str = "digits",
    backbone: str = "mini",
    split: str = "test",
    settings: str = "",
    recipe: Mapping[str, str] | None = None,
    models: Mapping[str, str] | None = None,
    set_: Mapping[str, str] | None = None,
    draw: str | None = None,
    images: int = 0,
    left_out: int = 0,
    stage_seconds: Mapping[str, float] | None = None,
    image_passes: int = 640,
    run_id: str = "",
    created: str = "",
    judged_on: str = "",
) -> Made:
    """One run; what isn't said is as `make demo` has it. `settings` are overrides, and values of the recipe."""
    words = dict(part.split("=") for part in settings.split())
    values = {"classify.rank": "16", **(recipe or {}), **words}
    used = models if models is not None else MODELS if "synth" in data else CLIP
    about = set_ if set_ is not None else {**DIGITS, "frame": source}
    place = short_id([about["frame"], used.get("clip", ""), split])
    key = short_id([method, data, shots, about["frame"], dict(used), values, bool(left_out), split])
    right = np.array([mark == "1" for mark in correct])
    what = RunFacts(
        **{"id": run_id or f"{method}{data}{seed}", "created": created, "method": method, "data": data, "shots": shots},
        **{"seed": seed, "source": source, "backbone": backbone, "split": split, "set_id": f"set{seed}"},
        **{"classifier_id": f"c{run_id or (method, data, seed, correct, settings)}", "key": key, "place": place},
        **{"draw": f"d{seed}" if draw is None else draw, "settings": settings, "images": images, "left_out": left_out},
        traits=Traits(settings, values, used, about),
    )  # type: ignore[arg-type]
    seconds = stage_seconds or {"classify": 3.0}
    answers = Answered(judged_on or f"{about['frame']}{len(correct)}", right)
    return Made(what, int(right.sum()), len(right), seconds, 10, image_passes, answers=answers)


def compared(runs: Sequence[Made]) -> Compared:
    """The table of these runs, judged."""
    table = rows(runs)
    judged = judge(table.rows, {run.what.id: run.answers for run in runs})
    return Compared(table.rows, judged, table.notes)
