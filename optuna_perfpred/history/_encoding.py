from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np


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
        self._columns: dict[str, int] = {}
        self._log_attrs: set[str] = set()
        self._means: npt.NDArray[np.float64] | None = None
        self._incomplete = np.empty(0, dtype=np.intp)
        self._is_number = np.empty(0, dtype=bool)

    def fit(self, configurations: Sequence[Configuration]) -> ConfigurationEncoder:
        """Learn the columns.

        Args:
            configurations:
                Configurations as given by :func:`~optuna_perfpred.history.read_configuration`.

        Returns:
            The encoder itself.
        """
        values: dict[str, list[float]] = {}
        choices = set()
        for configuration in configurations:
            for name, value in configuration.items():
                if isinstance(value, str):
                    choices.add(f"{name}={value}")
                else:
                    values.setdefault(name, []).append(value)
        self._log_attrs = {
            name
            for name in values
            if name.startswith("attr ")
            and min(values[name]) > 0.0
            and max(values[name]) >= _LOG_RATIO * min(values[name])
        }
        self._columns = {name: column for column, name in enumerate(sorted([*values, *choices]))}
        self._is_number = np.array([name in values for name in self._columns], dtype=bool)
        matrix = self._fill(configurations)
        self._incomplete = np.flatnonzero(np.isnan(matrix).any(axis=0))
        self._means = np.nanmean(matrix, axis=0) if self._columns else None
        return self

    def transform(self, configurations: Sequence[Configuration]) -> npt.NDArray[np.float64]:
        """Encode configurations.

        Args:
            configurations:
                ``n`` configurations.

        Returns:
            A finite matrix of shape ``(n, d)``; ``d`` is 0 if no feature was seen by :meth:`fit`.
        """
        if self._means is None:
            return np.empty((len(configurations), 0))
        matrix = self._fill(configurations)
        absent = np.isnan(matrix)
        return np.hstack([np.where(absent, self._means, matrix), absent[:, self._incomplete]])

    def _fill(self, configurations: Sequence[Configuration]) -> npt.NDArray[np.float64]:
        """Give a row each, NaN where a number is absent and 0 where a choice is another one."""
        matrix = np.zeros((len(configurations), len(self._columns)))
        matrix[:, self._is_number] = np.nan
        for row, configuration in zip(matrix, configurations, strict=True):
            columns, numbers = [], []
            for name, value in configuration.items():
                if isinstance(value, str):
                    column, value = self._columns.get(f"{name}={value}"), 1.0
                else:
                    column = self._columns.get(name)
                if column is not None:
                    columns.append(column)
                    numbers.append(value)
            row[columns] = numbers
        for name in self._log_attrs:
            column = self._columns[name]
            matrix[:, column] = np.log(
                matrix[:, column], where=matrix[:, column] > 0.0, out=np.full(len(matrix), np.nan)
            )
        return matrix
