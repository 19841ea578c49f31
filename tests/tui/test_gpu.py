"""GPUs through NVML's bindings, and notifications as a terminal would get them."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from tui.services import gpu
from tui.services.snapshot import Device
from tui.terminal import notify

ESC = "\x1b"


class Nvml(ModuleType):
    """A driver with two GPUs, the second of which can say little."""

    NVML_TEMPERATURE_GPU = 0
    NVML_ERROR_NOT_SUPPORTED, NVML_ERROR_NO_PERMISSION, NVML_ERROR_UNKNOWN, NVML_ERROR_GPU_IS_LOST = 3, 4, 999, 15

    class NVMLError(Exception):
        def __init__(self, value: int) -> None:
            super().__init__(value)
            self.value = value

    def __init__(self, driver: bool = True) -> None:
        super().__init__("pynvml")
        self.calls: list[str] = []
        self.driver, self.lost = driver, False

    def nvmlInit(self) -> None:
        self.calls.append("init")
        if not self.driver:
            raise self.NVMLError(9)

    def nvmlShutdown(self) -> None:
        self.calls.append("shutdown")

    def nvmlDeviceGetCount(self) -> int:
        if self.lost:
            raise self.NVMLError(self.NVML_ERROR_GPU_IS_LOST)
        return 2

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlDeviceGetName(self, handle: int) -> Any:
        return b"NVIDIA H100" if handle == 0 else "NVIDIA H100 MIG 1g.10gb"

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> Any:
        return SimpleNamespace(used=2 << 30, total=80 << 30)

    def nvmlDeviceGetUtilizationRates(self, handle: int) -> Any:
        self._only_first(handle)
        return SimpleNamespace(gpu=97, memory=50)

    def nvmlDeviceGetTemperature(self, handle: int, sensor: int) -> int:
        self._only_first(handle)
        return 64

    def nvmlDeviceGetPowerUsage(self, handle: int) -> int:
        self._only_first(handle)
        return 312_600

    def _only_first(self, handle: int) -> None:
        if handle:
            raise self.NVMLError(self.NVML_ERROR_NOT_SUPPORTED)


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "_nvml", None)
    monkeypatch.setattr(gpu, "_absent", False)


def with_nvml(monkeypatch: pytest.MonkeyPatch, nvml: Nvml | None) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", nvml)  # type: ignore[arg-type]


def test_a_gpu_tells_use_memory_heat_and_power_and_none_where_it_cannot(monkeypatch: pytest.MonkeyPatch) -> None:
    with_nvml(monkeypatch, Nvml())
    assert gpu.read_devices() == (
        Device("NVIDIA H100", 97, 2 << 30, 80 << 30, 64, 313),
        Device("NVIDIA H100 MIG 1g.10gb", None, 2 << 30, 80 << 30, None, None),
    )


def test_the_driver_is_opened_once(monkeypatch: pytest.MonkeyPatch) -> None:
    nvml = Nvml()
    with_nvml(monkeypatch, nvml)
    for _ in range(3):
        gpu.read_devices()
    assert nvml.calls == ["init"]


@pytest.mark.parametrize("nvml", [None, Nvml(driver=False)], ids=["no bindings", "no driver"])
def test_without_a_driver_there_is_nothing_and_no_second_try(
    monkeypatch: pytest.MonkeyPatch, nvml: Nvml | None
) -> None:
    with_nvml(monkeypatch, nvml)
    assert gpu.read_devices() == ()
    later = Nvml()
    with_nvml(monkeypatch, later)
    assert gpu.read_devices() == ()
    assert later.calls == []


def test_a_driver_that_goes_away_is_opened_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    nvml = Nvml()
    with_nvml(monkeypatch, nvml)
    assert len(gpu.read_devices()) == 2
    nvml.lost = True
    assert gpu.read_devices() == ()
    nvml.lost = False
    assert len(gpu.read_devices()) == 2
    assert nvml.calls == ["init", "shutdown", "init"]


def test_off_is_silent_and_a_bell_is_a_bell() -> None:
    assert notify.sequence("off", "DataDream", "done", {}) == ""
    assert notify.sequence("nonsense", "DataDream", "done", {}) == ""
    assert notify.sequence("bell", "DataDream", "done", {"TMUX": "x"}) == "\a"


def test_both_are_two_sequences_and_a_bell() -> None:
    found = notify.sequence("both", "DataDream", "done: adapt", {})
    assert found == f"{ESC}]9;DataDream: done: adapt{ESC}\\{ESC}]777;notify;DataDream;done: adapt{ESC}\\\a"


def test_inside_tmux_the_notification_is_wrapped_and_the_bell_is_not() -> None:
    found = notify.sequence("both", "D", "done", {"TMUX": "/tmp/tmux-0/default,1,0"})
    assert found.startswith(f"{ESC}Ptmux;{ESC}{ESC}]9;D: done{ESC}{ESC}\\")
    assert found.endswith(f"{ESC}\\\a")
    assert notify.sequence("both", "D", "x", {"STY": "1.pts"}) == (
        f"{ESC}P{ESC}]9;D: x\a{ESC}\\{ESC}P{ESC}]777;notify;D;x\a{ESC}\\\a"
    )


@pytest.mark.parametrize(
    "text",
    ["a\x1b]52;c;aGk=\a b", "a\x9b31m b", "a\x07\x9c b", "a\r\n b", "a\u202e b", "a\u2028 b", "a; b;4;1"],
)
def test_no_text_can_steer_the_terminal(text: str) -> None:
    found = notify.sequence("both", text, text, {})
    body = found.removesuffix("\a").split(f"{ESC}\\")
    assert len(body) == 3
    for part, start in zip(body, (f"{ESC}]9;", f"{ESC}]777;notify;", ""), strict=True):
        inside = part.removeprefix(start)
        assert part.startswith(start)
        assert inside.isprintable()
    assert body[1].count(";") == 3


def test_a_long_text_is_cut() -> None:
    assert len(notify.sequence("both", "D", "x" * 10_000, {})) < 600


def test_sending_goes_through_the_driver_only(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    driver = SimpleNamespace(write=written.append, flush=lambda: None)
    monkeypatch.delenv("TMUX", raising=False)
    monkeypatch.delenv("STY", raising=False)
    app: Any = SimpleNamespace(_driver=driver, is_headless=False)
    notify.send(app, "off", "D", "x")
    notify.send(app, "bell", "D", "x")
    assert written == ["\a"]
    app.is_headless = True
    notify.send(app, "both", "D", "x")
    assert written == ["\a"]
