"""Serve the storage in the environment variable OPTUNA_STORAGE to gRPC clients."""

from __future__ import annotations

import os
import signal
import sys

from optuna.storages import get_storage
from optuna.storages import run_grpc_proxy_server


# The first process of a container ignores SIGTERM unless it has a handler.
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
run_grpc_proxy_server(
    get_storage(os.environ["OPTUNA_STORAGE"]),
    host="0.0.0.0",
    port=int(os.environ.get("PORT", "13000")),
)
