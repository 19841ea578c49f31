"""A real one-node Slurm of the test's own: private folders, free ports, two pretended GPUs. Needs root and Debian's
`slurm-wlm` and `munge`; without them the tests are skipped with the reason.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def said(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60).stdout


class Slurm:
    """Started at once; `restart_controller` and `stop`."""

    def __init__(self, folder: Path) -> None:
        missing = [name for name in ("slurmctld", "slurmd", "munged", "sbatch") if not shutil.which(name)]
        if missing:
            pytest.skip(f"no {missing[0]} on this machine")
        if os.geteuid() != 0:
            pytest.skip("Slurm's daemons need root")
        self.folder = folder
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._munge()
        for name in ("state", "spool"):
            (folder / name).mkdir()
        host = socket.gethostname().split(".")[0]
        (folder / "gres.conf").write_text(
            f"NodeName={host} Name=gpu File=/dev/null\nNodeName={host} Name=gpu File=/dev/zero\n"
        )
        (folder / "slurm.conf").write_text(
            f"""ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
ReturnToService=2
SlurmctldPort={free_port()}
SlurmdPort={free_port()}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
KillWait=5
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs=4 SocketsPerBoard=1 CoresPerSocket=4 ThreadsPerCore=1 RealMemory=4000 Gres=gpu:2 State=UNKNOWN
SlurmdParameters=config_overrides
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""
        )
        os.environ["SLURM_CONF"] = str(folder / "slurm.conf")
        self._start("slurmctld", "-D")
        self._start("slurmd", "-D")
        end = time.monotonic() + 30
        while "idle" not in said("sinfo", "-h", "-o", "%t"):
            if time.monotonic() > end:
                log = (folder / "slurmctld.log").read_text()[-300:] if (folder / "slurmctld.log").exists() else ""
                self.stop()
                pytest.skip(f"Slurm did not start here: {said('sinfo')} {log}")
            time.sleep(0.3)

    def restart_controller(self) -> None:
        old = self._processes.pop("slurmctld")
        old.terminate()  # it saves its state; killed, it would forget its newest jobs and give their ids again
        old.wait(30)
        self._start("slurmctld", "-D")
        end = time.monotonic() + 30
        while not said("sinfo", "-h", "-o", "%t").strip():
            assert time.monotonic() < end
            time.sleep(0.3)

    def stop(self) -> None:
        subprocess.run(["scancel", "--me", "--full"], capture_output=True, check=False, timeout=30)
        for process in self._processes.values():
            process.kill()
            process.wait()
        os.environ.pop("SLURM_CONF", None)

    def _munge(self) -> None:
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        self.folder.chmod(0o755)
        options = [f"--{name}={self.folder}/munge.{tail}" for name, tail in (("key-file", "key"), ("socket", "socket"), ("pid-file", "pid"), ("log-file", "log"), ("seed-file", "seed"))]  # fmt: skip
        self._start("munged", "--force", "--foreground", *options)
        end = time.monotonic() + 10
        while not (self.folder / "munge.socket").exists():
            if time.monotonic() > end:
                pytest.skip("munge did not start here")
            time.sleep(0.1)

    def _start(self, name: str, *arguments: str) -> None:
        log = (self.folder / f"{name}.out").open("ab")
        with log:
            self._processes[name] = subprocess.Popen(
                [shutil.which(name) or name, *arguments], stdout=log, stderr=log, start_new_session=True
            )
