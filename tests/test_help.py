"""Help shows what is written in it: each text of each command, its brackets among it, at any width."""

from __future__ import annotations

import ast
import io
import re
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest
import typer

from datadream.cli import main as entry

CLI = Path(entry.__file__).parent


def commands(command: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command with the words that call it."""
    yield words, command
    for name, below in getattr(command, "commands", {}).items():
        yield from commands(below, (*words, name))


ALL = dict(commands(typer.main.get_command(entry.app)))


def help_of(words: tuple[str, ...], width: int, monkeypatch: pytest.MonkeyPatch) -> str:
    """What `--help` prints, in one line, without frames."""
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setattr(sys, "argv", ["datadream", *words, "--help"])
    said = io.StringIO()
    with redirect_stdout(said), pytest.raises(SystemExit) as end:
        entry.main()
    assert not end.value.code
    return one_line(re.sub("[│╭╮╰╯─]", " ", said.getvalue()))


def one_line(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize("words", ALL, ids=lambda words: " ".join(words) or "datadream")
def test_every_text_is_shown_as_written(words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    command = ALL[words]
    shown = help_of(words, 400, monkeypatch)
    texts = [command.help or "", command.epilog or ""]
    texts += [getattr(each, "help", None) or "" for each in command.params if not getattr(each, "hidden", False)]
    texts += [below.help or "" for below in getattr(command, "commands", {}).values() if not below.hidden]
    for text in texts:
        assert one_line(text.split("\n\n")[0]) in shown


def test_the_brackets_of_the_source_are_in_the_help(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also those of a text that no option is made of any more would be missed here."""
    shown = " ".join(help_of(words, 400, monkeypatch) for words in ALL)
    written = set()
    for path in CLI.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.keyword) and node.arg in ("help", "epilog", "metavar"):
                values = [part.value for part in ast.walk(node.value) if isinstance(part, ast.Constant)]
                written |= {part for text in values for part in re.findall(r"\S*\[[^\]]*\]", str(text))}
    assert {"[default: $DATADREAM_HOME or ~/.local/share/datadream]", "datadream[cluster]", "[ID...]"} <= written
    assert not [part for part in written if one_line(part) not in shown]


@pytest.mark.parametrize("width", [60, 80, 120])
def test_no_word_is_cut_however_narrow_the_terminal(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for words in (("run",), ("rehearse",), ("job", "ls"), ("compare",)):
        shown = help_of(words, width, monkeypatch)
        assert "…" not in shown
        joined = shown.replace(" ", "")
        assert "[default:$DATADREAM_HOMEor~/.local/share/datadream]" in joined
        assert words not in (("run",), ("rehearse",)) or "datadream[cluster]" in joined


def test_help_is_the_same_the_second_time(monkeypatch: pytest.MonkeyPatch) -> None:
    assert help_of(("run",), 100, monkeypatch) == help_of(("run",), 100, monkeypatch)
