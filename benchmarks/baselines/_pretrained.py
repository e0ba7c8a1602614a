"""Pretrained curve networks: where their weights are, and how they are read."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
import gzip
import importlib
from pathlib import Path
import shutil
import sys
import tempfile
import threading
from typing import Any
from typing import TYPE_CHECKING
from urllib import request


if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Iterator
    import os
    from types import ModuleType

    import torch


_FT_PFN_VERSION = "0.0.1"
# The larger of the two that lcpfn offers, and its default.
_LC_PFN_NETWORK = "EMSIZE512_NLAYERS12_NBUCKETS1000"
# The same address stands inside of `lcpfn.prepare_models`, which this replaces: that one waits
# without limit, and keeps a page of an error as if it were the file.
_LC_PFN_URL = "https://ml.informatik.uni-freiburg.de/research-artifacts/lcpfn/"
_DOWNLOAD_ATTEMPTS = 2
_DOWNLOAD_TIMEOUT = 60.0


@dataclass(frozen=True)
class PretrainedModel:
    """A network that others trained and offer for download.

    Attributes:
        name:
            What its authors call it.
        package:
            The Python package that defines its classes.
        install:
            How to install that package.
        path:
            Gives the file in which the package keeps the weights.
        url:
            Gives the address of the weights.
        fetch:
            Downloads and unpacks the weights into a folder, and gives the file.
        n_inputs:
            The smallest number of inputs for an observation.
    """

    name: str
    package: str
    install: str
    path: Callable[[ModuleType], Path]
    url: Callable[[ModuleType], str]
    fetch: Callable[[ModuleType, Path], Path]
    n_inputs: int


def _ft_pfn_path(ifbo: ModuleType) -> Path:
    return Path.cwd() / ".model" / str(ifbo.download.WEIGHTS_FINAL_NAME(_FT_PFN_VERSION))


def _ft_pfn_url(ifbo: ModuleType) -> str:
    return str(ifbo.download.FILE_URL(_FT_PFN_VERSION))


def _fetch_ft_pfn(ifbo: ModuleType, folder: Path) -> Path:
    ifbo.download.download_and_decompress(
        url=_ft_pfn_url(ifbo),
        path=folder / ifbo.download.FILENAME(_FT_PFN_VERSION),
        max_retries=_DOWNLOAD_ATTEMPTS,
    )
    return folder / _ft_pfn_path(ifbo).name


def _lc_pfn_path(lcpfn: ModuleType) -> Path:
    return Path(lcpfn.model_dict[_LC_PFN_NETWORK])


def _lc_pfn_url(lcpfn: ModuleType) -> str:
    return f"{_LC_PFN_URL}{_lc_pfn_path(lcpfn).name}.gz"


def _fetch_lc_pfn(lcpfn: ModuleType, folder: Path) -> Path:
    path = folder / _lc_pfn_path(lcpfn).name
    with (
        request.urlopen(_lc_pfn_url(lcpfn), timeout=_DOWNLOAD_TIMEOUT) as response,
        gzip.open(response) as source,
        path.open("wb") as target,
    ):
        shutil.copyfileobj(source, target)
    return path


MODELS = {
    "ft-pfn": PretrainedModel(
        name="FT-PFN",
        package="ifbo",
        install='pip install "optuna_perfpred[baselines]"',
        path=_ft_pfn_path,
        url=_ft_pfn_url,
        fetch=_fetch_ft_pfn,
        n_inputs=3,
    ),
    "lc-pfn": PretrainedModel(
        name="LC-PFN",
        package="lcpfn",
        # It asks for PyTorch 1.11 and Python 3.11 at most. What is used of it runs on later ones.
        install='pip install "optuna_perfpred[baselines]" && '
        "pip install --no-deps --ignore-requires-python lcpfn",
        path=_lc_pfn_path,
        url=_lc_pfn_url,
        fetch=_fetch_lc_pfn,
        n_inputs=1,
    ),
}

_lock = threading.Lock()
_networks: dict[tuple[str, str | None], torch.nn.Module] = {}
_failed_downloads: dict[Path, str] = {}


def load_network(model: str, weights: str | os.PathLike[str] | None) -> torch.nn.Module:
    """Read a pretrained network, once in a process.

    Args:
        model:
            A key of :data:`MODELS`.
        weights:
            The file of its weights. If :obj:`None`, the one in which its package keeps them; it
            is downloaded if it does not exist, which is tried once in a process.

    Returns:
        The network, ready to predict. It is shared and must not be changed.

    Raises:
        ImportError:
            If the package of the model is missing.
        FileNotFoundError:
            If there are no weights and they could not be downloaded.
        ValueError:
            If the file holds something else.
    """
    # The name as given: an objective may change the working directory.
    key = (model, None if weights is None else str(weights))
    with _lock:
        if key not in _networks:
            with _unchanged_import_path():
                _networks[key] = _find_and_read(MODELS[model], weights)
        return _networks[key]


@contextmanager
def _unchanged_import_path() -> Iterator[None]:
    # lcpfn enters its own folder, whose `utils` and `train` would hide modules of the user.
    before = set(sys.path)
    try:
        yield
    finally:
        sys.path[:] = [entry for entry in sys.path if entry in before]


def _find_and_read(
    pretrained: PretrainedModel, weights: str | os.PathLike[str] | None
) -> torch.nn.Module:
    package = _import(pretrained)
    path = (pretrained.path(package) if weights is None else Path(weights)).absolute()
    if weights is None:
        _download(pretrained, package, path)
    elif not path.is_file():
        raise FileNotFoundError(
            f"The weights of {pretrained.name} were not found: {path} is not a file."
        )
    return _read(pretrained, path)


def _import(pretrained: PretrainedModel) -> ModuleType:
    try:
        importlib.import_module("torch")
        return importlib.import_module(pretrained.package)
    except ImportError as error:
        raise ImportError(
            f"{pretrained.name} needs PyTorch and the package {pretrained.package} ({error}): "
            f"{pretrained.install}"
        ) from error


def _download(pretrained: PretrainedModel, package: ModuleType, path: Path) -> None:
    if path.is_file():
        return
    if path not in _failed_downloads:
        try:
            # Moved into place when complete: other processes may look for it.
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=path.parent) as folder:
                pretrained.fetch(package, Path(folder)).replace(path)
            return
        except Exception as error:
            # Told again without another attempt: a pruner asks at each step of a trial.
            _failed_downloads[path] = repr(error)
    raise FileNotFoundError(
        f"The weights of {pretrained.name} were not found at {path}, and their download from "
        f"{pretrained.url(package)} failed: {_failed_downloads[path]}. This process does not try "
        "again. Download and unpack that file on a machine that can reach it, and give the path "
        "of the .pt file in it as `weights`."
    )


def _read(pretrained: PretrainedModel, path: Path) -> torch.nn.Module:
    import torch

    try:
        network = torch.load(path, map_location="cpu", weights_only=False)
        _use_own_loop_over_layers(pretrained, network)
        network.eval().requires_grad_(False)
        x = torch.zeros(2, 1, pretrained.n_inputs)
        with torch.inference_mode():
            logits = network((x, torch.zeros(1, 1)), single_eval_pos=1)
        n_bars = len(network.criterion.borders) - 1
        if logits.shape != (1, 1, n_bars):
            raise ValueError(f"Its output has shape {tuple(logits.shape)}, not {(1, 1, n_bars)}.")
    except Exception as error:
        raise ValueError(
            f"{path} does not hold a network of {pretrained.name} as the package "
            f"{pretrained.package} stores them: {error!r}"
        ) from error
    loaded: torch.nn.Module = network
    return loaded


def _use_own_loop_over_layers(pretrained: PretrainedModel, network: Any) -> None:
    """Replace PyTorch's loop over the layers by the package's own, which does the same.

    PyTorch 2 passes an argument to the layers (``is_causal``) that those of lcpfn do not know.
    """
    import torch

    encoder = network.transformer_encoder
    if isinstance(encoder, torch.nn.TransformerEncoder):
        layers = iter(encoder.layers)
        transformer = importlib.import_module(f"{pretrained.package}.transformer")
        network.transformer_encoder = transformer.TransformerEncoderDiffInit(
            lambda: next(layers), len(encoder.layers), encoder.norm
        )
