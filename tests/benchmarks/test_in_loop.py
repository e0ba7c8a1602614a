from __future__ import annotations

import dataclasses

from _in_loop_search import CONTINUES
from _in_loop_search import Search
from _in_loop_surrogate import NeighbourSurrogate
from _in_loop_surrogate import UnsuitableSetError
import in_loop
import in_loop_live
import numpy as np
import optuna
from optuna.pruners import BasePruner
from optuna.pruners import MedianPruner
from optuna.pruners import NopPruner
from optuna.samplers import RandomSampler
from optuna.trial import TrialState
import pytest

from optuna_perfpred.replay import load_curves
from tests.benchmarks.curve_sets import write_set
from tests.pruners.studies import N_STEPS


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("sets") / "tiny"
    write_set(path, seed=0)
    return path


@pytest.fixture(scope="module")
def surrogate(folder):
    return NeighbourSurrogate(folder)


def write_set_of_words(folder):
    """The recorded curves with a choice for a parameter."""
    write_set(folder, seed=0)
    rows = [f"{number},{'ab'[number % 2]}" for number in range(60)]
    (folder / "configs.csv").write_text("\n".join(["curve_id,kind", *rows]))


def new_study(pruner):
    sampler = RandomSampler(seed=0)
    return optuna.create_study(direction="maximize", sampler=sampler, pruner=pruner)


def run(monkeypatch, capsys, module, *arguments):
    monkeypatch.setattr("sys.argv", [f"{module.__name__}.py", *map(str, arguments)])
    module.main()
    return capsys.readouterr().out


def table(output, title):
    """The rows below the header, each with its cells."""
    lines = output.split(f"**{title}**")[1].strip().split("\n\n")[0].splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_a_point_has_one_curve_within_the_range_of_its_neighbours(folder, surrogate):
    recorded = load_curves(folder).trials
    again = NeighbourSurrogate(folder)
    (distribution,) = surrogate.distributions.values()
    for quality in np.linspace(distribution.low, distribution.high, 20).tolist():
        curve = surrogate.curve({"quality": quality})
        np.testing.assert_array_equal(again.curve({"quality": quality}), curve)
        nearest = sorted(recorded, key=lambda trial: abs(trial.params["quality"] - quality))[:4]
        neighbours = np.array([list(t.intermediate_values.values()) for t in nearest])
        assert (neighbours.min(axis=0) <= curve).all()
        assert (curve <= neighbours.max(axis=0)).all()
        other = surrogate.curve({"quality": quality + 1e-6})
        assert not np.array_equal(other, curve)
    trial = recorded[0]
    curve = list(trial.intermediate_values.values())
    np.testing.assert_allclose(surrogate.curve(trial.params), curve, atol=0.05)


def test_shares_are_those_of_random_points(surrogate):
    study = new_study(NopPruner())
    drawn = [study.ask(surrogate.distributions).params for _ in range(500)]
    finals = np.array([surrogate.curve(params)[-1] for params in drawn])
    for value in np.quantile(finals, [0.1, 0.5, 0.9]).tolist():
        share = np.mean(finals > value)
        assert surrogate.share_better_than(value) == pytest.approx(share, abs=0.05)
    assert surrogate.share_better_than(0.0) == 1.0  # The finals are positive.
    assert surrogate.share_better_than(None) == 1.0


def test_a_set_that_does_not_suit_is_named(tmp_path):
    write_set_of_words(tmp_path / "words")
    with pytest.raises(UnsuitableSetError, match="no numeric parameter"):
        NeighbourSurrogate(tmp_path / "words")


@pytest.mark.parametrize("n_workers", [1, 8])
def test_without_pruning_each_full_training_of_the_budget_is_completed(surrogate, n_workers):
    study = new_study(NopPruner())
    outcome = Search(study, surrogate).run([8, 16], n_workers)
    assert outcome.n_completed == 16
    assert len(study.get_trials(states=(TrialState.COMPLETE,))) == 16
    # When the budget is spent, nothing is begun.
    assert outcome.n_trials == len(study.trials) == 16 + n_workers - 1
    assert outcome.n_stopped_new_best == 0
    first_of_random_ones = surrogate.share_better_than(max(t.value for t in study.trials[:8]))
    assert outcome.misses[0] == pytest.approx(100.0 * first_of_random_ones)


def test_a_larger_budget_misses_no_more(surrogate):
    budgets = [1, 2, 4, 8, 16]
    for pruner in (NopPruner(), MedianPruner(n_startup_trials=1)):
        misses = Search(new_study(pruner), surrogate).run(budgets, n_workers=2).misses
        assert list(misses) == sorted(misses, reverse=True)
        assert misses[0] == 100.0  # Two workers spend it before one of them is ready.
        assert misses[-1] < 50.0


class StopTheFirst(BasePruner):
    """Stops the first trial at its third step, and maybe lets another one continue it."""

    def __init__(self, *, continues):
        self._continues = continues

    def prune(self, study, trial):
        if trial.number > 0 or trial.last_step < 3:
            return False
        if self._continues:
            study.enqueue_trial(trial.params, user_attrs={CONTINUES: trial.number})
        return True


