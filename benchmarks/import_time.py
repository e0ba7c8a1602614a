"""What `import optuna_perfpred` costs beside `import optuna` and scikit-learn.

    python benchmarks/import_time.py

Seconds of CPU, the least of several fresh processes: what else the machine does hardly counts.
"""

from __future__ import annotations

import resource
import subprocess
import sys


N_TIMES = 5
IMPORTS = {
    "optuna and sklearn": "import optuna, sklearn",
    "with the parts we use": "import optuna, sklearn.linear_model, sklearn.ensemble, sklearn.svm",
    "optuna_perfpred": "import optuna_perfpred",
}


def cpu_seconds(code: str) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", code], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    started = min(cpu_seconds("pass") for _ in range(N_TIMES))
    seconds = {
        name: min(cpu_seconds(code) for _ in range(N_TIMES)) - started
        for name, code in IMPORTS.items()
    }
    ours = seconds["optuna_perfpred"]
    for name, spent in seconds.items():
        print(f"{name:24} {spent:6.2f} s   ours is {ours / spent:.2f} times that")


if __name__ == "__main__":
    main()
