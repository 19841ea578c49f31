"""Runs made up for tables: what was run in a few words, and the answers as a string of 0 and 1."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from datadream import durable
from datadream.canonical import short_id
from datadream.home import runs
from datadream.home.artifacts import publish
from datadream.home.facts import RunFacts, Traits
from datadream.home.layout import Home
from datadream.plans import ask
from datadream.plans.request import Request
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

    answers: Answered = field(default_factory=lambda: Answered("", np.zeros(0, dtype=np.bool_)))


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


# Runs of a real home, finished without computing: only what a table reads is there.


def pictures(root: Path, classes: Sequence[str] = ("cat", "dog"), test: int = 6, salt: str = "") -> Path:
    """A folder with train, val and test images of each class; another `salt`, other images under the same names."""
    for part, count in (("train", 4), ("val", 1), ("test", test)):
        for label, class_ in enumerate(classes):
            for i in range(count):
                path = root / part / class_ / f"{i:02}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                colour = hashlib.sha256(f"{part}{label}{i}{salt}".encode()).digest()[:3]
                Image.new("RGB", (8, 8), tuple(colour)).save(path)
    return root


def planned(home: Home, *requests: Request) -> list[runs.Run]:
    """The runs of these requests, their sets kept."""
    return [run for request in requests for run in ask.plan(home, request).runs]


def finish(home: Home, run: runs.Run, wrong: Collection[int] = (), image_passes: int = 640) -> None:
    """Record `run` as done; of the images of its split those numbered `wrong` are."""
    shots = run.set.shots
    for stage, spec in run.jobs.items():
        if home.has(spec.kind, spec.id):
            continue
        staged = durable.make_dir(home.staging(spec.kind, spec.id))
        if stage == "classify":
            split = run.recipe.classify.evaluate
            refs = shots.part(split)
            lines = [
                f"{ref.key},{ref.label},{(ref.label + (i in wrong)) % len(shots.classes)},0.9"
                for i, ref in enumerate(refs)
            ]
            text = "\n".join(["key,label,prediction,confidence", *lines, ""])
            durable.write_text(staged / "predictions.csv", text)
            n = [sum(ref.label == label for ref in refs) for label in range(len(shots.classes))]
            right = len(refs) - len(set(wrong))
            scores = {
                "split": split,
                "correct": right,
                "n": len(refs),
                "per_class": [[c, c] for c in n],
                "confusion": [],
            }
            durable.write_json(staged / "scores.json", scores)
        steps = {"steps": 10, "image_passes": 0 if run.data == "none" else image_passes} if stage == "classify" else {}
        origin = {"seconds": 1.0, "device": "cpu", "job": spec.id, **steps}
        publish(home, spec.kind, spec.id, spec.model_dump(mode="json"), origin)
    runs.record(home, run)
