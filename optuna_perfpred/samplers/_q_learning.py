from __future__ import annotations

import threading
from typing import Any
from typing import TYPE_CHECKING

from optuna import TrialPruned
from optuna.samplers import BaseSampler
from optuna.samplers import TPESampler
from optuna.samplers._lazy_random_state import LazyRandomState
from optuna.trial import TrialState

from optuna_perfpred._arguments import check_at_least
from optuna_perfpred._attributes import read_number
from optuna_perfpred._attributes import read_step
from optuna_perfpred.history import LearnsAnew
from optuna_perfpred.history import PerStudy
from optuna_perfpred.nas import Architecture
from optuna_perfpred.pruners._assessment import PREDICTED_VALUE
from optuna_perfpred.samplers._epsilon_schedule import EpsilonSchedule
from optuna_perfpred.samplers._observations import is_layer
from optuna_perfpred.samplers._observations import read_choice
from optuna_perfpred.samplers._q_learner import QLearner
from optuna_perfpred.samplers._q_table import QTable


if TYPE_CHECKING:
    from collections.abc import Hashable
    from collections.abc import Sequence

    from optuna.distributions import BaseDistribution
    from optuna.study import Study
    from optuna.trial import FrozenTrial
    from optuna.trial import Trial

    from optuna_perfpred.nas import Layer
    from optuna_perfpred.nas import LayerSpace


REUSED = "perfpred:reused_trial"
"""User attribute of a trial that was not trained: the number of the one whose value it has."""

_DEFAULT_N_TRIALS = 200