@pytest.mark.parametrize("checkpoints", [True, False])
def test_a_trial_continues_an_earlier_one(surrogate, checkpoints):
    study = new_study(StopTheFirst(continues=True))
    outcome = Search(study, surrogate, checkpoints=checkpoints).run([1, 2])
    first, second, third = study.trials
    assert first.state == TrialState.PRUNED
    assert list(first.intermediate_values) == [1, 2, 3]
    assert second.state == TrialState.COMPLETE
    assert list(second.intermediate_values.values()) == surrogate.curve(first.params).tolist()
    # Two full trainings, of which three steps are for the first trial, and maybe repeated.
    n_steps = 2 * N_STEPS - 3 - (N_STEPS - 3 if checkpoints else N_STEPS)
    assert third.last_step == n_steps
    assert (outcome.misses[0] < 100.0) == checkpoints
    assert outcome.misses[1] < 100.0
    assert (outcome.n_trials, outcome.n_stopped_new_best) == (3, 0)  # It was not lost.


def test_new_best_trials_that_were_stopped_are_counted(surrogate):
    study = new_study(StopTheFirst(continues=False))
    outcome = Search(study, surrogate).run([2])
    assert (outcome.n_completed, outcome.n_new_best, outcome.n_stopped_new_best) == (1, 2, 1)


def test_the_error_of_a_mean_is_the_usual_one():
    misses = np.random.default_rng(0).uniform(size=(3, 6, 2))
    of_seeds = misses.mean(axis=0)
    errors = in_loop.jackknife_error(in_loop.arithmetic_mean, misses)
    np.testing.assert_allclose(errors, of_seeds.std(axis=0, ddof=1) / np.sqrt(6))
    one_seed = in_loop.jackknife_error(in_loop.geometric_mean, misses[:, :1])
    assert np.isnan(one_seed).all()


def test_the_tables_have_all_pruners(folder, tmp_path, monkeypatch, capsys):
    write_set(tmp_path / "other", seed=1)
    write_set_of_words(tmp_path / "words")
    arguments = ["--curves", folder.parent, tmp_path, "--sets", "tiny", "other", "words"]
    arguments += ["--budgets", 1, 2, 4, "--seeds", 2, "--jobs", 1]
    output = run(monkeypatch, capsys, in_loop, *arguments)
    assert "words is skipped: no numeric parameter is of all complete curves." in output
    for title in ("TPE, 1 worker: tiny", "TPE, 1 worker: other", "TPE, 1 worker: all 2 sets"):
        rows = table(output, title)
        assert [row[0] for row in rows] == [in_loop.label(name) for name in in_loop.NAMES]
        for _, *misses, mean, n_trials, stopped in rows:
            values = [float(miss.split(" ± ")[0]) for miss in misses]
            assert values == sorted(values, reverse=True)
            assert float(mean.split(" ± ")[0]) >= values[-1] - 0.01
            assert float(n_trials) >= 4
            n_stopped, n_new_best = stopped.split(" (")[0].split(" of ")
            assert 0.0 <= float(n_stopped) <= float(n_new_best)
        assert float(rows[0][-2]) == 4
        assert rows[0][-1].startswith("0.0 of ")


def test_more_workers_have_a_larger_budget(folder, monkeypatch, capsys):
    arguments = ["--curves", folder.parent, "--sets", "tiny", "--pruners", "none", "ours"]
    arguments += ["--samplers", "random", "--workers", 8, 16, "--budgets", 4, 8]
    output = run(monkeypatch, capsys, in_loop, *arguments, "--seeds", 1, "--jobs", 1)
    for n_workers in (8, 16):
        title = f"random search, {n_workers} workers: tiny"
        assert f"miss at {n_workers // 2}, % | miss at {n_workers}, %" in output.split(title)[1]
        for row in table(output, title):
            before, after = (float(cell.split(" ± ")[0]) for cell in row[1:3])
            assert after < before == 100.0  # All complete their first trainings together.


def test_real_trainings_are_searched_for_a_given_time(monkeypatch, capsys):
    names = ["none", "ours_predicted", in_loop_live.CHECKPOINT, in_loop_live.PAUSED]
    arguments = ["--objectives", "digits", "--pruners", *names]
    arguments += ["--seconds", 0.5, "--seeds", 1, "--jobs", 1]
    output = run(monkeypatch, capsys, in_loop_live, *arguments)
    title = "digits: validation cross-entropy, to minimize; 1 study a pruner"
    rows = table(output, title)
    labels = [*map(in_loop.label, names[:3]), "ours, paused in memory"]
    assert [row[0] for row in rows] == labels
    for name, (_, _, begun, completed, share, saving) in zip(names, rows, strict=True):
        assert float(begun) >= max(1.0, float(completed))
        assert (share == "") == (name == in_loop_live.PAUSED)
        assert 0.0 <= float(share.rstrip("%") or 0.0) < 100.0
        assert (float(saving.rstrip("%")) > 0.0) == (name == in_loop_live.CHECKPOINT)


@pytest.mark.parametrize("objective", ["digits", "text"])
def test_a_saved_training_goes_on_as_if_it_had_not_stopped(objective):
    family = in_loop_live.OBJECTIVES[objective]
    sizes = dataclasses.replace(family.sizes, n_train=64, n_valid=32, n_epochs=5)
    data = family.load(sizes)
    study = optuna.create_study(sampler=RandomSampler(seed=3))
    whole = list(family.train(study.ask(), data, sizes, 5))

    def begin(seed):
        study.enqueue_trial(study.trials[0].params)
        return family.train(study.ask(), data, sizes, seed)

    first = begin(5)
    values, state = [next(first), next(first)], first.state_dict()
    second = begin(6)
    second.load_state_dict(state)
    assert [*values, *second] == whole
