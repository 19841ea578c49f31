"""What the poller hands the screens: one frozen picture of a home. Equal pictures are not sent twice."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Device:
    """A GPU as NVML tells it; None where the driver can't say. Use in percent, memory in bytes, °C, watts."""

    name: str
    use: int | None = None
    memory_used: int | None = None
    memory_total: int | None = None
    temperature: int | None = None
    power: int | None = None


@dataclass(frozen=True)
class Host:
    """CPU in percent, memory in bytes, and the disk that holds the home."""

    cpu: int
    memory_used: int
    memory_total: int
    disk_free: int
    disk_total: int


@dataclass(frozen=True)
class LiveJob:
    """An open job. `rate` in units a second, `eta` in seconds, None while unknown; `preview` a path or ""."""

    id: str
    stage: str
    state: str
    reason: str
    title: str
    done: int = 0
    total: int = 0
    unit: str = ""
    rate: float | None = None
    eta: float | None = None
    losses: tuple[float, ...] = ()
    slot: str = ""
    priority: int = 0
    attempts: int = 0
    paused: bool = False
    experiment: str = ""
    preview: str = ""
    cause: str = ""


@dataclass(frozen=True)
class JobRow:
    """A job that is over."""

    id: str
    stage: str
    state: str
    reason: str
    title: str
    ended: str
    seconds: float | None


@dataclass(frozen=True)
class Snapshot:
    """Everything a screen may show without asking.

    `jobs` are at most SHOWN_JOBS of the open ones, running first; `open_jobs` counts all. `version` changes whenever
    somebody wrote to the registry; `trouble` is a sentence when the home or registry can't be read;
    `needs_runner` when jobs have waited for a while and nobody hands them out.
    """

    jobs: tuple[LiveJob, ...] = ()
    open_jobs: int = 0
    finished: tuple[JobRow, ...] = ()
    failures: tuple[JobRow, ...] = ()
    counts: dict[str, int] = field(default_factory=dict)
    devices: tuple[Device, ...] = ()
    host: Host | None = None
    led: bool = False
    paused: bool = False
    slots: tuple[str, ...] = ()
    version: int = 0
    trouble: str = ""
    empty: bool = False
    needs_runner: bool = False
    problems: int = 0  # files of the home that the registry could not read

    @property
    def running(self) -> tuple[LiveJob, ...]:
        """Those a worker has."""
        return tuple(job for job in self.jobs if job.state in ("running", "cancelling"))
