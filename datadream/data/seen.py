"""What a text encoder sees of the classes' prompts: which it cuts, and which become the same text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from datadream.data.listing import some
from datadream.data.prompts import ClassInfo, prompt


class Seen(NamedTuple):
    """The token ids that an encoder takes in of one text, and whether it dropped others."""

    tokens: tuple[int, ...]
    cut: bool


Read = Callable[[Sequence[str]], list[Seen]]


def remarks(who: str, limit: int, read: Read, classes: Sequence[ClassInfo], prompts: Sequence[str]) -> list[str]:
    """A sentence for classes with the same text, for names that aren't seen at all, and for prompts that are cut.

    `who` is the encoder's name for people, `limit` the number of tokens it takes, start and end included.
    """
    seen = read(prompts)
    bare = [text.tokens for text in read([prompt(class_).removesuffix(class_.name).rstrip() for class_ in classes])]
    groups: dict[tuple[int, ...], list[int]] = {}
    for label, text in enumerate(seen):
        groups.setdefault(text.tokens, []).append(label)
    found = []
    for labels in groups.values():
        if len(labels) > 1:
            names = some([repr(classes[label].name) for label in labels])
            if any(seen[label].cut for label in labels):
                why = f"it reads {limit} tokens of a prompt, and these differ only beyond"
            else:
                why = "they differ only in what it ignores, e.g. case, spaces or symbols"
            found.append(f"{names} are the same text for {who}: {why}; give them other names in classes.csv")
    nameless = [repr(classes[label].name) for label, text in enumerate(seen) if text.tokens == bare[label]]
    if nameless:
        found.append(f"{who} ignores the whole name of {some(nameless)}; give another name in classes.csv")
    cut = [repr(class_.name) for class_, text in zip(classes, seen, strict=True) if text.cut]
    if cut:
        count = f"{len(cut):,} prompts are" if len(cut) > 1 else "1 prompt is"
        found.append(f"{count} longer than the {limit} tokens that {who} reads, and truncated: of {some(cut)}")
    return found
