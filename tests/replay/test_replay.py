from __future__ import annotations

import math

from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
import numpy as np
import optuna
from optuna.distributions import FloatDistribution
from optuna.pruners import BasePruner
from optuna.pruners import HyperbandPruner
from optuna.pruners import MedianPruner
from optuna.pruners import NopPruner
from optuna.pruners import PatientPruner
from optuna.pruners import PercentilePruner
from optuna.pruners import SuccessiveHalvingPruner
from optuna.pruners import ThresholdPruner
from optuna.pruners import WilcoxonPruner
from optuna.storages import JournalStorage
from optuna.storages import RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import create_trial
from optuna.trial import TrialState
import pytest

from optuna_perfpred import PerformancePredictionPruner
from optuna_perfpred.replay import replay
from tests.replay.studies import crossing_curves
from tests.replay.studies import PruneAt
from tests.replay.studies import recorded_study
from tests.replay.studies import X


pytestmark = [
    pytest.mark.filterwarnings("ignore:All-NaN:RuntimeWarning"),
    pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning"),
]

PRUNERS = {
    "nop": NopPruner,
    "median": MedianPruner,
    "percentile": lambda: PercentilePruner(75.0, n_warmup_steps=2),
    "halving": SuccessiveHalvingPruner,
    "hyperband": HyperbandPruner,
    "hyperband with a maximum": lambda: HyperbandPruner(1, 8, 3),
    "patient": lambda: PatientPruner(MedianPruner(), patience=1),
    "threshold": lambda: ThresholdPruner(lower=-0.3, upper=0.5),
    "wilcoxon": lambda: WilcoxonPruner(p_threshold=0.2),
    "ours": PerformancePredictionPruner,
}


def live(study, pruner, name):
    """Run the recorded trials in a live study, as a user would; give where each ended."""
    running = optuna.create_study(direction=study.direction, pruner=pruner, study_name=name)
    ends = []
    for recorded in study.trials:
        running.enqueue_trial(recorded.params)
        trial = running.ask(recorded.distributions)
        state = TrialState.COMPLETE
        for step, value in recorded.intermediate_values.items():
            trial.report(value, step)
            if trial.should_prune():
                state = TrialState.PRUNED
                break
        running.tell(trial, recorded.value if state == TrialState.COMPLETE else None, state=state)
        ends.append((state, step))
    return ends


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
@pytest.mark.parametrize("make", PRUNERS.values(), ids=PRUNERS.keys())
def test_decisions_are_those_of_a_live_study(make, direction):
    study = recorded_study(direction=direction)
    report = replay(study, make(), seed=0)
    ends = [(trial.state, trial.step) for trial in report.trials]
    assert ends == live(study, make(), name="replay-0-0")


def test_the_pruners_of_these_tests_do_prune():
    study = recorded_study()
    idle = {name for name, make in PRUNERS.items() if replay(study, make()).steps_saved == 0}
    assert idle == {"nop"}


def test_without_pruning_nothing_is_saved_and_nothing_lost():
    study = recorded_study(crossing_curves(n_trials=10, n_steps=7))
    report = replay(study, NopPruner())
    assert (report.steps_trained, report.steps_saved, report.total_steps) == (70, 0, 70)
    assert (report.speed_up, report.best_kept, report.regret, report.miss) == (1.0, 1.0, 0.0, 0.0)
    assert report.best_completed == study.best_value
    assert [trial.number for trial in report.trials] == list(range(10))
    assert {trial.state for trial in report.trials} == {TrialState.COMPLETE}


def test_savings_and_losses_of_a_known_study():
    curves = [[1.0, 2.0, 3.0], [1.0, 1.5, 5.0], [0.0, 0.0, 1.0], [0.0, 4.0, 4.0]]
    study = recorded_study(curves)
    report = replay(study, PruneAt({0.25: 2, 0.5: 1}))
    assert (report.steps_trained, report.steps_saved) == (9, 3)
    assert report.speed_up == pytest.approx(12 / 9)
    assert (report.best_value, report.best_completed, report.regret) == (5.0, 4.0, 1.0)
    iqr = np.subtract(*np.percentile([3.0, 5.0, 1.0, 4.0], [75, 25]))
    assert report.regret_iqr == pytest.approx(1.0 / iqr)
    assert report.best_kept == 0.0
    assert report.miss == 0.25
    wrong = report.wrongly_pruned
    assert [(t.repeat, t.number, t.step, t.value, t.best_so_far) for t in wrong] == [
        (0, 1, 2, 5.0, 3.0)
    ]


