"""The help of a screen, and docs/tui.md, from the table of actions."""

from __future__ import annotations

from collections.abc import Mapping

from rich.table import Table
from rich.text import Text

from tui.actions import SCREENS, Action, actions, key_names

MOVES = (
    ("arrows j k g G", "move; also page keys and mouse wheel"),
    ("tab shift+tab", "next or previous part of the screen"),
    ("double click", "open"),
)


def help_text(screen: str, keys: Mapping[str, str]) -> Table:
    """A table of this screen's keys, then of those that work everywhere."""
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True, style="bold")
    table.add_column()
    for name in dict.fromkeys((screen, "app")):
        table.add_row(Text(SCREENS[name], "underline"), "")
        for action in actions(name):
            key = key_names(str(keys.get(action.name, action.keys)))
            style = "red" if action.danger else ""
            table.add_row(
                Text(key, style), Text(f"{action.label}: {action.about}{' (asks first)' * action.danger}", style)
            )
    table.add_row(Text("Moving", "underline"), "")
    for key, about in MOVES:
        table.add_row(key, about)
    return table


def document() -> str:
    """docs/tui.md's table of keys."""

    def row(action: Action) -> str:
        keys = " ".join(f"`{key}`" for key in key_names(action.keys).split(" "))
        about = action.about + (" (asks first)" if action.danger else "")
        return f"| {keys} | {action.label} | {about} | `{action.name}` |"

    parts = []
    for name, title in SCREENS.items():
        parts.append(f"## {title}\n\n| key | action | what it does | name |\n| --- | --- | --- | --- |")
        parts[-1] += "\n" + "\n".join(row(action) for action in actions(name))
    return "\n\n".join(parts) + "\n"
