from __future__ import annotations

import sys

from optuna.pruners import MedianPruner
from optuna.pruners import NopPruner
import pytest

from optuna_perfpred import PerformancePredictionPruner
from optuna_perfpred.replay import replay
from tests.replay.studies import PruneAt
from tests.replay.studies import recorded_study


def test_a_data_frame_has_a_row_for_each_replayed_trial():
    report = replay(recorded_study(), PerformancePredictionPruner(), n_repeats=2, seed=0)
    frame = report.to_dataframe()
    assert list(frame["number"]) == [trial.number for trial in report.trials]
    assert frame["steps_trained"].sum() == 2 * report.steps_trained
    assert set(frame["state"]) == {"COMPLETE", "PRUNED"}
    assert frame["wrongly_pruned"].sum() == len(report.wrongly_pruned)
    pruned = frame[frame["state"] == "PRUNED"]
    assert pruned["predicted_value"].notna().all()
    assert pruned["reason"].str.contains("predicted").all()
    assert frame[frame["state"] == "COMPLETE"]["reason"].isna().all()


def test_a_data_frame_without_pandas_is_refused(monkeypatch):
    report = replay(recorded_study(), NopPruner())
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="pip install pandas"):
        report.to_dataframe()


def test_the_text_tells_savings_losses_and_reasons():
    curves = [[1.0, 2.0, 3.0], [1.0, 1.5, 5.0], [0.0, 0.0, 1.0], [0.0, 4.0, 4.0]]
    text = str(replay(recorded_study(curves), PruneAt({0.25: 2})))
    assert "11 of 12, 1 saved: 1.09 times as fast" in text
    assert "4 completed of 5" in text
    assert "trial 1 at step 2: ends at 5, best by then 3" in text


def test_progress_is_shown_on_request(capsys):
    study = recorded_study()
    replay(study, MedianPruner(), n_repeats=2)
    assert capsys.readouterr().err == ""
    replay(study, MedianPruner(), n_repeats=2, budget=3.0, show_progress_bar=True)
    assert "60/60" in capsys.readouterr().err
