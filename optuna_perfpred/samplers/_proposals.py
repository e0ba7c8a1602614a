from __future__ import annotations

import random
from typing import Any
from typing import NamedTuple
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import norm
from scipy.stats import rankdata

from optuna_perfpred.samplers._points import Points
from optuna_perfpred.samplers._reward_model import RewardModel


if TYPE_CHECKING:
    from collections.abc import Mapping
    from collections.abc import Sequence

    import numpy.typing as npt
    from optuna.distributions import BaseDistribution

    from optuna_perfpred._arrays import Floats
    from optuna_perfpred.samplers._network_features import NetworkFeatures
    from optuna_perfpred.samplers._network_graph import Network
    from optuna_perfpred.samplers._network_graph import NetworkGraph
    from optuna_perfpred.samplers._observations import Observation


# What a proposal at 1,000 trials may cost, 50 ms, sets these numbers. See benchmarks/nas_cost.py.
_N_LEARNED = 400
_N_CHOOSING = 120
_N_MUTANTS = 400
_N_RANDOM = 200
_N_ROUNDS = 4
_N_CLIMBERS = 5
_N_NEIGHBOURS = 150

_N_PARENTS = 15
_P_CROSSOVER = 0.15
_P_REPLACED = 0.6
_MOST_CHANGES = 2

# A proposal maximises the mean plus so many standard deviations at most: some look where the most
# is expected, some where the least is known, and workers that ask at once at different places.
_MOST_OPTIMISM = 3.0

# Trainings differ by chance, so that of many networks the one with the best value is a lucky one.
# With so many values the model may rather have a network trained again than another one, unless
# so many gave what they gave before, and none gave anything else: then there is no luck.
_N_BEFORE_AGAIN = 80
_N_EQUAL = 2
# One step ahead, what another network teaches of those like it is worth nothing: it counts twice.
_WORTH_OF_NEW = 2.0

# Below all normal scores that occur.
_WORST = -6.0


class Proposal(NamedTuple):
    """What a trial is to try.

    Attributes:
        network:
            The layers.
        params:
            The other parameters.
    """

    network: Network
    params: Mapping[str, Any]


class Candidates(NamedTuple):
    """Imagined trials.

    Attributes:
        networks:
            Their layers.
        points:
            Their other parameters, each in [0, 1], choices one-hot. Shape: ``(n, d)``.
    """

    networks: list[Network]
    points: Floats


