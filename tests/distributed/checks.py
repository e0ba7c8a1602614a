"""What must hold of a study after a fault."""

from __future__ import annotations

from collections import Counter
from itertools import chain
from itertools import combinations
from typing import TYPE_CHECKING

import optuna
from optuna.trial import create_trial
from optuna.trial import TrialState
import pytest

from optuna_perfpred import PerformancePredictionPruner
from tests.distributed.objectives import curve


if TYPE_CHECKING:
    from collections.abc import Iterator

    from optuna.trial import FrozenTrial

    from tests.distributed.objectives import Event


_FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
_NUMBERS = ("predicted_value", "predicted_std", "probability_of_beating_best", "step")


def check(study: optuna.Study, events: list[Event], n_before: int = 0) -> None:
    """Compare the trials in a storage with the log of the workers, when none is left running.

    Args:
        study: The study.
        events: The log.
        n_before: How many of the study's trials are older than the log.
    """
    check_trials(study, events, n_before)
    check_decisions(study, events, n_before)


def check_trials(study: optuna.Study, events: list[Event], n_before: int = 0) -> None:
    """No number twice, no value lost or changed, every trial in a final state."""
    trials = study.get_trials(deepcopy=False)
    assert [trial.number for trial in trials] == list(range(len(trials)))
    assert len({trial._trial_id for trial in trials}) == len(trials)
    assert all(trial.state.is_finished() for trial in trials)
    began = Counter(event.number for event in events if event.kind == "began")
    assert set(began.values()) == {1}, "Two workers ran one trial."

    told = _told(events)
    retried = {number for t in trials for number in t.system_attrs.get("retry_history", [])}
    steps = {e.number: e.step for e in events if e.kind == "asking" and e.step is not None}
    endings = {event.number: event for event in events if event.kind == "ending"}
    for trial in trials[n_before:]:
        values = curve(trial.params["x"]) if "x" in trial.params else []
        expected = dict(enumerate(values[: len(trial.intermediate_values)]))
        assert trial.intermediate_values == expected, "A value was lost or changed."
        if trial.state == TrialState.FAIL:
            assert trial.number in retried, f"Nobody took trial {trial.number} up again."
            continue
        ending = endings[trial.number]
        assert trial.state == (TrialState.PRUNED if ending.pruned else TrialState.COMPLETE)
        assert trial.value == ending.value
        if ending.pruned:
            assert trial.user_attrs.get("perfpred:step", trial.last_step) == trial.last_step
        assert len(trial.intermediate_values) == steps[trial.number] + 1
    for number in told:
        assert trials[number].state in _FINISHED or number in retried
    for number, step in steps.items():
        assert step in trials[number].intermediate_values, "A reported value was lost."


def check_decisions(study: optuna.Study, events: list[Event], n_before: int = 0) -> None:
    """A new pruner that knows what was known prunes each pruned trial, for the same reasons.

    What another worker had finished when a decision was taken is known but for those trials that
    it was telling the storage of just then. The decision must follow from one of these sets.
    """
    trials = study.get_trials(deepcopy=False)
    for trial in trials[n_before:]:
        if trial.state == TrialState.PRUNED:
            candidates = list(_known_then(trial.number, trials, events))
            assert any(_is_decision(study, known, trial) for known in candidates), (
                f"The pruning of trial {trial.number} follows from none of {len(candidates)} "
                f"possible histories: {trial.user_attrs}"
            )


def _known_then(
    number: int, trials: list[FrozenTrial], events: list[Event]
) -> Iterator[list[FrozenTrial]]:
    """Give the sets of finished trials that the pruner may have known when it pruned a trial.

    It read the storage at some moment from the trial's first question on until its last one.
    """
    asking = [e.seconds for e in events if e.number == number and e.kind == "asking"]
    asked = [e.seconds for e in events if e.number == number and e.kind == "asked"]
    ended = {e.number: e.seconds for e in events if e.kind == "ending"}
    told = _told(events)
    finished = [t for t in trials if t.state in _FINISHED and t.number != number]
    moments = {asking[0], asked[-1]}
    moments |= {s for s in chain(ended.values(), told.values()) if asking[0] < s < asked[-1]}
    seen = set()
    # The latest first: a small storage is read at each question.
    for moment in sorted(moments, reverse=True):
        # Trials without a log were there before.
        known = {t.number for t in finished if told.get(t.number, 0.0) < moment}
        begun = {t.number for t in finished if ended.get(t.number, 0.0) < moment}
        certain = known & begun | (begun - ended.keys())
        uncertain = sorted(begun - certain)
        for n in range(len(uncertain), -1, -1):
            for some in combinations(uncertain, n):
                numbers = frozenset(certain | set(some))
                if numbers not in seen:
                    seen.add(numbers)
                    yield [t for t in finished if t.number in numbers]


def _is_decision(study: optuna.Study, known: list[FrozenTrial], pruned: FrozenTrial) -> bool:
    """Whether a new pruner prunes a trial, by the forecast that is recorded on it.

    Before a trial is complete, it was compared with others that ran: how far they had come by
    then is not kept, only that none was complete.
    """
    if "none of them complete" in pruned.user_attrs["perfpred:reason"]:
        return all(trial.state != TrialState.COMPLETE for trial in known)
    again = optuna.create_study(study_name=study.study_name, direction=study.direction)
    again.add_trials(known)
    again.add_trial(
        create_trial(
            state=TrialState.RUNNING,
            params=pruned.params,
            distributions=pruned.distributions,
            intermediate_values=pruned.intermediate_values,
        )
    )
    running = again.get_trials(deepcopy=False)[-1]
    if not PerformancePredictionPruner().prune(again, running):
        return False
    attrs = again.get_trials(deepcopy=False)[-1].user_attrs
    return all(
        attrs[f"perfpred:{name}"] == pytest.approx(pruned.user_attrs[f"perfpred:{name}"], rel=1e-6)
        for name in _NUMBERS
    )


def _told(events: list[Event]) -> dict[int, float]:
    """When a worker had told the storage of a trial's end: before it went on to its next one.

    A worker that is gone will tell no more; what it ended last may have been told or not.
    """
    told = {}
    ending: dict[int, int] = {}
    for event in events:
        if event.kind == "ending":
            ending[event.process] = event.number
        elif event.kind in ("began", "gone") and event.process in ending:
            told[ending.pop(event.process)] = event.seconds
    return told
