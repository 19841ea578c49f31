"""What an earlier attempt left to go on from: whose it is, and whether it is whole.

`owner.json` in a checkpoint's folder says which spec it works on, the digests of its inputs and the code that made it;
whoever runs the job writes it. Checkpoints name that owner too, and carry a checksum. Files that are finished stand in
`finished.jsonl` with their sha256.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datadream import durable
from datadream.canonical import digest, sha256_known

if TYPE_CHECKING:
    from torch import Tensor

OWNER = "owner.json"
FINISHED = "finished.jsonl"


def read_owner(checkpoint: Path) -> dict[str, Any]:
    """What `owner.json` says; empty where there is none that can be read."""
    try:
        found = json.loads(durable.read_bytes(checkpoint / OWNER))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def owner_of(checkpoint: Path) -> str:
    """One word for the spec and the inputs that a checkpoint here belongs to; "" where nobody said."""
    found = read_owner(checkpoint)
    return digest([str(found.get("spec")), found.get("inputs") or {}]) if found else ""


def tensors_digest(tensors: Mapping[str, Tensor], *words: str) -> str:
    """sha256 over names, types, shapes and bytes of `tensors`, and over `words`."""
    import torch

    total = hashlib.sha256("\0".join(words).encode())
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        total.update(f"\n{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        total.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()


class Finished:
    """Files below `root` that are finished, with the sha256 each had then. Many threads may add.

    They are remembered in the folder `checkpoint`, None for nowhere; `known` are hashes known from elsewhere, by name.
    What was remembered for another owner doesn't count.
    """

    def __init__(self, root: Path, checkpoint: Path | None, known: Mapping[str, str] | None = None) -> None:
        self._root = root
        self._hashes = dict(known or {})
        self._lock = threading.Lock()
        self._appender: durable.Appender | None = None
        if checkpoint is not None:
            path, owner = checkpoint / FINISHED, owner_of(checkpoint)
            for record in read_lines(path):
                if record.get("owner") == owner:
                    self._hashes[str(record.get("file"))] = str(record.get("sha256"))
            self._appender, self._owner = durable.Appender(path), owner

    def holds(self, file: Path) -> bool:
        """Whether `file` is there with the bytes it had when it was finished."""
        known = self._hashes.get(self._name(file))
        return known is not None and file.is_file() and sha256_known(file) == known

    def add(self, file: Path, sha256: str) -> None:
        """Remember that `file` is finished."""
        name = self._name(file)
        with self._lock:
            self._hashes[name] = sha256
            if self._appender is not None:
                self._appender.append({"file": name, "sha256": sha256, "owner": self._owner})

    def close(self) -> None:
        """No more files."""
        if self._appender is not None:
            self._appender.close()

    def _name(self, file: Path) -> str:
        return file.relative_to(self._root).as_posix()


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The good lines of a JSON-lines file, one after another: a large set has hundreds of thousands."""
    try:
        with durable.open_regular(path) as file:
            for line in file:
                try:
                    record = json.loads(line)
                except ValueError:
                    continue
                if isinstance(record, dict):
                    yield record
    except FileNotFoundError:
        return
