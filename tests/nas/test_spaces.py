from __future__ import annotations

from itertools import product
import pickle
from typing import Any

from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
import pytest

from optuna_perfpred.nas import Architecture
from optuna_perfpred.nas import ConvNetSpace
from optuna_perfpred.nas import LayerSpace
from optuna_perfpred.nas import parse_layer
from optuna_perfpred.nas import RecurrentSpace
from tests.nas.architectures import ConvNetRules
from tests.nas.architectures import RecurrentRules


PUBLISHED = ConvNetSpace((3, 32, 32), 10)


def small_rules(**changes: Any) -> ConvNetRules:
    """The published rules with so few layers that all sequences of them can be tried."""
    defaults = {
        "shape": (1, 16, 16),
        "classes": 3,
        "max_depth": 3,
        "filters": (2,),
        "fully_connected": (3, 2),
    }
    return ConvNetRules(**(defaults | changes))


def legal_after(space: LayerSpace[Any], *layers: str) -> set[str]:
    """The kinds of layers, or the layers where their arguments matter, that may follow."""
    state = space.initial_state
    for layer in map(parse_layer, layers):
        assert space.violation(state, layer) is None
        state = space.next_state(state, layer)
    return {str(layer) for layer in space.legal_layers(state)}


def rule_broken(space: LayerSpace[Any], *layers: str) -> str:
    with pytest.raises(ValueError, match="is illegal") as error:
        space.parse(f"[{', '.join(layers)}]")
    return str(error.value)


def accepts(space: LayerSpace[Any], notation: str) -> bool:
    try:
        return str(space.parse(notation)) == notation
    except ValueError:
        return False


def test_the_defaults_are_the_published_vocabulary() -> None:
    convolutions = [f"C({d},{f},1)" for d in (64, 128, 256, 512) for f in (1, 3, 5)]
    others = ["P(5,3)", "P(3,2)", "P(2,2)", "FC(512)", "FC(256)", "FC(128)", "GAP(10)", "SM(10)"]
    assert [str(layer) for layer in PUBLISHED.vocabulary] == convolutions + others


@pytest.mark.parametrize(
    "changes",
    [
        {"shape": (3, 32, 32)},
        {"shape": (1, 8, 8)},
        {"shape": (1, 9, 9)},
        {"shape": (1, 5, 5)},
        {"shape": (1, 4, 4)},
        {"shape": (1, 3, 3)},
        {"shape": (1, 2, 2)},
        {"shape": (1, 1, 1)},
        {"shape": (1, 4, 20)},
        {"shape": (1, 20, 4)},
        {"shape": (1, 10, 9), "strides": (1, 2), "filter_sizes": (1, 5)},
        {"shape": (1, 8, 8), "max_depth": 1},
        {"shape": (1, 8, 8), "max_depth": 2},
        {"shape": (1, 8, 8), "fully_connected": ()},
        {"shape": (1, 8, 8), "poolings": ()},
        {"shape": (1, 8, 8), "filters": (), "max_fully_connected": 3},
        {"shape": (1, 8, 8), "max_fully_connected": 1},
        {"shape": (1, 8, 8), "max_fully_connected": 0},
        {"shape": (1, 8, 8), "max_fully_connected_size": 3},
        {"shape": (1, 8, 8), "terminations": ("SM",)},
        {"shape": (1, 8, 8), "terminations": ("GAP",), "fully_connected": ()},
    ],
    ids=str,
)
def test_exactly_the_sequences_that_the_rules_allow_are_architectures(
    changes: dict[str, Any],
) -> None:
    rules = small_rules(**changes)
    space = rules.space()
    layers = ["C(2,1,1)", "C(2,3,1)", "C(2,5,2)", "P(5,3)", "P(3,2)", "P(2,2)", "FC(3)", "FC(2)"]
    legal = 0
    for length in range(4):
        for body in product(layers, repeat=length):
            for end in ("SM(3)", "GAP(3), SM(3)"):
                notation = f"[{', '.join([*body, end])}]"
                assert accepts(space, notation) is rules.is_legal(notation), notation
                legal += rules.is_legal(notation)
    assert legal > 0


