"""A log of any size: what is shown of it, how it is counted, and what happens to its file."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datadream.errors import UserError
from datadream.home.events import in_words, line_in_words
from tui.services import log_index
from tui.services.log_index import Found, LogFile, last_lines
from tui.services.log_text import CUT, Wanted, check_pattern, clean, level_of, line_shown, spans

# What a line looks like


def test_a_line_is_what_a_terminal_would_have_left() -> None:
    data = b"\x1b[31mred\x1b[0m\n10%\r20%\r99%|##\nends with return\r\n\x1b]0;title\x07after a title\ntorn \xe2\x82"
    assert clean(data) == ["red", "99%|##", "ends with return", "after a title", "torn �"]


def test_a_shown_line_has_no_controls_and_says_what_is_cut() -> None:
    assert line_shown("bell\x07 and \u202eturned") == "bell\\x07 and \\u202eturned"
    assert line_shown("a\tb") == "a       b"
    long = line_shown("x" * (CUT + 234))
    assert long == "x" * CUT + " [+234 characters]"


def test_levels_are_told_from_the_words_of_a_line() -> None:
    lines = ["step 1", "UserWarning: old", "ERROR boom", "Traceback (most recent call last):", "WARN slow"]
    assert [level_of(line) for line in lines] == ["all", "warnings", "errors", "errors", "warnings"]
    assert Wanted("warnings").numbers(lines) == [1, 2, 3, 4]
    assert Wanted("errors").numbers(lines) == [2, 3]
    assert Wanted("warnings", "OLD").numbers(lines) == [1]
    assert Wanted("all", r"re:^step \d$").numbers(lines) == [0]
    assert spans("Boom boom", Wanted("all", "boom")) == [(0, 4), (5, 9)]


@given(
    st.lists(st.text("abEr ro\u0130", max_size=12), max_size=12), st.sampled_from(["", "r", "er", "re:a.*b", "\u0130"])
)
def test_many_lines_at_once_are_judged_as_each_alone(lines: list[str], pattern: str) -> None:
    for level in ("all", "warnings"):
        wanted = Wanted(level, pattern)
        assert wanted.numbers(lines) == [number for number, line in enumerate(lines) if wanted.numbers([line])]


def test_a_regex_that_is_none_or_could_take_for_ever_is_refused() -> None:
    for pattern in ("re:(", "re:(a+)+$", "re:(?:a|ab)*c", "re:(\\d+,)+"):
        with pytest.raises(UserError):
            check_pattern(pattern)
    for pattern in ("(", "re:loss=.*[0-9]+$", "re:(warn|error)", "re:a{2,5}"):
        check_pattern(pattern)


def test_events_are_told_in_words() -> None:
    event = {"at": "2026-11-25T05:45:34.9+00:00", "kind": "metric", "loss": 0.5, "step": 4, "seq": 2, "attempt": 1}
    assert in_words(event) == "2026-11-25T05:45:34 metric loss=0.5 step=4"
    assert line_in_words('{"kind": "done"}') == " done"
    assert line_in_words('{"kind": "to') == '{"kind": "to'


# The index

PIECES = st.lists(
    st.sampled_from([b"\n", b"\n\n", b"ab", b"error ", b"warn", b"\r", b"\r\n", b"\xff", b"x\n", b"\x1b[1m"]),
    max_size=120,
)


@settings(max_examples=150, deadline=None)
@given(PIECES, st.integers(0, 300), st.sampled_from([7, 16, 64, 1000]), st.integers(0, 6))
def test_counted_from_the_end_and_grown_equals_pythons_own_lines(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[bytes], cut: int, block: int, steps: int
) -> None:
    text, path = b"".join(pieces), tmp_path_factory.mktemp("log") / "log.txt"
    before, log_index.BLOCK = log_index.BLOCK, block
    try:
        path.write_bytes(text[:cut])
        file = LogFile(path)
        assert file.open()
        indexes = [
            Found(file, w) for w in (Wanted(), Wanted("errors"), Wanted("warnings", "b"), Wanted("all", "re:^a"))
        ]
        for index in indexes:
            for _ in range(steps):
                index.step()
        with path.open("ab") as log:
            log.write(text[cut:])
        assert file.look() == ("grown" if len(text) > cut else "")
        lines = text.split(b"\n")
        plain = [clean(line)[0] for line in (lines if lines[-1] else lines[:-1])]
        for index in indexes:
            while index.seen < file.size:
                index.grow()
            index.grow()
            while not index.complete:
                index.step()
            expected = [plain[number] for number in index.wanted.numbers(plain)]
            rows = index.rows(0, 10**6)
            assert [file.line(*row) for row in rows] == expected
            assert index.total == len(expected)
            assert [index.row_at(end) for _, end in rows] == list(range(len(rows)))
            assert [file.line(*row) for row in index.rows(2, 2)] == expected[2:4]
    finally:
        log_index.BLOCK = before
        file.close()


def test_the_end_of_a_large_log_is_there_at_once_and_its_index_is_small(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    with path.open("wb") as log:
        log.truncate(200 << 20)  # 200 MB of nothing, then words
        log.seek(0, 2)
        log.write(b"\n" + b"".join(b"line %d\n" % i for i in range(1000)))
    file = LogFile(path)
    file.open()
    found = Found(file)
    found.step()
    assert [file.line(*row) for row in found.rows(found.total - 2, 2)] == ["line 998", "line 999"]
    assert file.reads < 20
    while not found.complete:
        found.step()
    assert found.total == 1001
    assert found.size < 1 << 20
    assert len(file.line(*found.rows(0, 1)[0])) <= log_index.LONG
    file.close()


def test_the_last_lines_of_a_torn_log_and_of_none(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    assert last_lines(path, 5) == ()
    path.write_bytes(b"one\ntwo\n1%\r2%\nthree")
    assert last_lines(path, 3) == ("two", "2%", "three")


def test_a_file_that_was_cut_replaced_or_removed_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    path.write_text("one\ntwo\n")
    file = LogFile(path)
    file.open()
    path.write_text("1\n")
    assert file.look() == "cut"
    file.open()
    path.write_text("another, longer beginning\n")  # cut and grown past its old size between two looks
    assert file.look() == "cut"
    file.open()
    path.rename(tmp_path / "log.1")
    assert file.look() == "gone"
    path.write_text("new\n")
    assert file.look() == "replaced"
    file.close()
