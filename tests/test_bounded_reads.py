"""A file of any size costs no more memory than a small one: read in parts, from its end, or refused."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datadream import durable, records
from datadream.errors import UserError
from datadream.home import labels, lines, queue, state
from datadream.home.events import Journal
from datadream.home.layout import Home, open_home
from datadream.home.lines import Lines, Tail, from_end, start_of_last
from datadream.plans import enqueue
from store import index, queries, rows
from tests.conftest import run_cli
from tests.runners import rehearsals

HUGE = 300 << 20
MOST = 64 << 20
EVENT = '{"acc":0.5,"at":"2026-01-01T00:00:00+00:00","attempt":1,"kind":"metric","loss":0.5,"next":120,"seconds":%d,"seq":%d,"step":%d}\n'


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return open_home(tmp_path / "home")


def grow(path: Path, head: str, tail: str) -> None:
    """`head`, then a line of zeros, HUGE in all but on the disk, then `tail`."""
    with path.open("w") as file:
        file.write(head)
        file.truncate(HUGE)
        file.seek(HUGE)
        file.write(f"\n{tail}")


PEAK = """
import io, os, sys, resource
from contextlib import redirect_stdout
from pathlib import Path

def peak():
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) << 10

def reset():
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew (proc(5))

from datadream.errors import UserError
from datadream.home import events, gc, lines, queue, state, trouble
from datadream.jobs import follow, watch
from datadream.home.layout import Home
from store import check, index, queries, rows
from tui.services.data import Data
from tui.services.job_facts import JobReader
from tui.services.log_index import last_lines
from tui.services.log_reader import LogReader
from tui.services.poller import Poller
from datadream.cli import main

small, large, job = Home(Path(sys.argv[1])), Home(Path(sys.argv[2])), sys.argv[3]

def cli(*words):
    def run(home):
        with redirect_stdout(open(os.devnull, "w")):
            try:
                main.app([*words, "--home", str(home.path)], standalone_mode=False)
            except UserError:
                pass
    return run

def quiet(act):
    def run(home):
        try:
            act(home)
        except UserError:
            pass
    return run

def rebuilt(home):
    registry = index.rebuild(home)
    queries.page(registry, "job")
    registry.close()

def read_log(home):
    for name in ("log.txt", "events.jsonl"):
        reader = LogReader(home.job(job) / name, lambda: None, events.line_in_words)
        reader.wake(True)
        while reader._turn():
            pass
        reader.take()

ACTS = {
    "a worker that resumes": lambda home: events.Journal(home.job(job) / "events.jsonl", 3).close(),
    "derive": quiet(lambda home: state.derive(home, job)),
    "history": lambda home: state.history(home.job(job)),
    "the end of a log": lambda home: (follow.last_lines(home, job), last_lines(home.job(job) / "log.txt", 5)),
    "the runner's log": watch.last_words,
    "a sync": lambda home: index.open_registry(home).close(),
    "a rebuild": rebuilt,
    "job ls": cli("job", "ls"),
    "job show": cli("job", "show", job),
    "job log -n 5": cli("job", "log", job, "-n", "5"),
    "job log": cli("job", "log", job),
    "the app's facts of a job": lambda home: JobReader(job).gather(Data(home)),
    "the app's log": read_log,
    "the app's poller": lambda home: Poller(Data(home), print, print).gather(),
    "settings": queue.look,
    "trouble": trouble.read,
    "what can go": quiet(gc.plan),
}
for name, act in ACTS.items():
    act(small)
    reset()
    base = peak()
    act(large)
    print(f"{(peak() - base) >> 20}\\t{name}", flush=True)
