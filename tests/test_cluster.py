"""What is asked of a cluster: resources by stage, and batch scripts whatever a job is called."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from datadream.errors import UserError
from datadream.home import control, state
from datadream.home.launchers import check_launcher, resources_for
from datadream.home.layout import Home
from datadream.home.queue import QueueSettings, write_settings
from datadream.jobs import leader, spawn
from datadream.plans import enqueue
from datadream.plans.request import Request, check
from tests.conftest import Cli
from tests.runners import kill_all, reasons, rehearsals, until, wait_for

psij = pytest.importorskip("psij")
TOML = """
[resources]
cpus = 2
queue = "gpu"
extra = { qos = "low" }
[resources.adapt]
minutes = 90
gpus = 2
"""


def test_a_stage_overrides_the_file_and_a_job_both(home: Home) -> None:
    assert resources_for(home, "slurm", "adapt", {}).gpus == 1
    (home.path / "cluster.toml").write_text(TOML)
    adapt = resources_for(home, "slurm", "adapt", {"minutes": 5})
    assert (adapt.cpus, adapt.gpus, adapt.minutes, adapt.queue, adapt.extra) == (2, 2, 5, "gpu", {"qos": "low"})
    classify = resources_for(home, "slurm", "classify", {})
    assert (classify.gpus, classify.minutes) == (1, 1440)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[resources", "can't be read: the file is not TOML"),
        ("[resources]\ngpu = 1\n", "gpu"),
        ("[resources]\nminutes = 0\n", "minutes"),
    ],
)
def test_a_wrong_file_is_said_in_a_sentence(text: str, complaint: str, home: Home) -> None:
    (home.path / "cluster.toml").write_text(text)
    with pytest.raises(UserError, match=complaint) as caught:
        resources_for(home, "slurm", "adapt", {})
    assert "docs/cluster.md" in str(caught.value)


def test_an_unknown_launcher_names_the_known() -> None:
    with pytest.raises(UserError, match=r"unknown launcher 'slurn': use any of local, slurm, pbs, lsf, flux"):
        check_launcher("slurn")


@pytest.mark.parametrize("name", ["slurm", "pbs", "lsf"])
def test_the_batch_script_asks_for_what_was_said_and_quotes_what_was_named(
    name: str, home: Home, tmp_path: Path
) -> None:
    from datadream.jobs.clusters.cluster import Cluster, describe

    (home.path / "cluster.toml").write_text(TOML)
    resources = resources_for(home, name, "adapt", {})
    evil = "'; touch /tmp/x; \n#SBATCH --uid=0 $(touch x) \x1b[2J"
    job = psij.Job(describe(name, Path("/home of/mine"), "a" * 16, 3, resources, evil))
    text = Cluster(name, home).script(job)
    assert "--uid=0 $(" not in text
    assert "\x1b" not in text
    assert not [line for line in text.splitlines() if line.startswith("#SBATCH --uid")]
    assert "worker" in text
    assert "a" * 16 in text
    wanted = {
        "slurm": ('--gres="gpu:2"', '--qos="low"', "--time=1:30", "--cpus-per-task=2", '--job-name="touch-tmp-x-'),
        "pbs": ("walltime=1:30", "-q gpu"),
        "lsf": ("-W 1:30", "-gpu num=2", '-q "gpu"'),
    }
    for word in wanted[name]:
        assert word in text, text


@pytest.fixture
def queue(home: Home) -> Iterator[Home]:
    write_settings(home, QueueSettings(retry_seconds=0.1))
    yield home
    kill_all(home)


@pytest.fixture
def bin_(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a scheduler's commands are found first."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return folder


def script(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o700)


def test_a_job_no_cluster_takes_has_failed_with_its_sentence_after_some_times(
    queue: Home, bin_: Path, cli: Cli
) -> None:
    script(bin_ / "sbatch", "echo 'sbatch: error: invalid partition specified: gpu' >&2; exit 1")
    (job,) = enqueue.enqueue(queue, rehearsals(1), {}, launcher="slurm", max_attempts=2)
    followed = cli("job", "watch", job, "--quiet")
    assert followed.returncode == 2, followed.stderr
    status = state.derive(queue, job)
    said = (
        "slurm rejected the job: sbatch: error: invalid partition specified: gpu: check that slurm's commands work here"
    )
    assert (status.state, status.attempts) == ("failed", 2)
    assert status.reason.startswith(said)
    assert said in followed.stderr
    told = [(name, reason.split(": ")[0]) for name, reason in reasons(queue, job)]
    refused = ("lost", "slurm rejected the job")
    again = ("queued", "resubmitting")
    assert told == [("queued", ""), refused, again, refused, ("failed", "slurm rejected the job")]
    until(lambda: not leader.is_led(queue))
    control.retry(queue, job)
    spawn.ensure_runner(queue)
    until(lambda: state.attempts(queue.job(job)) == 4)
    assert wait_for(queue, job, "failed").reason.startswith(said)


def test_a_job_a_cluster_takes_at_last_says_where_it_waits(queue: Home, bin_: Path, tmp_path: Path) -> None:
    script(bin_ / "sbatch", f"if mkdir {tmp_path}/once; then exit 1; fi; echo Submitted batch job 77")
    script(bin_ / "squeue", "echo '77 PD None'")
    script(bin_ / "scancel", "exit 0")
    (job,) = enqueue.enqueue(queue, rehearsals(1), {}, launcher="slurm")
    spawn.ensure_runner(queue)
    until(lambda: state.derive(queue, job).reason == "pending in slurm as 77")
    assert state.derive(queue, job).attempts == 2


def test_what_a_cluster_needs_is_said_before_anything_is_queued(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    (home.path / "cluster.toml").write_text("[resources]\ngpu = 1\n")
    with pytest.raises(UserError, match="gpu"):
        enqueue.enqueue(home, rehearsals(1), {}, launcher="slurm")
    assert not home.queue.exists()
    monkeypatch.setitem(sys.modules, "psij", None)
    with pytest.raises(UserError, match=r"slurm needs PSI/J: install it with `pip install 'datadream\[cluster\]'`"):
        check(Request(recipes=("zero-shot",), source="digits", launcher="slurm"))


def test_a_queued_job_whose_cluster_can_no_longer_be_asked_says_so(
    queue: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "psij.py").write_text("raise ImportError\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    (job,) = enqueue.enqueue(queue, rehearsals(1), {}, launcher="slurm")
    spawn.ensure_runner(queue)
    status = wait_for(queue, job, "failed")
    assert "slurm needs PSI/J: install it with" in status.reason
    assert status.attempts == 0
    until(lambda: not leader.is_led(queue))


FLUX = """#!{python}
# `flux submit`, `flux jobs` and `flux cancel` as their manual pages have them, on this machine.
import argparse, os, signal, subprocess, sys
from pathlib import Path
known = Path({known!r})
known.mkdir(exist_ok=True)
verb, *words = sys.argv[1:]
if verb == "submit":
    parser = argparse.ArgumentParser()
    for name in ("nodes", "ntasks", "cores-per-task", "gpus-per-task", "time-limit", "job-name", "queue", "setattr", "output", "error"):
        parser.add_argument("--" + name)
    parser.add_argument("command", nargs=argparse.REMAINDER)
    asked = parser.parse_args(words)
    with open(asked.output, "a") as out:
        task = subprocess.Popen(asked.command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True)
    (known / f"f{{task.pid}}Z").write_text(" ".join(words))
    sys.stdout.buffer.write(f"\\u0192{{task.pid}}Z\\n".encode())
    sys.exit()
