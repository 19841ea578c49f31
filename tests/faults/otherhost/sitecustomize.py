"""Makes the Python processes of a test live on another host, whose kernel locks nobody else can see, or on poor storage.

DATADREAM_TEST_HOST names the host; DATADREAM_TEST_LACKS what the file system doesn't know, as `lockf flock link fsync`;
DATADREAM_TEST_PACE divides the seconds that leases and leaders take. On PYTHONPATH, so that it is imported first.
"""

import errno
import fcntl
import os
import socket
import struct
import sys
from importlib.machinery import PathFinder

HOST, LACKS = os.environ.get("DATADREAM_TEST_HOST"), os.environ.get("DATADREAM_TEST_LACKS", "").split()
PACE = float(os.environ.get("DATADREAM_TEST_PACE", "1"))
LOCKS = {getattr(fcntl, name) for name in ("F_SETLK", "F_SETLKW", "F_OFD_SETLK", "F_OFD_SETLKW")}
ASKS = {fcntl.F_GETLK, fcntl.F_OFD_GETLK}
REFUSED = {"lockf": errno.ENOLCK, "flock": errno.ENOTSUP, "link": errno.EPERM, "fsync": errno.EINVAL}
real_fcntl = fcntl.fcntl


def refuse(name):
    def call(*_, **__):
        raise OSError(REFUSED[name], os.strerror(REFUSED[name]))

    return call


def unseen(fd, command, argument=0):
    if command in LOCKS:
        if "lockf" in LACKS:
            refuse("lockf")()
        return argument
    if command in ASKS:
        if "lockf" in LACKS:
            refuse("lockf")()
        return struct.pack("hhqqi4x", fcntl.F_UNLCK, 0, 0, 0, 0)
    return real_fcntl(fd, command, argument)


if HOST or "lockf" in LACKS:
    fcntl.lockf = refuse("lockf") if "lockf" in LACKS else lambda *_: None
    fcntl.fcntl = unseen
if HOST or "flock" in LACKS:
    fcntl.flock = refuse("flock") if "flock" in LACKS else lambda *_: None
if "link" in LACKS:
    os.link = refuse("link")
if "fsync" in LACKS:
    os.fsync = refuse("fsync")
if HOST:
    socket.gethostname = lambda: HOST


CHANGED = {"datadream.home.identity", "datadream.home.lease", "datadream.home.leasefiles", "datadream.jobs.leader"}


class Late:
    """Changes modules of ours when they are imported, which is after this."""

    def find_spec(self, name, path=None, target=None):
        if name not in CHANGED:
            return None
        spec = PathFinder.find_spec(name, path, target)
        execute = spec.loader.exec_module

        def changed(module):
            execute(module)
            if name == "datadream.home.identity" and HOST:
                module.boot_id = lambda proc=None: f"boot of {HOST}"
            for constant in ("LEASE_SECONDS", "BEAT_SECONDS", "TAKEOVER_SECONDS"):
                if name != "datadream.home.identity" and hasattr(module, constant):
                    setattr(module, constant, getattr(module, constant) / PACE)

        spec.loader.exec_module = changed
        return spec


if HOST or PACE != 1:
    sys.meta_path.insert(0, Late())
