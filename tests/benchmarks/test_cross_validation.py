from __future__ import annotations

import cross_validation
import numpy as np
import pytest


def test_both_ways_to_report_give_the_same_values():
    values = np.random.default_rng(0).random((6, 5, 10))
    space = cross_validation.SPACES["network"]
    usual, folds = (
        cross_validation.study_of(space, values, each_step=each_step)
        for each_step in (False, True)
    )
    expected = values[:, :, -1].mean(axis=1)
    for study, n_reports in ((usual, 5), (folds, 50)):
        assert [trial.value for trial in study.trials] == pytest.approx(expected.tolist())
        assert all(len(trial.intermediate_values) == n_reports for trial in study.trials)
        last = [trial.intermediate_values[n_reports - 1] for trial in study.trials]
        assert last == pytest.approx(expected.tolist())
    assert [t.params for t in usual.trials] == [t.params for t in folds.trials]


@pytest.mark.parametrize("learner", ["network", "boosting"])
def test_recorded_values(learner):
    data = cross_validation.load("diabetes")
    data = data._replace(X=data.X[:60], y=data.y[:60])
    params = {
        "network": {"learning_rate": 0.01, "alpha": 1e-4, "width": 4, "batch_size": 16},
        "boosting": {
            "learning_rate": 0.1,
            "max_depth": 2,
            "subsample": 0.8,
            "min_samples_leaf": 2,
        },
    }[learner]
    values = cross_validation.record(data, learner, params)
    assert values.shape == (5, 10)
    assert (values > 0.0).all()
    assert values[:, -1].mean() < values[:, 0].mean()
