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
from datadream.stages.emit import Stopped, silent, stopping
from datadream.stages.generate import generate
from datadream.stages.settings import AdaptSettings, ClassifySettings, GenerateSettings


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
        adapt(AdaptSettings(crop="center"), mini.diffusion, two_shots, 1, tmp_path, tmp_path / "c", silent)
    assert len(calls) == 3


def test_drawing_stops_between_two_sampling_steps(
    mini: Backbone, two_shots: ShotSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = asks_to_stop(monkeypatch, diffusion.Diffusion, "denoise", 2)
    settings = GenerateSettings(images_per_class=2, num_inference_steps=9)
    out = durable.make_dir(tmp_path / "out")
    with pytest.raises(Stopped):
        generate(settings, mini.diffusion, two_shots.classes, two_shots.prompts, None, None, 1, out, silent)
    assert len(calls) == 2
    assert not list(out.rglob("*.png"))


def test_counting_stops_between_two_batches(
    mini: Backbone, two_shots: ShotSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(classifying, "EVAL_BATCH", 8)
    calls = asks_to_stop(monkeypatch, clip.Clip, "encode_image", 2)
    with pytest.raises(Stopped):
        classify(ClassifySettings(), mini.clip, two_shots, "none", None, 4, 1, tmp_path, tmp_path / "c", silent)
    assert len(calls) == 2
    assert not list(tmp_path.iterdir())
