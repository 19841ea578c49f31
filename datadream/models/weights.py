"""Which files hold a part's weights: a safetensors file, a variant of it, or an index's shards. No torch here."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from datadream.errors import UserError
from datadream.models import headers
from datadream.models.configs import AGAIN, read_config

DIFFUSERS = "diffusion_pytorch_model"
TRANSFORMERS = "model"
PREFERRED = ("fp16", "bf16")  # of variants, when there is no file without one
PICKLES = {".bin", ".pt", ".pth", ".ckpt", ".pkl"}
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Weights:
    """Where a part's tensors lie: every file, the variant's name if they are one, and each tensor's shape."""

    files: tuple[Path, ...]
    variant: str | None
    shapes: dict[str, Shape]


def find_weights(folder: Path, stem: str, part: str) -> Weights:
    """The weights of `part` in `folder`, as its library would choose them; only headers are read.

    Without a file of that name the one variant there is taken, fp16 before bf16. Raises UserError when there is none,
    when several variants are left to choose from, when a shard or a key of the index is missing, or a file is damaged.
    """
    names = {path.name for path in folder.iterdir() if path.is_file()} if folder.is_dir() else set()
    if not names:
        raise UserError(f"{part} is missing: its folder is missing or empty", at=folder, hint=AGAIN)
    variant = None
    if not _named(names, stem, None):
        variant = _variant(folder, names, stem, part)
    name = _named(names, stem, variant)
    assert name is not None
    if name.endswith(".json"):
        return _shards(folder, name, variant, part)
    return Weights((folder / name,), variant, headers.read(folder / name))


def strip_prefix(shapes: dict[str, Shape], wanted: str) -> str | None:
    """The prefix under which the tensor `wanted` is kept instead, as `module.`, if there is one."""
    return next((name.removesuffix(wanted) for name in sorted(shapes) if name.endswith("." + wanted)), None)


def lacking(part: str, wanted: str, prefix: str | None, path: Path) -> UserError:
    """Why weights without the tensor `wanted` aren't this part's; `prefix` is what stands before its name instead."""
    if prefix:
        return UserError(
            f"{part}'s weights were saved from a wrapper: their names begin with {prefix[:60]!r}"
            f", as in {prefix[:60]}{wanted}",
            at=path,
            hint="save the inner model again, or strip that prefix from the names",
        )
    return UserError(f"{part} lacks the weight {wanted}: the file belongs to another model", at=path, hint=AGAIN)


def refuse_pickled(folder: Path, part: str, files: str) -> None:
    """Raise UserError when `folder`, which has no safetensors, has pickled weights; `files` is what to get instead."""
    pickled = sorted(path.name for path in folder.iterdir() if path.suffix in PICKLES)
    if pickled:
        raise UserError(
            f"{part} has only pickled weights ({pickled[0]}), which can run arbitrary code when opened",
            at=folder,
            hint=f"get the safetensors {files}, or save the model as safetensors on a machine where you trust it",
        )


def _no_weights(folder: Path, stem: str, part: str) -> UserError:
    """Why `folder` holds no weights called `stem`, from what lies there instead."""
    refuse_pickled(folder, part, "files")
    other = sorted(path.name for path in folder.glob("*.safetensors"))
    found = f"; found {other[0]}" if other else ""
    return UserError(f"{part} has no {stem}.safetensors{found}", at=folder, hint=AGAIN)


def _named(names: set[str], stem: str, variant: str | None) -> str | None:
    """The file, or else the index, of this variant. diffusers looks for the index first, transformers last."""
    middle = f".{variant}" if variant else ""
    single = f"{stem}{middle}.safetensors"
    indexes = [f"{stem}.safetensors.index{middle}.json"]
    if variant and stem == DIFFUSERS:
        indexes.append(f"{stem}{middle}.safetensors.index.json")
    ordered = [*indexes, single] if stem == DIFFUSERS else [single, *indexes]
    return next((name for name in ordered if name in names), None)


def _variant(folder: Path, names: set[str], stem: str, part: str) -> str:
    pattern = re.compile(
        rf"{re.escape(stem)}\.(?:([\w-]+)\.safetensors(?:\.index\.json)?|safetensors\.index\.([\w-]+)\.json)"
    )
    matches = [match for name in names if (match := pattern.fullmatch(name))]
    found = sorted({match[1] or match[2] for match in matches})
    chosen = next((name for name in PREFERRED if name in found), found[0] if len(found) == 1 else None)
    if chosen is not None and _named(names, stem, chosen):
        return chosen
    if not found:
        raise _no_weights(folder, stem, part)
    raise UserError(
        f"{part} has several variants ({', '.join(found)}) and none without a variant name",
        at=folder,
        hint=f"rename the one to use to {stem}.safetensors",
    )


def _shards(folder: Path, name: str, variant: str | None, part: str) -> Weights:
    index = read_config(folder / name)
    placed = index.get("weight_map")
    if not isinstance(placed, dict) or not placed or not all(_is_plain(shard) for shard in placed.values()):
        raise UserError("the index names no shards (weight_map)", at=folder / name, hint=AGAIN)
    shapes: dict[str, Shape] = {}
    for shard in sorted(set(placed.values())):
        keys = sorted(key for key, where in placed.items() if where == shard)
        lacking = keys
        if (folder / shard).is_file():
            held = headers.read(folder / shard)
            shapes |= held
            lacking = [key for key in keys if key not in held]
        if lacking:
            what = "is missing" if lacking is keys else "lacks them"
            raise UserError(
                f"{part} lacks {len(lacking)} of {len(placed)} weights, e.g. {lacking[0]}: the shard {shard} {what}",
                at=folder,
                hint=AGAIN,
            )
    return Weights(tuple(folder / shard for shard in sorted(set(placed.values()))), variant, shapes)


def _is_plain(name: object) -> bool:
    return isinstance(name, str) and name.endswith(".safetensors") and Path(name).name == name
