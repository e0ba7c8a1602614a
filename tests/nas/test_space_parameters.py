"""Parameters of a space, what an agent sees of it, and bad arguments."""

from __future__ import annotations

import pickle
from typing import Any

from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
import pytest

from optuna_perfpred.nas import Architecture
from optuna_perfpred.nas import ConvNetSpace
from optuna_perfpred.nas import LayerSpace
from optuna_perfpred.nas import RecurrentSpace


PUBLISHED = ConvNetSpace((3, 32, 32), 10)


subsets = st.lists(st.integers(1, 4), max_size=3)


@st.composite
def conv_net_spaces(draw: st.DrawFn) -> ConvNetSpace:
    terminations = draw(st.sampled_from([("GAP", "SM"), ("SM",), ("GAP",), ("SM", "GAP")]))
    return ConvNetSpace(
        (draw(st.integers(1, 3)), draw(st.integers(1, 20)), draw(st.integers(1, 20))),
        draw(st.integers(2, 5)),
        max_depth=draw(st.integers(1, 5)),
        filters=draw(st.lists(st.integers(1, 3), min_size=1, max_size=2)),
        # A filter of size 1 fits every input.
        filter_sizes=[1, *draw(st.lists(st.sampled_from([3, 5, 7, 9]), max_size=2))],
        strides=draw(st.lists(st.integers(1, 3), min_size=1, max_size=2)),
        poolings=draw(st.lists(st.tuples(st.integers(1, 6), st.integers(1, 4)), max_size=3)),
        fully_connected=[] if "SM" not in terminations else draw(subsets),
        max_fully_connected=draw(st.integers(0, 3)),
        max_fully_connected_size=draw(st.integers(0, 20)),
        terminations=terminations,
        size_bins=draw(subsets),
    )


recurrent_spaces = st.builds(
    RecurrentSpace,
    st.integers(2, 9),
    max_depth=st.integers(1, 3),
    embeddings=st.lists(st.integers(1, 3), min_size=1),
    cells=st.sampled_from([("LSTM",), ("GRU",), ("GRU", "LSTM")]),
    units=st.lists(st.integers(1, 3), min_size=1, max_size=3),
    dropouts=st.lists(st.floats(0.0, 0.9), min_size=1, max_size=2),
)


def reachable(space: LayerSpace[Any], limit: int = 1000) -> dict[Any, tuple[str, ...]]:
    """All states, or the first ones, in which a network has not ended, and what may follow."""
    states = {space.initial_state: ()}
    queue = [space.initial_state]
    while queue and len(states) < limit:
        state = queue.pop(0)
        legal = space.legal_layers(state)
        states[state] = tuple(map(str, legal))
        for layer in legal:
            following = space.next_state(state, layer)
            if not space.is_end(following) and following not in states:
                states[following] = ()
                queue.append(following)
    return {state: legal for state, legal in states.items() if legal}


@settings(max_examples=60)
@given(conv_net_spaces() | recurrent_spaces)
def test_a_parameter_name_always_has_the_same_choices(space: LayerSpace[Any]) -> None:
    choices: dict[str, tuple[str, ...]] = {}
    for state, legal in reachable(space).items():
        name = space.parameter_name(state)
        assert choices.setdefault(name, legal) == legal, name
        assert len(set(legal)) == len(legal)
        number = space.position(state) + 1
        assert name == f"layer_{number:02d}[{space.situation(state)}]"


@pytest.mark.parametrize("size_bins", [(), (8, 4)])
@pytest.mark.parametrize("max_fully_connected_size", range(13))
def test_names_tell_apart_the_sizes_from_which_fully_connected_layers_are_legal(
    max_fully_connected_size: int, size_bins: tuple[int, ...]
) -> None:
    space = ConvNetSpace(
        (1, 12, 12),
        2,
        max_depth=4,
        filters=(2,),
        filter_sizes=(1,),
        strides=(1, 2),
        poolings=((2, 1), (3, 1), (4, 1)),
        fully_connected=(2,),
        max_fully_connected_size=max_fully_connected_size,
        size_bins=size_bins,
    )
    choices: dict[str, tuple[str, ...]] = {}
    for state, legal in reachable(space).items():
        assert choices.setdefault(space.parameter_name(state), legal) == legal


def test_the_published_space_has_one_choice_for_each_name_at_every_depth() -> None:
    space = ConvNetSpace((3, 32, 32), 10, max_depth=18, filters=(64,), filter_sizes=(1, 3, 5))
    choices: dict[str, tuple[str, ...]] = {}
    states = reachable(space, limit=10_000)
    assert {space.position(state) for state in states} == set(range(19))
    for state, legal in states.items():
        assert choices.setdefault(space.parameter_name(state), legal) == legal
    # The fewer names, the more a sampler learns of each.
    assert len(choices) < 15 * 19


