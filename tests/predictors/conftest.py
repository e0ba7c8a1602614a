from __future__ import annotations

import pytest

from optuna_perfpred.predictors import _pretrained


def make_ft_pfn(n_bars=50, emsize=16):
    """FT-PFN, but small and untrained: it depends on everything that it is given."""
    from ifbo.bar_distribution import BarDistribution
    from ifbo.encoders import get_normalized_uniform_encoder
    from ifbo.encoders import Linear
    from ifbo.positional_encodings import NoPositionalEncoding
    from ifbo.priors.ftpfn_prior import get_encoder
    from ifbo.transformer import TransformerModel
    import torch

    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = TransformerModel(
            encoder=get_encoder()(12, emsize),
            ninp=emsize,
            nhead=2,
            nhid=2 * emsize,
            nlayers=2,
            y_encoder=get_normalized_uniform_encoder(Linear)(1, emsize),
            pos_encoder=NoPositionalEncoding(emsize),
            decoder_dict={"standard": (None, n_bars)},
        )
        for parameter in network.parameters():
            if parameter.dim() > 1:
                torch.nn.init.normal_(parameter, std=parameter.shape[-1] ** -0.5)
    network.criterion = BarDistribution(torch.linspace(0.0, 1.0, n_bars + 1))
    return network


@pytest.fixture(scope="session")
def ft_pfn_weights(tmp_path_factory):
    torch = pytest.importorskip("torch")
    pytest.importorskip("ifbo", reason="ifbo does not support this Python version")
    path = tmp_path_factory.mktemp("weights") / "tiny.pt"
    torch.save(make_ft_pfn(), path)
    return path


@pytest.fixture
def nothing_loaded(monkeypatch):
    monkeypatch.setattr(_pretrained, "_networks", {})
    monkeypatch.setattr(_pretrained, "_failed_downloads", {})
