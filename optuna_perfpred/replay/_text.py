from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from optuna.trial import TrialState


if TYPE_CHECKING:
    from optuna_perfpred.replay._report import ReplayReport


_MAX_LISTED = 10


def describe(report: ReplayReport) -> str:
    """Give a report as text, a few lines long.

    Args:
        report:
            The report of a replay.
    """
    repeats = report.repeats
    return "\n".join(
        [
            f"Replay of study {report.study_name!r} with {report.pruner}",
            *_rows(
                {
                    "trials": _trials(report),
                    "repeats": f"{len(repeats)}, {_order(report)}; counts are means of them"
                    if len(repeats) > 1
                    else f"1, {_order(report)}",
                    "steps trained": f"{report.steps_trained:.0f} of {report.total_steps:.0f}, "
                    f"{report.steps_saved:.0f} saved: {report.speed_up:.2f} times as fast",
                    "wall clock": _wall_clock(report),
                    "best value": _best_value(report),
                    "best kept": f"in {sum(r.best_kept for r in repeats)} of {_repeats(report)}",
                    "wrongly pruned": _wrongly_pruned(report),
                    "time in the pruner": f"{report.pruner_seconds:.2f} s for "
                    f"{report.n_checks:.0f} checks, "
                    f"{1e3 * report.pruner_seconds / max(report.n_checks, 1):.3f} ms each",
                    "forecasts": _calibration(report),
                }
            ),
        ]
    )


def _rows(rows: dict[str, str]) -> list[str]:
    width = max(map(len, rows)) + 2
    margin = "\n" + " " * (width + 2)
    return [f"  {key:<{width}}{text.replace(chr(10), margin)}" for key, text in rows.items()]


def _trials(report: ReplayReport) -> str:
    states = Counter(trial.state for trial in report.trials)
    n_repeats = len(report.repeats)
    parts = [
        f"{states[state] / n_repeats:.4g} {name}"
        for state, name in (
            (TrialState.COMPLETE, "completed"),
            (TrialState.PRUNED, "pruned"),
            (TrialState.RUNNING, "cut off by the budget"),
        )
        if states[state] or state != TrialState.RUNNING
    ]
    text = f"{', '.join(parts)}; {len(report.values)} can be replayed"
    if report.left_out:
        reasons = ", ".join(f"{n} {reason}" for reason, n in sorted(report.left_out.items()))
        text += f", {sum(report.left_out.values())} are left out ({reasons})"
    return text


def _repeats(report: ReplayReport) -> str:
    n_repeats = len(report.repeats)
    return f"{n_repeats} repeat" + "s" * (n_repeats != 1)


def _order(report: ReplayReport) -> str:
    return (
        "in the order of numbers"
        if report.order == "number"
        else f"in random order, seed {report.seed}"
    )


def _wall_clock(report: ReplayReport) -> str:
    workers = f"{report.n_workers} worker" + "s" * (report.n_workers != 1)
    return (
        f"{report.wall_clock:.6g} {report.time_unit} instead of "
        f"{report.wall_clock_without_pruning:.6g} with {workers}"
    )


def _best_value(report: ReplayReport) -> str:
    values = f"{report.best_completed:.6g} completed of {report.best_value:.6g}"
    if report.regret == 0.0:
        return f"{values}, nothing lost"
    return (
        f"{values}, {report.regret:.4g} lost: {100.0 * report.regret_iqr:.3g} % of the "
        "interquartile range of the values"
    )


def _wrongly_pruned(report: ReplayReport) -> str:
    wrong = report.wrongly_pruned
    pruned = sum(trial.state == TrialState.PRUNED for trial in report.trials)
    lines = [f"{len(wrong)} of {pruned}: their recorded end is better than the best by then"]
    for trial in wrong[:_MAX_LISTED]:
        best = "nothing" if trial.best_so_far is None else f"{trial.best_so_far:.4g}"
        lines.append(
            f"repeat {trial.repeat}, trial {trial.number} at step {trial.step}: ends at "
            f"{trial.value:.4g}, best by then {best}. {trial.reason or ''}".rstrip()
        )
    if len(wrong) > _MAX_LISTED:
        lines.append(f"and {len(wrong) - _MAX_LISTED} more")
    return "\n".join(lines)


def _calibration(report: ReplayReport) -> str:
    calibration = report.calibration
    if calibration.count == 0:
        return "none given by the pruner"
    lines = [
        f"{calibration.count} probabilities to beat the best, Brier score "
        f"{calibration.brier_score:.4f}"
    ]
    lines += [
        f"{100.0 * b.low:3.0f} to {100.0 * b.high:3.0f} %: on average "
        f"{100.0 * b.mean_forecast:.3g} % forecast, {100.0 * b.frequency:.3g} % came true "
        f"({b.count})"
        for b in calibration.bins
    ]
    return "\n".join(lines)
