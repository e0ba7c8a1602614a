from __future__ import annotations

from contextlib import suppress
from html import escape
from importlib import resources
import os
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING
import uuid

import optuna_perfpred
from optuna_perfpred.dashboard._figures import drawings
from optuna_perfpred.dashboard._figures import drawn
from optuna_perfpred.dashboard._report_parts import describe_study
from optuna_perfpred.dashboard._report_parts import describe_tiles
from optuna_perfpred.dashboard._report_parts import explanations
from optuna_perfpred.dashboard._report_parts import table_of_audited
from optuna_perfpred.dashboard._words import tell
from optuna_perfpred.replay._comparison import comparison_table
from optuna_perfpred.replay._comparison import describe_recording
from optuna_perfpred.visualization import plot_replay
from optuna_perfpred.visualization import savings
from optuna_perfpred.visualization._drawing import import_to_plot
from optuna_perfpred.visualization._studies import check_single_objective


if TYPE_CHECKING:
    from collections.abc import Iterable
    from collections.abc import Mapping

    from optuna.study import Study
    import plotly.graph_objects as go

    from optuna_perfpred.dashboard._words import Paragraph
    from optuna_perfpred.replay import ReplayReport


# Nothing is fetched, whatever a study holds. Traces on WebGL are compiled as they are drawn.
_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; "
    "img-src data: blob:; base-uri 'none'; form-action 'none'"
)


def write_report(
    study: Study,
    path: str | Path,
    *,
    price_per_hour: float | None = None,
    replays: Mapping[str, ReplayReport] | None = None,
) -> None:
    """Write all that can be shown of a study into one page that opens without a network.

    Args:
        study:
            A single-objective study, finished or not. If its sampler is a
            :class:`~optuna_perfpred.QLearningSampler`, its policy is shown as well.
        path:
            The page. One that is there is replaced, at once and only by a whole one.
        price_per_hour:
            What an hour of one worker costs, in any currency.
        replays:
            Replays of the study (see :func:`~optuna_perfpred.replay.replay`), by the names of
            their pruners, to tell what others would have saved.

    Raises:
        ImportError:
            If plotly is not installed; names the extra to install.
        ValueError:
            If the study has several objectives, or the price is no price.
        OSError:
            If the page cannot be written.
    """
    check_single_objective(study)
    path = Path(path)
    if _is_stream(path):
        page = _make_report(study, price_per_hour, replays or {})
        path.write_text(page, encoding="utf-8")
        return
    path = path.resolve()  # A link stays one.
    if path.is_dir():
        raise IsADirectoryError(f"{str(path)!r} is a folder; give the name of a file.")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"There is no folder {str(path.parent)!r}.")
    _replace(path, _make_report(study, price_per_hour, replays or {}))


def _make_report(
    study: Study, price_per_hour: float | None, replays: Mapping[str, ReplayReport]
) -> str:
    offline = import_to_plot("plotly.offline")
    saved = savings(study, price_per_hour=price_per_hour)
    content = [
        describe_tiles(study, saved),
        _section("In words", _words(tell(study, price_per_hour=price_per_hour))),
    ]
    for drawing, figure in drawn(study, drawings(study.sampler)):
        content.append(_section(drawing.title, _figure(drawing.name, drawing.text, figure)))
    if replays:
        content.append(_section("What other pruners would have done", _replays(replays)))
    content.append(_section("Audited trials", table_of_audited(study)))
    content.append(_section("Why were they stopped?", explanations(study)))
    page = resources.files("optuna_perfpred.dashboard").joinpath("_report_page.html")
    return Template(page.read_text(encoding="utf-8")).substitute(
        policy=escape(_POLICY),
        title=escape(study.study_name),
        subtitle=escape(describe_study(study)),
        plotlyjs=offline.get_plotlyjs(),
        content="\n".join(part for part in content if part),
        version=escape(optuna_perfpred.__version__),
    )


def _section(title: str, html: str) -> str:
    return f"<section>\n<h2>{escape(title)}</h2>\n{html}\n</section>" if html else ""


def _figure(name: str, text: str, figure: go.Figure) -> str:
    html = figure.to_html(
        full_html=False,
        include_plotlyjs=False,
        div_id=name,
        config={"displaylogo": False, "responsive": True},
        default_height="100%",
    )
    return f'<p>{escape(text)}</p><div class="figure">{html}</div>'


def _replays(replays: Mapping[str, ReplayReport]) -> str:
    text = describe_recording(next(iter(replays.values())))
    figure = _figure("perfpred-replay", text, plot_replay(replays))
    return f"{figure}<pre>{escape(comparison_table(replays))}</pre>"


def _words(paragraphs: Iterable[Paragraph]) -> str:
    parts = []
    for paragraph in paragraphs:
        items = "".join(f"<li>{escape(item)}</li>" for item in paragraph.items)
        listed = f"<ul>{items}</ul>" if items else ""
        parts.append(
            f"<dt>{escape(paragraph.title)}</dt><dd>{escape(paragraph.text)}{listed}</dd>"
        )
    return f"<dl>{''.join(parts)}</dl>"


def _is_stream(path: Path) -> bool:
    """Tell whether a path is a pipe or a device, or stands for one of this process's files."""
    is_special = path.exists() and not path.is_file() and not path.is_dir()
    return is_special or path.absolute().parts[:2] in (("/", "dev"), ("/", "proc"))


def _replace(path: Path, text: str) -> None:
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}.partial")
    try:
        with partial.open("x", encoding="utf-8") as file:
            file.write(text)
        os.replace(partial, path)
    except BaseException:
        with suppress(OSError):
            partial.unlink()
        raise
