from __future__ import annotations

from pathlib import Path

import _evidence_advance
import _evidence_other_sets
import _evidence_predictors
from _evidence_predictors import Entry
import _evidence_scores
import _evidence_sets
import evidence
import numpy as np
import pytest
from sklearn.metrics import r2_score

from optuna_perfpred import CurvePredictor
from optuna_perfpred import SequentialRegression
from optuna_perfpred.predictors import Forecast


CURVES = Path(__file__).parents[2] / "benchmarks" / "curves"
FAMILIES = ("diamonds_perceptrons", "fashion_convnets", "kjv_language_models")


class Hopeful(CurvePredictor):
    """Each curve gains a tenth of its last value. It needs no other curve."""

    def fit(self, configurations, curves, finals):
        return self

    def predict(self, configurations, curves):
        last = np.array([curve[~np.isnan(curve)][-1] for curve in curves])
        return Forecast(last + 0.1 * np.abs(last), 0.05 * np.abs(last))


@pytest.fixture(autouse=True)
def quick_default(monkeypatch):
    """The default predictor is fitted in a tenth of a second, this one in milliseconds."""
    ours = _evidence_predictors.PREDICTORS["default"]
    quick = ours._replace(make=lambda: SequentialRegression("ridge"))
    monkeypatch.setitem(_evidence_predictors.PREDICTORS, "default", quick)


@pytest.fixture
def hopeful(monkeypatch):
    """A slow predictor, forecast in advance, and the same one that is not."""
    entries = {
        "slow": Entry("slow", Hopeful, _evidence_predictors.SLOW, per_trial=True),
        "slow_too": Entry("slow too", Hopeful, _evidence_predictors.SLOW),
    }
    for name, entry in entries.items():
        monkeypatch.setitem(_evidence_predictors.PREDICTORS, name, entry)


def run(capsys, section, *arguments, sets=("diamonds_perceptrons",)):
    arguments = ["--curves", CURVES, "--sets", *sets, *arguments]
    evidence.main([section, *map(str, arguments)])
    return capsys.readouterr().out


def table(output, title):
    """Give the cells of a table by the labels of its rows."""
    (text,) = [text for text in output.split("\n**")[1:] if title in text.split("**")[0]]
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")]
    return {cells[0]: cells[1:] for cells in rows}


def number(cell):
    return float(cell.split()[0].rstrip("×").replace(",", ""))


def test_accuracy_is_that_of_the_forecasts(capsys, tmp_path):
    cache = tmp_path / "results.jsonl"
    arguments = ["--predictors", "last_seen_value", "ols", "default"]
    arguments += ["--n-splits", 2, "--n-jobs", 1, "--cache", cache]
    output = run(capsys, "accuracy", *arguments)
    curve_set = _evidence_sets.load_set(str(CURVES / "diamonds_perceptrons"))
    scores = []
    for split in range(2):
        test = np.random.default_rng(split).permutation(300)[100:]
        scores.append(r2_score(curve_set.finals[test], curve_set.curves[test, 9]))
    r2 = table(output, "R² × 100")
    assert number(r2["`LastSeenValue()`"][2]) == pytest.approx(100 * np.mean(scores), abs=0.06)
    assert number(r2["**ours (default)**"][2]) > 100 * np.mean(scores)
    verdict = table(output, "Ours beside the best other")["diamonds_perceptrons"]
    assert verdict[3] in ("`LastSeenValue()`", "`ols`")
    # An interrupted run goes on where it was.
    lines = [line for line in cache.read_text().splitlines() if line]
    cache.write_text("\n".join(lines[:-1]) + "\n" + lines[-1][:40])
    again = run(capsys, "accuracy", *arguments)
    tables = [text[: text.rindex("accuracy:")] for text in (output, again)]  # Then the seconds.
    assert tables[0] == tables[1]
    assert len([line for line in cache.read_text().splitlines() if line]) == len(lines) + 1


def test_slow_predictors_stand_beside_ours_on_the_same_curves(capsys, hopeful):
    arguments = ["--predictors", "last_seen_value", "default", "slow", "--n-splits", 1]
    arguments += ["--n-slow-splits", 1, "--n-slow-curves", 12, "--slow-fractions", 0.25]
    output = run(capsys, "accuracy", *arguments, "--n-jobs", 1)
    r2 = table(output, "R² × 100; the same 12 test curves")
    curve_set = _evidence_sets.load_set(str(CURVES / "diamonds_perceptrons"))
    test = np.random.default_rng(0).permutation(300)[100:112]
    errors = curve_set.finals[test] - curve_set.curves[test, 9]
    expected = 100 * (1 - np.mean(errors**2) / curve_set.finals.var())
    assert number(r2["`LastSeenValue()`"][0]) == pytest.approx(expected, abs=0.06)
    assert {"slow", "**ours (default)**"} < r2.keys()


def test_features_are_told_apart(capsys):
    output = run(capsys, "features", "--predictors", "ridge", "--n-splits", 2, "--n-jobs", 1)
    assert "(AP: activation, depth, width; HP: alpha, batch_size, lr, momentum, solver)" in output
    cells = table(output, "by features")
    r2 = dict(zip(cells["predictor"], map(number, cells["`ridge`"]), strict=True))
    assert r2["TS"] > r2["AP+HP"] >= max(r2["AP"], r2["HP"]) - 5.0


