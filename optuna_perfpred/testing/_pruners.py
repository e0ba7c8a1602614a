from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
import math
import pickle
from typing import Any
from typing import Literal
from typing import TYPE_CHECKING

import optuna
from optuna.distributions import BaseDistribution
from optuna.distributions import FloatDistribution
from optuna.pruners import BasePruner
from optuna.storages import BaseStorage
from optuna.storages import InMemoryStorage
from optuna.storages import JournalStorage
from optuna.storages import RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import create_trial
from optuna.trial import Trial
from optuna.trial import TrialState
import pytest


if TYPE_CHECKING:
    from pathlib import Path

    from optuna.study import Study


PrunerFactory = Callable[..., BasePruner]
StudyFactory = Callable[..., "Study"]

_N_STEPS = 10
_N_TRIALS = 12
_X: dict[str, BaseDistribution] = {"x": FloatDistribution(0.0, 1.0)}

Direction = Literal["minimize", "maximize"]


class _PrunerFixtures:
    @pytest.fixture
    def pruner(self) -> PrunerFactory:
        """Override it: return the pruner's class, or a function that makes a pruner."""
        raise NotImplementedError

    @pytest.fixture(params=["inmemory", "sqlite", "journal"])
    def storage(self, request: pytest.FixtureRequest, tmp_path: Path) -> BaseStorage:
        """Give an empty storage. Override it to test on others."""
        if request.param == "inmemory":
            return InMemoryStorage()
        if request.param == "sqlite":
            return RDBStorage(f"sqlite:///{tmp_path / 'study.db'}")
        return JournalStorage(JournalFileBackend(str(tmp_path / "study.journal")))

    @pytest.fixture(params=["minimize", "maximize"])
    def direction(self, request: pytest.FixtureRequest) -> Direction:
        """Give each direction of a study."""
        direction: Direction = request.param
        return direction

    @pytest.fixture
    def new_study(
        self, pruner: PrunerFactory, storage: BaseStorage, direction: Direction
    ) -> StudyFactory:
        """Give a function that makes a study in the storage, with a pruner of its arguments."""
        return lambda **arguments: optuna.create_study(
            storage=storage,
            pruner=pruner(**arguments),
            direction=direction,
            sampler=optuna.samplers.RandomSampler(seed=0),
        )


