"""The reports' queries, each returning columns and rows as the view holds them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from callmood.errors import UsageError
from callmood.report.choice import ALL_CALLS, CHOSEN, Choice
from callmood.results.schema import Connection

_FETCH_ROWS = 1000


@dataclass(frozen=True)
class Table:
    """The answer to a query."""

    columns: tuple[str, ...]
    """Different from one another: a repeated name gets `_2`, `_3`, ..."""
    rows: Iterator[tuple[Any, ...]]
    """Read from the database as they are asked for, once."""
    types: tuple[str, ...] = ()
    """Of the columns, in SQL; none where the rows come from elsewhere."""

    def records(self) -> Iterator[dict[str, Any]]:
        """The rows, by column name."""
        return (dict(zip(self.columns, row, strict=True)) for row in self.rows)


def calls(
    connection: Connection,
    *,
    agent_id: str | None = None,
    choice: Choice = ALL_CALLS,
    limit: int | None = None,
) -> Table:
    """`call_summary`, the strongest escalation first; of one agent, or of all calls."""
    return _select(
        connection,
        f"""
        SELECT * FROM call_summary WHERE ($agent_id IS NULL OR agent_id = $agent_id) AND {CHOSEN}
        ORDER BY escalation_score DESC NULLS LAST, worst_negativity DESC NULLS LAST, call_id
        LIMIT $limit
        """,  # noqa: S608 - constants of this package
        agent_id=agent_id,
        limit=limit,
        **choice.arguments(),
    )


def left_out(connection: Connection, *, by: str, choice: Choice, agent_id: str | None = None) -> int:
    """Number of calls, of one agent or of all, that only `by`, a field of the choice, keeps out of it."""
    ((without,),), ((kept,),) = (
        _select(
            connection,
            f"""
            SELECT count(*) FROM calls WHERE ($agent_id IS NULL OR agent_id = $agent_id) AND {CHOSEN}
            """,  # noqa: S608 - constants of this package
            agent_id=agent_id,
            **one.arguments(),
        ).rows
        for one in (replace(choice, **{by: None}), choice)
    )
    return int(without - kept)


def escalations(
    connection: Connection,
    *,
    agent_id: str | None = None,
    call_id: str | None = None,
    choice: Choice = ALL_CALLS,
    limit: int | None = None,
) -> Table:
    """`escalations`, the highest first; of one agent, of one call, or all."""
    return _select(
        connection,
        f"""
        SELECT * FROM escalations
        WHERE ($agent_id IS NULL OR agent_id = $agent_id) AND ($call_id IS NULL OR call_id = $call_id) AND {CHOSEN}
        ORDER BY height DESC, call_id, onset_s
        LIMIT $limit
        """,  # noqa: S608 - constants of this package
        agent_id=agent_id,
        call_id=call_id,
        limit=limit,
        **choice.arguments(),
    )


def conversation(
    connection: Connection,
    *,
    agent_id: str | None = None,
    choice: Choice = ALL_CALLS,
    limit: int | None = None,
) -> Table:
    """`call_conversation`, the most dead air first; of one agent, or of all calls."""
    return _select(
        connection,
        f"""
        SELECT * FROM call_conversation WHERE ($agent_id IS NULL OR agent_id = $agent_id) AND {CHOSEN}
        ORDER BY dead_air_s DESC NULLS LAST, unspoken_s DESC, call_id
        LIMIT $limit
        """,  # noqa: S608 - constants of this package
        agent_id=agent_id,
        limit=limit,
        **choice.arguments(),
    )


def speakers(connection: Connection, call_id: str) -> Table:
    """`speaker_summary` of one call."""
    return _select(
        connection, "SELECT * FROM speaker_summary WHERE call_id = $call_id ORDER BY speaker", call_id=call_id
    )


def speaker_moods(connection: Connection, call_id: str) -> Table:
    """`speaker_mood` of one call, with the talk share of `speaker_summary`."""
    return _select(
        connection,
        """
        SELECT m.*, s.talk_share FROM speaker_mood AS m JOIN speaker_summary AS s USING (call_id, speaker)
        WHERE call_id = $call_id ORDER BY speaker
        """,
        call_id=call_id,
    )


def turns(connection: Connection, call_id: str) -> Table:
    """`turns` of one call, in the order of time."""
    return _select(
        connection, "SELECT * FROM turns WHERE call_id = $call_id ORDER BY turn_index", call_id=call_id
    )


def trajectory(connection: Connection, call_id: str) -> Table:
    """`trajectory` of one call, in the order of time."""
    return _select(
        connection, "SELECT * FROM trajectory WHERE call_id = $call_id ORDER BY t_s, speaker", call_id=call_id
    )


def trajectory_peaks(connection: Connection, call_id: str, *, bins: int) -> Table:
    """The highest `negativity_smooth` of `trajectory` in each of `bins` equal parts of a call.

    Columns: speaker, role, bin (from 0), negativity_smooth. A part in which a speaker has no window has no
    row.
    """
    return _select(
        connection,
        """
        SELECT t.speaker, t.role,
               least(CAST(floor(t.t_s / c.duration_s * $bins) AS INTEGER), $bins - 1) AS bin,
               max(t.negativity_smooth) AS negativity_smooth
        FROM trajectory AS t JOIN call_summary AS c USING (call_id)
        WHERE call_id = $call_id
        GROUP BY ALL ORDER BY ALL
        """,
        call_id=call_id,
        bins=bins,
    )


def find_agent(connection: Connection, agent_id: str) -> str:
    """`agent_id`, after checking that it has calls; raises UsageError that names the nearest ones."""
    found = _select(connection, "SELECT 1 FROM agent_summary WHERE agent_id = $agent_id", agent_id=agent_id)
    if list(found.rows):
        return agent_id
    near = _nearest(connection, "SELECT agent_id FROM agent_summary", agent_id)
    if not near:
        raise UsageError(
            f"There is no agent {agent_id!r}: no call says who its agent was; tell it with "
            "`callmood analyze --metadata FILE` or --pattern."
        )
    raise UsageError(
        f"There is no agent {agent_id!r}; the nearest are {_listed(near)}, and `callmood report --agent --csv` "
        "lists all."
    )


def find_call(connection: Connection, name: str) -> str:
    """The call_id that is meant by a call_id, a path, a file name, or the unique beginning of a call_id or file name.

    Raises
    ------
    UsageError
        No call, or more than one, is meant.
    """
    paths = {"path": name, "absolute": str(Path(name).resolve())}
    told = "CASE WHEN starts_with(call_id, $id) THEN call_id ELSE parse_filename(path) || ' (' || call_id || ')' END"
    for label, condition, arguments in (
        ("call_id", "call_id = $id", {"id": name}),
        ("call_id", "path IN ($path, $absolute)", paths),
        ("call_id", "ends_with(path, '/' || $path)", {"path": name}),
        (told, "starts_with(call_id, $id) OR starts_with(parse_filename(path), $id)", {"id": name}),
    ):
        found = _select(
            connection,
            f"""
            SELECT call_id, min({label}) AS label
            FROM (SELECT call_id, unnest([path] || (legs ->> '$[*].path')) AS path FROM calls)
            WHERE {condition} GROUP BY call_id ORDER BY label LIMIT 6
            """,  # noqa: S608 - conditions of this function
            **arguments,
        )
        rows = list(found.rows)
        if len(rows) == 1:
            return str(rows[0][0])
        if rows:
            labels = _listed([str(row[1]) for row in rows])
            raise UsageError(f"{name!r} could be any of {labels}; give the whole name, or the call_id.")
    # An id that was made of the file's name is told once.
    near = _nearest(
        connection,
        """
        SELECT call_id FROM call_summary
        UNION SELECT parse_filename(path) FROM call_summary WHERE parse_filename(path, true) <> call_id
        """,
        name,
    )
    if not near:
        raise UsageError(
            f"There is no call {name!r}: the database holds no calls yet; run `callmood analyze`."
        )
    raise UsageError(
        f"There is no call {name!r}; the nearest are {_listed(near)}, and `callmood report --csv` lists all."
    )


def overview(connection: Connection) -> Table:
    """The one row of `overview`."""
    return _select(connection, "SELECT * FROM overview")


def outcomes(connection: Connection) -> Table:
    """`outcomes`, the most frequent status first."""
    return _select(connection, "SELECT * FROM outcomes ORDER BY calls DESC, status")


def provenance(connection: Connection) -> Table:
    """`provenance`, that of the most calls first."""
    return _select(connection, "SELECT * FROM provenance ORDER BY calls DESC, last_analyzed_at DESC")


def calls_without_result(connection: Connection, *, limit: int) -> Table:
    """call_id, path, status and error of calls that failed, the last first."""
    return _select(
        connection,
        """
        SELECT call_id, path, status, error FROM calls
        WHERE status NOT IN ('ok', 'no_speech') ORDER BY analyzed_at DESC, call_id LIMIT $limit
        """,
        limit=limit,
    )


def highest_escalations(connection: Connection, *, limit: int) -> Table:
    """The highest of the escalations that `call_summary` counts: all but those of speakers known as agents."""
    return _select(
        connection,
        """
        SELECT * FROM escalations WHERE role IS DISTINCT FROM 'agent'
        ORDER BY height DESC, call_id, onset_s LIMIT $limit
        """,
        limit=limit,
    )


def summaries(connection: Connection, call_ids: Sequence[str]) -> Table:
    """The rows of `call_summary` for some calls."""
    return _of_calls(connection, "SELECT * FROM call_summary WHERE {these}", call_ids)


def turns_of(connection: Connection, call_ids: Sequence[str]) -> Table:
    """`turns` of some calls, in the order of time in each."""
    return _of_calls(connection, "SELECT * FROM turns WHERE {these} ORDER BY call_id, turn_index", call_ids)


def escalations_of(connection: Connection, call_ids: Sequence[str]) -> Table:
    """`escalations` of some calls, the highest first in each."""
    return _of_calls(
        connection,
        "SELECT * FROM escalations WHERE {these} ORDER BY call_id, height DESC, onset_s",
        call_ids,
    )


def points(connection: Connection, call_ids: Sequence[str], *, parts: int) -> Table:
    """Of each turn of some calls, the row of `trajectory` with the highest `negativity_smooth` in each of
    `parts` equal parts of the call; by call, speaker and time.

    Columns: call_id, speaker, role, turn_index, t_s, negativity_smooth, negativity_low, negativity_high.
    """
    return _of_calls(
        connection,
        """
        SELECT call_id, t.speaker, t.role, t.turn_index, arg_max(t.t_s, t.negativity_smooth) AS t_s,
               max(t.negativity_smooth) AS negativity_smooth,
               arg_max(t.negativity_low, t.negativity_smooth) AS negativity_low,
               arg_max(t.negativity_high, t.negativity_smooth) AS negativity_high
        FROM trajectory AS t JOIN calls AS c USING (call_id)
        WHERE {these}
        GROUP BY call_id, t.speaker, t.role, t.turn_index, floor(t.t_s / c.duration_s * $parts)
        ORDER BY call_id, t.speaker, t_s
        """,
        call_ids,
        parts=parts,
    )


def turns_to_export(connection: Connection, call_ids: Sequence[str] | None) -> Table:
    """`turns` of some calls (None: all), with path, legs and duration_s of each turn's call; by call_id."""
    return _of_calls(
        connection,
        """
        SELECT turns.*, path, legs, duration_s FROM turns JOIN calls USING (call_id)
        WHERE {these} ORDER BY call_id, turn_index
        """,
        call_ids,
    )


