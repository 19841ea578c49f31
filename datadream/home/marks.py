"""Bad images: what the user wants left out of a synthetic set, kept beside it in a file named by its id.

A mark changes nothing by itself. `datadream run --without-marked` trains without what is marked; which images those
were is in the job's spec, so later marks don't change an earlier run.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from datadream import durable, records
from datadream.data.image_folders import image_file
from datadream.errors import UserError
from datadream.home.artifacts import read_manifest
from datadream.home.layout import Home
from datadream.home.lease import lock
from datadream.home.spec import JobSpec

REASON_MAX = 1000


@dataclass(frozen=True)
class Marks:
    """Why each marked image (`<class folder>/<file>`) and each marked class (its folder) is bad; "" for no reason."""

    images: dict[str, str] = field(default_factory=dict)
    classes: dict[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.images) + len(self.classes)

    def is_bad(self, name: str) -> bool:
        """Whether the image of that name is marked, or its class."""
        return name in self.images or name.partition("/")[0] in self.classes

    def bad(self, names: Iterable[str]) -> tuple[str, ...]:
        """Those of `names` that are bad, sorted."""
        return tuple(sorted(name for name in names if self.is_bad(name)))


def read_marks(home: Home, synth_id: str) -> Marks:
    """The marks of a synthetic set. Raises Unreadable for a damaged file: bad images must not come back unnoticed."""
    path, what, hint = home.marks(synth_id), "these marks", "remove that file, and mark the images again"
    found = records.read(path, {"images": dict, "classes": dict}, what=what, hint=hint)
    if found is None:
        return Marks()
    if not all(isinstance(why, str) for part in ("images", "classes") for why in found[part].values()):
        raise records.Unreadable(path, "has a reason that is not text", hint, what)
    return Marks(found["images"], found["classes"])


def mark_image(home: Home, synth_id: str, name: str, reason: str = "") -> Marks:
    """Mark the image `<class folder>/<file>` as bad."""
    return mark(home, synth_id, [name], reason)


def mark_class(home: Home, synth_id: str, folder: str, reason: str = "") -> Marks:
    """Mark all images of a class as bad, whatever is marked of them one by one."""
    return mark(home, synth_id, [folder], reason)


def mark(home: Home, synth_id: str, names: Iterable[str], reason: str = "") -> Marks:
    """Mark images (`<class folder>/<file>`) and classes (their folders). Raises UserError for a reason that is none."""
    if len(reason) > REASON_MAX:
        raise UserError(f"reason too long: at most {REASON_MAX} characters", hint="shorten it, or write a note")
    try:
        reason.encode("utf-8")
    except UnicodeEncodeError as error:
        raise UserError("the reason is not valid text", hint="use UTF-8") from error
    added = dict.fromkeys(names, reason)

    def change(old: Marks) -> Marks:
        images = {name: why for name, why in added.items() if "/" in name}
        classes = {name: why for name, why in added.items() if "/" not in name}
        return Marks({**old.images, **images}, {**old.classes, **classes})

    return _write(home, synth_id, change)


def unmark(home: Home, synth_id: str, names: Iterable[str]) -> Marks:
    """Take marks away; fine when there was none."""
    gone = set(names)

    def change(old: Marks) -> Marks:
        images = {name: why for name, why in old.images.items() if name not in gone}
        return Marks(images, {name: why for name, why in old.classes.items() if name not in gone})

    return _write(home, synth_id, change)


def names_of(home: Home, synth_id: str, words: Sequence[str]) -> list[str]:
    """What `CLASS` and `CLASS/INDEX` mean in a synthetic set; a class by folder (there or in the source) or name.

    Raises UserError for a class or image it hasn't.
    """
    spec = JobSpec.model_validate(read_manifest(home, "synthetic", synth_id)["spec"])
    folders = spec.image_folders
    known = {class_.name: folder for class_, folder in zip(spec.classes, folders, strict=True)}
    known |= {class_.folder: folder for class_, folder in zip(spec.classes, folders, strict=True)}
    known |= {folder: folder for folder in folders}
    count = int(spec.settings["images_per_class"])
    found = []
    for word in words:
        class_, slash, index = (word, "", "") if word in known else word.rpartition("/")
        if class_ not in known:
            near = difflib.get_close_matches(class_ or word, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(list(known)[:5])}"
            raise UserError(f"synthetic set {synth_id} has no class {class_ or word!r}", hint=hint)
        if not slash:
            found.append(known[class_])
            continue
        number = index.removesuffix(".png")
        if not (number.isascii() and number.isdecimal()) or int(number) >= count:
            raise UserError(f"no image {index!r} of {class_!r}", hint=f"use {class_}/0 to {class_}/{count - 1}")
        found.append(f"{known[class_]}/{image_file(int(number))}")
    return list(dict.fromkeys(found))


def excluded(home: Home, synthetic: JobSpec) -> tuple[str, ...]:
    """Every marked image of the set that this generate job makes, sorted; those of marked classes one by one."""
    marks = read_marks(home, synthetic.id)
    if not marks:
        return ()
    count = int(synthetic.settings["images_per_class"])
    return marks.bad(f"{folder}/{image_file(index)}" for folder in synthetic.image_folders for index in range(count))


def _write(home: Home, synth_id: str, change: Callable[[Marks], Marks]) -> Marks:
    path: Path = home.marks(synth_id)
    with lock(durable.make_dir(path.parent) / ".lease"):
        new = change(read_marks(home, synth_id))
        if new:
            records.write(path, {"images": new.images, "classes": new.classes}, "the marks of this synthetic set")
        else:
            durable.remove_file(path)
    return new