class PrunerTestCase(_PrunerFixtures):
    """What holds for any pruner: it takes part in a study without ever harming it.

    Optuna ships such classes for samplers and storages (:mod:`optuna.testing`); this is the one
    for pruners. Subclass it and override the fixture ``pruner``:

    .. code-block:: python

        import optuna
        import pytest

        from optuna_perfpred.testing import PrunerTestCase


        class TestMedianPruner(PrunerTestCase):
            @pytest.fixture
            def pruner(self):
                return optuna.pruners.MedianPruner

    Each test runs on an in-memory storage, on SQLite and on a journal file. Add
    :class:`ThreadsTestCase`, :class:`ComparingPrunerTestCase`, :class:`StartupTrialsTestCase`,
    :class:`WarmupStepsTestCase` and :class:`IntervalStepsTestCase` if they apply.
    """

    def test_no_pruning_before_first_report(self, new_study: StudyFactory) -> None:
        study = new_study()
        assert study.ask(_X).should_prune() is False
        _complete_trials(study)
        assert study.ask(_X).should_prune() is False

    def test_no_pruning_of_first_trial_that_improves(self, new_study: StudyFactory) -> None:
        study = new_study()
        trial = study.ask(_X)
        assert not any(_decisions(trial, _curve(study, quality=0.5)))

    def test_decision_leaves_the_trial_running_with_its_reports(
        self, new_study: StudyFactory
    ) -> None:
        study = new_study()
        _complete_trials(study)
        curve = _curve(study, quality=-3.0)
        trial = study.ask(_X)
        _decisions(trial, curve)
        frozen = study.get_trials()[trial.number]
        assert frozen.state == TrialState.RUNNING
        assert frozen.intermediate_values == curve
        study.tell(trial, state=TrialState.PRUNED)
        assert study.get_trials()[trial.number].state == TrialState.PRUNED

    @pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore::UserWarning")
    @pytest.mark.parametrize("bad_value", [math.nan, math.inf, -math.inf])
    def test_values_that_are_no_numbers_are_survived(
        self, new_study: StudyFactory, bad_value: float
    ) -> None:
        study = new_study()
        _complete_trials(study)
        for bad_steps in ({0}, {_N_STEPS - 1}, set(range(_N_STEPS))):
            curve = _curve(study, quality=0.5)
            bad_curve = {s: bad_value if s in bad_steps else v for s, v in curve.items()}
            assert set(_decisions(study.ask(_X), bad_curve)) <= {True, False}
            _complete_trial(study, bad_curve, value=curve[_N_STEPS - 1])
        assert set(_decisions(study.ask(_X), _curve(study, quality=0.5))) <= {True, False}

    @pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore::UserWarning")
    @pytest.mark.parametrize(
        "steps",
        [range(1, 11), range(0, 100, 10), [3, 1, 4, 15, 9, 2, 6], [5], [10**6, 0]],
        ids=["from 1", "sparse", "out of order", "single", "huge"],
    )
    def test_steps_of_any_kind_are_survived(
        self, new_study: StudyFactory, steps: Iterable[int]
    ) -> None:
        study = new_study()
        _complete_trials(study)
        for _ in range(2):
            trial = study.ask(_X)
            curve = dict(zip(steps, _curve(study, quality=0.5).values(), strict=False))
            assert set(_decisions(trial, curve)) <= {True, False}
            study.tell(trial, next(iter(curve.values())))

    def test_completed_trials_without_reports_are_survived(self, new_study: StudyFactory) -> None:
        study = new_study()
        for _ in range(_N_TRIALS):
            _complete_trial(study, {}, value=0.5)
        assert not any(_decisions(study.ask(_X), _curve(study, quality=0.5)))

    def test_other_workers_trials_are_survived(self, new_study: StudyFactory) -> None:
        """Trials that wait, run, failed or were pruned have incomplete curves, or none."""
        study = new_study()
        _complete_trials(study)
        study.enqueue_trial({"x": 0.5})
        for state in (TrialState.RUNNING, TrialState.FAIL, TrialState.PRUNED):
            curve = dict(list(_curve(study, quality=0.5).items())[:3])
            study.add_trial(
                create_trial(
                    state=state,
                    params={"x": 0.5},
                    distributions=_X,
                    intermediate_values=curve,
                    value=curve[2] if state == TrialState.PRUNED else None,
                )
            )
        assert set(_decisions(study.ask(_X), _curve(study, quality=0.5))) <= {True, False}

    def test_pickled_pruner_goes_on(self, new_study: StudyFactory) -> None:
        """Distributed back ends send the study, and the pruner in it, to other processes."""
        study = new_study()
        _complete_trials(study)
        _decisions(study.ask(_X), _curve(study, quality=0.5))
        study.pruner = pickle.loads(pickle.dumps(study.pruner))
        assert set(_decisions(study.ask(_X), _curve(study, quality=0.5))) <= {True, False}

    def test_study_runs_to_its_end(self, new_study: StudyFactory) -> None:
        _run_to_the_end(new_study(), n_jobs=1)


class ThreadsTestCase(_PrunerFixtures):
    """What holds for a pruner that threads may share (``study.optimize(n_jobs=...)``).

    Optuna's :class:`~optuna.pruners.HyperbandPruner` is not one: threads that make its first
    decision together corrupt its brackets.
    """

    def test_study_runs_to_its_end_in_threads(self, new_study: StudyFactory) -> None:
        _run_to_the_end(new_study(), n_jobs=2)


class ComparingPrunerTestCase(_PrunerFixtures):
    """What holds for a pruner that compares a trial with the completed ones of its study."""

    def test_hopeless_trial_is_pruned(self, new_study: StudyFactory) -> None:
        study = new_study()
        _complete_trials(study)
        assert any(_decisions(study.ask(_X), _curve(study, quality=-3.0)))

    def test_trial_better_than_all_others_is_kept(self, new_study: StudyFactory) -> None:
        study = new_study()
        _complete_trials(study)
        assert not any(_decisions(study.ask(_X), _curve(study, quality=1.5)))

    def test_new_process_reading_the_same_storage_prunes_too(
        self, new_study: StudyFactory, pruner: PrunerFactory, storage: BaseStorage
    ) -> None:
        study = new_study()
        _complete_trials(study)
        reopened = optuna.load_study(study_name=None, storage=storage, pruner=pruner())
        assert any(_decisions(reopened.ask(_X), _curve(study, quality=-3.0)))


