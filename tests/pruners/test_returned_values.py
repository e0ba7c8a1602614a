"""What objectives report and return, as they are found in the wild: good trials are kept."""

from __future__ import annotations

import warnings

import numpy as np
import optuna
from optuna.samplers import PartialFixedSampler
from optuna.samplers import QMCSampler
from optuna.samplers import RandomSampler
from optuna.samplers import TPESampler
from optuna.trial import TrialState
import pytest

from optuna_perfpred import PerformancePredictionPruner
from tests.pruners.studies import X


pytestmark = pytest.mark.filterwarnings("error:The trial is not pruned")
N_TRIALS = 40


def qualities(seed, n=N_TRIALS):
    """As random search finds them."""
    return np.random.default_rng(seed).random(n)


def noise(x, n, scale=0.01):
    """The noise of a training, the same whenever the configuration is trained."""
    return scale * np.random.default_rng(int(1e9 * x)).normal(size=n)


def rising(x, n=20):
    """Accuracies that end near ``x``."""
    return x * (1.0 - 0.8 ** np.arange(1, n + 1)) + noise(x, n)


def search(trainings, direction="maximize", *, steps=None, when_pruned=None, sampler=None):
    """Run trials, each with what it would report and return in full; give the study.

    An objective that catches the request to stop returns ``when_pruned``.
    """
    study = optuna.create_study(
        direction=direction, pruner=PerformancePredictionPruner(), sampler=sampler
    )
    for x, curve, returned in trainings:
        study.enqueue_trial({"x": x})
        trial = study.ask(X)
        for step, value in zip(steps or range(len(curve)), curve, strict=False):
            trial.report(float(value), step)
            if trial.should_prune():
                trial.set_user_attr("stopped", True)
                if when_pruned is None:
                    study.tell(trial, state=TrialState.PRUNED)
                else:
                    study.tell(trial, when_pruned)
                break
        else:
            study.tell(trial, float(returned))
    return study


def stopped(study):
    return [trial.number for trial in study.trials if trial.user_attrs.get("stopped")]


