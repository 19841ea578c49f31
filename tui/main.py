"""`datadream-tui`: the app on a home, or one sentence about why not."""

from __future__ import annotations

import os
import sys

from datadream.cores import no_core_dumps

USAGE = "usage: datadream-tui [--home DIR]\n"


def main() -> None:
    """Open the app on `--home DIR`, `DATADREAM_HOME` or the default home. Exit 2 for what the user can mend."""
    no_core_dumps()
    arguments = sys.argv[1:]
    if arguments and arguments[0].startswith("--home="):
        arguments = ["--home", arguments[0].removeprefix("--home="), *arguments[1:]]
    if arguments[:1] in (["-h"], ["--help"]):
        sys.stdout.write(
            f"{USAGE}\nRun and compare experiments in a terminal. Over SSH: `ssh -t HOST "
            "datadream-tui`.\nQuitting changes nothing; jobs keep running.\n"
        )
        return
    if arguments and (arguments[0] != "--home" or len(arguments) != 2):
        sys.stderr.write(USAGE)
        sys.exit(2)
    if not (sys.stdin.isatty() and sys.stdout.isatty()) or os.environ.get("TERM", "dumb") in ("", "dumb", "unknown"):
        _leave("needs an interactive terminal; `datadream job ls` and `datadream compare` print the same as text")
    from datadream.errors import UserError
    from datadream.home.layout import open_home

    try:
        home = open_home(arguments[1] if arguments else None)
    except UserError as error:
        _leave(str(error))
    from tui.app import DataDreamApp
    from tui.terminal.graphics import probe

    app = DataDreamApp(home)
    app.graphics = probe(app.prefs.get("images", "auto"), truecolor=app.console.color_system == "truecolor")
    app.run(mouse=bool(app.prefs.get("mouse", True)))
    app.hands.shutdown(wait=True)
    app.prefs.close()
    sys.stdout.flush()
    sys.stderr.flush()
    # Not sys.exit: it would wait for every question that is still being answered, as of a disk that hangs.
    os._exit(app.return_code or 0)


def _leave(sentence: str) -> None:
    from datadream.text import shown

    sys.stderr.write(f"datadream-tui: {shown(sentence)}\n")
    sys.exit(2)


if __name__ == "__main__":
    main()
