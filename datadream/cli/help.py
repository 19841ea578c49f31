"""Help texts are text. Typer takes them for Rich's markup, which swallows what stands in brackets."""

from __future__ import annotations

from functools import partial
from typing import Any

from rich.markup import escape


def as_written(command: Any) -> Any:
    """`command`, and all below it, with help that shows what is written in it: brackets, and long words whole.

    For a command that was made for this one call.
    """
    command.format_help = partial(_format, command, command.format_help)
    for below in getattr(command, "commands", {}).values():
        as_written(below)
    return command


def _format(command: Any, shown: Any, context: Any, formatter: Any) -> None:
    from typer import rich_utils

    for thing in (command, *command.params, *getattr(command, "commands", {}).values()):
        for name in ("help", "short_help", "epilog"):
            if text := getattr(thing, name, None):
                setattr(thing, name, escape(text))
    rich_utils.highlighter = partial(_folded, rich_utils.highlighter)  # type: ignore[assignment]
    shown(context, formatter)


def _folded(highlight: Any, text: Any) -> Any:
    """Rich cuts a word that is wider than its column, unless it is told to break it."""
    found = highlight(text)
    found.overflow = "fold"
    return found
