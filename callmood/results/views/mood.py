"""Mood of a speaker in a call: by part of the call, by emotion, how it varies, its worst and best moment."""

from __future__ import annotations

from callmood.emotions import EMOTIONS
from callmood.results.measures import Measure, Need, measured

MIN_WINDOWS = 4
"""Windows in a part of the call below which its mood is not told: about three seconds of speech."""
MIN_SCORED_S = 10.0
"""Seconds of scored speech below which no share of time is told."""
MIN_STEPS = 5
"""Pairs of successive turns below which no volatility is told."""
BEST_WITHIN_S = 2.5
"""The best moment is that of the highest mean valence of the speaker's windows this near on either side."""

QUARTERS = (1, 2, 3, 4)
THIRDS = (1, 2, 3)


def _part(count: int, number: int) -> str:
    """SQL: whether `t_s` lies in that one of `count` equal parts of the call."""
    bounds = []
    if number > 1:
        bounds.append(f"t_s >= {number - 1} * duration_s / {count}")
    if number < count:
        bounds.append(f"t_s < {number} * duration_s / {count}")
    return " AND ".join(bounds)


_PARTS = [(f"quarter_{n}", _part(4, n)) for n in QUARTERS] + [(f"third_{n}", _part(3, n)) for n in THIRDS]

COMPONENTS: dict[str, str] = {
    "mood_components": f"""
        WITH pieces AS (
            SELECT w.call_id, t.speaker, (w.start_s + w.end_s) / 2 AS t_s, c.duration_s,
                   (t.end_s - t.start_s) / count(*) OVER (PARTITION BY w.call_id, w.turn_index) AS speech_s,
                   w.* EXCLUDE (call_id, start_s, end_s, turn_index)
            FROM windows AS w JOIN turns AS t USING (call_id, turn_index) JOIN calls AS c USING (call_id)
        ),
        near AS (
            SELECT *, avg(valence) OVER (
                PARTITION BY call_id, speaker ORDER BY t_s
                RANGE BETWEEN {BEST_WITHIN_S} PRECEDING AND {BEST_WITHIN_S} FOLLOWING
            ) AS valence_near
            FROM pieces
        ),
        sums AS (
            SELECT call_id, speaker, count(*) AS windows, sum(speech_s) AS scored_s,
                   sum(negativity) AS negativity_sum,
                   {", ".join(f"count(*) FILTER ({part}) AS windows_{name}" for name, part in _PARTS)},
                   {", ".join(f"sum(valence) FILTER ({part}) AS valence_sum_{name}" for name, part in _PARTS)},
                   {", ".join(f"sum(p_{name} * speech_s) AS {name}_s" for name in EMOTIONS)},
                   -- The earliest of equal moments, so that the answer does not depend on the order of rows.
                   max(negativity_smooth) AS worst_negativity,
                   arg_max(t_s, (negativity_smooth, -t_s)) AS worst_s,
                   max(valence_near) AS best_valence,
                   arg_max(t_s, (valence_near, -t_s)) AS best_s
            FROM near GROUP BY call_id, speaker
        ),
        steps AS (
            SELECT call_id, speaker,
                   CAST(valence AS DOUBLE) - lag(valence) OVER spoken AS valence_step,
                   CAST(negativity AS DOUBLE) - lag(negativity) OVER spoken AS negativity_step
            FROM turns WHERE valence IS NOT NULL
            WINDOW spoken AS (PARTITION BY call_id, speaker ORDER BY turn_index)
        ),
        unrest AS (
            SELECT call_id, speaker, count(valence_step) AS turn_steps,
                   sum(valence_step ** 2) AS valence_step_squares,
                   sum(negativity_step ** 2) AS negativity_step_squares
            FROM steps GROUP BY call_id, speaker
        ),
        means AS (
            SELECT call_id, speaker, any_value(role) AS role, avg(valence) AS valence_mean,
                   avg(arousal) AS arousal_mean, avg(negativity) AS negativity_mean
            FROM turns GROUP BY call_id, speaker
        )
        SELECT call_id, speaker, role, valence_mean, arousal_mean, negativity_mean,
               coalesce(windows, 0) AS windows, coalesce(scored_s, 0) AS scored_s, negativity_sum,
               {", ".join(f"coalesce(windows_{name}, 0) AS windows_{name}" for name, _ in _PARTS)},
               {", ".join(f"valence_sum_{name}" for name, _ in _PARTS)},
               {", ".join(f"{name}_s" for name in EMOTIONS)},
               coalesce(turn_steps, 0) AS turn_steps, valence_step_squares, negativity_step_squares,
               worst_negativity, worst_s, best_valence, best_s
        FROM means LEFT JOIN sums USING (call_id, speaker) LEFT JOIN unrest USING (call_id, speaker)
    """,
}
"""Tables that are filled as a call is written, by name: what the measures are made of."""


