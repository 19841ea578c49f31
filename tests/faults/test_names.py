"""Hostile names for sets, classes, tags, experiments: kept exactly, shown safely, never a path outside the home."""

from __future__ import annotations

import csv
import json
import os
import re
import unicodedata
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError

from datadream.data.prompts import ClassInfo
from datadream.data.shots import ShotSet
from datadream.errors import UserError
from datadream.home import experiments, labels
from datadream.home.layout import Home, open_home
from datadream.home.sets import add_set, find_set, list_sets
from datadream.text import shown
from tests.conftest import run_cli
from tests.faults.scale import record, scale

HOSTILE = [
    "..", ".", "/x", "a/../../b", "-rf", "--home=/x", "$(touch x)", "`x`", "a\nb", "\x1b[31mred", "\x1b]0;title\x07",
    "a\tb",
    "x" * 300, "ü" * 300, "\u202etxt.exe", "[bold]x[/bold]", "CON", "Case", "case", "e\u0301", "\u00e9", "null\x00byte",
    "' OR 1=1; --", "{}", "%s%n", "a\u2028b", "\ufeff",
]  # fmt: skip
UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u2028\u2029\ud800-\udfff]")


def outside(home: Home) -> list[str]:
    return sorted(path.name for path in home.path.parent.iterdir() if path != home.path)


@pytest.mark.parametrize("name", HOSTILE, ids=lambda name: ascii(name)[:30])
def test_a_set_may_be_called_anything_and_is_found_by_that(name: str, tmp_path: Path, two_shots: ShotSet) -> None:
    home = open_home(tmp_path / "home")
    add_set(home, two_shots, name)
    assert find_set(home, name).name == name
    assert [entry.name for entry in list_sets(home)] == [name]
    assert outside(home) == []
    files = [path for path in home.path.rglob("*") if path.is_file()]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+", path.name) and len(path.name) < 100 for path in files)


@pytest.mark.parametrize("name", ["", " ", "\ud800", "a\udcff"])
def test_what_is_no_name_is_refused_in_a_sentence(name: str, home: Home, two_shots: ShotSet) -> None:
    with pytest.raises(UserError, match="invalid set name"):
        add_set(home, two_shots, name or " ")


def test_twins_in_case_and_composition_stay_apart(home: Home) -> None:
    for word in HOSTILE:
        labels.tag(home, "0" * 16, add=[word])
        experiments.make_experiment(home, word)
    assert set(labels.read_labels(home, "0" * 16).tags) == set(HOSTILE)
    found = {json.loads(path.read_text())["name"] for path in (home.path / "experiments").glob("*.json")}
    assert found == set(HOSTILE)
    assert len({unicodedata.normalize("NFC", word).lower() for word in HOSTILE}) < len(HOSTILE)


@settings(max_examples=scale(100, 3000), suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.text(min_size=1, max_size=50))
@example("\x9b31m")
def test_what_is_shown_steers_nothing(text: str) -> None:
    assert not UNSAFE.search(shown(text))
    if not UNSAFE.search(text) and all(unicodedata.category(c)[0] != "C" for c in text):
        assert shown(text) == text


@settings(max_examples=scale(60, 2000), suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(word=st.text(min_size=1, max_size=80))
def test_any_tag_is_kept_exactly_or_refused(word: str, home: Home) -> None:
    try:
        labels.tag(home, "1" * 16, add=[word])
    except UserError:
        assert not word.strip() or any("\ud800" <= c <= "\udfff" for c in word)
        return
    assert word in labels.read_labels(home, "1" * 16).tags
    labels.tag(home, "1" * 16, remove=[word])


@pytest.mark.parametrize("folder", ["..", ".", "", "/x", "a/b", "../x", "x\0y"])
def test_a_class_is_never_a_path(folder: str) -> None:
    with pytest.raises(ValidationError, match="is not a folder name"):
        ClassInfo(folder=folder, name="x")


def test_hostile_class_folders_run_and_are_shown_safely(tmp_path: Path) -> None:
    """Real folders on disk, through a real run: drawn images lie below the home, labels are kept exactly."""
    names = [
        "-rf",
        "$(touch x)",
        "a\nb",
        "\x1b[31mred",
        "\u202etxt",
        "Case",
        "case",
        "\u00e9",
        "[red]x",
        "x" * 120,
    ]
    root = tmp_path / "pictures"
    for number, name in enumerate(names):
        (root / name).mkdir(parents=True)
        for i in range(10):
            Image.new("RGB", (32, 32), (20 * number % 256, 25 * i, 128)).save(root / name / f"{i}.png")
    with (root / "classes.csv").open("w", newline="", encoding="utf-8") as file:
        twins = ("Case", "case")  # told apart by more than case
        rows_ = [(name, f"twin {names.index(name)}" if name in twins else name) for name in names]
        csv.writer(file).writerows([("folder", "name"), *rows_])
    home = tmp_path / "home"
    made = run_cli("set", "make", root, "--shots", 1, "--name", "\x1b[2Jwiped", home=home)
    assert made.returncode == 0, made.stderr
    shown_ = run_cli("set", "show", "\x1b[2Jwiped", home=home)
    ran = run_cli(
        *("run", "name-only", "--set", "\x1b[2Jwiped", "--data", "synth", "-o", "generate.images_per_class=1"),
        *("-o", "generate.num_inference_steps=1", "-o", "classify.steps=1", "-o", "classify.batch_size=8"),
        home=home,
    )
    assert ran.returncode == 0, ran.stderr
    for text in (made.stdout, made.stderr, shown_.stdout, ran.stdout, ran.stderr):
        assert not UNSAFE.search(text.replace("\n", "")), ascii(text)
    folder = next((home / "artifacts" / "synthetic").glob("[0-9a-f]*"))
    rows = [json.loads(line) for line in (folder / "data" / "train" / "metadata.jsonl").read_text().splitlines()]
    assert len({row["file_name"] for row in rows}) == len(names)
    drawn = {os.fsdecode(path.parent.name) for path in folder.rglob("*.png")}
    assert len(drawn) == len(names)
    assert {row["folder"] for row in rows} == set(names)
    assert not any(map(UNSAFE.search, drawn)), drawn
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home", "pictures"]
    assert not (Path.cwd() / "x").exists()
    record("hostile-names", names=len(HOSTILE), class_folders=len(names), outcome="kept exactly, shown as text")
