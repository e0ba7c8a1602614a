from __future__ import annotations

from typing import Any
from typing import TYPE_CHECKING

import optuna
from optuna.samplers import RandomSampler
from optuna.storages import BaseStorage
from optuna.storages import InMemoryStorage
from optuna.storages import JournalStorage
from optuna.storages import RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FixedTrial
from optuna.trial import TrialState
import pytest

from optuna_perfpred.nas import Architecture
from optuna_perfpred.nas import ConvNetSpace
from optuna_perfpred.nas import Convolution
from optuna_perfpred.nas import Layer
from optuna_perfpred.nas import LayerSpace
from optuna_perfpred.nas import Pooling
from optuna_perfpred.nas import RecurrentSpace
from optuna_perfpred.nas import Softmax


if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Iterator
    from pathlib import Path


SPACE = ConvNetSpace((3, 32, 32), 10)
DEEP = "[C(64,3,1), P(5,3), C(128,3,1), P(2,2), FC(256), FC(128), SM(10)]"
LANGUAGE = RecurrentSpace(65)
STACKED = "[E(128), LSTM(256,0.2), GRU(128,0), SM(65)]"


def new_study(**kwargs: Any) -> optuna.Study:
    return optuna.create_study(sampler=RandomSampler(seed=0), **kwargs)


def num_weights(trial: optuna.Trial) -> float:
    return SPACE.suggest(trial).num_weights


