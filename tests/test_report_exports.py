"""Exports are the same bytes each time, hold what the table holds, and can't be broken out of."""

from __future__ import annotations

import csv
import io
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from datadream.report.exports import FORMATS, export
from datadream.report.pivot import Pivot, pivot
from tests.comparing import Made, compared, make_run
from tests.conftest import run_cli

GOLDEN = Path(__file__).parent / "data" / "exports"
NASTY = 'x_1 & <script>alert("1")</script> \\ | * 50%'


def made(source: str = "digits") -> Pivot:
    def of(method: str, data: str, seed: int, correct: str, **more: Any) -> Made:
        return make_run(method, data, seed, correct, source=source, **more)

    recipe = {"generate.images_per_class": "500"}
    return pivot(
        compared(
            [
                of("real-only", "real", 1, "1" * 9 + "0"),
                of("real-only", "real", 5, "1" * 8 + "00"),
                of(
                    "datadream-cls", "real+synth", 1, "1" * 10, settings="adapt.rank=8", recipe=recipe, image_passes=320
                ),
                of("zero-shot", "none", 1, "1" + "0" * 9),
                of("real-only", "real", 1, "1" * 10, shots=8, run_id="eight"),
            ]
        )
    )


@pytest.mark.parametrize("format_", ["csv", "tex", "md", "html"])
def test_exports_are_as_kept(format_: str) -> None:
    path = GOLDEN / f"table.{format_}"
    assert export(made(), format_).decode() == path.read_text(encoding="utf-8")


@pytest.mark.parametrize("format_", FORMATS)
def test_equal_tables_give_equal_bytes(format_: str) -> None:
    assert export(made(), format_) == export(made(), format_)


def test_csv_reads_back() -> None:
    lines = list(csv.DictReader(io.StringIO(export(made(), "csv").decode())))
    assert len(lines) == 3 * 2
    first = next(line for line in lines if line["method"] == "real-only" and line["shots"] == "4")
    assert (float(first["mean"]), first["seeds"], first["lacks"]) == (pytest.approx(0.85), "1 5", "")
    never = next(line for line in lines if line["method"] == "zero-shot" and line["shots"] == "8")
    assert (never["n"], never["mean"], never["lacks"]) == ("0", "", "1")


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.seen.add(tag)
        if tag not in ("meta", "path", "circle", "polyline"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: object) -> None:
        self.seen.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_html_is_well_formed_needs_nothing_and_runs_nothing() -> None:
    text = export(made(NASTY), "html", title=NASTY).decode()
    tags = Tags()
    tags.feed(text)
    assert tags.open == []
    assert "svg" in tags.seen
    assert not tags.seen & {"script", "link", "img", "iframe"}
    assert "http" not in text


def test_latex_escapes_and_balances() -> None:
    text = export(made(NASTY), "tex").decode()
    assert r"x\_1 \& \textless{}script" in text
    assert text.count("{") == text.count("}")
    assert text.count(r"\begin{") == text.count(r"\end{")
    body = text[text.index(r"\midrule") : text.index(r"\bottomrule")].strip().splitlines()[1:]
    assert all(line.endswith(r"\\") and line.count(" & ") == 2 for line in body)


def test_markdown_keeps_its_columns() -> None:
    lines = export(made("a|b"), "md").decode().splitlines()[:5]
    assert {line.replace(r"\|", "").count("|") for line in lines} == {4}


def test_a_picture_is_one() -> None:
    image = Image.open(io.BytesIO(export(made(), "png")))
    assert image.format == "PNG"
    assert image.width > 300


def test_the_command_turns_tables_and_writes_files(ran: Path, tmp_path: Path) -> None:
    turned = run_cli("compare", "--pivot", "data,method", home=ran, COLUMNS="300")
    assert turned.returncode == 0, turned.stderr
    assert "never run" in turned.stdout
    for format_ in ("html", "png", "latex", "csv", "md", "json"):
        path = tmp_path / f"table.{format_}"
        written = run_cli("compare", "--format", format_, "--output", path, home=ran)
        assert written.returncode == 0, written.stderr
        assert path.stat().st_size > 200
    for wrong in (("--format", "png"), ("--pivot", "colour,shots")):
        refused = run_cli("compare", *wrong, home=ran)
        assert refused.returncode == 2
