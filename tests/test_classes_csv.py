"""A classes.csv that can't be read says what is wrong where, in our words."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from datadream.data.source import open_source
from datadream.errors import UserError


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    for label, name in enumerate(("cat", "dog")):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for i in range(4):
            Image.new("RGB", (2, 2), (i, label, 0)).save(tmp_path / "pets" / name / f"{i}.png")
    return tmp_path / "pets"


def refused(root: Path, data: bytes) -> str:
    (root / "classes.csv").write_bytes(data)
    with pytest.raises(UserError) as caught:
        open_source(str(root))
    assert caught.value.hint
    assert str(root / "classes.csv") in str(caught.value)
    return caught.value.message


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("folder,name,\ncat,kitty,\n", "column 3 of classes.csv has no name"),
        ("folder,,name\ncat,,kitty\n", "column 2 of classes.csv has no name"),
        (",folder,name\n0,cat,kitty\n", "column 1 of classes.csv has no name"),
        ("folder,name, \t\ncat,kitty,\n", "column 3 of classes.csv has no name"),
        ("folder;name\ncat;kitty\n", "classes.csv is separated by semicolons, not commas"),
        ("sep=;\nfolder;name\n", "classes.csv is separated by semicolons, not commas"),
        ("folder\tname\ncat\tkitty\n", "classes.csv is separated by tabs, not commas"),
        ("folder|name\ncat|kitty\n", "classes.csv is separated by bars, not commas"),
        ("folder,name,name\ncat,a,b\n", "classes.csv has the column name twice"),
        ("folder,name,colour\ncat,a,b\n", "classes.csv has an unknown column 'colour'"),
        ("Folder,name\ncat,a\n", "classes.csv has an unknown column 'Folder'"),
        ("name,prefix\ncat,a\n", "classes.csv has no column folder"),
        ("", "classes.csv is empty: no header line"),
        ("\n\n", "classes.csv is empty: no header line"),
        ('folder,name\ncat,"kitty\n', "the double quotes in classes.csv don't match, at line 2"),
        ('folder,name\ncat,"kitty" b\n', "the double quotes in classes.csv don't match, at line 2"),
        ("folder,name\n,kitty\n", "row 2 of classes.csv names no folder"),
        ("folder,name\ncat\n", "row 2 of classes.csv has 1 cells, not 2"),
        ("folder,name\ncat,a\ncat,b\n", "classes.csv names folder 'cat' twice"),
    ],
)
def test_each_oddity_has_its_sentence(table: str, said: str, pets: Path) -> None:
    assert refused(pets, table.encode()) == said


def test_an_unknown_column_offers_the_nearest(pets: Path) -> None:
    (pets / "classes.csv").write_text("Folder,name\ncat,a\n")
    with pytest.raises(UserError, match="did you mean folder"):
        open_source(str(pets))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_utf_16_is_named(encoding: str, pets: Path) -> None:
    assert refused(pets, "folder,name\ncat,été\n".encode(encoding)) == "classes.csv is UTF-16, not UTF-8"


def test_other_encodings_name_the_line(pets: Path) -> None:
    assert refused(pets, "folder,name\ncat,été\n".encode("latin-1")) == "line 2 of classes.csv is not UTF-8"


@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
def test_line_ends_and_a_mark_of_utf_8_do_not_matter(ends: str, pets: Path) -> None:
    text = ends.join(["folder,name", 'cat,"kitty, small"', "", ""])
    (pets / "classes.csv").write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert [class_.name for class_ in open_source(str(pets)).classes] == ["kitty, small", "dog"]


def test_a_hidden_folder_is_no_class_and_a_row_for_it_says_why(pets: Path) -> None:
    (pets / ".bird").mkdir()
    said = refused(pets, b"folder,name\n.bird,bird\n")
    assert said == "classes.csv names hidden folders, which are not classes: .bird"


def test_a_folder_without_a_visible_name_is_refused(pets: Path) -> None:
    (pets / "dog").rename(pets / "\u3000")
    with pytest.raises(UserError, match="has no visible character for a class name"):
        open_source(str(pets))


def test_what_was_left_out_is_listed(pets: Path) -> None:
    for folder in (".ipynb_checkpoints", "__MACOSX", "cat/.cache"):
        (pets / folder).mkdir()
    for file in ("cat/.DS_Store", "cat/Thumbs.db", "cat/.hidden.png", "dog/._1.png", "loose.jpg", "README.txt"):
        (pets / file).write_bytes(b"x")
    source = open_source(str(pets))
    assert len(source.classes) == 2
    assert set(source.skipped) == {".ipynb_checkpoints/", "__MACOSX/", "cat/.cache/", "cat/.hidden.png", "loose.jpg"}
    for part in ("train", "test"):
        for name in ("cat", "dog"):
            (pets / part / name).mkdir(parents=True)
            Image.new("RGB", (2, 2), (part == "train" and "red") or "blue").save(pets / part / name / "0.png")
    (pets / "train" / ".old").mkdir()
    for folder in ("cat", "dog"):
        (pets / folder).rename(pets.parent / folder)
    assert "train/.old/" in open_source(str(pets)).skipped