class Proposer:
    """Proposes what is to be tried next: a function of what is observed and of a seed.

    Args:
        graph:
            The graph of the space.
        features:
            Describes networks.
        search_space:
            The parameters beside the layers.
        fixed:
            Those of them that have their value already.
        prefix:
            The layers that are chosen already.
        with_network:
            Whether trials have layers.
        seed:
            Seeds of the proposal.
    """

    def __init__(
        self,
        graph: NetworkGraph,
        features: NetworkFeatures,
        search_space: Mapping[str, BaseDistribution],
        *,
        fixed: Mapping[str, Any],
        prefix: Network,
        with_network: bool,
        seed: Sequence[int],
    ) -> None:
        self._graph = graph
        self._features = features
        self._prefix = prefix
        self._with_network = with_network
        self._scale: npt.NDArray[np.float32] | None = None
        self._rng = random.Random(repr(tuple(seed)))
        self._numpy_rng = np.random.default_rng(list(seed))
        self._points = Points(search_space, fixed, self._numpy_rng)

    def draw(self) -> Proposal:
        """Draw at random."""
        return self._proposal(self._draw(1), 0)

    def propose(self, observations: Sequence[Observation]) -> Proposal:
        """Propose what a model of the values deems best.

        Args:
            observations:
                What is known, at least one of which has values.
        """
        learned, rows, targets, choosing = self._learn(observations)
        pending = [observation for observation in observations if observation.values is None]
        known = self._candidates(observations)
        self._seen = set(_keys(known.networks, known.points))
        if pending:
            # Where others are at work there is less to find out: their trials count as if they
            # had ended as foreseen.
            running = self._candidates(pending)
            foreseen, _ = self._model.predict(self._describe(running))
            rows = _join(rows, running)
            targets = np.concatenate([targets, foreseen])
            self._fit(rows, targets, choosing)
        self._optimism = _MOST_OPTIMISM * self._numpy_rng.uniform()
        proposal = self._search(rows, targets)
        again = self._again(learned, pending, targets, proposal)
        return proposal if again is None else again

    def best(self, observations: Sequence[Observation]) -> Observation:
        """Give what a model of the values deems best of what was tried.

        Args:
            observations:
                What is known, at least one of which has values.
        """
        learned, rows, targets, _ = self._learn(observations)
        means, _ = self._model.predict(self._describe(rows))
        is_violated = (targets[:, 1:] > 0.0).any(axis=1)
        return learned[int(np.lexsort([-means[:, 0], is_violated])[0])]

    def _learn(
        self, observations: Sequence[Observation]
    ) -> tuple[list[Observation], Candidates, Floats, npt.NDArray[np.intp]]:
        finished = [o for o in observations if o.values is not None]
        targets = self._targets(finished)
        chosen = _spread(targets[:, 0], _N_LEARNED)
        learned, targets = [finished[index] for index in chosen], targets[chosen]
        rows = self._candidates(learned)
        lengths = {len(observation.network) for observation in observations}
        self._length, self._same_length = max(lengths), len(lengths) == 1
        choosing = _spread(targets[:, 0], _N_CHOOSING)
        self._fit(rows, targets, choosing)
        return learned, rows, targets, choosing

    def _search(self, rows: Candidates, targets: Floats) -> Proposal:
        is_violated = (targets[:, 1:] > 0.0).any(axis=1)
        parents = np.lexsort([-targets[:, 0], is_violated])[:_N_PARENTS].tolist()
        candidates = self._new(
            [self._mutants(rows, parents, _N_MUTANTS, _MOST_CHANGES), self._draw(_N_RANDOM)]
        )
        if not candidates.networks:  # All that there is has been tried.
            return self.draw()
        scores = self._scores(candidates)
        for _ in range(_N_ROUNDS):
            best = np.argsort(-scores, kind="stable")[:_N_CLIMBERS].tolist()
            nearby = self._new([self._mutants(candidates, best, _N_NEIGHBOURS, 1)])
            if nearby.networks:
                candidates = _join(candidates, nearby)
                scores = np.concatenate([scores, self._scores(nearby)])
        return self._proposal(candidates, int(np.argmax(scores)))

    def _again(
        self,
        learned: Sequence[Observation],
        pending: Sequence[Observation],
        targets: Floats,
        proposal: Proposal,
    ) -> Proposal | None:
        """What has a value and is worth another one more than the proposal is worth its first.

        Worth is the knowledge gradient (Frazier et al. 2008, "A knowledge-gradient policy for
        sequential information collection"): how much better a choice among all that is known
        is expected to be with one more value.
        """
        has_begun = self._prefix or self._points.is_any_fixed
        if has_begun or len(learned) < _N_BEFORE_AGAIN or len(learned[0].values or ()) > 1:
            return None
        keys, running = (
            _keys(rows.networks, rows.points) for rows in map(self._candidates, (learned, pending))
        )
        values: dict[tuple[Network, bytes], list[Any]] = {}
        known: dict[tuple[Network, bytes], Proposal] = {}
        is_violated = np.any(targets[: len(learned), 1:] > 0.0, axis=1)
        for key, observation, violated in zip(keys, learned, is_violated, strict=True):
            # What is stopped early, and what is foreseen of it, depends on other trials.
            drawn = observation.values if observation.first is None else observation.first
            values.setdefault(key, []).append(drawn)
            params = self._points.chosen(observation.params)
            if params is not None and not violated and key not in running:
                known[key] = Proposal(observation.network, params)
        has_luck = len(learned) - len(values) < _N_EQUAL or any(
            len(set(of_one)) > 1 for of_one in values.values()
        )
        if not known or not has_luck:
            return None
        choices = [*known.values(), proposal]
        points = self._points.read([choice.params for choice in choices])
        described = self._describe(Candidates([choice.network for choice in choices], points))
        means, deviations = (column[:, 0] for column in self._model.predict(described))
        steps = deviations**2 / np.sqrt(deviations**2 + self._model.noise)
        best = int(np.argmax(means))
        others = np.where(np.arange(len(means)) == best, np.delete(means, best).max(), means[best])
        z = -np.abs(means - others) / steps
        worth = steps * (norm.pdf(z) + z * norm.cdf(z))
        worth[-1] *= _WORTH_OF_NEW
        chosen = int(np.argmax(worth))
        return None if chosen == len(known) else choices[chosen]

    def _fit(self, rows: Candidates, targets: Floats, choosing: npt.NDArray[np.intp]) -> None:
        self._scale = None
        self._model = RewardModel(self._describe(rows), targets, choosing)

    def _describe(self, candidates: Candidates) -> list[npt.NDArray[np.float32]]:
        *blocks, amounts = self._features.describe(candidates.networks, self._length)
        if self._scale is None:  # These are what the model learns from.
            deviations = amounts.std(axis=0)
            self._scale = np.where(deviations > 0.0, deviations, 1.0).astype(np.float32)
        blocks.append(amounts / self._scale)
        if self._points.n_columns:
            blocks.append(candidates.points.astype(np.float32))
        return blocks

    def _targets(self, finished: Sequence[Observation]) -> Floats:
        """What is to be made large, and the constraints. Shape: ``(n, 1 + n_constraints)``."""
        values = np.array([o.values for o in finished], dtype=float)
        shares = (rankdata(values, axis=0) - 0.5) / len(values)
        if values.shape[1] > 1:
            # Another trade-off for each proposal: together they trace the Pareto front.
            weights = self._numpy_rng.dirichlet(np.ones(values.shape[1]))
            losses = weights * (1.0 - shares)
            shares = rankdata(-losses.max(axis=1) - 0.05 * losses.sum(axis=1), axis=0) - 0.5
            shares = shares[:, np.newaxis] / len(values)
        n_constraints = max(len(o.constraints) for o in finished)
        constraints = np.full((len(finished), n_constraints), np.nan)
        for row, observation in zip(constraints, finished, strict=True):
            row[: len(observation.constraints)] = observation.constraints
        for column in constraints.T:
            size = np.nanmedian(np.abs(column))
            column /= size if size > 0.0 and np.isfinite(size) else 1.0
            column[np.isnan(column)] = 0.0
        return np.column_stack([norm.ppf(shares), np.clip(constraints, -3.0, 3.0)])

    def _candidates(self, observations: Sequence[Observation]) -> Candidates:
        return Candidates(
            [observation.network for observation in observations],
            self._points.read([observation.params for observation in observations]),
        )

    def _draw(self, number: int) -> Candidates:
        networks = [self._complete(()) for _ in range(number)]
        return Candidates(networks, self._points.draw(number))

    def _mutants(
        self, rows: Candidates, parents: Sequence[int], number: int, most: int
    ) -> Candidates:
        """Change parents in some layers, in some other parameters, or in both."""
        of_parents = np.resize(parents, number)
        points = rows.points[of_parents]
        networks = [rows.networks[parent] for parent in of_parents]
        changes_points = np.zeros(number, dtype=bool)
        changes_networks = np.full(number, self._with_network)
        if self._points.n_columns:
            what = self._numpy_rng.integers(3, size=number)
            changes_points = (what > 0) | ~changes_networks
            changes_networks &= what < 2
        points[changes_points] = self._points.mutate(points[changes_points])
        for index in np.flatnonzero(changes_networks).tolist():
            mate = rows.networks[parents[int(self._rng.random() * len(parents))]]
            networks[index] = self._complete(self._change(networks[index], mate, most))
        return Candidates(networks, points)

    def _change(self, network: Network, mate: Network, most: int) -> Sequence[int | None]:
        draw, wanted = self._rng.random, list[int | None](network)
        if most > 1 and draw() < _P_CROSSOVER and mate:
            place = int(draw() * len(mate))
            return [*wanted[:place], *mate[place:]]
        for _ in range(1 + int(draw() * most)):
            place, kind = int(draw() * (len(wanted) + 1)), draw()
            if self._same_length or kind < _P_REPLACED:
                wanted[place : place + 1] = [None]
            elif kind < (1.0 + _P_REPLACED) / 2.0:
                wanted[place:place] = [None]
            else:
                wanted[place : place + 1] = []
        return wanted

    def _complete(self, wanted: Sequence[int | None]) -> Network:
        if not self._with_network:
            return ()
        return self._graph.complete([*self._prefix, *wanted[len(self._prefix) :]], self._rng)

    def _new(self, parts: Sequence[Candidates]) -> Candidates:
        """Leave out what is known, or was imagined before."""
        networks = [network for part in parts for network in part.networks]
        points = np.concatenate([part.points for part in parts])
        new = []
        for index, key in enumerate(_keys(networks, points)):
            if key not in self._seen:
                self._seen.add(key)
                new.append(index)
        return Candidates([networks[index] for index in new], points[new])

    def _scores(self, candidates: Candidates) -> Floats:
        means, deviations = self._model.predict(self._describe(candidates))
        scores: Floats = means[:, 0] + self._optimism * deviations[:, 0]
        if means.shape[1] > 1:
            # The chance that all constraints are kept; scores are made positive for it.
            kept = norm.cdf(-means[:, 1:] / deviations[:, 1:]).prod(axis=1)
            scores = np.maximum(scores - _WORST, 1e-6) * kept
        return scores

    def _proposal(self, candidates: Candidates, index: int) -> Proposal:
        return Proposal(candidates.networks[index], self._points.params(candidates.points[index]))


def _join(one: Candidates, other: Candidates) -> Candidates:
    points = np.concatenate([one.points, other.points])
    return Candidates([*one.networks, *other.networks], points)


def _keys(networks: Sequence[Network], points: Floats) -> list[tuple[Network, bytes]]:
    return [(network, point.tobytes()) for network, point in zip(networks, points, strict=True)]


def _spread(scores: Floats, number: int) -> npt.NDArray[np.intp]:
    """Indices of the best half of so many rows, and of others all along; all if there are few."""
    if len(scores) <= number:
        return np.arange(len(scores))
    order = np.argsort(-scores, kind="stable")
    others = np.sort(order[number // 2 :])
    evenly = np.linspace(0, len(others) - 1, number - number // 2).round().astype(np.intp)
    return np.sort(np.concatenate([order[: number // 2], others[evenly]]))
