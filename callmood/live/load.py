"""The engine that some settings ask for."""

from __future__ import annotations

from callmood.live.engine import Engine
from callmood.settings import Settings
from callmood.trajectory import EscalationRule


def load_engine(settings: Settings) -> Engine:
    """Load the networks, and run them once so that the first stream does not wait for it.

    Raises
    ------
    ModelError, EngineUnavailableError
    """
    from callmood.emotion.device import use_device
    from callmood.emotion.model import EmotionModel

    use_device(settings.device)
    engine = Engine(
        EmotionModel(settings.models),
        emotion_for=settings.emotion_for,
        rule=EscalationRule(threshold_s=settings.escalation_threshold),
    )
    engine.warm_up()
    return engine
