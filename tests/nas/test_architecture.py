from __future__ import annotations

from dataclasses import FrozenInstanceError
import pickle

from hypothesis import given
from hypothesis import strategies as st
import pytest

from optuna_perfpred.nas import Architecture
from optuna_perfpred.nas import Convolution
from optuna_perfpred.nas import Dropout
from optuna_perfpred.nas import GlobalAveragePooling
from optuna_perfpred.nas import LayerShapes
from optuna_perfpred.nas import Pooling
from optuna_perfpred.nas import Softmax
from tests.nas.architectures import conv_nets
from tests.nas.architectures import language_models


architectures = conv_nets() | language_models()


@given(architectures)
def test_an_architecture_is_parsed_from_what_it_prints(architecture: Architecture) -> None:
    notation = str(architecture)
    parsed = Architecture.parse(notation, architecture.input_shape)
    assert parsed == architecture
    assert hash(parsed) == hash(architecture)
    assert str(parsed) == notation
    assert parsed.shapes == architecture.shapes


@given(architectures, architectures)
def test_architectures_are_equal_if_they_print_alike_for_the_same_input(
    one: Architecture, other: Architecture
) -> None:
    alike = (str(one), one.input_shape) == (str(other), other.input_shape)
    assert (one == other) is alike
    assert len({one, other}) == (1 if alike else 2)


@given(architectures, st.booleans())
def test_an_architecture_is_pickled(architecture: Architecture, counted: bool) -> None:
    if counted:
        _ = architecture.num_weights
    copy = pickle.loads(pickle.dumps(architecture))
    assert copy == architecture
    assert copy.num_weights == architecture.num_weights


def test_an_architecture_prints_as_published() -> None:
    layers = (Convolution(64, 3), Pooling(2, 2), Dropout(1, 1), Softmax(10))
    assert str(Architecture(layers, (3, 32, 32))) == "[C(64,3,1), P(2,2), D(1,1), SM(10)]"


def test_spaces_in_the_notation_do_not_matter() -> None:
    assert Architecture.parse(" [C(64, 3,1),P(2,2) ,SM( 10 )]\n") == Architecture.parse(
        "[C(64,3,1), P(2,2), SM(10)]"
    )


def test_an_architecture_cannot_be_changed() -> None:
    architecture = Architecture.parse("[C(64,3,1), SM(10)]")
    with pytest.raises(FrozenInstanceError):
        architecture.layers = ()  # type: ignore[misc]
    with pytest.raises(TypeError):
        architecture.layers[0] = Pooling(2, 2)  # type: ignore[index]


@pytest.mark.parametrize(
    ("notation", "num_layers", "num_weights"),
    [
        # A published network and the number of weights recorded of it.
        ("[C(64,5,1), C(256,3,1), D(1,1), GAP(10), SM(10)]", 4, 154816),
        ("[C(64,1,1), SM(10)]", 2, 3 * 64 + 64 * 32 * 32 * 10),
        ("[C(64,1,1), GAP(10), SM(10)]", 3, 3 * 64 + 64 * 10),
        (
            "[C(128,3,1), P(5,3), C(64,3,1), D(1,3), P(2,2), FC(256), D(2,3), FC(128), SM(10)]",
            7,
            3 * 128 * 9 + 128 * 64 * 9 + 64 * 5 * 5 * 256 + 256 * 128 + 128 * 10,
        ),
        ("[C(64,3,1), D(1,1), GAP(10), D(1,1), SM(10)]", 3, 3 * 64 * 9 + 64 * 10),
    ],
)
def test_layers_and_weights_are_counted_as_published(
    notation: str, num_layers: int, num_weights: int
) -> None:
    architecture = Architecture.parse(notation)
    assert architecture.num_layers == num_layers
    assert architecture.num_weights == num_weights


def test_weights_of_a_language_model_are_counted() -> None:
    architecture = Architecture.parse("[E(8), LSTM(16,0.2), GRU(4,0), SM(65)]", (65,))
    assert architecture.num_layers == 4
    weights = [65 * 8, 4 * 16 * (8 + 16), 3 * 4 * (16 + 4), 4 * 65]
    assert [shapes.num_weights for shapes in architecture.shapes] == weights
    assert architecture.num_weights == sum(weights)
    assert architecture.output_shapes == ((8,), (16,), (4,), (65,))


def test_the_size_of_each_output_is_known() -> None:
    architecture = Architecture.parse(
        "[C(64,3,1), P(5,3), D(1,2), C(128,1,2), P(2,2), D(2,2), FC(9), SM(10)]", (1, 32, 20)
    )
    assert architecture.output_shapes == (
        (64, 32, 20),
        (64, 10, 6),
        (64, 10, 6),
        (128, 5, 3),
        (128, 2, 1),
        (128, 2, 1),
        (9,),
        (10,),
    )


@given(architectures)
def test_what_a_layer_gives_is_what_the_next_one_is_given(architecture: Architecture) -> None:
    shapes = architecture.shapes
    assert tuple(entry.layer for entry in shapes) == architecture.layers
    given_shapes = [architecture.input_shape, *architecture.output_shapes]
    assert [entry.input_shape for entry in shapes] == given_shapes[:-1]
    assert all(isinstance(entry, LayerShapes) for entry in shapes)
    assert architecture.num_weights == sum(entry.num_weights for entry in shapes)


