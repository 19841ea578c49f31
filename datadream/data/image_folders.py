"""What the folders and files of a synthetic set are called, so that every tool and system can load them."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

from datadream.text import is_unshown

NAME_BYTES_MAX = 120  # a longer name, with what stands before and behind it, is too long somewhere
# of Windows; as a file of that name with any suffix
RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(\..*)?", re.IGNORECASE)
# patterns of shells and globs, what Windows has no names with, and `::`, which datasets takes for a chain of places
ODD = re.compile(r'[<>:"/\\|?*\[\]]')
METADATA = "metadata.jsonl"  # lies beside the class folders


def image_file(index: int) -> str:
    """File name of image `index` of a class."""
    return f"{index:05d}.png"


def image_folders(folders: Sequence[str]) -> tuple[str, ...]:
    """A name for each class folder, all different: its own where that will do, else `class-NNNNN-` and its letters.

    Its own won't do when Hugging Face datasets or torchvision skip it (a leading dot, two leading underscores), when
    a pattern, a shell's option or another system's file names make it mean something else, when it holds characters
    that aren't shown, or when it differs from another only by case or by the form of its letters.
    """
    alike = Counter(map(_folded, folders))
    plain = {folder for folder in folders if alike[_folded(folder)] == 1 and not _is_odd(folder)}
    taken = {_folded(folder) for folder in plain}
    found = []
    for label, folder in enumerate(folders):
        name = folder if folder in plain else _made(label, folder)
        while folder not in plain and _folded(name) in taken:
            name += "-"
        taken.add(_folded(name))
        found.append(name)
    return tuple(found)


def _made(label: int, folder: str) -> str:
    plain = unicodedata.normalize("NFKD", folder).encode("ascii", "ignore").decode()
    letters = re.sub(r"[^A-Za-z0-9]+", "-", plain).strip("-")[:40].strip("-")
    return f"class-{label:05d}-{letters}" if letters else f"class-{label:05d}"


def _is_odd(folder: str) -> bool:
    return bool(
        folder.startswith((".", "__", "-", " "))
        or folder.endswith((".", " "))
        or ODD.search(folder)
        or RESERVED.fullmatch(folder)
        or folder.casefold() == METADATA
        or len(folder.encode()) > NAME_BYTES_MAX
        or any(map(is_unshown, folder))
    )


def _folded(folder: str) -> str:
    """Equal for names that some file system takes for the same."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", folder).casefold())