def test_a_trial_pruned_before_any_is_complete_is_wrongly_pruned():
    report = replay(recorded_study([[1.0, 2.0], [0.0, 1.0]]), PruneAt({0.0: 1}))
    assert [(t.number, t.best_so_far) for t in report.wrongly_pruned] == [(0, None)]


def test_pruning_after_the_last_report_saves_nothing_and_loses_the_value():
    report = replay(recorded_study([[1.0, 2.0], [0.0, 1.0]]), PruneAt({0.0: 2, 0.5: 2}))
    assert [trial.state for trial in report.trials] == [TrialState.PRUNED] * 2
    assert report.steps_saved == 0
    assert report.regret == math.inf
    assert report.miss == 1.0
    assert math.isnan(report.best_completed)


@pytest.mark.parametrize("make", [MedianPruner, PerformancePredictionPruner])
def test_minimizing_the_negative_is_the_same(make):
    maximized = replay(recorded_study(), make(), order="random", seed=0)
    minimized = replay(recorded_study(direction="minimize"), make(), order="random", seed=0)
    assert maximized.steps_saved == minimized.steps_saved > 0
    assert maximized.regret == pytest.approx(minimized.regret)
    assert maximized.best_value == -minimized.best_value
    wrong = [(trial.number, trial.step) for trial in maximized.wrongly_pruned]
    assert wrong == [(trial.number, trial.step) for trial in minimized.wrongly_pruned]


@pytest.mark.parametrize("kind", ["sqlite", "journal"])
def test_any_storage_gives_the_same_and_is_not_changed(kind, tmp_path):
    if kind == "sqlite":
        storage = RDBStorage(f"sqlite:///{tmp_path / 'study.db'}")
    else:
        storage = JournalStorage(JournalFileBackend(str(tmp_path / "study.journal")))
    stored = recorded_study(storage=storage)
    before = stored.trials
    report = replay(stored, MedianPruner(), order="random", n_repeats=2, seed=3)
    expected = replay(recorded_study(), MedianPruner(), order="random", n_repeats=2, seed=3)
    assert report.trials == expected.trials
    assert stored.trials == before
    assert len(optuna.get_all_study_names(storage)) == 1


@pytest.mark.parametrize("name", ["hyperband", "ours"])
def test_repeats_start_afresh_and_the_pruner_is_not_changed(name):
    study, pruner = recorded_study(), PRUNERS[name]()
    twice = replay(study, pruner, order="random", n_repeats=2, seed=0)
    again = replay(study, pruner, order="random", n_repeats=2, seed=0)
    assert twice.trials == again.trials
    fresh = replay(study, PRUNERS[name](), order="random", n_repeats=1, seed=0)
    assert fresh.trials == list(twice.repeats[0].trials)


def test_random_orders_are_permutations_that_depend_on_seed_and_repeat_only():
    study = recorded_study()

    def orders(pruner, seed):
        report = replay(study, pruner, order="random", n_repeats=2, seed=seed)
        return [[trial.number for trial in repeat.trials] for repeat in report.repeats]

    first, second = orders(NopPruner(), 0)
    assert sorted(first) == sorted(second) == list(range(30))
    assert first != second
    assert orders(MedianPruner(), 0) == [first, second]
    assert orders(NopPruner(), 1) != [first, second]


def test_a_drawn_seed_is_told_and_repeats_the_replay():
    study = recorded_study()
    report = replay(study, HyperbandPruner(), order="random")
    again = replay(study, HyperbandPruner(), order="random", seed=report.seed)
    assert again.trials == report.trials


def test_the_pruner_sees_a_trial_as_it_was_in_training():
    study = optuna.create_study(direction="maximize")
    study.add_trial(
        create_trial(
            value=1.0,
            params={"x": 0.3},
            distributions=X,
            intermediate_values={3: 0.5, 7: math.nan, 9: 1.0},
            user_attrs={"num_weights": 12, "perfpred:audit": True, "perfpred:step": 3},
            system_attrs={"completed_rung_0": 0.5},
            constraints={"memory": 1.0},
        )
    )
    seen, replayed = [], []

    class Spy(BasePruner):
        def __deepcopy__(self, memo):
            return self

        def prune(self, study, trial):
            assert trial.state == TrialState.RUNNING
            replayed[:] = [study]
            seen.append((trial.last_step, list(trial.intermediate_values)))
            assert trial.params == {"x": 0.3}
            assert trial.distributions == X
            assert trial.user_attrs == {"num_weights": 12}
            assert trial.constraints == {}  # When they were known is not known.
            assert "completed_rung_0" not in trial.system_attrs
            return False

    replay(study, Spy())
    assert seen == [(3, [3]), (7, [3, 7]), (9, [3, 7, 9])]
    assert replayed[0].trials[0].constraints == {"memory": 1.0}


