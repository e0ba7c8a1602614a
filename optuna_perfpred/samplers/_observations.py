from __future__ import annotations

from contextlib import suppress
import math
from typing import Any
from typing import NamedTuple
from typing import TYPE_CHECKING

from optuna.distributions import CategoricalDistribution
from optuna.study import StudyDirection
from optuna.trial import TrialState

from optuna_perfpred.history import LAYER_PARAMETER
from optuna_perfpred.history import PerStudy
from optuna_perfpred.history import stopped_trial
from optuna_perfpred.samplers._predicted_study import StoppedTrials


if TYPE_CHECKING:
    from collections.abc import Mapping
    from collections.abc import Sequence

    from optuna.distributions import BaseDistribution
    from optuna.study import Study
    from optuna.trial import FrozenTrial

    from optuna_perfpred.nas import Layer
    from optuna_perfpred.nas import LayerSpace
    from optuna_perfpred.samplers._network_graph import Network
    from optuna_perfpred.samplers._network_graph import NetworkGraph


# As in PredictedValueSampler: what is foreseen from fewer completed trials misleads.
_N_STARTUP_OF_PREDICTED = 5

_COUNTED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)


class Observation(NamedTuple):
    """What a trial tells of the space.

    Attributes:
        number:
            The trial's number.
        network:
            Its layers; empty if it has none.
        params:
            Its other parameters.
        values:
            Its values, the larger the better; :obj:`None` if it is running.
        constraints:
            Its constraints, positive ones violated.
        first:
            The first value that it reported; :obj:`None` if it reported none.
    """

    number: int
    network: Network
    params: Mapping[str, Any]
    values: tuple[float, ...] | None
    constraints: tuple[float, ...]
    first: float | None


class ObservationReader:
    """Reads what the trials of a study tell. Safe with threads.

    Args:
        graph:
            The graph of the space that the study searches.
    """

    def __init__(self, graph: NetworkGraph) -> None:
        self._graph = graph
        self._stopped = PerStudy(lambda study: StoppedTrials(study, _N_STARTUP_OF_PREDICTED))
        # Of finished trials, which do not change any more: what does not depend on others.
        self._read: PerStudy[dict[int, tuple[Network | None, dict[str, Any], float | None]]]
        self._read = PerStudy(lambda study: {})

    def read(self, study: Study, asking: int) -> list[Observation]:
        """Read the trials.

        Args:
            study:
                The study.
            asking:
                The number of the trial that asks, which is left out.

        Returns:
            Observations in the order of the trials' numbers. Completed trials tell their values,
            stopped ones those that they would have ended at, or the last ones that they reported
            if nothing can be foreseen. A trial that continues a stopped one takes its place.
        """
        trials = study.get_trials(deepcopy=False)
        continued = _continued(trials)
        if len(study.directions) == 1 and any(t.state == TrialState.PRUNED for t in trials):
            trials = self._stopped.of(study).show(trials)
        signs = [1.0 if d == StudyDirection.MAXIMIZE else -1.0 for d in study.directions]
        known = self._read.of(study)
        observations = []
        for trial in trials:
            if trial.number == asking or trial.number in continued:
                continue
            values = _values(trial, signs)
            if values is None and trial.state != TrialState.RUNNING:
                continue
            network, params, first = known.get(trial._trial_id) or self._split(trial)
            if values is not None:
                known[trial._trial_id] = network, params, first
            if network is None:
                continue
            if values is None and not network and not params:  # It has chosen nothing yet.
                continue
            constraints = tuple(trial.constraints.values())
            observations.append(
                Observation(trial.number, network, params, values, constraints, first)
            )
        return observations

    def _split(self, trial: FrozenTrial) -> tuple[Network | None, dict[str, Any], float | None]:
        """Give a trial's layers, if they are a network of the space, and what it has beside."""
        network: Network | None = None
        with suppress(ValueError):
            trajectory = self._graph.space.follow(trial.params)
            network = self._graph.number([layer for _, layer in trajectory])
        if network:
            node = 0
            for layer in network:
                node = self._graph.follow(node, layer)
            if self._graph.legal(node):  # It is not complete.
                network = None
        reported = trial.intermediate_values
        first = reported[min(reported)] if reported else None
        return network, {n: v for n, v in trial.params.items() if not is_layer(n)}, first


def is_layer(name: str) -> bool:
    """Tell whether a parameter chooses a layer."""
    return LAYER_PARAMETER.fullmatch(name) is not None


def read_choice(
    space: LayerSpace[Any], trial: FrozenTrial, name: str, distribution: BaseDistribution
) -> tuple[tuple[Layer, ...], Any]:
    """Give the layers that a trial has chosen so far, and the state in which it chooses the next.

    Args:
        space:
            The space that the sampler searches.
        trial:
            The trial.
        name:
            The parameter that is suggested.
        distribution:
            What is suggested for it.

    Raises:
        :exc:`ValueError`:
            If the layers, or the parameter, are not of the space: names the layer and the reason.
    """
    try:
        trajectory = space.follow(trial.params)
    except ValueError as error:
        raise ValueError(
            f"The sampler searches {space!r}, of which trial {trial.number} is none: {error}"
        ) from error
    state = space.next_state(*trajectory[-1]) if trajectory else space.initial_state
    if (
        space.is_end(state)
        or name != space.parameter_name(state)
        or not isinstance(distribution, CategoricalDistribution)
        or distribution.choices != tuple(map(str, space.legal_layers(state)))
    ):
        raise ValueError(
            f"The sampler searches {space!r}, in which {name!r} is not what follows "
            f"{trial.params}: the objective suggests from another space."
        )
    return tuple(layer for _, layer in trajectory), state


def _continued(trials: Sequence[FrozenTrial]) -> set[int]:
    """Numbers of the stopped trials whose place others take, and of those that will take it."""
    pairs = [(trial, stopped_trial(trial, trials)) for trial in trials]
    return {
        trial.number if trial.state == TrialState.RUNNING else stopped.number
        for trial, stopped in pairs
        if stopped is not None and trial.state in _COUNTED
    }


def _values(trial: FrozenTrial, signs: Sequence[float]) -> tuple[float, ...] | None:
    if trial.state == TrialState.COMPLETE:
        values: Sequence[float] | None = trial.values
    elif trial.state == TrialState.PRUNED and len(signs) == 1 and trial.value is not None:
        values = [trial.value]
    else:
        return None
    if values is None or any(math.isnan(value) for value in values):
        return None
    return tuple(sign * value for sign, value in zip(signs, values, strict=True))
