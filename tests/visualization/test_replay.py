from __future__ import annotations

import math

import numpy as np
import optuna
from optuna.pruners import NopPruner
import pytest

from optuna_perfpred.replay import replay
from optuna_perfpred.visualization import matplotlib
from optuna_perfpred.visualization import plot_replay
from optuna_perfpred.visualization._replay import _get_replay_info
from tests.pruners.studies import AlwaysPruner
from tests.replay.studies import crossing_curves
from tests.replay.studies import PruneAt
from tests.replay.studies import recorded_study


@pytest.fixture(scope="module", params=["maximize", "minimize"])
def reports(request):
    curves = crossing_curves()
    study = recorded_study(curves, direction=request.param, study_name="recorded")
    best = int(np.argmax(curves[:, -1]))
    pruners = {
        "none": NopPruner(),
        "wrong": PruneAt({round(best / len(curves), 6): 2}),
        "nothing": AlwaysPruner(),
    }
    return {
        name: replay(study, pruner, n_repeats=4, order="random", seed=0)
        for name, pruner in pruners.items()
    }


def test_speed_up_and_regret_of_each_pruner_and_repeat(reports):
    none, wrong, nothing = _get_replay_info(reports)
    assert (none.name, none.speed_up, none.regret, none.best_kept) == ("none", 1.0, 0.0, 1.0)
    report = reports["wrong"]
    assert (wrong.speed_up, wrong.regret) == (report.speed_up, report.regret_iqr)
    assert 0.0 < wrong.regret < math.inf
    assert np.mean([regret for _, regret in wrong.repeats]) == pytest.approx(wrong.regret)
    assert [speed for speed, _ in wrong.repeats] == [r.speed_up for r in report.repeats]
    assert nothing.regret == math.inf


def test_both_figures_have_the_same_content(reports):
    pruners = _get_replay_info(reports)
    figure, ax = plot_replay(reports), matplotlib.plot_replay(reports)
    title = "What pruners save and lose in replays of recorded"
    assert figure.layout.title.text == ax.get_title() == title
    labels = ["none", "wrong", "nothing (∞)"]
    marks = [trace for trace in figure.data if trace.showlegend is not False]
    assert [mark.name for mark in marks] == ax.get_legend_handles_labels()[1] == labels
    assert [mark.x[0] for mark in marks] == [pruner.speed_up for pruner in pruners]
    assert marks[1].y[0] ** 2 == pytest.approx(pruners[1].regret)
    # An infinite regret is marked at the upper edge.
    top = max(regret for _, regret in pruners[1].repeats)
    assert top < marks[2].y[0] ** 2 <= figure.layout.yaxis.range[1] ** 2
    repeats = [trace for trace in figure.data if trace.showlegend is False]
    assert [len(trace.x) for trace in repeats] == [4, 4, 4]
    assert figure.layout.xaxis.type == ax.get_xscale() == "log"
    assert ax.get_xlim()[1] > pruners[2].speed_up
    places = [offset for c in ax.collections for offset in c.get_offsets().tolist()]
    assert len(places) == 3 * (4 + 1)
    assert [marks[1].x[0], marks[1].y[0]] in places


def test_one_report_several_without_names_and_none(reports):
    report = reports["wrong"]
    (one,) = _get_replay_info(report)
    assert one.name == "PruneAt"
    names = [pruner.name for pruner in _get_replay_info([report, report])]
    assert names == ["PruneAt", "PruneAt 2"]
    for none in ([], {}):
        assert plot_replay(none).layout.annotations[0].text == "There is no report of a replay."
        (text,) = matplotlib.plot_replay(none).texts
        assert text.get_text() == "There is no report of a replay."


@pytest.mark.parametrize("plot", [plot_replay, matplotlib.plot_replay])
def test_what_is_no_report_is_refused(plot):
    study = optuna.create_study()
    for wrong in ([study], {"study": study}):
        with pytest.raises(ValueError, match="must hold replay reports"):
            plot(wrong)
