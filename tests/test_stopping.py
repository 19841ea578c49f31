"""A stage that is asked to stop does so soon, wherever it is: within an image, a step or a batch, not a stage."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from datadream import durable
from datadream.data.shots import ShotSet
from datadream.models import clip, diffusion
from datadream.models.presets import Backbone
from datadream.stages import classify as classifying
from datadream.stages.adapt import adapt
from datadream.stages.classify import classify
from datadream.stages.emit import Stopped, stopping
from datadream.stages.generate import generate
from datadream.stages.settings import AdaptSettings, ClassifySettings, GenerateSettings
from datadream.stages.task import Task


@pytest.fixture(autouse=True)
def _asked_anew() -> Iterator[None]:
    yield
    stopping.clear()


def asks_to_stop(monkeypatch: pytest.MonkeyPatch, owner: type, name: str, after: int) -> list[int]:
    """Count calls of a method; the last of `after` asks to stop."""
    calls: list[int] = []
    original = getattr(owner, name)

    def counted(*arguments: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) == after:
            stopping.set()
        return original(*arguments, **options)

    monkeypatch.setattr(owner, name, counted)
    return calls


def test_encoding_stops_between_two_shots(
    mini: Backbone, two_shots: ShotSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = asks_to_stop(monkeypatch, diffusion.Diffusion, "moments", 3)
    with pytest.raises(Stopped):
        adapt(Task(AdaptSettings(crop="center"), tmp_path, tmp_path / "c", model=mini.diffusion, shots=two_shots))
    assert len(calls) == 3


def test_drawing_stops_between_two_sampling_steps(
    mini: Backbone, two_shots: ShotSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = asks_to_stop(monkeypatch, diffusion.Diffusion, "denoise", 2)
    settings = GenerateSettings(images_per_class=2, num_inference_steps=9)
    out = durable.make_dir(tmp_path / "out")
    with pytest.raises(Stopped):
        classes: dict[str, Any] = {"classes": two_shots.classes, "prompts": two_shots.prompts}
        generate(Task(settings, out, durable.make_dir(tmp_path / "c"), model=mini.diffusion, **classes))
    assert len(calls) == 2
    assert not list(out.rglob("*.png"))


def test_counting_stops_between_two_batches(
    mini: Backbone, two_shots: ShotSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(classifying, "EVAL_BATCH", 8)
    calls = asks_to_stop(monkeypatch, clip.Clip, "encode_image", 2)
    with pytest.raises(Stopped):
        classify(Task(ClassifySettings(), tmp_path, tmp_path / "c", model=mini.clip, shots=two_shots))
    assert len(calls) == 2
    assert not list(tmp_path.iterdir())
