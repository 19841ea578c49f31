"""Why a job failed, in a sentence and by its kind: whether trying again may help, and what its exit code is."""

from __future__ import annotations

import errno
import os
import sys
import traceback
from pathlib import Path

from datadream import durable
from datadream.errors import UserError
from datadream.home import state
from datadream.home.jobfiles import JobFiles
from datadream.home.provenance import masked

EXIT_FAILED = 1
EXIT_USER = 2
EXIT_STORAGE = 3
# torch's CPU allocator, cuBLAS, cuDNN and safetensors say it in plain errors
NO_MEMORY = ("can't allocate memory", "Cannot allocate memory", "_STATUS_ALLOC_FAILED", "CUDA error: out of memory")
# of a hub that does not know who asks, or of a proxy
REFUSED = (401, 403, 404, 407)
# by name: which of urllib, requests, httpx and its successors a library loads by is its own affair
UNREACHABLE = {"ConnectionError", "TimeoutError", "Timeout", "TimeoutException", "NetworkError", "RemoteProtocolError",
    "gaierror"}  # fmt: skip


def write_failure(folder: Path, failure: Exception, attempt: int) -> int:
    """Leave error.json: what happened, of which kind, and so whether trying again may help."""
    kind, text, status = _judge(failure, folder)
    text += _for_want(folder, failure)
    try:
        durable.remove_file(JobFiles(folder).reserve)
        durable.write_json(JobFiles(folder).error, {"kind": kind, "message": masked(text), "attempt": attempt})
        traceback.print_exception(failure)
        sys.stderr.flush()
    except (OSError, UserError):  # not even that: the exit code is all that can be left
        return EXIT_STORAGE
    return status


def _judge(failure: Exception, folder: Path) -> tuple[str, str, int]:
    if durable.is_storage(failure):
        if durable.is_full(failure):
            failure = durable.no_space(_full_disk(failure, folder))
        elif isinstance(failure, OSError):
            failure = durable.user_error(failure, folder)
        return "storage", str(failure), EXIT_STORAGE
    if is_memory(failure):
        from datadream.data.decode import BadImage

        known = isinstance(failure, BadImage)  # it names the image that there was no memory for
        text = f"out of memory: {failure}" if known else "out of memory: lower the stage's batch_size with -o"
        return "infrastructure", text, EXIT_FAILED
    if _is_network(failure):
        return "infrastructure", str(failure), EXIT_FAILED
    if isinstance(failure, UserError):
        return "user", str(failure), EXIT_USER
    return "unexpected", f"{type(failure).__name__}: {failure}", EXIT_FAILED


def _full_disk(failure: BaseException, folder: Path) -> Path | str:
    """What had no room: the file that an error names, deepest first, else the place that one of ours does."""
    links = list(durable.causes(failure))
    named = [link.filename for link in reversed(links) if isinstance(link, OSError) and isinstance(link.filename, str)]
    said = [link.at for link in links if isinstance(link, UserError) and link.at is not None]
    return next(iter([*said, *named]), folder)


def _for_want(folder: Path, failure: Exception) -> str:
    """What was set where the job was asked for and not here, when that may be why the hub or the network refused."""
    refused = any(_http_status(error) in REFUSED for error in durable.causes(failure)) or _is_network(failure)
    request = state.read_model(JobFiles(folder).request, state.Request)
    missing = [name for name in request.noted if not os.environ.get(name)] if refused else []
    if not missing:
        return ""
    names, be = ", ".join(missing), "was" if len(missing) == 1 else "were"
    advice = f"run `datadream queue restart` where it is set, then `datadream job retry {folder.name[:8]}`"
    return f"; {names} {be} set when this job was submitted, but not in the runner: {advice}"


def is_memory(failure: BaseException) -> bool:
    """Whether the machine or the device had no memory left; that passes, or a smaller batch helps."""
    torch = sys.modules.get("torch")
    known = (MemoryError, torch.OutOfMemoryError) if torch else (MemoryError,)
    for error in durable.causes(failure):
        if isinstance(error, known) or getattr(error, "errno", 0) == errno.ENOMEM:
            return True
        if not isinstance(error, UserError) and any(text in str(error) for text in NO_MEMORY):
            return True
    return False


def _is_network(failure: BaseException) -> bool:
    """Whether a download could not reach its server, or that one was in trouble. Where a user forbids the network,
    trying again is in vain.
    """
    names = {kind.__name__ for error in durable.causes(failure) for kind in type(error).__mro__}
    status = max((_http_status(error) for error in durable.causes(failure)), default=0)
    return "OfflineModeIsEnabled" not in names and (bool(names & UNREACHABLE) or status >= 500)


def _http_status(error: BaseException) -> int:
    status = getattr(getattr(error, "response", None), "status_code", 0)
    return status if isinstance(status, int) else 0
