"""The reference, from the docstrings: sphinx-build -W .docs site."""

from __future__ import annotations

import optuna_perfpred


project = "optuna_perfpred"
author = "The authors of optuna_perfpred"
version = release = optuna_perfpred.__version__
extensions = ["sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.napoleon"]
autosummary_ignore_module_all = False
autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
# What callbacks are derived from need not be installed.
autodoc_mock_imports = ["lightning", "torch", "torchvision", "transformers"]
exclude_patterns = ["_build"]
html_title = "optuna_perfpred"
