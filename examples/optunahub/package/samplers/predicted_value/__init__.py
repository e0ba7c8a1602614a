from optuna_perfpred import PredictedValueSampler


__all__ = ["PredictedValueSampler"]