def _windows(name: str, where: str) -> Need:
    return Need(
        condition=f"windows_{name} >= {MIN_WINDOWS}",
        lacking=f"fewer than {MIN_WINDOWS} windows of speech in the {where} of the call",
    )


_WORDS = {"quarter": ("first", "second", "third", "last"), "third": ("first", "middle", "last")}
_WINDOWS_AT_ALL = Need(
    condition=f"windows >= {MIN_WINDOWS}", lacking=f"fewer than {MIN_WINDOWS} windows of speech"
)
_SCORED = Need(
    condition=f"scored_s >= {MIN_SCORED_S}",
    lacking=f"less than {MIN_SCORED_S:.0f} s of speech whose emotion was inferred",
)
_STEPS = Need(
    condition=f"turn_steps >= {MIN_STEPS}", lacking=f"fewer than {MIN_STEPS} pairs of successive turns"
)
_VOLATILITY = (
    "Root mean square of successive differences (von Neumann and others 1941; as a measure of affective "
    "instability: Jahng, Wood and Trull 2008)."
)


def _parts_of_mood() -> list[Measure]:
    return [
        Measure(
            name=f"mood_{kind}_{number}",
            meaning=f"Mean valence of the speaker's windows centred in the {_WORDS[kind][number - 1]} {kind} of the call, "
            "-1 to 1.",
            value=f"valence_sum_{kind}_{number} / windows_{kind}_{number}",
            components=(f"valence_sum_{kind}_{number}", f"windows_{kind}_{number}"),
            needs=(_windows(f"{kind}_{number}", f"{_WORDS[kind][number - 1]} {kind}"),),
        )
        for kind, numbers in (("quarter", QUARTERS), ("third", THIRDS))
        for number in numbers
    ]


MEASURES: dict[str, tuple[Measure, ...]] = {
    "speaker_mood": (
        *_parts_of_mood(),
        Measure(
            name="mood_change",
            meaning="mood_third_3 - mood_third_1: from the start to the end of the call.",
            value="valence_sum_third_3 / windows_third_3 - valence_sum_third_1 / windows_third_1",
            components=(
                "valence_sum_third_1",
                "windows_third_1",
                "valence_sum_third_3",
                "windows_third_3",
            ),
            needs=(_windows("third_1", "first third"), _windows("third_3", "last third")),
        ),
        *(
            Measure(
                name=f"{name}_share",
                meaning=f"Expected share of the speaker's scored speech that is {name}: {name}_s / scored_s, where "
                f"{name}_s is the sum over windows of p_{name} times the seconds of speech that the window stands "
                "for.",
                value=f"{name}_s / scored_s",
                components=(f"{name}_s", "scored_s"),
                needs=(_SCORED,),
            )
            for name in EMOTIONS
        ),
        Measure(
            name="valence_volatility",
            meaning="How much valence jumps from one turn of the speaker to the next: the root of "
            "valence_step_squares / turn_steps.",
            value="sqrt(valence_step_squares / turn_steps)",
            components=("valence_step_squares", "turn_steps"),
            needs=(_STEPS,),
            source=_VOLATILITY,
        ),
        Measure(
            name="negativity_volatility",
            meaning="The same of negativity: the root of negativity_step_squares / turn_steps.",
            value="sqrt(negativity_step_squares / turn_steps)",
            components=("negativity_step_squares", "turn_steps"),
            needs=(_STEPS,),
            source=_VOLATILITY,
        ),
        Measure(
            name="worst_s",
            meaning="Moment of the highest smoothed negativity, in seconds from the start of the call; of equal "
            "ones the first.",
            value="worst_s",
            components=("windows",),
            needs=(_WINDOWS_AT_ALL,),
        ),
        Measure(
            name="worst_negativity",
            meaning="The smoothed negativity at that moment, 0 to 1.",
            value="worst_negativity",
            components=("windows",),
            needs=(_WINDOWS_AT_ALL,),
        ),
        Measure(
            name="best_s",
            meaning="Moment of the highest valence, in seconds from the start of the call: the centre of the window "
            f"around which the speaker's windows within {BEST_WITHIN_S} s have the highest mean; of equal ones the "
            "first.",
            value="best_s",
            components=("windows",),
            needs=(_WINDOWS_AT_ALL,),
        ),
        Measure(
            name="best_valence",
            meaning="That mean valence, -1 to 1.",
            value="best_valence",
            components=("windows",),
            needs=(_WINDOWS_AT_ALL,),
        ),
    ),
}

VIEWS: dict[str, str] = {
    "speaker_mood": measured(
        MEASURES["speaker_mood"],
        keys=("call_id", "speaker", "role", "agent_id", "queue", "started_at"),
        base="""
            SELECT m.*, c.agent_id, c.queue, c.started_at
            FROM mood_components AS m JOIN calls AS c USING (call_id)
        """,
    ),
}
