"""Draw the learning curves of the quickstart: stopped ones go on to their forecast.

pip install ".[plot]"
python examples/quickstart.py && python examples/plot_quickstart.py quickstart.svg
"""

from __future__ import annotations

import argparse

import matplotlib.pyplot as plt
import optuna

from optuna_perfpred.visualization.matplotlib import plot_forecasts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output")
    parser.add_argument("--storage", default="sqlite:///quickstart.db")
    args = parser.parse_args()
    # The same picture from the same study, with text that is text.
    plt.rcParams.update({"svg.hashsalt": "quickstart", "svg.fonttype": "none"})

    study = optuna.load_study(study_name="digits", storage=args.storage)
    axes = plot_forecasts(study)
    axes.set(xlabel="epoch", ylabel="validation accuracy", ylim=(0, 1))
    axes.figure.savefig(args.output, metadata={"Date": None})


if __name__ == "__main__":
    main()
