from __future__ import annotations

import pytest

from optuna_perfpred import PerformancePredictionPruner
from optuna_perfpred.testing import ComparingPrunerTestCase
from optuna_perfpred.testing import IntervalStepsTestCase
from optuna_perfpred.testing import PrunerTestCase
from optuna_perfpred.testing import StartupTrialsTestCase
from optuna_perfpred.testing import ThreadsTestCase
from optuna_perfpred.testing import WarmupStepsTestCase


# A failed forecast is survived with a warning; here it is a failed test.
pytestmark = pytest.mark.filterwarnings("error:The trial is not pruned")


class TestPerformancePredictionPruner(
    PrunerTestCase,
    ThreadsTestCase,
    ComparingPrunerTestCase,
    StartupTrialsTestCase,
    WarmupStepsTestCase,
    IntervalStepsTestCase,
):
    @pytest.fixture
    def pruner(self):
        return PerformancePredictionPruner
