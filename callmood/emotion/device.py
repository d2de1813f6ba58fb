"""Choosing where the networks run; to be called before anything else loads TensorFlow."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from callmood.errors import EngineUnavailableError
from callmood.text import quiet_stderr

_NOT_NEEDED = ("matplotlib", "pandas", "sklearn")
"""Packages that Keras loads where it finds them, for uses that we do not make of it: two seconds and 145 MB."""
_own_process = False


def own_process() -> None:
    """Say that this process is callmood's alone, so that Keras may be loaded without what only others would use."""
    global _own_process
    _own_process = True


def import_tensorflow() -> Any:
    """TensorFlow, without the messages that it prints on being loaded, and of every shape that is new to it."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    with quiet_stderr(), _without_what_others_use():
        import tensorflow
    tensorflow.get_logger().setLevel("ERROR")
    return tensorflow


@contextmanager
def _without_what_others_use() -> Iterator[None]:
    """In a process of our own, what Keras would load for others cannot be loaded meanwhile, but for what is already."""
    loading = _own_process and "tensorflow" not in sys.modules
    hidden = [package for package in _NOT_NEEDED if loading and package not in sys.modules]
    for package in hidden:
        sys.modules[package] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        for package in hidden:
            sys.modules.pop(package, None)


def use_device(device: str) -> None:
    """Set TensorFlow up for `auto`, `cpu` or `gpu`, with one thread per process.

    Workers run side by side, one per core, so that more threads in each only take cores from one another.

    Raises
    ------
    EngineUnavailableError
        `gpu` was asked for and TensorFlow sees none.
    """
    if device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    config = import_tensorflow().config
    gpus = config.list_physical_devices("GPU") if device != "cpu" else []
    if device == "gpu" and not gpus:
        raise EngineUnavailableError(
            "TensorFlow sees no GPU on this machine; see `callmood doctor`, or use --device auto."
        )
    try:
        config.threading.set_intra_op_parallelism_threads(1)
        config.threading.set_inter_op_parallelism_threads(1)
        for gpu in gpus:
            config.experimental.set_memory_growth(gpu, True)
        if gpus:
            # TF32 keeps 10 bits of each factor: probabilities would not be those of a CPU within 1e-3.
            config.experimental.enable_tensor_float_32_execution(False)
    except RuntimeError:
        # TensorFlow is already running in this process (a notebook, say): its settings stand.
        return
