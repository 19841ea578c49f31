"""What ends a job for good, and what is tried again: memory and networks come back, mistakes don't mend themselves."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from diffusers import DiffusionPipeline

from datadream.home import state
from datadream.home.layout import Home
from datadream.jobs import failures
from datadream.models import fetch
from datadream.models.clip import load_clip
from datadream.models.diffusion import load_diffusion
from datadream.models.presets import ModelRef
from datadream.plans import enqueue
from tests.conftest import Cli
from tests.runners import kill_all, rehearsals

ELSEWHERE = ModelRef(location="nobody/nothing")
ON_HUB = ModelRef(location="hf-hub:nobody/nothing")
UNREACHABLE = {"HF_ENDPOINT": "http://127.0.0.1:9", "no_proxy": "127.0.0.1", "NO_PROXY": "127.0.0.1"}


@pytest.fixture
def calm(tmp_path: Path) -> Iterator[Home]:
    """The home of `cli`; its processes end with the test."""
    yield Home(tmp_path / "home")
    kill_all(Home(tmp_path / "home"))


def full(*_: object, **__: object) -> None:
    """More than any machine has, asked of torch's own allocator."""
    torch.empty(1 << 55, dtype=torch.uint8)


def no_handle(*_: object, **__: object) -> None:
    raise RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")


def wrong(*_: object, **__: object) -> None:
    raise RuntimeError("expected scalar type Half but found Float")


def after(home: Home, deed: Callable[[], object], seed: int = 0) -> state.Status:
    """Of a job whose only attempt met what `deed` raises."""
    (job,) = enqueue.enqueue(home, rehearsals(1, seed), {})
    assert state.claim(home, job, 1, {"slot": "", "launcher": "local"})
    with pytest.raises(Exception) as caught:
        deed()
    failures.write_failure(home.job(job), caught.value, 1)
    return state.derive(home, job)


@pytest.mark.parametrize("shortage", [full, no_handle])
def test_a_lack_of_memory_is_tried_again_wherever_it_strikes(
    shortage: Callable[[], None], home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DiffusionPipeline, "download", shortage)
    monkeypatch.setattr(fetch, "snapshot_download", shortage)
    for seed, deed in enumerate((shortage, lambda: load_diffusion(ELSEWHERE), lambda: load_clip(ON_HUB))):
        status = after(home, deed, seed)
        assert status.state == "lost"
        assert status.reason == "out of memory: lower the stage's batch_size with -o"


def test_a_mistake_is_not_tried_again(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DiffusionPipeline, "download", wrong)
    assert after(home, lambda: load_diffusion(ELSEWHERE)).state == "failed"


@pytest.mark.parametrize(("offline", "tries"), [("0", 3), ("1", 1)])
def test_a_hub_out_of_reach_is_tried_again_unless_it_is_forbidden(
    offline: str, tries: int, cli: Cli, calm: Home, tmp_path: Path
) -> None:
    assert cli("queue", "set", "--retry-seconds", 0).returncode == 0
    run = ("run", "name-only", "--source", "digits", "--shots", 1, "--data", "synth", "--backbone", "sd2.1-base")
    run += ("--diffusion", f"nobody/nothing@{'1' * 40}", "--clip", f"hf-hub:nobody/nothing@{'1' * 40}")
    started = cli(*run, "--detach", "--json", HF_HUB_OFFLINE=offline, HF_HOME=str(tmp_path / "hub"), **UNREACHABLE)
    assert started.returncode == 0, started.stderr
    jobs = json.loads(started.stdout)["jobs"]
    assert cli("job", "wait", *jobs, "--timeout", 300).returncode == 1
    status = next(found for found in (state.derive(calm, job) for job in jobs) if found.stage == "generate")
    assert (status.state, status.attempts) == ("failed", tries)
    assert "can't load the diffusion model" in status.reason
