"""Two ways to go on with stopped trials: while a study runs, and when it is over."""

from __future__ import annotations

import logging
from typing import Any
from typing import cast
from typing import NamedTuple
from typing import TYPE_CHECKING

from optuna import TrialPruned

from optuna_perfpred._arguments import check_at_least
from optuna_perfpred.forecasts import StoppingRule
from optuna_perfpred.optimization._search import Limits
from optuna_perfpred.optimization._search import Search
from optuna_perfpred.optimization._training import is_generator_function
from optuna_perfpred.optimization._training import Training
from optuna_perfpred.pruners import PerformancePredictionPruner


if TYPE_CHECKING:
    from collections.abc import Iterable

    from optuna import Trial
    from optuna.study import Study

    from optuna_perfpred.optimization._search import Callback
    from optuna_perfpred.optimization._search import Objective
    from optuna_perfpred.optimization._training import GeneratorObjective


_logger = logging.getLogger(__name__)
# Trainings of a generator that are stopped once more.
_N_PAUSED = 8


class Finished(NamedTuple):
    """What came of the stopped trials of a study.

    Attributes:
        n_trials:
            The number of stopped trials that went on.
        n_steps:
            The number of steps that they trained, without those of checkpoints.
        best_before:
            The best value before; :obj:`None` if there was none.
        best_after:
            The best value now.
    """

    n_trials: int
    n_steps: int
    best_before: float | None
    best_after: float | None


def optimize(
    study: Study,
    objective: GeneratorObjective,
    n_trials: int | None = None,
    timeout: float | None = None,
    *,
    n_paused: int = 8,
    n_jobs: int = 1,
    catch: Iterable[type[Exception]] | type[Exception] = (),
    callbacks: Iterable[Callback] | None = None,
) -> None:
    """Optimize an objective whose trainings are paused where others would be stopped.

    The objective yields what it would report, once a step, and returns its value. There is no
    ``report``, no ``should_prune`` and no :class:`optuna.TrialPruned`: after each step the pruner
    is asked, and a training that it would stop stays in memory. It goes on with its next step once
    it is worth more than a new trial: no checkpoint is needed, and no step is trained twice.

    To the storage, and so to samplers, dashboards and other processes, a training that is paused
    is a pruned trial. When it goes on, it does so as another trial with the same parameters, the
    same reports and the user attribute ``perfpred:continues``; the object that the objective has
    becomes that one, so that ``trial.number`` changes. When no new trial comes any more, because
    ``n_trials`` have begun, or ``timeout`` is nearer than a trial is long, what is left goes to
    those that are still worth it.

    This needs a :class:`~optuna_perfpred.PerformancePredictionPruner` with a
    :class:`~optuna_perfpred.StoppingRule`, as it has by default. With any other pruner the trials
    are pruned as by :meth:`optuna.study.Study.optimize`.

    Example:

        .. testcode::

            import optuna
            from sklearn.datasets import load_digits
            from sklearn.model_selection import train_test_split
            from sklearn.neural_network import MLPClassifier

            from optuna_perfpred import optimize
            from optuna_perfpred import PerformancePredictionPruner

            X, y = load_digits(return_X_y=True)
            X_train, X_valid, y_train, y_valid = train_test_split(X / 16, y, random_state=0)


            def objective(trial):
                lr = trial.suggest_float("lr", 1e-5, 1e-1, log=True)
                network = MLPClassifier((32,), learning_rate_init=lr, random_state=0)
                for epoch in range(20):
                    network.partial_fit(X_train, y_train, classes=range(10))
                    yield network.score(X_valid, y_valid)


            study = optuna.create_study(
                direction="maximize", pruner=PerformancePredictionPruner()
            )
            optimize(study, objective, n_trials=30)

    Args:
        study:
            A study with one objective.
        objective:
            A generator function. It yields the value of each step, which is reported at step 0,
            1, 2 and so on, or after the last step of its checkpoint; or ``(step, value)`` with
            ascending steps. It returns the value of the trial; the last one yielded if it returns
            nothing. A trial that yields anything else fails, with a warning, and others go on.
        n_trials:
            The number of new trials. Those that go on with a paused one do not count.
        timeout:
            Seconds after which no trial begins or goes on.
        n_paused:
            The number of trainings that are kept in memory beside those that run. If there are
            more, the least promising one is closed; only at the end it may be trained again, from
            its first step. Eight suffice: few of all stopped trials are ever worth it.
        n_jobs:
            The number of threads, as of :meth:`optuna.study.Study.optimize`. A training may go on
            in another thread.
        catch:
            Exceptions of an objective that fail its trial and not the study.
        callbacks:
            Called after each trial with the study and the trial, also after each pause.

    Raises:
        ValueError:
            If the objective is not a generator function, the study has several objectives or an
            argument is out of its range.
    """
    if not is_generator_function(objective):
        raise ValueError(
            "`objective` must be a generator function, which yields a value after each step, but "
            f"got {objective!r}. Use `study.optimize` for one that reports its values itself."
        )
    _check_limits(study, n_trials=n_trials, timeout=timeout)
    check_at_least("n_paused", n_paused, 0)
    pruner = study.pruner
    if isinstance(pruner, PerformancePredictionPruner) and pruner._gives_second_chances:
        limits = Limits(n_new=n_trials, timeout=timeout)
        Search(study, pruner, objective, limits, n_paused).run(n_jobs, catch, callbacks)
    else:
        study.optimize(
            cast("Any", _Pruned(objective)), n_trials, timeout, n_jobs, catch, callbacks
        )


