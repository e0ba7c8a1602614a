from __future__ import annotations

from dataclasses import FrozenInstanceError
import pickle

from hypothesis import given
from hypothesis import strategies as st
import pytest

from optuna_perfpred.nas import Convolution
from optuna_perfpred.nas import Dropout
from optuna_perfpred.nas import Embedding
from optuna_perfpred.nas import FullyConnected
from optuna_perfpred.nas import GlobalAveragePooling
from optuna_perfpred.nas import GRU
from optuna_perfpred.nas import Layer
from optuna_perfpred.nas import LSTM
from optuna_perfpred.nas import parse_layer
from optuna_perfpred.nas import Pooling
from optuna_perfpred.nas import Softmax
from tests.nas.architectures import layers


IMAGE = (3, 32, 24)

PRINTED = [
    (Convolution(64, 3), "C(64,3,1)"),
    (Convolution(64, 5, 2), "C(64,5,2)"),
    (Pooling(2, 2), "P(2,2)"),
    (FullyConnected(128), "FC(128)"),
    (Dropout(1, 2), "D(1,2)"),
    (GlobalAveragePooling(10), "GAP(10)"),
    (Softmax(10), "SM(10)"),
    (Embedding(128), "E(128)"),
    (LSTM(256, 0.2), "LSTM(256,0.2)"),
    (LSTM(256), "LSTM(256,0)"),
    (GRU(128, 0.5), "GRU(128,0.5)"),
]


@pytest.mark.parametrize(("layer", "notation"), PRINTED)
def test_a_layer_prints_as_published(layer: Layer, notation: str) -> None:
    assert str(layer) == notation
    assert parse_layer(notation) == layer


@given(layers)
def test_a_layer_is_parsed_from_what_it_prints(layer: Layer) -> None:
    parsed = parse_layer(str(layer))
    assert parsed == layer
    assert hash(parsed) == hash(layer)
    assert type(parsed) is type(layer)
    assert str(parsed) == str(layer)


@given(layers, layers)
def test_layers_are_equal_if_they_print_alike(one: Layer, other: Layer) -> None:
    assert (one == other) is (str(one) == str(other))


@given(layers)
def test_a_layer_is_pickled(layer: Layer) -> None:
    assert pickle.loads(pickle.dumps(layer)) == layer


@pytest.mark.parametrize("layer", [layer for layer, _ in PRINTED])
def test_a_layer_cannot_be_changed(layer: Layer) -> None:
    [name, *_] = layer.__dict__
    with pytest.raises(FrozenInstanceError):
        setattr(layer, name, 3)


def test_spaces_within_the_notation_do_not_matter() -> None:
    assert parse_layer("  C( 64, 3 ,1 ) ") == Convolution(64, 3, 1)


@pytest.mark.parametrize(
    "notation",
    ["", "C", "X(3)", "c(64,3,1)", "C(64,3,1", "C 64", "C(64,3,1)x", "SM(10)SM(10)", "(3)", "?"],
)
def test_an_unknown_layer_is_refused_with_the_known_ones(notation: str) -> None:
    with pytest.raises(ValueError, match=r"Unknown layer .*C\(filters,size,stride\)") as error:
        parse_layer(notation)
    assert repr(notation) in str(error.value)


@pytest.mark.parametrize(
    ("notation", "written"),
    [
        ("C(64,3)", r"C\(filters,size,stride\)"),
        ("C(64,3,1,1)", r"C\(filters,size,stride\)"),
        ("C(64,3,one)", r"C\(filters,size,stride\)"),
        ("C(64.5,3,1)", r"C\(filters,size,stride\)"),
        ("P()", r"P\(size,stride\)"),
        ("FC(12,)", r"FC\(units\)"),
        ("LSTM(64)", r"LSTM\(units,dropout\)"),
        ("GRU(64.5,0.1)", r"GRU\(units,dropout\)"),
    ],
)
def test_wrong_arguments_in_the_notation_are_refused_with_how_to_write_the_layer(
    notation: str, written: str
) -> None:
    with pytest.raises(ValueError, match=rf"must be written {written}"):
        parse_layer(notation)


@given(st.text() | st.from_regex(r"(C|P|FC|D|GAP|SM|E|LSTM|GRU)\([-+.,_e0-9nai ]*\)"))
def test_any_text_is_a_layer_or_a_value_error(text: str) -> None:
    try:
        layer = parse_layer(text)
    except ValueError:
        return
    assert parse_layer(str(layer)) == layer


