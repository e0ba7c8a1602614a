from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from sklearn.feature_extraction import DictVectorizer
from sklearn.impute import SimpleImputer


if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from optuna_perfpred.history._records import Configuration


# A positive attribute that spans two decades, such as a number of weights, is a quantity of
# scale: its logarithm is what relates to performance.
_LOG_RATIO = 100.0


class ConfigurationEncoder:
    """Encode configurations as rows of a finite matrix.

    Columns are learned from the configurations given to :meth:`fit`: one for each number, one for
    each choice that was seen (one-hot), and, for each number that some of them lack (a
    conditional parameter, or one that appeared later in the study), one that tells its absence. A
    number that is absent takes its mean. What :meth:`fit` did not see is ignored by
    :meth:`transform`.
    """

    def __init__(self) -> None:
        self._numbers: list[str] = []
        self._log_attrs: list[str] = []
        self._vectorizer: DictVectorizer | None = None
        self._imputer: SimpleImputer | None = None

    def fit(self, configurations: Sequence[Configuration]) -> ConfigurationEncoder:
        """Learn the columns.

        Args:
            configurations:
                Configurations as given by :func:`~optuna_perfpred.history.read_configuration`.

        Returns:
            The encoder itself.
        """
        values: dict[str, list[float]] = {}
        for configuration in configurations:
            for name, value in configuration.items():
                if not isinstance(value, str):
                    values.setdefault(name, []).append(value)
        self._numbers = sorted(values)
        self._log_attrs = [
            name
            for name in self._numbers
            if name.startswith("attr ")
            and min(values[name]) > 0.0
            and max(values[name]) >= _LOG_RATIO * min(values[name])
        ]
        self._vectorizer = self._imputer = None
        if not any(configurations):
            return self
        self._vectorizer = DictVectorizer(sparse=False)
        matrix = self._vectorizer.fit_transform([self._complete(c) for c in configurations])
        self._imputer = SimpleImputer(add_indicator=True).fit(matrix)
        return self

    def transform(self, configurations: Sequence[Configuration]) -> npt.NDArray[np.float64]:
        """Encode configurations.

        Args:
            configurations:
                ``n`` configurations.

        Returns:
            A finite matrix of shape ``(n, d)``; ``d`` is 0 if no feature was seen by :meth:`fit`.
        """
        if self._vectorizer is None or self._imputer is None:
            return np.empty((len(configurations), 0))
        matrix = self._vectorizer.transform([self._complete(c) for c in configurations])
        encoded: npt.NDArray[np.float64] = self._imputer.transform(matrix)
        return encoded

    def _complete(self, configuration: Configuration) -> dict[str, float | str]:
        completed: dict[str, float | str] = dict.fromkeys(self._numbers, np.nan)
        completed.update(configuration)
        for name in self._log_attrs:
            value = completed[name]
            assert not isinstance(value, str)
            completed[name] = float(np.log(value)) if value > 0.0 else np.nan
        return completed
