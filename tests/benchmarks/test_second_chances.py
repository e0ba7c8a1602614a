from __future__ import annotations

import numpy as np
from optuna.distributions import FloatDistribution
from optuna.study import StudyDirection
from optuna.trial import create_trial
import second_chances


def recording(n_trials=30, n_steps=15):
    """Trials that learn at rates of their own, so that some of the best begin badly."""
    rng = np.random.default_rng(0)
    trials = []
    for _ in range(n_trials):
        x, rate = rng.random(2)
        values = x * (1.0 - (0.4 + 0.5 * rate) ** np.arange(1, n_steps + 1))
        trials.append(
            create_trial(
                value=float(values[-1]),
                params={"x": x},
                distributions={"x": FloatDistribution(0.0, 1.0)},
                intermediate_values=dict(enumerate(values.tolist())),
            )
        )
    return second_chances.Recording(trials, StudyDirection.MAXIMIZE)


def test_to_finish_costs_steps_and_loses_nothing():
    results = {}
    for second_chance in second_chances.SECOND_CHANCES:
        before, after = second_chances.measure(recording(), second_chance, order=0)
        assert before.n_continued == 0
        assert after.n_continued > 0
        assert 1.0 < after.speed_up < before.speed_up
        assert after.regret <= before.regret
        results[second_chance] = before
    # Until then both are the same study.
    assert results["checkpoint"] == results["retrain"]