class QLearningSampler(LearnsAnew, BaseSampler):
    """Sampler that learns, layer by layer, which architectures end well.

    Tabular Q-learning with experience replay as in Baker et al. 2017, "Designing Neural Network
    Architectures using Reinforcement Learning" (MetaQNN, sections 3 and 4): an agent appends
    layers until the network ends, each with the probability ε at random and else the one of the
    largest Q-value; the reward is the value of the trained network.

    The Q-table is a function of the finished trials in the study's storage, in the order of their
    numbers. So workers on any number of hosts need not talk to each other, and one that restarts
    has the same table as before, bit for bit. Each worker learns from a trial once.

    * Pruned trials teach with the value that
      :class:`~optuna_perfpred.PerformancePredictionPruner` predicted for them, as in Baker et al.
      2017, "Accelerating Neural Architecture Search using Performance Prediction" (section 5);
      with another pruner, with their last value. Failed trials and NaN do not teach.
    * Rewards are ranks: the share of the trials so far that a trial beats, ties counted half. So
      values may have any scale and direction, or be infinite, and ``initial_q=0.5`` is what a
      typical architecture gets. The published reward is the accuracy. Infeasible trials rank
      last.
    * Parameters other than layers, such as a learning rate, are left to ``independent_sampler``.

    Example:

        .. code-block:: python

            import optuna
            from optuna_perfpred.nas import ConvNetSpace
            from optuna_perfpred import PerformancePredictionPruner
            from optuna_perfpred import QLearningSampler

            space = ConvNetSpace((1, 28, 28), num_classes=10)
            sampler = QLearningSampler(space, n_trials=300)
            study = optuna.create_study(
                direction="maximize", sampler=sampler, pruner=PerformancePredictionPruner()
            )
            study.optimize(lambda trial: train(trial, space.suggest(trial)), n_trials=300)
            print(sampler.best_architecture(study))

    Args:
        space:
            The space whose :meth:`~optuna_perfpred.nas.LayerSpace.suggest` the objective calls.
        learning_rate:
            The share of a new value that enters the table. The default is the published one.
        discount:
            The factor by which a value counts one layer earlier. The published value of 1 lets
            a network's value reach its first layer whole.
        initial_q:
            The value of a layer that was never tried. 0.5, as published, is the mean reward.
        epsilon_schedule:
            ε by the number of unique architectures among the finished trials. ``"auto"`` is 1.0
            for a fifth of ``n_trials``, .8, .6, .5, .4, .3 and .2 for a tenth each and .1 for the
            last fifth, which suits studies of some hundred trials. ``"published"`` is that of the
            paper: 1.0 for 1500 architectures, .9, .8 and .7 for 100 each and .6 to .1 for 150
            each. Or pairs of an ε and a number of architectures, for instance
            ``[(1.0, 50), (0.1, 50)]``. The last ε stays.
        n_trials:
            The length of the study, for ``"auto"``; 200 if :obj:`None`. Pairs must sum to it
            unless it is :obj:`None`.
        replay_size:
            Number of earlier architectures, drawn with replacement, that are learned from again
            after each trial. The default is the published one.
        reuse_known:
            Whether :meth:`known_value` knows architectures that were trained before. As
            published, these are not trained again; their reward is replayed.
        seed:
            Seed of the exploration, and of the default ``independent_sampler``. The table does
            not depend on it.
        independent_sampler:
            Sampler of the parameters that are not layers; :class:`~optuna.samplers.TPESampler` if
            :obj:`None`.

    Raises:
        :exc:`ValueError`:
            If an argument is out of range.
    """

    def __init__(
        self,
        space: LayerSpace[Any],
        *,
        learning_rate: float = 0.01,
        discount: float = 1.0,
        initial_q: float = 0.5,
        epsilon_schedule: str | Sequence[tuple[float, int]] = "auto",
        n_trials: int | None = None,
        replay_size: int = 100,
        reuse_known: bool = False,
        seed: int | None = None,
        independent_sampler: BaseSampler | None = None,
    ) -> None:
        if not 0.0 < learning_rate <= 1.0:
            raise ValueError(f"`learning_rate` must be in (0, 1], but got {learning_rate=}.")
        if not 0.0 <= discount <= 1.0:
            raise ValueError(f"`discount` must be in [0, 1], but got {discount=}.")
        if not 0.0 <= initial_q <= 1.0:
            raise ValueError(
                f"`initial_q` must be in [0, 1], as rewards are, but got {initial_q=}."
            )
        check_at_least("replay_size", replay_size, 0)
        self._space = space
        self._learning_rate = learning_rate
        self._discount = discount
        self._initial_q = initial_q
        self._schedule = EpsilonSchedule(epsilon_schedule, n_trials, _DEFAULT_N_TRIALS)
        self._replay_size = replay_size
        self._reuse_known = reuse_known
        self._rng = LazyRandomState(seed)
        self._independent_sampler = independent_sampler or TPESampler(seed=seed)
        self._forget()

    def reseed_rng(self) -> None:
        self._rng.rng.seed()
        self._independent_sampler.reseed_rng()

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        self._raise_error_if_multi_objective(study)
        search_space = self._independent_sampler.infer_relative_search_space(study, trial)
        return {
            name: distribution for name, distribution in search_space.items() if not is_layer(name)
        }

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        self._raise_error_if_multi_objective(study)
        return self._independent_sampler.sample_relative(study, trial, search_space)

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        self._raise_error_if_multi_objective(study)
        if not is_layer(param_name):
            return self._independent_sampler.sample_independent(
                study, trial, param_name, param_distribution
            )
        _, state = read_choice(self._space, trial, param_name, param_distribution)
        with self._lock:
            learner = self._learner(study, trial)
            epsilon = self._schedule.epsilon(learner.n_architectures)
            return str(self._choose(learner.table, state, epsilon))

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        self._independent_sampler.before_trial(study, trial)

    def after_trial(
        self,
        study: Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        self._independent_sampler.after_trial(study, trial, state, values)

    def known_value(self, trial: Trial, architecture: Architecture) -> float | None:
        """The value of an architecture that was trained before.

        With ``reuse_known=True`` an objective begins with

        .. code-block:: python

            architecture = space.suggest(trial)
            if (value := sampler.known_value(trial, architecture)) is not None:
                return value

        and nothing is trained twice: what was completed has its value, and what was pruned is
        pruned at once and teaches the same reward again. The trial gets the user attribute
        ``perfpred:reused_trial``, the number of the one that was trained.

        Args:
            trial:
                The running trial.
            architecture:
                Its architecture.

        Returns:
            The value of the first completed trial with this architecture, whatever its other
            parameters; :obj:`None` if the architecture is new, or ``reuse_known`` is
            :obj:`False`.

        Raises:
            :exc:`optuna.TrialPruned`:
                If trials with this architecture were pruned and none was completed. The last
                value of the first of them is reported again and its predicted value recorded.
        """
        if not self._reuse_known:
            return None
        known = _find_known(trial.study, str(architecture))
        if known is None:
            return None
        trial.set_user_attr(REUSED, known.number)
        if known.state == TrialState.COMPLETE:
            return known.value
        if (predicted := read_number(known.user_attrs, PREDICTED_VALUE)) is not None:
            trial.set_user_attr(PREDICTED_VALUE, predicted)
        if known.last_step is not None:
            trial.report(known.intermediate_values[known.last_step], known.last_step)
        raise TrialPruned(f"The architecture was pruned before, in trial {known.number}.")

    def q_table(self, study: Study | None = None) -> dict[Hashable, dict[str, float]]:
        """The Q-values of all states that finished trials passed.

        Args:
            study:
                A study, which is read anew; if :obj:`None`, the last one sampled for, as known
                then.

        Returns:
            The values by state and layer. For the states see
            :meth:`~optuna_perfpred.nas.LayerSpace.agent_state`.
        """
        with self._lock:
            learner = self._learner_of(study)
            return {
                state: {str(layer): learner.table.value(state, layer) for layer in legal}
                for state, legal in learner.states.items()
            }

    def policy(self, study: Study | None = None) -> dict[Hashable, tuple[str, ...]]:
        """The greedy layers of all states that finished trials passed.

        Args:
            study:
                As in :meth:`q_table`.

        Returns:
            The layers of the largest Q-value by state: more than one if they are tied, of which
            the sampler draws one at random.
        """
        return {
            state: tuple(layer for layer, value in values.items() if value == max(values.values()))
            for state, values in self.q_table(study).items()
        }

    def best_architecture(self, study: Study) -> Architecture:
        """The greedy architecture: in each state the layer of the largest Q-value.

        It may be one that was never trained. Ties go to the first layer of the vocabulary.

        Args:
            study:
                The study, which is read anew.
        """
        with self._lock:
            learner = self._learner_of(study)
            space, state = self._space, self._space.initial_state
            layers: list[Layer] = []
            while not space.is_end(state):
                seen = space.agent_state(state)
                layers.append(
                    max(space.legal_layers(state), key=lambda la: learner.table.value(seen, la))
                )
                state = space.next_state(state, layers[-1])
            return Architecture(space.complete(tuple(layers)), space.input_shape)

    def _begin(self) -> None:
        self._lock = threading.RLock()
        self._learners = PerStudy(self._create_learner)
        self._latest: QLearner | None = None

    def _create_learner(self, study: Study) -> QLearner:
        table = QTable(self._learning_rate, self._discount, self._initial_q)
        return QLearner(study, self._space, table, self._replay_size)

    def _learner(self, study: Study, trial: FrozenTrial) -> QLearner:
        whole_study: Study = getattr(study, "_study", study)  # HyperbandPruner shows a bracket.
        learner = self._latest = self._learners.of(whole_study)
        learner.learn_before(trial.number, whole_study)
        return learner

    def _learner_of(self, study: Study | None) -> QLearner:
        if study is not None:
            learner = self._learners.of(study)
            learner.learn(study)
            return learner
        if self._latest is None:
            raise ValueError("The sampler has not sampled for any study yet: pass a study.")
        return self._latest

    def _choose(self, table: QTable, state: Any, epsilon: float) -> Layer:
        legal = self._space.legal_layers(state)
        if self._rng.rng.uniform() >= epsilon:
            seen = self._space.agent_state(state)
            values = [table.value(seen, layer) for layer in legal]
            best = max(values)
            legal = tuple(la for la, value in zip(legal, values, strict=True) if value == best)
        return legal[self._rng.rng.randint(len(legal))]


def _find_known(study: Study, notation: str) -> FrozenTrial | None:
    """Find the first completed trial that trained an architecture, else the first pruned one."""
    states = TrialState.COMPLETE, TrialState.PRUNED
    trained = [
        trial
        for trial in study.get_trials(deepcopy=False, states=states)
        if trial.user_attrs.get("architecture") == notation
        and read_step(trial.user_attrs, REUSED) is None
    ]
    return min(trained, key=lambda trial: trial.state != TrialState.COMPLETE, default=None)
