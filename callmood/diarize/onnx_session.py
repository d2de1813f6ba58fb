"""Networks in onnxruntime: on one thread, and telling nobody of it."""

from __future__ import annotations

import os
from typing import Any


def onnx_session(network: str | bytes) -> Any:
    """A network from its file, or from what that would hold."""
    # It reads this on import, and would send what it does to its makers.
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    # Kept for each length that ever went through, it would grow by a hundred megabytes, and nothing is faster with it.
    options.enable_mem_pattern = False
    return onnxruntime.InferenceSession(network, options, providers=["CPUExecutionProvider"])
