"""Pictures hold what they promise, whatever the number of classes, names or images."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFont
from rich.console import Console

from datadream.report.figures import confusion_map, confusion_text, sample_grid, shorten, sparkline

RED = (200, 0, 0)


def colours(image: Image.Image) -> set[tuple[int, ...]]:
    return {tuple(pixel) for pixel in np.asarray(image).reshape(-1, 3)}


def terminal(counts: object, names: list[str]) -> str:
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(confusion_text(counts, names))  # type: ignore[arg-type]
    return console.export_text()


def test_small_images_are_enlarged_without_new_colours() -> None:
    tile = Image.new("RGB", (2, 2), RED)
    tile.putpixel((0, 0), (0, 0, 200))
    sheet = sample_grid([""], [("", [[tile]])], cell=50, per_class=1)
    assert colours(sheet) == {RED, (0, 0, 200), (255, 255, 255)}
    assert int((np.asarray(sheet) == RED).all(axis=2).sum()) == 48 * 48 * 3 // 4


def test_transparent_parts_are_white() -> None:
    sheet = sample_grid([""], [("", [[Image.new("RGBA", (8, 8), (0, 0, 0, 0))]])], per_class=1)
    assert colours(sheet) == {(255, 255, 255)}


def test_a_class_with_fewer_images_leaves_its_place_empty() -> None:
    one = Image.new("RGB", (4, 4), RED)
    full = sample_grid(["a", "b"], [("real", [[one] * 4, [one] * 4])])
    sparse = sample_grid(["a", "b"], [("real", [[one], []])])
    assert sparse.size == full.size
    assert 4 < (np.asarray(full) == RED).all(axis=2).sum() / (np.asarray(sparse) == RED).all(axis=2).sum() < 9


def test_more_than_twenty_classes_show_the_first_twenty_and_a_note() -> None:
    images = [[Image.new("RGB", (4, 4), RED)]] * 21
    twenty = sample_grid(["x"] * 20, [("real", images)], per_class=1)
    more = sample_grid(["x"] * 21, [("real", images)], per_class=1)
    assert more.width == twenty.width
    assert more.height > twenty.height


def test_a_title_wider_than_the_images_is_whole() -> None:
    images = [[Image.new("RGB", (4, 4), RED)]]
    assert sample_grid(["x"], [("a title " * 9, images)], per_class=1).width > 400


def test_long_and_broken_names_fit_their_column() -> None:
    font = ImageFont.load_default(size=14)
    assert shorten("iron", 100, font) == "iron"
    assert shorten("two\nlines", 100, font) == "two lines"
    cut = shorten("a very long class name", 80, font)
    assert cut.endswith("…")
    assert font.getlength(cut) <= 80


@pytest.mark.parametrize("n", [1, 2, 10, 30, 100, 300])
def test_a_confusion_map_is_deep_on_its_diagonal(n: int) -> None:
    sheet = confusion_map(np.eye(n, dtype=np.int64) * 7, [f"class {i}" for i in range(n)])
    assert (8, 48, 107) in colours(sheet)
    assert max(sheet.size) < 1200


def test_a_label_without_images_stays_white() -> None:
    sheet = confusion_map([[5, 0], [0, 0]], ["a", "b"])
    assert sheet.mode == "RGB"


def test_counts_must_match_the_classes() -> None:
    for figure in (confusion_map, confusion_text):
        with pytest.raises(ValueError, match="for 3 classes"):
            figure([[1, 0], [0, 1]], ["a", "b", "c"])


def test_ten_classes_fit_a_terminal_with_every_count() -> None:
    text = terminal(np.arange(100).reshape(10, 10) + 12300, ["a very long class name [b]"] * 10)
    assert all(str(count) in text for count in range(12300, 12400))
    assert max(map(len, text.splitlines())) <= 80


def test_many_classes_list_their_commonest_confusions() -> None:
    counts = np.eye(12, dtype=np.int64) * 50
    counts[3, 4], counts[5, 1] = 9, 2
    lines = [line.split() for line in terminal(counts, [f"c{i}" for i in range(12)]).splitlines()]
    assert ["c3", "c4", "9", "of", "59"] in lines
    assert lines.index(["c3", "c4", "9", "of", "59"]) < lines.index(["c5", "c1", "2", "of", "52"])


def test_a_sparkline_goes_from_lowest_to_highest() -> None:
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7]) == "▁▂▃▄▅▆▇█"
    assert sparkline([0, 0, 7, 7], width=2) == "▁█"
    assert sparkline([5, 5, 5]) == "▁▁▁"
    assert sparkline([]) == sparkline([1], width=0) == ""


def test_a_sparkline_leaves_a_gap_where_a_loss_was_no_number() -> None:
    assert sparkline([1, math.nan, 2, math.inf]) == "▁ █ "


@given(st.lists(st.floats(), max_size=80), st.integers(0, 50))
def test_a_sparkline_is_never_wider_than_asked(values: list[float], width: int) -> None:
    assert len(sparkline(values, width)) == min(width, len(values))
