"""Makes tests/tui/data/home.tar.xz, the home that snapshots are drawn of, from a real one: `... make_home HOME [FOLDER]`,
where FOLDER is the checkout that made it, when that is another than this.

Left out: weights, checkpoints, the registry, and all but the first images of each class. Paths of the machine that made
it are replaced. Everything else is as the jobs left it.
"""

from __future__ import annotations

import io
import sys
import tarfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
TARGET = Path(__file__).parent / "data" / "home.tar.xz"
IMAGES = 4
PLACES = ("jobs", "artifacts", "runs", "names", "labels", "experiments")
DROPPED = (".safetensors", ".db")


def kept(path: Path) -> bool:
    """Whether the file goes into the archive."""
    if path.suffix in DROPPED or "checkpoint" in path.parts or path.name in ("lease", "control.lock", ".lease"):
        return False
    return path.suffix != ".png" or int(path.stem) < IMAGES


def main() -> None:
    """Write the archive; the same bytes for the same home."""
    home = Path(sys.argv[1])
    TARGET.parent.mkdir(exist_ok=True)
    with tarfile.open(TARGET, "w:xz", preset=9) as archive:
        for place in PLACES:
            for path in sorted((home / place).rglob("*")):
                if path.is_file() and kept(path):
                    content = path.read_bytes()
                    if path.suffix != ".png":
                        for folder in sys.argv[2:] or [str(ROOT)]:
                            content = content.replace(folder.encode(), b"/opt/datadream")
                        content = content.replace(sys.argv[1].encode(), b"/home/me/dream")
                    entry = tarfile.TarInfo(str(path.relative_to(home)))
                    entry.size, entry.mode = len(content), 0o600
                    archive.addfile(entry, io.BytesIO(content))
    sys.stdout.write(f"{TARGET}: {TARGET.stat().st_size} bytes\n")


if __name__ == "__main__":
    main()