def check(study, trainings, direction="maximize", *, least=8):
    """The best one is kept, and many of the worse half are stopped."""
    sign = 1.0 if direction == "maximize" else -1.0
    order = np.argsort([-sign * returned for _, _, returned in trainings])
    assert order[0] not in stopped(study)
    assert len(set(stopped(study)) & set(order[len(order) // 2 :].tolist())) >= least


@pytest.mark.parametrize("seed", range(3))
def test_the_best_of_a_curve_that_ends_by_patience(seed):
    """Curves fall after their peak, and have unequal lengths."""
    trainings = []
    for x in qualities(seed):
        peak = 4 + int(26 * np.random.default_rng(int(1e9 * x)).random())
        steps = np.arange(60)
        curve = x * (1.0 - 0.8 ** (steps + 1.0)) - 0.02 * np.maximum(steps - peak, 0)
        curve = (curve + noise(x, 60))[: int(np.argmax(curve + noise(x, 60))) + 6]
        trainings.append((x, curve, curve.max()))
    study = search(trainings)
    check(study, trainings)


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_a_trial_that_falls_after_its_best_report_keeps_it(direction):
    sign = 1.0 if direction == "maximize" else -1.0

    def rise_and_fall(x):
        return sign * np.concatenate([rising(x, 10), rising(x, 10)[-1] - 0.03 * np.arange(1, 11)])

    trainings = [(x, c, sign * (sign * c).max()) for x in qualities(1) for c in [rise_and_fall(x)]]
    study = search(trainings, direction)
    check(study, trainings, direction)
    trial = study.ask(X)
    curve = rise_and_fall(1.05)
    for step, value in enumerate(curve[:-1]):
        trial.report(value, step)
        assert not trial.should_prune()
    assessment = study.pruner.assessment(study, trial)
    assert assessment.step == 18
    assert sign * assessment.predicted_value >= (sign * curve).max() - 1e-9
    assert assessment.probability_of_beating_best > 0.5


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_the_mean_of_the_last_five_reports(direction):
    sign = 1.0 if direction == "maximize" else -1.0
    trainings = [
        (x, curve, curve[-5:].mean()) for x, curve in ((x, sign * rising(x)) for x in qualities(3))
    ]
    check(search(trainings, direction), trainings, direction)


def warned(caught):
    return [str(w.message) for w in caught if "No trial is pruned by what it reports" in str(w)]


def test_reported_losses_in_a_study_that_maximizes_the_accuracy():
    """To prune by them would stop the best ones: nothing is pruned, and the user is told."""
    trainings = [(x, 1.0 - rising(x), rising(x)[-1]) for x in qualities(4)]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        study = search(trainings)
    assert not stopped(study)
    [message] = warned(caught)
    assert "the other way round" in message
    assert "Report the value that the objective returns" in message


def test_a_metric_that_has_nothing_to_do_with_the_reported_one():
    returns = np.random.default_rng(0).random(N_TRIALS)
    trainings = [(x, rising(x), r) for x, r in zip(qualities(5), returns, strict=True)]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        study = search(trainings)
    assert not stopped(study)
    [message] = warned(caught)
    assert "do not order" in message


def test_another_metric_that_orders_trials_as_the_reported_one():
    """Once enough trials tell so: with the first seven nothing is stopped."""
    trainings = [(x, rising(x), 1000.0 + 50.0 * x**3) for x in qualities(6)]
    study = search(trainings)
    check(study, trainings, least=4)
    assert min(stopped(study)) >= 8


@pytest.mark.parametrize("sentinel", [-9999.0, -1e30])
def test_a_value_that_stands_for_a_swallowed_exception(sentinel):
    """`except Exception: return -9999` catches the request to stop."""
    trainings = [(x, rising(x), rising(x)[-1]) for x in qualities(7)]
    study = search(trainings, when_pruned=sentinel)
    assert study.trials[stopped(study)[0]].state == TrialState.COMPLETE
    check(study, trainings)
    # They teach what stopped trials teach, and are not taken for the scale of the values.
    expected = set(stopped(search(trainings)))
    assert len(expected ^ set(stopped(study))) <= 1


def test_steps_are_counted_in_thousands():
    trainings = [(x, rising(x), rising(x)[-1]) for x in qualities(8)]
    in_thousands = search(trainings, steps=range(1000, 21000, 1000))
    check(in_thousands, trainings)
    in_ones = search(trainings, steps=range(1, 21))
    assert stopped(in_thousands) == stopped(in_ones)


@pytest.mark.parametrize("n_reports", [3, 4, 5])
def test_few_reports_a_trial(n_reports):
    trainings = [(x, rising(x, 20)[:: 20 // n_reports][:n_reports], 0.0) for x in qualities(9)]
    trainings = [(x, curve, curve[-1]) for x, curve, _ in trainings]
    study = search(trainings)
    check(study, trainings, least=4)
    # A trial that has reported at the last step has nothing left to save.
    lengths = [len(study.trials[number].intermediate_values) for number in stopped(study)]
    assert max(lengths) < n_reports


@pytest.mark.parametrize("seed", range(3))
def test_noisy_returns_of_an_agent(seed):
    """Single reports of the best agent are worse than the median one's."""
    trainings = [
        (x, curve := 100.0 * x * np.arange(1, 31) / 30 + noise(x, 30, 12.0), curve[-5:].mean())
        for x in qualities(10 + seed)
    ]
    study = search(trainings)
    best = max(range(N_TRIALS), key=lambda number: trainings[number][2])
    promising = sorted(range(N_TRIALS), key=lambda number: -trainings[number][2])[:3]
    assert best not in stopped(study) or study.best_value >= trainings[promising[2]][2]
    assert stopped(study)


@pytest.mark.parametrize("seed", range(3))
def test_slow_trials_that_are_better_are_not_all_lost(seed):
    """Most trials end after 10 steps by patience; one in five climbs slowly, to more, for 100."""
    trainings = []
    for number, x in enumerate(qualities(20 + seed, 60)):
        if number % 5 == 4:
            curve = (0.9 + 0.1 * x) * (1.0 - 0.9 ** np.arange(1, 101)) + noise(x, 100)
        else:
            curve = 0.8 * x * (1.0 - 0.5 ** np.arange(1, 11)) + noise(x, 10)
        trainings.append((x, curve, curve.max()))
    study = search(trainings)
    slow = set(range(4, 60, 5))
    assert len(slow - set(stopped(study))) >= 4
    assert study.best_value > 0.9
    assert stopped(study)


SAMPLERS_AT_RANDOM = [
    RandomSampler(),
    QMCSampler(warn_independent_sampling=False),
    PartialFixedSampler({}, RandomSampler()),
]


@pytest.mark.parametrize("sampler", SAMPLERS_AT_RANDOM, ids=lambda s: type(s).__name__)
def test_more_is_stopped_where_the_sampler_learns(sampler):
    trainings = [(x, c := rising(x), c[-1]) for x in qualities(3)]
    n_at_random = len(stopped(search(trainings, sampler=sampler)))
    assert 0 < n_at_random < len(stopped(search(trainings, sampler=TPESampler())))


@pytest.mark.parametrize("kind", ["returns the best", "unequal lengths"])
def test_a_sampler_that_learns_does_not_count_where_trials_end_differently(kind):
    trainings = []
    # The first two are complete, from which it is seen that lengths differ.
    for number, x in enumerate([0.4, 0.5, *qualities(4)]):
        curve = rising(x)
        if kind == "unequal lengths":
            curve = curve[: 20 - 4 * (number % 2)]
        else:
            curve[-1] -= 0.05
        trainings.append((x, curve, curve.max() if kind == "returns the best" else curve[-1]))
    at_random = stopped(search(trainings, sampler=RandomSampler()))
    assert at_random
    assert stopped(search(trainings, sampler=TPESampler())) == at_random
