"""Warnings of a stage before it works: what the loaded text encoder sees of the classes' prompts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from datadream.data.prompts import ClassInfo
from datadream.data.seen import Seen, remarks
from datadream.stages.emit import Emit

if TYPE_CHECKING:  # a stage imports the one model that it runs
    from datadream.models.clip import Clip
    from datadream.models.diffusion import Diffusion

CLIP, DIFFUSION = "CLIP", "the diffusion model"


def warn_of_clip(clip: Clip, classes: Sequence[ClassInfo], prompts: Sequence[str], emit: Emit) -> None:
    """Tell of classes that CLIP can't tell apart, and of prompts that it cuts, in an event each."""
    limit = int(clip.tokenizer.context_length)

    def read(texts: Sequence[str]) -> list[Seen]:
        # A column more shows what is dropped: the end of text moves there, or a token stands where padding would.
        rows, longer = (clip.tokenizer(list(texts), context_length=length) for length in (limit, limit + 1))
        padding = clip.tokenizer([""], context_length=limit + 1)[0, -1]
        cut = (longer[:, :limit] != rows).any(dim=1) | (longer[:, limit] != padding)
        ids = clip.tokens(texts)
        return [
            Seen(tuple(row), bool(dropped)) for row, dropped in zip(_read_ids(clip, ids.tolist()), cut, strict=True)
        ]

    _tell(remarks(CLIP, limit, read, classes, prompts), emit)


def warn_of_diffusion(sd: Diffusion, classes: Sequence[ClassInfo], prompts: Sequence[str], emit: Emit) -> None:
    """The same of the encoder of prompts to draw by."""
    limit = int(sd.tokenizer.model_max_length)

    def read(texts: Sequence[str]) -> list[Seen]:
        rows = sd.tokenizer(list(texts), padding=False, truncation=False, verbose=False).input_ids
        return [Seen(tuple(ids[: min(limit, len(ids)) - 1]), len(ids) > limit) for ids in rows]

    _tell(remarks(DIFFUSION, limit, read, classes, prompts), emit)


def _read_ids(clip: Clip, rows: list[list[int]]) -> list[list[int]]:
    """Rows up to where the model reads: a CLIP that pools at its end of text, which is the largest id, stops there."""
    if getattr(clip.model, "text_pool_type", "") != "argmax":
        return rows
    return [row[: row.index(max(row))] for row in rows]


def _tell(texts: Sequence[str], emit: Emit) -> None:
    for text in texts:
        emit({"kind": "warning", "text": text})
