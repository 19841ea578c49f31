"""A folder of images as a source: ROOT/<class>/*, or already split as ROOT/{train,val,test}/<class>/*."""

from __future__ import annotations

import stat
from pathlib import Path, PurePosixPath

from datadream.data.classes_csv import name_classes
from datadream.data.decode import IMAGE_SUFFIXES, MAX_BYTES, BadImage
from datadream.data.listing import Listing, scan, some
from datadream.data.parts import PARTS, Entry, Part, Parts, Source, split_class
from datadream.errors import UserError
from datadream.text import counted

Files = dict[str, list[str]]  # image file names by class folder

LAYOUTS = "expected ROOT/<class>/<images>, or ROOT/train/<class>/<images> and ROOT/test/<class>/<images>"


class FolderSource(Source):
    """The images below `root`, listed once, when opened; keys are POSIX paths relative to `root`.

    Layout `flat` (ROOT/<class>/*) is split per class by `split_seed` (`parts.split_class`); layout `split`
    (ROOT/{train,val,test}/<class>/*, val optional) stays as it is. Classes are in natural order of their folders;
    `classes.csv` may name them. Raises UserError for a folder that fits neither, strays that are no images,
    folders within classes, empty classes, and fewer than two classes.

    What is hidden (a leading dot, or litter of a system as __MACOSX and Thumbs.db) is left out, and so are files
    beside the class folders; `skipped` names the folders and images among that, a folder with a slash at its end.
    """

    def __init__(self, root: Path) -> None:
        check_root(root)
        skipped: list[str] = []
        folders = _scan_folders(root, root, skipped)
        special = [part for part in PARTS if part in folders]
        self.root = root
        self.name = root.name
        self._tree: dict[Part, Files] = {}
        self._flat: Files = {}
        if special:
            self._tree = _split_tree(root, folders, skipped)
            classes = list(self._tree["train"])
        else:
            self._flat = _class_files(root, root, folders, skipped)
            classes = folders
            _refuse_empty(root, self._flat, least=2)
        if len(classes) < 2:
            raise UserError(f"a source needs at least two classes; this one has {len(classes)}", at=root, hint=LAYOUTS)
        self.spec = {"kind": "folder", "path": str(root), "layout": "split" if special else "flat"}
        self.skipped = tuple(skipped)
        self.classes = name_classes(root, classes, self.skipped)

    def parts(self, split_seed: int = 0) -> Parts:
        """Every image in exactly one part; only a flat folder heeds `split_seed`."""
        parts: Parts = {part: [] for part in PARTS}
        for label, class_ in enumerate(self.classes):
            if self._tree:
                for part, files in self._tree.items():
                    names = files.get(class_.folder, [])
                    parts[part] += [Entry(f"{part}/{class_.folder}/{name}", label) for name in names]
            else:
                for part, names in split_class(class_.folder, self._flat[class_.folder], split_seed).items():
                    parts[part] += [Entry(f"{class_.folder}/{name}", label) for name in names]
        return parts

    def read(self, key: str) -> bytes:
        """The file's bytes; raises UserError when it is gone or can't be read."""
        return read_file(self.root, key)


def check_root(root: Path) -> None:
    """Raise UserError unless `root` is a folder."""
    if not root.exists():
        raise UserError("no such folder", at=root, hint="check the path, or restore the folder")
    if not root.is_dir():
        raise UserError("a file, not a folder of images", at=root, hint=LAYOUTS)


def read_file(root: Path, key: str) -> bytes:
    """The bytes of the file `key` (relative, POSIX) below `root`; raises UserError when it can't be read."""
    relative = PurePosixPath(key)
    if relative.is_absolute() or ".." in relative.parts or "\0" in key:
        raise UserError(f"{key!r} is not a path inside the source", at=root, hint="make the set again")
    path = root / relative
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode) or found.st_size > MAX_BYTES:
            what = f"{found.st_size:,} bytes long" if stat.S_ISREG(found.st_mode) else "not a regular file"
            raise BadImage(f"it is {what}", at=path, hint="replace or remove it, then make the set again")
        return path.read_bytes()
    except FileNotFoundError as error:
        raise UserError("the image is missing", at=path, hint="restore the file, or make the set again") from error
    except OSError as error:
        raise UserError(f"the image can't be read ({error.strerror})", at=path, hint="check its permissions") from error


