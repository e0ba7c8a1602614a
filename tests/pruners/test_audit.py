from __future__ import annotations

import optuna
from optuna.trial import create_trial
from optuna.trial import TrialState
import pytest

from optuna_perfpred import PerformancePredictionPruner
from optuna_perfpred.pruners._audit import audit_study
from tests.pruners.studies import FixedForecast
from tests.pruners.studies import run
from tests.pruners.studies import study_with


# Nothing has a chance, whatever it reports.
HOPELESS = FixedForecast(mean=-1000.0)


def audited(step=2, **attributes):
    return {"perfpred:audit": True, "perfpred:step": step, "perfpred:reason": "Hopeless."} | {
        f"perfpred:{name}": value for name, value in attributes.items()
    }


def add(study, value, n_reports=5, *, state=TrialState.COMPLETE, constraints=None, **user_attrs):
    study.add_trial(
        create_trial(
            state=state,
            value=value,
            intermediate_values=dict.fromkeys(range(n_reports), value),
            user_attrs=user_attrs,
            constraints=constraints,
        )
    )


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_a_study_in_shadow_mode_tells_false_prunes_and_what_it_would_have_saved(direction):
    study = study_with(PerformancePredictionPruner(HOPELESS, shadow=True), direction)
    for x in (0.2, 0.5, 2.0, 0.3):
        assert run(study, x) is None
    report = audit_study(study)
    assert (report.n_audited, report.rate, report.n_pruned) == (4, 0.25, 0)
    (wrong,) = report.false_prunes
    assert wrong.number == 22
    assert wrong.value == study.trials[22].value == study.best_value
    assert wrong.best_before == pytest.approx(0.95 if direction == "maximize" else -0.95, abs=0.1)
    assert report.total_steps == 24 * 20
    # Each would have been pruned after its first report.
    assert (wrong.step, report.audit_steps) == (0, 4 * 19)
    text = str(report)
    assert "4 trials finished" in text
    assert "would have saved 76 of the study's 480 steps (15.8 %)" in text
    assert wrong.reason in text


def test_a_share_of_the_pruned_trials_is_audited():
    study = study_with(PerformancePredictionPruner(HOPELESS, audit_rate=0.5, seed=0))
    ends = [run(study, 0.5) for _ in range(40)]
    report = audit_study(study)
    assert 10 < report.n_audited < 30
    assert report.n_audited == ends.count(None)
    assert report.n_pruned == 40 - report.n_audited
    assert (report.rate, report.false_prunes) == (0.0, ())
    assert report.audit_steps == 19 * report.n_audited
    assert f"{report.n_pruned} other trials were pruned, about 0 of them wrongly" in str(report)


@pytest.mark.parametrize("audit_rate", [0.0, 0.5])
def test_without_audited_trials_the_rate_is_not_known(audit_rate):
    study = study_with(PerformancePredictionPruner(audit_rate=audit_rate))
    report = audit_study(study)
    assert (report.n_audited, report.rate, report.interval) == (0, None, None)
    assert "not known" in str(report)
    assert "audit_rate" in str(report)
    assert audit_study(optuna.create_study()).rate is None


def test_the_interval_is_wilson_s():
    study = optuna.create_study(direction="maximize")
    add(study, 1.0)
    for _ in range(9):
        add(study, 0.0, **audited())
    low, high = audit_study(study).interval
    # z² / (n + z²) for no success in n, with z the 97.5th percentile of the normal distribution.
    assert (low, high) == pytest.approx((0.0, 1.959964**2 / (9 + 1.959964**2)))
    add(study, 2.0, **audited())
    report = audit_study(study)
    assert report.rate == 0.1
    assert report.interval == pytest.approx((0.017876, 0.404150), abs=1e-5)


def test_a_trial_is_compared_with_what_completed_before_it():
    study = optuna.create_study(direction="minimize")
    add(study, 5.0, **audited())  # Nothing was complete.
    add(study, 3.0, **audited())
    add(study, 3.0, **audited())  # A tie is not better.
    add(study, 1.0, constraints={"memory": 1.0})  # Never the best.
    add(study, 2.0, **audited())
    add(study, 0.0, **audited(), constraints={"memory": 1.0})
    add(study, -1.0)
    add(study, -0.5, **audited())
    false_prunes = audit_study(study).false_prunes
    assert [(wrong.number, wrong.best_before) for wrong in false_prunes] == [
        (0, None),
        (1, 5.0),
        (4, 3.0),
    ]


def test_only_decisions_by_a_forecast_that_were_seen_to_the_end_count():
    study = optuna.create_study(direction="maximize")
    add(study, 1.0)
    add(study, 2.0, **audited(audit=False))
    add(study, 2.0, **{"perfpred:audit": True})  # A wrapped pruner's.
    add(study, 2.0, n_reports=2, **audited(step=7))  # A dead trial's, on the one that retries it.
    add(study, None, n_reports=0, state=TrialState.FAIL, **audited())
    report = audit_study(study)
    assert (report.n_audited, report.n_pruned) == (0, 0)


def test_steps_after_the_decision_are_counted():
    study = optuna.create_study(direction="maximize")
    add(study, 1.0, n_reports=10)
    add(study, 0.0, n_reports=10, **audited(step=2))
    add(study, 0.0, n_reports=4, **audited(step=3))
    report = audit_study(study)
    assert (report.audit_steps, report.total_steps) == (7, 24)


@pytest.mark.parametrize("storage", ["sqlite", "memory"])
def test_any_storage(storage, tmp_path):
    url = f"sqlite:///{tmp_path / 'study.db'}" if storage == "sqlite" else None
    study = optuna.create_study(storage=url, study_name="cnn", direction="maximize")
    add(study, 1.0)
    add(study, 2.0, **audited())
    if url is not None:
        study = optuna.load_study(study_name="cnn", storage=url)
    assert audit_study(study).rate == 1.0


def test_a_study_with_several_objectives_is_refused():
    study = optuna.create_study(directions=["minimize", "maximize"])
    with pytest.raises(ValueError, match="2 objectives"):
        audit_study(study)
