"""Advice can be followed: every option and command that a message names is one that there is."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import typer

from datadream.cli.main import app
from datadream.errors import UserError
from store import queries
from store.nouns import NOUNS
from store.registry import Registry

ROOT = Path(__file__).parent.parent
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]+")
COMMAND = re.compile(r"`datadream ([a-z][a-z -]*[a-z])")
HELP = {"--help"}
# Modules that one command alone uses, and so whose advice must be about its options.
OF_COMMAND = {
    "datadream/cli/rehearse.py": "rehearse",
    "datadream/cli/worker.py": "worker",
    "datadream/cli/run.py": "run",
}


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """Every text of a call of UserError, f-strings with `{}` for their values, and those given to variables `hint`."""

    def words(node: ast.expr) -> str:
        if isinstance(node, ast.Constant):
            return node.value if isinstance(node.value, str) else ""
        if isinstance(node, ast.JoinedStr):
            return "".join(words(part) if isinstance(part, ast.Constant) else "{}" for part in node.values)
        if isinstance(node, ast.IfExp):
            return f"{words(node.body)} {words(node.orelse)}"
        if isinstance(node, ast.BinOp):
            return words(node.left) + words(node.right)
        return ""

    tree = ast.parse(path.read_text(encoding="utf-8"))
    docstrings = {node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and "UserError" in ast.unparse(node.func):
            for part in [*node.args, *(keyword.value for keyword in node.keywords)]:
                yield node.lineno, words(part)
        if isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            named = [target.id for target in targets if isinstance(target, ast.Name)]
            if named and node.value is not None and ("hint" in named[0] or named[0].isupper()):
                yield node.lineno, words(node.value)
        if isinstance(node, ast.JoinedStr | ast.Constant) and node not in docstrings and COMMAND.search(words(node)):
            yield node.lineno, words(node)


def commands() -> dict[str, click.Command]:
    """Every command by its words."""
    found: dict[str, click.Command] = {}

    def walk(group: click.Command, names: tuple[str, ...]) -> None:
        found[" ".join(names)] = group
        for name, command in getattr(group, "commands", {}).items():
            walk(command, (*names, name))

    walk(typer.main.get_command(app), ())
    return found


COMMANDS = commands()
OPTIONS = {
    name: {opt for param in command.params for opt in (*param.opts, *param.secondary_opts)}
    for name, command in COMMANDS.items()
}
FILES = sorted(path for room in ("datadream", "store", "tui") for path in (ROOT / room).rglob("*.py"))
ADVICE = [(path.relative_to(ROOT).as_posix(), line, text) for path in FILES for line, text in texts(path) if text]


def test_there_is_advice_to_look_at() -> None:
    assert len([text for _, _, text in ADVICE if OPTION.search(text)]) > 20
    assert len([text for _, _, text in ADVICE if COMMAND.search(text)]) > 10


def test_every_option_that_a_message_names_is_one() -> None:
    known = set().union(*OPTIONS.values()) | HELP
    for path, line, text in ADVICE:
        assert set(OPTION.findall(text)) <= known, f"{path}:{line}: {text}"


def test_every_command_that_a_message_names_is_one_and_takes_the_options_named_with_it() -> None:
    for path, line, text in ADVICE:
        for quoted in re.findall(r"`datadream ([^`]*)`", text):
            words = quoted.split()
            if words[0] == "{}":  # a noun: the next test
                continue
            named = max(
                (" ".join(words[:n]) for n in range(1, len(words) + 1) if " ".join(words[:n]) in COMMANDS),
                key=len,
                default="",
            )
            assert named, f"{path}:{line}: {text}"
            assert set(OPTION.findall(quoted)) <= OPTIONS[named] | HELP, f"{path}:{line}: {text}"


@pytest.mark.parametrize("noun", NOUNS)
def test_an_unknown_id_names_the_list_to_look_in(noun: str, tmp_path: Path) -> None:
    registry = Registry.open(tmp_path / "registry.db", tmp_path / "lock")
    with pytest.raises(UserError) as caught:
        queries.resolve(registry, "ffff", [noun])
    registry.close()
    assert COMMAND.findall(str(caught.value))[0] in COMMANDS


@pytest.mark.parametrize(("place", "command"), OF_COMMAND.items())
def test_advice_of_a_command_is_about_its_own_options(place: str, command: str) -> None:
    for path, line, text in ADVICE:
        if path == place:
            bare = re.sub(r"`[^`]*`", "", text)
            assert set(OPTION.findall(bare)) <= OPTIONS[command] | HELP, f"{path}:{line}: {text}"
