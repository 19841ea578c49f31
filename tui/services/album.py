"""What a gallery shows: a synthetic set beside the shots it was learnt from, or the shots of a few-shot set.

Everything but the dataclasses runs in the pool. No image is read here.
"""

from __future__ import annotations

import hashlib
import itertools
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from datadream import durable
from datadream.canonical import parse_json
from datadream.data.image_folders import image_file
from datadream.errors import UserError
from datadream.home.marks import Marks, read_marks
from datadream.text import counted
from tui.services.images import Picture

if TYPE_CHECKING:
    from datadream.data.shots import ShotSet
    from tui.services.data import Data

FACTS = ("label", "prompt", "seed", "index", "guidance_scale", "num_inference_steps", "scheduler", "adapter", "sha256")


@dataclass(frozen=True)
class Frozen:
    """An image of a few-shot set."""

    picture: Picture
    sha256: str


@dataclass(frozen=True)
class Class:
    """One class: the folder of its images, its name, its prompt, and the real images a method may train on."""

    folder: str
    name: str
    prompt: str
    shots: tuple[Frozen, ...] = ()


@dataclass(frozen=True)
class Album:
    """`count` images of each class of a synthetic set; of a few-shot set its shots. `about` is a line on the whole."""

    kind: Literal["synth", "set"]
    id: str
    about: str
    classes: tuple[Class, ...]
    folder: str = ""
    count: int = 0
    set_id: str = ""
    no_shots: str = ""
    marks: Marks = field(default_factory=Marks)

    def name(self, label: int, index: int) -> str:
        """What marks call an image."""
        return f"{self.classes[label].folder}/{image_file(index)}"

    def pictures(self, label: int) -> list[Picture]:
        """The images of a class."""
        if self.kind == "set":
            return [shot.picture for shot in self.classes[label].shots]
        return [Picture(self.folder, self.name(label, index)) for index in range(self.count)]


def read_synth(data: Data, synth_id: str) -> Album:
    """A synthetic set, with the shots of its adapter; an un-adapted one's are those of a run that used it."""
    from datadream.home.artifacts import read_manifest

    home = data.home
    spec = read_manifest(home, "synthetic", synth_id)["spec"]
    own = [str(entry["folder"]) for entry in spec["classes"]]
    adapter = spec["inputs"].get("adapter")
    set_id, no_shots = _set_of(data, synth_id, adapter)
    shots: dict[str, list[Frozen]] = {}
    if set_id:
        try:
            shots = shots_by_folder(load_shots(data, set_id))
        except UserError as error:
            no_shots = error.message
    settings = spec["settings"]
    marks, lost = _marks(data, synth_id)
    whose = f"adapter {adapter[:8]}" if adapter else "no adapter"
    classes = tuple(
        Class(str(drawn), str(entry["name"]), str(prompt), tuple(shots.get(folder, ())))
        for drawn, folder, entry, prompt in zip(
            spec.get("folders") or own, own, spec["classes"], spec["prompts"], strict=True
        )
    )
    return Album(
        kind="synth",
        id=synth_id,
        about=f"{whose}, guidance {settings['guidance_scale']:g}, {counted(settings['num_inference_steps'], 'step')}, "
        f"seed {spec['seed']}" + lost,
        classes=classes,
        folder=str(home.artifact("synthetic", synth_id) / "data" / "train"),
        count=int(settings["images_per_class"]),
        set_id=set_id,
        no_shots=no_shots,
        marks=marks,
    )


def _marks(data: Data, synth_id: str) -> tuple[Marks, str]:
    """The marks, and what to say where they can't be read: the images are shown without them."""
    try:
        return read_marks(data.home, synth_id), ""
    except UserError as error:
        return Marks(), f"; ! {error.message}"


