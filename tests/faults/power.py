"""Death between any two calls: those of Python that change a file are counted, and from the n-th on none happens."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tests.faults.scale import scale

CHANGES = (
    *("rename", "replace", "link", "symlink", "unlink", "remove", "rmdir", "mkdir", "write", "pwrite", "ftruncate"),
    *("fsync", "utime", "chmod", "fchmod"),
)
FOR_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


class Died(BaseException):
    """The process is gone; only the kernel still closes its files."""


class Power:
    """How many calls there were, and whether it is gone."""

    calls = 0
    dead = False


@contextmanager
def dying(at: int | None) -> Iterator[Power]:
    """Within, the `at`-th change (1, 2, ...) and all later ones don't happen, and raise `Died`; None: they all do.

    Nothing is really synced: what is tested is the order of names and contents, not the disk.
    """
    power = Power()
    real = {name: getattr(os, name) for name in (*CHANGES, "open")}

    def counted(name: str) -> Callable[..., Any]:
        def call(*args: Any, **more: Any) -> Any:
            if name == "open" and not args[1] & FOR_WRITING:
                return real[name](*args, **more)
            power.calls += 1
            if power.dead or power.calls == at:
                power.dead = True
                raise Died
            return None if name == "fsync" else real[name](*args, **more)

        return call

    for name in real:
        setattr(os, name, counted(name))
    try:
        yield power
    except Died:
        pass
    finally:
        for name, function in real.items():
            setattr(os, name, function)


def at_every_call(act: Callable[[], object], before: Callable[[], object], after: Callable[[], object]) -> int:
    """`before`, `act` until it dies at its 1st, 2nd, ... change, `after`; until it lives. The number of deaths.

    The short form takes every third. The first time it lives, so that what is tried once a process is done with.
    """
    before()
    act()
    at, deaths = 1, 0
    while True:
        before()
        with dying(at) as power:
            act()
        after()
        if not power.dead:
            return deaths
        deaths += 1
        at += scale(3, 1)
