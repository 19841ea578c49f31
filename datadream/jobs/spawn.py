"""Starting our own processes: never through a shell, in a session of their own, with an allow-listed environment."""

from __future__ import annotations

import errno
import os
import pwd
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from datadream import durable, paths
from datadream.errors import UserError
from datadream.home import identity, variables
from datadream.home.layout import Home
from datadream.jobs import leader
from datadream.models.environment import ENVIRONMENT

QUIET = {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "TQDM_DISABLE": "1", "PYTHONUNBUFFERED": "1"}
GOING_SECONDS = 10.0  # a runner that was asked to leave is gone within a moment, or stopped


def environment(home: Home | None = None) -> dict[str, str]:
    """The variables a runner gets: an allow-list, and quiet libraries.

    Where the system knows no home directory or name for this user, as in a container, they get some below `home`:
    libraries keep caches there, and end in a KeyError otherwise.
    """
    found = {**ENVIRONMENT, **variables.passed_on(), **QUIET}
    own = paths.user_home() or (home.runner / "home" if home is not None else None)
    if own is not None:
        found["HOME"] = str(own)
    if not any(found.get(name) for name in ("LOGNAME", "USER")) and not _has_name():
        found["USER"] = found["LOGNAME"] = f"uid-{os.getuid()}"
    return found


def _has_name() -> bool:
    try:
        return bool(pwd.getpwuid(os.getuid()).pw_name)
    except KeyError:
        return False


def command(*arguments: str) -> list[str]:
    """`datadream ARGUMENTS` by this very interpreter; -P: a module planted in the working directory isn't imported."""
    return [sys.executable, "-P", "-m", "datadream", *arguments]


def ensure_runner(home: Home) -> subprocess.Popen[bytes] | None:
    """See to it that somebody works on the queue; what was queued before this call won't be overlooked.

    A runner that was started without a token or proxy that is set here, and has none that isn't, makes room for one
    that has them all: secrets are handed down from process to process and never written. Returns the runner it has
    started, None when there is one. Raises UserError where a runner couldn't write.
    """
    if leader.is_led(home) and not leader.seems_stopped(home) and not (_lacks(home) and _end_runner(home)):
        durable.touch_dir(durable.make_dir(home.queue))
        return None
    log = durable.make_dir(home.runner) / "runner.log"
    for folder in (home.runner, home.queue, home.path / "jobs", home.path / "slots", home.path / "artifacts"):
        if folder.exists() and not os.access(folder, os.W_OK | os.X_OK):  # it would end at once, where nobody looks
            raise durable.user_error(PermissionError(errno.EACCES, "Permission denied"), folder)
    process = start(home, ["runner", "--home", str(home.path)], log)
    # It may end before we do, and a child that nobody waits for stays in the process table as a zombie.
    threading.Thread(target=process.wait, name="reaper", daemon=True).start()
    return process


def restart_runner(home: Home) -> None:
    """Another runner in the place of this home's, with the variables of this process. What runs goes on.

    Raises UserError when the present one is out of reach.
    """
    if leader.is_led(home) and not _end_runner(home):
        who = leader.note(home)
        hint = f"run `kill {who.get('pid')}` there, then the same command again"
        raise UserError(f"can't end the runner (pid {who.get('pid')} on {who.get('host')})", at=home.path, hint=hint)
    ensure_runner(home)


def _lacks(home: Home) -> bool:
    """Whether this process has every secret that the home's runner has, and more."""
    theirs = leader.note(home).get("noted")
    return isinstance(theirs, list) and set(map(str, theirs)) < set(variables.noted())


def _end_runner(home: Home) -> bool:
    """Whether the runner could be made to leave. Its workers finish what they have."""
    who = identity.parse(leader.note(home))
    if who is None or who.pid == os.getpid() or not identity.is_alive(who):
        return False
    try:
        os.kill(who.pid, signal.SIGTERM)
    except OSError:
        return False
    end = time.monotonic() + GOING_SECONDS
    while leader.is_led(home):
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def start(
    home: Home,
    arguments: Sequence[str],
    log: Path,
    *,
    stdin: int = subprocess.DEVNULL,
    keep: Sequence[int] = (),
    env: Mapping[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """A `datadream` process that no terminal, signal of ours or hang-up reaches; its output goes to `log`.

    `keep` are descriptors it inherits; without `env` it gets `environment`.
    """
    try:
        out = durable.open_file(log, os.O_WRONLY | os.O_APPEND)
    except OSError as error:
        raise durable.user_error(error, log) from error
    try:
        return subprocess.Popen(
            command(*arguments),
            stdin=stdin,
            stdout=out,
            stderr=out,
            env=environment(home) if env is None else env,
            cwd=home.path,
            start_new_session=True,
            pass_fds=keep,
        )
    finally:
        os.close(out)
