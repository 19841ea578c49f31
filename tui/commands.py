"""The command palette: every action of this screen and of the app, by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import cast

from textual.command import DiscoveryHit, Hit, Hits, Provider
from textual.content import Content
from textual.fuzzy import Matcher
from textual.markup import escape

from tui.actions import Action, actions, key_names
from tui.base import HomeScreen
from tui.desk import desk_of


class ActionProvider(Provider):
    """Searches the table of actions."""

    def _found(self) -> list[tuple[str, str, Callable[[], None]]]:
        app = desk_of(self.app)
        screen = self.screen
        mine = actions(screen.KEY) if isinstance(screen, HomeScreen) else ()
        remapped = app.prefs.get("keys", {})

        def run(action: Action) -> None:
            target = app if action.screen == "app" else screen
            cast("HomeScreen", target).action_do(action.id)

        def keys(action: Action) -> str:
            return key_names(str(remapped.get(action.name, action.keys)))

        return [
            (f"{action.label}  [{keys(action)}]", action.about, partial(run, action))
            for action in (*mine, *actions("app"))
        ]

    async def discover(self) -> Hits:
        """Everything, before a letter is typed."""
        for label, about, run in self._found():
            yield DiscoveryHit(Content(label), run, text=label, help=escape(about))

    async def search(self, query: str) -> Hits:
        """What fits the letters."""
        matcher = self.matcher(query)
        for label, about, run in self._found():
            score = max(matcher.match(label), matcher.match(about))
            if score > 0:
                yield Hit(score, highlighted(matcher, label), run, text=label, help=escape(about))


def highlighted(matcher: Matcher, label: str) -> Content:
    """What fits the letters, marked. The matcher's own way reads `[R]` as markup, and it is gone."""
    content = Content(label)
    score, offsets = matcher.fuzzy_search.match(matcher.query, label)
    for offset in offsets if score else ():
        if not label[offset].isspace():
            content = content.stylize(matcher.match_style, offset, offset + 1)
    return content