class StartupTrialsTestCase(_PrunerFixtures):
    """What the argument ``n_startup_trials`` means, for pruners that have it."""

    def test_no_pruning_before_startup_trials_are_complete(self, new_study: StudyFactory) -> None:
        study = new_study(n_startup_trials=_N_TRIALS + 1)
        _complete_trials(study)
        hopeless = _curve(study, quality=-3.0)
        assert not any(_decisions(study.ask(_X), hopeless))
        _complete_trial(study, _curve(study, quality=0.5))
        assert any(_decisions(study.ask(_X), hopeless))

    def test_negative_number_is_refused(self, pruner: PrunerFactory) -> None:
        with pytest.raises(ValueError, match="-1"):
            pruner(n_startup_trials=-1)


class WarmupStepsTestCase(_PrunerFixtures):
    """What the argument ``n_warmup_steps`` means, for pruners that have it."""

    def test_no_pruning_before_warmup_step(self, new_study: StudyFactory) -> None:
        study = new_study(n_warmup_steps=4)
        _complete_trials(study)
        decisions = _decisions(study.ask(_X), _curve(study, quality=-3.0))
        assert not any(decisions[:4])
        assert any(decisions[4:])

    def test_negative_number_is_refused(self, pruner: PrunerFactory) -> None:
        with pytest.raises(ValueError, match="-1"):
            pruner(n_warmup_steps=-1)


class IntervalStepsTestCase(_PrunerFixtures):
    """What ``interval_steps`` means, for pruners that also have ``n_warmup_steps``."""

    def test_checks_are_an_interval_apart(self, new_study: StudyFactory) -> None:
        study = new_study(n_warmup_steps=1, interval_steps=3)
        _complete_trials(study)
        trial = study.ask(_X)
        hopeless = _curve(study, quality=-3.0)
        checked = [step for step in hopeless if _decisions(trial, {step: hopeless[step]})[0]]
        assert checked
        assert set(checked) <= {1, 4, 7}

    def test_check_without_report_is_postponed(self, new_study: StudyFactory) -> None:
        study = new_study(n_warmup_steps=1, interval_steps=3)
        _complete_trials(study)
        trial = study.ask(_X)
        hopeless = _curve(study, quality=-3.0)
        assert not any(_decisions(trial, {step: hopeless[step] for step in (0,)}))
        assert _decisions(trial, {5: hopeless[5]}) == [True]
        assert _decisions(trial, {6: hopeless[6]}) == [False]

    def test_interval_below_one_is_refused(self, pruner: PrunerFactory) -> None:
        with pytest.raises(ValueError, match="0"):
            pruner(interval_steps=0)


def _run_to_the_end(study: Study, n_jobs: int) -> None:
    def objective(trial: Trial) -> float:
        curve = _curve(study, quality=trial.suggest_float("x", 0.0, 1.0))
        for step, value in curve.items():
            trial.report(value, step)
            if trial.should_prune():
                raise optuna.TrialPruned
        return curve[_N_STEPS - 1]

    study.optimize(objective, n_trials=15, n_jobs=n_jobs)
    states = [trial.state for trial in study.get_trials(deepcopy=False)]
    assert len(states) == 15
    assert set(states) <= {TrialState.COMPLETE, TrialState.PRUNED}
    assert TrialState.COMPLETE in states


def _curve(study: Study, quality: float) -> dict[int, float]:
    """Give a curve that approaches a quality, the larger the better, or the loss of it."""
    sign = 1.0 if study.direction == optuna.study.StudyDirection.MAXIMIZE else -1.0
    return {step: sign * (quality - 1.0 / (step + 1.0)) for step in range(_N_STEPS)}


def _complete_trials(study: Study) -> None:
    for index in range(_N_TRIALS):
        _complete_trial(study, _curve(study, quality=index / (_N_TRIALS - 1)))


def _complete_trial(
    study: Study, curve: Mapping[int, float], *, value: float | None = None
) -> None:
    study.add_trial(
        create_trial(
            params={"x": 0.5},
            distributions=_X,
            intermediate_values=dict(curve),
            value=curve[_N_STEPS - 1] if value is None else value,
        )
    )


def _decisions(trial: Trial, curve: Mapping[int, float]) -> list[Any]:
    """Report a whole curve and collect the decision after each report."""
    decisions = []
    for step, value in curve.items():
        trial.report(value, step)
        decisions.append(trial.should_prune())
    return decisions
