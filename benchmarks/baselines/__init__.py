"""Predictors that others have published, which ours are compared with.

What lies in ``benchmarks`` imports them as ``baselines``; the extra of that name installs what
they need.
"""

from baselines._bayesian_curve_network import BayesianCurveNetwork
from baselines._in_context import InContextPredictor
from baselines._last_seen_value import LastSeenValue
from baselines._parametric_ensemble import ParametricEnsemble


__all__ = ["BayesianCurveNetwork", "InContextPredictor", "LastSeenValue", "ParametricEnsemble"]
