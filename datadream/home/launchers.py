"""Where jobs run besides this machine: one small protocol, and what a job may ask a cluster for."""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from datadream import durable
from datadream.errors import UserError
from datadream.home import quoting
from datadream.home.layout import Home
from datadream.paths import no_home, user_home
from datadream.records import Unreadable

CLUSTERS = ("slurm", "pbs", "lsf", "flux")
LAUNCHERS = ("local", *CLUSTERS)
NativeState = Literal["pending", "running", "gone"]


class Resources(BaseModel):
    """What one job asks for. `cluster.toml` in the home gives defaults, for all stages and for each.

    All of it goes into lines of a script: what could end such a line or the quotes in it is no value.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    gpus: int = Field(1, ge=0)
    cpus: int = Field(4, ge=1)
    memory_gb: float | None = Field(None, gt=0)
    minutes: int = Field(24 * 60, ge=1, description="wall time; a job that reaches it resumes in its next attempt")
    queue: str | None = Field(None, description="partition or queue")
    account: str | None = None
    extra: dict[str, str] = Field({}, description="scheduler options, e.g. qos = 'low' for --qos=low")

    @field_validator("queue", "account")
    @classmethod
    def _word(cls, value: str | None) -> str | None:
        if value is not None and not quoting.is_word(value):
            raise ValueError(f"{value!r} is not one word of letters, digits and @%+=:,./-")
        return value

    @field_validator("extra")
    @classmethod
    def _options(cls, value: dict[str, str]) -> dict[str, str]:
        for name, text in value.items():
            if not quoting.is_option(name):
                raise ValueError(f"{name!r} is not an option name")
            if not quoting.is_directive_value(text):
                raise ValueError(
                    f"the value of {name} must not be empty or contain double quotes, backslashes or control characters"
                )
        return value


class Remote(Protocol):
    """A scheduler we can reach. It is handed a command; the job is its folder."""

    def submit(self, home: Path, job_id: str, attempt: int, resources: Resources, title: str) -> str:
        """Submit `datadream worker` on one attempt of a job; the scheduler's own id of it."""

    def poll(self, native_ids: Collection[str]) -> Mapping[str, NativeState]:
        """How these stand; known by id alone, whoever submitted them. Raises UserError when it can't be asked."""

    def cancel(self, native_id: str) -> None:
        """End it: SIGTERM, then SIGKILL after the scheduler's own grace time."""


def check_launcher(name: str) -> None:
    """Raise UserError unless `name` is known and what it needs is installed."""
    if name not in LAUNCHERS:
        raise UserError(f"unknown launcher {name!r}", hint=f"use any of {', '.join(LAUNCHERS)}")
    if name == "local":
        return
    if find_spec("psij") is None:
        raise needs_psij(name)
    if user_home() is None:  # it asks for one while it is imported, to keep its own files in
        raise UserError(f"{name} needs PSI/J, which needs a home directory: {no_home()}", hint="set HOME")


def needs_psij(name: str) -> UserError:
    """Why a cluster can't be asked: the extra isn't installed, or can't be imported."""
    return UserError(f"{name} needs PSI/J", hint="install it with `pip install 'datadream[cluster]'`")


def resources_for(home: Home, name: str, stage: str, asked: Mapping[str, Any]) -> Resources:
    """Defaults, then `cluster.toml`'s [resources], then its [resources.<stage>], then what the job asks for.

    Raises UserError for a file that is no TOML or has unknown keys.
    """
    path, found = home.path / "cluster.toml", read_cluster(home)
    stages = {key: value for key, value in found.items() if isinstance(value, dict) and key != "extra"}
    shared = {key: value for key, value in found.items() if key not in stages}
    try:
        return Resources.model_validate({**shared, **stages.get(stage, {}), **asked})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        said = first["msg"].removeprefix("Value error, ")
        raise UserError(f"[resources] {where}: {said}", at=path, hint="see docs/cluster.md") from error


def read_cluster(home: Home) -> dict[str, Any]:
    """The [resources] of `cluster.toml`, empty when there is none. Raises Unreadable for what is no such file."""
    path, hint = home.path / "cluster.toml", "see docs/cluster.md"
    try:
        found = tomllib.loads(durable.read_bytes(path).decode("utf-8")).get("resources", {})
    except FileNotFoundError:
        if not path.is_symlink():
            return {}
        raise Unreadable(path, "is a dangling link", hint) from None
    except RecursionError:
        raise Unreadable(path, "is nested too deeply", hint) from None
    except OSError as error:
        raise Unreadable(path, f"can't be opened: {error.strerror}", hint) from error
    except ValueError as error:
        raise Unreadable(path, f"is not TOML: {error}", hint) from error
    if not isinstance(found, dict):
        raise Unreadable(path, "has a 'resources' that is not a table", hint)
    return found
