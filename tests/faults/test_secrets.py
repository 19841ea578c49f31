"""Canaries in the environment, and crashes everywhere: they are found nowhere."""

from __future__ import annotations

import base64
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from datadream.home.layout import Home
from tests.conftest import TINY_OPTIONS
from tests.faults.scale import record, scale
from tests.runners import kill_all, processes_of

CANARIES = {
    "HF_TOKEN": "hf_CANARYaaaaaaaaaaaaaaaa",
    "HUGGING_FACE_HUB_TOKEN": "hf_CANARYbbbbbbbbbbbbbbbb",
    "WANDB_API_KEY": "CANARYcccccccccccccccc",
    "AWS_SECRET_ACCESS_KEY": "CANARYdddddddddddddddd",
    "MY_PASSWORD": "CANARYeeeeeeeeeeeeeeee",
    "http_proxy": "http://user:CANARYffff@127.0.0.1:9",
    "HTTPS_PROXY": "http://user:CANARYgggg@127.0.0.1:9",
    "DATADREAM_SECRET": "CANARYiiiiiiiiiiiiiiii",
    "SSH_AUTH_SOCK": "/tmp/CANARYjjjj",
}


NEEDLES = (b"CANARY", base64.b64encode(b"user:CANARYhhhh"))


class Unwilling(BaseHTTPRequestHandler):
    """A hub that lets nobody in; libraries then quote its address, with the password that is in it."""

    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_response(401)
        self.end_headers()

    do_HEAD = do_GET

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def hub() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Unwilling)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://user:CANARYhhhh@127.0.0.1:{server.server_port}"
    server.shutdown()


# a commit isn't asked for: the worker is the first to go to the hub
PINNED = ("--backbone", "sd2.1-base", "--clip", f"hf-hub:nobody/nothing@{'1' * 40}")


def start(home: Path, *words: str, hub: str = "http://127.0.0.1:9") -> subprocess.Popen[bytes]:
    direct = {"no_proxy": "127.0.0.1", "NO_PROXY": "127.0.0.1", "HF_ENDPOINT": hub, "HF_HUB_OFFLINE": "0"}
    environment = {**os.environ, **CANARIES, **direct, "DATADREAM_HOME": str(home), "HF_HOME": str(home.parent / "hub")}
    command = [sys.executable, "-m", "datadream", *words]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def leaks(home: Path, said: bytes) -> list[str]:
    files = [path for path in home.rglob("*") if path.is_file()]
    found = [str(path) for path in files if any(needle in path.read_bytes() for needle in NEEDLES)]
    return found + (["output"] if any(needle in said for needle in NEEDLES) else [])


def commands() -> list[bytes]:
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(path.read_bytes())
        except OSError:
            continue
    return lines


def test_secrets_reach_no_file_no_output_and_no_command_line(tmp_path: Path, hub: str) -> None:
    home = tmp_path / "home"
    cases: list[tuple[str, ...]] = [
        ("run", "real-only", "--source", "digits", "--shots", "1", *TINY_OPTIONS[12:]),
        ("run", "real-only", "--source", str(tmp_path / "nothing"), "--debug"),
        ("run", "zero-shot", "--source", "digits", "--shots", "1", "--clip", "hf-hub:nobody/nothing"),
        ("run", "zero-shot", *PINNED, "--source", "digits", "--shots", "1"),
        ("rehearse", "--fail-at", "1"),
        ("job", "ls", "--json"),
    ]
    sd = ("run", "name-only", "--source", "digits", "--shots", "1", "--data", "synth", "--backbone", "sd2.1-base")
    cases += scale([], [sd])
    looked = seen = 0
    for words in cases:
        process = start(home, *words, hub=hub)
        while process.poll() is None and looked < 200:
            lines = commands()
            seen += any(b"datadream\0" in line for line in lines)
            assert not any(b"CANARY" in line for line in lines)
            looked += 1
            time.sleep(0.1)
        said, _ = process.communicate(timeout=300)
        assert leaks(home, said) == [], words
    assert seen  # a command line of ours was among those looked at
    assert Unwilling.asked
    logs = b"".join(path.read_bytes() for path in home.glob("jobs/*/log.txt"))
    assert b"http://***@127.0.0.1" in logs  # it would have been there
    process = start(home, "rehearse", "--steps", "500")
    while not processes_of(Home(home)):
        time.sleep(0.05)
    time.sleep(0.5)
    for who in [*processes_of(Home(home)), *processes_of(Home(home), "runner")]:
        os.kill(who.pid, signal.SIGABRT)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=60)
    kill_all(Home(home))
    assert leaks(home, said) == []
    records = list(home.glob("jobs/*/environment.json"))
    assert records
    record(
        "secrets", canaries=len(CANARIES) + 1, commands=len(cases) + 1, process_lists=looked, outcome="found nowhere"
    )


@pytest.mark.parametrize("option", ["--clip", "--diffusion"])
def test_a_password_in_a_models_address_is_not_kept(option: str, tmp_path: Path) -> None:
    home = tmp_path / "home"
    address = "https://user:CANARYkkkk@127.0.0.1:9/model"
    process = start(home, "run", "name-only", "--source", "digits", "--shots", "1", "--data", "synth", option, address)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 2
    assert b"can't be a URL" in said
    assert leaks(home, said) == []
