"""Options that several commands share, and the reading of lists."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from datadream.errors import UserError
from datadream.paths import expand


def read_path(text: str) -> Path:
    """Reads an option or argument that is a path. A shell leaves the ~ of `--home=~/x` to us."""
    return expand(text)


HomeOption = Annotated[
    Path | None,
    typer.Option(
        "--home",
        parser=read_path,
        metavar="PATH",
        help="Home folder. [default: $DATADREAM_HOME or ~/.local/share/datadream]",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Print the result only, no progress.")]
OverrideOption = Annotated[
    list[str] | None,
    typer.Option(
        "--override",
        "-o",
        metavar="SECTION.KEY=VALUE",
        help="Override a setting, e.g. generate.guidance_scale=3. Repeatable.",
    ),
]
BackboneOption = Annotated[
    str, typer.Option("--backbone", help="mini (built in, 32 px, CPU) or sd2.1-base (the paper's, GPU).")
]
DiffusionOption = Annotated[
    str | None, typer.Option("--diffusion", help="Other Stable Diffusion model: a diffusers folder or a hub id.")
]
ClipOption = Annotated[
    str | None, typer.Option("--clip", help="Other CLIP model: an open_clip folder, hf-hub:ORG/NAME, or NAME:WEIGHTS.")
]


MOST_SEED = 2**63 - 1  # what a column of the registry, and torch, can hold
MOST_PRIORITY = 1_000_000
PriorityOption = Annotated[int, typer.Option(min=-MOST_PRIORITY, max=MOST_PRIORITY, help="Higher runs first.")]


def numbers(text: str, option: str, least: int) -> list[int]:
    """`1,5,10` as whole numbers, each once, in order. Raises UserError naming the option."""
    try:
        found = [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        found = []
    if found and max(found) > MOST_SEED:
        raise UserError(f"{option} allows numbers up to {MOST_SEED}", hint=f"e.g. {option} 1,5,10")
    if not found or min(found) < least:
        raise UserError(f"{option} expects integers >= {least}, not {text!r}", hint=f"e.g. {option} 1,5,10")
    return list(dict.fromkeys(found))


def words(text: str, option: str, known: Sequence[str]) -> list[str]:
    """`synth,real+synth` as known words. Raises UserError naming the option and what is known."""
    found = [part.strip() for part in text.split(",") if part.strip()]
    for word in found:
        if word not in known:
            raise UserError(
                f"unknown {option} value {word!r}", hint=f"use any of {', '.join(known)}, separated by commas"
            )
    if not found:
        raise UserError(f"{option} is empty", hint=f"use any of {', '.join(known)}")
    return list(dict.fromkeys(found))
