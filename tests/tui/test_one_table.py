"""The command line, every export and the app show one table: the same rows, numbers, marks and warnings."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from safetensors.torch import load_file, save_file

from datadream import durable
from datadream.canonical import short_id
from datadream.cli.compare import turned_table
from datadream.home.layout import Home, open_home
from datadream.models.presets import HERE
from datadream.plans.request import Request
from datadream.report.assemble import compare_home
from datadream.report.exports import FORMATS, export
from datadream.report.pivot import pivot
from datadream.report.tables import Compared, notes, plain, render, rich_table, top1
from tests.comparing import finish, pictures, planned
from tests.tui.looking import looking
from tui.screens.compare import read
from tui.screens.compare.screen import CompareScreen
from tui.services.data import Data

PIVOT = "method+data,shots"


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home with every trouble: a recipe edited, overrides spelt three ways, unequal compute, two models of one folder
    name, classes renamed, a seed that some lack.
    """
    root = tmp_path_factory.mktemp("mixed")
    home = open_home(root / "home")
    pets = pictures(root / "pets", test=30)
    base = Request(recipes=("real-only",), source=str(pets), shots=(2,), seeds=(1, 5, 10))

    def run(request: Request, wrong: int, passes: int = 640) -> None:
        for at, entry in enumerate(planned(home, request)):
            finish(home, entry, range(at, at + wrong), passes)

    run(base, 12)
    run(replace(base, recipes=("datadream-dset",), data=("synth", "real+synth")), 10)
    run(replace(base, recipes=("zero-shot",), seeds=(1, 5)), 40)
    run(replace(base, recipes=("name-only",), data=("real+synth",)), 25, passes=320)
    recipe = root / "mine.toml"
    for seed, steps in ((1, 40), (5, 80)):
        recipe.write_text(f'extends = "real-only"\n[classify]\nsteps = {steps}\n')
        run(replace(base, recipes=(str(recipe),), seeds=(seed,)), 15)
    spelt = replace(base, recipes=("name-only",), data=("synth",), seeds=(1,))
    (entry,) = planned(home, spelt)
    finish(home, entry, range(20))
    record = json.loads(home.run(entry.id).read_text())
    for typed in (2, 2.0):  # as homes of older versions have them
        label = f"generate.guidance_scale={typed}"
        other = {**record, "id": short_id(["name-only", label, "synth", record["jobs"]["classify"]]), "settings": label}
        other["recipe"] = {**record["recipe"], "overrides": {"generate.guidance_scale": typed}}
        other["created"] = "2026-01-01T00:00:00+00:00"
        for later in ("what", "digest"):
            other.pop(later, None)
        durable.write_json(home.run(other["id"]), other)
    for number, name in enumerate(("runA", "runB")):
        folder = Path(shutil.copytree(HERE / "weights" / "mini" / "clip", root / name / "final"))
        weights = folder / "open_clip_model.safetensors"
        tensors = load_file(weights)
        tensors["text_projection"] = tensors["text_projection"] * (number + 2)
        save_file(tensors, weights)
        run(replace(base, recipes=("zero-shot",), clip=str(folder), seeds=(number + 1,)), 30 + number)
    (pets / "classes.csv").write_text("folder,name\ncat,three\ndog,blue seven\n")
    run(replace(base, recipes=("zero-shot",), seeds=(7, 8)), 35)
    return home


def of_app(home: Home) -> Compared:
    data = Data(home)
    data.sync()
    found = read.read_table(data, "")
    return read.compared(found.rows, [read.read_marks(data, found.rows)], found.notes)


def words(text: str) -> str:
    """Without line breaks, and without what formats escape."""
    for escaped, sign in {r"\textless{}": "<", r"$\pm$": "±", r"$\approx$": "≈", r"\_": "_", r"\%": "%", r"\*": "*",
                          "$-$": "−", "--": "–", r"$\cdot$": "·", "&#x27;": "'", "&quot;": '"', "&gt;": ">",
                          "&amp;": "&", "{}": ""}.items():  # fmt: skip
        text = text.replace(escaped, sign)
    return " ".join(text.split())


