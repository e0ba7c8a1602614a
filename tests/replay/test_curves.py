from __future__ import annotations

import gzip
import json

from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution
from optuna.pruners import NopPruner
from optuna.study import StudyDirection
from optuna.trial import TrialState
import pytest

from optuna_perfpred.replay import load_curves
from optuna_perfpred.replay import replay


CURVES = """curve_id,5,10,20
a,1.5,1.25,1
b,2,,0.5
c,3,2.5,
d,4,4,4
"""
CONFIGS = """curve_id,lr,momentum,optimizer,net
c,0.1,0.9,sgd,conv-conv
a,0.001,,adam,conv
b,0.1,0.5,sgd,dense
d,0.1,0.5,adam,residual
"""


def write(folder, curves=CURVES, configs=CONFIGS, meta='{"direction": "minimize"}'):
    folder.mkdir(parents=True)
    (folder / "curves.csv").write_text(curves)
    (folder / "meta.json").write_text(meta)
    if configs is not None:
        (folder / "configs.csv").write_text(configs)
    return folder


def compress(file):
    file.with_name(f"{file.name}.gz").write_bytes(gzip.compress(file.read_bytes()))
    file.unlink()


@pytest.mark.parametrize("names", [["curves.csv"], ["configs.csv"], ["curves.csv", "configs.csv"]])
def test_compressed_tables_are_read_alike(tmp_path, names):
    expected = load_curves(write(tmp_path / "plain"))
    folder = write(tmp_path / "compressed")
    for name in names:
        compress(folder / name)
    study = load_curves(folder)
    assert len(study.trials) == len(expected.trials)
    for trial, plain in zip(study.trials, expected.trials, strict=True):
        assert trial.params == plain.params
        assert trial.distributions == plain.distributions
        assert trial.state == plain.state
        assert str(trial.intermediate_values) == str(plain.intermediate_values)  # NaN != NaN.


def test_a_table_that_is_not_compressed_comes_first(tmp_path):
    folder = write(tmp_path / "recorded", curves="curve_id,1\nz,7\n")
    compress(folder / "curves.csv")
    (folder / "curves.csv").write_text(CURVES)
    assert len(load_curves(folder).trials) == len(load_curves(write(tmp_path / "plain")).trials)


@pytest.mark.parametrize("damage", [lambda content: b"text", lambda content: content[:20]])
def test_a_damaged_compressed_table(tmp_path, damage):
    folder = write(tmp_path / "recorded")
    compress(folder / "curves.csv")
    file = folder / "curves.csv.gz"
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(ValueError, match=r"curves\.csv\.gz cannot be decompressed"):
        load_curves(folder)


def test_a_folder_is_a_study_of_completed_trials(tmp_path):
    study = load_curves(write(tmp_path / "recorded"))
    assert study.study_name == "recorded"
    assert study.direction == StudyDirection.MINIMIZE
    first, second, third, _ = study.trials
    assert [trial.value for trial in study.trials] == [1.0, 0.5, 2.5, 4.0]
    assert first.intermediate_values == {5: 1.5, 10: 1.25, 20: 1.0}
    assert second.intermediate_values == {5: 2.0, 20: 0.5}
    assert third.intermediate_values == {5: 3.0, 10: 2.5}
    assert first.params == {"lr": 0.001, "optimizer": "adam"}
    assert second.params == {"lr": 0.1, "momentum": 0.5, "optimizer": "sgd"}


def test_columns_become_the_distributions_they_were_most_likely_drawn_from(tmp_path):
    third = load_curves(str(write(tmp_path / "recorded"))).trials[2]
    assert third.distributions["lr"] == FloatDistribution(0.001, 0.1, log=True)
    assert third.distributions["momentum"] == FloatDistribution(0.5, 0.9)


def test_text_that_differs_in_nearly_every_row_is_left_out(tmp_path):
    curves = "curve_id,1\n" + "".join(f"{i},{i}\n" for i in range(4))
    configs = "curve_id,optimizer,net\n" + "".join(f"{i},{'ab'[i % 2]},{i}x\n" for i in range(4))
    trial = load_curves(write(tmp_path / "recorded", curves, configs)).trials[0]
    assert trial.distributions == {"optimizer": CategoricalDistribution(["a", "b"])}


def test_a_curve_that_is_empty_or_ends_in_nan_is_a_failed_trial(tmp_path):
    curves = "curve_id,1,2\na,,\nb,1,nan\nc,1,inf\nd,1,2\n"
    study = load_curves(write(tmp_path / "recorded", curves, configs=None))
    assert [trial.state for trial in study.trials] == [
        TrialState.FAIL,
        TrialState.FAIL,
        TrialState.COMPLETE,
        TrialState.COMPLETE,
    ]
    assert replay(study, NopPruner()).left_out == {"FAIL": 2}


def test_a_folder_is_replayed_by_its_path(tmp_path):
    folder = write(tmp_path / "recorded")
    for path in (folder, str(folder)):
        report = replay(path, NopPruner())
        assert (report.best_value, report.total_steps, report.horizon) == (0.5, 10, 3)


def test_a_missing_folder_is_told(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        load_curves(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["meta.json", "curves.csv"])
def test_a_missing_file_is_told(name, tmp_path):
    folder = write(tmp_path / "recorded")
    (folder / name).unlink()
    with pytest.raises(FileNotFoundError, match=name):
        load_curves(folder)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"meta": "{"}, "not valid JSON"),
        ({"meta": "[]"}, "direction"),
        ({"meta": json.dumps({"direction": "up"})}, "'up'"),
        ({"curves": "id,1\na,1\n"}, "no column `curve_id`"),
        ({"curves": "curve_id,first\na,1\n"}, "first"),
        ({"curves": "curve_id,-1\na,1\n"}, "-1"),
        ({"curves": "curve_id,1\na,good\n"}, "good"),
        ({"curves": "curve_id,1\nz,1\n"}, "no row for curve 'z'"),
    ],
)
def test_what_is_not_in_the_format_is_told(files, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        load_curves(write(tmp_path / "recorded", **files))
