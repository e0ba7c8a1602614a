from __future__ import annotations

import threading
from typing import Any
from typing import TYPE_CHECKING
import zlib

import numpy as np
from optuna.samplers import BaseSampler
from optuna.samplers import TPESampler
from optuna.samplers._base import _process_constraints_after_trial
from optuna.search_space import IntersectionSearchSpace

from optuna_perfpred._arguments import check_at_least
from optuna_perfpred.history import LearnsAnew
from optuna_perfpred.history import PerStudy
from optuna_perfpred.nas import Architecture
from optuna_perfpred.samplers._network_features import NetworkFeatures
from optuna_perfpred.samplers._network_graph import NetworkGraph
from optuna_perfpred.samplers._observations import is_layer
from optuna_perfpred.samplers._observations import ObservationReader
from optuna_perfpred.samplers._observations import read_choice
from optuna_perfpred.samplers._proposals import Proposer


if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Mapping
    from collections.abc import Sequence

    from optuna.distributions import BaseDistribution
    from optuna.study import Study
    from optuna.trial import FrozenTrial
    from optuna.trial import TrialState

    from optuna_perfpred.nas import LayerSpace
    from optuna_perfpred.samplers._network_graph import Network
    from optuna_perfpred.samplers._proposals import Proposal


class ArchitectureSampler(LearnsAnew, BaseSampler):
    """Sampler that learns what makes networks good, and imagines thousands before it asks for one.

    Model-based search in a space of architectures: a Gaussian process learns the values of
    networks from what they are made of, and the next one to train is found by mutation, crossover
    and local search among imagined networks, by the mean plus some standard deviations of what
    the model foresees for them. It is the idea of DyNA-PPO (Angermueller et al. 2020,
    "Model-based reinforcement learning for biological sequence design") and BANANAS (White et
    al. 2021, "Bayesian Optimization with Neural Architectures for Neural Architecture Search").

    * The model knows networks in three ways: by which layer comes where, by how often there is
      each layer, and by depth, weights, multiply-adds and how often there is each kind of layers.
      Which of them tells how much, and how far, is learned. Values are replaced by their normal
      scores, so that they may have any scale, or be infinite.
    * Other parameters, such as a learning rate, are modelled and proposed together with the
      layers as soon as all trials have them. Those that only some trials have are left to
      :class:`~optuna.samplers.TPESampler`.
    * Pruned trials teach with the values that they would have ended at, as forecast for
      :class:`~optuna_perfpred.PredictedValueSampler`, or else with their last ones. A trial with
      the user attribute ``perfpred:continues``, the number of an earlier stopped trial with the
      same parameters, takes that one's place.
    * A proposal is a function of the trials in the storage, the trial's number and the seed. So
      workers on any number of hosts need not talk to each other, and one that restarts proposes
      the same as before, bit for bit. Running trials count as if they had ended as foreseen: who
      asks at the same time is sent elsewhere.
    * The best of many values is one that was lucky. So, from 80 values on, a network is proposed
      again where another value of it is worth more to the choice of the best one than a new
      network's. :meth:`best_architecture` makes that choice. Once two networks have given the
      same value twice, and none another one, only new ones are proposed.
    * With several objectives each proposal is for another trade-off between them, and always a
      new network.

    Example:

        .. code-block:: python

            import optuna
            from optuna_perfpred import ArchitectureSampler
            from optuna_perfpred import PerformancePredictionPruner
            from optuna_perfpred.nas import CellSpace

            space = CellSpace((3, 32, 32), num_classes=10)
            study = optuna.create_study(
                direction="maximize",
                sampler=ArchitectureSampler(space),
                pruner=PerformancePredictionPruner(),
            )
            study.optimize(lambda trial: train(trial, space.suggest(trial)), n_trials=100)

    Args:
        space:
            The space whose :meth:`~optuna_perfpred.nas.LayerSpace.suggest` the objective calls.
        n_startup_trials:
            Proposals are random until this many trials have values.
        constraints_func:
            As of :class:`~optuna.samplers.TPESampler`: computes a trial's constraints, which are
            violated if positive. The model learns them, and proposes what is likely to keep them.
            For budgets that are known in advance use :class:`~optuna_perfpred.nas.BudgetSpace`.
        seed:
            Seed of the proposals. If :obj:`None`, a random one.

    Raises:
        :exc:`ValueError`:
            If an argument is out of range.
    """

    def __init__(
        self,
        space: LayerSpace[Any],
        *,
        n_startup_trials: int = 10,
        constraints_func: Callable[[FrozenTrial], Sequence[float]] | None = None,
        seed: int | None = None,
    ) -> None:
        check_at_least("n_startup_trials", n_startup_trials, 1)
        self._space = space
        self._n_startup_trials = n_startup_trials
        self._constraints_func = constraints_func
        self._seed = _random_seed() if seed is None else seed
        self._forget()

    def reseed_rng(self) -> None:
        self._seed = _random_seed()

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return _beside_layers(self._search_spaces.of(study).calculate(study))

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        proposal = self._propose(study, trial, search_space)
        return {name: proposal.params[name] for name in search_space}

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        if not is_layer(param_name):
            seed = zlib.crc32(f"{self._seed} {trial.number} {param_name}".encode())
            return TPESampler(seed=seed).sample_independent(
                study, trial, param_name, param_distribution
            )
        with self._lock:
            layers, _ = read_choice(self._space, trial, param_name, param_distribution)
            prefix = self._graph.number(layers)
            planned = self._plans.of(study).get(trial._trial_id)
            if planned is None or not _agrees(planned[1], prefix, trial.params):
                search_space = planned[0] if planned else {}
                planned = search_space, self._propose(study, trial, search_space, prefix)
            return str(self._space.vocabulary[planned[1].network[len(prefix)]])

    def best_architecture(self, study: Study) -> Architecture:
        """The trained network that is deemed the best one, luck aside.

        The best of many values is one that was lucky, with its weights at the start or the order
        of its batches. The model knows what networks like it are worth.

        Args:
            study:
                The study, of a single objective.

        Returns:
            Of the networks that have values, the one that the model expects most of; of those
            that keep all constraints if there are any.

        Raises:
            :exc:`ValueError`:
                If the study has several objectives, or no network has a value.
        """
        self._raise_error_if_multi_objective(study)
        search_space = _beside_layers(self._search_spaces.of(study).calculate(study))
        with self._lock:
            observations = [o for o in self._observations.read(study, asking=-1) if o.network]
            if all(observation.values is None for observation in observations):
                raise ValueError(f"No network of {self._space!r} has a value yet.")
            proposer = Proposer(
                self._graph,
                self._features,
                search_space,
                fixed={},
                prefix=(),
                with_network=True,
                seed=(self._seed, 0),
            )
            layers = [self._space.vocabulary[la] for la in proposer.best(observations).network]
            return Architecture(self._space.complete(tuple(layers)), self._space.input_shape)

    def after_trial(
        self,
        study: Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        self._plans.of(study).pop(trial._trial_id, None)
        if self._constraints_func is not None:
            _process_constraints_after_trial(self._constraints_func, study, trial, state)

    def _propose(
        self,
        study: Study,
        trial: FrozenTrial,
        search_space: Mapping[str, BaseDistribution],
        prefix: Network | None = None,
    ) -> Proposal:
        whole_study: Study = getattr(study, "_study", study)  # HyperbandPruner shows a bracket.
        with self._lock:
            observations = self._observations.read(whole_study, asking=trial.number)
            n_values = sum(o.values is not None for o in observations)
            proposer = Proposer(
                self._graph,
                self._features,
                search_space,
                fixed={name: trial.params[name] for name in search_space if name in trial.params},
                prefix=prefix or (),
                with_network=prefix is not None or any(o.network for o in observations),
                seed=(self._seed, trial.number),
            )
            if n_values < self._n_startup_trials:
                proposal = proposer.draw()
            else:
                proposal = proposer.propose(observations)
            self._plans.of(study)[trial._trial_id] = dict(search_space), proposal
            return proposal

    def _begin(self) -> None:
        self._lock = threading.RLock()
        self._graph = NetworkGraph(self._space)
        self._features = NetworkFeatures(self._graph)
        self._observations = ObservationReader(self._graph)
        self._search_spaces = PerStudy(lambda study: IntersectionSearchSpace(include_pruned=True))
        # What each running trial is to try, and the parameters that it was planned with.
        self._plans: PerStudy[dict[int, tuple[Mapping[str, BaseDistribution], Proposal]]]
        self._plans = PerStudy(lambda study: {})


def _beside_layers(
    search_space: Mapping[str, BaseDistribution],
) -> dict[str, BaseDistribution]:
    return {
        name: distribution
        for name, distribution in search_space.items()
        if not is_layer(name) and not distribution.single()
    }


def _agrees(proposal: Proposal, prefix: Network, params: Mapping[str, Any]) -> bool:
    """Tell whether what a trial has so far is what was proposed; what is enqueued is not."""
    return (
        len(prefix) < len(proposal.network)
        and proposal.network[: len(prefix)] == prefix
        and all(params.get(name, value) == value for name, value in proposal.params.items())
    )


def _random_seed() -> int:
    return int(np.random.SeedSequence().generate_state(1)[0])
