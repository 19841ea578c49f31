"""The entry point: commands, and the edge where errors become one sentence.

Exit codes: 0 done; 1 a programming error or a failed worker (details in a log); 2 usage or input error;
130 interrupted. Nothing heavy is imported before a command needs it.
"""

from __future__ import annotations

import codecs
import errno
import io
import os
import re
import sys
import warnings
from typing import Annotated

import typer

from datadream import __version__, durable
from datadream.cli import (
    artifact,
    compare,
    demo,
    experiment,
    gc,
    home,
    job,
    label,
    queue,
    recipe,
    registry,
    rehearse,
    run,
    runner,
    sets,
    worker,
)
from datadream.cli.help import as_written
from datadream.cores import no_core_dumps
from datadream.errors import UserError
from datadream.models.environment import forget_unset, is_on
from datadream.text import shown

INTERRUPTED = 130

app = typer.Typer(
    name="datadream",
    help="From a handful of labelled photos to a better image classifier.",
    epilog="Exit codes: 0 done, 1 unexpected error (see the log), "
    "2 usage or input error (the message says how to fix it), 130 interrupted.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(sets.app, name="set")
app.add_typer(recipe.app, name="recipe")
app.add_typer(artifact.adapters, name="adapter")
app.add_typer(artifact.synthetics, name="synth")
app.add_typer(artifact.classifiers, name="classifier")
app.add_typer(artifact.runs, name="runs")
app.add_typer(job.app, name="job")
app.add_typer(queue.app, name="queue")
app.add_typer(experiment.app, name="experiment")
app.add_typer(label.app, name="tag")
app.add_typer(registry.app, name="registry")
app.add_typer(home.app, name="home")
app.command("run")(run.run)
app.command("compare")(compare.compare)
app.command("demo")(demo.demo)
app.command("note")(label.note)
app.command("gc")(gc.gc)
app.command("rehearse")(rehearse.rehearse)
app.command("worker", hidden=True)(worker.worker)
app.command("runner", hidden=True)(runner.runner)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"datadream {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks; may stand anywhere on the line.")] = False,
) -> None:
    """Options of every command."""


def main() -> None:
    """Run the command line; never shows a bare traceback unless asked by --debug or DATADREAM_DEBUG."""
    no_core_dumps()
    debug = "--debug" in sys.argv or is_on("DATADREAM_DEBUG")
    forget_unset()
    _forget_odd_sizes()
    _speak_any_encoding()
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    if not debug:  # Pillow's, of metadata we don't need and sizes we refuse by a sentence of our own
        warnings.filterwarnings("ignore", module="PIL")
    try:
        try:
            as_written(typer.main.get_command(app))(arguments)
        except SystemExit:  # how every command ends; what is still to be written may find no room
            _flush()
            raise
    except SystemExit as end:
        if end.code == INTERRUPTED:  # typer turns Ctrl-C into this exit code
            _say("datadream: interrupted; queued jobs keep running, see `datadream job ls`")
        raise
    except run.Detached:
        _say("datadream: interrupted; jobs keep running: the same command again follows them, see also `datadream job`")
        sys.exit(INTERRUPTED)
    except run.Cancelled:
        again = "run the same command again, or `datadream job retry`, to resume"
        _say(f"datadream: interrupted; jobs cancelled, checkpoints kept: {again}")
        sys.exit(INTERRUPTED)
    except UserError as error:
        if debug:
            raise
        _say(f"datadream: {error}".replace("\n", " "))
        sys.exit(2)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        if debug:
            raise
        if isinstance(error, OSError):
            _say(f"datadream: {_of_system(error)}")
            sys.exit(2)
        _say(f"datadream: unexpected {type(error).__name__}: {error} (run again with --debug for the traceback)")
        sys.exit(1)


def _flush() -> None:
    """All that was printed is out. Raises OSError when it can't be, and forgets the rest."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            raise
        raise OSError(error.errno, error.strerror, "standard output") from error


def _of_system(error: OSError) -> str:
    """What the system refused, on what, and what to do."""
    if error.errno in durable.NO_SPACE:
        return str(durable.no_space(error.filename or "standard output, or the disk"))
    where = f" ({error.filename})" if error.filename else ""
    if error.errno in durable.NO_READ | durable.NO_WRITE:
        return f"{error.strerror}{where}: fix its permissions, or choose another home with --home or DATADREAM_HOME"
    if error.errno == errno.ENOENT and not error.filename:
        return "the current directory no longer exists: cd to another"
    return f"{error.strerror or error}{where}: check that path, then run the same command again"


def _forget_odd_sizes() -> None:
    """A terminal's width is a number of columns, or COLUMNS is no width; lines are filled up to it."""
    for name in ("COLUMNS", "LINES"):
        if not re.fullmatch("[1-9][0-9]{0,3}", os.environ.get(name, "1")):
            del os.environ[name]


def _speak_any_encoding() -> None:
    r"""What a stream's encoding lacks (PYTHONIOENCODING, an old locale) is written as \u2026, which JSON reads back."""
    codecs.register_error("escape", _escaped)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="escape")


def _escaped(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2)), error.end


def _say(text: str) -> None:
    sys.stderr.write("\n".join(shown(line) for line in text.split("\n")) + "\n")
