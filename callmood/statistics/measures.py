"""What is measured of groups of calls: each measure a ratio of two sums over the group's calls."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["rate", "mean"]
"""`rate`: events counted out of trials counted, such as escalated calls out of calls; `mean`: all else, such as
seconds per event, events per hour, or a share of time."""

Unit = Literal["share", "seconds", "per hour", "score"]
"""How a value is written: as percent, seconds, a number per hour, or a number."""


@dataclass(frozen=True, kw_only=True)
class Measure:
    """One measure: sum of `numerator` over sum of `denominator`, over the calls in which it is known.

    A call in which either is NULL, or the denominator is 0, is not one of them.
    """

    name: str
    title: str
    """For people."""
    unit: Unit
    kind: Kind
    source: str
    """Key of `SOURCES`."""
    numerator: str
    """Per call, in SQL, of the columns of the source."""
    denominator: str
    numerator_name: str
    """What the sum is called where it stands beside the value."""
    denominator_name: str
    lowest: float | None = None
    """The least value that there can be; no interval goes below it."""
    highest: float | None = None


SOURCES: dict[str, str] = {
    "call_summary": "SELECT * FROM call_summary",
    "recoveries": """
        SELECT call_id, sum(length_s) AS length_s, count(*) AS recovered
        FROM escalations WHERE recovered AND role IS DISTINCT FROM 'agent'
        GROUP BY call_id
    """,
    "agent_speech": """
        SELECT call_id, sum(talk_share) AS talk_share FROM speaker_summary WHERE role = 'agent'
        GROUP BY call_id
    """,
    "agent_conversation": """
        SELECT call_id, sum(interruptions) AS interruptions, any_value(duration_s) AS duration_s
        FROM speaker_conversation WHERE role = 'agent'
        GROUP BY call_id
    """,
    "call_conversation": "SELECT call_id, silence_s, duration_s FROM call_conversation",
}
"""Name and query of what measures are taken from: at most one row per call, with its call_id."""

MEASURES: tuple[Measure, ...] = (
    Measure(
        name="escalation_rate",
        title="escalation rate",
        unit="share",
        kind="rate",
        source="call_summary",
        numerator="escalations > 0",
        denominator="escalations IS NOT NULL",
        numerator_name="calls_escalated",
        denominator_name="calls_scored",
        lowest=0.0,
        highest=1.0,
    ),
    Measure(
        name="recovery_rate",
        title="recovery rate",
        unit="share",
        kind="rate",
        source="call_summary",
        numerator="escalations_recovered",
        denominator="escalations",
        numerator_name="escalations_recovered",
        denominator_name="escalations",
        lowest=0.0,
        highest=1.0,
    ),
    Measure(
        name="recovery_s_mean",
        title="time to recovery",
        unit="seconds",
        kind="mean",
        source="recoveries",
        numerator="length_s",
        denominator="recovered",
        numerator_name="recovered_length_s",
        denominator_name="recoveries",
        lowest=0.0,
    ),
    Measure(
        name="mood_change_mean",
        title="mood change",
        unit="score",
        kind="mean",
        source="call_summary",
        numerator="mood_change",
        denominator="mood_change IS NOT NULL",
        numerator_name="mood_change",
        denominator_name="calls_with_mood_change",
        lowest=-2.0,
        highest=2.0,
    ),
    Measure(
        name="negativity_mean",
        title="negativity",
        unit="score",
        kind="mean",
        source="call_summary",
        numerator="negativity_mean",
        denominator="negativity_mean IS NOT NULL",
        numerator_name="negativity",
        denominator_name="calls_with_negativity",
        lowest=0.0,
        highest=1.0,
    ),
    Measure(
        name="talk_share_mean",
        title="talk share",
        unit="share",
        kind="mean",
        source="agent_speech",
        numerator="talk_share",
        denominator="talk_share IS NOT NULL",
        numerator_name="talk_share",
        denominator_name="calls_with_talk_share",
        lowest=0.0,
        highest=1.0,
    ),
    Measure(
        name="interruptions_per_hour",
        title="interruptions per hour",
        unit="per hour",
        kind="mean",
        source="agent_conversation",
        numerator="interruptions",
        denominator="duration_s / 3600",
        numerator_name="interruptions",
        denominator_name="hours_measured",
        lowest=0.0,
    ),
    Measure(
        name="silence_share",
        title="silence",
        unit="share",
        kind="mean",
        source="call_conversation",
        numerator="silence_s",
        denominator="duration_s",
        numerator_name="silence_s",
        denominator_name="recorded_s",
        lowest=0.0,
        highest=1.0,
    ),
)
"""In the order of the reports; the first is what they sort by."""
