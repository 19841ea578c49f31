"""What code asks for is a cause; the sentence beside it may be worded in any way, and old sentences are still read."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from datadream.home import control, outlook, state
from datadream.home.causes import OLD, PASSING, Cause, why_of
from datadream.home.layout import Home
from datadream.home.queue import QueueSettings, write_settings
from datadream.home.spec import JobSpec
from datadream.plans import enqueue
from store import index, queries
from tests.runners import rehearsals
from tui.screens.job.actions import facts, refusal

# Reasons as 40ef959 wrote them into histories.
WRITTEN = {
    "paused": Cause.HELD,
    "paused: held after a restart of the machine": Cause.HELD,
    "stop requested": Cause.STOPPING,
    "pause requested": Cause.PAUSING,
    "waits for its adapter 0123abcd": Cause.WAITS,
    "starts again from its checkpoint: its worker is gone without a word": Cause.AGAIN,
    "is submitted again: sbatch: error": Cause.AGAIN,
    "no word where one was promised within 15 min: it may hang, see its log": Cause.SILENT,
    "waits in slurm as 17": Cause.SUBMITTED,
    "waits for disk space: 3 MiB are free": Cause.NO_ROOM,
    "the queue is paused": Cause.QUEUE_PAUSED,
    "": Cause.NONE,
    "its worker is gone without a word": Cause.NONE,
}


@pytest.mark.parametrize("reason", WRITTEN)
def test_lines_of_versions_without_causes_are_read_by_how_they_began(reason: str) -> None:
    assert why_of({"reason": reason}) == (reason, WRITTEN[reason])


def test_a_line_says_its_cause_whatever_its_words_are() -> None:
    for cause in Cause:
        for reason in ("paused: no, this is a file's name", "failed", "x"):
            assert why_of({"reason": reason, "cause": str(cause)}) == (reason, cause)
    assert why_of({"reason": "paused", "cause": "of a later version"}) == ("paused", Cause.NONE)
    assert set(OLD.values()) <= set(Cause)


def chain(count: int) -> list[JobSpec]:
    (first,) = rehearsals(1)
    found = [first]
    for number in range(1, count):
        inputs = {"adapter": found[-1].id}
        found.append(JobSpec(stage="rehearse", settings=first.settings, inputs=inputs, seed=number))
    return found


def test_a_job_is_stuck_by_what_became_of_its_input_and_by_no_word(home: Home) -> None:
    specs = chain(3)
    enqueue.enqueue(home, specs, {specs[0].id: "named failed, cancelled and gone"})
    waiting = state.derive(home, specs[1].id)
    assert (waiting.state, waiting.cause, waiting.hopeless) == ("blocked", Cause.WAITS, False)
    control.cancel(home, specs[0].id, "the adapter waits for its gone paused failed")
    for spec in specs[1:]:
        found = state.derive(home, spec.id)
        assert (found.state, found.cause, found.hopeless) == ("blocked", Cause.STUCK, True), found
    registry = index.open_registry(home)
    rows = {row["id"]: row for row in queries.page(registry, "job")}
    registry.close()
    assert [rows[spec.id]["cause"] for spec in specs] == ["", "stuck", "stuck"]
    assert "is blocked by another" in refusal("retry", facts(rows[specs[2].id]))
    assert refusal("remove", facts(rows[specs[2].id])) == ""


def test_a_reason_that_speaks_of_a_pause_is_none(home: Home) -> None:
    (job,) = enqueue.enqueue(home, rehearsals(1), {})
    control.cancel(home, job, "paused by nobody; asked to pause")
    registry = index.open_registry(home)
    (row,) = queries.page(registry, "job")
    registry.close()
    assert not facts(row).paused
    assert not facts(state.derive(home, job)).paused


def test_what_passes_for_all_is_in_the_registry_with_its_cause_and_goes(home: Home) -> None:
    jobs = enqueue.enqueue(home, rehearsals(2), {})
    control.pause(home, jobs[1])
    write_settings(home, QueueSettings(paused=True))
    assert outlook.held_up(home).cause in PASSING
    seen = []
    for paused in (True, False):
        write_settings(home, QueueSettings(paused=paused, slots=("cpu:0",)))
        registry = index.open_registry(home)
        rows = {row["id"]: row for row in queries.page(registry, "job")}
        registry.close()
        seen.append([(rows[job]["cause"], bool(rows[job]["paused"])) for job in jobs])
        assert [(state.derive(home, job).cause, state.derive(home, job).paused) for job in jobs] == seen[-1]
    assert seen == [[("queue-paused", False), ("held", True)], [("", False), ("held", True)]]


def test_history_keeps_the_cause(home: Home) -> None:
    (job,) = enqueue.enqueue(home, rehearsals(1), {})
    state.write_history(home, job, "queued", "in words of tomorrow", 0, Cause.AGAIN)
    line = json.loads((home.job(job) / "history.jsonl").read_text().splitlines()[-1])
    assert line["cause"] == "again"
    found = state.derive(home, job, held=outlook.CLEAR)
    assert (found.reason, found.cause) == ("in words of tomorrow", Cause.AGAIN)


def test_no_code_reads_a_reason_back() -> None:
    """But for the table of old lines."""
    root = Path(__file__).parents[1]
    reading = re.compile(
        r"\.reason\.(startswith|endswith|find)|\bin [\w.]*\breason\b|reason(\)|\", \"\"\)\))\.(starts|ends)with"
    )
    found = [
        f"{path.relative_to(root)}:{number}"
        for room in ("datadream", "store", "tui")
        for path in (root / room).rglob("*.py")
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if reading.search(line) and path.name != "causes.py"
    ]
    assert found == []
