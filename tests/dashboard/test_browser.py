from __future__ import annotations

import optuna
import pytest

from optuna_perfpred.dashboard import publish_figures
from optuna_perfpred.dashboard import write_report
from optuna_perfpred.replay import replay
from tests.dashboard.browser import chromium
from tests.dashboard.browser import dashboard
from tests.dashboard.browser import Page
from tests.dashboard.browser import served_alone
from tests.dashboard.studies import make_study
from tests.dashboard.studies import writing_workers


FIGURES = ("perfpred-forecasts", "perfpred-savings", "perfpred-calibration")
# The figure, once it is drawn: its number of points and whether they are seen.
DRAWN = """([id, than]) => {
    const figure = document.getElementById(id);
    if (!figure || !figure.data || !figure.querySelector(".scatterlayer path")) return false;
    if (figure.getBoundingClientRect().height < 100) return false;
    const points = figure.data.reduce((n, trace) => n + (trace.x ? trace.x.length : 0), 0);
    return points > than && points;
}"""


@pytest.fixture(scope="module")
def browser():
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def storage(tmp_path_factory):
    url = f"sqlite:///{tmp_path_factory.mktemp('live') / 'study.db'}"
    make_study(url)
    return url


def test_a_live_study_is_shown_while_workers_write(browser, storage):
    page = Page(browser)
    with writing_workers(storage), dashboard(storage=storage) as server:
        page.page.goto(f"{server.url}/dashboard/studies/1")
        points = {name: page.wait(DRAWN, f"user-defined-plot:{name}", 0) for name in FIGURES}
        # The page looks for news by itself.
        for name in FIGURES[:2]:
            page.wait(DRAWN, f"user-defined-plot:{name}", points[name])

        page.page.goto(f"{server.url}/dashboard/studies/1/note")
        page.page.get_by_text("What pruning did").wait_for()
        text = page.page.locator("body").inner_text()
        assert "of the training" in text
        assert "[//]" not in text

        page.page.goto(f"{server.url}/dashboard/studies/1/smartSelection")
        header = "UserAttribute perfpred:predicted_value"
        column = page.page.get_by_role("columnheader", name=header)
        column.locator(".MuiTableSortLabel-root").click()
        descending = """([header]) => {
            const names = [...document.querySelectorAll("th")].map(cell => cell.innerText);
            const at = names.findIndex(name => name.startsWith(header));
            const cells = [...document.querySelectorAll("tbody tr")].map(row => row.cells[at]);
            const values = cells.map(cell => cell.innerText).filter(text => text).map(Number);
            const sorted = values.every((value, i) => i == 0 || values[i - 1] >= value);
            return values.length > 1 && sorted && values;
        }"""
        values = page.wait(descending, header)
    assert len(set(values)) > 1
    assert page.errors == []


def test_what_was_published_is_shown_by_the_dashboard_alone(browser):
    study = make_study()
    publish_figures(study)
    page = Page(browser)
    with served_alone(study._storage) as url:
        page.page.goto(f"{url}/dashboard/studies/{study._study_id}")
        for name in FIGURES:
            page.wait(DRAWN, f"user-defined-plot:{name}", 0)
    assert page.errors == []


ATTACK = '</script><script>window.hacked = 1</script><img src=x onerror="window.hacked = 1">'


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_the_report_opens_without_a_network(browser, tmp_path):
    study = make_study(name=f"cnn {ATTACK}")
    study.set_metric_names([ATTACK])
    pruned = study.get_trials(states=[optuna.trial.TrialState.PRUNED])[-1]
    pruned.user_attrs["perfpred:reason"] = ATTACK
    study.add_trial(pruned)
    path = tmp_path / "report.html"
    write_report(study, path, replays={ATTACK: replay(study, optuna.pruners.MedianPruner())})
    page = Page(browser, offline=True)
    page.page.goto(path.as_uri())
    for name in (*FIGURES, "perfpred-replay"):
        page.wait(DRAWN, name, 0)
    # The image of an attack would take a moment to fail.
    page.page.wait_for_load_state("networkidle")
    assert page.page.evaluate("window.hacked") is None
    assert page.page.locator("h1").inner_text() == f"cnn {ATTACK}"
    text = page.page.locator("body").inner_text()
    assert f"Trial {len(study.trials) - 1}, one of the latest" in text
    assert page.requests == [path.as_uri()]
    assert page.errors == []
