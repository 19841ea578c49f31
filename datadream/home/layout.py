"""Where everything lies. One owner of every path below a home.

$DATADREAM_HOME/
  registry.db         an index of all the rest, which can be made again
  registry.lock       held by whoever writes the registry
  hosts/              what each host found its file systems able to do
  trash/              what was removed, for a week
  jobs/<id>/          spec.json    what to do; its hash is the id
                      request.json who asked, how urgent, how often to try
                      control.json what was asked of it since: cancel, pause, priority, retry
                      attempts/<n>.json   a start, claimed by exactly one runner
                      history.jsonl       every change of state, with its reason
                      events.jsonl        the worker's: progress, metrics, warnings
                      lease        a kernel lock while a worker has the job, and who that is
                      log.txt checkpoint/ environment.json result.json error.json
  queue/<id>          empty; there while the job is not finished
  queue.json          slots, paused, what to do after a reboot
  runner/             epoch-<n>.json, the runner's locks, its beat and its log
  slots/<slot>        locked while a worker, or any child of one, has the device
  artifacts/<kind>/<id>/manifest.json + files
  runs/<id>.json      which jobs make a method's number
  names/set/<id>.json the user's names for few-shot sets
  places/<id>.json    where a few-shot set's folder lies by now, when it was asked for from another place
  labels/<id>.json    the user's tags and notes on anything
  marks/<id>.json     which images of a synthetic set the user calls bad
  experiments/<id>.json   named grids of runs
"""

from __future__ import annotations

import os
import shutil
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from datadream import durable, paths, text
from datadream.errors import UserError
from datadream.home.jobfiles import JobFiles
from datadream.home.whole import is_whole
from datadream.stages.table import Kind

SPARE_BYTES = 64 << 20


OWN_HOME = "set DATADREAM_HOME or use --home"


def default_home() -> Path:
    """`DATADREAM_HOME`, else the user's data folder; a relative XDG_DATA_HOME is invalid and ignored, as XDG has it.

    Raises UserError where the system knows no home directory for this user.
    """
    if given := os.environ.get("DATADREAM_HOME"):
        return paths.expand(given, OWN_HOME)
    data = os.environ.get("XDG_DATA_HOME", "")
    if data.startswith("~"):
        data = str(paths.expand(data, OWN_HOME))
    if Path(data).is_absolute():
        return Path(data) / "datadream"
    own = paths.user_home()
    if own is None:
        raise UserError(f"no home directory: {paths.no_home()}", hint=OWN_HOME)
    return own / ".local/share/datadream"


def place(path: Path | str | None) -> Path:
    """Where a home lies: at `path`, else the default; `~` is expanded. Raises UserError for no path at all."""
    found = default_home() if path is None else paths.expand(path, OWN_HOME)
    return found.absolute()


def is_default(home: Home) -> bool:
    """Whether it is the home one gets without naming any."""
    try:
        return home.path == place(None)
    except UserError:
        return False


