"""Commands on several jobs at once: what can't be done to one is told, and done to the others."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from datadream.data.shots import ShotSet
from datadream.home import control, state
from datadream.home.layout import Home, open_home
from datadream.home.queue import QueueSettings, write_settings
from datadream.home.sets import add_set
from datadream.jobs import leader
from datadream.models.presets import Backbone
from datadream.plans import enqueue
from datadream.plans.grid import plan
from datadream.recipes.recipe import load_recipe
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
    (failed,) = enqueue.enqueue(queue, rehearsals(1, steps=3, fail_at=1), {})
    done, done_too = enqueue.enqueue(queue, rehearsals(2, 5, steps=1), {})
    over(queue)
    result = cli("job", "retry", done, failed, done_too)
    assert result.returncode == 2
    for job in (done, done_too):
        assert f"job {job[:8]} is done" in result.stderr
    until(lambda: state.attempts(queue.job(failed)) == 2)


def test_all_leaves_out_jobs_that_have_just_ended(cli: Cli, queue: Home) -> None:
    write_settings(queue, QueueSettings(paused=True))
    ended, open_ = enqueue.enqueue(queue, rehearsals(2), {})
    control.cancel(queue, ended)
    assert (queue.queue / ended).exists()
    result = cli("job", "pause", "--all")
    assert (result.returncode, result.stderr) == (0, "")
    assert state.read_control(queue, open_).paused
    assert cli("job", "pause", ended).returncode == 2


def test_a_job_without_a_readable_spec_is_told_and_left_out(cli: Cli, queue: Home) -> None:
    write_settings(queue, QueueSettings(paused=True))
    torn, whole = enqueue.enqueue(queue, rehearsals(2), {})
    (queue.job(torn) / "spec.json").write_text("{")
    said = f"job {torn} has no readable spec.json"
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


def test_waiting_for_nothing_is_said(cli: Cli, queue: Home) -> None:
    assert cli("rehearse", "--steps", 3, "--fail-at", 1).returncode == 2
    until(lambda: not list(queue.queue.iterdir()))
    waited = cli("job", "wait")
    assert (waited.returncode, waited.stdout) == (0, "")
    assert waited.stderr == "no open jobs; see `datadream job ls`\n"


def test_waiting_names_the_job_that_can_not_start(cli: Cli, queue: Home, mini: Backbone, two_shots: ShotSet) -> None:
    jobs = plan(load_recipe("name-only", mini, []), add_set(queue, two_shots, "s"), mini, "synth").jobs
    generate, classify = (jobs[stage].id for stage in ("generate", "classify"))
    enqueue.enqueue(queue, list(jobs.values()), {})
    control.cancel(queue, generate)
    until(lambda: state.derive(queue, classify).hopeless)
    waited = cli("job", "wait")
    assert waited.returncode == 1
    assert f"{classify[:8]} blocked: synthetic {generate[:8]} was cancelled; it stays open" in waited.stderr
    assert f"`datadream job cancel {classify[:8]}`" in waited.stderr


def test_json_of_one_page_of_several_says_so_beside_it(cli: Cli, queue: Home) -> None:
    write_settings(queue, QueueSettings(paused=True))
    enqueue.enqueue(queue, rehearsals(51), {})
    listed = cli("job", "ls", "--json")
    assert len(json.loads(listed.stdout)) == 50
    assert listed.stderr == "1 to 50 of 51; next: --page 2\n"
    last = cli("job", "ls", "--json", "--page", 2)
    assert len(json.loads(last.stdout)) == 1
    assert last.stderr == "51 to 51 of 51\n"
    assert cli("job", "ls", "--json", "--limit", 60).stderr == ""