@settings(max_examples=30)
@given(st.data())
def test_the_published_space_agrees_with_the_published_rules_at_full_depth(
    data: st.DataObject,
) -> None:
    rules = ConvNetRules()
    body: list[str] = []
    state = PUBLISHED.initial_state
    while len(body) < 12:
        # Deep networks are rare among random ones, so all layers but the last are legal ones.
        legal = [la for la in PUBLISHED.legal_layers(state) if la.code not in ("GAP", "SM")]
        if not legal:
            break
        layer = data.draw(st.sampled_from(legal))
        body.append(str(layer))
        state = PUBLISHED.next_state(state, layer)
    for last in PUBLISHED.vocabulary:
        end = ["GAP(10)", "SM(10)"] if last.code == "GAP" else ["SM(10)"]
        layers = body + ([str(last)] if last.code not in ("GAP", "SM") else [])
        notation = f"[{', '.join(layers + end)}]"
        assert accepts(PUBLISHED, notation) is rules.is_legal(notation), notation


def test_pooling_never_comes_first() -> None:
    assert not {"P(5,3)", "P(3,2)", "P(2,2)"} & legal_after(PUBLISHED)
    assert rule_broken(PUBLISHED, "P(2,2)", "SM(10)") == (
        "The layer 1, P(2,2), is illegal: pooling is never first."
    )


def test_pooling_never_follows_pooling() -> None:
    assert "P(2,2)" in legal_after(PUBLISHED, "C(64,3,1)")
    assert not {"P(5,3)", "P(3,2)", "P(2,2)"} & legal_after(PUBLISHED, "C(64,3,1)", "P(2,2)")
    assert "pooling never follows pooling" in rule_broken(
        PUBLISHED, "C(64,3,1)", "P(2,2)", "P(2,2)", "SM(10)"
    )


def test_a_network_has_a_layer_before_its_classifier() -> None:
    assert not {"GAP(10)", "SM(10)"} & legal_after(PUBLISHED)
    for end in (["SM(10)"], ["GAP(10)", "SM(10)"]):
        assert "at least one layer before the classifier" in rule_broken(PUBLISHED, *end)


def test_every_network_may_end_after_its_first_layer() -> None:
    for layer in legal_after(PUBLISHED):
        assert {"GAP(10)", "SM(10)"} <= legal_after(PUBLISHED, layer)


@pytest.mark.parametrize(
    ("size", "legal"),
    [
        (32, "C(2,1,1) C(2,3,1) C(2,5,1) P(5,3) P(3,2) P(2,2)"),
        (9, "C(2,1,1) C(2,3,1) C(2,5,1) P(5,3) P(3,2) P(2,2)"),
        (8, "C(2,1,1) C(2,3,1) C(2,5,1) P(5,3) P(3,2) P(2,2) FC(3) FC(2)"),
        (5, "C(2,1,1) C(2,3,1) C(2,5,1) P(5,3) P(3,2) P(2,2) FC(3) FC(2)"),
        (4, "C(2,1,1) C(2,3,1) P(3,2) P(2,2) FC(3) FC(2)"),
        (3, "C(2,1,1) C(2,3,1) P(3,2) P(2,2) FC(3) FC(2)"),
        (2, "C(2,1,1) P(2,2) FC(3) FC(2)"),
        (1, "C(2,1,1) FC(3) FC(2)"),
    ],
)
def test_what_may_follow_a_convolution_depends_on_the_representation_size(
    size: int, legal: str
) -> None:
    for shape in ((1, size, size), (1, size, 40), (1, 40, size)):
        space = small_rules(shape=shape).space()
        assert legal_after(space, "C(2,1,1)") == {*legal.split(), "GAP(3)", "SM(3)"}


@pytest.mark.parametrize(
    ("layers", "rule"),
    [
        (["C(64,3,1)", "FC(128)"], "at representation sizes up to 8, and this one is 32"),
        (["C(64,3,1)", "P(5,3)", "C(64,1,1)", "FC(128)"], "up to 8, and this one is 10"),
    ],
)
def test_fully_connected_layers_need_a_small_representation(layers: list[str], rule: str) -> None:
    assert rule in rule_broken(PUBLISHED, *layers, "SM(10)")


SMALL = ["C(64,3,1)", "P(5,3)", "C(64,3,1)", "P(2,2)"]  # 5 × 5 values are left.


