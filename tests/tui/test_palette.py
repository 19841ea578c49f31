"""The palette lists every action of every screen, also those whose keys are brackets or slashes."""

from __future__ import annotations

import asyncio
from functools import partial

from textual.content import Content
from textual.fuzzy import Matcher

from tui.actions import ACTIONS, key_names
from tui.commands import ActionProvider


class Listed(ActionProvider):
    """With the actions of all screens."""

    def __init__(self) -> None:
        pass

    def _found(self) -> list[tuple[str, str, partial[None]]]:  # type: ignore[override]
        return [(f"{a.label}  [{key_names(a.keys)}]", a.about, partial(print)) for a in ACTIONS]

    def matcher(self, user_input: str, case_sensitive: bool = False) -> Matcher:
        """Without an app."""
        return Matcher(user_input, case_sensitive=case_sensitive)


async def _labels(query: str) -> list[str]:
    hits = Listed().search(query) if query else Listed().discover()
    labels = []
    async for hit in hits:
        assert Content.from_markup(hit.help or "").plain
        labels.append(str(hit.prompt))
    return labels


def test_keys_that_are_brackets_are_no_markup() -> None:
    for query in ("", "e"):
        labels = asyncio.run(_labels(query))
        assert {"Filter  [/]", "Next class  []]"} <= set(labels)
