"""A worker is killed while its children live: the device is theirs until they are gone."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from datadream.home import state
from datadream.home.layout import open_home
from datadream.home.queue import QueueSettings, is_taken, write_settings
from datadream.jobs import spawn
from datadream.plans.enqueue import enqueue
from tests.faults.scale import record
from tests.runners import kill_all, processes_of, rehearsals, runner_of, steps_done, until, wait_for_end


def test_a_slot_is_not_handed_out_while_children_of_a_dead_worker_live(tmp_path: Path) -> None:
    home = open_home(tmp_path / "home")
    write_settings(home, QueueSettings(retry_seconds=0.0))
    first, second = enqueue(home, rehearsals(2, steps=60, children=2), {})
    spawn.ensure_runner(home)
    until(lambda: steps_done(home, first) > 5 and len(processes_of(home)) == 3)
    worker = state.read_attempt(home.job(first), 1)["worker"]["pid"]
    children = [who for who in processes_of(home) if who.pid != worker]
    os.kill(worker, signal.SIGKILL)
    until(lambda: state.derive(home, first).state in ("lost", "queued"))
    looked = 0
    while len(children) == len([who for who in processes_of(home) if who in children]):
        assert is_taken(home, "cpu:0")
        assert state.attempts(home.job(first)) == 1
        assert state.attempts(home.job(second)) == 0
        looked += 1
        time.sleep(0.05)
    assert looked > 10
    wait_for_end(home)
    assert runner_of(home) is not None
    assert state.derive(home, second).state == "done"
    assert state.attempts(home.job(first)) == 2
    kill_all(home)
    record("slot-held-by-children", looks=looked, outcome="not handed out until they were gone")
