"""The examples run as they stand, as a user runs them."""

from __future__ import annotations

import os
from pathlib import Path
import re
import subprocess
import sys

import numpy as np
import optuna
import pytest
from sklearn.datasets import load_digits


EXAMPLES = Path(__file__).parents[2] / "examples"


def run(name, *args, cwd):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    completed = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *map(str, args)],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert completed.returncode == 0, completed.stderr
    return completed.stdout


def test_quickstart_says_what_it_saved_and_can_be_continued(tmp_path):
    output = run("quickstart.py", "--n-trials", "25", cwd=tmp_path)
    trained, possible = map(int, re.search(r"trained: (\d+) of (\d+)", output).groups())
    assert possible == 25 * 30
    assert trained < possible
    assert float(re.search(r"Best accuracy ([\d.]+)", output).group(1)) > 0.9
    assert len(re.findall(r"Trial \d+: At step \d+ its chance to beat", output)) == 3
    study = optuna.load_study(study_name="digits", storage=f"sqlite:///{tmp_path}/quickstart.db")
    assert sum(len(trial.intermediate_values) for trial in study.trials) == trained

    output = run("quickstart.py", "--n-trials", "2", cwd=tmp_path)
    assert f"of {27 * 30}" in output


def write_idx(path, array):
    """Write the format of the MNIST files."""
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, dtype=">i4").tobytes()
    path.write_bytes(header + array.astype(np.uint8).tobytes())


def digits_as_fashion_mnist(raw):
    """Real images in the format of Fashion-MNIST, without a download."""
    images, labels = load_digits(return_X_y=True)
    images = np.kron(images.reshape(-1, 8, 8), np.ones((3, 3))) * (255 / 16)
    images = np.pad(images, ((0, 0), (2, 2), (2, 2)))
    for part in ("train", "t10k"):
        write_idx(raw / f"{part}-images-idx3-ubyte", images)
        write_idx(raw / f"{part}-labels-idx1-ubyte", labels)


def test_pytorch_example_trains_and_records(tmp_path):
    raw = tmp_path / "data" / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    digits_as_fashion_mnist(raw)
    arguments = ["data", "--n-trials", "14", "--n-epochs", "4", "--n-train", "600"]
    output = run("pytorch_fashion_mnist.py", *arguments, cwd=tmp_path)
    trained = int(re.search(r"trained: (\d+) of 56", output).group(1))
    study = optuna.load_study(
        study_name="fashion-mnist", storage=f"sqlite:///{tmp_path}/fashion_mnist.db"
    )
    assert sum(len(trial.intermediate_values) for trial in study.trials) == trained
    assert study.best_value > 0.3
    assert all(trial.user_attrs["num_weights"] > 0 for trial in study.trials)


def test_pytorch_example_does_not_download_unasked(tmp_path):
    with pytest.raises(AssertionError, match="Dataset not found"):
        run("pytorch_fashion_mnist.py", "data", cwd=tmp_path)
