"""A home made by the code of commit 40ef959 opens, lists, compares, is reused and resumes, whatever has changed since.

It was made by `set make` (seeds 1 and 5, 2 shots), the five methods with SHORT settings, one run with another guidance,
one without a marked image, a rehearsal told to fail, a tag and a note, and an adaptation of 60 steps paused after 10.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from datadream import durable
from datadream.home import control, state
from datadream.home.layout import Home, open_home
from datadream.plans import ask
from datadream.plans.request import Request
from tests.conftest import run_cli
from tests.homes import unpack

ARCHIVE = Path(__file__).parent / "data" / "homes" / "0.1.0-40ef959.tar.xz"
GENERATE = ("generate.images_per_class=2", "generate.num_inference_steps=2", "generate.batch_size=2")
CLASSIFY = ("classify.steps=4", "classify.rank=2", "classify.batch_size=16")
SHORT = ("adapt.steps=6", "adapt.rank=2", "adapt.batch_size=4", "adapt.warmup_steps=2", *GENERATE, *CLASSIFY)
LONG = ("adapt.steps=60", "adapt.rank=2", "adapt.batch_size=4", *GENERATE, *CLASSIFY)
METHODS = ("zero-shot", "real-only", "name-only", "datadream-dset", "datadream-cls")
MIXES = ("synth", "real+synth")
ASKED = (
    Request(recipes=METHODS, sets=("d2-1",), data=MIXES, overrides=SHORT),
    Request(recipes=("real-only", "datadream-dset"), sets=("d2-5",), data=("real+synth",), overrides=SHORT),
    Request(
        recipes=("datadream-dset",),
        sets=("d2-1",),
        data=("real+synth",),
        overrides=(*SHORT, "generate.guidance_scale=3"),
    ),
    Request(
        recipes=("name-only",),
        sets=("d2-1",),
        data=("real+synth",),
        overrides=(*GENERATE, *CLASSIFY),
        without_marked=True,
    ),
)
PAUSED = Request(recipes=("datadream-dset",), sets=("d2-1",), data=("synth",), overrides=LONG)
# method, data, seeds, how many of 719 each got right
NUMBERS = [
    ("datadream-cls", "real+synth", [1], [317]),
    ("datadream-cls", "synth", [1], [215]),
    ("datadream-dset", "real+synth", [1, 5], [333, 336]),
    ("datadream-dset", "real+synth", [1], [323]),
    ("datadream-dset", "synth", [1], [200]),
    ("name-only", "real+synth", [1], [260]),
    ("name-only", "real+synth", [1], [345]),
    ("name-only", "synth", [1], [292]),
    ("real-only", "real", [1, 5], [366, 330]),
    ("zero-shot", "none", [1], [453]),
]
IDS = {
    "adapt": "edd2f849a568ca5a 7a53e22d48bea499 c5486de026cfc2b4",
    "generate": "ba819e368964249c 84393c010c6e93e5 e093e1193fc96747 2720c7df0e5ff643 8063534bb2c9cf5b",
    "classify": "80cc25bb01ab70b5 8b158a92c4ccb4ff 1265934f7ac965b2 454273b93c1fc522 4b3d64f03b230974 76c0ededb493f9fe "
    "c10cfdad7fb89b58 6d076f8f669eb3f3 916f1106e4b9db44 803915e1f8c8084d b641b9fa25989e60",
}


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = unpack(ARCHIVE, tmp_path_factory.mktemp("old") / "home")
    folder.chmod(0o700)
    return folder


@pytest.fixture
def old(kept: Path, tmp_path: Path) -> Home:
    shutil.copytree(kept, tmp_path / "home")
    return open_home(tmp_path / "home")


def read(old: Home, *words: str) -> Any:
    result = run_cli(*words, home=old.path)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def test_an_old_home_is_compared_with_the_same_numbers(old: Home) -> None:
    rows = read(old, "compare", "--format", "json")
    found = [(r["method"], r["data"], r["seeds"], [round(719 * share) for share in r["accuracy"]]) for r in rows]
    assert sorted(found) == sorted(NUMBERS)


def test_an_old_home_is_listed(old: Home) -> None:
    runs = read(old, "runs", "ls", "--json", "--limit", "50")
    assert len(runs) == 13
    assert [run["tags"] for run in runs if run["tags"]] == [["best"]]
    jobs = read(old, "job", "ls", "--json", "--limit", "50")
    states = [job["state"] for job in jobs]
    assert (states.count("failed"), states.count("queued"), states.count("blocked")) == (1, 1, 2)
    assert all(job["state"] == "done" for job in jobs if job["stage"] == "generate" and job["attempts"])
    assert {entry["name"] for entry in read(old, "set", "ls", "--json")} == {"d2-1", "d2-5"}
    found = run_cli("registry", "check", "--json", home=old.path)
    assert [finding["kind"] for finding in json.loads(found.stdout)] == ["unfinished"]  # of the job that failed


@pytest.mark.parametrize("request_", ASKED)
def test_what_an_old_home_holds_is_reused(old: Home, request_: Request) -> None:
    planned = ask.plan(old, request_, dry=True)
    # marks are a selection now, whose classifier is another; the images they are of serve again
    assert [spec.stage for spec in planned.missing] == (["select", "classify"] if request_.without_marked else [])


def test_the_ids_of_artifacts_stay(old: Home) -> None:
    found: dict[str, set[str]] = {stage: set() for stage in IDS}
    for request_ in ASKED[:3]:
        for run in ask.plan(old, request_, dry=True).runs:
            for stage, spec in run.jobs.items():
                found[stage].add(spec.id)
    assert found == {stage: {id_ for id_ in ids.split()} for stage, ids in IDS.items()}


def test_a_job_that_old_code_interrupted_goes_on_from_its_checkpoint(old: Home) -> None:
    spec = next(spec for spec in ask.plan(old, PAUSED, dry=True).missing if spec.stage == "adapt")
    assert state.derive(old, spec.id).paused
    control.resume(old, spec.id)
    result = run_cli("run", "datadream-dset", "--set", "d2-1", "--data", "synth", *options(LONG), home=old.path)
    assert result.returncode == 0, result.stderr
    events, _ = durable.read_jsonl(old.job(spec.id) / "events.jsonl")
    second = [event["step"] for event in events if event["kind"] == "metric" and event["attempt"] == 2]
    assert second[0] == 20  # ten steps were done before
    assert state.derive(old, spec.id).state == "done"


def options(overrides: tuple[str, ...]) -> list[str]:
    return [part for text in overrides for part in ("-o", text)]