def test_the_registry_and_the_folders_give_one_table(mixed: Home) -> None:
    cli, app = compare_home(mixed, split="test"), of_app(mixed)
    assert list(app.rows) == list(cli.rows)
    assert app.judged == cli.judged
    assert notes(app) == notes(cli) and app.against == cli.against
    assert plain(app) == plain(cli)


def test_it_has_the_rows_that_were_run(mixed: Home) -> None:
    table = compare_home(mixed, split="test")
    found = sorted((row.method, row.data, row.settings, row.seeds) for row in table.rows)
    assert found == [
        ("datadream-dset", "real+synth", "", [1, 5, 10]),
        ("datadream-dset", "synth", "", [1, 5, 10]),
        ("mine", "real", "classify.steps=40", [1]),
        ("mine", "real", "classify.steps=80", [5]),
        ("name-only", "real+synth", "", [1, 5, 10]),
        ("name-only", "synth", "", [1]),
        ("real-only", "real", "", [1, 5, 10]),
        ("zero-shot", "none", "", [1]),
        ("zero-shot", "none", "", [1, 5]),
        ("zero-shot", "none", "", [2]),
        ("zero-shot", "none", "", [7, 8]),
    ]
    assert len({row.shown_place for row in table.rows}) == 4


def test_every_format_holds_every_number_mark_and_warning(mixed: Home) -> None:
    table = compare_home(mixed, split="test")
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(rich_table(table))
    texts = {
        "table": words(console.export_text()),
        **{format_: words(render(table, format_)) for format_ in ("md", "latex")},
        **{
            f"pivot {name}": words(turned_table(mixed, None, name, "test", PIVOT).decode())
            for name in ("md", "latex", "html")
        },
    }
    assert any("Unequal compute" in note and "name-only" in note for note in table.warned)
    assert any("no best is marked" in note for note in table.warned)
    for name, text in texts.items():
        for row in table.rows:
            assert top1(row) in text, (name, row.method)
        for note in table.cautions if "html" not in name else table.warned:
            assert words(note) in text, name
        for pair in table.against if name != "table" else []:  # printed under the table
            assert words(pair).rstrip(":") in text, name
    for text in (render(table, "csv"), turned_table(mixed, None, "csv", "test", PIVOT).decode()):
        lines = {line["row"]: line for line in csv.DictReader(io.StringIO(text)) if line["row"]}
        assert set(lines) == {row.id for row in table.rows}
        for row in table.rows:
            line = lines[row.id]
            assert (float(line["mean"]), line["mark"]) == (row.mean, table.judged.marks.get(row.id, ""))
            assert line["differs"] == row.differs
            assert line["unequal_compute"] == str((row.method, row.data) == ("name-only", "real+synth"))
        for pair in table.judged.comparisons:
            assert lines[pair.row.id]["vs_real_only_text"] == pair.text()
            assert float(lines[pair.row.id]["vs_real_only"]) == pair.difference.mean


def test_the_app_shows_and_exports_what_the_command_prints(mixed: Home) -> None:
    table = compare_home(mixed, split="test")

    async def walk() -> None:
        async with looking(mixed, (200, 60)) as looker:
            await looker.press("7")
            screen = looker.app.screen
            assert isinstance(screen, CompareScreen)
            await looker.see(lambda: len(screen._judged) == len(table.rows))
            assert screen._pivot is not None
            assert screen._pivot.notes() == pivot(table).notes()
            assert screen._pivot.judged.marks == table.judged.marks
            for format_ in FORMATS:
                name = "latex" if format_ == "tex" else format_
                assert export(screen._whole(Data(mixed)), format_) == turned_table(mixed, None, name, "test", PIVOT), (
                    name
                )
            await looker.press("v")
            await looker.see("Against real-only, and notes")
            await looker.see("real+synth − real-only, datadream-dset")
            await looker.see("Unequal compute")
            await looker.see("no best is marked")

    asyncio.run(walk())


def test_old_records_keep_their_rows(mixed: Home) -> None:
    """Two of these records are of an older version, and say nothing of what was run: they share the row of the third."""
    (row,) = [row for row in compare_home(mixed).rows if (row.method, row.data) == ("name-only", "synth")]
    assert (row.seeds, row.replaced) == ([1], 0)