"""


@pytest.fixture
def homes(tmp_path: Path) -> Iterator[tuple[Home, Home, str]]:
    """A small home, and one whose files are beyond measure; the job they have in common."""
    found = []
    for name in ("small", "large"):
        home = open_home(tmp_path / name)
        (job,) = enqueue.enqueue(home, rehearsals(1), {})
        folder = home.job(job)
        (folder / "log.txt").write_text("a\nb\n")
        (folder / "events.jsonl").write_text(EVENT % (1, 1, 1))
        (folder / "history.jsonl").write_text('{"seq":1,"at":"x","state":"queued","reason":"","attempt":0}\n')
        durable.make_dir(home.runner)
        found.append(home)
    yield found[0], found[1], job


def peaks(small: Home, large: Home, job: str) -> dict[str, int]:
    """MiB above the base, by what was done."""
    command = [sys.executable, "-c", PEAK, str(small.path), str(large.path), job]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
    found = dict(line.split("\t")[::-1] for line in done.stdout.splitlines() if line[:1].isdecimal())
    return {name: int(grown) for name, grown in found.items()}


def test_files_of_hundreds_of_megabytes_cost_no_memory(homes: tuple[Home, Home, str]) -> None:
    small, large, job = homes
    folder = large.job(job)
    grow(folder / "events.jsonl", EVENT % (1, 1, 1), EVENT % (2, 2, 2))
    grow(folder / "history.jsonl", "", '{"seq":7,"at":"x","state":"queued","reason":"why","attempt":0}\n')
    grow(folder / "log.txt", "first\n", "last\n")
    grow(large.runner / "runner.log", "", "the runner's last words\n")
    assert state.derive(large, job).reason == "why"
    found = peaks(small, large, job)
    assert len(found) == 17
    assert max(found.values()) <= MOST >> 20, found


def test_records_beyond_measure_are_refused_and_never_held(homes: tuple[Home, Home, str]) -> None:
    small, large, job = homes
    folder = large.job(job)
    for name in ("control.json", "request.json", "error.json", "native.json", "environment.json", "lease"):
        grow(folder / name, "{", "}")
    grow(large.queue_settings, "{", "}")
    grow(large.runner / "trouble.json", "{", "}")
    for place in ("labels", "names/set", "runs", "experiments", "marks"):
        grow(durable.make_dir(large.path / place) / "a.json", "{", "}")
    found = peaks(small, large, job)
    assert max(found.values()) <= MOST >> 20, found
    grow(folder / "spec.json", "{", "}")
    found = peaks(small, large, job)
    assert max(found.values()) <= MOST >> 20, found
    with pytest.raises(UserError, match="no readable spec"):
        state.derive(large, job)
    registry = index.open_registry(large)
    problems = dict(queries.problems(registry))
    registry.close()
    assert "larger than" in problems["labels/a.json"]
    assert f"jobs/{job}" in problems


def test_records_as_large_as_they_may_be_cost_little(homes: tuple[Home, Home, str]) -> None:
    """Of what takes the most memory when it is parsed."""
    small, large, job = homes
    worst = '{"x": [' + "{}," * ((records.MOST_BYTES - 20) // 3) + "{}]}"
    assert records.MOST_BYTES - 10 < len(worst) <= records.MOST_BYTES
    for name in ("control.json", "request.json", "error.json", "native.json", "environment.json", "lease"):
        (large.job(job) / name).write_text(worst)
    for place in ("labels", "names/set", "runs", "experiments", "marks"):
        (durable.make_dir(large.path / place) / "a.json").write_text(worst)
    found = peaks(small, large, job)
    assert max(found.values()) <= MOST >> 20, found
    (large.job(job) / "spec.json").write_text(worst)
    found = peaks(small, large, job)
    assert max(found.values()) <= MOST >> 20, found


def test_what_could_not_be_read_again_is_not_written(home: Home) -> None:
    from datadream.home import experiments, marks

    names = [f"class/{number:05d}.png" for number in range(70_000)]
    kept = marks.mark(home, "a" * 16, names)
    with pytest.raises(UserError, match="the marks of this synthetic set would be larger than 2 MiB"):
        marks.mark(home, "a" * 16, [f"other/{number:05d}.png" for number in range(70_000)])
    assert marks.read_marks(home, "a" * 16) == kept
    with pytest.raises(UserError, match="the experiment x would be larger than 2 MiB"):
        experiments.add_runs(home, "x", [f"{number:016x}" for number in range(100_000)])
    assert experiments.read_experiment(home, experiments.make_experiment(home, "x").id).runs == ()


def test_many_real_events_cost_no_memory(homes: tuple[Home, Home, str]) -> None:
    """200,000 points of two curves, as a month of training tells them."""
    small, large, job = homes
    with (large.job(job) / "events.jsonl").open("w") as file:
        file.writelines(EVENT % (step, step, step) for step in range(1, 200_001))
    found = peaks(small, large, job)
    assert max(found.values()) <= MOST >> 20, found
    registry = index.open_registry(large)
    curves = queries.metrics(registry, job)
    registry.close()
    assert [len(curves[name]) for name in ("acc", "loss")] == [200_000, 200_000]


# The same as a plain reading of everything

LINE = st.binary(max_size=40).map(lambda text: text.replace(b"\n", b"").replace(b"\r", b""))
RECORDS = st.builds(lambda value: json.dumps({"n": value}).encode(), st.integers(0, 9))
TEXT = st.tuples(st.lists(st.one_of(LINE, RECORDS), max_size=30), st.one_of(st.just(b""), LINE)).map(
    lambda parts: b"".join(line + b"\n" for line in parts[0]) + parts[1]
)


@settings(max_examples=150, deadline=None)
@given(TEXT, st.integers(1, 64), st.integers(1, 64), st.integers(0, 35))
def test_lines_are_those_of_a_plain_reading(text: bytes, block: int, longest: int, count: int) -> None:
    """Whatever the sizes of blocks and of the longest line that is held."""
    whole = text[: text.rfind(b"\n") + 1].split(b"\n")[:-1]
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patched:
        path = Path(folder) / "x"
        path.write_bytes(text)
        patched.setattr(lines, "BLOCK_BYTES", block)
        patched.setattr(lines, "LINE_BYTES", longest)
        patched.setattr(lines, "SHOWN_BYTES", 1)
        short = [line for line in whole if len(line) < longest]
        found = list(Lines(path))
        assert [line for line in found if b" [+" not in line] == [line for line in short if b" [+" not in line]
        assert len(found) == len(whole)
        assert [line for line in from_end(path) if len(line) < longest] == short[::-1]
        start, number = start_of_last(path, count) if count else (0, 0)
        if count:
            assert number == min(count, len(whole))
            assert text[start:].startswith(b"".join(line + b"\n" for line in whole[len(whole) - number :]))
        records = [record for line in short if (record := durable.parse_record(line)) is not None]
        assert [event for event in Tail(path).records() if "n" in event] == [r for r in records if "n" in r]


def test_a_line_longer_than_any_is_cut_and_counted_as_bad(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "LINE_BYTES", 100)
    monkeypatch.setattr(lines, "SHOWN_BYTES", 10)
    path = home.path / "x"
    path.write_bytes(b'{"n":1}\n{"n":"' + b"x" * 500 + b'"}\n{"n":3}\n{"n":"' + b"y" * 500)
    assert list(Lines(path).texts()) == ['{"n":1}', '{"n":"xxxx [+498 bytes]', '{"n":3}']
    tail = Tail(path)
    told = [tail.records_and_bad() for _ in range(4)]
    assert sum(bad for _, bad in told) == 1
    assert [event["n"] for events, _ in told for event in events] == [1, 3]
    with path.open("ab") as file:
        file.write(b'"}\n{"n":5}\n')
    assert [event["n"] for event in tail.records()] == [5]
    assert durable.read_jsonl(path)[0][-1] == {"n": 5}


def test_a_worker_goes_on_from_the_end_of_its_events(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    with path.open("w") as file:
        for step in range(1, 3000):
            file.write(EVENT % (step, 2 * step, step))
        file.write('{"kind":"progress","seq":6001,"seconds":77.5,"done":1,"total":2}\n{"torn')
    journal = Journal(path, 2)
    journal.emit({"kind": "metric", "step": 2999, "loss": 1.0})
    journal.emit({"kind": "metric", "step": 3000, "loss": 1.0})
    journal.close()
    last = durable.read_jsonl(path)[0][-1]
    assert (last["seq"], last["step"], last["attempt"]) == (6002, 3000, 2)
    assert 77.5 <= last["seconds"] < 80


def test_history_beyond_measure_keeps_its_end_and_its_numbers(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "HISTORY_BYTES", 2000)
    (job,) = enqueue.enqueue(home, rehearsals(1), {})
    for number in range(100):
        state.write_history(home, job, "queued", f"reason {number}", 0)
    found = state.history(home.job(job))
    assert [line["seq"] for line in found] == list(range(101 - len(found), 101))
    assert 5 < len(found) < 40
    assert state.last_change(home.job(job))["seq"] == 100
    assert state.derive(home, job).reason == "reason 99"


def test_a_log_is_printed_from_the_line_that_was_asked_for(home: Home) -> None:
    (job,) = enqueue.enqueue(home, rehearsals(1), {})
    (home.job(job) / "log.txt").write_text("".join(f"text {number}\n" for number in range(5)))
    (home.job(job) / "events.jsonl").write_text(EVENT % (1, 1, 1) + EVENT % (2, 2, 2))
    printed = {
        count: run_cli("job", "log", job, "-n", count, home=home.path).stdout.splitlines() for count in (0, 1, 4, 99)
    }
    assert [line[:6] for line in printed[0]] == [*(f"text {number}" for number in range(5)), "2026-0", "2026-0"]
    assert printed[99] == printed[0]
    assert printed[4] == printed[0][-4:]
    assert printed[1] == printed[0][-1:]


def test_a_file_that_is_too_large_says_how_large_it_may_be(tmp_path: Path, home: Home) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(b"{}" + b" " * (1 << 20))
    with pytest.raises(durable.TooLarge, match=r"x\.json is larger than 1 MiB"):
        durable.read_bytes(path, durable.RECORD_BYTES)
    assert durable.read_bytes(path) == path.read_bytes()
    assert state.read_dict(path, durable.RECORD_BYTES) is None
    path = durable.make_dir(home.path / "labels") / "a.json"
    path.write_bytes(b"{}" + b" " * (1 << 20))
    with pytest.raises(UserError, match="larger than 1 MiB"):
        labels.read_labels(home, "a")
    with pytest.raises(UserError, match="larger than 1 MiB"):
        rows.label_rows(home, path)
    assert queue.look(home)[1] == ""
