from __future__ import annotations

import io
import sys
import tarfile

import pytest
from sklearn.base import clone

from optuna_perfpred import InContextPredictor
from optuna_perfpred.predictors import _pretrained


torch = pytest.importorskip("torch")
ifbo = pytest.importorskip("ifbo", reason="ifbo does not support this Python version")

FILE_NAME = ifbo.download.WEIGHTS_FINAL_NAME("0.0.1")


@pytest.fixture
def weights(ft_pfn_weights):
    return ft_pfn_weights


class Download:
    """What ifbo's download is answered, counted."""

    def __init__(self, monkeypatch, answer):
        self.n_asked = 0
        self.waited = 0.0
        self._answer = answer
        monkeypatch.setattr(ifbo.download.requests, "get", self._get)
        monkeypatch.setattr(ifbo.download.time, "sleep", self._sleep)

    def _get(self, url, **kwargs):
        self.n_asked += 1
        if isinstance(self._answer, Exception):
            raise self._answer
        response = ifbo.download.requests.Response()
        response.status_code = 200 if isinstance(self._answer, bytes) else self._answer
        response.raw = io.BytesIO(self._answer if isinstance(self._answer, bytes) else b"")
        return response

    def _sleep(self, seconds):
        self.waited += seconds


@pytest.mark.parametrize("answer", [ConnectionError("no network"), 503, 404, b"not an archive"])
def test_a_failed_download_tells_how_to_get_the_weights(
    answer, weights, nothing_loaded, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    download = Download(monkeypatch, answer)
    expected = tmp_path / ".model" / FILE_NAME
    for _ in range(2):
        with pytest.raises(FileNotFoundError, match="FT-PFN") as told:
            InContextPredictor()
        assert str(expected) in str(told.value)
        assert ifbo.download.FILE_URL("0.0.1") in str(told.value)
        assert "`weights`" in str(told.value)
    assert 1 <= download.n_asked <= 2
    assert download.waited < 10.0
    # Nothing is left that would be taken for the weights; they may be put there.
    assert list(expected.parent.iterdir()) == []
    expected.write_bytes(weights.read_bytes())
    InContextPredictor()


def test_weights_are_downloaded_once(weights, nothing_loaded, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        tar.add(weights, arcname=FILE_NAME)
    download = Download(monkeypatch, archive.getvalue())
    clone(InContextPredictor())
    _pretrained._networks.clear()
    InContextPredictor()
    assert download.n_asked == 1
    assert [path.name for path in (tmp_path / ".model").iterdir()] == [FILE_NAME]


@pytest.mark.parametrize(
    "content", [b"", b"no network", {"state": "dict"}, torch.nn.Linear(1, 1)], ids=str
)
def test_a_file_of_something_else_is_refused(content, tmp_path):
    path = tmp_path / "other.pt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(ValueError, match=r"other\.pt does not hold a network of FT-PFN"):
        InContextPredictor(weights=path)


@pytest.mark.parametrize("missing", ["ifbo", "torch"])
def test_a_missing_package_is_told_with_its_extra(missing, nothing_loaded, weights, monkeypatch):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ImportError, match=r'pip install "optuna_perfpred\[pfn\]"'):
        InContextPredictor(weights=weights)


def test_a_missing_lcpfn_is_told_with_its_installation(monkeypatch):
    monkeypatch.setitem(sys.modules, "lcpfn", None)
    with pytest.raises(ImportError, match=r"optuna_perfpred\[pfn\].*--no-deps .*lcpfn"):
        InContextPredictor("lc-pfn", weights="any.pt")
