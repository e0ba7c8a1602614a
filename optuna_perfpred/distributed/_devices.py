from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys


_VARIABLE = "CUDA_VISIBLE_DEVICES"
_N_SECONDS = 60
# Asked in a process of its own: torch is large, and may take a part of the GPU's memory.
_ASK_TORCH = """
try:
    import torch
except ImportError:
    print(0)
else:
    print(torch.cuda.device_count())
"""


def find_devices(devices: str) -> list[str]:
    """Find the GPUs of workers, each as a value of ``CUDA_VISIBLE_DEVICES``.

    Args:
        devices:
            ``"auto"`` for each GPU once, or GPUs with commas between. A GPU that is named twice
            gets two workers. If ``CUDA_VISIBLE_DEVICES`` is set, only the GPUs listed there are
            used, and a number is a place in that list, as everywhere in CUDA. The UUID of a GPU
            or of a part of one (MIG) is taken as it is.

    Returns:
        The GPUs. With ``"auto"`` the list may be empty.

    Raises:
        ValueError:
            If a device is no number and no UUID, or there is no such device.
    """
    visible = os.environ.get(_VARIABLE)
    listed = None if visible is None else _split_visible(visible)
    if devices == "auto":
        return _find_all() if listed is None else listed
    return [_find_device(device.strip(), listed, devices) for device in devices.split(",")]


def _split_visible(visible: str) -> list[str]:
    listed = []
    for device in visible.split(","):
        # CUDA ends the list at the first device that does not exist.
        if not re.fullmatch(r"\d+|(GPU|MIG)-\S+", device.strip()):
            break
        listed.append(device.strip())
    return listed


def _find_device(device: str, listed: list[str] | None, devices: str) -> str:
    if re.fullmatch(r"(GPU|MIG)-\S+", device):
        return device
    if not device.isdecimal():
        raise ValueError(
            "`devices` must be auto, or numbers or UUIDs (GPU-..., MIG-...) with commas between, "
            f"but got {devices!r}."
        )
    if listed is None:
        return str(int(device))
    if int(device) >= len(listed):
        raise ValueError(
            f"There is no device {device}: {_VARIABLE}={','.join(listed)} has {len(listed)}."
        )
    return listed[int(device)]


def _find_all() -> list[str]:
    if program := shutil.which("nvidia-smi"):
        return _read_nvidia_smi(_output(program, "-L"))
    n_devices = _output(sys.executable, "-c", _ASK_TORCH).strip()
    return [str(i) for i in range(int(n_devices or 0))]


def _read_nvidia_smi(listing: str) -> list[str]:
    """Read the list of GPUs; of one that is split (MIG) take the parts."""
    found: list[list[str]] = []
    for line in listing.splitlines():
        if gpu := re.match(r"GPU (\d+):", line):
            found.append([gpu[1]])
        elif (part := re.match(r"\s+MIG .*\(UUID: (MIG-[^)]+)\)", line)) and found:
            found[-1].append(part[1])
    return [device for gpu in found for device in gpu[1:] or gpu]


def _output(*command: str) -> str:
    """Give what a program prints, or nothing if it fails, as nvidia-smi without a driver does."""
    try:
        done = subprocess.run(
            command, check=False, capture_output=True, text=True, timeout=_N_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""