@dataclass(frozen=True)
class Home:
    """A home's paths; `open_home` makes one that can be written."""

    path: Path

    def job(self, job_id: str) -> Path:
        """A job's folder."""
        return self.path / "jobs" / job_id

    def files(self, job_id: str) -> JobFiles:
        """A job's files by name."""
        return JobFiles(self.job(job_id))

    def artifact(self, kind: Kind, artifact_id: str) -> Path:
        """A finished artifact's folder; there or not, never half."""
        return self.path / "artifacts" / kind / artifact_id

    def staging(self, kind: Kind, artifact_id: str) -> Path:
        """Where an artifact grows before it is renamed."""
        return self.path / "artifacts" / kind / f".staging-{artifact_id}"

    def run(self, run_id: str) -> Path:
        """A run's record."""
        return self.path / "runs" / f"{run_id}.json"

    @property
    def registry(self) -> Path:
        """The database file."""
        return self.path / "registry.db"

    @property
    def registry_lock(self) -> Path:
        """Locked by whoever writes the database."""
        return self.path / "registry.lock"

    @property
    def reserve(self) -> Path:
        """Room that is held for what must be said on a full disk."""
        return self.path / ".reserve"

    @property
    def queue(self) -> Path:
        """Holds one empty file for each job that isn't finished."""
        return self.path / "queue"

    @property
    def queue_settings(self) -> Path:
        """Slots, paused, and the reboot policy."""
        return self.path / "queue.json"

    @property
    def runner(self) -> Path:
        """The runner's own files."""
        return self.path / "runner"

    def slot(self, name: str) -> Path:
        """The lock file of a device slot (`cuda:0/1`)."""
        return self.path / "slots" / name.replace(":", "-").replace("/", ".")

    def label(self, subject: str) -> Path:
        """Tags and note of the thing with this id."""
        return self.path / "labels" / f"{subject}.json"

    def marks(self, synth_id: str) -> Path:
        """Bad images of the synthetic set with this id."""
        return self.path / "marks" / f"{synth_id}.json"

    def experiment(self, experiment_id: str) -> Path:
        """A named grid of runs."""
        return self.path / "experiments" / f"{experiment_id}.json"

    def set_name(self, name_id: str) -> Path:
        """The file that holds one of the user's names for a set."""
        return self.path / "names" / "set" / f"{name_id}.json"

    def place(self, set_id: str) -> Path:
        """The file that holds where a set's source folder lies, once it isn't where it was."""
        return self.path / "places" / f"{set_id}.json"

    def has(self, kind: Kind, artifact_id: str) -> bool:
        """Whether the artifact is finished and whole, as its manifest tells; a folder of its name isn't enough."""
        return is_whole(self.artifact(kind, artifact_id), kind, artifact_id)

    def need(self, size: int, what: str, at: Path | None = None) -> None:
        """Raise UserError when fewer than `size` bytes are free on the disk of `at` (default: the home's)."""
        free = shutil.disk_usage(at or self.path).free
        if free < size + SPARE_BYTES:
            raise UserError(
                f"{what} needs {text.size(size + SPARE_BYTES)}; {text.size(free)} free",
                at=at or self.path,
                hint="request fewer images, free some space, or choose another --home",
            )


def open_home(path: Path | str | None) -> Home:
    """The home at `path` (default: `default_home`), made if need be.

    Raises UserError when it can't be written, when it is another user's and not shared, or when anybody, or a group
    it isn't shared with, may write there: whoever can plant a file in a home can steer what runs in it. Its path must
    be UTF-8, as records are.
    """
    home = Home(place(path))
    try:
        str(home.path).encode()
    except UnicodeEncodeError as error:
        raise UserError(_unreadable(home.path), at=home.path, hint="choose another --home") from error
    durable.make_dir(home.path, private=True)
    found = home.path.stat()
    shared = found.st_mode & durable.SHARED == durable.SHARED
    if found.st_mode & stat.S_IWGRP and not shared and not _is_own_group(found.st_gid):
        hint = f"revoke it with `chmod g-w {home.path}`, or share the home: `chmod g+s {home.path}`"
        raise UserError("this home is writable by its group but not shared with it", at=home.path, hint=hint)
    if found.st_mode & stat.S_IWOTH:
        hint = f"revoke it with `chmod o-w {home.path}`, or choose another --home"
        raise UserError("this home is writable by everyone", at=home.path, hint=hint)
    if found.st_uid != os.geteuid() and not shared:
        hint = "choose your own --home, or have the owner share it with `datadream home init --shared`"
        raise UserError("this home belongs to another user", at=home.path, hint=hint)
    if not os.access(home.path, os.W_OK | os.X_OK):
        raise UserError("can't write", at=home.path, hint="choose a writable folder with --home or DATADREAM_HOME")
    with suppress(UserError, OSError):  # a full disk: what is there can be looked at all the same
        for name in ("hosts", "trash"):
            durable.make_dir(home.path / name)
    return home


def init_home(path: Path | str | None, shared: bool) -> Home:
    """A home that is private, or with `shared` its group's: the setgid bit passes that on to all that is made in it."""
    home = open_home(path)
    try:
        for folder in (home.path, home.path / "hosts", home.path / "trash"):  # `open_home` has made these as private
            folder.chmod(0o2770 if shared else 0o700)
    except OSError as error:
        raise durable.user_error(error, home.path) from error
    return home


def _unreadable(path: Path) -> str:
    """Why a path can't be put into a record: it is no UTF-8, or Python works in a locale that can't spell it."""
    try:
        os.fsencode(path).decode()
    except UnicodeDecodeError:
        return "the home's path is not UTF-8"
    return "the locale can't encode the home's path; set LC_ALL=C.UTF-8"


def _is_own_group(gid: int) -> bool:
    """Whether that is a group of this user alone, as many systems make one for each."""
    import grp
    import pwd

    try:
        user, group = pwd.getpwuid(os.geteuid()), grp.getgrgid(gid)
    except KeyError:
        return False
    return gid == user.pw_gid and group.gr_name == user.pw_name and set(group.gr_mem) <= {user.pw_name}
