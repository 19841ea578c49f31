"""Class names of a folder of images: the folder names made readable, or what its classes.csv says."""

from __future__ import annotations

import codecs
import csv
import difflib
import io
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from datadream.data.listing import some
from datadream.data.prompts import ClassInfo, class_name
from datadream.errors import UserError

FILE_NAME = "classes.csv"
REQUIRED = ("folder", "name")
COLUMNS = (*REQUIRED, "prefix", "synset", "definition")
HINT = f"the first line names the columns: {','.join(COLUMNS)} (the last three may be left out)"
SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}
MAX_BYTES = 64 << 20


def name_classes(root: Path, folders: Sequence[str], skipped: Sequence[str] = ()) -> tuple[ClassInfo, ...]:
    """One ClassInfo a folder, in the order given; names differ by more than case (CLIP reads lower case).

    `root/classes.csv`, UTF-8 with columns folder, name and optionally prefix, synset, definition, names the
    folders it lists; a folder it doesn't list, or gives no name, has its default name. `skipped` are folders that are
    no classes because they are hidden. Raises UserError for a malformed table, a row without its folder, a folder
    whose name has no visible character, and two classes of one name.
    """
    path = root / FILE_NAME
    rows = _read(path) if path.is_file() else {}
    if unknown := sorted(set(rows) - {_same(folder) for folder in folders}):
        hidden = [name for name in unknown if f"{name}/" in {_same(place) for place in skipped}]
        if hidden:
            raise UserError(
                f"classes.csv names hidden folders, which are not classes: {some(hidden)}",
                at=path,
                hint="rename these folders, or remove the rows",
            )
        raise UserError(
            f"classes.csv names folders that don't exist: {some(unknown)}", at=path, hint="remove or correct these rows"
        )
    classes = tuple(_class(root, folder, rows.get(_same(folder), {})) for folder in folders)
    by_name: dict[str, ClassInfo] = {}
    for class_ in classes:
        twin = by_name.setdefault(_same(class_.name.casefold()), class_)
        if twin is not class_:
            raise UserError(
                f"classes {twin.folder!r} and {class_.folder!r} have the same name {class_.name!r}",
                at=root,
                hint="give each its own name in classes.csv (columns folder,name)",
            )
    return classes


def _class(root: Path, folder: str, row: dict[str, str]) -> ClassInfo:
    name = row.get("name") or class_name(_same(folder))
    if not name.split():
        raise UserError(
            f"folder name {folder!r} has no visible character for a class name",
            at=root,
            hint="rename it, or name the class in classes.csv (columns folder,name)",
        )
    return ClassInfo(
        folder=folder,
        name=name,
        prefix=row.get("prefix", ""),
        synset=row.get("synset") or None,
        definition=row.get("definition") or None,
    )


def _read(path: Path) -> dict[str, dict[str, str]]:
    """Rows by folder, cells stripped."""
    lines = _lines(path)
    columns = [column.strip() for column in lines[0]] if lines else []
    _check_columns(path, columns)
    rows: dict[str, dict[str, str]] = {}
    for number, line in enumerate(lines[1:], start=2):
        if not any(cell.strip() for cell in line):
            continue
        if len(line) != len(columns):
            raise UserError(
                f"row {number} of classes.csv has {len(line)} cells, not {len(columns)}",
                at=path,
                hint="put cells that hold commas in double quotes",
            )
        row = dict(zip(columns, (cell.strip() for cell in line), strict=True))
        if not row["folder"]:
            raise UserError(
                f"row {number} of classes.csv names no folder", at=path, hint="fill in the folder, or remove the row"
            )
        if rows.setdefault(_same(row["folder"]), row) is not row:
            raise UserError(f"classes.csv names folder {row['folder']!r} twice", at=path, hint="remove one of the rows")
    return rows


def _lines(path: Path) -> list[list[str]]:
    """The cells of every line. Raises UserError for a file that is no CSV in UTF-8."""
    try:
        data = path.read_bytes() if path.stat().st_size <= MAX_BYTES else None
    except OSError as error:
        raise UserError(
            f"classes.csv can't be read: {error.strerror}", at=path, hint="check its permissions"
        ) from error
    if data is None:
        raise UserError(f"classes.csv is larger than {MAX_BYTES:,} bytes", at=path, hint="keep one row per class")
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in data:
        raise UserError("classes.csv is UTF-16, not UTF-8", at=path, hint="save it as CSV UTF-8")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UserError(f"line {line} of classes.csv is not UTF-8", at=path, hint="save it as CSV UTF-8") from error
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        return list(reader)
    except csv.Error as error:
        raise UserError(
            f"the double quotes in classes.csv don't match, at line {reader.line_num}",
            at=path,
            hint="put a whole cell in double quotes, and double those inside it",
        ) from error


def _check_columns(path: Path, columns: Sequence[str]) -> None:
    """Raise UserError unless these are columns of ours, each once, and folder and name are among them."""
    if not any(columns):
        raise UserError("classes.csv is empty: no header line", at=path, hint=HINT)
    if len(columns) == 1:
        for mark, word in SEPARATORS.items():
            if mark in columns[0]:
                raise UserError(f"classes.csv is separated by {word}, not commas", at=path, hint="save it with commas")
    for number, column in enumerate(columns, start=1):
        if not column:
            place = "at the end of" if number == len(columns) else "in"
            raise UserError(
                f"column {number} of classes.csv has no name",
                at=path,
                hint=f"remove the comma {place} its first line and that cell of every row, or name the column",
            )
        if column not in COLUMNS:
            near = difflib.get_close_matches(column.casefold(), COLUMNS, n=1)
            meant = f"did you mean {near[0]}? " if near else ""
            raise UserError(f"classes.csv has an unknown column {column!r}", at=path, hint=f"{meant}{HINT}")
        if columns.index(column) < number - 1:
            raise UserError(f"classes.csv has the column {column} twice", at=path, hint="remove one of them")
    if missing := [column for column in REQUIRED if column not in columns]:
        raise UserError(f"classes.csv has no column {some(missing)}", at=path, hint=HINT)


def _same(text: str) -> str:
    # file systems may store é as e and an accent, spreadsheets as one letter
    return unicodedata.normalize("NFC", text)