def test_more_curves_teach_more(capsys):
    arguments = ["--predictors", "ridge", "--sizes", 10, 200, "--n-splits", 3, "--n-jobs", 1]
    cells = table(run(capsys, "sizes", *arguments), "R² × 100")
    few, many = map(number, cells["`ridge`"])
    assert many > few


def test_stopping_by_forecasts(capsys, hopeful, tmp_path):
    arguments = ["--predictors", "last_seen_value", "slow", "slow_too", "--n-jobs", 1]
    arguments += ["--n-orders", 2, "--n-trials", 40, "--n-slow-trials", 30, "--n-slow-orders", 1]
    output = run(capsys, "stopping", *arguments, "--n-startup-trials", 10)
    cells = table(output, "40 trials, 2 orders")
    assert number(cells["i-epoch rule (10 %)"][0]) > 3.0
    assert number(cells["**ours, default pruner**"][0]) > 1.5
    cells = table(output, "30 trials, 1 orders")
    # Computed in advance or when asked for, forecasts are the same.
    assert cells["slow"] == cells["slow too"]
    assert number(cells["slow"][0]) > 1.1


def test_cost_is_counted_side_by_side(capsys, monkeypatch):
    slow = Entry("LC-Net", Hopeful, _evidence_predictors.SLOW)
    monkeypatch.setitem(_evidence_predictors.PREDICTORS, "bayesian_network", slow)
    arguments = ["--predictors", "last_seen_value", "default", "bayesian_network"]
    arguments += ["--n-trials", 14, "--n-slow-trials", 14, "--n-slow-checks", 1]
    output = run(capsys, "cost", *arguments)
    cells = table(output, "curves train")
    ours, last = (
        map(number, cells[label][:3]) for label in ("**ours (default)**", "`LastSeenValue()`")
    )
    assert all(a > b for a, b in zip(ours, last, strict=True))
    assert number(table(output, "forecast at each step")["**ours (default)**"][0]) > 10
    # What stands for LC-Net here costs less than ours.
    assert number(table(output, "How many times")["LC-Net"][1]) < 1.0


def test_transfer_to_deeper_networks_and_to_other_sets(capsys):
    arguments = ["--predictors", "ridge", "last_seen_value", "--n-splits", 2, "--n-jobs", 1]
    output = run(capsys, "transfer", *arguments, sets=FAMILIES[1:])
    cells = table(output, "81 networks below and 167 above")
    assert number(cells["`ridge`"][0]) > number(cells["`LastSeenValue()`"][0])
    cells = table(output, "From one set to another, rank")
    assert cells["vision to language and back"][:2] == ["kjv_language_models", "fashion_convnets"]
    assert 0.0 < number(cells["vision to language and back"][2]) < 100.0


@pytest.mark.parametrize("family", FAMILIES)
def test_the_common_scale_knows_nothing_of_the_end(family):
    curve_set = _evidence_sets.load_set(str(CURVES / family))
    scaled, known = _evidence_other_sets.on_common_scale(curve_set)
    curves = curve_set.curves.copy()
    n_seen = _evidence_sets.n_seen(0.25, curves.shape[1])
    curves[:, n_seen:] = 7.0
    altered = curve_set._replace(curves=curves, finals=curve_set.finals[::-1])
    again, _ = _evidence_other_sets.on_common_scale(altered)
    np.testing.assert_array_equal(scaled.curves, again.curves)
    np.testing.assert_array_equal(scaled.finals, again.finals[::-1])
    assert known.all()


def test_scores_of_forecasts_that_are_right():
    rng = np.random.default_rng(0)
    mean = rng.normal(size=20_000)
    finals = mean + 0.5 * rng.standard_t(5.0, size=len(mean))
    right = _evidence_scores.Forecasts(
        finals, mean, np.full_like(mean, 0.5), np.full_like(mean, 5)
    )
    scores = right.scores()
    assert scores["coverage"] == pytest.approx(0.9, abs=0.01)
    for factor in (0.7, 1.4):
        assert right._replace(std=factor * right.std).scores()["density"] < scores["density"]
    certain = right._replace(mean=finals, std=np.zeros_like(mean)).scores()
    for metric in ("coverage", "r2", "rank"):
        assert certain[metric] == pytest.approx(1.0)
    assert certain["error"] == 0.0


def test_checks_are_where_the_pruner_asks():
    # 30 epochs, counted from 0 or 1, and 2 checks: after a third and two thirds.
    lengths = _evidence_advance.checked_lengths(str(CURVES / "fashion_convnets"), 20, 2)
    assert len(lengths) in (2, 3)
    assert lengths[:2] == pytest.approx([10, 20], abs=2)


def test_a_set_that_is_not_there(capsys):
    with pytest.raises(SystemExit, match="no sets"):
        run(capsys, "sizes", sets=("no_such_set",))
    with pytest.raises(SystemExit):
        run(capsys, "all", "--no-such-argument")
