"""Class names of a folder of images: the folder names made readable, or what its classes.csv says."""

from __future__ import annotations

import csv
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


def name_classes(root: Path, folders: Sequence[str]) -> tuple[ClassInfo, ...]:
    """One ClassInfo a folder, in the order given; names differ by more than case (CLIP reads lower case).

    `root/classes.csv`, UTF-8 with columns folder, name and optionally prefix, synset, definition, names the
    folders it lists; a folder it doesn't list, or gives no name, has its default name. Raises UserError for a
    malformed table, a row without its folder, and two classes of one name.
    """
    path = root / FILE_NAME
    rows = _read(path) if path.is_file() else {}
    if unknown := sorted(set(rows) - {_same(folder) for folder in folders}):
        raise UserError(
            f"classes.csv names folders that don't exist: {some(unknown)}", at=path, hint="remove or correct these rows"
        )
    classes = tuple(_class(folder, rows.get(_same(folder), {})) for folder in folders)
    by_name: dict[str, ClassInfo] = {}
    for class_ in classes:
        twin = by_name.setdefault(class_.name.casefold(), class_)
        if twin is not class_:
            raise UserError(
                f"classes {twin.folder!r} and {class_.folder!r} have the same name {class_.name!r}",
                at=root,
                hint="give each its own name in classes.csv (columns folder,name)",
            )
    return classes


def _class(folder: str, row: dict[str, str]) -> ClassInfo:
    return ClassInfo(
        folder=folder,
        name=row.get("name") or class_name(_same(folder)),
        prefix=row.get("prefix", ""),
        synset=row.get("synset") or None,
        definition=row.get("definition") or None,
    )


def _read(path: Path) -> dict[str, dict[str, str]]:
    """Rows by folder, cells stripped."""
    hint = f"the first line names the columns: {','.join(COLUMNS)} (the last three may be left out)"
    try:
        text = path.read_bytes().decode("utf-8-sig")
        header, *lines = list(csv.reader(io.StringIO(text, newline=""), strict=True)) or [[]]
    except UnicodeDecodeError as error:
        raise UserError("classes.csv is not UTF-8", at=path, hint="save it as UTF-8") from error
    except (csv.Error, OSError) as error:
        raise UserError(f"classes.csv can't be read ({error})", at=path, hint=hint) from error
    columns = [column.strip() for column in header]
    if missing := [column for column in REQUIRED if column not in columns]:
        raise UserError(f"classes.csv has no column {some(missing)}", at=path, hint=hint)
    if unknown := [column for column in columns if column not in COLUMNS or columns.count(column) > 1]:
        raise UserError(f"classes.csv has unknown or repeated columns: {some(unknown)}", at=path, hint=hint)
    rows: dict[str, dict[str, str]] = {}
    for number, line in enumerate(lines, start=2):
        if not any(cell.strip() for cell in line):
            continue
        if len(line) != len(columns):
            raise UserError(
                f"row {number} of classes.csv has {len(line)} cells, not {len(columns)}",
                at=path,
                hint="put cells that hold commas in double quotes",
            )
        row = dict(zip(columns, (cell.strip() for cell in line), strict=True))
        if rows.setdefault(_same(row["folder"]), row) is not row:
            raise UserError(f"classes.csv names folder {row['folder']!r} twice", at=path, hint="remove one of the rows")
    return rows


def _same(text: str) -> str:
    # file systems may store é as e and an accent, spreadsheets as one letter
    return unicodedata.normalize("NFC", text)
