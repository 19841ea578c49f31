"""Commands on several jobs at once: what can't be done to one is told, and done to the others."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from datadream.jobs import leader, state, submit
from datadream.jobs.home import Home, open_home
from datadream.jobs.queue import QueueSettings, write_settings
from tests.conftest import Cli
from tests.runners import kill_all, rehearsals, until, wait_for_end


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[Home]:
    """The home of `cli`."""
    home = open_home(tmp_path / "home")
    yield home
    kill_all(home)


def over(home: Home) -> None:
    """Until everything is, and no runner is about."""
    wait_for_end(home)
    kill_all(home)
    until(lambda: not leader.is_led(home))


def test_a_job_that_refuses_keeps_no_other_from_its_retry(cli: Cli, queue: Home) -> None:
    (failed,) = submit.submit(queue, rehearsals(1, steps=3, fail_at=1), {})
    done, done_too = submit.submit(queue, rehearsals(2, 5, steps=1), {})
    over(queue)
    result = cli("job", "retry", done, failed, done_too)
    assert result.returncode == 2
    for job in (done, done_too):
        assert f"the job {job[:8]} is done" in result.stderr
    until(lambda: state.attempts(queue.job(failed)) == 2)


def test_all_leaves_out_jobs_that_have_just_ended(cli: Cli, queue: Home) -> None:
    write_settings(queue, QueueSettings(paused=True))
    ended, open_ = submit.submit(queue, rehearsals(2), {})
    submit.cancel(queue, ended)
    assert (queue.queue / ended).exists()
    result = cli("job", "pause", "--all")
    assert (result.returncode, result.stderr) == (0, "")
    assert state.read_control(queue, open_).paused
    assert cli("job", "pause", ended).returncode == 2


def test_a_job_without_a_readable_spec_is_told_and_left_out(cli: Cli, queue: Home) -> None:
    write_settings(queue, QueueSettings(paused=True))
    torn, whole = submit.submit(queue, rehearsals(2), {})
    (queue.job(torn) / "spec.json").write_text("{")
    said = f"the job {torn} has no readable spec.json"
    shown = cli("queue", "show", "--json")
    assert json.loads(shown.stdout)["jobs"] == {"queued": 1}
    assert said in shown.stderr
    waited = cli("job", "wait", "--timeout", "0.3")
    assert waited.returncode == 124
    assert said in waited.stderr
    cancelled = cli("job", "cancel", "--all")
    assert cancelled.returncode == 0
    assert said in cancelled.stderr
    assert state.read_control(queue, whole).cancel
