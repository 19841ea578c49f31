"""The exact forms scripts rely on, as a user types them."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from datadream.home import state
from datadream.home.layout import Home
from tests.conftest import TINY_OPTIONS, Cli, contents, run_cli
from tests.runners import kill_all, until, wait_for_end


@pytest.fixture
def calm(tmp_path: Path) -> Iterator[Path]:
    """A home whose processes end with the test."""
    yield tmp_path / "home"
    kill_all(Home(tmp_path / "home"))


def test_run_detach_json_and_wait(cli: Cli, calm: Path) -> None:
    assert cli("set", "make", "digits", "--shots", 1, "--name", "d1").returncode == 0
    words = ("run", "datadream-dset", "--set", "d1", "--data", "synth", *TINY_OPTIONS, "--detach", "--json")
    result = cli(*words)
    assert result.returncode == 0, result.stderr
    jobs = json.loads(result.stdout)["jobs"]
    assert len(jobs) == 3
    assert cli("job", "wait", "--timeout", "0.2").returncode == 124
    assert json.loads(cli(*words).stdout)["jobs"] == jobs
    assert cli("job", "wait", *[job[:6] for job in jobs], "--timeout", "300").returncode == 0
    listed = json.loads(cli("job", "ls", "--json").stdout)
    assert {entry["id"] for entry in listed} == set(jobs)
    for entry in listed:
        assert list(entry)[:4] == ["id", "state", "stage", "progress"]
        assert {"reason", "attempts"} <= set(entry)
        assert (entry["state"], entry["progress"], entry["attempts"]) == ("done", 1.0, 1)
    assert json.loads(cli(*words).stdout)["jobs"] == []
    assert json.loads(cli("compare", "--format", "json").stdout)[0]["method"] == "datadream-dset"


def test_force_makes_a_new_one_and_keeps_the_old(cli: Cli, calm: Path) -> None:
    words = ("run", "zero-shot", "--source", "digits", "--shots", "1", "--quiet")
    assert cli(*words).returncode == 0
    before = contents(calm)
    assert cli(*words, "--force").returncode == 0
    after = contents(calm)
    assert before.items() < after.items()
    new = [key for key in after if key not in before]
    assert [key.split("/")[0] for key in new] == ["classifier"]
    assert {after[key] for key in new} <= set(before.values())
    assert len(json.loads(cli("runs", "ls", "--json").stdout)) == 2
    assert len(json.loads(cli("compare", "--format", "json").stdout)) == 1


def test_a_failed_job_is_told_by_every_command(cli: Cli, calm: Path) -> None:
    result = cli("rehearse", "--steps", 5, "--fail-at", 2)
    assert result.returncode == 2
    assert "error at step 2, requested" in result.stderr
    assert "Traceback" not in result.stderr
    job = json.loads(cli("job", "ls", "--json", "--where", "state=failed").stdout)[0]["id"]
    assert cli("job", "wait", job).returncode == 1
    shown = cli("job", "show", job[:8]).stdout
    assert "failed: error at step 2, requested" in shown
    log = cli("job", "log", job, "-f")
    assert log.returncode == 0
    assert "UserError: error at step" in log.stdout
    assert "metric" in log.stdout
    assert "step=2" in log.stdout
    assert cli("job", "rm", job).returncode == 0
    assert cli("job", "show", job).returncode == 2


def test_cancel_retry_pause_resume(cli: Cli, calm: Path) -> None:
    job = json.loads(cli("rehearse", "--steps", 300, "--detach", "--json").stdout)["jobs"][0]
    assert cli("job", "cancel", job[:5]).returncode == 0
    assert cli("job", "wait", job, "--timeout", "60").returncode == 1
    assert cli("job", "retry", job).returncode == 0
    assert cli("job", "pause", "--all").returncode == 0
    assert cli("job", "wait", job, "--timeout", "1").returncode == 124
    assert cli("job", "resume", job).returncode == 0
    assert cli("job", "wait", job, "--timeout", "100").returncode == 0
    refused = cli("job", "retry", job)
    assert refused.returncode == 2
    assert "is done" in refused.stderr
    for words in (("job", "cancel"), ("job", "show", "zzzz"), ("job", "log", "")):
        assert cli(*words).returncode == 2


def test_what_begins_several_ids_is_asked_again(cli: Cli, calm: Path) -> None:
    cli("rehearse", "--jobs", 30, "--steps", 1, "--step-seconds", 0, "--quiet")
    ids = [entry["id"] for entry in json.loads(cli("job", "ls", "--json", "--limit", 100).stdout)]
    assert len(ids) == 30
    double = next(a[0] for a in ids if sum(b[0] == a[0] for b in ids) > 1)
    result = cli("job", "show", double)
    assert result.returncode == 2
    assert "ambiguous id" in result.stderr
    page = cli("job", "ls", "--json", "--limit", 7, "--page", 2, "--sort", "id", "--columns", "id,state")
    assert json.loads(page.stdout) == [{"id": job, "state": "done"} for job in sorted(ids)[7:14]]
    assert "8 to 14 of 30" in cli("job", "ls", "--limit", 7, "--page", 2).stderr


def test_a_job_that_was_resumed_no_longer_says_paused(cli: Cli, calm: Path) -> None:
    cli("queue", "pause")
    job = json.loads(cli("rehearse", "--steps", 3, "--detach", "--json").stdout)["jobs"][0]
    home = Home(calm)
    assert cli("job", "pause", job).returncode == 0
    until(lambda: "paused" in [line["reason"] for line in state.history(home.job(job))])
    assert state.derive(home, job).reason == "paused"
    assert cli("job", "resume", job).returncode == 0
    assert state.derive(home, job).reason == "the queue is paused"
    until(lambda: state.history(home.job(job))[-1]["reason"] != "paused")


def test_listings_say_what_they_can_not_do(ran: Path) -> None:
    """One sentence and exit 2 for what no row could ever have; nothing for what is only not there."""
    refused = {
        ("job", "state=DONE"): "states: queued, blocked",
        ("job", "state==done"): "no job is ever '=done'",
        ("runs", "created>yesterday"): "'created' is a time in UTC; 'yesterday' is not",
        ("runs", "created>2026-13-45"): "is a time in UTC",
        ("runs", "shots>=nan"): "is a number; 'nan' is not",
        ("adapter", "colour=1"): "unknown column 'colour'",
        ("runs", "method=\udcff"): "is not UTF-8",
    }
    for (noun, where), told in refused.items():
        result = run_cli(noun, "ls", "--where", where, home=ran)
        assert (result.returncode, result.stdout) == (2, ""), where
        assert told in result.stderr and len(result.stderr.strip().splitlines()) == 1
    runs = json.loads(run_cli("runs", "ls", "--json", home=ran).stdout)
    first = runs[0]
    for where in (f"id={first['id'][:6]}", f"created={first['created'][:10]}"):
        found = json.loads(run_cli("runs", "ls", "--json", "--where", where, home=ran).stdout)
        assert first["id"] in [row["id"] for row in found]
    beyond = run_cli("runs", "ls", "--page", 99, home=ran)
    assert "no page 99: " in beyond.stderr and "no runs yet" not in beyond.stdout
    assert run_cli("runs", "ls", "--page", 10**20, home=ran).returncode == 2
    assert run_cli("job", "wait", "--timeout", "nan", home=ran).returncode == 2


def test_a_closed_output_is_no_error(ran: Path) -> None:
    line = f"{sys.executable} -m datadream runs ls --home '{ran}' >&-"
    closed = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=False)
    assert (closed.returncode, closed.stderr) == (0, "")


def test_a_working_directory_that_is_gone_is_said_in_a_sentence(ran: Path, tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    script = f"cd {tmp_path}/gone; rmdir {tmp_path}/gone; exec {sys.executable} -P -m datadream registry backup x.db"
    environment = {**os.environ, "DATADREAM_HOME": str(ran), "PYTHONPATH": str(Path(__file__).parents[1])}
    result = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False, env=environment)
    assert result.returncode == 2
    assert "the current directory no longer exists" in result.stderr


def test_settings_of_the_queue(cli: Cli, calm: Path) -> None:
    assert cli("queue", "set", "--slots", "cpu:0/0,cpu:0/1", "--reboot", "resume").returncode == 0
    assert cli("queue", "pause").returncode == 0
    shown = json.loads(cli("queue", "show", "--json").stdout)
    assert [slot["slot"] for slot in shown["slots"]] == ["cpu:0/0", "cpu:0/1"]
    assert (shown["paused"], shown["reboot"]) == (True, "resume")
    assert cli("queue", "resume").returncode == 0
    for words in (("--slots", "gpu7"), ("--reboot", "maybe"), ("--grace-seconds", "-1")):
        refused = cli("queue", "set", *words)
        assert refused.returncode == 2, refused.stderr


def test_tags_notes_and_experiments(ran_copy: Path) -> None:
    def cli(*words: object) -> str:
        result = run_cli(*words, home=ran_copy)
        assert result.returncode == 0, result.stderr
        return result.stdout

    runs = [row["id"] for row in json.loads(cli("runs", "ls", "--json", "--sort", "-accuracy"))]
    assert cli("tag", "add", runs[0][:6], "best", "ünï").strip() == "best ünï"
    assert [row["id"] for row in json.loads(cli("runs", "ls", "--json", "--where", "tag=best"))] == [runs[0]]
    cli("note", runs[0], "look\nagain")
    assert cli("note", runs[0]) == "look\nagain\n"
    assert json.loads(cli("runs", "show", runs[0], "--json"))["note"] == "look\nagain"
    cli("tag", "rm", runs[0], "best")
    assert json.loads(cli("tag", "ls", "--json")) == {"ünï": [runs[0]]}
    cli("experiment", "make", "the paper", runs[0], runs[1])
    assert json.loads(cli("experiment", "show", "the paper", "--json"))["runs"] == runs[:2]
    row = json.loads(cli("experiment", "ls", "--json"))[0]
    assert (row["name"], row["runs"], row["done"]) == ("the paper", 2, 2)
    cli("experiment", "rm", "the paper")
    assert json.loads(cli("experiment", "ls", "--json")) == []
    adapter = json.loads(cli("adapter", "ls", "--json"))[0]
    shown = json.loads(cli("adapter", "show", adapter["id"][:7], "--json"))
    assert shown["ancestors"][0]["kind"] == "set"
    assert shown["spec"]["stage"] == "adapt"
    for noun in ("synth", "classifier"):
        assert json.loads(cli(noun, "ls", "--json"))


def test_registry_check_rebuild_backup(ran_copy: Path, tmp_path: Path) -> None:
    assert json.loads(run_cli("registry", "check", "--json", home=ran_copy).stdout) == []
    image = next(ran_copy.glob("artifacts/synthetic/*/data/train/*/00000.png"))
    image.write_bytes(image.read_bytes()[:-1])
    found = run_cli("registry", "check", "--json", home=ran_copy)
    assert found.returncode == 1
    (entry,) = json.loads(found.stdout)
    assert (entry["kind"], entry["path"]) == ("changed", image.relative_to(ran_copy).as_posix())
    assert "run the same command again" in entry["advice"]
    (ran_copy / "registry.db").unlink(missing_ok=True)
    rebuilt = run_cli("registry", "rebuild", home=ran_copy)
    assert "8 run" in rebuilt.stdout
    assert run_cli("registry", "backup", tmp_path / "copy.db", home=ran_copy).returncode == 0
    with closing(sqlite3.connect(tmp_path / "copy.db")) as connection:
        assert connection.execute("SELECT count(*) FROM run").fetchone() == (8,)


def test_gc_frees_what_nothing_keeps_and_nothing_else(ran_copy: Path) -> None:
    def plan(*words: str) -> list[dict[str, object]]:
        return list(json.loads(run_cli("gc", "--json", "--grace", "0", *words, home=ran_copy).stdout)["items"])

    assert plan() == []
    record = next(path for path in (ran_copy / "runs").glob("*.json") if '"zero-shot"' in path.read_text())
    classifier = json.loads(record.read_text())["jobs"]["classify"]
    record.unlink()
    (ran_copy / "artifacts" / "adapter" / (".staging-" + "a" * 16)).mkdir()
    before = contents(ran_copy)
    found = plan()
    assert {(item["kind"], item["id"]) for item in found} == {("classifier", classifier), ("staging", "a" * 16)}
    assert contents(ran_copy) == before
    run_cli("tag", "add", classifier, "keep", home=ran_copy)
    assert {item["kind"] for item in plan()} == {"staging"}
    run_cli("tag", "rm", classifier, "keep", home=ran_copy)
    assert len(plan("--apply")) == 2
    assert contents(ran_copy) == {key: value for key, value in before.items() if key != f"classifier/{classifier}"}
    assert plan() == []


def test_completion_offers_ids_and_recipes(ran: Path) -> None:
    def offered(words: str) -> list[str]:
        environment = {"_DATADREAM_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
        command = [str(Path(sys.executable).with_name("datadream"))]
        found = {**os.environ, **environment, "DATADREAM_HOME": str(ran)}
        return subprocess.run(command, capture_output=True, text=True, env=found, check=False).stdout.split()

    job = next((ran / "jobs").iterdir()).name
    assert job in offered(f"datadream job show {job[:3]}")
    assert state.is_id(job)
    assert offered("datadream job show zz") == []
    assert "datadream-cls" in offered("datadream run datadream-")
    assert offered("datadream run x --set d") == ["d2"]


def test_detaching_is_quick_and_imports_no_torch(cli: Cli, calm: Path) -> None:
    """The promise of two seconds rests on importing nothing heavy; time itself is not asserted."""
    assert cli("set", "make", "digits", "--shots", 1, "--name", "d1").returncode == 0
    began = time.monotonic()
    result = cli("run", "zero-shot", "--set", "d1", "--detach", "--json", PYTHONPROFILEIMPORTTIME="1")
    assert result.returncode == 0
    imported = {line.rsplit("|", 1)[-1].strip() for line in result.stderr.splitlines()}
    assert not {"torch", "diffusers", "transformers", "open_clip", "sklearn", "sqlmodel"} & imported
    assert time.monotonic() - began < 60
    wait_for_end(Home(calm))
