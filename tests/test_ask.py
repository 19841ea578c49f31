"""One way from what a user asks for to jobs: the same for the command line, the demo and the screens."""

from __future__ import annotations

import dataclasses
import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner

from datadream import durable
from datadream.errors import UserError
from datadream.home import state
from datadream.home.layout import Home
from datadream.plans import ask, draws
from datadream.plans import request as requests
from datadream.plans.estimate import estimate
from datadream.plans.request import Request
from tests.conftest import TINY, TINY_OPTIONS, run_cli

OVERRIDES = tuple(f"{key}={value}" for key, value in TINY.items())
EVERYTHING = Request(
    recipes=("real-only", "datadream-cls"),
    sets=("d2", "mine of 'old'"),
    seeds=(1, 5),
    data=("synth", "real+synth"),
    backbone="sd2.1-base",
    diffusion="./sd",
    clip="ViT-B-32:openai",
    overrides=("generate.guidance_scale=3", "classify.steps=4"),
    experiment="the paper",
    priority=-2,
    launcher="slurm",
    shards=3,
    force=True,
    without_marked=True,
)
REQUESTS = (
    EVERYTHING,
    Request(recipes=("zero-shot",), sets=("d2",)),
    Request(recipes=("zero-shot",), source="digits"),
    Request(recipes=("zero-shot",), source="digits", shots=(16,), seeds=(1,)),
    Request(recipes=("zero-shot",), source="/tmp/my birds", shots=(1, 4), seeds=(5,)),
    Request(recipes=("zero-shot",), sets=("-odd", "--set"), seeds=(1,), experiment="-x"),
    requests.demo_request((1, 4), (1, 5)),
)


def files(home: Path) -> list[tuple[str, int]]:
    """All that a plan could have written; the runner of the home's own jobs may still be leaving."""
    kept = [path for path in home.rglob("*") if path.relative_to(home).parts[0] not in ("runner", "slots")]
    return sorted((str(path), path.stat().st_mtime_ns) for path in kept if not path.name.startswith("registry"))


def told(line: str, monkeypatch: pytest.MonkeyPatch) -> list[Request]:
    """What the command line makes of `line`."""
    from datadream.cli.main import app

    asked: list[Request] = []

    def stop(request: Request, **_: object) -> Any:
        asked.append(request)
        raise SystemExit

    monkeypatch.setattr(requests, "check", stop)
    CliRunner().invoke(app, shlex.split(line)[1:])
    return asked


@pytest.mark.parametrize("request_", REQUESTS, ids=range(len(REQUESTS)))
def test_the_command_asks_for_exactly_the_same(request_: Request, monkeypatch: pytest.MonkeyPatch) -> None:
    (read,) = told(requests.command(request_), monkeypatch)
    defaults = {"shots": requests.SHOTS, "seeds": requests.SEEDS} if request_.source else {}
    filled = {name: value for name, value in defaults.items() if not getattr(request_, name)}
    again = {name: value for name, value in defaults.items() if not getattr(read, name)}
    assert dataclasses.replace(read, **again) == dataclasses.replace(request_, **filled)  # type: ignore[arg-type]


def test_the_command_says_only_what_is_not_the_default() -> None:
    assert requests.command(REQUESTS[1]) == "datadream run zero-shot --set d2"
    assert requests.command(REQUESTS[3]) == "datadream run zero-shot --source digits"
    assert requests.command(Request(recipes=("real-only",), source="digits", shots=(1, 4), seeds=(1, 5))) == (
        "datadream run real-only --source digits --shots 1,4 --seeds 1,5"
    )


def test_a_plan_counts_what_is_missing_and_what_serves_again(ran: Path) -> None:
    home = Home(ran)
    planned = ask.plan(home, Request(recipes=("datadream-cls", "real-only"), sets=("d2",), overrides=OVERRIDES))
    assert (len(planned.missing), planned.reused, len(planned.runs)) == (0, 5, 3)
    more = (*OVERRIDES[:-1], "classify.batch_size=8")
    planned = ask.plan(home, Request(recipes=("datadream-cls", "real-only"), sets=("d2",), overrides=more))
    assert [spec.stage for spec in planned.missing] == ["classify"] * 3
    assert planned.reused == 2
    sharded = Request(
        recipes=("datadream-cls",), sets=("d2",), data=("synth",), overrides=OVERRIDES, force=True, shards=2
    )
    planned = ask.plan(home, sharded)
    assert [spec.kind for spec in planned.missing] == ["adapter", "shard", "shard", "synthetic", "classifier"]


