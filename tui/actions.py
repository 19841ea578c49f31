"""The one table of actions: bindings, footer, help, palette and docs/tui.md are all made from it.

Every action has a plain letter or sign, because terminals and tmux eat exotic chords. `keys` are Textual's names,
separated by commas; the user may replace them in tui.json (`"keys": {"runs.sort": "o"}`).
"""

from __future__ import annotations

from dataclasses import dataclass

from textual.binding import Binding, BindingType


@dataclass(frozen=True)
class Action:
    """Something a user can do. `screen` is where ("app": everywhere); `danger` asks before it does it."""

    screen: str
    id: str
    keys: str
    label: str
    about: str
    footer: bool = True
    danger: bool = False

    @property
    def name(self) -> str:
        """What the keymap calls it."""
        return f"{self.screen}.{self.id}"


SCREENS = {
    "app": "Everywhere",
    "dashboard": "Dashboard",
    "jobs": "Jobs",
    "job": "Job",
    "sets": "Few-shot sets",
    "adapters": "Adapters",
    "synth": "Synthetic sets",
    "gallery": "Gallery",
    "runs": "Runs",
    "run": "Run",
    "compare": "Compare",
    "new": "New experiment",
    "lineage": "Lineage",
}


def _listing(screen: str, *extra: Action) -> tuple[Action, ...]:
    """What every list can do."""
    return (
        Action(screen, "open", "enter", "Open", "Open what the cursor is on"),
        Action(screen, "filter", "slash", "Filter", "Choose rows; same syntax as --where, the box shows an example"),
        Action(screen, "sort", "s", "Sort", "Sort by the next column", footer=False),
        Action(screen, "reverse", "S", "Reverse", "Reverse the order", footer=False),
        Action(screen, "columns", "c", "Columns", "Choose columns; the choice is saved", footer=False),
        Action(
            screen,
            "mark",
            "space",
            "Mark",
            "Mark or unmark the row; keys then apply to all visible marked rows and ask first, with their number; "
            "marked rows hidden by a filter are left alone",
            footer=False,
        ),
        Action(screen, "unmark", "backslash", "Unmark all", "Clear all marks, hidden ones too", footer=False),
        *extra,
    )


def _labels(screen: str) -> tuple[Action, ...]:
    return (
        Action(screen, "tag", "t", "Tags", "Edit tags of the marked rows, or of this one"),
        Action(screen, "note", "e", "Note", "Edit the note", footer=False),
    )


def _jobs(screen: str, open_: bool = True) -> tuple[Action, ...]:
    first = (Action(screen, "open", "enter", "Open", "Open the job"),) if open_ else ()
    return (
        *first,
        Action(screen, "cancel", "X", "Cancel", "Cancel the job; its checkpoint is kept", danger=True),
        Action(screen, "retry", "R", "Retry", "Retry a failed or cancelled job from its checkpoint"),
        Action(screen, "pause", "p", "Pause", "Pause the job at its next checkpoint, or resume it", footer=False),
        Action(screen, "raise", "plus", "Raise", "Raise its priority by one", footer=False),
        Action(screen, "lower", "minus", "Lower", "Lower its priority by one", footer=False),
    )


