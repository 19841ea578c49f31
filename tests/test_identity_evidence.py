"""A number is shown when its record, its manifest, its files and its set agree; else the run is left out, by name."""

from __future__ import annotations

import csv
import io
import itertools
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from datadream import durable
from datadream.canonical import digest, sha256_file
from datadream.cli.main import app
from datadream.errors import UserError
from datadream.home import artifacts, evidence
from datadream.home.layout import Home, open_home
from datadream.home.runs import read_records
from datadream.report.collect import collect
from datadream.report.runs_diff import two_runs
from store import check, index, queries
from store.registry import Registry
from store.where import parse_where
from tests.homes import unpack

ARCHIVE = (
    Path(__file__).parent / "tui" / "data" / "home.tar.xz"
)  # made by the first version: its manifests have no digest


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpack(ARCHIVE, open_home(tmp_path_factory.mktemp("evidence") / "home").path)


@pytest.fixture
def old(unpacked: Path, tmp_path: Path) -> Home:
    """A home of the first version, with eight runs."""
    return Home(Path(shutil.copytree(unpacked, tmp_path / "old")))


def of(home: Home, method: str, data: str) -> dict[str, Any]:
    return next(record for record in read_records(home) if (record["method"], record["data"]) == (method, data))


def collected(home: Home) -> tuple[set[str], list[str]]:
    found = collect(home)
    return {run.what.id for run in found.runs}, found.notes


def rewrite(path: Path, change: Callable[[Any], None]) -> None:
    """Change a JSON file in place, as an editor does."""
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content, sort_keys=True, indent=2) + "\n", encoding="utf-8")


def all_right(path: Path, by_label: bool = False) -> None:
    """Make a predictions.csv say that every answer was right: by its answers, or by its labels."""
    rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))
    out = io.StringIO()
    writer = csv.DictWriter(out, rows[0].keys(), lineterminator="\n")
    writer.writeheader()
    for row in rows:
        row["label" if by_label else "prediction"] = row["prediction" if by_label else "label"]
        writer.writerow(row)
    path.write_text(out.getvalue(), encoding="utf-8")


def fix_manifest(folder: Path, content: bool) -> None:
    """Write the files' hashes anew into the manifest, as who wants to be believed does; its own digest too?"""

    def change(manifest: Any) -> None:
        for name in evidence.FILES:
            manifest["files"][name] = {"sha256": sha256_file(folder / name), "size": (folder / name).stat().st_size}
        if content:
            manifest["content"] = artifacts.content_of(manifest["files"])

    rewrite(folder / "manifest.json", change)


def predictions(folder: Path) -> None:
    all_right(folder / "predictions.csv")


def predictions_and_hashes(folder: Path) -> None:
    predictions(folder)
    fix_manifest(folder, content=False)


def predictions_and_all_hashes(folder: Path) -> None:
    predictions(folder)
    fix_manifest(folder, content=True)


def labels_and_all_hashes(folder: Path) -> None:
    all_right(folder / "predictions.csv", by_label=True)
    rewrite(folder / "scores.json", lambda scores: scores.update(correct=scores["n"]))
    fix_manifest(folder, content=True)


def scores(folder: Path) -> None:
    rewrite(folder / "scores.json", lambda found: found.update(correct=found["n"]))


def scores_and_all_hashes(folder: Path) -> None:
    scores(folder)
    fix_manifest(folder, content=True)


