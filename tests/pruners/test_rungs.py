"""What f-Hyperband reads piece by piece is what it would read at once."""

from __future__ import annotations

from types import SimpleNamespace

from hypothesis import given
from hypothesis import strategies as st
import optuna
from optuna.trial import create_trial
from optuna.trial import TrialState
import pytest

from optuna_perfpred.history import FinishedTrials
from optuna_perfpred.history import FinishedTrialsReader
from optuna_perfpred.pruners._brackets import Brackets
from optuna_perfpred.pruners._brackets import Competition
from optuna_perfpred.pruners._rung_history import RungHistory
from optuna_perfpred.pruners._rungs import Rung


TRIALS = st.lists(
    st.fixed_dictionaries(
        {
            "state": st.sampled_from([TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL]),
            "n_steps": st.integers(0, 9),
            "results": st.lists(st.floats(0.0, 1.0) | st.just("text"), max_size=3),
            "retries": st.none() | st.integers(0, 20),
        }
    ),
    min_size=1,
    max_size=12,
)


def add(study, script):
    history = [] if script["retries"] is None else [script["retries"]]
    results = {f"completed_rung_{n}": result for n, result in enumerate(script["results"])}
    is_complete = script["state"] == TrialState.COMPLETE
    study.add_trial(
        create_trial(
            state=script["state"],
            value=0.5 if is_complete else None,
            intermediate_values={step: 0.1 * step for step in range(script["n_steps"])},
            system_attrs={**results, "retry_history": history},
        )
    )


@given(TRIALS)
def test_pieces_are_the_whole(scripts):
    study = optuna.create_study()
    reader, asking = FinishedTrialsReader(), SimpleNamespace(number=99)
    pieces, history = Brackets(), RungHistory(FinishedTrials())
    for script in scripts:
        add(study, script)
        finished = reader.read_now(study)
        competition = Competition(reader.ended, reader.running, lambda trial: trial.number % 2)
        for rung in (Rung(0, 0, 3), Rung(1, 0, 3), Rung(0, 1, 6)):
            found = pieces.results(rung, asking, competition)
            assert sorted(found) == sorted(Brackets().results(rung, asking, competition))
            retried = {s["retries"] for s in scripts[: len(study.trials)]}
            expected = [
                trial.system_attrs[rung.key]
                for trial in study.trials
                if trial.number % 2 == rung.bracket and trial.number not in retried
                if isinstance(trial.system_attrs.get(rung.key), float)
            ]
            assert sorted(found) == pytest.approx(sorted(expected))
        for horizon in (None, 3, 6):
            reached = history.reached(finished, horizon)
            at_once = RungHistory(FinishedTrials()).reached(finished, horizon)
            assert [(r.number, r.value) for r in reached.own] == [
                (r.number, r.value) for r in at_once.own
            ]
