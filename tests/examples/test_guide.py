"""The guide to spaces of one's own does what it says."""

from __future__ import annotations

from pathlib import Path
import re
import sys
import types

import torch

from optuna_perfpred.nas import Architecture


GUIDE = Path(__file__).parents[2] / "examples" / "README.md"


def test_a_space_of_ones_own_is_searched_as_the_guide_says(monkeypatch):
    section = GUIDE.read_text(encoding="utf-8").split("## Search a space of your own")[1]
    code = re.findall(r"```python\n(.*?)```", section, re.DOTALL)[0]
    body = [line for line in code.split("space.suggest")[0].splitlines() if line]
    assert len(body[body.index("@dataclass(frozen=True)") :]) <= 30

    def train_and_validate(network: torch.nn.Module, learning_rate: float) -> float:
        logits = network(torch.rand(2, 1, 28, 28))
        assert logits.shape == (2, 10)
        return sum(p.numel() for p in network.parameters()) - 1e4 * learning_rate

    guide = types.ModuleType("guide")
    monkeypatch.setitem(sys.modules, "guide", guide)  # Dataclasses look up their module.
    guide.train_and_validate = train_and_validate
    exec(compile(code, str(GUIDE), "exec"), guide.__dict__)
    study, space = guide.study, guide.space
    networks = [space.parse(trial.user_attrs["architecture"]) for trial in study.trials]
    assert len(networks) == 30
    assert all(isinstance(network, Architecture) for network in networks)
    assert max(network.num_weights for network in networks) <= 40_000
    assert any("Grouped(" in str(network) for network in networks)
    assert study.best_value > 30_000
    assert space.params("[S(16,3,1), Grouped(4), GP(), L(10)]")
