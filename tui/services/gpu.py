"""GPUs as NVML tells them, in the poller's thread. Without a driver: nothing, and no second try."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from tui.services.snapshot import Device

_nvml: Any = None  # the bindings, once the driver has answered
_absent = False


def read_devices() -> tuple[Device, ...]:
    """Every GPU, in the driver's order; a field is None where the driver can't say. () without NVIDIA's driver.

    Only for one thread. The driver is opened once and stays open; one that goes away is opened anew at the next look.
    """
    global _nvml, _absent
    if _absent:
        return ()
    if _nvml is None:
        _nvml = _opened()
        if _nvml is None:
            _absent = True
            return ()
    try:
        count = _nvml.nvmlDeviceGetCount()
        return tuple(_device(_nvml, _nvml.nvmlDeviceGetHandleByIndex(index)) for index in range(count))
    except _nvml.NVMLError:
        with contextlib.suppress(_nvml.NVMLError):
            _nvml.nvmlShutdown()
        _nvml = None
        return ()


def _opened() -> Any:
    """The bindings with the driver opened; None when either isn't there."""
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    return pynvml


def _device(nvml: Any, handle: Any) -> Device:
    memory = _told(nvml, lambda: nvml.nvmlDeviceGetMemoryInfo(handle))
    name = _told(nvml, lambda: nvml.nvmlDeviceGetName(handle))
    power = _told(nvml, lambda: nvml.nvmlDeviceGetPowerUsage(handle))
    return Device(
        name=name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name or "GPU"),
        use=_told(nvml, lambda: nvml.nvmlDeviceGetUtilizationRates(handle).gpu),
        memory_used=memory.used if memory else None,
        memory_total=memory.total if memory else None,
        temperature=_told(nvml, lambda: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU)),
        power=round(power / 1000) if power is not None else None,
    )


def _told(nvml: Any, question: Callable[[], Any]) -> Any:
    """The driver's answer; None when it has none, as for parts of a GPU. A GPU that is gone is an error."""
    try:
        return question()
    except nvml.NVMLError as error:
        if error.value in (nvml.NVML_ERROR_NOT_SUPPORTED, nvml.NVML_ERROR_NO_PERMISSION, nvml.NVML_ERROR_UNKNOWN):
            return None
        raise
