"""A list of the app, read and drawn, and what the registry says it should hold."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from datadream.home.layout import open_home
from store import queries
from store.registry import Registry
from store.where import parse_where
from tests.tui.looking import Looker, looking
from tui.screens.lists.listing import ListScreen

Walk = Callable[[Looker, ListScreen], Awaitable[None]]


@asynccontextmanager
async def listed(home: Path, mode: str, size: tuple[int, int]) -> AsyncIterator[tuple[Looker, ListScreen]]:
    """The list, read and drawn."""
    async with looking(home, size) as looker:
        screen = looker.app.go(mode)
        assert isinstance(screen, ListScreen)
        await looker.see(lambda: screen.is_mounted and screen._seen)
        await looker.see(lambda: all(screen.table.row(row_id) is not None for row_id in screen.table.near()))
        await looker.pilot.pause()
        yield looker, screen


def walk(home: Path, mode: str, size: tuple[int, int], steps: Walk) -> None:
    async def go() -> None:
        async with listed(home, mode, size) as (looker, screen):
            await steps(looker, screen)

    asyncio.run(go())


def registry_of(home: Path) -> Registry:
    opened = open_home(home)
    return Registry.open(opened.registry, opened.registry_lock)


def keys(home: Path, noun: str, where: str = "", sort: str = "") -> list[str]:
    registry = registry_of(home)
    try:
        return queries.keys(registry, noun, parse_where(where), sort)
    finally:
        registry.close()
