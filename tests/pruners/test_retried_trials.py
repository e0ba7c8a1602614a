"""A trial that is retried after its worker died is judged as if it had never stopped."""

from __future__ import annotations

import numpy as np
import optuna
from optuna.pruners import MedianPruner
from optuna.trial import TrialState
import pytest

from optuna_perfpred import Checkpoint
from optuna_perfpred import FastHyperbandPruner
from optuna_perfpred import PerformancePredictionPruner
from optuna_perfpred import SequentialRegression
from tests.pruners.studies import accuracy_curve
from tests.pruners.studies import AlwaysPruner
from tests.pruners.studies import DECISION_ATTRS
from tests.pruners.studies import N_STEPS
from tests.pruners.studies import study_with
from tests.pruners.studies import X
from tests.retries import died


pytestmark = [
    pytest.mark.filterwarnings("error:The trial is not pruned"),
    pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning"),
    pytest.mark.filterwarnings("ignore:The reported value is ignored"),
]

EVERY = 3  # Steps from one checkpoint to the next.

PRUNERS = {
    # A second chance would come between a trial and its retry.
    "ours": lambda: PerformancePredictionPruner(second_chance="never"),
    "ours with a predictor": lambda: PerformancePredictionPruner(
        SequentialRegression("ridge"), confidence=0.8, n_startup_trials=5
    ),
    "ours at some steps": lambda: PerformancePredictionPruner(
        n_warmup_steps=2,
        interval_steps=4,
        wrapped_pruner=MedianPruner(n_startup_trials=2),
        second_chance="never",
    ),
    # One bracket with one rung, so that nothing depends on the trials' numbers.
    "f-Hyperband": lambda: FastHyperbandPruner(8, N_STEPS, 3),
    "f-Hyperband that cuts nothing": lambda: FastHyperbandPruner(8, N_STEPS, 3, n_train=1000),
}


class Attempt:
    """The training of one trial, on a worker that dies after some step, if at all.

    Attributes:
        asked:
            Of each step, whether the pruner stopped the trial there.
        state:
            How it ended.
    """

    def __init__(self, study, store, curve, *, dies_after=None):
        self.trial = study.ask(X)
        self.asked = {}
        self.state = TrialState.COMPLETE
        checkpoint = Checkpoint(self.trial, store)
        checkpoint.load()
        for step in range(checkpoint.start, len(curve)):
            self.trial.report(curve[step], step)
            self.asked[step] = self.trial.should_prune()
            if step == dies_after:
                self.state = TrialState.RUNNING
                return
            if self.asked[step]:
                self.state = TrialState.PRUNED
                break
            if step % EVERY == 0:
                checkpoint.save(b"state", step)
        checkpoint.remove()
        values = curve[-1] if self.state == TrialState.COMPLETE else None
        study.tell(self.trial, values, self.state)


def ask(study, x):
    study.enqueue_trial({"x": x})
    return study.ask(X)


def train(study, store, x, *, deaths=(), inherit=False, seed=99):
    """Train a configuration until it ends; return the trial that ended."""
    study.enqueue_trial({"x": x})
    curve = accuracy_curve(x, seed)
    for step in deaths:
        attempt = Attempt(study, store, curve, dies_after=step)
        if attempt.state != TrialState.RUNNING:
            break
        died(study, attempt.trial, inherit=inherit)
    else:
        attempt = Attempt(study, store, curve)
    return study.trials[attempt.trial.number]


def decision(trial):
    attrs = {name: trial.user_attrs.get(name) for name in DECISION_ATTRS}
    attrs["perfpred:audit"] = bool(trial.user_attrs.get("perfpred:audit"))
    rungs = {k: v for k, v in trial.system_attrs.items() if k.startswith("completed_rung_")}
    return trial.state, trial.value, trial.intermediate_values, attrs, rungs


@pytest.mark.parametrize(
    ("pruner", "inherit"),
    [*((pruner, False) for pruner in PRUNERS), ("ours", True), ("f-Hyperband", True)],
)
def test_a_study_with_deaths_is_pruned_as_one_without(tmp_path, pruner, inherit):
    through = optuna.create_study(direction="maximize", pruner=PRUNERS[pruner]())
    interrupted = optuna.create_study(direction="maximize", pruner=PRUNERS[pruner]())
    rng = np.random.default_rng(0)
    ended = []
    for number, x in enumerate(rng.uniform(size=14)):
        # Bad trials do not live long enough to die late.
        deaths = rng.integers(0, 3 if x < 0.8 else N_STEPS, size=2)
        ended.append(train(through, tmp_path, x, seed=number))
        retried = train(interrupted, tmp_path, x, deaths=deaths, inherit=inherit, seed=number)
        assert decision(retried) == decision(ended[-1]), number
    assert {trial.state for trial in ended} == {TrialState.COMPLETE, TrialState.PRUNED}
    n_died = len(interrupted.get_trials(states=[TrialState.FAIL]))
    assert n_died >= 10
    assert len(interrupted.trials) == 14 + n_died


NUMBERED = {
    "f-Hyperband": lambda: FastHyperbandPruner(1, N_STEPS, 3),
    "f-Hyperband that cuts nothing": lambda: FastHyperbandPruner(1, N_STEPS, 3, n_train=1000),
    "audited": lambda: PerformancePredictionPruner(audit_rate=0.5),
}


