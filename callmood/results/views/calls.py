"""Views of calls, their speakers, windows and escalations, and of agents."""

from __future__ import annotations

from callmood.emotions import PROBABILITY_COLUMNS

_LOWEST = {"valence": -1, "arousal": -1, "negativity": 0}
"""Of what is smoothed; the highest is 1."""


def _course(name: str) -> str:
    """SQL of a smoothed value of a window, its standard error and the ends of its band of 95 %."""
    half = f"1.96 * w.{name}_se"
    # `greatest` and `least` would leave a NULL out.
    return (
        f"w.{name}_smooth, w.{name}_se, "
        f"CASE WHEN w.{name}_se IS NOT NULL THEN greatest(w.{name}_smooth - {half}, {_LOWEST[name]}) END AS {name}_low, "
        f"CASE WHEN w.{name}_se IS NOT NULL THEN least(w.{name}_smooth + {half}, 1) END AS {name}_high"
    )


VIEWS: dict[str, str] = {
    "trajectory": f"""
        SELECT call_id, t.speaker, t.role, (w.start_s + w.end_s) / 2 AS t_s, w.turn_index,
               {", ".join(f"w.{column}" for column in PROBABILITY_COLUMNS)},
               w.valence, w.arousal, w.negativity, {", ".join(map(_course, _LOWEST))}
        FROM windows AS w JOIN turns AS t USING (call_id, turn_index)
    """,
    "trajectories": " UNION ALL ".join(
        f"""
        SELECT call_id, speaker, role, t_s, turn_index, '{name}' AS dimension, {name} AS raw,
               {name}_smooth AS smoothed, {name}_se AS standard_error, {name}_low AS band_low,
               {name}_high AS band_high
        FROM trajectory
        """
        for name in _LOWEST
    ),
    "escalations": """
        SELECT e.call_id, c.agent_id, c.queue, c.started_at, e.speaker, e.role, c.turn_confidence,
               c.role_source, c.role_confidence,
               e.onset_s, e.peak_s, e.end_s, coalesce(e.end_s, c.duration_s) - e.onset_s AS length_s,
               e.height, e.slope, e.recovered,
               CASE WHEN e.recovered THEN e.end_s - e.peak_s END AS recovery_s, e.other_party
        FROM escalation_events AS e JOIN calls AS c USING (call_id)
    """,
    "speaker_summary": """
        SELECT call_id, speaker, s.role, s.turns, s.speech_s, s.talk_share, m.valence_mean, m.arousal_mean,
               m.negativity_mean
        FROM speaker_conversation AS s JOIN mood_components AS m USING (call_id, speaker)
    """,
    "call_summary": """
        WITH speech AS (
            SELECT call_id, count(*) AS speakers, CAST(sum(turns) AS BIGINT) AS turns, sum(speech_s) AS speech_s,
                   CASE WHEN count(*) FILTER (role = 'customer') > 0 THEN 'customer' ELSE 'everyone' END AS mood_of
            FROM speaker_components GROUP BY call_id
        ),
        mood AS (
            SELECT call_id, sum(windows) AS windows,
                   sum(valence_sum_third_1) / sum(windows_third_1) AS mood_start,
                   sum(valence_sum_third_3) / sum(windows_third_3) AS mood_end,
                   sum(negativity_sum) / sum(windows) AS negativity_mean,
                   max(worst_negativity) AS worst_negativity,
                   arg_max(worst_s, (worst_negativity, -worst_s)) AS worst_s,
                   arg_max(speaker, (worst_negativity, -worst_s)) AS worst_speaker
            FROM mood_components
            WHERE role IS DISTINCT FROM 'agent' AND windows > 0
            GROUP BY call_id
        ),
        events AS (
            SELECT call_id, count(*) AS escalations, count(*) FILTER (recovered) AS escalations_recovered
            FROM escalation_events
            WHERE role IS DISTINCT FROM 'agent'
            GROUP BY call_id
        ),
        scores AS (
            SELECT call_id, max(score) AS score
            FROM escalation_scores
            SEMI JOIN (SELECT call_id, speaker FROM turns WHERE role IS DISTINCT FROM 'agent')
                USING (call_id, speaker)
            GROUP BY call_id
        )
        SELECT c.call_id, c.path, c.agent_id, c.customer_id, c.queue, c.started_at, c.status, c.error,
               c.duration_s, c.truncated, s.speakers, s.turns, s.speech_s, c.turn_confidence, c.role_source,
               c.role_confidence,
               CASE WHEN m.windows IS NOT NULL THEN s.mood_of END AS mood_of,
               m.mood_start, m.mood_end, m.mood_end - m.mood_start AS mood_change,
               m.negativity_mean, m.worst_s, m.worst_negativity, m.worst_speaker,
               CASE WHEN m.windows IS NOT NULL THEN coalesce(e.escalations, 0) END AS escalations,
               CASE WHEN m.windows IS NOT NULL THEN coalesce(e.escalations_recovered, 0) END
                   AS escalations_recovered,
               r.score AS escalation_score
        FROM calls AS c
        LEFT JOIN speech AS s USING (call_id)
        LEFT JOIN mood AS m USING (call_id)
        LEFT JOIN events AS e USING (call_id)
        LEFT JOIN scores AS r USING (call_id)
    """,
    "agent_summary": """
        WITH agent_speech AS (
            SELECT call_id, talk_share FROM speaker_summary WHERE role = 'agent'
        )
        SELECT agent_id, count(*) AS calls, count(*) FILTER (status = 'ok') AS calls_analyzed,
               sum(duration_s) / 3600 AS hours,
               count(escalations) AS calls_scored,
               count(*) FILTER (escalations > 0) AS calls_escalated,
               count(*) FILTER (escalations > 0) / nullif(count(escalations), 0) AS escalation_rate,
               sum(escalations) AS escalations,
               sum(escalations_recovered) AS escalations_recovered,
               sum(escalations_recovered) / nullif(sum(escalations), 0) AS recovery_rate,
               count(mood_change) AS calls_with_mood_change, avg(mood_change) AS mood_change_mean,
               avg(negativity_mean) AS negativity_mean,
               count(talk_share) AS calls_with_talk_share, avg(talk_share) AS talk_share_mean
        FROM call_summary LEFT JOIN agent_speech USING (call_id)
        WHERE agent_id IS NOT NULL
        GROUP BY agent_id
    """,
}
