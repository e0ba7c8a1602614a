from __future__ import annotations

import pytest

from optuna_perfpred.distributed import _devices
from optuna_perfpred.distributed._devices import find_devices


LISTING = """\
GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-11111111-1111-1111-1111-111111111111)
GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-22222222-2222-2222-2222-222222222222)
  MIG 3g.20gb     Device  0: (UUID: MIG-33333333-3333-3333-3333-333333333333)
  MIG 3g.20gb     Device  1: (UUID: MIG-44444444-4444-4444-4444-444444444444)
"""
MIGS = [f"MIG-{'-'.join(n * k for k in (8, 4, 4, 4, 12))}" for n in "34"]


@pytest.fixture
def nvidia_smi(tmp_path, monkeypatch):
    """Put a fake nvidia-smi on the path; give a function that sets what it does."""
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def write(listing, status=0):
        script = (
            f"#!/bin/sh\n[ \"$1\" = -L ] || exit 9\ncat <<'END'\n{listing}END\nexit {status}\n"
        )
        (tmp_path / "nvidia-smi").write_text(script)
        (tmp_path / "nvidia-smi").chmod(0o755)

    write(LISTING)
    return write


def test_auto_takes_each_gpu_and_the_parts_of_one_that_is_split(nvidia_smi):
    assert find_devices("auto") == ["0", *MIGS]


def test_auto_finds_nothing_if_there_is_no_driver(nvidia_smi):
    nvidia_smi("NVIDIA-SMI has failed because it couldn't communicate with the driver.\n", 9)
    assert find_devices("auto") == []


@pytest.mark.parametrize(
    ("torch", "expected"),
    [
        ("class cuda:\n    device_count = staticmethod(lambda: 2)\n", ["0", "1"]),
        ("raise ImportError\n", []),
    ],
)
def test_auto_asks_torch_without_nvidia_smi(torch, expected, tmp_path, monkeypatch):
    (tmp_path / "torch.py").write_text(torch)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(_devices.shutil, "which", lambda _: None)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert find_devices("auto") == expected


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        ("4,5", ["4", "5"]),
        ("", []),
        ("-1", []),
        ("2,-1,3", ["2"]),
        (" GPU-ab , 1", ["GPU-ab", "1"]),
    ],
)
def test_auto_takes_the_visible_devices(visible, expected, nvidia_smi, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert find_devices("auto") == expected


def test_a_number_is_a_place_among_the_visible_devices(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", f"4,{MIGS[0]}")
    assert find_devices("1,0,0") == [MIGS[0], "4", "4"]
    with pytest.raises(ValueError, match=r"no device 2: CUDA_VISIBLE_DEVICES=4,MIG\S+ has 2"):
        find_devices("2")


def test_devices_are_taken_as_they_are_if_none_are_hidden(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert find_devices(f"0, 2,{MIGS[0]}") == ["0", "2", MIGS[0]]


@pytest.mark.parametrize("devices", ["", "all", "0,", "0;1", "-1", "cuda:0"])
def test_something_else_is_told_with_what_is_allowed(devices):
    with pytest.raises(ValueError, match="auto, or numbers or UUIDs"):
        find_devices(devices)
