"""Variables that libraries read, as their owners define them, and what must be set before torch. No torch here."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, MutableMapping

from datadream.errors import UserError

# A short spin: with few busy cores OpenMP's endless one makes steps ten times slower, and none (a passive wait)
# made the small models' steps twice as slow, measured on 2 cores. The other makes cuBLAS repeat itself.
ENVIRONMENT = {"GOMP_SPINCOUNT": "10000", "CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
DEVICE = "DATADREAM_DEVICE"
THREADS_MAX = 1024  # more is taken for a slip: a machine that can't start them all ends the process
# huggingface_hub reads "" as a number, an address or a folder; OpenMP, MKL and torch warn of it
EMPTY_IS_UNSET = ("HF_", "HUGGINGFACE_", "TRANSFORMERS_", "TORCH_", "PYTORCH_", "OMP_", "GOMP_", "MKL_", "CUBLAS_",
    "XDG_")  # fmt: skip
_COUNT = r"\s*\+?0*([1-9][0-9]{0,17})\s*"
_COUNTS = re.compile(f"{_COUNT}(?:,{_COUNT})*", re.ASCII)
_DEVICE = re.compile(r"(cpu)(?::0)?|(cuda)(?::0*([0-9]{1,4}))?", re.ASCII)


def prepare_environment() -> None:
    """Forget what counts as not set, and set ENVIRONMENT where the user set nothing."""
    forget_unset()
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)


def forget_unset(environ: MutableMapping[str, str] | None = None) -> None:
    """Remove variables whose value means the same as none, so that no library stumbles over them."""
    environ = os.environ if environ is None else environ
    for name in [name for name, value in environ.items() if not value and name.startswith(EMPTY_IS_UNSET)]:
        del environ[name]
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        if name in environ and _threads(environ, name) is None:
            del environ[name]


def threads_asked(environ: Mapping[str, str] | None = None) -> int | None:
    """How many threads the user asks for, None when nobody does.

    MKL_NUM_THREADS goes before OMP_NUM_THREADS, as in torch; of a list (one number a level of nesting) the first
    counts; OMP_THREAD_LIMIT is the most. A value that isn't one or more whole numbers from 1 is no value (OpenMP 6.2).
    """
    environ = os.environ if environ is None else environ
    asked = _threads(environ, "MKL_NUM_THREADS") or _threads(environ, "OMP_NUM_THREADS")
    limit = _threads(environ, "OMP_THREAD_LIMIT")
    return min(asked, limit) if asked and limit else asked


def device_asked(environ: Mapping[str, str] | None = None) -> str:
    """What DATADREAM_DEVICE asks for: `cpu`, `cuda`, `cuda:N`, or "" when it is empty or not set.

    Raises UserError for anything else.
    """
    text = (os.environ if environ is None else environ).get(DEVICE, "")
    if not text.strip():
        return ""
    found = _DEVICE.fullmatch(text.strip().lower())
    if found is None:
        hint = "use cpu, cuda or cuda:N (cuda:0 is the first GPU), or unset it"
        raise UserError(f"{DEVICE}={text} is not a device", hint=hint)
    cpu, cuda, index = found.groups()
    return str(cpu or (f"{cuda}:{index}" if index else cuda))


def is_on(name: str) -> bool:
    """Whether the switch `name` of ours is on: set, and to nothing that says no."""
    return os.environ.get(name, "").strip().lower() not in ("", "0", "false", "no", "off")


def _threads(environ: Mapping[str, str], name: str) -> int | None:
    """The count that `name` holds; only OMP_NUM_THREADS may be a list."""
    text = environ.get(name, "")
    found = _COUNTS.fullmatch(text)
    if found is None or ("," in text and name != "OMP_NUM_THREADS"):
        return None
    count = int(found.group(1))
    return count if count <= THREADS_MAX else None