def test_fully_connected_layers_are_never_followed_by_wider_ones() -> None:
    assert legal_after(PUBLISHED, *SMALL, "FC(512)") == {"FC(512)", "FC(256)", "FC(128)", "SM(10)"}
    assert legal_after(PUBLISHED, *SMALL, "FC(256)") == {"FC(256)", "FC(128)", "SM(10)"}
    assert legal_after(PUBLISHED, *SMALL, "FC(128)") == {"FC(128)", "SM(10)"}
    assert "The layer 6, FC(256), is illegal: it is wider than FC(128) before it" in rule_broken(
        PUBLISHED, *SMALL, "FC(128)", "FC(256)", "SM(10)"
    )


def test_at_most_two_fully_connected_layers_are_legal() -> None:
    assert legal_after(PUBLISHED, *SMALL, "FC(512)", "FC(512)") == {"SM(10)"}
    assert "at most 2 fully connected layers" in rule_broken(
        PUBLISHED, *SMALL, "FC(128)", "FC(128)", "FC(128)", "SM(10)"
    )


@pytest.mark.parametrize("layer", ["C(64,1,1)", "P(2,2)"])
def test_only_fully_connected_layers_and_the_softmax_follow_fully_connected_ones(
    layer: str,
) -> None:
    # Such networks have no shapes, and so the notation alone is refused already.
    with pytest.raises(ValueError, match="needs"):
        PUBLISHED.parse(f"[{', '.join([*SMALL, 'FC(128)', layer])}, SM(10)]")
    assert layer not in legal_after(PUBLISHED, *SMALL, "FC(128)")
    assert "GAP(10)" not in legal_after(PUBLISHED, *SMALL, "FC(128)")


def test_a_filter_never_exceeds_the_representation() -> None:
    space = ConvNetSpace((1, 4, 9), 10)
    assert rule_broken(space, "C(64,5,1)", "SM(10)") == (
        "The layer 1, C(64,5,1), is illegal: its filter exceeds the representation size of 4."
    )


def test_a_window_never_exceeds_the_representation() -> None:
    space = ConvNetSpace((1, 4, 9), 10)
    state = space.next_state(space.initial_state, parse_layer("C(64,1,1)"))
    rule = space.violation(state, parse_layer("P(5,3)"))
    assert rule == "its window exceeds the representation size of 4"


@pytest.mark.parametrize("max_depth", [1, 12, 18])
def test_at_the_maximum_depth_only_termination_is_legal(max_depth: int) -> None:
    space = ConvNetSpace((3, 32, 32), 10, max_depth=max_depth)
    layers = ["C(64,3,1)"] * max_depth
    assert legal_after(space, *layers) == {"GAP(10)", "SM(10)"}
    assert len(legal_after(space, *layers[1:])) > 2
    assert space.parse(f"[{', '.join(layers)}, SM(10)]").num_layers == max_depth + 1
    assert f"at the maximum depth of {max_depth} only termination" in rule_broken(
        space, *layers, "C(64,3,1)", "GAP(10)", "SM(10)"
    )


def test_strides_shrink_the_representation() -> None:
    space = ConvNetSpace((1, 16, 15), 3, filters=(2,), strides=(2,), poolings=())
    assert "FC(512)" not in legal_after(space)
    assert "FC(512)" in legal_after(space, "C(2,5,2)")
    assert "C(2,5,2)" not in legal_after(space, "C(2,5,2)", "C(2,5,2)")
    layers = ["C(2,1,2)"] * 12
    assert space.parse(f"[{', '.join(layers)}, SM(3)]").output_shapes[-2] == (2, 1, 1)


@pytest.mark.parametrize(
    ("layer", "legal"), [("C(65,3,1)", False), ("C(64,3,2)", False), ("C(64,3,1)", True)]
)
def test_only_layers_of_the_vocabulary_are_legal(layer: str, legal: bool) -> None:
    notation = f"[{layer}, SM(10)]"
    assert accepts(PUBLISHED, notation) is legal
    if not legal:
        assert "it is not in the vocabulary (C(64,1,1), " in rule_broken(
            PUBLISHED, *notation[1:-1].split(", ")
        )


def test_networks_for_other_classes_are_refused() -> None:
    assert "SM(9), is illegal: it is not in the vocab" in rule_broken(
        PUBLISHED, "C(64,3,1)", "SM(9)"
    )
    assert "GAP(9), is illegal: it is not in the vocab" in rule_broken(
        PUBLISHED, "C(64,3,1)", "GAP(9)", "SM(9)"
    )


