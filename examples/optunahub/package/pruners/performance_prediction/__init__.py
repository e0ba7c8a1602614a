from optuna_perfpred import PerformancePredictionPruner


__all__ = ["PerformancePredictionPruner"]