ACTIONS: tuple[Action, ...] = (
    Action("app", "dashboard", "1", "Dashboard", "Queue, running jobs, devices", footer=False),
    Action("app", "jobs", "2", "Jobs", "All jobs", footer=False),
    Action("app", "sets", "3", "Sets", "Few-shot sets", footer=False),
    Action("app", "adapters", "4", "Adapters", "LoRA adapters trained on the shots", footer=False),
    Action("app", "synth", "5", "Synth", "Synthetic sets and their images", footer=False),
    Action("app", "runs", "6", "Runs", "All runs and their accuracy", footer=False),
    Action("app", "compare", "7", "Compare", "The accuracy table", footer=False),
    Action("app", "new", "8,n", "New", "Plan and start an experiment", footer=False),
    Action("app", "lineage", "9", "Lineage", "What an artifact was made from, and what was made from it", footer=False),
    Action("app", "back", "escape", "Back", "Close the top layer; never quits", footer=False),
    Action("app", "palette", "colon,ctrl+p", "Palette", "Find any action by name"),
    Action("app", "help", "question_mark", "Help", "The keys of this screen"),
    Action("app", "commands", "at", "CLI", "Equivalent commands of the actions here; copy one"),
    Action("app", "undo", "u", "Undo", "Undo the last undoable action", footer=False),
    Action("app", "freeze", "z", "Freeze", "Freeze or unfreeze the screen; reading continues", footer=False),
    Action("app", "theme", "T", "Theme", "Next theme: dark, light, high contrast, colour-blind safe", footer=False),
    Action(
        "app", "notify", "B", "Notify", "Bell and desktop notification when a job ends: off, bell, both", footer=False
    ),
    Action("app", "runner", "U", "Start runner", "Start the runner if it is stopped", footer=False),
    Action("app", "quit", "q", "Quit", "Quit; jobs keep running"),
    *_jobs("dashboard"),
    Action("dashboard", "queue", "P", "Pause queue", "Pause or resume the queue; running jobs continue", footer=False),
    Action("dashboard", "demo", "d", "Demo", "Start the built-in experiment"),
    *_listing("jobs", *_jobs("jobs", open_=False), *_labels("jobs")),
    Action("jobs", "remove", "D", "Remove", "Remove the folder of a finished job", footer=False, danger=True),
    *_jobs("job", open_=False),
    Action("job", "tab", "tab", "Pane", "Next pane: metrics, log, events, spec, inputs and outputs", footer=False),
    Action("job", "metric", "v", "Metric", "Choose metrics to plot", footer=False),
    Action("job", "log_scale", "l", "Log scale", "Logarithmic or linear values", footer=False),
    Action("job", "smooth", "m", "Smooth", "More smoothing, then none", footer=False),
    Action("job", "zoom", "i", "Zoom in", "Show the newer half of the range", footer=False),
    Action("job", "zoom_out", "o", "Zoom out", "Show twice the range", footer=False),
    Action("job", "find", "slash", "Search", "Search the log"),
    Action("job", "find_next", "comma", "Next", "Next match, further up", footer=False),
    Action("job", "find_previous", "semicolon", "Previous", "Previous match, further down", footer=False),
    Action("job", "follow", "f", "Follow", "Follow the end of the log, or stop following"),
    Action("job", "level", "w", "Level", "All lines, warnings and errors, errors", footer=False),
    Action("job", "input", "a", "Input", "Open an input", footer=False),
    Action("job", "output", "b", "Output", "Open the output", footer=False),
    *_listing("sets", *_labels("sets")),
    Action("sets", "make", "N", "New set", "Draw a set from a folder or a built-in source"),
    Action("sets", "facts", "v", "Facts", "Split, leaks, classes and prompts, over the list", footer=False),
    Action("sets", "lineage", "L", "Lineage", "What was made from it", footer=False),
    *_listing("adapters", *_labels("adapters")),
    Action("adapters", "shots", "i", "Shots", "Images of the shots it was trained on"),
    Action("adapters", "job", "o", "Job", "The adapt job: curves and log", footer=False),
    Action("adapters", "lineage", "L", "Lineage", "Up to its shots, down to its runs", footer=False),
    *_listing("synth", *_labels("synth")),
    Action("synth", "facts", "v", "Facts", "Settings, inputs and uses, over the list", footer=False),
    Action("synth", "lineage", "L", "Lineage", "Up to its shots, down to its runs", footer=False),
    Action("gallery", "open", "enter", "Inspect", "Image at full size, with prompt and seed"),
    Action("gallery", "next_class", "right_square_bracket", "Next class", "Next class"),
    Action("gallery", "previous_class", "left_square_bracket", "Previous class", "Previous class", footer=False),
    Action("gallery", "bad", "b", "Bad", "Mark or unmark the image as bad"),
    Action(
        "gallery",
        "bad_class",
        "D",
        "Bad class",
        "Mark or unmark all images of the class as bad",
        footer=False,
        danger=True,
    ),
    Action("gallery", "lineage", "L", "Lineage", "Up to its shots, down to its runs", footer=False),
    *_listing("runs", *_labels("runs")),
    Action("runs", "images", "i", "Images", "Synthetic images it was trained on"),
    Action("runs", "compare", "x", "Compare", "Compare the two marked runs: accuracy by class and settings"),
    Action("runs", "confusion", "C", "Confusion", "Per-class accuracy and confusion map", footer=False),
    Action("runs", "lineage", "L", "Lineage", "From its shots to its accuracy", footer=False),
    Action("run", "curves", "c", "Curves", "The classify job: curves and log"),
    Action("run", "generate", "d", "Generation job", "The job that generated its images", footer=False),
    Action("run", "adapt", "a", "Adaptation job", "The job that adapted to its shots", footer=False),
    Action("run", "confusion", "C", "Classes", "Show only accuracy by class and confusion map, or everything"),
    Action("run", "lineage", "L", "Lineage", "From its shots to its accuracy"),
    *_labels("run"),
    Action(
        "compare", "view", "v", "View", "Next view: table, against real-only, curves over shots, over images, two runs"
    ),
    Action("compare", "rows", "r", "Rows", "Choose rows and columns", footer=False),
    Action("compare", "filter", "slash", "Filter", "Choose the runs; same syntax as --where", footer=False),
    Action("compare", "missing", "m", "Missing", "Queue the missing runs of this cell only"),
    Action("compare", "seeds", "a", "Seeds", "Queue two more seeds of this row or cell"),
    Action("compare", "export", "E", "Export", "Write CSV, LaTeX, Markdown, PNG or HTML files"),
    Action("compare", "copy", "y", "Copy", "Copy the table, and write it to a file"),
    Action("compare", "images", "i", "Images", "Synthetic images of this cell, beside the real shots"),
    Action("compare", "open", "enter", "Runs", "Runs of this cell", footer=False),
    Action("new", "start", "g", "Start", "Queue the experiment and start the runner"),
    Action("new", "queue", "Q", "Queue", "Pause the queue and add the experiment"),
    Action("new", "copy", "y", "Copy CLI", "Copy the equivalent command"),
    Action("lineage", "open", "enter", "Open", "Open the artifact, run or job"),
    Action("lineage", "root", "L", "Re-root", "Center the graph on this one"),
)


def actions(screen: str) -> tuple[Action, ...]:
    """Those of one screen, in the table's order."""
    return tuple(action for action in ACTIONS if action.screen == screen)


def bindings(screen: str) -> list[BindingType]:
    """Textual's bindings for them; each runs `action_do`, which says why when it can't be done.

    A slash that means nothing on a screen is bound too: what is typed after it must not become keys.
    """
    found: list[BindingType] = [
        Binding(action.keys, f"do({action.id!r})", action.label, show=action.footer, id=action.name)
        for action in actions(screen)
    ]
    if screen != "app" and not any("slash" in action.keys.split(",") for action in actions(screen)):
        found.append(Binding("slash", "no_filter", show=False))
    return found


def key_names(keys: str) -> str:
    """Keys as a person reads them: `slash` is `/`."""
    names = {
        "slash": "/", "backslash": "\\", "plus": "+", "minus": "-", "colon": ":", "at": "@", "comma": ",",
        "question_mark": "?", "semicolon": ";", "left_square_bracket": "[", "right_square_bracket": "]",
    }  # fmt: skip
    return " ".join(names.get(key.strip(), key.strip()) for key in keys.split(","))
