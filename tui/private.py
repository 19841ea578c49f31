"""Every name that Textual keeps to itself and we use, each with its reason: look here first at a new version.

Overridden where a class must: `App._handle_exception` and `_dispatch_message` (trouble.py, base.py): an error in
a widget should cost its screen, not the app. What textual-image keeps to itself is in tui/terminal/graphics.py.
"""

from __future__ import annotations

from typing import Any

from textual.app import App
from textual.filter import LineFilter
from textual.geometry import Size
from textual.screen import Screen
from textual.scroll_view import ScrollView


def write(app: App[Any], text: str) -> None:
    """A sequence to the terminal by the driver: any other writer would fall into a frame. On the UI thread."""
    if app._driver is not None:
        app._driver.write(text)
        app._driver.flush()


def take_styles(screen: Screen[Any]) -> None:
    """A new screen is styled when it is mounted; Textual would parse all styles anew for it, twice."""
    screen._css_update_count = screen.app._css_update_count


def keep_sheets(app: App[Any], most: int) -> None:
    """Textual keeps 64 parsed sheets; with more than that, each new widget has all of them parsed again."""
    app.stylesheet._parse_cache.grow(most)


def add_filter(app: App[Any], added: LineFilter) -> None:
    """Over all that is drawn; there is no public way to add one."""
    app._filters.append(added)


def make_room_for(app: App[Any], line: str, most: int) -> None:
    """Of the toasts keep the newest, so that with `line` there are `most`, and none that says the same."""
    notes = [*app._notifications]
    for note in notes[: -most + 1] + [note for note in notes if note.message == line]:
        app._unnotify(note)


def has_screens(app: App[Any], mode: str) -> bool:
    """Whether anything can be shown in a mode; without, an error can't be shown either."""
    return bool(app._screen_stacks.get(mode))


def resize_content(view: ScrollView, size: Size) -> None:
    """Scroll bar and limits for so much; a layout, as Textual would do here, would repaint the whole pane."""
    view._scroll_update(size)