def test_parameters_enqueued_out_of_their_range_are_replayed():
    study = optuna.create_study()
    study.enqueue_trial({"x": 5.0})
    with pytest.warns(UserWarning, match="out of range"):
        trial = study.ask(X)
    trial.report(1.0, 0)
    study.tell(trial, 1.0)
    assert replay(study, MedianPruner()).best_completed == 1.0


def test_infeasible_trials_are_never_the_best():
    study = recorded_study([[0.0, 1.0], [0.0, 2.0]])
    study.add_trial(
        create_trial(value=9.0, intermediate_values={1: 9.0, 2: 9.0}, constraints={"c": 1.0})
    )
    report = replay(study, NopPruner())
    assert report.best_value == report.best_completed == 2.0
    assert report.miss == 0.0


def test_infeasible_trials_are_neither_wrongly_pruned_nor_the_value_to_beat():
    study = optuna.create_study(direction="maximize")
    for x, value, constraint in (
        (0.1, 1.0, 0.0),
        (0.2, 9.0, 1.0),
        (0.3, 8.0, 1.0),
        (0.4, 5.0, 0.0),
    ):
        study.add_trial(
            create_trial(
                value=value,
                params={"x": x},
                distributions=X,
                intermediate_values={1: 0.0, 2: value},
                constraints={"memory": constraint},
            )
        )
    report = replay(study, PruneAt({0.3: 1, 0.4: 1}))
    assert [(t.number, t.best_so_far) for t in report.wrongly_pruned] == [(3, 1.0)]


def test_the_objective_s_value_counts_and_not_the_last_report():
    study = recorded_study([[0.0, 5.0]])
    study.add_trial(create_trial(value=7.0, intermediate_values={1: 0.0, 2: 1.0}))
    assert replay(study, NopPruner()).best_completed == 7.0


def test_only_whole_curves_are_replayed_and_the_rest_is_told():
    study = recorded_study([[1.0, 2.0]])
    study.add_trial(create_trial(state=TrialState.PRUNED, intermediate_values={1: 1.0}))
    study.add_trial(create_trial(state=TrialState.FAIL, intermediate_values={1: 1.0}))
    study.add_trial(create_trial(value=1.0))
    study.add_trial(create_trial(value=math.inf, intermediate_values={1: 1.0}))
    study.add_trial(create_trial(value=-math.inf, intermediate_values={1: 1.0}))
    study.ask()
    report = replay(study, NopPruner())
    assert [trial.number for trial in report.trials] == [0, 5]
    assert report.left_out == {
        "PRUNED": 1,
        "FAIL": 1,
        "RUNNING": 1,
        "without intermediate values": 1,
        "with an infinitely good value": 1,
    }
    assert "5 are left out" in str(report)


def test_a_study_without_whole_curves_is_refused():
    study = optuna.create_study()
    study.add_trial(create_trial(state=TrialState.PRUNED, intermediate_values={1: 1.0}))
    with pytest.raises(ValueError, match=r"nothing to replay.*1 PRUNED"):
        replay(study, NopPruner())


def test_a_study_with_several_objectives_is_refused():
    study = optuna.create_study(directions=["minimize", "maximize"])
    with pytest.raises(ValueError, match="2 objectives"):
        replay(study, NopPruner())


@pytest.mark.parametrize(
    "arguments",
    [
        {"order": "backwards"},
        {"n_repeats": 0},
        {"n_workers": 0},
        {"n_workers": 1.5},
        {"n_trials": 0},
        {"seed": -1},
        {"budget": 0.0},
        {"budget": math.nan},
        {"budget": 0.01},
        {"step_time": "minutes"},
        {"step_time": "recorded"},
        {"pruner": "median"},
        {"study_or_curves": 3},
    ],
    ids=str,
)
def test_bad_arguments_are_told(arguments):
    name, value = next(iter(arguments.items()))
    arguments = {"study_or_curves": recorded_study(), "pruner": NopPruner()} | arguments
    with pytest.raises(ValueError, match=name) as error:
        replay(arguments.pop("study_or_curves"), arguments.pop("pruner"), **arguments)
    assert str(value) in str(error.value)


def test_the_number_of_drawn_trials_is_capped():
    report = replay(recorded_study(), NopPruner(), n_trials=7)
    assert [trial.number for trial in report.trials] == list(range(7))
    assert len(report.values) == 30


