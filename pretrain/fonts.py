"""The printed faces of the corpus: which Debian packages, which files, which glyphs they have."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

PACKAGES = (
    "fonts-adf-accanthis",
    "fonts-cantarell",
    "fonts-cmu",
    "fonts-comfortaa",
    "fonts-courier-prime",
    "fonts-crosextra-carlito",
    "fonts-crosextra-caladea",
    "fonts-dejavu",
    "fonts-ebgaramond",
    "fonts-firacode",
    "fonts-freefont-ttf",
    "fonts-hack",
    "fonts-inconsolata",
    "fonts-inter",
    "fonts-jetbrains-mono",
    "fonts-junicode",
    "fonts-lato",
    "fonts-liberation2",
    "fonts-linuxlibertine",
    "fonts-noto-core",
    "fonts-open-sans",
    "fonts-quicksand",
    "fonts-roboto-unhinted",
    "fonts-texgyre",
    "fonts-urw-base35",
    "fonts-vollkorn",
    "fonts-sil-gentiumplus",
    "fonts-sil-charis",
    "fonts-sil-andika",
    "fonts-sil-doulos",
    "fonts-adf-baskervald",
    "fonts-adf-universalis",
    "fonts-mononoki",
    "fonts-play",
    "fonts-cabin",
    "fonts-tuffy",
    "fonts-gfs-didot",
    "fonts-dosis",
    "fonts-fanwood",
    "fonts-karla",
    "fonts-league-spartan",
    "fonts-oldstandard",
    "fonts-stix",
    "fonts-prociono",
    "fonts-jura",
    "fonts-monoid",
    "fonts-anonymous-pro",
    "fonts-yanone-kaffeesatz",
    "fonts-b612",
    "fonts-agave",
    "fonts-go",
    "fonts-goudybookletter",
    "fonts-averia-sans-gwf",
    "fonts-averia-serif-gwf",
)

# Faces that imitate a hand, or hold symbols, small capitals and the like, are left out by name.
NOT_PRINT = re.compile(
    r"script|hand|chancery|cursiv|calligra|brush|comic|italic.*swash|swash|ornament|symbol|dingbat|emoji|icon|"
    r"math|asana|music|initial|fell.*flower|lohit|smallcap|-sc[-.]|_sc|caps|sansation.*deco|barcode|braille|d050000l|"
    r"z003|chorus|pointless|keyboard|awesome|xits.*it.*swash",
    re.IGNORECASE,
)


def faces() -> list[Path]:
    """Font files of the installed PACKAGES that are plain print, sorted by name; raises when none is installed."""
    files: set[Path] = set()
    for package in PACKAGES:
        listing = subprocess.run(["dpkg", "-L", package], capture_output=True, text=True, check=False).stdout
        files |= {Path(line) for line in listing.splitlines() if line.lower().endswith((".ttf", ".otf"))}
    found = sorted({file.name: file for file in sorted(files) if not NOT_PRINT.search(file.name)}.values())
    if not found:
        raise SystemExit("no font packages found: run `make pretrain-fonts` on Debian first")
    return found


def covers(face: Path, text: str) -> bool:
    """Whether `face` has its own glyph for every character of `text`."""
    from fontTools.ttLib import TTFont, TTLibError

    try:
        with TTFont(face, lazy=True, fontNumber=0) as font:
            table = font.getBestCmap() or {}
    except (TTLibError, KeyError, OSError):
        return False
    return all(ord(character) in table for character in text)


def licences(package: str) -> list[str]:
    """Licence short names in a package's Debian copyright file, in order, without repeats."""
    path = Path("/usr/share/doc") / package / "copyright"
    text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    names = re.findall(r"^License:[ \t]*(\S.*)$", text, flags=re.MULTILINE)
    return list(dict.fromkeys(name.strip() for name in names)) or ["see " + str(path)]
