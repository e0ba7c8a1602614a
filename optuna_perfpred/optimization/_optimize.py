from __future__ import annotations

from typing import Any
from typing import cast
from typing import TYPE_CHECKING

from optuna import TrialPruned

from optuna_perfpred._arguments import check_at_least
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
    from optuna_perfpred.optimization._training import GeneratorObjective


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
    check_limits(study, n_trials=n_trials, timeout=timeout)
    check_at_least("n_paused", n_paused, 0)
    pruner = study.pruner
    if isinstance(pruner, PerformancePredictionPruner) and pruner._gives_second_chances:
        limits = Limits(n_new=n_trials, timeout=timeout)
        Search(study, pruner, objective, limits, n_paused).run(n_jobs, catch, callbacks)
    else:
        study.optimize(
            cast("Any", _Pruned(objective)), n_trials, timeout, n_jobs, catch, callbacks
        )


def check_limits(study: Study, *, n_trials: int | None, timeout: float | None) -> None:
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
