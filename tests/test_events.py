"""One reading of a metric event, for the registry, the screen of a job and the dashboard."""

from __future__ import annotations

import pytest

from datadream.home.events import metrics


def test_a_metric_has_its_numbers_and_nothing_of_the_envelope() -> None:
    event = {"kind": "metric", "seq": 7, "at": "2026", "attempt": 2, "seconds": 1.5, "next": 60, "step": 3}
    assert metrics({**event, "loss": 1, "rate": 0.5, "note": "x", "ok": True}) == (3, {"loss": 1.0, "rate": 0.5})


@pytest.mark.parametrize("step", [None, -1, 1.5, True, "3", 1 << 62])
def test_a_step_that_is_none_is_no_point(step: object) -> None:
    assert metrics({"kind": "metric", "step": step, "loss": 1.0}) is None
    assert metrics({"kind": "progress", "step": 3, "done": 3}) is None
