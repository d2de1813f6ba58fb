"""The environment of a process that computes on one thread; it counts only before numpy is loaded."""

from __future__ import annotations

import os

_ONE_THREAD = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)
_ENVIRONMENT = dict.fromkeys(_ONE_THREAD, "1") | {"TF_ENABLE_ONEDNN_OPTS": "0"}
"""TensorFlow's oneDNN keeps something of every shape that it has seen, 150 MB after a thousand calls, and is no faster on
single calls."""


def one_thread() -> dict[str, str]:
    """What the environment has to say, where the user's says nothing else."""
    return {name: os.environ.get(name, value) for name, value in _ENVIRONMENT.items()}
