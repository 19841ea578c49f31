"""The one owner of device, dtype and seeds.

Every random draw comes from `(purpose, seed, parts...)` hashed to a generator of its own, always on the CPU, so
it does not depend on device, batch size, order or interruption.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, NoReturn

import torch

from datadream.canonical import digest
from datadream.errors import UserError
from datadream.models.environment import DEVICE, device_asked, threads_asked
from datadream.models.gpus import VISIBLE

CPU_THREADS_MAX = 8


@cache
def device() -> torch.device:
    """CUDA when there is a GPU, else the CPU; `DATADREAM_DEVICE` (cpu, cuda, cuda:1) overrides.

    On the CPU torch gets as many threads as are asked for (`threads_asked`), else one for each core this process may
    run on, up to CPU_THREADS_MAX. Raises UserError for a device that isn't there.
    """
    asked = device_asked()
    if asked.startswith("cuda"):
        _check_cuda(asked)
    found = torch.device(asked or ("cuda" if torch.cuda.is_available() else "cpu"))
    if found.type == "cpu":
        torch.set_num_threads(threads_asked() or min(len(os.sched_getaffinity(0)), CPU_THREADS_MAX))
    torch.use_deterministic_algorithms(True, warn_only=True)
    return found


def _check_cuda(asked: str) -> None:
    """Raise UserError unless CUDA has the device."""
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if int(asked.partition(":")[2] or 0) < count:
        return
    seen = os.environ.get(VISIBLE)
    where = "" if seen is None else f" with {VISIBLE}={seen or repr('')}"
    devices = f"only {count} device{'' if count == 1 else 's'}" if count else "no device"
    raise UserError(f"{DEVICE}={asked}, but CUDA has {devices} here{where}", hint=f"change or unset {DEVICE}")


def base_dtype() -> torch.dtype:
    """Of frozen weights: bfloat16 on CUDA, float32 on the CPU, where bfloat16 is hundreds of times slower."""
    return torch.bfloat16 if device().type == "cuda" else torch.float32


def precision() -> str:
    """ "in bfloat16", for a message about numbers that overflowed in it."""
    return f"in {base_dtype()}".replace("torch.", "")


def key(purpose: str, seed: int, *parts: int | str) -> int:
    """The 63-bit seed of one draw."""
    return int(digest([purpose, seed, *parts])[:16], 16) >> 1


def generator(purpose: str, seed: int, *parts: int | str) -> torch.Generator:
    """A CPU generator for one draw."""
    return torch.Generator().manual_seed(key(purpose, seed, *parts))


def seed_global(purpose: str, seed: int, *parts: int | str) -> None:
    """Seed torch's global generators, for library code that knows no other (dropout, torchvision transforms)."""
    torch.manual_seed(key(purpose, seed, *parts))


def normal(shape: tuple[int, ...], purpose: str, seed: int, *parts: int | str) -> torch.Tensor:
    """Standard normal float32 CPU tensor of `shape`."""
    return torch.randn(shape, generator=generator(purpose, seed, *parts))


def stream(n: int, purpose: str, seed: int, start: int, count: int) -> list[int]:
    """Items `start` .. `start + count` of an endless stream of shuffled passes over range(n)."""
    found: list[int] = []
    epoch, offset = divmod(start, n)
    while len(found) < count:
        order = torch.randperm(n, generator=generator(purpose, seed, "epoch", epoch)).tolist()
        found += order[offset : offset + count - len(found)]
        epoch, offset = epoch + 1, 0
    return found


class NotData(ValueError):
    """Something that comes with a model would have had to be run. Says what, as the end of a sentence."""


@contextmanager
def only_data() -> Iterator[None]:
    """While it lasts, nothing that comes with a model is run: no pickle is opened, no Python file imported.

    Arguments alone don't see to that: libraries fall back to pickles, open_clip hands `trust_remote_code` on from the
    model's own configuration, and transformers asks standard input for leave.
    """
    from diffusers.utils import dynamic_modules_utils as of_diffusers
    from transformers import dynamic_module_utils as of_transformers

    refused: list[tuple[Any, str, Any]] = [(where, "load", _refuse_pickle) for where in (torch, torch.jit)]
    for where in (of_diffusers, of_transformers):
        refused += [(where, name, _refuse_code) for name in ("get_cached_module_file", "get_class_in_module")]
    refused.append((of_transformers, "TIME_OUT_REMOTE_CODE", 0))
    originals = [(where, name, getattr(where, name)) for where, name, _ in refused]
    try:
        for where, name, instead in refused:
            setattr(where, name, instead)
        yield
    finally:
        for where, name, original in originals:
            setattr(where, name, original)


def _refuse_pickle(*_: object, **__: object) -> NoReturn:
    raise NotData("its weights are pickled, and a pickle can run arbitrary code: only safetensors are read")


def _refuse_code(*_: object, **__: object) -> NoReturn:
    raise NotData("it needs custom code, which is never run: only its weights are read")


def quiet_libraries() -> None:
    """No progress bars or reports from the libraries that load models; their errors still come as exceptions."""
    import logging

    import diffusers
    import transformers

    logging.getLogger().setLevel(logging.ERROR)  # open_clip warns of random weights before ours are in
    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()


def describe() -> dict[str, str | int]:
    """What numbers were computed on, for an artifact's manifest."""
    found = device()
    name = torch.cuda.get_device_name(found) if found.type == "cuda" else "cpu"
    return {"device": name, "dtype": str(base_dtype()), "threads": torch.get_num_threads(), "torch": torch.__version__}
