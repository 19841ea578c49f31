"""Interrupted equals uninterrupted, bit for bit on the CPU, for all three stages."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from datadream import durable
from datadream.canonical import sha256_file
from datadream.data.shots import ShotSet
from datadream.home.layout import Home, open_home
from datadream.home.sets import add_set
from datadream.jobs.spawn import environment
from datadream.models.presets import Backbone
from datadream.plans.grid import plan
from datadream.recipes.recipe import load_recipe
from datadream.stages import loop
from datadream.stages.adapt import adapt
from datadream.stages.classify import classify
from datadream.stages.emit import Emit, Event, silent
from datadream.stages.generate import generate
from datadream.stages.settings import AdaptSettings, ClassifySettings, GenerateSettings, Settings
from datadream.stages.task import Task
from tests.conftest import TINY_OPTIONS, contents

Stage = Callable[[Path, Path, Callable[[Event], None]], object]


class PowerCut(Exception):
    """What a stage can't expect."""


def files(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): sha256_file(path) for path in sorted(folder.rglob("*")) if path.is_file()}


def check_resume(stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cuts: list[int]) -> None:
    """Run `stage` whole; then cut at the given updates, resuming each time; the files must be equal."""
    whole, parts = durable.make_dir(tmp_path / "whole"), durable.make_dir(tmp_path / "parts")
    stage(whole, durable.make_dir(tmp_path / "c1"), silent)
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    update = loop.Loop.update
    for cut in cuts:
        done = 0

        def counted(self: loop.Loop, loss: object, cut: int = cut) -> None:
            nonlocal done
            update(self, loss)  # type: ignore[arg-type]
            done += 1
            if done == cut:
                raise PowerCut

        monkeypatch.setattr(loop.Loop, "update", counted)
        with pytest.raises(PowerCut):
            stage(parts, tmp_path / "c2", silent)
    monkeypatch.setattr(loop.Loop, "update", update)
    stage(parts, tmp_path / "c2", silent)
    assert files(whole) == files(parts)
    assert files(whole)


def task(settings: Settings, out: Path, checkpoint: Path, emit: Emit, **more: Any) -> Task[Any]:
    return Task(settings, durable.make_dir(out), durable.make_dir(checkpoint), emit, **more)


@pytest.mark.parametrize("per", ["dataset", "class"])
def test_interrupted_adaptation_equals_uninterrupted(
    per: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mini: Backbone, two_shots: ShotSet
) -> None:
    settings = AdaptSettings(
        per=per, steps=20 if per == "class" else 7, batch_size=3, learning_rate=1e-2, warmup_steps=1
    )

    def stage(out: Path, checkpoint: Path, emit: Callable[[Event], None]) -> None:
        adapt(task(settings, out, checkpoint, emit, model=mini.diffusion, shots=two_shots))

    check_resume(stage, tmp_path, monkeypatch, [2, 3])


def test_interrupted_classification_equals_uninterrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mini: Backbone, two_shots: ShotSet
) -> None:
    settings = ClassifySettings(steps=6, batch_size=8, augment="affine", mix=0.5, evaluate="val", learning_rate=1e-2)

    def stage(out: Path, checkpoint: Path, emit: Callable[[Event], None]) -> None:
        few: dict[str, Any] = {"shots": two_shots, "data": "real", "images_per_class": 4}
        classify(task(settings, out, checkpoint, emit, model=mini.clip, **few))

    check_resume(stage, tmp_path, monkeypatch, [1, 3])


def test_interrupted_generation_equals_uninterrupted(tmp_path: Path, mini: Backbone, two_shots: ShotSet) -> None:
    settings = GenerateSettings(images_per_class=5, batch_size=2, num_inference_steps=2)

    def draw(out: Path, emit: Callable[[Event], None]) -> None:
        few: dict[str, Any] = {"classes": two_shots.classes[:3], "prompts": two_shots.prompts[:3]}
        generate(task(settings, out, tmp_path / f"{out.name}.c", emit, model=mini.diffusion, **few))

    draw(tmp_path / "whole", silent)

    def cut(event: Event) -> None:
        if event["done"] == 9:
            raise PowerCut

    with pytest.raises(PowerCut):
        draw(tmp_path / "parts", cut)
    survivor = sorted((tmp_path / "parts").rglob("*.png"))[0]
    survivor.unlink()  # as if the machine died between two writes of one run
    draw(tmp_path / "parts", silent)
    assert files(tmp_path / "whole") == files(tmp_path / "parts")


def test_a_killed_worker_resumes_to_the_same_artifacts(tmp_path: Path, mini: Backbone, two_shots: ShotSet) -> None:
    """SIGKILL, real process, at three moments of one chain of jobs."""
    options = [*TINY_OPTIONS[1::2], "generate.images_per_class=12"]
    recipe = load_recipe("datadream-dset", mini, options)

    def prepare(folder: Path) -> tuple[Home, list[str]]:
        home = open_home(folder)
        run = plan(recipe, add_set(home, two_shots, "s"), mini, "real+synth")
        for spec in run.jobs.values():
            durable.write_json(durable.make_dir(home.job(spec.id)) / "spec.json", spec.model_dump(mode="json"))
        return home, [spec.id for spec in run.jobs.values()]

    def start(home: Home, jobs: list[str]) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "datadream", "worker", "--home", str(home.path), *jobs]
        return subprocess.Popen(command, env=environment(), start_new_session=True)

    whole, jobs = prepare(tmp_path / "whole")
    assert start(whole, jobs).wait(300) == 0
    cut, _ = prepare(tmp_path / "cut")
    for sign in (".staging-*/adapter.safetensors", ".staging-*/data/train/two/00001.png", ".staging-*"):
        worker = start(cut, jobs)
        began = time.monotonic()
        while (
            worker.poll() is None and not list(cut.path.glob(f"artifacts/*/{sign}")) and time.monotonic() - began < 200
        ):
            time.sleep(0.005)
        os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()
    assert start(cut, jobs).wait(300) == 0
    assert contents(whole.path) == contents(cut.path)
    assert len(contents(cut.path)) == 4
    assert not list(cut.path.glob("artifacts/*/.staging-*"))
