"""Draw the learning curves of the quickstart: stopped ones go on to their forecast.

pip install ".[plot]"
python examples/quickstart.py && python examples/plot_quickstart.py quickstart.svg
"""

from __future__ import annotations

import argparse

import matplotlib.pyplot as plt
import optuna
from optuna.trial import TrialState


BLUE, ORANGE = "#0072b2", "#d55e00"  # Told apart with every kind of colour vision.


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output")
    parser.add_argument("--storage", default="sqlite:///quickstart.db")
    args = parser.parse_args()
    plt.rcParams.update({"svg.hashsalt": "quickstart", "svg.fonttype": "none"})

    study = optuna.load_study(study_name="digits", storage=args.storage)
    horizon = max(t.last_step for t in study.trials if t.state == TrialState.COMPLETE)
    figure, axes = plt.subplots(figsize=(8, 4), layout="constrained")
    for trial in study.trials:
        steps, values = zip(*sorted(trial.intermediate_values.items()), strict=True)
        if trial.state == TrialState.COMPLETE:
            axes.plot(steps, values, color=BLUE, alpha=0.5, linewidth=1)
        elif trial.state == TrialState.PRUNED:
            predicted = trial.user_attrs["perfpred:predicted_value"]
            axes.plot(steps, values, color=ORANGE, linewidth=1)
            axes.plot(steps[-1], values[-1], "o", color=ORANGE, markersize=3)
            axes.plot(
                [steps[-1], horizon],
                [values[-1], predicted],
                color=ORANGE,
                alpha=0.4,
                linewidth=0.8,
                linestyle="dotted",
            )
    axes.axhline(study.best_value, color="black", linewidth=0.8, linestyle="dashed")
    axes.plot([], [], color=BLUE, label="trained to the end")
    axes.plot([], [], "o-", color=ORANGE, markersize=3, label="stopped")
    axes.plot([], [], color=ORANGE, linestyle="dotted", label="forecast when stopped")
    axes.plot([], [], color="black", linestyle="dashed", label="best value")
    axes.set(xlabel="epoch", ylabel="validation accuracy", xlim=(0, horizon), ylim=(0, 1))
    axes.legend(loc="lower right")
    figure.savefig(args.output, metadata={"Date": None})


if __name__ == "__main__":
    main()
