from __future__ import annotations

import logging
from typing import NamedTuple
from typing import TYPE_CHECKING

from optuna_perfpred._arguments import check_at_least
from optuna_perfpred.forecasts import StoppingRule
from optuna_perfpred.optimization._optimize import check_limits
from optuna_perfpred.optimization._search import Limits
from optuna_perfpred.optimization._search import Search
from optuna_perfpred.pruners import PerformancePredictionPruner


if TYPE_CHECKING:
    from collections.abc import Iterable

    from optuna.study import Study

    from optuna_perfpred.optimization._search import Callback
    from optuna_perfpred.optimization._search import Objective


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
    check_limits(study, n_trials=n_trials, timeout=timeout)
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
