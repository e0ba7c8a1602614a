"""Tell whether a wheel holds what it must, and nothing else: check_wheel.py WHEEL."""

from __future__ import annotations

from pathlib import Path
import sys
import zipfile


MAX_BYTES = 600_000
NEEDED = {
    "optuna_perfpred/__init__.py",
    "optuna_perfpred/py.typed",
    "optuna_perfpred/forecasts/stopping_rule.npz",
    "optuna_perfpred/dashboard/_report_page.html",
}


def faults(wheel: Path) -> list[str]:
    """Give what is wrong, in words."""
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    others = sorted(
        name
        for name in names
        if name.split("/")[0] != "optuna_perfpred"
        and not name.split("/")[0].endswith(".dist-info")
    )
    size = wheel.stat().st_size
    return [
        *(f"{name} is missing." for name in sorted(NEEDED - names)),
        *(f"{name} does not belong there." for name in others),
        *([f"It has {size:,} bytes, more than {MAX_BYTES:,}."] if size > MAX_BYTES else []),
    ]


def main() -> None:
    """Print what is wrong with a wheel, and fail if something is."""
    [name] = sys.argv[1:]
    found = faults(Path(name))
    print(*found, sep="\n")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