@settings(max_examples=60)
@given(conv_net_spaces() | recurrent_spaces, st.data())
def test_an_architecture_is_read_back_from_its_parameters(
    space: LayerSpace[Any], data: st.DataObject
) -> None:
    chosen, state = [], space.initial_state
    while not space.is_end(state):
        chosen.append(data.draw(st.sampled_from(space.legal_layers(state))))
        state = space.next_state(state, chosen[-1])
    architecture = Architecture(space.complete(tuple(chosen)), space.input_shape)
    assert space.parse(str(architecture)) == architecture
    assert space.chosen(architecture) == tuple(chosen)
    assert space.chosen(architecture.with_dropout()) == tuple(chosen)
    params = space.params(architecture)
    assert list(params.values()) == list(map(str, chosen))
    assert space.params(str(architecture)) == params
    trajectory = space.trajectory(architecture)
    assert [layer for _, layer in trajectory] == chosen
    shuffled = dict(data.draw(st.permutations(list(params.items()))))
    assert space.read_layers({"lr": 0.1, **shuffled, "momentum": 0.9}) == trajectory
    for length in range(len(chosen)):
        begun = dict(list(params.items())[:length])
        assert space.read_layers(begun) == trajectory[:length]


@pytest.mark.parametrize(
    "params",
    [
        {"layer_01[input,>8]": "C(65,3,1)"},
        {"layer_01[input,>8]": "X(65)"},
        {"layer_01[input,>8]": 64},
        {"layer_01[input,>8]": None},
        {"layer_01[input,5-8]": "C(64,3,1)"},
        {"layer_01[input]": "C(64,3,1)"},
        {"layer_02[C,>8]": "C(64,3,1)"},
        {"layer_01[input,>8]": "C(64,3,1)", "layer_02[C,>8]": "FC(128)"},
        {"layer_01[input,>8]": "C(64,3,1)", "layer_03[C,>8]": "C(64,3,1)"},
        {
            "layer_01[input,>8]": "C(64,3,1)",
            "layer_02[C,>8]": "SM(10)",
            "layer_03[C,>8]": "C(64,3,1)",
        },
    ],
)
def test_parameters_of_no_network_of_the_space_are_not_read(params: dict[str, Any]) -> None:
    assert PUBLISHED.read_layers(params) is None


def test_no_layer_parameters_are_the_beginning_of_a_network() -> None:
    assert PUBLISHED.read_layers({"lr": 0.1}) == []


def test_parameters_are_named_by_position_kind_and_size() -> None:
    notation = "[C(64,3,1), P(5,3), C(128,3,1), P(2,2), FC(256), FC(128), SM(10)]"
    assert PUBLISHED.params(notation) == {
        "layer_01[input,>8]": "C(64,3,1)",
        "layer_02[C,>8]": "P(5,3)",
        "layer_03[P,>8]": "C(128,3,1)",
        "layer_04[C,>8]": "P(2,2)",
        "layer_05[P,5-8]": "FC(256)",
        "layer_06[FC(256),1]": "FC(128)",
        "layer_07[FC(128),2]": "SM(10)",
    }


def test_an_agent_sees_the_published_state() -> None:
    architecture = PUBLISHED.parse(
        "[C(64,3,1), P(5,3), C(128,3,1), P(2,2), C(64,1,1), P(2,2), FC(256), FC(256), SM(10)]"
    )
    states = [PUBLISHED.agent_state(state) for state, _ in PUBLISHED.trajectory(architecture)]
    assert states == [
        (0, "input", ">8"),
        (1, "C(64,3,1)", ">8"),
        (2, "P(5,3)", ">8"),
        (3, "C(128,3,1)", ">8"),
        (4, "P(2,2)", "<=8"),
        (5, "C(64,1,1)", "<=8"),
        (6, "P(2,2)", "<=4"),
        (7, "FC(256)", "1 in a row"),
        (8, "FC(256)", "2 in a row"),
    ]


def test_an_agent_sees_the_last_layer_of_a_language_model() -> None:
    space = RecurrentSpace(65)
    trajectory = space.trajectory(space.parse("[E(64), LSTM(256,0.2), GRU(64,0), SM(65)]"))
    assert [space.agent_state(state) for state, _ in trajectory] == [
        (0, "input"),
        (1, "E(64)"),
        (2, "LSTM(256,0.2)"),
        (3, "GRU(64,0)"),
    ]


def test_a_space_shown_tells_how_to_make_it_and_is_pickled() -> None:
    for space in (PUBLISHED, RecurrentSpace(65, units=[8], cells=["GRU"])):
        for copy in (eval(repr(space)), pickle.loads(pickle.dumps(space))):
            assert repr(copy) == repr(space)
            assert copy.vocabulary == space.vocabulary
            assert reachable(copy, limit=20) == reachable(space, limit=20)