def escalations_to_export(connection: Connection, call_ids: Sequence[str] | None) -> Table:
    """`escalations` of some calls (None: all), in the order of time in each."""
    return _of_calls(
        connection, "SELECT * FROM escalations WHERE {these} ORDER BY call_id, onset_s", call_ids
    )


def moments(connection: Connection, call_ids: Sequence[str]) -> Table:
    """`moments` of some calls, in the order of time in each."""
    return _of_calls(
        connection, "SELECT * FROM moments WHERE {these} ORDER BY call_id, start_s, why", call_ids
    )


def _of_calls(connection: Connection, sql: str, call_ids: Sequence[str] | None, **arguments: Any) -> Table:
    if call_ids is None:
        return _select(connection, sql.format(these="true"), **arguments)
    # Not `IN`, which is a join: this filters before the views group.
    these = "list_contains(CAST($call_ids AS VARCHAR[]), call_id)"
    return _select(connection, sql.format(these=these), call_ids=list(call_ids), **arguments)


def run_sql(connection: Connection, sql: str) -> Table:
    """The answer to one SELECT (or DESCRIBE, SHOW, SUMMARIZE).

    Raises
    ------
    UsageError
        There is more than one statement, one that reads nothing, or one that DuckDB refuses; while rows are
        read, too.
    """
    import duckdb

    with _sql_errors():
        statements = connection.extract_statements(sql)
    if not statements:
        raise UsageError("The query is empty; write a SELECT, such as SELECT * FROM call_summary.")
    if len(statements) > 1:
        raise UsageError(
            f"callmood sql takes one statement, and there are {len(statements)}; run one after the other."
        )
    if statements[0].type != duckdb.StatementType.SELECT:
        raise UsageError(
            f"callmood sql only reads, and this is a statement of kind {statements[0].type.name}; write a "
            "SELECT."
        )
    with _sql_errors():
        return _select(connection, sql)


