"""Small folders of recorded curves."""

from __future__ import annotations

import json

import numpy as np

from tests.pruners.studies import N_STEPS


def write_set(folder, seed, n_curves=60):
    """Curves that end at random qualities after learning at random speeds."""
    rng = np.random.default_rng(seed)
    folder.mkdir()
    quality, speed = rng.uniform(size=(2, n_curves))
    curves = quality[:, None] * (1 - np.exp(-5 * speed[:, None] * np.linspace(0.05, 1, N_STEPS)))
    (folder / "meta.json").write_text(json.dumps({"direction": "maximize"}))
    header = ",".join(map(str, range(1, N_STEPS + 1)))
    rows = [",".join(map(str, [i, *curve.tolist()])) for i, curve in enumerate(curves)]
    (folder / "curves.csv").write_text("\n".join([f"curve_id,{header}", *rows]))
    rows = [f"{i},{q}" for i, q in enumerate(quality)]
    (folder / "configs.csv").write_text("\n".join(["curve_id,quality", *rows]))