def test_a_layer_given_twice_is_offered_once() -> None:
    space = ConvNetSpace(
        (1, 8, 8),
        3,
        filters=[2, 2],
        filter_sizes=[1, 1],
        strides=[1, 1],
        poolings=[(2, 2), (2, 2)],
        fully_connected=[3, 3],
        terminations=["SM", "SM"],
    )
    assert list(map(str, space.vocabulary)) == ["C(2,1,1)", "P(2,2)", "FC(3)", "SM(3)"]
    recurrent = RecurrentSpace(
        3, embeddings=[2, 2], cells=["GRU", "GRU"], units=[2, 2], dropouts=[0, 0.0]
    )
    assert list(map(str, recurrent.vocabulary)) == ["E(2)", "GRU(2,0)", "SM(3)"]


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"terminations": ()}, "cannot end: `terminations` must be 'GAP', 'SM' or both"),
        ({"terminations": ("SM", "end")}, "cannot end: `terminations`"),
        ({"terminations": "GAP"}, "cannot end: `terminations`"),
        ({"terminations": ("GAP",)}, "cannot end after a fully connected layer"),
        ({"filters": ()}, r"cannot end: no layer may be number 1.*pooling is never first"),
        ({"filter_sizes": ()}, "cannot end: no layer may be number 1"),
        ({"strides": ()}, "cannot end: no layer may be number 1"),
        ({"input_shape": (1, 32)}, "`input_shape` must be 3 positive integers"),
        ({"input_shape": (1, 32, 0)}, "`input_shape` must be positive integers"),
        ({"input_shape": (1, 32, 32.5)}, "`input_shape` must be positive integers"),
        ({"input_shape": 32}, "`input_shape` must be positive integers"),
        ({"num_classes": 1}, "`num_classes` must be an integer of at least 2"),
        ({"num_classes": "10"}, "`num_classes` must be an integer of at least 2"),
        ({"max_depth": 0}, "`max_depth` must be an integer of at least 1"),
        ({"max_depth": 1.5}, "`max_depth` must be an integer of at least 1"),
        ({"filters": (0,)}, "`filters` must be positive integers"),
        ({"filters": 64}, "`filters` must be positive integers"),
        ({"filter_sizes": (2,)}, r"must be odd, but got C\(64,2,1\)"),
        ({"filter_sizes": ("3",)}, "`filter_sizes` must be positive integers"),
        ({"strides": (0,)}, "`strides` must be positive integers"),
        ({"poolings": ((2, 2, 2),)}, "`poolings` must be 2 positive integers"),
        ({"poolings": ((2, 0),)}, "`poolings` must be positive integers"),
        ({"poolings": (2, 2)}, "`poolings` must be positive integers"),
        ({"fully_connected": (128.0,)}, "`fully_connected` must be positive integers"),
        ({"max_fully_connected": -1}, "`max_fully_connected` must be an integer of at least 0"),
        ({"max_fully_connected_size": -1}, "`max_fully_connected_size` must be an integer"),
        ({"size_bins": (0,)}, "`size_bins` must be positive integers"),
    ],
    ids=str,
)
def test_a_conv_net_space_refuses_bad_arguments(arguments: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        ConvNetSpace(**({"input_shape": (3, 32, 32), "num_classes": 10} | arguments))


@pytest.mark.parametrize("shape", [(3, 2, 2), (3, 2, 32), (3, 32, 1)])
def test_an_input_too_small_for_any_layer_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(
        ValueError,
        match=r"C\(64,3,1\): its filter exceeds the representation size of [12]",
    ):
        ConvNetSpace(shape, 10, filter_sizes=(3, 5), fully_connected=())


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"vocabulary_size": 1}, "`vocabulary_size` must be an integer of at least 2"),
        ({"vocabulary_size": 6.5}, "`vocabulary_size` must be an integer of at least 2"),
        ({"max_depth": 0}, "`max_depth` must be an integer of at least 1"),
        ({"embeddings": (0,)}, "`embeddings` must be positive integers"),
        ({"units": (64, "64")}, "`units` must be positive integers"),
        ({"cells": ("LSTM", "RNN")}, "`cells` must be among"),
        ({"cells": "LSTM"}, "`cells` must be among"),
        ({"dropouts": (1.0,)}, r"dropout must be in \[0, 1\)"),
        ({"dropouts": (-0.1,)}, r"dropout must be in \[0, 1\)"),
        ({"dropouts": (float("nan"),)}, r"dropout must be in \[0, 1\)"),
        ({"embeddings": ()}, "cannot end: .*must not be empty"),
        ({"units": ()}, "cannot end: .*must not be empty"),
        ({"cells": ()}, "cannot end: .*must not be empty"),
        ({"dropouts": ()}, "cannot end: .*must not be empty"),
    ],
    ids=str,
)
def test_a_recurrent_space_refuses_bad_arguments(arguments: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        RecurrentSpace(**({"vocabulary_size": 65} | arguments))
