"""From window probabilities to valence, arousal, negativity, their course over a call, and escalations."""

from callmood.trajectory.affect import affect_of
from callmood.trajectory.escalation import EscalationRule, find_escalations
from callmood.trajectory.smoothing import smooth

__all__ = ["EscalationRule", "affect_of", "find_escalations", "smooth"]
