"""What the stopped trials of a study may risk in all."""

from __future__ import annotations

import math
import os

import numpy as np
import optuna
from optuna.samplers import RandomSampler
from optuna.trial import create_trial
from optuna.trial import TrialState
import pytest

from optuna_perfpred import explain
from optuna_perfpred import PerformancePredictionPruner
from optuna_perfpred import SequentialRegression
from optuna_perfpred.dashboard._words import tell
from optuna_perfpred.pruners._risk_budget import least_factor
from optuna_perfpred.pruners._risk_budget import risk_spent
from optuna_perfpred.visualization._savings import describe_savings
from tests.pruners.studies import accuracy_curve
from tests.pruners.studies import add_completed
from tests.pruners.studies import run
from tests.pruners.studies import study_with
from tests.pruners.studies import X


pytestmark = pytest.mark.filterwarnings("error:The trial is not pruned")


def pruned_with(risk, **attrs):
    """A trial that was stopped, as another worker has left it."""
    return create_trial(
        state=TrialState.PRUNED,
        params={"x": 0.1},
        distributions=X,
        intermediate_values={0: 0.02},
        user_attrs={"perfpred:step": 0, "perfpred:reason": "Hopeless.", "perfpred:risk": risk}
        | attrs,
    )


def search(max_risk, n_trials=30, seed=0, n_steps=10, noise=0.01, **kwargs):
    study = optuna.create_study(
        direction="maximize",
        sampler=RandomSampler(seed=seed),
        pruner=PerformancePredictionPruner(max_risk=max_risk, **kwargs),
    )
    ends = []

    def objective(trial):
        x = trial.suggest_float("x", 0.0, 1.0)
        rng = np.random.default_rng([seed, trial.number])
        curve = x * (1 - 0.7 ** np.arange(1, n_steps + 1)) + noise * rng.normal(size=n_steps)
        ends.append(float(curve[-1]))
        for step, value in enumerate(curve.tolist()):
            trial.report(value, step)
            if trial.should_prune():
                raise optuna.TrialPruned
        return ends[-1]

    study.optimize(objective, n_trials=n_trials)
    return study, ends


@pytest.mark.parametrize("max_risk", [0.05, 0.3])
def test_what_is_spent_is_within_the_budget_after_every_trial(max_risk):
    study, _ = search(max_risk)
    states = [trial.state for trial in study.trials]
    assert TrialState.PRUNED in states
    assert states[:5] == [TrialState.COMPLETE] * 5
    for n in range(1, len(study.trials) + 1):
        risk = risk_spent(study.trials[:n])
        assert risk is None or 0.0 < risk.total <= risk.max_risk == max_risk


def test_a_larger_risk_buys_more():
    steps = [
        sum(len(trial.intermediate_values) for trial in search(max_risk)[0].trials)
        for max_risk in (1e-6, 0.05, 0.5)
    ]
    assert 300 == steps[0] > steps[1] > steps[2]


@pytest.mark.parametrize(
    ("risk", "is_pruned"), [(0.0, True), (4.2, False), (-9.0, True), ("3", True), (None, True)]
)
def test_what_others_have_spent_is_not_spent_again(risk, is_pruned):
    study = study_with(PerformancePredictionPruner(max_risk=0.1), n=40)
    study.add_trial(pruned_with(risk))
    assert (run(study, 0.1) is not None) == is_pruned


def test_a_trial_that_was_told_to_stop_has_spent_while_it_still_runs():
    study = study_with(PerformancePredictionPruner(max_risk=0.1), n=40)
    other = study.ask(X)
    other.report(0.02, 0)
    for name, value in pruned_with(4.2).user_attrs.items():
        other.set_user_attr(name, value)
    assert run(study, 0.1) is None
    study.tell(other, state=TrialState.FAIL)
    assert run(study, 0.1) is not None


def test_a_stopped_trial_that_another_one_has_gone_on_with_risks_nothing():
    study = study_with(PerformancePredictionPruner(max_risk=0.1), n=40)
    study.add_trial(pruned_with(4.2, **{"perfpred:max_risk": 0.1}))
    assert risk_spent(study.trials).total == pytest.approx(4.2 / 41)
    curve = accuracy_curve(0.1)
    study.add_trial(
        create_trial(
            value=curve[-1],
            params={"x": 0.1},
            distributions=X,
            intermediate_values=dict(enumerate(curve)),
            user_attrs={"perfpred:continues": 40},
        )
    )
    assert risk_spent(study.trials) is None
    assert run(study, 0.1) is not None


