"""The header of a safetensors file, checked before anything is loaded from it. No torch here.

A file is 8 bytes of length n, n bytes of JSON (name: dtype, shape, data_offsets; `__metadata__`: strings), and the
tensors' bytes, which the offsets must cover once, from first to last.
"""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path
from typing import Any

from datadream import durable
from datadream.errors import UserError
from datadream.models.configs import refuse_pointer

HEADER_MAX = 16 << 20  # a model of 100,000 tensors needs 12 MB; the library allows 100, which take seconds to read
DIMENSIONS_MAX = 16
BITS = {
    **dict.fromkeys(("F4",), 4),
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 16),
    **dict.fromkeys(("U32", "I32", "F32"), 32),
    **dict.fromkeys(("U64", "I64", "F64", "C64"), 64),
}


def check_file(path: Path) -> None:
    """Raise UserError unless `path` is a safetensors file, whole and plain; reads its header only."""
    read(path)


def read(path: Path) -> dict[str, tuple[int, ...]]:
    """The shape of every tensor in `path`, by name. Raises UserError as `check_file` does."""
    try:
        raw, data_size = _read(path)
        header = json.loads(raw.decode("utf-8"), object_pairs_hook=_once)
        if not isinstance(header, dict):
            raise ValueError("its header is not an object")
        _check_metadata(header.pop("__metadata__", {}))
        _check_cover(sorted(_span(entry) for entry in header.values()), data_size)
        return {name: tuple(entry["shape"]) for name, entry in header.items()}
    except OSError as error:
        raise UserError(f"can't read the weights ({error.strerror})", at=path, hint="check its permissions") from error
    except (ValueError, RecursionError) as error:
        no_json = isinstance(error, UnicodeDecodeError | json.JSONDecodeError | RecursionError)
        what = "its header is not JSON" if no_json else error
        hint = "get the file again from its source"
        raise UserError(f"not a valid safetensors file: {what}", at=path, hint=hint) from error


def _read(path: Path) -> tuple[bytes, int]:
    """The header and the number of bytes after it."""
    with durable.open_regular(path) as file:
        refuse_pointer(file.read(64), path)
        file.seek(0)
        rest = path.stat().st_size - 8
        if rest < 0:
            raise ValueError("it is empty or truncated")
        (length,) = struct.unpack("<Q", file.read(8))
        if length > min(rest, HEADER_MAX):
            raise ValueError(f"its header would be {length:,} bytes long; it is truncated or not a safetensors file")
        return file.read(length), rest - length


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("its header has a duplicate key")
    return found


def _check_metadata(metadata: Any) -> None:
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError("its metadata is not all text")


def _span(entry: Any) -> tuple[int, int]:
    """Where a tensor's bytes begin and end."""
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise ValueError("its header has an entry that is not a tensor")
    shape, offsets = entry["shape"], entry["data_offsets"]
    if not _are_sizes(shape) or len(shape) > DIMENSIONS_MAX or not _are_sizes(offsets) or len(offsets) != 2:
        raise ValueError("a tensor's shape or offset is invalid")
    if entry["dtype"] not in BITS:
        raise ValueError(f"a tensor's type is unknown: {str(entry['dtype'])[:20]!r}")
    if 8 * (offsets[1] - offsets[0]) != math.prod(shape) * BITS[entry["dtype"]]:
        raise ValueError("a tensor's shape does not match its offsets")
    return offsets[0], offsets[1]


def _are_sizes(numbers: Any) -> bool:
    return isinstance(numbers, list) and all(type(number) is int and 0 <= number < 2**63 for number in numbers)


def _check_cover(spans: list[tuple[int, int]], size: int) -> None:
    place = 0
    for begin, end in spans:
        if begin != place:
            raise ValueError("its tensors overlap, or leave gaps")
        place = end
    if place != size:
        raise ValueError("its tensors are shorter or longer than the file")
