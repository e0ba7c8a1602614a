"""What is told of trials that go on with stopped ones: by `explain`, the report and the note."""

from __future__ import annotations

import optuna
from optuna.trial import TrialState
import pytest

from optuna_perfpred import _cli
from optuna_perfpred import explain
from optuna_perfpred import PerformancePredictionPruner
from optuna_perfpred.dashboard._words import as_markdown
from optuna_perfpred.dashboard._words import tell
from optuna_perfpred.replay import replay
from tests.continued import add
from tests.continued import N_STEPS
from tests.continued import NO_NUMBERS
from tests.continued import REASON
from tests.continued import study_of
from tests.pruners import test_second_chance as chances


PLAIN = "Goes on with trial 1, stopped at step 2."


def told(study):
    return as_markdown(tell(study))


def test_both_trials_say_so():
    study = study_of()
    assert explain(study, 2).second_chances == (REASON,)
    assert REASON in str(explain(study, 2))
    assert explain(study, 1).second_chances == ("Trial 2 goes on with it, and ended at 0.9.",)
    assert explain(study, 0).second_chances == explain(study, 3).second_chances == ()


@pytest.mark.parametrize(
    ("state", "end"),
    [
        (TrialState.PRUNED, "was stopped again at step 9"),
        (TrialState.RUNNING, "is running"),
        (TrialState.FAIL, "failed"),
    ],
)
def test_how_it_has_ended(state, end):
    study = study_of(state=state)
    assert explain(study, 1).second_chances == (f"Trial 2 goes on with it, and {end}.",)
    assert f"Trial 2 {end}. {REASON}" in told(study)


def test_a_chain_tells_of_its_neighbours():
    study = study_of(range(5), TrialState.PRUNED)
    study.enqueue_trial(study.trials[2].params, user_attrs={"perfpred:continues": 2})
    assert explain(study, 2).second_chances == (
        REASON,
        "Trial 4 goes on with it, and waits to be run.",
    )
    assert explain(study, 4).second_chances == ("Goes on with trial 2, stopped at step 4.",)


@pytest.mark.parametrize("number", NO_NUMBERS)
def test_what_names_no_stopped_trial_is_absent(number):
    study = study_of(continues=number)
    assert all(explain(study, trial.number).second_chances == () for trial in study.trials)
    assert "Second chances" not in told(study)
    assert "4 on" in told(study)
    assert "2 completed, 2 pruned" in told(study)


@pytest.mark.parametrize("reason", [None, True, 3, [REASON], {"a": REASON}, "", " \n", "x" * 3000])
def test_what_is_no_sentence_is_made_anew(reason):
    assert explain(study_of(second_chance=reason), 2).second_chances == (PLAIN,)


@pytest.mark.parametrize("reason", ["I believe in it.", "I\n  believe in it."])
def test_a_sentence_of_the_user_is_told_behind_what_is_known(reason):
    assert explain(study_of(second_chance=reason), 2).second_chances == (
        f"{PLAIN} I believe in it.",
    )


def test_a_sentence_on_another_trial_does_not_pass_as_ours():
    study = study_of(second_chance=REASON.replace("trial 1", "trial 0"))
    (sentence,) = explain(study, 2).second_chances
    assert sentence.startswith(PLAIN)


def test_the_note_counts_each_once():
    text = told(study_of())
    assert "3 on" in text
    assert "2 completed, 1 pruned." in text
    assert "The best trial, 2, is one of them." in text
    assert f"* Trial 2 ended at 0.9. {REASON}" in text
    assert "1 pruned trial of 3 spared about 6 steps, 24 were trained." in text
    assert "The 3 steps that were trained again" in text
    assert "trained again" not in told(study_of(resumed_at=2))


def test_the_note_if_more_was_trained_again_than_saved():
    study = study_of(range(9), TrialState.PRUNED)
    add(study, 0.9, range(N_STEPS), continues=2)
    add(study, 0.9, range(N_STEPS), continues=1)
    assert "Nothing yet: 15 steps trained again" in told(study)


def test_the_commands(tmp_path, capsys):
    storage = f"sqlite:///{tmp_path / 'study.sqlite3'}"
    study_of(storage=storage)
    assert _cli.main(["explain", "--storage", storage, "2"]) == 0
    assert REASON in capsys.readouterr().out
    page = tmp_path / "page.html"
    assert _cli.main(["report", "--storage", storage, "-o", str(page)]) == 0
    html = page.read_text()
    assert REASON in html
    assert "<b>3</b><span>trials, 1 of them pruned</span>" in html
    assert "Trial 2, which went on with a stopped one" in html


def test_the_audit_and_a_replay_count_each_once():
    pruner = PerformancePredictionPruner()
    for study, total in ((study_of(), 24), (study_of(resumed_at=2), 21)):
        audit = pruner.audit(study)
        assert (audit.n_pruned, audit.total_steps) == (1, total)
    report = replay(study_of(range(3, N_STEPS)), optuna.pruners.NopPruner())
    assert [trial.number for trial in report.trials] == [0, 2]
    assert report.total_steps == 2 * N_STEPS
    assert report.left_out == {"PRUNED": 1}


def test_earlier_studies_count_each_once():
    def foreseen(earlier):
        pruner = PerformancePredictionPruner(warm_start=[earlier])
        study = optuna.create_study(direction="maximize", pruner=pruner)
        trial = study.ask(earlier.trials[0].distributions)
        trial.report(0.05, 0)
        trial.should_prune()
        return pruner.assessment(study, trial)

    once = optuna.create_study(direction="maximize")
    once.add_trials(trial for trial in study_of().trials if trial.number != 1)
    assert foreseen(study_of()) == foreseen(once)


def test_a_trial_that_the_pruner_goes_on_with():
    study = chances.study_of()
    trial, _ = chances.ask(study)
    study.tell(trial, state=TrialState.PRUNED)
    continued = study.ask(chances.SPACE)
    chances.train(study, continued)
    stopped = continued.user_attrs["perfpred:continues"]
    explained = explain(study, continued.number)
    assert explained.second_chances == (continued.user_attrs["perfpred:second_chance"],)
    # What was trained before decides nothing again.
    assert explained.step is None or explained.step > chances.STOPPED_AT
    assert f"Trial {continued.number} goes on with it" in str(explain(study, stopped))
    assert "Second chances" in told(study)
    for trial in study.trials:
        assert str(explain(study, trial.number))
