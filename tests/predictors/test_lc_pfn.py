from __future__ import annotations

import gzip
import io
import math
from pathlib import Path
import sys
from urllib.error import URLError

import numpy as np
import pytest

from optuna_perfpred import InContextPredictor
from optuna_perfpred.predictors import _pretrained


torch = pytest.importorskip("torch")
lcpfn = pytest.importorskip(
    "lcpfn",
    reason="lcpfn pins an old PyTorch: pip install --no-deps --ignore-requires-python lcpfn",
)


def make_network(*, published_loop, n_bars=50, emsize=16):
    """LC-PFN, but small and untrained, with PyTorch's loop over its layers or lcpfn's own."""
    from lcpfn.bar_distribution import BarDistribution
    from lcpfn.encoders import get_normalized_uniform_encoder
    from lcpfn.encoders import Linear
    from lcpfn.encoders import Normalize
    import lcpfn.layer
    from lcpfn.positional_encodings import NoPositionalEncoding
    from lcpfn.transformer import TransformerModel

    with torch.random.fork_rng(), pytest.MonkeyPatch.context() as patch:
        # Making layers, unlike reading them, needs names that it expects of PyTorch's `import *`.
        for name in ["Dropout", "LayerNorm", "Linear", "MultiheadAttention"]:
            patch.setattr(lcpfn.layer, name, getattr(torch.nn, name), raising=False)
        torch.manual_seed(0)
        network = TransformerModel(
            torch.nn.Sequential(
                Normalize(0.0, 101.0), Normalize(0.5, math.sqrt(1 / 12)), Linear(1, emsize)
            ),
            n_out=n_bars,
            ninp=emsize,
            nhead=2,
            nhid=2 * emsize,
            nlayers=2,
            dropout=0.2,
            y_encoder=get_normalized_uniform_encoder(Linear)(1, emsize),
            pos_encoder=NoPositionalEncoding(emsize),
            all_layers_same_init=published_loop,
        )
        for parameter in network.parameters():
            if parameter.dim() > 1:
                torch.nn.init.normal_(parameter, std=parameter.shape[-1] ** -0.5)
    network.criterion = BarDistribution(torch.linspace(0.0, 1.0, n_bars + 1))
    return network


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "tiny.pt"
    torch.save(make_network(published_loop=True), path)
    return path


@pytest.fixture
def place(tmp_path, nothing_loaded, monkeypatch):
    """Where lcpfn keeps its weights; nothing is there."""
    path = tmp_path / "trained_models" / "pfn.pt"
    monkeypatch.setattr(lcpfn, "model_dict", dict.fromkeys(lcpfn.model_dict, str(path)))
    return path


def fit(weights, curves):
    predictor = InContextPredictor("lc-pfn", weights=weights)
    return predictor.fit(np.empty((len(curves), 0)), curves, curves[:, -1])


def predict(predictor, curve):
    return predictor.predict(np.empty((1, 0)), np.array([curve]))


def test_a_forecast_is_that_of_lcpfn_for_the_same_curve(weights):
    model = lcpfn.LCPFN.__new__(lcpfn.LCPFN)
    torch.nn.Module.__init__(model)
    model.model = make_network(published_loop=False).eval()
    model.model.load_state_dict(torch.load(weights, weights_only=False).state_dict())
    predictor = fit(weights, np.array([[0.0, 0.4, 0.5, 0.6], [0.3, 0.7, 0.9, 1.0]]))
    forecast = predict(predictor, [0.2, 0.5, np.nan, np.nan])
    observed = {
        "x_train": torch.tensor([[1.0], [2.0]]),
        "y_train": torch.tensor([[0.2], [0.5]]) / 1.1,
        "x_test": torch.tensor([[4.0]]),
    }
    expected = model.predict_mean(**observed).item()
    assert forecast.mean[0] == pytest.approx(1.1 * expected, abs=1e-5)
    variance = model.model.criterion.variance(model(**observed)).item()
    assert forecast.std[0] == pytest.approx(1.1 * math.sqrt(variance), abs=1e-5)


def test_long_curves_are_brought_to_the_hundred_epochs_it_knows(weights):
    predictor = fit(weights, np.linspace([0.0, 0.5], [1.0, 0.8], 400).T)
    given = []
    hook = _pretrained.load_network("lc-pfn", weights).register_forward_pre_hook(
        lambda _, args: given.append(args[0][0].flatten().numpy())
    )
    predict(predictor, np.where(np.arange(400) < 300, np.linspace(0.1, 0.9, 400), np.nan))
    hook.remove()
    (x,) = given
    assert len(x) <= 101
    np.testing.assert_allclose(x[[0, -2, -1]], [0.25, 75.0, 100.0])


def test_nothing_but_the_range_is_learned_from_training_curves(weights):
    one = fit(weights, np.array([[0.0, 0.4, 0.5, 0.6], [0.3, 0.7, 0.9, 1.0]]))
    other = fit(weights, np.array([[0.0, 0.1, 0.1, 0.2], [0.9, 0.9, 0.9, 1.0]]))
    asked = [0.2, 0.5, np.nan, np.nan]
    assert predict(one, asked).mean[0] == pytest.approx(predict(other, asked).mean[0])


def test_a_failed_download_tells_how_to_get_the_weights(place, monkeypatch):
    asked = []

    def fail(url, timeout):
        asked.append((url, timeout))
        raise URLError("no network")

    monkeypatch.setattr("urllib.request.urlopen", fail)
    for _ in range(2):
        with pytest.raises(FileNotFoundError, match="LC-PFN") as told:
            InContextPredictor("lc-pfn")
        assert str(place) in str(told.value)
        assert asked[0][0] in str(told.value)
    assert len(asked) == 1
    assert asked[0][1] <= 60.0
    assert list(place.parent.iterdir()) == []


def test_weights_are_downloaded_to_their_place(place, weights, monkeypatch):
    content = weights.read_bytes()
    monkeypatch.setattr(
        "urllib.request.urlopen", lambda url, timeout: io.BytesIO(gzip.compress(content))
    )
    InContextPredictor("lc-pfn")
    assert place.read_bytes() == content


def test_weights_of_the_other_network_are_refused(weights):
    pytest.importorskip("ifbo")
    with pytest.raises(ValueError, match="does not hold a network of FT-PFN"):
        InContextPredictor("ft-pfn", weights=weights)


def test_modules_of_the_user_are_not_hidden_by_its_own(place, weights, monkeypatch):
    folder = str(Path(lcpfn.__file__).parent)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry != folder])
    for name in [name for name in sys.modules if name.split(".")[0] == "lcpfn"]:
        monkeypatch.delitem(sys.modules, name)
    InContextPredictor("lc-pfn", weights=weights)
    assert "lcpfn" in sys.modules
    assert folder not in sys.path
