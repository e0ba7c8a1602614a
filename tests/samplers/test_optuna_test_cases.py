from __future__ import annotations

from optuna.testing.pytest_samplers import BasicSamplerTestCase
from optuna.testing.pytest_samplers import MultiObjectiveSamplerTestCase
from optuna.testing.pytest_samplers import RelativeSamplerTestCase
from optuna.testing.pytest_samplers import SingleOnlySamplerTestCase
import pytest

from optuna_perfpred import ArchitectureSampler
from optuna_perfpred import QLearningSampler
from tests.samplers.searches import SPACE


class TestQLearningSampler(BasicSamplerTestCase, SingleOnlySamplerTestCase):
    """Optuna's own tests of samplers, unmodified."""

    @pytest.fixture
    def sampler(self):
        return lambda: QLearningSampler(SPACE)


class TestArchitectureSampler(
    BasicSamplerTestCase, RelativeSamplerTestCase, MultiObjectiveSamplerTestCase
):
    """The same."""

    @pytest.fixture
    def sampler(self):
        return lambda: ArchitectureSampler(SPACE, n_startup_trials=3)
