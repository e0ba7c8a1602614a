from optuna_perfpred import ArchitectureSampler


__all__ = ["ArchitectureSampler"]
