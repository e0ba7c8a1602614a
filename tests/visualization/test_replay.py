from __future__ import annotations

import numpy as np
import optuna
from optuna.pruners import NopPruner
import pytest

from optuna_perfpred.replay import replay
from optuna_perfpred.visualization import matplotlib
from optuna_perfpred.visualization import plot_replay
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


def test_both_figures_show_speed_up_and_regret_of_each_pruner_and_repeat(reports):
    figure, ax = plot_replay(reports), matplotlib.plot_replay(reports)
    title = "What pruners save and lose in replays of recorded"
    assert figure.layout.title.text == ax.get_title() == title
    labels = ["none", "wrong", "nothing (∞)"]
    marks = [trace for trace in figure.data if trace.showlegend is not False]
    assert [mark.name for mark in marks] == ax.get_legend_handles_labels()[1] == labels
    assert [mark.x[0] for mark in marks] == [report.speed_up for report in reports.values()]
    assert (marks[0].x[0], marks[0].y[0]) == (1.0, 0.0)
    regret = reports["wrong"].regret_iqr
    assert marks[1].y[0] ** 2 == pytest.approx(regret)
    assert f"regret {regret:.4g} IQR, best kept in 0% of 4" in marks[1].hovertemplate
    assert "regret inf IQR" in marks[2].hovertemplate
    repeats = [trace for trace in figure.data if trace.showlegend is False]
    assert [len(trace.x) for trace in repeats] == [4, 4, 4]
    assert list(repeats[1].x) == [repeat.speed_up for repeat in reports["wrong"].repeats]
    assert np.mean(repeats[1].customdata) == pytest.approx(regret)
    assert np.square(repeats[1].y) == pytest.approx(np.array(repeats[1].customdata))
    # An infinite regret is marked at the upper edge.
    assert max(repeats[1].y) < marks[2].y[0] <= figure.layout.yaxis.range[1]
    assert figure.layout.xaxis.type == ax.get_xscale() == "log"
    assert ax.get_xlim()[1] > reports["nothing"].speed_up
    places = [offset for c in ax.collections for offset in c.get_offsets().tolist()]
    assert len(places) == 3 * (4 + 1)
    assert [marks[1].x[0], marks[1].y[0]] in places


def test_one_report_several_without_names_and_none(reports):
    report = reports["wrong"]
    assert plot_replay(report).data[-1].name == "PruneAt"
    marks = [t for t in plot_replay([report, report]).data if t.showlegend is not False]
    assert [mark.name for mark in marks] == ["PruneAt", "PruneAt 2"]
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