failed = False
for word in words:
    if word.startswith("-"):
        continue
    if not (known / word).exists():
        print(f"flux-{{verb}}: ERROR: JobID {{word}} unknown", file=sys.stderr)
        failed = True
        continue
    pid = int(word[1:-1])
    try:
        state = Path(f"/proc/{{pid}}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        state = "Z"
    if verb == "jobs":
        print(word.replace("f", "\\u0192"), "INACTIVE" if state == "Z" else "RUN")
    elif state != "Z":
        os.kill(pid, signal.SIGTERM)
sys.exit(failed)
"""


def test_flux_takes_shows_and_ends_jobs_by_its_commands(queue: Home, bin_: Path, tmp_path: Path) -> None:
    known = tmp_path / "known"
    script(bin_ / "flux", "")
    (bin_ / "flux").write_text(FLUX.format(python=sys.executable, known=str(known)), encoding="utf-8")
    (queue.path / "cluster.toml").write_text('[resources]\nqueue = "gpu"\naccount = "123"\ngpus = 2\nminutes = 90\n')
    quick, slow = enqueue.enqueue(
        queue, [*rehearsals(1, steps=3), *rehearsals(1, 5, steps=100_000)], {}, launcher="flux"
    )
    spawn.ensure_runner(queue)
    assert wait_for(queue, quick, "done", "failed").state == "done"
    wait_for(queue, slow, "running")
    asked = next(path.read_text() for path in known.iterdir() if slow in path.read_text())
    for words in (
        "--cores-per-task=4 --gpus-per-task=2",
        "--time-limit=90m",
        "--queue=gpu",
        '--setattr=system.bank="123"',
    ):
        assert words in asked
    control.cancel(queue, slow)
    assert wait_for(queue, slow, "cancelled", "failed", "done").state == "cancelled"
    assert state.attempts(queue.job(slow)) == 1


def test_what_flux_prints_is_understood(home: Home, bin_: Path) -> None:
    from datadream.jobs.clusters.cluster import Cluster

    flux = Cluster("flux", home)
    script(
        bin_ / "flux", "echo 'f2a SCHED'; echo 'ƒ2b CLEANUP'; echo 'f2c INACTIVE'; echo 'JobID f2d unknown' >&2; exit 1"
    )
    asked = ("f2a", "f2b", "f2c", "f2d")
    assert flux.poll(asked) == {"f2a": "pending", "f2b": "running", "f2c": "gone", "f2d": "gone"}
    script(bin_ / "flux", "echo 'flux-jobs: ERROR: JobID f2d unknown' >&2; exit 1")
    assert flux.poll(["f2d"]) == {"f2d": "gone"}
    script(bin_ / "flux", "echo 'flux-jobs: ERROR: Unable to connect to Flux: ENOENT' >&2; exit 1")
    with pytest.raises(UserError, match="flux does not answer: flux-jobs: ERROR: Unable to connect"):
        flux.poll(["f2a"])
