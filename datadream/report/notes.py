"""What a reader must know beside a table's numbers; one text for the terminal, the app and every export."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from string import ascii_lowercase

from datadream.report.judge import ALIKE, BEST, Ground, Judged, called, where
from datadream.report.rows import Row, unequal_passes, usual_passes
from datadream.text import counted

LACKING_MAX = 6  # rows of one group whose missing seeds are told
AGAINST = "Real and synthetic images against real ones alone, paired over the same images and seeds:"


def texts(rows: Iterable[Row]) -> dict[str, str]:
    """A letter, (a), (b), for everything rows have to be told apart by: settings, sets and models."""
    table = list(rows)
    found = dict.fromkeys(row.settings for row in table if row.settings)
    found |= dict.fromkeys(note for row in table for note in (row.source_note, row.backbone_note) if note)
    return {text: f"({ascii_lowercase[i % 26] * (i // 26 + 1)})" for i, text in enumerate(found)}


def meaning(rows: Sequence[Row]) -> list[str]:
    """Of ± and [ ], where they occur."""
    found = []
    if any(len(row.seeds) > 1 for row in rows):
        found.append("± is the standard deviation over n seeds.")
    if any(len(row.seeds) == 1 for row in rows):
        found.append(
            "Brackets: 95 % Wilson interval (one seed), over the images alone; other shots may give another number."
        )
    return found


def marks(judged: Judged) -> list[str]:
    """What the marks mean, and on what they rest."""
    if BEST not in judged.marks.values():
        return []
    marked = [ground for ground in judged.grounds if ground.best]
    single = [ground for ground in marked if len(ground.seeds) == 1]
    group = "rows of the same images, classes, prompts, CLIP, split and shots"
    found = []
    if len(single) < len(marked):
        found.append(f"{BEST} is the highest mean among {group}, over the seeds that all of them have.")
    if single and len(single) < len(marked):
        listed = ", ".join(sorted({counted(ground.rows[0].shots, "shot") for ground in single}))
        found.append(
            f"Of one seed ({listed}) {BEST} is the highest for this seed and these shots only; nothing is tested."
        )
    elif single:
        found.append(f"{BEST} is the highest among {group}, for this seed and these shots only; nothing is tested.")
    if ALIKE in judged.marks.values():
        found.append(
            f"{ALIKE} is not significantly different from the best: the 95 % interval of their paired difference, over "
            "images and seeds, includes 0."
        )
    if judged.untested:
        many = judged.untested > 1
        found.append(
            f"{judged.untested} row{'s are' if many else ' is'} not tested: {'their' if many else 'its'} predictions "
            "can't be read."
        )
    return found


def ground(judged: Judged, commands: Mapping[str, str], letters_: Mapping[str, str]) -> list[str]:
    """Of rivals that differ in their seeds: what they are judged on and what is missing.

    `commands` get what a row lacks, by its id; they are told where nothing can be judged without them.
    """
    notes = []
    for found in judged.grounds:
        lacking = found.lacking() if len(found.rows) > 1 else []
        if not lacking:
            continue
        place, rows = where(found.rows[0], letters_), len(found.rows)
        if found.seeds:
            without: dict[str, list[str]] = {}
            for row, seeds in lacking:
                without.setdefault(_listed(seeds), []).append(f"{called(row, letters_)} {row.data}")
            named = "; ".join(f"without {seeds}: {', '.join(_cut(names))}" for seeds, names in without.items())
            notes.append(f"{place}: compared on {_listed(found.seeds)} only, which all {rows} rows have; {named}.")
            continue
        notes.append(f"{place}: no best is marked, its {rows} rows have no seed in common.")
        told = [
            f"{called(row, letters_)} {row.data}, {place}, lacks {_listed(seeds)}: {commands.get(row.id, '')}".rstrip(
                ": "
            )
            for row, seeds in lacking
        ]
        notes += _cut(told)
    return notes


def _listed(seeds: Sequence[int]) -> str:
    return f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}"


def _cut(names: Sequence[str]) -> list[str]:
    more = len(names) - LACKING_MAX
    return [*names[:LACKING_MAX], *([f"and {more} more"] if more > 0 else [])]


def ungrounded(grounds: Iterable[Ground]) -> list[tuple[Ground, Row, list[int]]]:
    """The rows of which a command should be told, with the seeds they lack."""
    return [
        (found, row, seeds)
        for found in grounds
        if len(found.rows) > 1 and not found.seeds
        for row, seeds in found.lacking()[:LACKING_MAX]
    ]


def unequal(rows: Sequence[Row]) -> list[str]:
    """A warning where classifiers of one place had other image passes than most; empty where compute was equal."""
    odd = unequal_passes(rows)
    letters_ = texts(rows)
    named = ", ".join(
        f"{called(row, letters_)} {row.data} {counted(row.shots, 'shot')}: {row.image_passes:,}" for row in odd
    )
    return [f"Unequal compute, image passes differ from the other rows': {named}."] if odd else []


def equal(rows: Sequence[Row]) -> list[str]:
    """That every classifier had the same image passes, where it had."""
    passes = set(usual_passes(rows).values())
    if not passes or unequal_passes(rows):
        return []
    if len(passes) == 1:
        return [f"Every classifier was trained on the same {passes.pop():,} image passes."]
    return ["Classifiers of one set and CLIP were trained on the same number of image passes."]


def letters(marks_: Mapping[str, str]) -> list[str]:
    """`(a) classify.rank=4.`"""
    return [f"{mark} {text}." for text, mark in marks_.items()]


def against(judged: Judged, letters_: Mapping[str, str]) -> list[str]:
    """Each method's real+synth against real-only, in words, under a heading; empty without any."""
    return [AGAINST, *(pair.text(letters_) for pair in judged.comparisons)] if judged.comparisons else []