@pytest.mark.parametrize(
    ("plain", "with_dropout"),
    [
        ("[C(64,3,1), GAP(10), SM(10)]", "[C(64,3,1), GAP(10), SM(10)]"),
        ("[C(64,3,1), SM(10)]", "[C(64,3,1), SM(10)]"),
        (
            "[C(64,5,1), C(256,3,1), GAP(10), SM(10)]",
            "[C(64,5,1), C(256,3,1), D(1,1), GAP(10), SM(10)]",
        ),
        ("[C(8,3,1), P(2,2), C(8,3,1), SM(10)]", "[C(8,3,1), P(2,2), D(1,1), C(8,3,1), SM(10)]"),
        (
            "[C(8,3,1), P(5,3), FC(8), FC(4), SM(10)]",
            "[C(8,3,1), P(5,3), D(1,2), FC(8), FC(4), D(2,2), SM(10)]",
        ),
    ],
)
def test_dropout_follows_every_second_layer_but_not_the_classifier(
    plain: str, with_dropout: str
) -> None:
    architecture = Architecture.parse(plain)
    assert str(architecture.with_dropout()) == with_dropout
    assert Architecture.parse(with_dropout).without_dropout() == architecture


@given(conv_nets().map(Architecture.without_dropout))
def test_the_dropout_schedule_changes_neither_layers_nor_weights(
    architecture: Architecture,
) -> None:
    scheduled = architecture.with_dropout()
    assert scheduled.without_dropout() == architecture
    assert scheduled.num_weights == architecture.num_weights
    assert scheduled.num_layers == architecture.num_layers
    assert scheduled.with_dropout() == scheduled
    dropouts = [layer for layer in scheduled.layers if isinstance(layer, Dropout)]
    before_classifier = [
        layer
        for layer in architecture.layers
        if not isinstance(layer, GlobalAveragePooling | Softmax)
    ]
    n = len(before_classifier) // 2
    assert [layer.probability for layer in dropouts] == [i / (2 * n) for i in range(1, n + 1)]
    # Three entries a pair of layers: two layers, then dropout.
    assert all(isinstance(scheduled.layers[3 * i + 2], Dropout) for i in range(n))


def test_dropout_of_its_own_is_kept() -> None:
    architecture = Architecture.parse("[C(8,3,1), D(2,3), C(8,3,1), SM(10)]")
    assert architecture.with_dropout() is architecture


@given(language_models())
def test_recurrent_layers_bring_their_own_dropout(architecture: Architecture) -> None:
    assert architecture.with_dropout() is architecture


@pytest.mark.parametrize(
    ("notation", "match"),
    [
        ("C(64,3,1), SM(10)", "written in brackets"),
        ("[C(64,3,1), SM(10)", "written in brackets"),
        ("", "written in brackets"),
        ("[]", "Unknown layer ''"),
        ("[C(64,3,1),, SM(10)]", "Unknown layer ''"),
        ("[C(64,3,1) SM(10)]", "Unknown layer"),
        ("[C(64,3,1), X(7), SM(10)]", r"Unknown layer 'X\(7\)'"),
        ("[C(64,3), SM(10)]", r"'C\(64,3\)' must be written"),
        ("[C(64,3,1), GAP(9), SM(10)]", r"SM\(10\) must have the classes of GAP\(9\)"),
        ("[C(64,3,1), FC(10), C(64,3,1), SM(10)]", r"C\(64,3,1\) needs \(channels"),
        ("[C(64,3,1), FC(10), GAP(10), SM(10)]", r"GAP\(10\) needs \(channels"),
        ("[P(33,1), SM(10)]", r"P\(33,1\) cannot be applied to 32 × 32"),
    ],
)
def test_what_is_no_architecture_is_refused(notation: str, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        Architecture.parse(notation)


@pytest.mark.parametrize("input_shape", [(), (3, 32), (0, 32, 32), (3, 32, -1), (1, 3, 32, 32)])
def test_inputs_that_are_no_images_are_refused(input_shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"positive numbers|needs \(channels"):
        Architecture.parse("[C(64,3,1), SM(10)]", input_shape)


@pytest.mark.parametrize("notation", ["[C(64,3,1)]", "[C(64,3,1), GAP(10)]", "[SM(9), D(1,1)]"])
def test_what_ends_an_architecture_is_the_business_of_the_space(notation: str) -> None:
    assert str(Architecture.parse(notation)) == notation


def test_no_layers_are_no_architecture() -> None:
    with pytest.raises(ValueError, match="must have layers"):
        Architecture((), (3, 32, 32))


@given(st.text(alphabet="[]CPFSMGA(),0123 D"))
def test_any_text_is_an_architecture_or_a_value_error(text: str) -> None:
    try:
        architecture = Architecture.parse(f"[{text}]")
    except ValueError:
        return
    assert Architecture.parse(str(architecture)) == architecture
