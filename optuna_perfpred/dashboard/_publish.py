from __future__ import annotations

from typing import TYPE_CHECKING

from optuna_perfpred.dashboard._figures import as_panel
from optuna_perfpred.dashboard._figures import drawings
from optuna_perfpred.dashboard._figures import drawn
from optuna_perfpred.dashboard._imports import import_optuna_dashboard
from optuna_perfpred.dashboard._note import with_section
from optuna_perfpred.dashboard._words import as_markdown
from optuna_perfpred.dashboard._words import tell
from optuna_perfpred.visualization._studies import check_single_objective


if TYPE_CHECKING:
    from optuna.study import Study


def publish_figures(study: Study) -> None:
    """Write our figures and a note into a study, where any optuna-dashboard shows them.

    The figures replace those of the last call. The note tells what was saved, what was risked
    and which trials were audited; it is a section of the study's note, and what a person wrote
    above and below it is kept. optuna-dashboard stores a figure in pieces of 2 kB, each written by
    itself: this takes some seconds on a database, and a browser that reads meanwhile may leave
    out a figure until it reads again. So let only one process publish, and not often: at the end
    of a study, or on a host that runs no worker. ``optuna-perfpred dashboard`` shows the same
    figures, kept current, without writing anything.

    Example:

        .. code-block:: python

            study.optimize(objective, n_trials=100)
            publish_figures(study)

    Args:
        study:
            A single-objective study in any storage. If its sampler is a
            :class:`~optuna_perfpred.QLearningSampler`, its policy is shown as well.

    Raises:
        ImportError:
            If optuna-dashboard or plotly is not installed; names the extra to install.
        ValueError:
            If the study has several objectives.
    """
    dashboard = import_optuna_dashboard()
    check_single_objective(study)
    for drawing, figure in drawn(study, drawings(study.sampler)):
        dashboard.save_plotly_graph_object(study, as_panel(figure), graph_object_id=drawing.name)
    text = as_markdown(tell(study))
    # Read and written at once, so that next to no edit in a browser can come between.
    dashboard.save_note(study, with_section(dashboard.get_note(study), text))