@pytest.mark.parametrize(
    ("notation", "match"),
    [
        ("C(0,3,1)", "must be positive"),
        ("C(64,-1,1)", "must be positive"),
        ("C(64,3,0)", "must be positive"),
        ("C(64,2,1)", "must be odd"),
        ("P(0,1)", "must be positive"),
        ("P(2,0)", "must be positive"),
        ("FC(0)", "must be positive"),
        ("D(0,2)", "must be positive"),
        ("D(3,2)", "i-th of n"),
        ("GAP(0)", "must be positive"),
        ("SM(-10)", "must be positive"),
        ("E(0)", "must be positive"),
        ("LSTM(0,0)", "at least one unit"),
        ("LSTM(8,1)", r"dropout must be in \[0, 1\)"),
        ("GRU(8,-0.1)", r"dropout must be in \[0, 1\)"),
        ("GRU(8,nan)", r"dropout must be in \[0, 1\)"),
        ("GRU(8,inf)", r"dropout must be in \[0, 1\)"),
    ],
)
def test_arguments_out_of_range_are_refused(notation: str, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        parse_layer(notation)


@pytest.mark.parametrize(
    ("layer", "output_shape", "num_weights"),
    [
        (Convolution(64, 3), (64, 32, 24), 3 * 64 * 9),
        (Convolution(64, 5), (64, 32, 24), 3 * 64 * 25),
        (Convolution(8, 3, 2), (8, 16, 12), 3 * 8 * 9),
        (Convolution(8, 1, 5), (8, 7, 5), 3 * 8),
        (Pooling(2, 2), (3, 16, 12), 0),
        (Pooling(3, 2), (3, 15, 11), 0),
        (Pooling(5, 3), (3, 10, 7), 0),
        (Pooling(24, 1), (3, 9, 1), 0),
        (FullyConnected(10), (10,), 3 * 32 * 24 * 10),
        (Dropout(1, 2), IMAGE, 0),
        (GlobalAveragePooling(10), (10,), 3 * 10),
        (Softmax(10), (10,), 3 * 32 * 24 * 10),
    ],
)
def test_a_layer_knows_what_it_makes_of_an_image(
    layer: Layer, output_shape: tuple[int, ...], num_weights: int
) -> None:
    assert layer.output_shape(IMAGE) == output_shape
    assert layer.num_weights(IMAGE) == num_weights


@pytest.mark.parametrize(
    ("layer", "num_weights"),
    [
        (FullyConnected(5), 7 * 5),
        (Softmax(5), 7 * 5),
        (Embedding(5), 7 * 5),
        (LSTM(5, 0.5), 4 * 5 * (7 + 5)),
        (GRU(5), 3 * 5 * (7 + 5)),
    ],
)
def test_a_layer_knows_what_it_makes_of_features(layer: Layer, num_weights: int) -> None:
    assert layer.output_shape((7,)) == (5,)
    assert layer.num_weights((7,)) == num_weights


@given(st.integers(1, 60), st.integers(1, 8), st.integers(1, 5))
def test_pooling_leaves_the_published_size(side: int, window: int, stride: int) -> None:
    layer = Pooling(window, stride)
    if window > side:
        with pytest.raises(ValueError, match="cannot be applied"):
            layer.output_shape((1, side, side))
    else:
        # As many windows fit as there are places to begin one.
        places = len(range(0, side - window + 1, stride))
        assert layer.output_shape((1, side, side)) == (1, places, places)


@pytest.mark.parametrize(
    "layer", [Convolution(8, 3), Pooling(2, 2), GlobalAveragePooling(10)], ids=str
)
def test_layers_for_images_refuse_features(layer: Layer) -> None:
    with pytest.raises(ValueError, match=r"needs \(channels, height, width\)"):
        layer.output_shape((7,))


@pytest.mark.parametrize("layer", [LSTM(8), GRU(8), Embedding(8)], ids=str)
def test_layers_for_sequences_count_no_weights_on_images(layer: Layer) -> None:
    with pytest.raises(ValueError, match=r"needs \(features,\)"):
        layer.num_weights(IMAGE)


def test_a_pooling_window_must_fit_the_shorter_side() -> None:
    assert Pooling(3, 2).output_shape((1, 9, 3)) == (1, 4, 1)
    with pytest.raises(ValueError, match=r"P\(3,2\) cannot be applied to 9 × 2 values"):
        Pooling(3, 2).output_shape((1, 9, 2))


@pytest.mark.parametrize(("index", "probability"), [(1, 0.125), (2, 0.25), (3, 0.375), (4, 0.5)])
def test_the_i_th_of_n_dropouts_has_the_published_probability(
    index: int, probability: float
) -> None:
    assert Dropout(index, 4).probability == probability
