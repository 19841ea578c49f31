"""Records in any state: one that can't be read costs its own row, is counted in a line, and is named by the check."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from datadream import records
from datadream.canonical import short_id
from datadream.errors import UserError
from datadream.home import experiments, labels, marks, queue, sets, state
from datadream.home.layout import Home
from tests.conftest import TINY_OPTIONS
from tests.faults.scale import record, scale
from tests.runners import rehearsals

DEEP = b"[" * 100_000
Damage = Callable[[Path, bytes], None]


def replaced(content: bytes) -> Damage:
    return lambda path, _: (path.unlink(), path.write_bytes(content))[0]


def changed(change: Callable[[dict[str, Any]], None]) -> Damage:
    """Another value in a record; of lines in each, of a table none."""

    def damage(path: Path, whole: bytes) -> None:
        if path.suffix == ".json":
            content = json.loads(whole)
            change(content)
            path.write_text(json.dumps(content))
        elif path.suffix == ".jsonl":
            lines = [json.loads(line) for line in whole.splitlines()]
            for line in lines:
                change(line)
            path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        else:
            path.write_bytes(b"\n[resources]\ngpus = 'many'\n" if path.suffix == ".toml" else b"key\nx\n")

    return damage


def linked(target: str) -> Damage:
    return lambda path, _: (path.unlink(), path.symlink_to(target))[0]


def wrong_types(content: dict[str, Any]) -> None:
    for key, value in content.items():
        content[key] = 7 if isinstance(value, str) else "seven"


DAMAGES: dict[str, Damage] = {
    "NULs": lambda path, whole: replaced(bytes(len(whole)))(path, whole),
    "deep": replaced(DEEP + b"\n"),
    "wrong types": changed(wrong_types),
    "a pipe": lambda path, _: (path.unlink(), os.mkfifo(path))[0],
    "a link to nothing": linked("nowhere"),
    "empty": replaced(b""),
    "a list": replaced(b"[1, 2]\n"),
    "a number": replaced(b"12\n"),
    "no UTF-8": replaced(b'{"name": "\xff\xfe"}\n'),
    "half a surrogate": changed(lambda content: content.update(dict.fromkeys(content, "\ud800"))),
    "a folder": lambda path, _: (path.unlink(), path.mkdir())[0],
    "a link to itself": lambda path, _: (path.unlink(), path.symlink_to(path.name))[0],
    "an empty object": replaced(b"{}\n"),
    "a huge number": changed(lambda content: content.update(dict.fromkeys(content, 10**30))),
    "too many digits": replaced(b'{"n": ' + b"9" * 5000 + b"}\n"),
    "NaN": changed(lambda content: content.update(dict.fromkeys(content, float("nan")))),
    "Infinity": changed(lambda content: content.update(dict.fromkeys(content, float("-inf")))),
    "1e400": replaced(b'{"n": 1e400}\n'),
    "a key twice": replaced(b'{"id": 1, "id": 2}\n'),
    "cut": lambda path, whole: replaced(whole[: len(whole) // 3])(path, whole),
    "larger than any": lambda path, _: os.truncate(path, records.MOST_BYTES + 1),
}
SHORT = ("NULs", "wrong types", "a pipe")
USABLE = {  # what these files are without a line or a field is no damage
    "empty": {"events.jsonl", "history.jsonl", "cluster.toml"},
    "an empty object": {"control.json", "request.json", "queue.json", "tui.json"},
    "wrong types": {"tui.json"},
    "cut": {"events.jsonl", "history.jsonl"},
    "larger than any": {"events.jsonl", "history.jsonl", "spec.json", "manifest.json", "set.json"},
}
COSTS_THE_JOB = ("spec.json", "history.jsonl")  # then the job's folder is named, and the file in the words


@dataclass
class Victims:
    """A home with one record of each kind to be damaged, each of another thing; `jobs` by the file of theirs."""

    home: Home
    files: dict[str, Path]
    jobs: dict[str, str]
    spared: set[str]  # ids of runs that nothing touches


def call(home: Path, *arguments: str) -> tuple[int, str, str]:
    """`datadream ...` in this process."""
    out, err = io.StringIO(), io.StringIO()
    before, sys.argv = sys.argv, ["datadream", *arguments]
    os.environ["DATADREAM_HOME"] = str(home)
    try:
        from datadream.cli.main import main

        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main()
    except SystemExit as end:
        return int(end.code or 0), out.getvalue(), err.getvalue()
    finally:
        sys.argv = before
        del os.environ["DATADREAM_HOME"]
    return 0, out.getvalue(), err.getvalue()


@pytest.fixture
def victims(ran_copy: Path) -> Victims:
    home = Home(ran_copy)
    sets.make_set(home, "digits", 1, 7, split_seed=0, name="other", check="used")
    third = sets.make_set(home, "digits", 1, 8, split_seed=0, name="third", check="used")
    runs = sorted((ran_copy / "runs").glob("*.json"))
    made = {path: json.loads(path.read_text()) for path in runs}
    spared = [path for path in runs if made[path]["method"] == "zero-shot"]
    hurt = [path for path in runs if path not in spared]
    classifier = [home.artifact("classifier", made[path]["jobs"]["classify"]) for path in hurt]
    labels.tag(home, hurt[4].stem, ["good"])
    synth = made[hurt[5]]["jobs"].get("generate") or made[hurt[6]]["jobs"]["generate"]
    marks.mark(home, synth, ["zero/00000.png"])
    experiments.add_runs(home, "one", [hurt[4].stem])
    experiments.add_runs(home, "two", [hurt[5].stem])
    queue.write_settings(home, queue.QueueSettings(slots=("cpu:0",)))
    (ran_copy / "tui.json").write_text('{"theme": "datadream-light", "columns.runs": ["id", "method"]}')
    (ran_copy / "cluster.toml").write_text("[resources]\ngpus = 1\n")
    jobs = [path for path in sorted((ran_copy / "jobs").iterdir()) if path.name not in made[spared[0]]["jobs"].values()]
    names = ("spec.json", "request.json", "control.json", "history.jsonl", "events.jsonl", "result.json")
    parts = {name: folder / name for name, folder in zip(names, jobs, strict=False)}
    rest = iter(jobs[len(names) :])
    parts["error.json"] = next(rest) / "error.json"
    parts["native.json"] = next(rest) / "native.json"
    parts["attempts"] = next(rest) / "attempts" / "1.json"
    parts["control.json"].write_text('{"priority": 3}')
    parts["error.json"].write_text('{"attempt": 1, "kind": "user", "message": "x"}')
    parts["native.json"].write_text('{"attempt": 1, "native": "17"}')
    return Victims(
        home,
        files={
            "run": hurt[0],
            "name": home.set_name(short_id("other")),
            "label": home.label(hurt[4].stem),
            "marks": home.marks(synth),
            "experiment": home.experiment(short_id(["experiment", "two"])),
            "manifest": classifier[1] / "manifest.json",
            "scores": classifier[2] / "scores.json",
            "predictions": classifier[3] / "predictions.csv",
            "set": home.artifact("set", third.id) / "set.json",
            "queue": home.queue_settings,
            "tui": ran_copy / "tui.json",
            "cluster": ran_copy / "cluster.toml",
            **parts,
        },
        jobs={name: (path.parent.parent if name == "attempts" else path.parent).name for name, path in parts.items()},
        spared={spared[0].stem, *(path.stem for path in hurt[4:])},
    )


@pytest.mark.parametrize("kind", scale(SHORT, tuple(DAMAGES)))
def test_a_damaged_record_costs_its_own_row(kind: str, victims: Victims) -> None:
    root = victims.home.path
    named = {}
    for what, path in victims.files.items():
        if path.name in USABLE.get(kind, ()):
            continue
        DAMAGES[kind](path, path.read_bytes())
        named[what] = path
    lists = [("set", "ls"), ("adapter", "ls"), ("synth", "ls"), ("classifier", "ls"), ("runs", "ls"), ("job", "ls")]
    lists += [("experiment", "ls"), ("tag", "ls"), ("compare",), ("compare", "--set", "d2"), ("gc",), ("queue", "show")]
    lists += [("compare", "--pivot", "method+data,shots"), ("compare", "--format", "json"), ("registry", "rebuild")]
    lists += [("run", "zero-shot", "--set", "d2", *TINY_OPTIONS[-4:]), ("experiment", "show", "two")]
    lists += [("set", "make", "digits", "--shots", "1", "--seed", "9", "--check-used"), ("home", "show")]
    lists += [("run", "zero-shot", "--set", "other", "--dry-run"), ("run", "name-only", "--set", "d2", "--dry-run")]
    lists += [("run", "name-only", "--set", "d2", "--dry-run", "--without-marked", *TINY_OPTIONS[6:])]
    lists += [("runs", "show", victims.files["run"].stem), ("job", "ls", "--json"), ("set", "show", "third")]
    lists += [(*words, job) for job in victims.jobs.values() for words in (("job", "show"), ("job", "log"))]
    said = {words: call(root, *words) for words in lists}
    for words, (code, out, err) in said.items():
        assert code in (0, 2), (words, code, err)
        assert "datadream: unexpected" not in err and "Traceback" not in out + err, (words, err)
        assert code == 0 or len(err.strip().splitlines()) == 1, (words, err)

    def listed(noun: str) -> set[str]:
        code, out, _ = call(root, noun, "ls", "--json", "--limit", "100")
        assert code == 0
        return {str(row["id"]) for row in json.loads(out)}

    assert victims.spared <= listed("runs")
    spared_jobs = {path.name for path in (root / "jobs").iterdir()} - set(victims.jobs.values())
    assert spared_jobs <= listed("job")
    assert said["compare", "--format", "json"][0] == 0
    rows = json.loads(said["compare", "--format", "json"][1])
    assert victims.spared <= {run_id for row in rows for run_id in row["run_ids"]}
    assert victims.files["run"].stem not in {run_id for row in rows for run_id in row["run_ids"]}
    lost = {what for what in ("run", "manifest", "scores", "predictions") if what in named}
    words = " ".join(said["compare",][1].split())
    counted = sum(int(number) for number in re.findall(r"Excluded: (\d+) runs? whose", words))
    assert counted + len(re.findall(r"Excluded: run \w+ \(", words)) == len(lost), words
    assert "can't be read: see `datadream registry check`" in said["runs", "ls"][2]
    for noun in ("set", "experiment", "tag"):
        assert said[noun, "ls"][0] == 0

    code, out, _ = call(root, "registry", "check", "--json")
    assert code == 1
    found = {entry["path"]: entry["what"] for entry in json.loads(out)}
    for what, path in named.items():
        place = path.relative_to(root).as_posix()
        in_words = what in COSTS_THE_JOB and what in found.get(f"jobs/{victims.jobs[what]}", "")
        assert place in found or in_words, (what, place, found)
    record("damaged-records", kind=kind, records=len(named), commands=len(lists), outcome="the others stay; all named")


@pytest.mark.parametrize("kind", [kind for kind in DAMAGES if kind not in ("an empty object", "wrong types")])
def test_whatever_a_file_is_it_is_unreadable_and_nothing_else(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    whole = b'{\n  "id": "x",\n  "created": "2026-01-31"\n}\n'
    path.write_bytes(whole)
    assert records.read(path, {"id": str}) == {"id": "x", "created": "2026-01-31"}
    DAMAGES[kind](path, whole)
    with pytest.raises(records.Unreadable) as caught:
        records.read(path, {"id": str})
    assert caught.value.path == path and "datadream registry check" in str(caught.value)
    assert caught.value.reason.split()[0] in ("is", "holds", "has", "lacks", "can't"), caught.value.reason
    assert state.read_dict(path) is None


def test_a_missing_file_is_no_damage_and_a_missing_field_is(tmp_path: Path) -> None:
    assert records.read(tmp_path / "nothing.json") is None
    assert records.entries(tmp_path / "nothing") == []
    (tmp_path / "a.json").write_text('{"n": 1, "on": true}')
    for shape, words in (
        ({"name": str}, "lacks 'name'"),
        ({"n": str}, "not text"),
        ({"on": int}, "not a whole number"),
    ):
        with pytest.raises(records.Unreadable, match=words):
            records.read(tmp_path / "a.json", shape)
    assert records.read(tmp_path / "a.json", {"n": float, "on": bool}) == {"n": 1, "on": True}
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="can't list the records"):
        records.entries(tmp_path / "file")


def test_a_damaged_record_of_the_user_is_not_written_over(home: Home) -> None:
    """What was in it may still be had by other means; a tag or a run more is no reason to lose it."""
    run, synth = "a" * 16, "b" * 16
    labels.tag(home, run, ["good"])
    marks.mark(home, synth, ["zero/00000.png"])
    made = experiments.add_runs(home, "grid", [run])
    for path, again in (
        (home.label(run), lambda: labels.note(home, run, "x")),
        (home.marks(synth), lambda: marks.mark(home, synth, ["one"])),
        (home.experiment(made.id), lambda: experiments.add_runs(home, "grid", [synth])),
    ):
        path.write_bytes(DEEP)
        with pytest.raises(records.Unreadable):
            again()
        assert path.read_bytes() == DEEP


def test_damaged_settings_of_the_queue_are_told_and_kept_beside(home: Home) -> None:
    queue.write_settings(home, queue.QueueSettings(slots=("cuda:0/0", "cuda:0/1"), paused=True))
    home.queue_settings.write_bytes(bytes(40))
    code, out, _ = call(home.path, "queue", "show")
    assert code == 0 and "queue unusable" in out and "queue.json" in out
    for words in (("pause",), ("set", "--slots", "cpu:0")):
        home.queue_settings.write_bytes(bytes(40))
        code, _, err = call(home.path, "queue", *words)
        assert code == 0 and "kept as queue.json.previous" in err
        assert home.queue_settings.with_name("queue.json.previous").read_bytes() == bytes(40)
    assert queue.look(home)[0].slots == ("cpu:0",)


def test_a_folder_that_can_not_be_looked_into_is_a_problem_and_the_rest_is_listed(victims: Victims) -> None:
    root = victims.home.path
    (root / "labels").rename(root / "away")
    (root / "labels").write_text("no folder")
    (root / "runs").rename(root / "runs.away")
    (root / "runs").symlink_to("runs")
    assert call(root, "registry", "rebuild")[0] == 0
    code, out, err = call(root, "job", "ls", "--json")
    assert code == 0 and json.loads(out) and "can't be read" in err
    code, out, _ = call(root, "registry", "check", "--json")
    assert code == 1 and {"labels", "runs"} <= {entry["path"] for entry in json.loads(out)}
    code, out, err = call(root, "compare")
    assert code == 2 and "can't list the records" in err
    (root / "runs").unlink()
    (root / "runs.away").rename(root / "runs")
    assert victims.spared <= {row["id"] for row in json.loads(call(root, "runs", "ls", "--json")[1])}


def test_events_of_any_shape_are_followed_and_shown(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    from datadream.cli.progress import following
    from datadream.home.events import is_event
    from datadream.home.lines import Tail

    (spec,) = rehearsals(1)
    path = home.path / "events.jsonl"
    odd = [
        *('{"kind": "progress"}', '{"kind": "progress", "done": "x", "total": 1, "unit": "steps"}', '{"kind": 7}'),
        *('{"kind": "metric", "step": "one", "loss": 1}', '{"kind": "metric", "step": 1, "loss": NaN}', "[1]", "{}"),
        *('{"kind": "done"}', '{"kind": "state", "state": "failed"}', "[" * 100_000, '{"kind": "done", "seconds": []}'),
        '{"kind": "progress", "done": 1, "total": 4, "unit": "steps"}',
    ]
    path.write_text("\n".join(odd) + "\n")
    found = list(filter(is_event, Tail(path).records()))
    assert [event["kind"] for event in found] == ["state", "progress"]
    with following({spec.id: "a job"}, quiet=False) as on_event:
        on_event(spec, found[1])
    assert "a job: 1/4 steps" in capsys.readouterr().err