def read_set(data: Data, set_id: str) -> Album:
    """A few-shot set's shots."""
    found = load_shots(data, set_id)
    shots = shots_by_folder(found)
    classes = tuple(
        Class(class_.folder, class_.name, prompt, tuple(shots.get(class_.folder, ())))
        for class_, prompt in zip(found.classes, found.prompts, strict=True)
    )
    return Album(kind="set", id=set_id, about=set_line(found), classes=classes, set_id=set_id)


def again(data: Data, album: Album) -> Album:
    """The same with the marks as they are now; the rest never changes."""
    if album.kind != "synth":
        return album
    marks, lost = _marks(data, album.id)
    return replace(album, marks=marks, about=album.about.partition("; !")[0] + lost)


def load_shots(data: Data, set_id: str) -> ShotSet:
    """The few-shot set with this id. Raises UserError when it is gone."""
    from datadream.home.sets import load_set

    return load_set(data.home, set_id)


def shots_by_folder(shots: ShotSet) -> dict[str, list[Frozen]]:
    """The training images of each class, in the order drawn."""
    root = shots.source.get("path", "")
    found: dict[str, list[Frozen]] = {}
    for ref in shots.train:
        found.setdefault(shots.classes[ref.label].folder, []).append(Frozen(Picture(root, ref.key), ref.sha256))
    return found


def set_line(shots: ShotSet) -> str:
    """`2 shots, seed 1, 359 val and 719 test images`."""
    return f"{counted(shots.shots, 'shot')}, seed {shots.seed}, {len(shots.val)} val and {len(shots.test)} test images"


def _set_of(data: Data, synth_id: str, adapter: str | None) -> tuple[str, str]:
    """The id of the few-shot set behind a synthetic one, or why there is none to show."""
    from datadream.home.artifacts import read_manifest

    if adapter:
        try:
            return str(read_manifest(data.home, "adapter", adapter)["spec"]["inputs"]["set"]), ""
        except UserError:
            return "", f"adapter {adapter[:8]} no longer exists, so its shots are unknown"
    from store import queries

    registry = data.registry()
    runs = [str(run["id"]) for run in queries.lineage(registry, synth_id)["runs"]]
    rows = queries.rows_of(registry, "run", runs[-1:])
    return (str(rows[0]["set"]), "") if rows else ("", "no run has used it yet: no real shots to show")


def facts(data: Data, album: Album, label: int, index: int) -> list[tuple[str, str]]:
    """What is known of one image: a synthetic one's row of `metadata.jsonl`, a real one's hash and whether it holds."""
    class_ = album.classes[label]
    if album.kind == "synth":
        name = album.name(label, index)
        row = _row(Path(album.folder) / "metadata.jsonl", name, label * album.count + index)
        known = {"file_name": name, "label": class_.name, "prompt": class_.prompt, **row}
        found = [(key, _text(known[key])) for key in ("file_name", *FACTS) if known.get(key) not in (None, "")]
        why = album.marks.images.get(name, album.marks.classes.get(class_.folder))
        return found if why is None else [*found, ("marked", f"bad: {why}" if why else "bad")]
    shot = class_.shots[index]
    return [
        ("key", shot.picture.key),
        ("label", class_.name),
        ("prompt", class_.prompt),
        ("sha256", shot.sha256),
        ("file", _state(shot)),
    ]


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _row(path: Path, name: str, line: int) -> dict[str, Any]:
    """The row of one image; rows are in the order of images, so most lines are only counted."""
    try:
        with durable.open_regular(path) as file:
            for text in itertools.islice(file, line, line + 1):
                row = parse_json(text)
                return row if isinstance(row, dict) and row.get("file_name") == name else {}
    except (OSError, ValueError):
        pass
    return {}


def _state(shot: Frozen) -> str:
    from datadream.data.digits import read_digit
    from datadream.data.folder import read_file

    try:
        picture = shot.picture
        content = read_file(Path(picture.root), picture.key) if picture.root else read_digit(picture.key)
    except UserError as error:
        return error.message
    return "unchanged" if hashlib.sha256(content).hexdigest() == shot.sha256 else "changed since"
