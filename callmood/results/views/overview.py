"""Views of the database as a whole, and of the moments worth hearing: what the page and the play list print."""

from __future__ import annotations

LEAD_S = 2.0
"""Seconds to hear before a moment begins."""
TAIL_S = 3.0
"""Seconds to hear after its peak."""

VIEWS: dict[str, str] = {
    "overview": """
        SELECT count(*) AS calls,
               count(*) FILTER (status = 'ok') AS calls_analyzed,
               count(*) FILTER (status NOT IN ('ok', 'no_speech')) AS calls_failed,
               sum(duration_s) / 3600 AS hours,
               count(DISTINCT agent_id) AS agents,
               min(started_at) AS first_started_at, max(started_at) AS last_started_at,
               count(escalations) AS calls_scored,
               count(*) FILTER (escalations > 0) AS calls_escalated,
               count(*) FILTER (escalations > 0) / nullif(count(escalations), 0) AS escalation_rate,
               coalesce(sum(escalations), 0)::BIGINT AS escalations,
               coalesce(sum(escalations_recovered), 0)::BIGINT AS escalations_recovered,
               sum(escalations_recovered) / nullif(sum(escalations), 0) AS recovery_rate,
               count(mood_change) AS calls_with_mood_change, avg(mood_change) AS mood_change_mean
        FROM call_summary
    """,
    "outcomes": """
        SELECT status, count(*) AS calls, sum(duration_s) / 3600 AS hours, min(error) AS error_example
        FROM calls
        GROUP BY status
    """,
    "provenance": """
        SELECT r.emotion_for, r.version, c.model_hash, c.settings_hash, c.diarizer, count(*) AS calls,
               count(DISTINCT c.run_id) AS runs,
               min(c.analyzed_at) AS first_analyzed_at, max(c.analyzed_at) AS last_analyzed_at
        FROM calls AS c LEFT JOIN runs AS r USING (run_id)
        WHERE c.status IN ('ok', 'no_speech')
        GROUP BY r.emotion_for, r.version, c.model_hash, c.settings_hash, c.diarizer
    """,
    "moments": f"""
        WITH heard AS (
            SELECT call_id, speaker, role, onset_s, peak_s, 'escalation' AS why, height AS strength
            FROM escalations
            UNION ALL
            SELECT s.call_id, s.worst_speaker AS speaker, p.role, s.worst_s AS onset_s, s.worst_s AS peak_s,
                   'worst moment' AS why, s.worst_negativity AS strength
            FROM call_summary AS s JOIN speaker_summary AS p
                ON s.call_id = p.call_id AND s.worst_speaker = p.speaker
            WHERE NOT EXISTS (
                FROM escalation_events AS e
                WHERE e.call_id = s.call_id AND e.speaker = s.worst_speaker
                    AND s.worst_s BETWEEN e.onset_s AND e.peak_s
            )
        )
        SELECT call_id, greatest(onset_s - {LEAD_S}, 0) AS start_s,
               least(peak_s + {TAIL_S}, c.duration_s) AS end_s, speaker, role, why, peak_s, strength
        FROM heard JOIN calls AS c USING (call_id)
    """,
}
