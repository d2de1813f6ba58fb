"""What a database is told of agents who were found by voice."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from callmood.emotions import PROBABILITY_COLUMNS
from callmood.results.derived import derive_call
from callmood.results.opened import OpenDatabase
from callmood.types import LinkedAgent, Recording, Turn


class Links(OpenDatabase):
    """Reads and writes who the agent of a call is by voice."""

    def with_linked_agents(self, recordings: Sequence[Recording]) -> list[Recording]:
        """The recordings, with the agent that was found by voice in the same content."""
        rows = self._connection.execute(
            "SELECT call_id, content_hash, agent_id, confidence, spans FROM linked_agents "
            "WHERE list_contains($ids, call_id)",
            {"ids": [recording.call_id for recording in recordings]},
        ).fetchall()
        linked = {
            (call_id, content_hash): LinkedAgent(
                agent_id=agent_id,
                confidence=confidence,
                spans=tuple((start_s, end_s) for start_s, end_s in json.loads(spans)),
            )
            for call_id, content_hash, agent_id, confidence, spans in rows
        }
        return [
            replace(recording, linked=linked.get((recording.call_id, recording.content_hash)))
            for recording in recordings
        ]

    def linkable_turns(self) -> dict[str, tuple[str | None, tuple[Turn, ...]]]:
        """Of each analyzed call that says who its agent was: what tells its roles, and its turns."""
        rows = self._connection.execute(
            """
            SELECT call_id, c.role_source, t.speaker, t.channel, t.start_s, t.end_s, t.role
            FROM calls AS c JOIN turns AS t USING (call_id)
            WHERE c.agent_id IS NOT NULL ORDER BY call_id, t.turn_index
            """
        ).fetchall()
        found: dict[str, tuple[str | None, tuple[Turn, ...]]] = {}
        for call_id, source, speaker, channel, start_s, end_s, role in rows:
            turn = Turn(speaker=speaker, channel=channel, start_s=start_s, end_s=end_s, role=role)
            found[call_id] = (source, (*found.get(call_id, (source, ()))[1], turn))
        return found

    def write_links(
        self,
        examined: Iterable[str],
        links: Mapping[str, tuple[str, LinkedAgent, Sequence[Turn]]],
        linking: Mapping[str, Any],
    ) -> None:
        """Write which speaker is the agent by voice, in one transaction, with a row for `linkings`.

        `examined`: calls whose voices were compared; what was found of them before goes. `links`: of each linked call
        the speaker, what is kept of the link, and the turns with their roles. Emotions that were inferred by other
        roles, and may not have been by these, are removed; such calls are taken up again by the next run.
        """
        connection = self._connection
        with self._transaction():
            for call_id in examined:
                before = connection.execute(
                    "SELECT DISTINCT speaker, role FROM turns WHERE call_id = ? ORDER BY ALL", [call_id]
                ).fetchall()
                connection.execute("DELETE FROM linked_agents WHERE call_id = ?", [call_id])
                speaker, link, turns = links.get(call_id, (None, None, ()))
                roles = {turn.speaker: turn.role for turn in turns}
                for name, _ in before:
                    for table in ("turns", "escalation_events"):
                        connection.execute(
                            f"UPDATE {table} SET role = ? WHERE call_id = ? AND speaker = ?",
                            [roles.get(name), call_id, name],
                        )
                confidence = None if link is None else link.confidence
                connection.execute(
                    "UPDATE calls SET role_source = ?, role_confidence = ? WHERE call_id = ?",
                    [None if link is None else "voice", confidence, call_id],
                )
                if link is not None:
                    connection.execute(
                        "INSERT INTO linked_agents SELECT call_id, content_hash, ?, ?, ?, ?, ? FROM calls "
                        "WHERE call_id = ?",
                        [
                            link.agent_id,
                            speaker,
                            link.confidence,
                            sum(other.agent_id == link.agent_id for _, other, _ in links.values()),
                            json.dumps(link.spans),
                            call_id,
                        ],
                    )
                if before != sorted((name, roles.get(name)) for name, _ in before):
                    self._forget_unwanted(call_id, confidence or 0.0)
                derive_call(connection, call_id)
            self._outdate_statistics()
            self._insert("linkings", linking)

    def _forget_unwanted(self, call_id: str, confidence: float) -> None:
        """Remove the emotions of turns that the call's run was not to infer by the roles as they are now."""
        connection = self._connection
        run = connection.execute(
            "SELECT r.emotion_for, r.settings FROM calls AS c JOIN runs AS r USING (run_id) WHERE c.call_id = ?",
            [call_id],
        ).fetchone()
        if run is None or run[0] == "everyone":
            return
        sure = confidence >= float(json.loads(run[1]).get("min_role_confidence", 0.0))
        wanted = {"id": call_id, "role": run[0] if sure else ""}
        connection.execute(
            "DELETE FROM windows WHERE call_id = $id AND turn_index IN (SELECT turn_index FROM turns "
            "WHERE call_id = $id AND role IS DISTINCT FROM $role)",
            wanted,
        )
        connection.execute(
            "DELETE FROM escalation_events WHERE call_id = $id AND role IS DISTINCT FROM $role", wanted
        )
        connection.execute(
            "DELETE FROM escalation_scores WHERE call_id = $id AND speaker IN (SELECT speaker FROM turns "
            "WHERE call_id = $id AND role IS DISTINCT FROM $role)",
            wanted,
        )
        scores = ("emotion", "confidence", *PROBABILITY_COLUMNS, "valence", "arousal", "negativity")
        connection.execute(
            f"UPDATE turns SET {', '.join(f'{name} = NULL' for name in scores)} "
            "WHERE call_id = $id AND role IS DISTINCT FROM $role",
            wanted,
        )
        connection.execute("UPDATE calls SET rescore = true WHERE call_id = ?", [call_id])

    def _unlink_other_agent(self, recording: Recording) -> None:
        """Forget the roles that a call has by the voice of an agent whose call it turns out not to be."""
        connection, call_id = self._connection, recording.call_id
        linked = connection.execute(
            "SELECT c.role_source FROM calls AS c JOIN linked_agents AS l USING (call_id) "
            "WHERE c.call_id = ? AND l.agent_id IS DISTINCT FROM ?",
            [call_id, recording.metadata.agent_id],
        ).fetchone()
        if linked is None:
            return
        connection.execute("DELETE FROM linked_agents WHERE call_id = ?", [call_id])
        if linked[0] == "voice":
            for table in ("turns", "escalation_events"):
                connection.execute(f"UPDATE {table} SET role = NULL WHERE call_id = ?", [call_id])
            connection.execute(
                "UPDATE calls SET role_source = NULL, role_confidence = NULL WHERE call_id = ?", [call_id]
            )
            self._forget_unwanted(call_id, 0.0)
            derive_call(connection, call_id)
