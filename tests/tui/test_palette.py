"""The palette lists every action of every screen, also those whose keys are brackets or slashes."""

from __future__ import annotations

import asyncio
import json
from functools import partial
from pathlib import Path

from textual.command import CommandList, CommandPalette
from textual.content import Content
from textual.fuzzy import Matcher

from tests.tui.looking import looking
from tui.actions import ACTIONS, SCREENS, actions, key_names
from tui.commands import ActionProvider, highlighted


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


def test_results_keep_every_key_upper_case_ones_too() -> None:
    """Whatever is typed, and whatever of it fits."""
    for action in ACTIONS:
        for query in (action.label.lower(), action.label[:3], key_names(action.keys).split()[0]):
            labels = asyncio.run(_labels(query))
            assert f"{action.label}  [{key_names(action.keys)}]" in labels, (action.name, query)


def test_what_fits_is_marked_where_it_stands() -> None:
    found = highlighted(Matcher("ry"), "Retry  [R]")
    assert found.plain == "Retry  [R]"
    assert [found.plain[span.start : span.end] for span in found.spans] == ["r", "y"]


def test_the_palette_of_every_screen_lists_its_actions_and_the_apps(ran: Path) -> None:
    async def walk() -> None:
        async with looking(ran, (80, 24)) as looker:
            for number, action in enumerate(actions("app")[:9], 1):
                await looker.press(str(number))
                await looker.see(SCREENS[action.id])
                mine = actions(action.id)
                await looker.press("colon")
                await looker.see(lambda: isinstance(looker.app.screen, CommandPalette))
                listed = looker.app.screen.query_one(CommandList)
                await looker.see(lambda listed=listed: listed.option_count >= 9)  # type: ignore[misc]
                labels = {str(listed.get_option_at_index(i).prompt) for i in range(listed.option_count)}
                lacking = [a.name for a in (*mine, *actions("app")) if not any(a.label in label for label in labels)]
                assert not lacking, action.id
                await looker.press("escape")

    asyncio.run(walk())


def test_the_palette_names_remapped_keys(ran_copy: Path) -> None:
    (ran_copy / "tui.json").write_text(json.dumps({"keys": {"app.help": "f1"}}))

    async def walk() -> None:
        async with looking(ran_copy) as looker:
            await looker.press("colon")
            await looker.type("help")
            await looker.see("Help  [f1]")

    asyncio.run(walk())
