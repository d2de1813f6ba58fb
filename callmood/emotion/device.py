"""Choosing where the networks run; to be called before anything else loads TensorFlow."""

from __future__ import annotations

import os

from callmood.errors import EngineUnavailableError


def quiet_tensorflow() -> None:
    """Keep TensorFlow's start-up messages off standard error."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")


def use_device(device: str) -> None:
    """Set TensorFlow up for `auto`, `cpu` or `gpu`, with one thread per process.

    Workers run side by side, one per core, so that more threads in each only take cores from one another.

    Raises
    ------
    EngineUnavailableError
        `gpu` was asked for and TensorFlow sees none.
    """
    quiet_tensorflow()
    if device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    import tensorflow

    config = tensorflow.config
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
    except RuntimeError:
        # TensorFlow is already running in this process (a notebook, say): its settings stand.
        return
