"""From window probabilities to valence, arousal, negativity, their course over a call, and escalations."""

from callmood.trajectory.affect import affect_of, deviations_of, strain_of
from callmood.trajectory.course import course_of
from callmood.trajectory.escalation import EscalationRule, escalation_scores, find_escalations
from callmood.trajectory.smoothing import smooth, smoothed_errors
from callmood.trajectory.speech import speech_per_window, windows_by_speaker

__all__ = [
    "EscalationRule",
    "affect_of",
    "course_of",
    "deviations_of",
    "escalation_scores",
    "find_escalations",
    "smooth",
    "smoothed_errors",
    "speech_per_window",
    "strain_of",
    "windows_by_speaker",
]