def audited_study(n_best):
    study = study_with(PerformancePredictionPruner(max_risk=0.1), n=30)
    for number in range(n_best):
        curve = accuracy_curve(1.0 + 0.01 * number)
        attrs = {"audit": True, "step": 1, "probability_of_beating_best": 0.001, "reason": "No."}
        study.add_trial(
            create_trial(
                value=curve[-1],
                params={"x": 1.0},
                distributions=X,
                intermediate_values=dict(enumerate(curve)),
                user_attrs={f"perfpred:{name}": value for name, value in attrs.items()},
            )
        )
    return study


def test_audited_trials_that_became_the_best_make_stopping_dearer():
    assert run(audited_study(0), 0.1) is not None
    assert run(audited_study(2), 0.1) is None


def test_right_forecasts_are_hardly_ever_refuted():
    rng = np.random.default_rng(0)
    n_refuted = 0
    for _ in range(150):
        chances = rng.uniform(0.0, 0.1, size=60)
        happened = np.cumsum(rng.uniform(size=60) < chances)
        foreseen = np.cumsum(chances)
        n_refuted += any(
            least_factor(int(n), float(x)) > 1.0 for n, x in zip(happened, foreseen, strict=True)
        )
    assert n_refuted <= 0.1 * 150


@pytest.mark.parametrize(("n", "foreseen"), [(0, 0.0), (0, 5.0), (1, 1.0), (3, 3.0)])
def test_what_was_foreseen_is_not_refuted(n, foreseen):
    assert least_factor(n, foreseen) == 1.0


def test_what_came_more_often_than_foreseen_is_refuted_the_more_the_more_often():
    factors = [least_factor(n, 0.01) for n in (2, 3, 10, 200)]
    assert 1.0 < factors[0] < factors[1] < factors[2] < factors[3] < 200 / 0.01


@pytest.mark.parametrize(
    ("kwargs", "told"),
    [
        ({"max_risk": 0.0}, "between 0 and 1 or None, but got max_risk=0.0"),
        ({"max_risk": 1.0}, "max_risk=1.0"),
        ({"max_risk": -0.1}, "max_risk=-0.1"),
        ({"max_risk": math.nan}, "max_risk=nan"),
        ({"max_risk": "0.1"}, "max_risk='0.1'"),
        ({"max_risk": 0.1, "confidence": 0.9}, "Only one of `max_risk` and `confidence`"),
        ({"max_risk": 0.1, "n_startup_trials": 4}, "at least 5 or None"),
        ({"max_risk": 0.1, "predictor": SequentialRegression("ridge")}, "needs a stopping rule"),
        ({"max_risk": 0.1, "warm_start": [optuna.create_study()]}, "`warm_start`"),
    ],
)
def test_bad_arguments_are_told(kwargs, told):
    with pytest.raises(ValueError, match="max_risk") as caught:
        PerformancePredictionPruner(**kwargs)
    assert told in str(caught.value)


def test_what_was_risked_is_shown_beside_what_it_bought():
    study, _ = search(0.3)
    risk = risk_spent(study.trials)
    text = f"is foreseen as {100.0 * risk.total:.2g} % at most; `max_risk` allows 30 %"
    number = next(iter(risk.risks))
    assert text in str(explain(study, number))
    assert any(text in paragraph.text for paragraph in tell(study))
    figure = describe_savings(study)
    _, spent = figure.panels[1].data
    assert spent["y"][-1] == pytest.approx(100.0 * risk.total)
    assert text in figure.subtitle


def test_without_it_nothing_is_told_of_it():
    study = study_with(PerformancePredictionPruner())
    assert run(study, 0.1) is not None
    assert risk_spent(study.trials) is None
    assert len(describe_savings(study).panels) == 1
    assert str(explain(study, len(study.trials) - 1)).count("max_risk") == 0


@pytest.mark.skipif("PERFPRED_TEST_PROMISE" not in os.environ, reason="takes minutes")
@pytest.mark.parametrize("noise", [0.01, 0.1])
def test_the_promise_is_kept(noise):
    n_lost = 0
    for seed in range(100):
        study, ends = search(0.1, 40, seed, noise=noise)
        best = int(np.argmax(ends))
        n_lost += study.trials[best].state == TrialState.PRUNED
    assert n_lost <= 10


def test_workers_at_the_same_moment_take_half_each():
    pruners = [PerformancePredictionPruner(max_risk=0.1) for _ in range(2)]
    study = optuna.create_study(direction="maximize")
    add_completed(study, 40)
    trials = [study.ask(X) for _ in pruners]
    for trial in trials:
        trial.report(0.05, 0)
        trial.report(0.06, 1)
    frozen = [study.trials[trial.number] for trial in trials]
    # Each has read the storage before the other has written.
    assessments = [pruner._assess(study, one) for pruner, one in zip(pruners, frozen, strict=True)]
    left = 0.1 * 41
    assert all(a.is_hopeless and 0.0 < a.risk <= left / 2 for a in assessments)
