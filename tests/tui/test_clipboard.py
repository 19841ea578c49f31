"""Never 'copied' unless it was; always a file."""

from __future__ import annotations

import asyncio
import base64
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from datadream.home.layout import Home
from tests.tui.looking import looking
from tui.terminal import clipboard

TEXT = "top-1 ± 1.2\nsecond line"


@pytest.fixture(autouse=True)
def outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TMUX", "STY"):
        monkeypatch.delenv(name, raising=False)


def fake_tmux(folder: Path, code: int, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder.mkdir()
    script = folder / "tmux"
    script.write_text(f'#!/bin/sh\necho "$@" > {folder}/arguments\ncat > {folder}/taken\nexit {code}\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("TMUX", "/nowhere,1,0")
    return folder


def copied(home: Home, text: str) -> tuple[str, str]:
    """What is said, and what the terminal was sent by Textual."""

    async def walk() -> tuple[str, str]:
        async with looking(home) as looker:
            looker.app.copy(text)
            await looker.see(lambda: "clipboard.txt" in looker.toasts())
            return looker.toasts(), looker.app.clipboard

    return asyncio.run(walk())


def kept(home: Home) -> str:
    return (home.path / "exports" / "clipboard.txt").read_text(encoding="utf-8")


def test_tmux_takes_it(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = fake_tmux(tmp_path / "fake", 0, monkeypatch)
    said, sent = copied(home, TEXT)
    assert "copied to tmux and " in said
    assert sent == ""
    assert (fake / "taken").read_text() == TEXT == kept(home)
    assert (fake / "arguments").read_text().split() == ["load-buffer", "-w", "-"]


def test_a_tmux_that_fails_is_not_believed(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_tmux(tmp_path / "fake", 1, monkeypatch)
    said, sent = copied(home, TEXT)
    assert "copied" not in said
    assert "sent to the terminal (which may ignore it); also in " in said
    assert sent == TEXT == kept(home)


def test_a_terminal_is_sent_it_and_nothing_is_claimed(home: Home) -> None:
    said, sent = copied(home, TEXT)
    assert "sent to the terminal (which may ignore it)" in said
    assert sent == TEXT == kept(home)


def test_too_much_goes_to_the_file_alone(home: Home) -> None:
    text = "x" * 80_000
    said, sent = copied(home, text)
    assert "80 kB are too much" in said
    assert sent == ""
    assert kept(home) == text


def test_screen_gets_pieces_it_can_pass_on(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    found = clipboard.in_screen(TEXT.encode() * 100)
    parts = [part.removeprefix("\x1bP") for part in found.split("\x1b\\") if part]
    assert all(len(part) <= 768 for part in parts)
    payload = "".join(parts).removeprefix("\x1b]52;c;").removesuffix("\x07")
    assert base64.b64decode(payload) == TEXT.encode() * 100
    written: list[str] = []
    monkeypatch.setattr(clipboard, "_write", lambda app, text: written.append(text))
    monkeypatch.setenv("STY", "1.pts")
    said, sent = copied(home, TEXT)
    assert "sent to the terminal" in said
    assert sent == ""
    assert written == [clipboard.in_screen(TEXT.encode())]


@pytest.mark.skipif(shutil.which("tmux") is None, reason="no tmux here")
def test_a_real_tmux_has_it_in_its_buffer(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    socket = tmp_path / "socket"
    tmux = ["tmux", "-S", str(socket), "-f", "/dev/null"]
    subprocess.run([*tmux, "new-session", "-d", "sleep 60"], check=True, timeout=20)
    try:
        monkeypatch.setenv("TMUX", f"{socket},1,0")
        said, _ = copied(home, TEXT)
        assert "copied to tmux and " in said
        buffer = subprocess.run([*tmux, "show-buffer"], capture_output=True, check=True, timeout=20).stdout
        assert buffer.decode() == TEXT
    finally:
        subprocess.run([*tmux, "kill-server"], check=False, timeout=20)


def test_a_path_below_the_own_folder_is_short(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert clipboard.shown_path(tmp_path / "a" / "b.txt") == "~/a/b.txt"
    assert clipboard.shown_path(Path("/elsewhere/b.txt")) == "/elsewhere/b.txt"