@pytest.mark.parametrize("pruner", NUMBERED)
def test_what_depends_on_a_trials_number_stays(tmp_path, pruner):
    """Its bracket, and whether it is let finish; the study's other trials are the same."""

    def new_study():
        return optuna.create_study(
            study_name="one name", direction="maximize", pruner=NUMBERED[pruner]()
        )

    through = new_study()
    rng = np.random.default_rng(0)
    states, audited = set(), set()
    for number in range(20):
        x = rng.uniform()
        interrupted = new_study()
        interrupted.add_trials(through.trials)
        expected = train(through, tmp_path, x, seed=number)
        if number < 8:
            continue
        deaths = rng.integers(0, 3 if x < 0.8 else N_STEPS, size=1 + number % 2)
        retried = train(interrupted, tmp_path, x, deaths=deaths, seed=number)
        assert decision(retried) == decision(expected), number
        states.add(expected.state)
        audited.add(bool(expected.user_attrs.get("perfpred:audit")))
    assert states == {TrialState.COMPLETE, TrialState.PRUNED}
    assert audited == ({False} if "Hyperband" in pruner else {False, True})


def study_with_rung(pruner):
    """A study in which trials have competed for a rung."""
    study = optuna.create_study(direction="maximize", pruner=pruner)
    for number in range(12):
        x = 0.5 + number / 40
        trial = ask(study, x)
        for step, value in enumerate(accuracy_curve(x, seed=number)):
            trial.report(value, step)
            trial.should_prune()
        study.tell(trial, value)
    return study


DECIDING = {
    "ours": lambda: study_with(PerformancePredictionPruner(confidence=0.5)),
    "wrapped": lambda: study_with(
        PerformancePredictionPruner(n_warmup_steps=4, wrapped_pruner=AlwaysPruner())
    ),
    "shadow": lambda: study_with(PerformancePredictionPruner(confidence=0.5, shadow=True)),
    "f-Hyperband": lambda: study_with_rung(FastHyperbandPruner(14, N_STEPS, 3)),
}


@pytest.mark.parametrize("deciding", DECIDING)
def test_a_decision_on_the_dead_trial_is_void_for_a_retry_that_starts_anew(tmp_path, deciding):
    """A second training need not go as the first one did: here, it ends well."""
    study = DECIDING[deciding]()
    trial = ask(study, 0.999)
    turns_bad = [*accuracy_curve(0.999)[:4], *accuracy_curve(0.1)[4:]]
    for step, value in enumerate(turns_bad):
        trial.report(value, step)
        if trial.should_prune():
            break
    assert study._storage.get_trial(trial._trial_id).user_attrs["perfpred:reason"]
    died(study, trial)
    if deciding == "wrapped":
        study.pruner = PerformancePredictionPruner()
    retried = Attempt(study, tmp_path, accuracy_curve(0.999))
    assert not any(retried.asked.values())
    attrs = study.trials[-1].user_attrs
    assert study.trials[-1].state == TrialState.COMPLETE
    assert all(attrs.get(name) is None for name in {*DECISION_ATTRS, "perfpred:audit"})
    if deciding in ("ours", "shadow"):
        assert study.pruner.audit(study).n_audited == 0


def test_a_decision_of_its_own_is_not_void(tmp_path):
    """Whoever asks on after being told to stop keeps the reason."""
    study = study_with(PerformancePredictionPruner())
    dead = ask(study, 0.999)
    for step, value in enumerate(accuracy_curve(0.1)):
        dead.report(value, step)
        dead.should_prune()
    died(study, dead)
    trial = study.ask(X)
    asked = []
    for step, value in enumerate(accuracy_curve(0.1)):
        trial.report(value, step)
        asked.append(trial.should_prune())
    study.tell(trial, state=TrialState.PRUNED)
    [failed, retried] = study.trials[-2:]
    assert any(asked)
    assert {name: retried.user_attrs[name] for name in DECISION_ATTRS} == {
        name: failed.user_attrs[name] for name in DECISION_ATTRS
    }
    assert retried.user_attrs["perfpred:step"] == asked.index(True)


def test_a_retried_trial_that_has_not_reported_is_not_stopped():
    study = study_with_rung(FastHyperbandPruner(14, N_STEPS, 3))
    trial = ask(study, 0.999)
    for step, value in enumerate(accuracy_curve(0.1)):
        trial.report(value, step)
        if trial.should_prune():
            break
    died(study, trial)
    assert not study.ask(X).should_prune()


def test_attributes_are_written_once_for_a_retry(monkeypatch):
    study = study_with(PerformancePredictionPruner())
    trial = ask(study, 0.999)
    for step, value in enumerate(accuracy_curve(0.1)):
        trial.report(value, step)
        trial.should_prune()
    died(study, trial)
    written = []
    write = study._storage.set_trial_user_attr
    monkeypatch.setattr(
        study._storage,
        "set_trial_user_attr",
        lambda trial_id, key, value: written.append(key) or write(trial_id, key, value),
    )
    retried = study.ask(X)
    for step, value in enumerate(accuracy_curve(0.999)):
        retried.report(value, step)
        assert not retried.should_prune()
    assert sorted(written) == sorted(DECISION_ATTRS)
