"""What the signal tells beside who spoke and how: levels, syllables, and what sounds while nobody speaks."""

from callmood.signals.measure import signals_of

__all__ = ["signals_of"]
