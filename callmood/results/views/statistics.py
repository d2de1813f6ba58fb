"""Views of the statistics that are made at the end of a run."""

from __future__ import annotations

VIEWS: dict[str, str] = {
    "agent_statistics": """
        SELECT group_name AS agent_id, * EXCLUDE (group_kind, group_name)
        FROM group_statistics WHERE group_kind = 'agent'
    """,
}