def half_of_the_images(folder: Path) -> None:
    lines = (folder / "predictions.csv").read_text().splitlines(keepends=True)
    (folder / "predictions.csv").write_text("".join(lines[: len(lines) // 2]))
    fix_manifest(folder, content=True)


def gone(folder: Path) -> None:
    (folder / "predictions.csv").unlink()


def another_spec(folder: Path) -> None:
    rewrite(folder / "manifest.json", lambda manifest: manifest["spec"]["settings"].update(learning_rate=1.0))


def another_kind(folder: Path) -> None:
    rewrite(folder / "manifest.json", lambda manifest: manifest.update(kind="adapter"))


TAMPERED = [
    *(predictions, predictions_and_hashes, predictions_and_all_hashes, labels_and_all_hashes, scores),
    *(scores_and_all_hashes, half_of_the_images, gone, another_spec, another_kind),
]


def test_a_home_of_the_first_version_verifies(old: Home) -> None:
    found, said = collected(old)
    assert (len(found), said) == (8, [])
    registry = index.open_registry(old)
    assert queries.problems(registry) == []
    registry.close()


@pytest.mark.parametrize("tamper", TAMPERED, ids=lambda tamper: tamper.__name__)
def test_a_classifier_that_was_tampered_with_costs_its_own_run_alone(
    tamper: Callable[[Path], None], old: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(durable, "RACY_NS", 0)
    record = of(old, "name-only", "synth")
    folder = old.artifact("classifier", record["jobs"]["classify"])
    registry = index.open_registry(old)
    whole, _ = collected(old)
    kept = Path(shutil.copytree(folder, old.path / "kept"))
    tamper(folder)
    found, said = collected(old)
    assert whole - found == {record["id"]}
    assert len(said) == 1
    assert said[0].startswith(f"Excluded: run {record['id'][:8]} (name-only synth): ")
    assert "\n" not in said[0]
    with pytest.raises(UserError):
        two_runs(old, record["id"], of(old, "zero-shot", "none")["id"])
    index.recheck(old, registry)
    assert shown(registry) == whole - {record["id"]}
    assert told(registry) == {record["id"]: "name-only synth"}
    assert [finding for finding in check.check(old, registry) if folder.name in finding.path]
    fresh = index.rebuild(old)
    assert shown(fresh) == whole - {record["id"]}
    fresh.close()
    for path in kept.iterdir():
        shutil.copyfile(path, folder / path.name)
    registry = index.open_registry(old)
    assert (collected(old), shown(registry)) == ((whole, []), whole)
    registry.close()


def shown(registry: Registry) -> set[str]:
    """The runs that the app's table and its exports are made of."""
    return {str(run["id"]) for run in queries.comparison(registry)}


def told(registry: Registry, where: str = "") -> dict[str, str]:
    """The runs that the app names as left out, as far as it knows them."""
    return {run_id: name for run_id, name, _ in queries.refused(registry, parse_where(where))}


FORGED = {
    "method": lambda record, other: record.update(method="datadream-cls"),
    "recipe's name": lambda record, other: record["recipe"].update(name="datadream-cls"),
    "method and recipe's name": lambda record, other: (
        record.update(method="datadream-cls"),
        record["recipe"].update(name="datadream-cls"),
    ),
    "classifier": lambda record, other: record["jobs"].update(classify=other["jobs"]["classify"]),
    "settings": lambda record, other: record.update(settings="generate.guidance_scale=9"),
    "overrides": lambda record, other: record["recipe"].update(overrides={"generate.guidance_scale": 9}),
    "data": lambda record, other: record.update(data="real"),
    "id": lambda record, other: record.update(id=other["id"]),
    "seed": lambda record, other: record.update(seed=7),
    "shots": lambda record, other: record.update(shots=16),
    "split seed": lambda record, other: record.update(split_seed=3),
    "set": lambda record, other: record.update(set="0" * 16),
    "synthetic set": lambda record, other: record["jobs"].update(generate="0" * 16),
    "no synthetic set": lambda record, other: record["jobs"].pop("generate"),
    "a setting": lambda record, other: record["recipe"]["classify"].update(learning_rate=1.0),
    "no jobs": lambda record, other: record.pop("jobs"),
}


@pytest.mark.parametrize("name", FORGED)
def test_a_record_that_was_forged_is_left_out(name: str, old: Home) -> None:
    """Also those of the first version, which have no digest."""
    record, other = of(old, "name-only", "synth"), of(old, "datadream-dset", "real+synth")
    rewrite(old.run(record["id"]), lambda found: FORGED[name](found, other))
    with pytest.raises(UserError, match="the record of run"):
        evidence.check_run(old, {**json.loads(old.run(record["id"]).read_text())})
    registry = index.open_registry(old)
    assert told(registry, "shots=2") == {record["id"]: ""}  # a record like that can't say which runs it belongs to
    registry.close()
    for options in (
        [],
        ["--set", str(other["set"])],
        ["--where", "shots=2"],
        ["--where", "shots=2", "--format", "csv"],
    ):
        result = CliRunner().invoke(app, ["compare", *options, "--home", str(old.path)])
        assert result.output.count("xcluded: ") == 1, (options, result.output)


def test_the_app_tells_what_it_leaves_out_and_why(old: Home) -> None:
    from tui.screens.compare.read import read_table
    from tui.services.data import Data

    record = of(old, "name-only", "synth")
    labels_and_all_hashes(old.artifact("classifier", record["jobs"]["classify"]))
    old.run(of(old, "zero-shot", "none")["id"]).write_bytes(b"\0" * 900)
    index.open_registry(old).close()
    data = Data(old)
    notes = [note for note in read_table(data, f"shots={record['shots']}").notes if note.startswith("Excluded: ")]
    others = [note for note in read_table(data, "shots=99").notes if note.startswith("Excluded: ")]
    data.close()
    assert (len(notes), len(others)) == (2, 1)  # a record of nothing can't say that it isn't meant
    assert any(record["id"][:8] in note and "(name-only synth): " in note for note in notes), notes
    assert len(collect(old).notes) == 2


@pytest.mark.parametrize("name", ["backbone", "source", "created"])
def test_a_new_record_binds_its_labels_too(name: str, old: Home) -> None:
    record = evidence.sealed(of(old, "name-only", "synth"))
    evidence.check_run(old, record)
    record[name] = "x"
    with pytest.raises(UserError, match="does not match its id"):
        evidence.check_run(old, record)


def test_no_file_of_a_run_can_be_another_runs(old: Home) -> None:
    records = read_records(old)[:3]
    for one, other in itertools.pairwise(records):
        target = old.artifact("classifier", one["jobs"]["classify"])
        kept = Path(shutil.copytree(target, old.path / "kept"))
        shutil.rmtree(target)
        shutil.copytree(old.artifact("classifier", other["jobs"]["classify"]), target)
        with pytest.raises(UserError, match="belongs to another artifact"):
            evidence.check_run(old, one)
        shutil.rmtree(target)
        kept.rename(target)


def test_what_is_right_is_for_the_set_to_say(old: Home) -> None:
    """A set whose labels were changed is no set any more, and a manifest can't change that."""
    record = of(old, "zero-shot", "none")
    folder = old.artifact("set", record["set"])
    rewrite(folder / "set.json", lambda found: found["test"][0].update(label=(found["test"][0]["label"] + 1) % 10))
    entry = {"sha256": sha256_file(folder / "set.json"), "size": (folder / "set.json").stat().st_size}

    def change(manifest: Any) -> None:
        manifest["files"]["set.json"] = entry
        manifest["content"] = artifacts.content_of(manifest["files"])

    rewrite(folder / "manifest.json", change)
    with pytest.raises(UserError, match="its hash is not its id"):
        evidence.check_run(old, record)
    registry = index.open_registry(old)
    assert shown(registry) == set()
    registry.close()


def test_a_manifest_of_this_version_can_not_be_changed_at_all(home: Home) -> None:
    from tests.runners import rehearsals

    (spec,) = rehearsals(1)
    durable.write_bytes(durable.make_dir(home.staging("rehearsal", spec.id)) / "x", b"y")
    artifacts.publish(home, "rehearsal", spec.id, spec.model_dump(mode="json"), {"seconds": 1.0, "device": "cpu"})
    path = home.artifact("rehearsal", spec.id) / "manifest.json"
    whole = path.read_text()

    def leaves(value: Any, way: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
        if isinstance(value, dict):
            return [leaf for key in value for leaf in leaves(value[key], (*way, key))]
        return [way]

    ways = leaves(json.loads(whole))
    assert ("origin", "device") in ways
    for way in ways:
        content = json.loads(whole)
        inner = content
        for key in way[:-1]:
            inner = inner[key]
        inner[way[-1]] = "changed" if inner[way[-1]] != "changed" else 0
        path.write_text(json.dumps(content))
        with pytest.raises(UserError, match="the manifest of the rehearsal"):
            artifacts.read_manifest(home, "rehearsal", spec.id)
    path.write_text(whole)
    artifacts.open_artifact(home, "rehearsal", spec.id)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    value=st.recursive(
        st.none() | st.integers() | st.text(max_size=5),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=8), inner),
        max_leaves=8,
    )
)
def test_whatever_stands_in_a_record_is_a_sentence(value: Any, unpacked: Path) -> None:
    for record in (value, {"recipe": value, "jobs": value}, {**read_records(Home(unpacked))[0], "jobs": value}):
        with pytest.raises(UserError, match="the record of run"):
            evidence.check_record(record, "0" * 16)
        assert artifacts.what_is_wrong(record, "classifier", "0" * 16)


def test_unchanged_evidence_is_not_read_again(old: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    from datadream import canonical

    old_time = 1_700_000_000
    for path in old.path.rglob("*"):
        if path.is_file():
            os.utime(path, (old_time, old_time))
    monkeypatch.setattr(canonical, "FRESH_NS", 0)
    hashed: list[Path] = []
    monkeypatch.setattr(canonical, "sha256_file", lambda path: hashed.append(path) or sha256_file(path))
    collect(old)
    first = len(hashed)
    assert first >= 16
    collect(old)
    assert len(hashed) == first
    record = of(old, "zero-shot", "none")
    path = old.artifact("classifier", record["jobs"]["classify"]) / "scores.json"
    path.write_bytes(path.read_bytes().replace(b"test", b"tesl"))
    os.utime(path, (old_time, old_time))  # neither time nor size tells
    assert record["id"] not in collected(old)[0]


def test_asking_again_writes_a_damaged_record_anew(old: Home) -> None:
    from datadream.home.runs import record as write_record
    from datadream.plans import ask
    from datadream.plans.request import Request

    request = Request(("zero-shot",), sets=(of(old, "zero-shot", "none")["set"],))
    (run,) = ask.plan(old, request).runs
    write_record(old, run)
    before = old.run(run.id).read_text()
    write_record(old, run)
    assert old.run(run.id).read_text() == before
    old.run(run.id).write_text(before.replace('"none"', '"real"'))
    write_record(old, run)
    assert json.loads(old.run(run.id).read_text())["data"] == "none"
    record = json.loads(old.run(run.id).read_text())
    assert record["digest"] == digest({key: record[key] for key in record if key != "digest"})
