from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from optuna_perfpred.forecasts import StoppingRule
from optuna_perfpred.forecasts import StudyForecast
from optuna_perfpred.history import FinishedTrials
from optuna_perfpred.history import read_record
from optuna_perfpred.pruners import PerformancePredictionPruner
from optuna_perfpred.replay._recording import read_recording


if TYPE_CHECKING:
    from optuna import Study

    from optuna_perfpred.forecasts import CompletedTrials


# Ranks are compared with those at the end after these shares of a full curve.
_SHARES = (0.1, 0.25, 0.5)
# From this rank correlation on, what leads will most likely lead at the end.
_SETTLED = 0.8


def describe_curves(study: Study) -> str:
    """Tell what the learning curves of a study say about stopping its trials early.

    It is what the pruner learns from the completed trials.

    Args:
        study:
            A single-objective study that can be replayed.
    """
    recording = read_recording(study)
    trials = recording.trials
    n_pruned = recording.left_out.get("PRUNED", 0)
    lines = [f"What the curves of the {len(trials)} completed trials say:"]
    lengths = np.array([len(trial.steps) for trial in trials])
    lines.append(
        f"- All report {lengths[0]} times."
        if np.ptp(lengths) == 0
        else f"- They report {lengths.min()} to {lengths.max()} times, half of them "
        f"{np.median(lengths):.0f} or more."
    )
    records = sorted((read_record(trial.source) for trial in trials), key=lambda r: r.order)
    forecast = StudyForecast(StoppingRule(), PerformancePredictionPruner()._settings(study, 1))
    learned = forecast.learned_from(FinishedTrials(tuple(records)))
    if learned is None:
        lines.append("- They do not tell how trials end, so the forecast would prune nothing.")
    else:
        lines.append(f"- The objective returns {learned.returned.returned.value}.")
        if learned.of_best:
            lines.append("- A curve counts as its best value so far.")
        lines += _ranks(learned.completed)
        share = learned.completed.noise / learned.completed.spread
        lines.append(
            f"- Noise from step to step is {100.0 * share:.2g} % of the spread of the ends."
        )
    if n_pruned > 0:
        lines.append(
            f"- Pruned trials, {n_pruned} of them, are not among these: how they would have ended "
            "is not known. "
            "All that is told here is of the completed ones, which were the better ones: they "
            "differ less, so that ranks settle later and less is saved than on all trials. And "
            "if a pruned trial would have been the best, nothing here can tell."
        )
    return "\n".join(lines)


def _ranks(completed: CompletedTrials) -> list[str]:
    correlation = completed.rank_correlation
    if np.isnan(correlation).any():
        return ["- They are too few to tell how early ranks settle."]
    last = len(correlation) - 1
    places = [round(share * last) for share in _SHARES]
    told = ", ".join(
        f"{correlation[place]:.2f} after {100.0 * share:.0f} %"
        for share, place in zip(_SHARES, places, strict=True)
    )
    # The first step from which on it stays so.
    unsettled = np.flatnonzero(correlation < _SETTLED)
    settled = 0 if len(unsettled) == 0 else min(int(unsettled[-1]) + 1, last)
    quarter = 1.0 - completed.best_rank[places[1]]
    lead = "led" if quarter == 0.0 else f"was among the best {100.0 * max(quarter, 0.01):.0f} %"
    return [
        f"- Ranks settle {_word(settled / max(last, 1))}: their correlation with those at the end "
        f"is {told} of a full curve, and stays above {_SETTLED:g} from "
        f"{100.0 * settled / max(last, 1):.0f} % on.",
        f"- The best trial {lead} after 25 %.",
    ]


def _word(share: float) -> str:
    return "early" if share <= _SHARES[1] else "halfway" if share <= _SHARES[2] else "late"