def _select(connection: Connection, sql: str, **arguments: Any) -> Table:
    # A cursor of its own, so that the rows of one answer can still be read when the next query is made.
    cursor = connection.cursor()
    cursor.execute(sql, arguments or None)
    return Table(
        columns=distinct([column[0] for column in cursor.description]),
        rows=_rows(cursor),
        types=tuple(str(column[1]) for column in cursor.description),
    )


def _rows(cursor: Connection) -> Iterator[tuple[Any, ...]]:
    while True:
        with _sql_errors():
            rows = cursor.fetchmany(_FETCH_ROWS)
        if not rows:
            return
        yield from rows


def distinct(names: Sequence[str]) -> tuple[str, ...]:
    """The names, with `_2`, `_3`, ... after those that came before."""
    distinct: list[str] = []
    for name in names:
        unused, number = name, 1
        while unused in distinct:
            number += 1
            unused = f"{name}_{number}"
        distinct.append(unused)
    return tuple(distinct)


def _nearest(connection: Connection, names: str, wanted: str) -> list[str]:
    """Up to three of the names that a query gives in its only column, the most similar first."""
    found = _select(
        connection,
        f"SELECT name FROM ({names}) AS names(name) "  # noqa: S608 - queries of this module
        "ORDER BY jaro_winkler_similarity(lower(name), lower($wanted)) DESC, name LIMIT 3",
        wanted=wanted,
    )
    return [str(row[0]) for row in found.rows]


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:5])
    return f"{shown} and others" if len(names) > 5 else shown


@contextmanager
def _sql_errors() -> Iterator[None]:
    """Tell DuckDB's errors as one sentence, without the quotation of the statement that follows them."""
    import duckdb

    try:
        yield
    except (duckdb.InterruptException, RuntimeError) as error:
        # While a query runs, DuckDB's client tells Ctrl-C as a RuntimeError.
        if isinstance(error, RuntimeError) and "interrupted" not in str(error).lower():
            raise
        raise KeyboardInterrupt from error
    except duckdb.Error as error:
        reason = " ".join(str(error).split("\nLINE ")[0].split())
        raise UsageError(f"The query cannot be answered: {reason}") from error
