"""Optuna's own tests of samplers, unmodified."""

from __future__ import annotations

from optuna.samplers import CmaEsSampler
from optuna.samplers import GPSampler
from optuna.samplers import NSGAIISampler
from optuna.samplers import QMCSampler
from optuna.samplers import RandomSampler
from optuna.samplers import TPESampler
from optuna.testing.pytest_samplers import BasicSamplerTestCase
from optuna.testing.pytest_samplers import MultiObjectiveSamplerTestCase
from optuna.testing.pytest_samplers import RelativeSamplerTestCase
from optuna.testing.pytest_samplers import SingleOnlySamplerTestCase
import pytest

from optuna_perfpred import PredictedValueSampler


class TestWithRandom(BasicSamplerTestCase, MultiObjectiveSamplerTestCase):
    @pytest.fixture
    def sampler(self):
        return lambda: PredictedValueSampler(RandomSampler())


class TestWithTPE(BasicSamplerTestCase, RelativeSamplerTestCase, MultiObjectiveSamplerTestCase):
    @pytest.fixture
    def sampler(self):
        return lambda: PredictedValueSampler(TPESampler(n_startup_trials=0))


class TestWithGroupTPE(BasicSamplerTestCase):
    @pytest.fixture
    def sampler(self):
        return lambda: PredictedValueSampler(TPESampler(n_startup_trials=2, group=True))


class TestWithNSGAII(BasicSamplerTestCase, MultiObjectiveSamplerTestCase):
    @pytest.fixture
    def sampler(self):
        return lambda: PredictedValueSampler(NSGAIISampler())


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
class TestWithQMC(BasicSamplerTestCase, MultiObjectiveSamplerTestCase):
    @pytest.fixture
    def sampler(self):
        return lambda: PredictedValueSampler(QMCSampler())


class TestWithCmaEs(BasicSamplerTestCase, SingleOnlySamplerTestCase):
    @pytest.fixture
    def sampler(self):
        return lambda: PredictedValueSampler(CmaEsSampler(n_startup_trials=0))


class TestWithGP(MultiObjectiveSamplerTestCase):
    """Sampling from Gaussian processes takes the rest too long."""

    @pytest.fixture
    def sampler(self):
        return lambda: PredictedValueSampler(GPSampler(n_startup_trials=0))

    test_dynamic_range_objective = BasicSamplerTestCase.test_dynamic_range_objective
    test_conditional_parameter_objective = (
        BasicSamplerTestCase.test_conditional_parameter_objective
    )
    test_nan_objective_value = BasicSamplerTestCase.test_nan_objective_value
    test_partial_fixed_sampling = BasicSamplerTestCase.test_partial_fixed_sampling
    test_sample_relative_categorical = RelativeSamplerTestCase.test_sample_relative_categorical