def finish(
    study: Study,
    objective: Objective,
    *,
    steps: int | None = None,
    n_trials: int | None = None,
    timeout: float | None = None,
    catch: Iterable[type[Exception]] | type[Exception] = (),
    callbacks: Iterable[Callback] | None = None,
) -> Finished:
    """Go on with the stopped trials of a study that is over, as far as they are worth it.

    A pruner decides when it knows least. Now that all trials are known, each stopped one is
    assessed again: the one with the largest chance of a new best value for each step that it
    costs goes on first, and so on until none is worth it. It does not matter which pruner
    stopped them. No new trials are begun, and what waits in the study's queue stays there.

    A trial goes on as another one with the same parameters and the user attribute
    ``perfpred:continues``. It is trained again from its first step, unless the objective keeps
    checkpoints: where the user attribute ``perfpred:checkpoint`` of the stopped trial is true, or
    the study's pruner has ``second_chance="checkpoint"``, it is taken to cost only what is left.

    Example:

        .. code-block:: python

            study = optuna.load_study(study_name="mnist", storage=url)
            print(finish(study, objective, steps=200))

    Args:
        study:
            A study with one objective. Its own pruner decides if it is a
            :class:`~optuna_perfpred.PerformancePredictionPruner` with a stopping rule, else a new
            one; it has its own one again afterwards.
        objective:
            The objective of the study, or a generator function as of
            :func:`~optuna_perfpred.optimize`.
        steps:
            The number of steps to train, without those of checkpoints. No trial goes on once they
            are spent; the one that runs then is not interrupted.
        n_trials:
            The number of trials that may go on.
        timeout:
            Seconds after which none goes on.
        catch:
            Exceptions of an objective that fail its trial and not the call.
        callbacks:
            Called after each trial with the study and the trial.

    Returns:
        What came of it.

    Raises:
        ValueError:
            If the objective cannot be called, the study has several objectives or an argument is
            out of its range.
    """
    if not callable(objective):
        raise ValueError(f"`objective` must be a function of a trial, but got {objective!r}.")
    _check_limits(study, n_trials=n_trials, timeout=timeout)
    if steps is not None:
        check_at_least("steps", steps, 1)
    before = _best_value(study)
    pruner = study.pruner
    if not isinstance(pruner, PerformancePredictionPruner) or not isinstance(
        pruner._predictor, StoppingRule
    ):
        pruner = PerformancePredictionPruner()
    limits = Limits(n_new=0, n_continued=n_trials, steps=steps, timeout=timeout)
    search = Search(study, pruner, objective, limits, _N_PAUSED)
    _logger.info("%d stopped trials are worth going on with.", len(search.worth_finishing()))
    search.run(catch=catch, callbacks=callbacks)
    after = _best_value(study)
    _logger.info(
        "%d of them went on for %d steps: the best value was %s and is %s.",
        search.n_continued,
        search.n_steps,
        before,
        after,
    )
    return Finished(search.n_continued, search.n_steps, before, after)


def _best_value(study: Study) -> float | None:
    try:
        return study.best_value
    except ValueError:
        return None


def _check_limits(study: Study, *, n_trials: int | None, timeout: float | None) -> None:
    """Raise a ValueError unless a study has one objective and the limits are none or positive."""
    if len(study.directions) != 1:
        raise ValueError(f"`study` must have one objective, but has {len(study.directions)}.")
    if n_trials is not None:
        check_at_least("n_trials", n_trials, 1)
    if timeout is not None and not timeout > 0:
        raise ValueError(f"`timeout` must be positive or None, but got {timeout=}.")


class _Pruned:
    """A generator function as an objective of Optuna's."""

    def __init__(self, objective: GeneratorObjective) -> None:
        self._objective = objective

    def __call__(self, trial: Trial) -> Any:
        training = Training(self._objective, trial)
        is_stopped, value = training.run()
        if is_stopped:
            training.close()
            raise TrialPruned
        return value