def _scan(root: Path, folder: Path, skipped: list[str]) -> Listing:
    """`folder` as `scan` has it; hidden folders and images are noted in `skipped`, relative to `root`."""
    found = scan(folder)
    # ._x.jpg is what macOS keeps beside x.jpg on foreign disks, and no image
    images = [n for n in found.hidden_others if Path(n).suffix.lower() in IMAGE_SUFFIXES and not n.startswith("._")]
    skipped += [f"{_key(root, folder, name)}/" for name in found.hidden_folders]
    skipped += [_key(root, folder, name) for name in images]
    return found


def _scan_folders(root: Path, folder: Path, skipped: list[str]) -> list[str]:
    """The folders in `folder`, which holds classes or parts; images that lie beside them are noted too."""
    found = _scan(root, folder, skipped)
    for name in found.others:
        if Path(name).suffix.lower() in IMAGE_SUFFIXES:
            skipped.append(_key(root, folder, name))
    return found.folders


def _key(root: Path, folder: Path, name: str) -> str:
    return (folder.relative_to(root) / name).as_posix()


def _split_tree(root: Path, folders: list[str], skipped: list[str]) -> dict[Part, Files]:
    if missing := [part for part in ("train", "test") if part not in folders]:
        raise UserError(
            f"{some([name for name in folders if name in PARTS])} without {' and '.join(missing)}",
            at=root,
            hint="a split source needs train and test; in an unsplit one no class may be called train, val or test",
        )
    if beside := [name for name in folders if name not in PARTS]:
        raise UserError(
            f"folders beside train, val and test: {some(beside)}",
            at=root,
            hint="rename a validation part to val, and move other folders elsewhere",
        )
    tree = {
        part: _class_files(root, root / part, _scan_folders(root, root / part, skipped), skipped)
        for part in PARTS
        if part in folders
    }
    for part, files in tree.items():
        if unknown := [name for name in files if name not in tree["train"]]:
            raise UserError(
                f"classes in {part} but not in train: {some(unknown)}", at=root / part, hint="add or remove them"
            )
    if untested := [name for name in tree["train"] if name not in tree["test"]]:
        raise UserError(
            f"classes in train but not in test: {some(untested)}", at=root / "test", hint="add or remove them"
        )
    for part in ("train", "test"):
        _refuse_empty(root / part, tree[part], least=1)
    return tree


def _class_files(root: Path, parent: Path, folders: list[str], skipped: list[str]) -> Files:
    files: Files = {}
    nested: list[str] = []
    strays: list[str] = []
    for folder in folders:
        found = _scan(root, parent / folder, skipped)
        inner, names = found.folders, found.others
        place = (parent / folder).relative_to(root).as_posix()
        nested += [f"{place}/{name}" for name in inner]
        good = [name for name in names if _is_image_file(parent / folder / name)]
        if len(good) < len(names):
            kept = set(good)
            strays += [f"{place}/{name}" for name in names if name not in kept]
        files[folder] = good
    if nested:
        raise UserError(f"{counted(len(nested), 'folder')} inside class folders: {some(nested)}", at=root, hint=LAYOUTS)
    if strays:
        verb = "is not an image" if len(strays) == 1 else "are not images"
        raise UserError(f"{counted(len(strays), 'file')} {verb}: {some(strays)}", at=root, hint="move or convert them")
    return files


def _is_image_file(path: Path) -> bool:
    # is_file: a pipe or a dead link called x.png is none
    return path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()


def _refuse_empty(at: Path, files: Files, *, least: int) -> None:
    if empty := [folder for folder, names in files.items() if not names]:
        raise UserError(f"class folders without images: {some(empty)}", at=at, hint="add images, or remove the folders")
    if few := [folder for folder, names in files.items() if len(names) < least]:
        raise UserError(
            f"classes with a single image: {some(few)}",
            at=at,
            hint="each class needs one image for training and one for testing: add images",
        )
