"""The optimizer that the networks are trained with."""

from __future__ import annotations

from typing import Any


def make_optimizer(*, steps: int, learning_rate: float, weight_decay: float, average: float = 0.0) -> Any:
    """Muon (Jordan et al. 2024) whose learning rate rises over the first twentieth of `steps` and then falls along a
    cosine; the weights that remain are an exponential moving average, which keeps the share `average` of itself at each
    step (0: the last weights)."""
    import keras

    schedule = keras.optimizers.schedules.CosineDecay(
        1e-5, steps - steps // 20, warmup_target=learning_rate, warmup_steps=steps // 20
    )
    # Three steps of Newton-Schulz rather than five: nothing was lost by it here, and a step is a fifth faster.
    return keras.optimizers.Muon(
        schedule,
        ns_steps=3,
        weight_decay=weight_decay,
        adam_weight_decay=weight_decay,
        clipnorm=1.0,
        use_ema=average > 0,
        ema_momentum=average,
    )
