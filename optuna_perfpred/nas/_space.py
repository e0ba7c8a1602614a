from __future__ import annotations

import abc
from functools import cached_property
from typing import Any
from typing import Generic
from typing import TYPE_CHECKING
from typing import TypeVar

from optuna_perfpred.history import LAYER_PARAMETER
from optuna_perfpred.nas._architecture import Architecture
from optuna_perfpred.nas._layers import parse_layer
from optuna_perfpred.nas._layers import split_notation


if TYPE_CHECKING:
    from collections.abc import Hashable
    from collections.abc import Iterable
    from collections.abc import Iterator
    from collections.abc import Mapping

    from optuna.trial import BaseTrial

    from optuna_perfpred.nas._cost import Cost
    from optuna_perfpred.nas._layers import Layer
    from optuna_perfpred.nas._layers import Shape


State = TypeVar("State")

SPACE_ATTR = "perfpred:layer_space"
"""Study attribute that tells which space the study searches."""


class LayerSpace(abc.ABC, Generic[State]):
    """Architectures that are built layer by layer: what may follow what, and when they end.

    A network being built is in a *state*, an immutable value. Subclasses say which state a
    network begins in, what a layer makes of a state, which layers are illegal in it and why, and
    when the network ends; then :meth:`suggest` draws legal architectures from any Optuna sampler,
    none of which needs to know what is legal.

    Optuna asks that the choices of a parameter never vary within a study. The choices of a layer
    do. So a layer's parameter is named by its position and by the :meth:`situation`, which
    determines what is legal, for instance ``layer_03[C,5-8]``.

    Attributes:
        input_shape:
            Shape of an input, see :class:`~optuna_perfpred.nas.Architecture`.
        vocabulary:
            All layers, in the order in which they are offered.
        initial_state:
            The state before the first layer.
    """

    input_shape: Shape
    vocabulary: tuple[Layer, ...]
    initial_state: State

    def __repr__(self) -> str:
        """Tell one space from another: by it a study knows which one it searches."""
        layers = ", ".join(map(str, self.vocabulary))
        return f"{type(self).__name__}(input_shape={self.input_shape}, vocabulary=[{layers}])"

    @abc.abstractmethod
    def violation(self, state: State, layer: Layer) -> str | None:
        """Tell which rule a layer would break.

        Args:
            state:
                A state in which the network has not ended.
            layer:
                A layer of the vocabulary.

        Returns:
            The rule in words, or :obj:`None` if the layer is legal.
        """

    @abc.abstractmethod
    def next_state(self, state: State, layer: Layer) -> State:
        """Append a legal layer.

        Args:
            state:
                A state in which the network has not ended.
            layer:
                A layer that is legal in it.
        """

    @abc.abstractmethod
    def is_end(self, state: State) -> bool:
        """Tell whether the network has ended.

        Args:
            state:
                A state.
        """

    @abc.abstractmethod
    def position(self, state: State) -> int:
        """Number of layers so far.

        Args:
            state:
                A state.
        """

    def situation(self, state: State) -> str:
        """Name what the legal layers depend on beside the position.

        Two states with the same position and situation must have the same legal layers. The fewer
        situations, the more a sampler that learns from each parameter's values, such as TPE, has
        to learn from.

        Args:
            state:
                A state in which the network has not ended.

        Returns:
            Unless a subclass knows better, ``"all"`` or the number whose binary digits tell which
            layers of the vocabulary are legal.
        """
        return self.name_choices(self.legal_layers(state))

    def name_choices(self, layers: tuple[Layer, ...]) -> str:
        """Give layers of the vocabulary a short name.

        Args:
            layers:
                The layers, in the order of the vocabulary.
        """
        if layers == self.vocabulary:
            return "all"
        return f"{sum((la in layers) << i for i, la in enumerate(self.vocabulary)):x}"

    def cost(self, state: State, layer: Layer) -> Cost:
        """What a layer adds to the cost of a network, with the layers that it implies.

        Args:
            state:
                A state in which the network has not ended.
            layer:
                A layer that is legal in it.

        Raises:
            :exc:`ValueError`:
                If the space cannot tell in advance.
        """
        raise ValueError(f"What a layer costs is not known in advance in {self!r}.")

    def implied_layers(self) -> tuple[Layer, ...]:
        """The layers that :meth:`complete` may add, so that they can be parsed."""
        return ()

    def parse_layer(self, notation: str) -> Layer:
        """Parse a layer of the vocabulary, a layer that it implies, or a published one.

        Args:
            notation:
                A layer as it prints, spaces aside.

        Raises:
            :exc:`ValueError`:
                If the layer is not known.
        """
        layer = self._notations.get("".join(notation.split()))
        return parse_layer(notation) if layer is None else layer

    def agent_state(self, state: State) -> Hashable:
        """What a learning agent sees of a state.

        Args:
            state:
                A state in which the network has not ended.

        Returns:
            The state itself, unless a subclass shows less of it so that more networks share what
            is learned.
        """
        return state

    def complete(self, layers: tuple[Layer, ...]) -> tuple[Layer, ...]:
        """Add to a network that has ended the layers that its last one implies.

        Args:
            layers:
                The layers that were chosen.

        Returns:
            The layers of the architecture; those that were chosen, unless a subclass adds some.
        """
        return layers

    def chosen(self, architecture: Architecture) -> tuple[Layer, ...]:
        """The inverse of :meth:`complete`.

        Args:
            architecture:
                An architecture, legal or not.

        Returns:
            Its layers without those that are not chosen, such as dropout that the build adds.
        """
        return architecture.layers

    def legal_layers(self, state: State) -> tuple[Layer, ...]:
        """Layers that may follow.

        Args:
            state:
                A state in which the network has not ended.

        Returns:
            The legal layers, in the order of the vocabulary.

        Raises:
            :exc:`ValueError`:
                If there is none.
        """
        legal = tuple(la for la in self.vocabulary if self.violation(state, la) is None)
        if not legal:
            reasons = "; ".join(f"{la}: {self.violation(state, la)}" for la in self.vocabulary)
            raise ValueError(
                f"The space {self!r} cannot end: no layer may be number "
                f"{self.position(state) + 1} in the state {state}. {reasons}."
            )
        return legal

    def parameter_name(self, state: State) -> str:
        """Name of the parameter that chooses the next layer.

        Args:
            state:
                A state in which the network has not ended.
        """
        return f"layer_{self.position(state) + 1:02d}[{self.situation(state)}]"

    def suggest(self, trial: BaseTrial) -> Architecture:
        """Suggest an architecture, layer by layer.

        The trial gets the user attributes ``architecture`` (the notation), ``num_layers`` and
        ``num_weights``; :class:`~optuna_perfpred.PerformancePredictionPruner` takes the two
        numbers as features.

        Args:
            trial:
                A trial. Every choice is one :meth:`~optuna.trial.Trial.suggest_categorical`.

        Returns:
            A legal architecture.

        Raises:
            :exc:`ValueError`:
                If the trial was enqueued with an illegal architecture (see :meth:`params` for how
                to enqueue one), if the study searches another space, or if the space has no
                legal layer left.
        """
        _ = self._notations  # Raises if layers cannot be told apart.
        self._claim_study(trial)
        enqueued = _enqueued_layers(trial)
        layers: list[Layer] = []
        state = self.initial_state
        while not self.is_end(state):
            if self.position(state) != len(layers):
                raise ValueError(
                    f"The position of a state must be the number of layers, {len(layers)}, but "
                    f"{self!r} gives {self.position(state)}."
                )
            legal = {str(layer): layer for layer in self.legal_layers(state)}
            name = self.parameter_name(state)
            for given_name, value in enqueued.pop(len(layers) + 1, ()):
                self._check_enqueued(state, name, given_name, value)
            layers.append(legal[trial.suggest_categorical(name, tuple(legal))])
            state = self.next_state(state, layers[-1])
        for position, [(_, layer), *_] in sorted(enqueued.items()):
            raise ValueError(
                f"The enqueued layer {position}, {layer}, is illegal: the network's layers are "
                f"1 to {len(layers)}, it has ended with {layers[-1]}."
            )
        architecture = Architecture(self.complete(tuple(layers)), self.input_shape)
        trial.set_user_attr("architecture", str(architecture))
        trial.set_user_attr("num_layers", architecture.num_layers)
        trial.set_user_attr("num_weights", architecture.num_weights)
        return architecture

    def parse(self, notation: str) -> Architecture:
        """Parse an architecture and check that it is legal.

        Args:
            notation:
                The published notation. Dropout layers may be part of it, or not.

        Returns:
            The architecture.

        Raises:
            :exc:`ValueError`:
                If it is not legal: names the layer and the rule that it breaks.
        """
        architecture = self._read(notation)
        self.trajectory(architecture)
        return architecture

    def params(self, architecture: Architecture | str) -> dict[str, str]:
        """The parameters of a trial that trains an architecture, to be enqueued.

        Args:
            architecture:
                An architecture, or its notation.

        Returns:
            What :meth:`optuna.Study.enqueue_trial` takes.

        Raises:
            :exc:`ValueError`:
                If it is not legal: names the layer and the rule that it breaks.
        """
        if isinstance(architecture, str):
            architecture = self._read(architecture)
        return {
            self.parameter_name(state): str(layer)
            for state, layer in self.trajectory(architecture)
        }

    def trajectory(self, architecture: Architecture) -> list[tuple[State, Layer]]:
        """The states that an architecture passes, and the layer chosen in each.

        Args:
            architecture:
                An architecture.

        Raises:
            :exc:`ValueError`:
                If it is not legal: names the layer and the rule that it breaks.
        """
        if architecture.input_shape != self.input_shape:
            raise ValueError(
                f"The space has inputs of shape {self.input_shape}, but got an architecture for "
                f"{architecture.input_shape}."
            )
        chosen = self.chosen(architecture)
        trajectory = list(self._follow(chosen))
        ended = trajectory and self.is_end(self.next_state(*trajectory[-1]))
        possible = architecture.layers, architecture.without_dropout().layers
        if not ended or self.complete(chosen) not in possible:
            raise ValueError(f"{architecture} does not end as an architecture of {self!r}.")
        return trajectory

    def read_layers(self, params: Mapping[str, Any]) -> list[tuple[State, Layer]] | None:
        """Read the layers chosen so far from a trial's parameters.

        Args:
            params:
                Parameters by name; those that choose no layer are passed over.

        Returns:
            The states passed and the layer chosen in each; :obj:`None` if the parameters are not
            those of a network of this space, complete or not.
        """
        try:
            return self.follow(params)
        except ValueError:
            return None

    def follow(self, params: Mapping[str, Any]) -> list[tuple[State, Layer]]:
        """Read the layers chosen so far from a trial's parameters, as :meth:`read_layers`.

        Raises:
            :exc:`ValueError`:
                If they are not those of a network of this space: names the layer and the reason.
        """
        chosen = sorted(
            (int(match[1]), name, value)
            for name, value in params.items()
            if (match := LAYER_PARAMETER.fullmatch(name))
        )
        trajectory = list(self._follow(self.parse_layer(str(value)) for _, _, value in chosen))
        for (state, layer), (_, name, _) in zip(trajectory, chosen, strict=True):
            if name != (expected := self.parameter_name(state)):
                raise ValueError(
                    f"The layer {self.position(state) + 1}, {layer}, is chosen by {name!r}, but "
                    f"after the layers before it the name is {expected!r}."
                )
        return trajectory

    @cached_property
    def _notations(self) -> dict[str, Layer]:
        notations: dict[str, Layer] = {}
        for number, layer in enumerate((*self.vocabulary, *self.implied_layers()), start=1):
            notation = "".join(str(layer).split())
            if not notation or split_notation(notation) != [notation]:
                raise ValueError(
                    f"The layer {number} of the vocabulary, {layer!r}, cannot be parsed back: it "
                    f"prints as {notation!r}, and a comma outside of parentheses ends a layer."
                )
            known = notations.setdefault(notation, layer)
            if known != layer or (number <= len(self.vocabulary) and len(notations) < number):
                raise ValueError(
                    f"Two layers of the vocabulary print as {notation!r}, {known!r} and "
                    f"{layer!r}: nothing could tell them apart."
                )
        return notations

    def _read(self, notation: str) -> Architecture:
        return Architecture.parse(notation, self.input_shape, self.parse_layer)

    def _follow(self, layers: Iterable[Layer]) -> Iterator[tuple[State, Layer]]:
        state = self.initial_state
        for layer in layers:
            self._check_legal(state, layer, "layer")
            yield state, layer
            state = self.next_state(state, layer)

    def _check_legal(self, state: State, layer: Layer, what: str) -> None:
        if self.is_end(state):
            rule: str | None = "the network has ended before it"
        elif layer not in self.vocabulary:
            vocabulary = ", ".join(map(str, self.vocabulary))
            rule = f"it is not in the vocabulary ({vocabulary})"
        else:
            rule = self.violation(state, layer)
        if rule is not None:
            number = self.position(state) + 1
            raise ValueError(f"The {what} {number}, {layer}, is illegal: {rule}.")

    def _check_enqueued(self, state: State, name: str, given_name: str, value: Any) -> None:
        what = f"The enqueued layer {self.position(state) + 1}, {value}, is"
        try:
            layer = self.parse_layer(str(value))
        except ValueError as error:
            raise ValueError(f"{what} illegal: {error}") from None
        self._check_legal(state, layer, "enqueued layer")
        if given_name != name:
            raise ValueError(
                f"{what} named {given_name!r}, but after the layers before it the name is "
                f"{name!r}; see `LayerSpace.params`."
            )
        if value != str(layer):  # Optuna compares choices as they are written.
            raise ValueError(f"{what} not written as in the vocabulary, {layer}.")

    def _claim_study(self, trial: BaseTrial) -> None:
        study = getattr(trial, "study", None)  # Fixed trials have none.
        if study is None:
            return
        mine = repr(self)
        claimed = study.user_attrs.get(SPACE_ATTR)
        if not isinstance(claimed, str):  # Or something that is not ours.
            study.set_user_attr(SPACE_ATTR, mine)
        elif claimed != mine:
            raise ValueError(
                f"A study searches one layer space. This one searches {claimed}, but got {mine}."
            )


def _enqueued_layers(trial: BaseTrial) -> dict[int, list[tuple[str, Any]]]:
    # Optuna has no public way to ask which parameters a trial was enqueued with.
    fixed: Mapping[str, Any] = getattr(trial, "_fixed_params", {})
    layers: dict[int, list[tuple[str, Any]]] = {}
    for name, value in fixed.items():
        if match := LAYER_PARAMETER.fullmatch(name):
            layers.setdefault(int(match[1]), []).append((name, value))
    return layers
