"""Variables that must be set before torch is imported; `runtime` owns the rest. No torch here."""

from __future__ import annotations

import os

# A short spin: with few busy cores OpenMP's endless one makes steps ten times slower, and none (a passive wait)
# made the small models' steps twice as slow, measured on 2 cores. The other makes cuBLAS repeat itself.
ENVIRONMENT = {"GOMP_SPINCOUNT": "10000", "CUBLAS_WORKSPACE_CONFIG": ":4096:8"}


def prepare_environment() -> None:
    """Set ENVIRONMENT where the user set nothing."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
