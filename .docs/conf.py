"""The reference, from the docstrings: sphinx-build -W .docs site."""

from __future__ import annotations

import optuna_perfpred


project = "optuna_perfpred"
author = "The authors of optuna_perfpred"
version = release = optuna_perfpred.__version__
extensions = ["sphinx.ext.autodoc", "sphinx.ext.doctest", "sphinx.ext.napoleon"]
autodoc_default_options = {
    "members": True,
    "imported-members": True,
    "show-inheritance": True,
    # scikit-learn gives them to all that have a `fit`, with references into its own pages.
    "exclude-members": "set_fit_request, set_predict_request",
}
napoleon_use_ivar = True  # Fields of named tuples are members already.
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
# What callbacks are derived from need not be installed.
autodoc_mock_imports = ["lightning", "torch", "torchvision", "transformers"]
html_title = "optuna_perfpred"
