from __future__ import annotations

import math
from numbers import Integral
from pathlib import Path
from typing import Any
from typing import Literal
from typing import TYPE_CHECKING

import numpy as np
from optuna import Study
from optuna.pruners import BasePruner
from tqdm.auto import tqdm

from optuna_perfpred._arguments import check_at_least
from optuna_perfpred.replay._curves import load_curves
from optuna_perfpred.replay._recording import read_recording
from optuna_perfpred.replay._report import ReplayReport
from optuna_perfpred.replay._simulation import Simulation


if TYPE_CHECKING:
    from collections.abc import Sequence

    from optuna_perfpred.replay._recording import Recording


def replay(
    study_or_curves: Study | str | Path,
    pruner: BasePruner,
    *,
    order: Literal["number", "random"] = "number",
    n_repeats: int = 1,
    seed: int | None = None,
    n_trials: int | None = None,
    budget: float | None = None,
    n_workers: int = 1,
    step_time: Literal["unit", "recorded"] = "unit",
    show_progress_bar: bool = False,
) -> ReplayReport:
    """Tell what a pruner would have saved on a finished study, and what it would have lost.

    Each completed trial is run again in a real Optuna study in memory, with its parameters, user
    attributes and constraints: its intermediate values are reported one after the other, and
    ``should_prune`` is asked after each, the last one included. The sampler is not part of it:
    which trials there are, and in which order, does not depend on what was pruned.

    Only completed trials with intermediate values can be replayed, since the end of all others is
    not known; the report tells how many are left out. The study is not changed.

    Example:

        .. testcode::

            import optuna

            from optuna_perfpred.replay import replay


            def objective(trial):
                rate = trial.suggest_float("rate", 0.01, 1.0, log=True)
                for step in range(20):
                    trial.report(rate * 0.9**step, step)
                return rate * 0.9**19


            study = optuna.create_study()
            study.optimize(objective, n_trials=30)

            report = replay(study, optuna.pruners.MedianPruner(), order="random", n_repeats=5)
            print(report)

    Args:
        study_or_curves:
            A study in any storage, or a folder of recorded curves (see
            :func:`~optuna_perfpred.replay.load_curves`).
        pruner:
            The pruner. Each repeat uses a copy of it; it is not changed itself.
        order:
            ``"number"`` for the order of the trials in their study, ``"random"`` for another
            order in each repeat.
        n_repeats:
            The number of times the study is run.
        seed:
            Seed of the random orders. It is also part of the names of the replayed studies, from
            which :class:`~optuna.pruners.HyperbandPruner` derives the bracket of a trial. Equal
            seeds give the same orders for all pruners. If :obj:`None`, a random one, which the
            report tells.
        n_trials:
            The number of trials that are drawn at most. If :obj:`None`, all.
        budget:
            The cost that is spent at most, in full trainings: a full training is as many steps as
            the longest recorded curve. A trial that it cuts off is not completed. If
            :obj:`None`, all drawn trials are run.
        n_workers:
            The number of workers that train at the same time, on a virtual clock; each takes the
            next trial when it has finished one.
        step_time:
            The virtual time that a step takes: ``"unit"`` for 1, ``"recorded"`` for the duration
            of the recorded trial divided by the number of its reports.
        show_progress_bar:
            Whether to show the progress over all trials of all repeats.

    Returns:
        The report. ``print`` gives its summary.

    Raises:
        FileNotFoundError:
            If there is no such folder of curves.
        ValueError:
            If an argument is out of its range, the study has several objectives, or none of its
            trials can be replayed.
    """
    _check(study_or_curves, pruner, order=order, step_time=step_time, seed=seed, budget=budget)
    check_at_least("n_repeats", n_repeats, 1)
    check_at_least("n_workers", n_workers, 1)
    if n_trials is not None:
        check_at_least("n_trials", n_trials, 1)
    study = study_or_curves if isinstance(study_or_curves, Study) else load_curves(study_or_curves)
    recording = read_recording(study, recorded_time=step_time == "recorded")
    step_budget = math.inf
    if budget is not None:
        # The product may be short of the whole number that is meant by a rounding error.
        step_budget = math.floor(budget * recording.horizon + 1e-9)
        if step_budget < 1:
            raise ValueError(
                f"`budget` must pay for at least one step, which is 1/{recording.horizon} of a "
                f"full training, but got {budget=}."
            )
    if seed is None:
        seed = int(np.random.default_rng().integers(2**31))
    n_drawn = min(n_trials or len(recording.trials), len(recording.trials))
    repeats = []
    with tqdm(total=n_repeats * n_drawn, disable=not show_progress_bar, unit="trial") as bar:
        for repeat in range(n_repeats):
            simulation = Simulation(
                recording,
                pruner,
                study_name=f"replay-{seed}-{repeat}",
                n_workers=n_workers,
                step_budget=step_budget,
            )
            drawn = _order(recording, order, seed, repeat)[:n_drawn]
            repeats.append(simulation.run(repeat, drawn, bar.update))
            bar.update((repeat + 1) * n_drawn - bar.n)
    return ReplayReport(
        study_name=recording.study_name,
        pruner=type(pruner).__name__,
        direction=recording.direction,
        order=order,
        seed=seed,
        n_workers=n_workers,
        time_unit="seconds" if step_time == "recorded" else "steps",
        budget=budget,
        values=np.array([t.value if t.feasible else np.nan for t in recording.trials]),
        horizon=recording.horizon,
        iqr=recording.iqr,
        left_out=recording.left_out,
        repeats=tuple(repeats),
    )


def _order(recording: Recording, order: str, seed: int, repeat: int) -> Sequence[int]:
    n_trials = len(recording.trials)
    if order == "number":
        return range(n_trials)
    permutation: list[int] = np.random.default_rng([seed, repeat]).permutation(n_trials).tolist()
    return permutation


def _check(
    study_or_curves: Any, pruner: Any, *, order: Any, step_time: Any, seed: Any, budget: Any
) -> None:
    if not isinstance(study_or_curves, Study | str | Path):
        raise ValueError(
            f"`study_or_curves` must be an Optuna study or a folder, but got {study_or_curves!r}."
        )
    if not isinstance(pruner, BasePruner):
        raise ValueError(f"`pruner` must be an Optuna pruner, but got {pruner!r}.")
    if order not in ("number", "random"):
        raise ValueError(f'`order` must be "number" or "random", but got {order=}.')
    if step_time not in ("unit", "recorded"):
        raise ValueError(f'`step_time` must be "unit" or "recorded", but got {step_time=}.')
    if seed is not None and (not isinstance(seed, Integral) or seed < 0):
        raise ValueError(f"`seed` must be an integer of at least 0 or None, but got {seed=}.")
    if budget is not None and (not isinstance(budget, int | float) or not 0.0 < budget < math.inf):
        raise ValueError(f"`budget` must be a positive number or None, but got {budget=}.")
