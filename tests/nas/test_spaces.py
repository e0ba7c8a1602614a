from __future__ import annotations

from itertools import product
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
