from __future__ import annotations

from typing import Any
from typing import TYPE_CHECKING

import numpy as np
from optuna._transform import _SearchSpaceTransform
from optuna.distributions import CategoricalDistribution


if TYPE_CHECKING:
    from collections.abc import Mapping
    from collections.abc import Sequence

    from optuna.distributions import BaseDistribution

    from optuna_perfpred._arrays import Floats


_STEPS = (0.02, 0.1, 0.3)


class Points:
    """Parameters beside the layers as points of a cube; choices are one-hot.

    Args:
        search_space:
            The parameters.
        fixed:
            Values that some of them have already.
        rng:
            Draws points.
    """

    def __init__(
        self,
        search_space: Mapping[str, BaseDistribution],
        fixed: Mapping[str, Any],
        rng: np.random.Generator,
    ) -> None:
        self._transforms = {
            name: _SearchSpaceTransform({name: distribution}, transform_0_1=True)
            for name, distribution in search_space.items()
        }
        self._search_space = search_space
        ends = np.cumsum([len(t.bounds) for t in self._transforms.values()], dtype=int).tolist()
        self._columns = [slice(a, b) for a, b in zip([0, *ends], ends, strict=False)]
        self.n_columns = ends[-1] if ends else 0
        self.is_any_fixed = bool(fixed)
        self._fixed = fixed
        self._rng = rng

    def read(self, rows: Sequence[Mapping[str, Any]]) -> Floats:
        """Give parameters as points.

        Args:
            rows:
                Parameters of ``n`` trials. One that a trial lacks is in the middle.

        Returns:
            Points of shape ``(n, n_columns)``.
        """
        points = np.full((len(rows), self.n_columns), 0.5)
        for columns, (name, transform) in zip(
            self._columns, self._transforms.items(), strict=True
        ):
            distribution = self._search_space[name]
            for point, params in zip(points, rows, strict=True):
                if name in params and _contains(distribution, params[name]):
                    point[columns] = transform.transform({name: params[name]})
        return points

    def draw(self, n_points: int) -> Floats:
        """Draw points at random.

        Args:
            n_points:
                How many.
        """
        return self._fix(self._draw(n_points))

    def mutate(self, points: Floats) -> Floats:
        """Change some parameters of each point, numbers by a little.

        Args:
            points:
                Points of shape ``(n, n_columns)``.
        """
        sizes = self._rng.choice(_STEPS, size=(len(points), 1))
        moved = np.clip(points + sizes * self._rng.standard_normal(points.shape), 0.0, 1.0)
        drawn = self._draw(len(points))
        mutated = points.copy()
        for columns, distribution in zip(self._columns, self._search_space.values(), strict=True):
            changes = self._rng.uniform(size=len(points)) < 0.5
            is_choice = isinstance(distribution, CategoricalDistribution)
            mutated[changes, columns] = (drawn if is_choice else moved)[changes, columns]
        return self._fix(mutated)

    def chosen(self, params: Mapping[str, Any]) -> dict[str, Any] | None:
        """Give the parameters of the space; :obj:`None` if one is missing or out of range."""
        if all(n in params and _contains(d, params[n]) for n, d in self._search_space.items()):
            return {name: params[name] for name in self._search_space}
        return None

    def params(self, point: Floats) -> dict[str, Any]:
        """Give a point as parameters."""
        params = dict(self._fixed)
        for columns, (name, transform) in zip(
            self._columns, self._transforms.items(), strict=True
        ):
            if name not in params:
                value = transform.untransform(point[columns])[name]
                params[name] = value.item() if isinstance(value, np.generic) else value
        return params

    def _draw(self, n_points: int) -> Floats:
        points = self._rng.uniform(size=(n_points, self.n_columns))
        for columns, distribution in zip(self._columns, self._search_space.values(), strict=True):
            if isinstance(distribution, CategoricalDistribution):
                choices = points[:, columns].argmax(axis=1)
                points[:, columns] = np.eye(len(distribution.choices))[choices]
        return points

    def _fix(self, points: Floats) -> Floats:
        if self._fixed:
            of_fixed = self.read([self._fixed])[0]
            for columns, name in zip(self._columns, self._search_space, strict=True):
                if name in self._fixed:
                    points[:, columns] = of_fixed[columns]
        return points


def _contains(distribution: BaseDistribution, value: Any) -> bool:
    try:
        return distribution._contains(distribution.to_internal_repr(value))
    except ValueError:  # Another type.
        return False