def test_nothing_follows_global_average_pooling_but_the_softmax() -> None:
    assert "the network has ended before it" in rule_broken(
        PUBLISHED, "C(64,3,1)", "GAP(10)", "FC(128)", "SM(10)"
    )


def test_architectures_for_other_inputs_are_refused() -> None:
    architecture = Architecture.parse("[C(64,3,1), SM(10)]", (1, 32, 32))
    for method in (PUBLISHED.params, PUBLISHED.trajectory):
        with pytest.raises(ValueError, match=r"inputs of shape \(3, 32, 32\)"):
            method(architecture)


@pytest.mark.parametrize(
    "dropout",
    [
        "[C(64,3,1), C(64,3,1), D(1,1), GAP(10), SM(10)]",
        "[C(64,3,1), D(1,9), C(64,3,1), GAP(10), SM(10)]",
    ],
)
def test_dropout_is_no_choice_and_may_be_written(dropout: str) -> None:
    plain = "[C(64,3,1), C(64,3,1), GAP(10), SM(10)]"
    assert PUBLISHED.params(dropout) == PUBLISHED.params(plain)
    assert str(PUBLISHED.parse(dropout)) == dropout


def test_recurrent_defaults() -> None:
    space = RecurrentSpace(65)
    cells = [
        f"{cell}({units},{dropout})"
        for cell in ("LSTM", "GRU")
        for units in (64, 128, 256, 512)
        for dropout in ("0", "0.2", "0.5")
    ]
    assert legal_after(space) == {"E(64)", "E(128)", "E(256)"}
    assert legal_after(space, "E(64)") == set(cells)
    assert legal_after(space, "E(64)", "GRU(64,0.2)") == {*cells, "SM(65)"}
    three = ["E(64)", "GRU(64,0.2)", "LSTM(512,0)", "LSTM(64,0.5)"]
    assert legal_after(space, *three) == {"SM(65)"}


@pytest.mark.parametrize("max_depth", [1, 2, 3])
def test_exactly_the_sequences_that_the_rules_allow_are_language_models(max_depth: int) -> None:
    rules = RecurrentRules(9, max_depth, (2,), ("GRU", "LSTM"), (3,), (0.0, 0.25))
    space = rules.space()
    layers = [
        "E(2)",
        "E(3)",
        "GRU(3,0)",
        "GRU(3,0.25)",
        "LSTM(3,0)",
        "LSTM(4,0)",
        "D(1,1)",
        "SM(9)",
    ]
    legal = 0
    for length in range(5):
        for body in product(layers, repeat=length):
            notation = f"[{', '.join([*body, 'SM(9)'])}]"
            assert accepts(space, notation) is rules.is_legal(notation), notation
            legal += rules.is_legal(notation)
    assert legal == sum(3**depth for depth in range(1, max_depth + 1))


@pytest.mark.parametrize(
    ("layers", "rule"),
    [
        (["SM(65)"], "the embedding comes first"),
        (["E(64)", "SM(65)"], "a network has at least one recurrent layer"),
        (["E(64)"] + ["GRU(64,0)"] * 4 + ["SM(65)"], "at most 3 recurrent layers are legal"),
        (["E(65)", "GRU(64,0)", "SM(65)"], "it is not in the vocabulary"),
        (["E(64)", "GRU(64,0.3)", "SM(65)"], "it is not in the vocabulary"),
    ],
)
def test_language_models_that_break_a_rule_are_refused(layers: list[str], rule: str) -> None:
    assert rule in rule_broken(RecurrentSpace(65), *layers)


def test_the_embedding_comes_only_first() -> None:
    space = RecurrentSpace(65)
    [(state, _), *_] = space.trajectory(space.parse("[E(64), GRU(64,0), SM(65)]"))
    rule = "the embedding comes first"
    assert space.violation(state, parse_layer("GRU(64,0)")) == rule
    state = space.next_state(state, parse_layer("E(64)"))
    assert space.violation(state, parse_layer("E(64)")) == f"{rule} and only there"


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


@settings(max_examples=60, deadline=None)
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


@settings(max_examples=60, deadline=None)
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
