from __future__ import annotations

import sys

from optuna_perfpred._cli import main


sys.exit(main())