def test_a_trial_that_the_budget_cuts_off_is_not_complete():
    report = replay(recorded_study([[0.0] * 4, [1.0] * 4, [2.0] * 4]), NopPruner(), budget=1.75)
    assert [(t.state, t.steps_trained) for t in report.trials] == [
        (TrialState.COMPLETE, 4),
        (TrialState.RUNNING, 3),
    ]
    assert (report.steps_trained, report.total_steps, report.best_completed) == (7, 7, 0.0)
    assert report.miss == pytest.approx(2 / 3)


def test_a_budget_of_whole_trainings_completes_them():
    report = replay(recorded_study([[0.0] * 10] * 5), NopPruner(), budget=0.1 + 0.2 + 2.7)
    assert [trial.state for trial in report.trials] == [TrialState.COMPLETE] * 3


@settings(max_examples=40)
@given(data=st.data())
def test_odd_curves(data):
    """Nothing raises, and each step is either trained or saved."""
    numbers = st.floats(-2.0, 2.0) | st.sampled_from([math.nan, math.inf, -math.inf, 1e300])
    curves = data.draw(
        st.lists(st.dictionaries(st.integers(0, 12), numbers, min_size=1, max_size=8), min_size=1)
    )
    direction = data.draw(st.sampled_from(["minimize", "maximize"]))
    study = optuna.create_study(direction=direction)
    worst = math.inf if direction == "minimize" else -math.inf
    for curve in curves:
        value = data.draw(st.floats(-2.0, 2.0) | st.just(worst))
        study.add_trial(create_trial(value=value, intermediate_values=curve))
    pruner = PRUNERS[data.draw(st.sampled_from(sorted(PRUNERS)))]()
    budget = data.draw(st.none() | st.floats(1.0, 5.0))
    n_workers = data.draw(st.integers(1, 4))
    report = replay(
        study, pruner, order="random", n_repeats=2, seed=0, budget=budget, n_workers=n_workers
    )
    assert report.steps_trained + report.steps_saved == report.total_steps
    assert report.steps_saved >= 0
    assert report.speed_up >= 1.0 - 1e-12
    assert report.regret >= 0.0
    assert report.regret_iqr >= 0.0
    assert report.wall_clock <= report.wall_clock_without_pruning
    horizon = max(map(len, curves))
    for repeat in report.repeats:
        assert budget is None or repeat.steps_trained <= budget * horizon + 1e-6
        assert repeat.best_kept == (repeat.regret == 0.0)
        unfinished = sum(trial.state == TrialState.RUNNING for trial in repeat.trials)
        assert unfinished == 0 if budget is None else unfinished <= n_workers
        if not any(trial.wrongly_pruned for trial in repeat.trials):
            assert repeat.best_kept
    assert str(report)
    assert len(report.to_dataframe()) == len(report.trials)


def test_a_wide_study_of_categories_is_replayed():
    study = optuna.create_study()
    distributions = {"x": FloatDistribution(0.0, 1.0)} | {
        name: optuna.distributions.CategoricalDistribution([None, True, "adam", 3])
        for name in "abc"
    }
    for number in range(12):
        params = {"x": number / 12, "a": None, "b": True, "c": ["adam", 3][number % 2]}
        study.add_trial(
            create_trial(
                value=number / 12,
                params=params,
                distributions=distributions,
                intermediate_values={0: 1.0, 1: number / 12},
            )
        )
    assert replay(study, PerformancePredictionPruner()).best_kept == 1.0


@pytest.mark.parametrize("second_chance", ["retrain", "checkpoint"])
def test_a_trial_that_was_stopped_and_went_on_is_one_trial(second_chance):
    """Late trials, which begin worse and end better, are stopped until they are known to win."""
    rng = np.random.default_rng(0)
    study = optuna.create_study(direction="maximize")
    distributions = {"lateness": optuna.distributions.FloatDistribution(0.0, 1.0)}
    for number in range(40):
        lateness = 0.9 if number >= 20 or number in (15, 16, 17) else 0.0
        end = lateness + (1.0 if number in (15, 16, 17) else 0.6 * rng.uniform())
        curve = [end * (1 - (0.6 + 0.35 * lateness) ** (step + 1)) for step in range(20)]
        study.add_trial(
            optuna.trial.create_trial(
                value=curve[-1],
                params={"lateness": lateness},
                distributions=distributions,
                intermediate_values=dict(enumerate(curve)),
            )
        )
    (result,) = replay(
        study,
        PerformancePredictionPruner(confidence=0.4, second_chance=second_chance),
        order="number",
    ).repeats
    assert [trial.number for trial in result.trials] == list(range(40))
    early = [trial for trial in result.trials if trial.number in (15, 16, 17)]
    assert any(trial.state == TrialState.COMPLETE for trial in early)
    most = max(trial.steps_trained for trial in early)
    assert most == 20 if second_chance == "checkpoint" else most > 20
