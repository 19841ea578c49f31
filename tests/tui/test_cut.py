"""What doesn't fit ends in an ellipsis; a number is whole or not there; ids and numbers of a table are never cut."""

from __future__ import annotations

import asyncio
import re

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.text import Text

from tests.tui.test_table import HEIGHT, Tables
from tui.clip import clip, clip_text
from tui.drawing import glyphs
from tui.drawing.table_lines import titles
from tui.services.snapshot import LiveJob
from tui.widgets.cards import progress
from tui.widgets.grid import _left, _right
from tui.widgets.table_columns import column

NUMBER = re.compile(r"[0-9][0-9.,]*")
WIDE = ["日本語のクラス", "éàü", "e\u0301a\u0301n\u0303", "👩‍🔬 lab", "한국어", "plain", "digits-4shot-seed12345"]
WORDS = st.lists(
    st.one_of(st.sampled_from(WIDE), st.integers(0, 2**63 - 1).map(str), st.sampled_from(["n=3", "seeds 5,10", "·"])),
    min_size=1,
    max_size=6,
).map(" ".join)


@given(WORDS, st.integers(0, 60), st.booleans())
@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
def test_a_clipped_text_fits_says_so_and_holds_no_half_number(text: str, width: int, styled: bool) -> None:
    found = clip_text(Text(text, "bold"), width).plain if styled else clip(text, width)
    assert cell_len(found) <= max(width, 0)
    if cell_len(text) <= width:
        assert found == text
        return
    assert width < 1 or found.endswith(glyphs.ELLIPSIS)
    kept = found.removesuffix(glyphs.ELLIPSIS)
    assert text.startswith(kept)
    assert [n.rstrip(".,") for n in NUMBER.findall(kept)] == [
        n.rstrip(".,") for n in NUMBER.findall(text)[: len(NUMBER.findall(kept))]
    ]
    rest = text[len(kept) :]
    assert not rest or cell_len(rest[0]) > 0 or not kept  # an accent stays with its letter


def test_the_note_of_a_cell_never_names_another_seed() -> None:
    cell = "90.1 [87.7, 92.1] * n=1 · lacks seeds 5,10"
    for width in range(len(cell)):
        found = _right(cell, width)
        assert cell_len(found) == width
        assert "5,1" not in found.removesuffix(glyphs.ELLIPSIS) and not re.search(r"n=\s*$", found)
        assert not found.strip() or found.endswith(glyphs.ELLIPSIS)
    assert _left("method data", 6) == "metho…"


def test_a_table_shows_every_digit_of_a_number_and_cuts_names_with_an_ellipsis() -> None:
    names = ("id", "method", "shots", "seed", "accuracy", "tags", "num_classes", "state")
    rows = {
        f"{i:016x}": {
            "id": f"{i:016x}", "method": method, "shots": 1234567, "seed": 2**63 - 1 - i, "accuracy": 100.0,
            "tags": [method, "sehr lang" * 5], "num_classes": 21841, "state": "cancelling",
        }
        for i, method in enumerate([*WIDE, "x" * 40])
    }  # fmt: skip

    async def go(width: int) -> None:
        app = Tables(rows, [column(name) for name in names])  # type: ignore[arg-type]
        async with app.run_test(size=(width, HEIGHT)) as pilot:
            app.table.set_ids(list(rows))
            await pilot.pause()
            await pilot.pause()
            seen = list(app.lines())
            for _ in names:
                await pilot.press("right")
                seen += app.lines()
            told = "\n".join(seen)
            for row in rows.values():
                for word in (str(row["id"])[:8], str(row["seed"]), "1234567", "100.00", "21841", "◐ cancelling"):
                    assert word in told, (width, word)
            digits = set(re.findall(r"\d{12,}", told))
            assert digits <= {str(row["seed"]) for row in rows.values()}
            assert "…" in told and all(cell_len(line) <= width for line in seen)
            assert "日本語" in told

    for width in (44, 70, 80, 120, 200):
        asyncio.run(go(width))


def test_the_title_that_sorts_is_whole_where_the_arrow_has_no_room() -> None:
    (columns,) = ([column("shots")],)
    assert titles(columns, [5], "-shots") == ["shots"]
    assert titles(columns, [6], "-shots") == [f"shots{glyphs.DOWN}"]
    assert titles(columns, [7], "shots") == [f"shots {glyphs.UP}"]


def test_a_card_shows_no_half_number() -> None:
    job = LiveJob("a" * 16, "generate", "running", "", "t", done=12345, total=67890, unit="images", rate=2.5, eta=61.0)
    whole = set(NUMBER.findall(progress(job, 200).plain))
    for width in range(4, 120):
        found = progress(job, width).plain
        assert cell_len(found) <= width and set(NUMBER.findall(found)) <= whole
