"""The examples run as they stand, as a user runs them."""

from __future__ import annotations

import gzip
import os
from pathlib import Path
import re
import subprocess
import sys
import time

import numpy as np
import optuna
from optuna.storages import JournalStorage
from optuna.storages import RDBStorage
from optuna.storages.journal import JournalFileBackend
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
    output = run("quickstart.py", "--n-trials", "12", cwd=tmp_path)
    trained, possible = map(int, re.search(r"trained: (\d+) of (\d+)", output).groups())
    assert possible == 12 * 30
    assert trained < possible
    assert float(re.search(r"Best accuracy ([\d.]+)", output).group(1)) > 0.9
    assert len(re.findall(r"Trial \d+\. At step \d+: \S+ % chance to beat", output)) == 3
    study = optuna.load_study(study_name="digits", storage=f"sqlite:///{tmp_path}/quickstart.db")
    assert sum(len(trial.intermediate_values) for trial in study.trials) == trained

    output = run("quickstart.py", "--n-trials", "2", cwd=tmp_path)
    assert f"of {14 * 30}" in output


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


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_a_killed_pytorch_example_goes_on_where_it_was(tmp_path):
    arguments = ["--n-trials", "1", "--n-epochs", "12"]
    killed = subprocess.Popen(
        [sys.executable, str(EXAMPLES / "pytorch_resume.py"), *arguments],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        told = next((line for line in killed.stdout if ", epoch 2: " in line), None)
    finally:
        killed.kill()
        killed.communicate()
    assert told is not None
    storage = RDBStorage(f"sqlite:///{tmp_path}/resume.db", heartbeat_interval=1, grace_period=3)
    study = optuna.load_study(study_name="resume", storage=storage)
    deadline = time.monotonic() + 60
    while not storage._get_stale_trial_ids(study._study_id) and time.monotonic() < deadline:
        time.sleep(0.1)

    output = run("pytorch_resume.py", *arguments, cwd=tmp_path)
    start = int(number(r"Trial 1 goes on at epoch (\d+)\n", output))
    assert start >= 3
    assert "Trials that died and were retried: 1\n" in output
    died, retried = study.trials
    assert retried.params == died.params
    assert sorted(retried.intermediate_values) == list(range(12))
    saved = {epoch: died.intermediate_values[epoch] for epoch in range(start)}
    assert saved.items() <= retried.intermediate_values.items()
    assert retried.value == retried.intermediate_values[11]
    assert list((tmp_path / "checkpoints").iterdir()) == []


def number(pattern, output):
    return float(re.search(pattern, output).group(1))


def test_architecture_search_in_two_processes(tmp_path):
    arguments = ["--data", "digits", "--workers", "2", "--trials", "9", "--epochs", "3"]
    output = run("nas_fashion_mnist.py", *arguments, cwd=tmp_path)
    study = optuna.load_study(
        study_name="digits",
        storage=JournalStorage(JournalFileBackend(str(tmp_path / "nas_fashion_mnist.journal"))),
    )
    assert len(study.trials) == 9
    assert study.best_value == pytest.approx(number(r"Best accuracy ([\d.]+)", output), abs=1e-4)
    assert study.best_value > 0.5
    trained = [trial for trial in study.trials if trial.intermediate_values]
    assert sum(len(trial.intermediate_values) for trial in trained) == number(
        r"Epochs trained: (\d+) of", output
    )
    assert 9 - len(trained) == number(r"value was known: (\d+)", output)
    architectures = {trial.user_attrs["architecture"] for trial in study.trials}
    assert len(architectures) == number(r"Unique architectures: (\d+) in 9 trials", output)
    assert f"Best architecture: {study.best_trial.user_attrs['architecture']}\n" in output
    assert re.search(r"Greedy architecture: \[.*SM\(10\)\]\n", output)


def test_architecture_search_reads_the_archives_of_fashion_mnist(tmp_path):
    digits_as_fashion_mnist(tmp_path)
    for file in tmp_path.glob("*-ubyte"):
        (tmp_path / f"{file.name}.gz").write_bytes(gzip.compress(file.read_bytes()))
        file.unlink()
    arguments = ["--data", tmp_path, "--n-train", "500", "--trials", "2", "--epochs", "1"]
    output = run("nas_fashion_mnist.py", *arguments, cwd=tmp_path)
    assert "Epochs trained: 2 of 2 " in output


def test_architecture_search_of_a_language_model(tmp_path):
    arguments = ["--trials", "4", "--epochs", "2", "--n-characters", "5000"]
    output = run("nas_language_model.py", *arguments, cwd=tmp_path)
    study = optuna.load_study(
        study_name="language-model", storage=f"sqlite:///{tmp_path}/nas_language_model.db"
    )
    assert sum(len(trial.intermediate_values) for trial in study.trials) == number(
        r"Epochs trained: (\d+) of 8 ", output
    )
    assert number(r"Best perplexity ([\d.]+)", output) == pytest.approx(study.best_value, abs=1e-3)
    # No better than chance would be the number of different characters.
    assert 1.0 < study.best_value < 0.8 * number(r"(\d+) different", output)
    assert f"Best architecture: {study.best_trial.user_attrs['architecture']}\n" in output

    (tmp_path / "text.txt").write_text("The same again and again. " * 100)
    arguments = ["--text", "text.txt", "--trials", "1", "--epochs", "1", "--storage"]
    output = run("nas_language_model.py", *arguments, "sqlite:///text.db", cwd=tmp_path)
    assert "2600 characters, 12 different ones" in output
