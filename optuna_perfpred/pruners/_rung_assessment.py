from __future__ import annotations

from dataclasses import dataclass

from optuna_perfpred.pruners._assessment import Assessment


@dataclass(frozen=True)
class RungAssessment(Assessment):
    """What is foreseen of a running trial at the end of its rung.

    Attributes:
        predicted_value:
            The mean of the forecast of the value at the rung's horizon.
        probability:
            The probability that the value will be at least the reference.
        probability_of_beating_best:
            The same.
        horizon:
            The step at which the rung ends.
        n_results:
            The number of results that the rung has.
        result:
            What counts as the trial's own result.
    """

    horizon: int
    n_results: int
    result: float

    @property
    def reason(self) -> str:
        """The assessment in one sentence."""
        return (
            f"At step {self.step} it is predicted to reach {self.predicted_value:.4g} ± "
            f"{self.predicted_std:.2g} at step {self.horizon}; its chance to be among the best "
            f"{self.rank} of the {self.n_results} trials of its rung, at {self.reference:.4g}, is "
            f"{100.0 * self.probability:.2g} %."
        )
