from __future__ import annotations

from pathlib import Path
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from benchmarks._nas_surrogate import Agreement
from benchmarks._nas_surrogate import notation_agreement
from benchmarks._nas_surrogate import Surrogate
from optuna_perfpred.nas import Architecture
from tests.benchmarks.recorded_networks import draw_networks
from tests.benchmarks.recorded_networks import learn_all
from tests.benchmarks.recorded_networks import N_RECORDED
from tests.benchmarks.recorded_networks import SPACE
from tests.benchmarks.recorded_networks import write_recordings


@pytest.fixture(scope="module")
def networks():
    return draw_networks(N_RECORDED + 300, seed=0)


@pytest.fixture(scope="module")
def curves(networks):
    return learn_all(networks)


@pytest.fixture(scope="module")
def folder(networks, curves, tmp_path_factory):
    path = tmp_path_factory.mktemp("networks")
    write_recordings(path, networks, curves)
    return path


@pytest.fixture(scope="module")
def surrogate(folder):
    return Surrogate(folder)


def test_a_recorded_network_has_its_own_curve(surrogate, networks, curves):
    for network, curve in zip(networks[:N_RECORDED], curves, strict=False):
        np.testing.assert_array_equal(surrogate.curve(network), curve)
        np.testing.assert_array_equal(surrogate.curve(network.with_dropout()), curve)


def test_another_network_has_the_same_curve_in_every_process(surrogate, networks, folder):
    notations = [str(network) for network in networks[N_RECORDED : N_RECORDED + 3]]
    script = (
        "import sys; from pathlib import Path; "
        "from _nas_surrogate import Surrogate; "
        "surrogate = Surrogate(Path(sys.argv[1])); "
        "[print(*surrogate.curve(surrogate.space.parse(net))) for net in sys.argv[:1:-1]]"
    )
    output = subprocess.run(
        [sys.executable, "-c", script, str(folder), *notations],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2] / "benchmarks",
    ).stdout
    lines = output.splitlines()[::-1]  # Nor does the order of the questions matter.
    for notation, line in zip(notations, lines, strict=True):
        curve = surrogate.curve(SPACE.parse(notation).with_dropout())
        np.testing.assert_array_equal(curve, [float(value) for value in line.split()])


def test_a_curve_that_was_given_away_can_be_changed(surrogate, networks):
    before = surrogate.curve(networks[-1]).copy()
    surrogate.curve(networks[-1])[:] = 0.0
    np.testing.assert_array_equal(surrogate.curve(networks[-1]), before)


def test_other_curves_are_like_those_that_were_recorded(surrogate, networks, curves):
    others = curves[N_RECORDED:]
    made = np.array([surrogate.curve(network) for network in networks[N_RECORDED:]])
    assert made.shape == others.shape
    assert (made >= 0.0).all()
    assert (made <= 1.0).all()
    assert surrogate.n_clipped < len(made) / 20
    assert np.corrcoef(made[:, -1], others[:, -1])[0, 1] > 0.8
    # Residuals are of the size that cross-validation found, so the spread is the recorded one.
    assert made[:, -1].std() == pytest.approx(curves[:N_RECORDED, -1].std(), rel=0.2)
    assert surrogate.r2 == surrogate.r2_by_epoch[-1] > 0.8
    np.testing.assert_array_equal(
        np.sort(surrogate.recorded_values), np.sort(curves[:N_RECORDED, -1])
    )


def test_the_space_is_the_published_one(surrogate):
    assert repr(surrogate.space) == repr(SPACE)
    with pytest.raises(ValueError, match="pooling is never first"):
        surrogate.curve(Architecture.parse("[P(2,2), SM(10)]"))


def test_agreements_are_counted(tmp_path):
    rows = {
        "[C(64,3,1), C(128,3,1), D(1,1), GAP(10), SM(10)]": (4, 1728 + 73728 + 1280),
        # The softmax counted like the layer before it, and rightly.
        "[C(64,3,1), SM(10)]": (2, 1728 + 64 * 64 * 9),
        "[C(64,1,1), SM(10)]": (2, 192 + 64 * 32 * 32 * 10),
        "[C(64,3,1), P(5,3), C(64,1,1), P(2,2), FC(128), SM(10)]": (
            6,
            1728 + 4096 + 64 * 5 * 5 * 128 + 128 * 128,
        ),
        "[C(64,3,1), P(2,2), SM(10)]": (3, 1728),
        # A wrong depth, an unusual way of writing, and a network that is not of the space.
        "[C(64,5,1), P(2,2), SM(10)]": (4, 4800),
        "[C(64,5,1),P(3,2), SM(10)]": (3, 4800),
        "[C(96,5,1), P(2,2), SM(10)]": (3, 7200),
    }
    table = pd.DataFrame(
        [(net, *counts) for net, counts in rows.items()], columns=["net", "depth", "num_params"]
    )
    table.to_csv(tmp_path / "configs.csv", index_label="curve_id")
    agreement = notation_agreement(tmp_path)
    assert agreement == Agreement(
        n_networks=8,
        printed_back=7,
        legal=7,
        num_layers=7,
        num_weights=2,
        num_weights_by_files_rule=7,
    )
    assert "2 its number of weights, 7 if" in str(agreement)


def test_what_is_missing_is_named(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"configs\.csv"):
        Surrogate(tmp_path / "nothing")
    configs = pd.read_csv(folder / "configs.csv", index_col="curve_id")
    curves = pd.read_csv(folder / "curves.csv", index_col="curve_id")
    configs.drop(columns="net").to_csv(tmp_path / "configs.csv")
    with pytest.raises(ValueError, match="no column net"):
        Surrogate(tmp_path)
    configs.to_csv(tmp_path / "configs.csv")
    with pytest.raises(FileNotFoundError, match=r"curves\.csv"):
        Surrogate(tmp_path)
    curves.iloc[1:].to_csv(tmp_path / "curves.csv")
    with pytest.raises(ValueError, match="not of the same curves"):
        Surrogate(tmp_path)
    curves.iloc[3, 4] = np.nan
    curves.to_csv(tmp_path / "curves.csv")
    with pytest.raises(ValueError, match="none cut short"):
        Surrogate(tmp_path)