@pytest.fixture(params=["in memory", "sqlite", "journal"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[BaseStorage]:
    match request.param:
        case "in memory":
            yield InMemoryStorage()
        case "sqlite":
            database = RDBStorage(f"sqlite:///{tmp_path / 'study.db'}")
            yield database
            database.remove_session()
            database.engine.dispose()
        case _:
            yield JournalStorage(JournalFileBackend(str(tmp_path / "study.log")))


@pytest.mark.parametrize(("space", "notation"), [(SPACE, DEEP), (LANGUAGE, STACKED)])
def test_an_enqueued_architecture_is_suggested_from_every_storage(
    storage: BaseStorage, space: LayerSpace[Any], notation: str
) -> None:
    study = new_study(storage=storage)
    study.enqueue_trial(space.params(notation))
    study.enqueue_trial(space.params(space.parse(notation).with_dropout()))
    for _ in range(2):
        trial = study.ask()
        assert space.suggest(trial) == space.parse(notation)
        assert trial.params == space.params(notation)
        study.tell(trial, 0.0)
    trial = study.ask()
    architecture = space.suggest(trial)
    assert str(architecture) != notation
    study.tell(trial, 0.0)
    # What another process reads.
    finished = storage.get_trial(trial._trial_id)
    assert space.params(architecture) == finished.params
    read = space.read_layers(finished.params)
    assert read == space.trajectory(architecture)


@pytest.mark.parametrize("space", [SPACE, LANGUAGE], ids=["images", "language"])
def test_the_notation_and_the_counts_are_recorded(
    storage: BaseStorage, space: LayerSpace[Any]
) -> None:
    study = new_study(storage=storage)
    trial = study.ask()
    architecture = space.suggest(trial)
    assert storage.get_trial(trial._trial_id).user_attrs == {
        "architecture": str(architecture),
        "num_layers": architecture.num_layers,
        "num_weights": architecture.num_weights,
    }


def test_architectures_are_suggested_beside_other_parameters() -> None:
    study = new_study()
    trial = study.ask()
    trial.suggest_float("lr", 1e-4, 1e-1, log=True)
    architecture = SPACE.suggest(trial)
    trial.suggest_int("layer_01", 1, 9)
    assert SPACE.suggest(trial) == architecture  # A trial has one, as it has one of each name.
    assert SPACE.read_layers(trial.params) == SPACE.trajectory(architecture)


def test_the_first_layers_alone_may_be_enqueued() -> None:
    study = new_study()
    first = dict(list(SPACE.params(DEEP).items())[:3])
    notations = set()
    for _ in range(10):
        study.enqueue_trial({**first, "lr": 0.1})
        trial = study.ask()
        assert trial.suggest_float("lr", 0.0, 1.0) == 0.1
        notations.add(str(SPACE.suggest(trial)))
        study.tell(trial, 0.0)
    assert len(notations) > 5
    assert all(notation.startswith(DEEP[: DEEP.index(", P(2,2)")]) for notation in notations)


@pytest.mark.parametrize(("space", "notation"), [(SPACE, DEEP), (LANGUAGE, STACKED)])
def test_a_fixed_trial_gives_its_architecture(space: LayerSpace[Any], notation: str) -> None:
    trial = FixedTrial(space.params(notation))
    assert space.suggest(trial) == space.parse(notation)
    assert trial.user_attrs["architecture"] == notation


@pytest.mark.parametrize(
    "params", [{}, {**SPACE.params(DEEP), "layer_03[P,>8]": "P(2,2)"}], ids=["none", "illegal"]
)
def test_a_fixed_trial_without_a_legal_architecture_is_refused(params: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"layer_01|P\(2,2\)"):
        SPACE.suggest(FixedTrial(params))


def test_the_best_trial_of_a_study_gives_its_architecture() -> None:
    study = new_study()
    study.optimize(num_weights, n_trials=5)
    best = SPACE.suggest(study.best_trial)
    assert best.num_weights == study.best_value
    assert str(best) == study.best_trial.user_attrs["architecture"]
    assert SPACE.parse(str(best)) == best


def test_threads_share_a_space() -> None:
    study = new_study()
    study.optimize(num_weights, n_trials=40, n_jobs=4)
    for trial in study.trials:
        assert trial.state == TrialState.COMPLETE
        assert SPACE.params(trial.user_attrs["architecture"]) == trial.params


LONG = SPACE.params("[" + "C(64,3,1), " * 12 + "SM(10)]")
FIRST = {"layer_01[input,>8]": "C(64,3,1)"}

ILLEGAL = {
    "illegal first layer": (
        {"layer_01[input,>8]": "P(2,2)"},
        r"The enqueued layer 1, P\(2,2\), is illegal: pooling is never first\.",
    ),
    "illegal later layer": (
        {**SPACE.params(DEEP), "layer_06[FC(256),1]": "FC(512)"},
        r"The enqueued layer 6, FC\(512\), is illegal: it is wider than FC\(256\) before it\.",
    ),
    "too deep": (
        {**LONG, "layer_13[C,>8]": "C(64,3,1)"},
        r"The enqueued layer 13, C\(64,3,1\), is illegal: at the maximum depth of 12 only",
    ),
    "not in the vocabulary": (
        {"layer_01[input,>8]": "C(65,3,1)"},
        r"The enqueued layer 1, C\(65,3,1\), is illegal: it is not in the vocabulary \(C\(64,1,1",
    ),
    "unknown layer": (
        {**FIRST, "layer_02[C,>8]": "X(7)"},
        r"The enqueued layer 2, X\(7\), is illegal: Unknown layer 'X\(7\)'; the known layers are",
    ),
    "no layer at all": (
        {"layer_01[input,>8]": 64},
        r"The enqueued layer 1, 64, is illegal: Unknown layer '64'",
    ),
    "after the end": (
        {**FIRST, "layer_02[C,>8]": "SM(10)", "layer_03[C,>8]": "C(64,3,1)"},
        r"The enqueued layer 3, C\(64,3,1\), is illegal: .* ended with SM\(10\)",
    ),
    "before the first": (
        {"layer_00[input,>8]": "C(64,3,1)"},
        r"The enqueued layer 0, C\(64,3,1\), is illegal: the network's layers are 1 to",
    ),
    "wrongly named": (
        {**FIRST, "layer_02[P,>8]": "C(64,3,1)"},
        r"The enqueued layer 2, C\(64,3,1\), is named 'layer_02\[P,>8\]', but after the layers "
        r"before it the name is 'layer_02\[C,>8\]'",
    ),
    "named with other digits": (
        {"layer_1[input,>8]": "C(64,3,1)"},
        r"named 'layer_1\[input,>8\]', but .* the name is 'layer_01\[input,>8\]'",
    ),
    "wrongly named, beside the right one": (
        {"layer_01[input,5-8]": "C(64,3,1)", **FIRST},
        r"The enqueued layer 1, C\(64,3,1\), is named 'layer_01\[input,5-8\]', but",
    ),
    "written otherwise": (
        {"layer_01[input,>8]": "C(64, 3, 1)"},
        r"The enqueued layer 1, C\(64, 3, 1\), is not written as in the vocabulary, C\(64,3,1\)\.",
    ),
}


@pytest.mark.parametrize(("params", "match"), ILLEGAL.values(), ids=list(ILLEGAL))
def test_an_enqueued_illegal_layer_is_named_with_the_rule_it_breaks(
    params: dict[str, Any], match: str
) -> None:
    study = new_study()
    study.enqueue_trial(params)
    with pytest.raises(ValueError, match=match):
        SPACE.suggest(study.ask())


def test_nothing_is_lost_when_an_enqueued_architecture_is_illegal(storage: BaseStorage) -> None:
    study = new_study(storage=storage, direction="minimize")
    study.optimize(num_weights, n_trials=2)
    before = [(trial.params, trial.value, trial.user_attrs) for trial in study.trials]
    study.enqueue_trial({**SPACE.params(DEEP), "layer_06[FC(256),1]": "FC(512)"})
    study.enqueue_trial(SPACE.params(DEEP))
    with pytest.raises(ValueError, match=r"The enqueued layer 6, FC\(512\)"):
        study.optimize(num_weights, n_trials=2)
    complete, failed = (TrialState.COMPLETE,), TrialState.FAIL
    trials = study.trials
    assert [t.state for t in trials] == [*complete * 2, failed, TrialState.WAITING]
    assert [(t.params, t.value, t.user_attrs) for t in trials[:2]] == before
    study.optimize(num_weights, n_trials=2)
    assert [t.state for t in study.trials] == [*complete * 2, failed, *complete * 2]
    assert study.trials[3].user_attrs["architecture"] == DEEP
    assert "architecture" not in study.trials[2].user_attrs


def test_a_study_may_go_on_past_illegal_enqueued_architectures() -> None:
    study = new_study()
    for params, _ in ILLEGAL.values():
        study.enqueue_trial(params)
    study.enqueue_trial(SPACE.params(DEEP))
    study.optimize(num_weights, n_trials=len(ILLEGAL) + 2, catch=ValueError)
    states = [trial.state for trial in study.trials]
    assert states == [TrialState.FAIL] * len(ILLEGAL) + [TrialState.COMPLETE] * 2
    assert study.trials[-2].user_attrs["architecture"] == DEEP


def test_an_architecture_to_enqueue_must_be_legal() -> None:
    with pytest.raises(ValueError, match=r"The layer 2, FC\(128\), is illegal: fully connected"):
        SPACE.params("[C(64,3,1), FC(128), SM(10)]")
    with pytest.raises(ValueError, match="does not end as an architecture"):
        SPACE.params("[C(64,3,1)]")


def test_a_study_searches_one_space(storage: BaseStorage) -> None:
    study = new_study(storage=storage)
    SPACE.suggest(study.ask())
    for other in (LANGUAGE, ConvNetSpace((3, 32, 32), 10, max_depth=11)):
        with pytest.raises(ValueError, match="one layer space") as error:
            other.suggest(study.ask())
        assert repr(SPACE) in str(error.value)
        assert repr(other) in str(error.value)
    SPACE.suggest(study.ask())
    # An equal one is no other one: a worker in another process makes its own.
    ConvNetSpace([3, 32, 32], 10, max_depth=12).suggest(study.ask())


def test_another_worker_cannot_search_another_space(storage: BaseStorage) -> None:
    study = new_study(storage=storage)
    LANGUAGE.suggest(study.ask())
    worker = optuna.load_study(study_name=study.study_name, storage=storage)
    with pytest.raises(ValueError, match="one layer space"):
        SPACE.suggest(worker.ask())
    LANGUAGE.suggest(worker.ask())


class Chain(LayerSpace[int]):
    """Convolutions, then the classifier: a state is the number of layers, at the end -1."""

    input_shape = (1, 4, 4)
    vocabulary: tuple[Layer, ...] = (Convolution(2, 1), Pooling(2, 2), Softmax(3))
    initial_state = 0

    def __init__(self, rule: Callable[[int, Layer], str | None]) -> None:
        self._rule = rule

    def violation(self, state: int, layer: Layer) -> str | None:
        return self._rule(state, layer)

    def next_state(self, state: int, layer: Layer) -> int:
        return -1 if isinstance(layer, Softmax) else state + 1

    def is_end(self, state: int) -> bool:
        return state < 0

    def position(self, state: int) -> int:
        return state

    def situation(self, state: int) -> str:
        return "chain"


def test_a_space_of_ones_own_is_searched() -> None:
    def rule(state: int, layer: Layer) -> str | None:
        ends = isinstance(layer, Softmax)
        return None if ends == (state == 2) else "three layers"

    space = Chain(rule)
    study = new_study()
    trials = [study.ask() for _ in range(20)]
    architectures = {space.suggest(trial) for trial in trials}
    # Layers of the same names in the order of the vocabulary, two times two of them.
    assert {str(a.layers[0]) for a in architectures} == {"C(2,1,1)", "P(2,2)"}
    assert len(architectures) == 4
    for architecture in architectures:
        assert architecture.num_layers == 3
        assert space.parse(str(architecture)) == architecture
        assert isinstance(space.agent_state(space.initial_state), int)


def test_a_space_that_runs_into_a_dead_end_names_the_rules_that_end_it() -> None:
    def rule(state: int, layer: Layer) -> str | None:
        return "the tank is empty" if state == 2 else None

    class Endless(Chain):
        vocabulary = (Convolution(2, 1),)

    study = new_study()
    with pytest.raises(
        ValueError,
        match=r"no layer may be number 3 in the state 2. C\(2,1,1\): the tank is empty",
    ):
        Endless(rule).suggest(study.ask())


def test_a_space_that_does_not_count_its_layers_is_told() -> None:
    class Stuck(Chain):
        def next_state(self, state: int, layer: Layer) -> int:
            return state

    with pytest.raises(ValueError, match="must be the number of layers, 1, but"):
        Stuck(lambda state, layer: None).suggest(new_study().ask())


def test_a_space_without_layers_cannot_end() -> None:
    class Nothing(Chain):
        vocabulary = ()

    with pytest.raises(ValueError, match="cannot end: no layer may be number 1"):
        Nothing(lambda state, layer: None).suggest(new_study().ask())


def test_a_space_whose_layers_do_not_fit_names_the_layer() -> None:
    def rule(state: int, layer: Layer) -> str | None:
        return None if isinstance(layer, Softmax if state == 4 else Pooling) else "pool"

    with pytest.raises(ValueError, match=r"P\(2,2\) cannot be applied to 1 × 1 values"):
        Chain(rule).suggest(new_study().ask())


def test_suggesting_and_parsing_give_equal_architectures() -> None:
    study = new_study()
    for _ in range(20):
        trial = study.ask()
        architecture = SPACE.suggest(trial)
        assert Architecture.parse(trial.user_attrs["architecture"]) == architecture
        assert SPACE.parse(str(architecture.with_dropout())).without_dropout() == architecture
