"""`make docs`: docs/tui.md from the table of actions, docs/tour.md and the screenshots from a real session.

`python -m tests.tui.make_docs [HOME]` walks through HOME, the default home where nothing is said: run `make demo` first.
With `--keys` it writes docs/tui.md only.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from datadream.home.layout import default_home
from tests.tui.tour import pictures, tour
from tui.help import document

DOCS = Path(__file__).parents[2] / "docs"
HEAD = """# `datadream-tui`

`datadream-tui [--home DIR]`; over SSH, `ssh -t HOST datadream-tui`. There is no web server: on a shared machine an open
port is a risk. To share results with somebody without a terminal, export the HTML report (`E` on the comparison).

It reads the home and submits requests: quitting it, or losing the connection, changes nothing. Every action has a plain
key, so it works inside tmux and screen; the mouse works too. `?` shows the keys of a screen, `:` finds any action by
name, `@` shows the equivalent commands. Escape closes one layer and never quits. [tour.md](tour.md) is a walk through it.

## Settings

Stored in the home's `tui.json`, which the app writes too.

| name | values |
| --- | --- |
| `theme` | `datadream-dark`, `datadream-light`, `datadream-contrast`, `datadream-safe` (colour-blind safe), or one of Textual's |
| `keys` | other keys for actions by name: `{"runs.sort": "o", "app.quit": "Q"}`; key names are Textual's |
| `notify` | `off`, `bell`, `both` (bell and desktop notification, OSC 9 and 777) when a job ends |
| `mouse` | `false` leaves the mouse to the terminal |
| `images` | `auto` (what the terminal can), `kitty`, `sixel`, `blocks` |

`NO_COLOR=1` draws without colour; without a UTF-8 locale everything is ASCII. Inside tmux, copying goes through `tmux
load-buffer`; elsewhere the terminal is asked (OSC 52) and may refuse, so copies are always written to a file as well.

Images are half-blocks, two pixels per cell, in any terminal. With `pip install 'datadream[images]'` (textual-image, LGPL) they
are real pixels where the terminal supports them: all images with Kitty's protocol (Kitty, Ghostty), and with Sixel
(foot, WezTerm, xterm and others) the single image of a gallery and the preview of a job. Inside tmux and screen, and without
true colour, `auto` keeps to half-blocks.

All keys, generated from the table of actions (`make docs`; a test compares them).

"""


def main() -> None:
    """Write the three."""
    (DOCS / "tui.md").write_text(HEAD + document(), encoding="utf-8")
    if "--keys" in sys.argv:
        return
    home = Path(sys.argv[1]) if len(sys.argv) > 1 else default_home()
    (DOCS / "tour.md").write_text(asyncio.run(tour(home)), encoding="utf-8")
    asyncio.run(pictures(home, DOCS))


if __name__ == "__main__":
    main()
