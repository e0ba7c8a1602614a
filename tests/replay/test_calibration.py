from __future__ import annotations

from dataclasses import dataclass
import math

from optuna.pruners import MedianPruner
from optuna.pruners import NopPruner
import pytest

from optuna_perfpred.replay import replay
from tests.replay.studies import recorded_study


@dataclass
class Assessment:
    step: int
    probability_of_beating_best: float


class Assessor(NopPruner):
    """Foresees at the given steps of each trial that its chance is its first value."""

    def __init__(self, steps=(1,)):
        self.steps = steps

    def assessment(self, study, trial):
        steps = [step for step in trial.intermediate_values if step in self.steps]
        if not steps:
            return None
        return Assessment(max(steps), trial.intermediate_values[1])


def test_forecasts_are_set_beside_what_happened():
    # The first trial beats nothing at all, the third one the first, the others don't.
    curves = [[0.9, 1.0], [0.1, 0.5], [0.8, 2.0], [0.8, 1.5]]
    calibration = replay(recorded_study(curves), Assessor()).calibration
    assert calibration.count == 4
    happened = zip([0.9, 0.1, 0.8, 0.8], [1, 0, 1, 0], strict=True)
    assert calibration.brier_score == pytest.approx(sum((p - o) ** 2 for p, o in happened) / 4)
    low, high = calibration.bins
    assert (low.low, low.high, low.count, low.mean_forecast, low.frequency) == (
        0.1,
        0.2,
        1,
        pytest.approx(0.1),
        0.0,
    )
    assert (high.low, high.high, high.count) == (0.5, 1.0, 3)
    assert high.mean_forecast == pytest.approx(2.5 / 3)
    assert high.frequency == pytest.approx(2 / 3)


def test_a_minimized_study_is_oriented():
    study = recorded_study([[0.9, 1.0], [0.1, 0.5], [0.8, 2.0]], direction="minimize")

    class Oriented(Assessor):
        def assessment(self, study, trial):
            found = super().assessment(study, trial)
            found.probability_of_beating_best *= -1.0
            return found

    calibration = replay(study, Oriented()).calibration
    assert [(b.count, b.frequency) for b in calibration.bins] == [(1, 0.0), (2, 1.0)]


def test_an_assessment_is_counted_once():
    study = recorded_study([[0.5] * 5, [0.5] * 5])
    assert replay(study, Assessor(steps=(1,))).calibration.count == 2
    assert replay(study, Assessor(steps=(1, 4))).calibration.count == 4


def test_forecasts_of_certainty_and_of_nothing():
    calibration = replay(recorded_study([[1.0, 1.0], [0.0, 0.0]]), Assessor()).calibration
    assert calibration.brier_score == 0.0
    assert [(b.count, b.mean_forecast, b.frequency) for b in calibration.bins] == [
        (1, 0.0, 0.0),
        (1, 1.0, 1.0),
    ]
    unknown = replay(recorded_study([[math.nan, 1.0]]), Assessor()).calibration
    assert (unknown.count, unknown.bins) == (0, ())


def test_a_pruner_without_forecasts_has_no_calibration():
    report = replay(recorded_study(), MedianPruner())
    assert report.calibration.count == 0
    assert math.isnan(report.calibration.brier_score)
    assert "none given by the pruner" in str(report)


def test_the_text_tells_the_calibration():
    curves = [[0.9, 1.0], [0.1, 0.5], [0.8, 2.0], [0.8, 1.5]]
    text = str(replay(recorded_study(curves), Assessor()))
    assert "10 to  20 %: on average 10 % forecast, 0 % came true (1)" in text
