"""The shipped test cases hold for Optuna's own pruners: they ask for nothing of our own making."""

from __future__ import annotations

import functools

import optuna
from optuna.pruners import HyperbandPruner
from optuna.pruners import MedianPruner
from optuna.pruners import NopPruner
from optuna.pruners import PatientPruner
from optuna.pruners import PercentilePruner
from optuna.pruners import SuccessiveHalvingPruner
from optuna.pruners import ThresholdPruner
from optuna.pruners import WilcoxonPruner
import pytest

from optuna_perfpred.testing import ComparingPrunerTestCase
from optuna_perfpred.testing import IntervalStepsTestCase
from optuna_perfpred.testing import PrunerTestCase
from optuna_perfpred.testing import StartupTrialsTestCase
from optuna_perfpred.testing import ThreadsTestCase
from optuna_perfpred.testing import WarmupStepsTestCase


pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")


class TestNopPruner(PrunerTestCase, ThreadsTestCase):
    @pytest.fixture
    def pruner(self):
        return NopPruner


class TestMedianPruner(
    PrunerTestCase,
    ThreadsTestCase,
    ComparingPrunerTestCase,
    StartupTrialsTestCase,
    WarmupStepsTestCase,
    IntervalStepsTestCase,
):
    @pytest.fixture
    def pruner(self):
        return MedianPruner


class TestPercentilePruner(
    PrunerTestCase,
    ThreadsTestCase,
    ComparingPrunerTestCase,
    StartupTrialsTestCase,
    WarmupStepsTestCase,
    IntervalStepsTestCase,
):
    @pytest.fixture
    def pruner(self):
        return functools.partial(PercentilePruner, 25.0)


class TestSuccessiveHalvingPruner(PrunerTestCase, ThreadsTestCase):
    @pytest.fixture
    def pruner(self):
        return SuccessiveHalvingPruner


class TestHyperbandPruner(PrunerTestCase):
    @pytest.fixture
    def pruner(self):
        return HyperbandPruner


class TestPatientPruner(PrunerTestCase, ThreadsTestCase):
    @pytest.fixture
    def pruner(self):
        return functools.partial(PatientPruner, MedianPruner(), patience=1)


class TestThresholdPruner(
    PrunerTestCase, ThreadsTestCase, WarmupStepsTestCase, IntervalStepsTestCase
):
    @pytest.fixture
    def pruner(self):
        return functools.partial(ThresholdPruner, lower=-2.5, upper=2.5)


class TestWilcoxonPruner(PrunerTestCase, ThreadsTestCase, ComparingPrunerTestCase):
    @pytest.fixture
    def pruner(self):
        return WilcoxonPruner


def test_a_pruner_that_raises_fails_the_test_case():
    class RaisingPruner(optuna.pruners.BasePruner):
        def prune(self, study, trial):
            raise RuntimeError("harm")

    with pytest.raises(RuntimeError, match="harm"):
        PrunerTestCase().test_no_pruning_before_first_report(
            functools.partial(optuna.create_study, pruner=RaisingPruner())
        )