def test_a_preview_of_a_source_writes_nothing_and_counts_as_the_plan_does(ran_copy: Path) -> None:
    home = Home(ran_copy)
    request = Request(recipes=("real-only", "name-only"), source="digits", shots=(2, 4), overrides=OVERRIDES[3:])
    before = files(ran_copy)
    preview = ask.plan(home, request, dry=True)
    assert files(ran_copy) == before
    real = ask.plan(home, request)
    assert (len(preview.missing), preview.reused) == (len(real.missing), real.reused) == (3, 4)
    assert preview.sets[0] == dataclasses.replace(real.sets[0], name=preview.sets[0].name)
    jobs = ask.submit(home, preview)
    assert jobs == [spec.id for spec in real.missing]
    assert state.read_request(home, jobs[0]).title == "real-only: classify real (4 shots, seed 1)"
    assert all(home.run(run.id).exists() for run in real.runs)


def test_a_submission_cut_short_has_its_runs_recorded(ran_copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = Home(ran_copy)
    overrides = (*OVERRIDES[:-1], "classify.batch_size=8")
    request = Request(("datadream-cls", "real-only"), sets=("d2",), overrides=overrides, experiment="cut short")
    planned, write = ask.plan(home, request), durable.write_text

    def die(path: Path, text: str) -> None:
        if path.name == "spec.json":
            raise KeyboardInterrupt
        write(path, text)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(durable, "write_text", die)
        ask.submit(home, planned)
    ids = {run.id for run in planned.runs}
    assert all(home.run(run_id).exists() for run_id in ids)
    for words in (("runs", "ls"), ("compare",), ("job", "ls"), ("gc",), ("experiment", "show", "cut short")):
        listed = run_cli(*words, home=ran_copy)
        assert listed.returncode == 0, listed.stderr
    assert set(json.loads(run_cli("experiment", "show", "cut short", "--json", home=ran_copy).stdout)["runs"]) == ids
    assert len(ask.submit(home, request)) == len(planned.missing)


def test_what_there_is_no_room_for_leaves_no_run(ran_copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = Home(ran_copy)
    request = Request(("real-only",), sets=("d2",), overrides=("classify.steps=5",), experiment="too large")
    before = files(ran_copy)
    monkeypatch.setattr("datadream.home.layout.SPARE_BYTES", 1 << 60)
    with pytest.raises(UserError, match="this request needs"):
        ask.submit(home, request)
    assert files(ran_copy) == before


def test_a_preview_of_a_folder_reads_no_image(home: Home, tmp_path: Path) -> None:
    root = tmp_path / "birds"
    for name in ("wren", "owl"):
        (root / name).mkdir(parents=True)
        for i in range(12):
            (root / name / f"{i}.png").write_bytes(b"no picture")
    request = Request(recipes=("real-only",), source=str(root), shots=(2,))
    assert len(ask.plan(home, request, dry=True).missing) == 1
    with pytest.raises(UserError, match="can't be used"):
        ask.plan(home, request)
    with pytest.raises(UserError, match="fewer than 50 training images"):
        ask.plan(home, dataclasses.replace(request, shots=(50,)), dry=True)


def test_a_changed_folder_is_not_taken_for_a_kept_set(home: Home, tmp_path: Path) -> None:
    root = tmp_path / "birds"
    for label, name in enumerate(("wren", "owl")):
        (root / name).mkdir(parents=True)
        for i in range(12):
            Image.new("RGB", (9, 9), (100 * label, 9 * i, 3)).save(root / name / f"{i}.png")
    kept = draws.make_sets(home, str(root), [(2, 1)])[0]
    assert draws.preview_sets(home, str(root), [(2, 1)])[0] == kept
    for i in range(12, 30):
        Image.new("RGB", (9, 9), (100, 9 * i, 3)).save(root / "wren" / f"{i}.png")
    draws._drawn.cache_clear()
    assert draws.preview_sets(home, str(root), [(2, 1)])[0].id != kept.id


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"recipes": ()}, "no methods given"),
        ({"source": "digits"}, "no images given"),
        ({"sets": ()}, "no images given"),
        ({"recipes": ("datadream",)}, "did you mean"),
        ({"sets": ("d22",)}, "did you mean 'd2'"),
        ({"seeds": (7,)}, "serves only that seed"),
        ({"data": ("fake",)}, "unknown --data value 'fake'"),
        ({"backbone": "huge"}, "unknown backbone 'huge'"),
        ({"overrides": ("generate.guidance=3",)}, "did you mean 'guidance_scale'"),
        ({"launcher": "cron"}, "cron"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(ran: Path, changed: dict[str, Any], said: str) -> None:
    right = Request(recipes=("datadream-dset",), sets=("d2",))
    with pytest.raises(UserError, match=said):
        ask.plan(Home(ran), dataclasses.replace(right, **changed), dry=True)


def test_time_and_disk_are_judged_by_jobs_alike(ran: Path) -> None:
    home = Home(ran)
    alike = Request(recipes=("datadream-dset",), source="digits", shots=(2,), seeds=(3,), overrides=OVERRIDES)
    found = estimate(home, ask.plan(home, alike, dry=True))
    assert found.stages == {"adapt": 1, "generate": 1, "classify": 2}
    made = {}
    for path in ran.glob("artifacts/*/*/manifest.json"):
        manifest = json.loads(path.read_text())
        made.setdefault(manifest["kind"], []).append(manifest)
    slowest = sum(max(entry["origin"]["seconds"] for entry in made[kind]) for kind in ("adapter", "synthetic"))
    slowest += 2 * max(entry["origin"]["seconds"] for entry in made["classifier"])
    assert found.seconds is not None
    assert 0 < found.seconds <= slowest
    assert (found.unknown, found.unsized, found.at_most) == (0, 0, False)
    adapter = next(entry for entry in made["adapter"] if entry["spec"]["settings"]["per"] == "dataset")
    images = [sum(file["size"] for file in entry["files"].values()) for entry in made["synthetic"]]
    least = sum(file["size"] for file in adapter["files"].values()) + min(images)
    assert least < found.bytes < least + max(images) + 500_000


def test_what_nothing_is_like_is_unknown(ran: Path, home: Home) -> None:
    asked = ask.plan(home, Request(recipes=("datadream-dset",), source="digits"), dry=True)
    found = estimate(home, asked)
    assert found.seconds is None
    assert found.unknown == 4
    assert found.at_most
    assert found.unsized == 3
    assert "no similar past job" in found.time_text()
    larger = ask.plan(Home(ran), Request(recipes=("datadream-dset",), source="digits"), dry=True)
    assert estimate(Home(ran), larger).seconds is None  # a hundred times as many steps as any past job


def test_parts_of_a_synthetic_set_share_its_time_over_slots(ran_copy: Path) -> None:
    from datadream.home.queue import QueueSettings, write_settings

    home = Home(ran_copy)
    overrides = (*(text for text in OVERRIDES[3:] if "images_per_class" not in text), "generate.images_per_class=12")
    request = Request(recipes=("name-only",), sets=("d2",), data=("synth",), overrides=overrides)
    whole = estimate(home, ask.plan(home, request)).seconds
    write_settings(home, QueueSettings(slots=("cpu:0/0", "cpu:0/1")))
    halves = estimate(home, ask.plan(home, dataclasses.replace(request, shards=2)))
    assert halves.slots == 2
    assert whole is not None
    assert halves.seconds is not None
    assert halves.seconds < whole


def test_dry_run_says_the_plan_and_writes_nothing(ran: Path, tmp_path: Path) -> None:
    words = ("run", "datadream-cls", "real-only", "--source", "digits", "--shots", "2,4", *TINY_OPTIONS, "--dry-run")
    before = files(ran)
    shown = run_cli(*words, home=ran)
    assert shown.returncode == 0, shown.stderr
    assert "5 to run (1 adapt, 1 generate, 3 classify), 5 reused" in shown.stdout
    assert "from past jobs of this home" in shown.stdout
    content = json.loads(run_cli(*words, "--json", home=ran).stdout)
    assert list(content) == ["runs", "jobs", "reused", "stages", "seconds", "unknown", "bytes", "at_most"]
    assert (content["runs"], content["jobs"], content["reused"]) == (6, 5, 5)
    assert files(ran) == before
    fresh = run_cli(*words, home=tmp_path / "none")
    assert fresh.returncode == 0, fresh.stderr
    assert not (tmp_path / "none").exists()
    assert run_cli("run", "real", "--source", "digits", "--dry-run", home=tmp_path / "none").returncode == 2


def test_planning_imports_no_torch(ran: Path) -> None:
    code = (
        "import sys\nfrom pathlib import Path\n"
        "from datadream.plans import ask, estimate\nfrom datadream.plans import request as requests\nfrom datadream.home.layout import Home\n"
        "home = Home(Path(sys.argv[1]))\nplan = ask.plan(home, requests.demo_request((2,)), dry=True)\n"
        "estimate.estimate(home, plan)\n"
        "assert not {'torch', 'diffusers', 'transformers', 'open_clip', 'sqlmodel', 'textual'} & set(sys.modules)\n"
    )
    result = subprocess.run([sys.executable, "-c", code, str(ran)], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
