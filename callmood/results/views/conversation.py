"""How a call was talked: shares, turns, responses, overtalk, interruptions, silence, speech rate and loudness."""

from __future__ import annotations

from callmood.results.measures import Measure, Need, measured

INTERRUPTION_S = 0.5
"""Least overlap that interrupts: shorter ones are ends of turns that were seen coming."""
RESPONSE_WITHIN_S = 10.0
"""What begins later after the other party's last word is no response to it."""
DEAD_AIR_S = 3.0
"""Silence that is longer is dead air; it ends a monologue, too."""
MIN_SPEECH_S = 10.0
"""Seconds of speech below which no share of it is told."""
MIN_RESPONSES = 3
MIN_RATED_S = 5.0
"""Seconds of speech below which no speech rate is told."""
MIN_LEVEL_S = 2.0
"""Seconds of speech in either third of the call below which no change of level is told."""

_FLOOR = """
    SELECT *, lag(speaker) OVER spoken AS previous_speaker, lag(end_s) OVER spoken AS previous_end_s
    FROM (
        SELECT call_id, turn_index, speaker, role, start_s, end_s, max(end_s) OVER (
            PARTITION BY call_id ORDER BY start_s, end_s DESC, turn_index
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) AS spoken_until_s
        FROM turns
    )
    WHERE spoken_until_s IS NULL OR end_s > spoken_until_s
    WINDOW spoken AS (PARTITION BY call_id ORDER BY start_s)
"""
"""The turns that take the floor: those that outlast every turn begun before them."""

_CHANGES = f"""
    SELECT call_id, previous_speaker AS from_speaker, speaker, role, previous_end_s AS from_end_s, start_s,
           start_s - previous_end_s AS gap_s
    FROM ({_FLOOR}) WHERE speaker <> previous_speaker
"""

_OVERTALKS = f"""
    SELECT a.call_id, CASE WHEN a.start_s < b.start_s THEN b.speaker END AS speaker,
           CASE WHEN a.start_s < b.start_s THEN b.role END AS role, a.speaker AS over_speaker,
           b.start_s, least(a.end_s, b.end_s) AS end_s, least(a.end_s, b.end_s) - b.start_s AS length_s,
           CASE WHEN a.end_s < b.end_s THEN a.speaker WHEN b.end_s < a.end_s THEN b.speaker END AS yielded,
           a.start_s < b.start_s AND a.end_s < b.end_s
               AND least(a.end_s, b.end_s) - b.start_s >= {INTERRUPTION_S} AS interruption
    FROM turns AS a JOIN turns AS b ON a.call_id = b.call_id AND a.speaker <> b.speaker
        AND (a.start_s < b.start_s OR (a.start_s = b.start_s AND a.turn_index < b.turn_index))
        AND b.start_s < a.end_s
    -- Says the same once more, and spares comparing every turn with every other.
    WHERE a.overlap_s > 0 AND b.overlap_s > 0
"""

_OVERLAP_HEARD = (
    "(count(DISTINCT channel) > 1 OR sum(overlap_s) > 0 "
    "OR NOT regexp_full_match(any_value(diarizer), 'builtin [1-5]'))"
)
"""Whether the engine can give a moment to two speakers: the builtin one gave a moment to one speaker until 5."""
_KINDS = ("silence", "tone", "music", "noise")
_DEAD_AIR = f"FILTER (kind = 'silence' AND end_s - start_s > {DEAD_AIR_S})"
_LEVEL = "10 * log10(sum(length_s * 10 ** (level_dbfs / 10)) {over} / sum(length_s) {over})"
_FIRST = "FILTER (level_dbfs IS NOT NULL AND middle_s < duration_s / 3)"
_LAST = "FILTER (level_dbfs IS NOT NULL AND middle_s >= 2 * duration_s / 3)"
_RESPONSE = f"FILTER (gap_s <= {RESPONSE_WITHIN_S})"

COMPONENTS: dict[str, str] = {
    "speaker_components": f"""
        WITH spoken AS (
            SELECT t.*, end_s - start_s AS length_s, (start_s + end_s) / 2 AS middle_s, c.duration_s
            FROM turns AS t JOIN calls AS c USING (call_id)
        ),
        sums AS (
            SELECT call_id, speaker, any_value(role) AS role, any_value(duration_s) AS duration_s,
                   count(*) AS turns, sum(length_s) AS speech_s, max(length_s) AS longest_turn_s,
                   {_LEVEL.format(over="FILTER (level_dbfs IS NOT NULL)")} AS level_dbfs,
                   {_LEVEL.format(over=_FIRST)} AS level_third_1_dbfs,
                   {_LEVEL.format(over=_LAST)} AS level_third_3_dbfs,
                   coalesce(sum(length_s) {_FIRST}, 0) AS level_third_1_s,
                   coalesce(sum(length_s) {_LAST}, 0) AS level_third_3_s,
                   CAST(sum(syllables) AS BIGINT) AS syllables,
                   coalesce(sum(length_s) FILTER (syllables IS NOT NULL), 0) AS rated_s
            FROM spoken GROUP BY call_id, speaker
        ),
        together AS (
            SELECT call_id, sum(speech_s) AS speech_of_all_s, count(*) AS speakers FROM sums GROUP BY call_id
        ),
        floor AS ({_FLOOR}),
        monologues AS (
            SELECT call_id, speaker, start_s, end_s, count(*) FILTER (
                previous_speaker IS DISTINCT FROM speaker OR start_s - previous_end_s > {DEAD_AIR_S}
            ) OVER (PARTITION BY call_id ORDER BY start_s) AS number
            FROM floor
        ),
        longest AS (
            SELECT call_id, speaker, max(length_s) AS monologue_s, arg_max(start_s, (length_s, -start_s)) AS monologue_start_s
            FROM (
                SELECT call_id, speaker, min(start_s) AS start_s, max(end_s) - min(start_s) AS length_s
                FROM monologues GROUP BY call_id, speaker, number
            )
            GROUP BY call_id, speaker
        ),
        responses AS (
            SELECT call_id, speaker, count(*) {_RESPONSE} AS responses,
                   count(*) FILTER (gap_s < 0) AS responses_overlapping,
                   median(gap_s) {_RESPONSE} AS response_median_gap_s
            FROM ({_CHANGES}) GROUP BY call_id, speaker
        ),
        overtalks AS ({_OVERTALKS}),
        begun AS (
            SELECT call_id, speaker, count(*) AS overtalks_begun, sum(length_s) AS overtalk_begun_s,
                   count(*) FILTER (interruption) AS interruptions
            FROM overtalks GROUP BY call_id, speaker
        ),
        suffered AS (
            SELECT call_id, over_speaker AS speaker, count(*) AS interrupted
            FROM overtalks WHERE interruption GROUP BY call_id, over_speaker
        ),
        heard AS (
            SELECT call_id, {_OVERLAP_HEARD} AS overlap_heard
            FROM turns JOIN calls USING (call_id) GROUP BY call_id
        )
        SELECT call_id, speaker, role, duration_s, turns, speech_s, speech_of_all_s, speakers, overlap_heard,
               longest_turn_s, coalesce(monologue_s, 0) AS monologue_s, monologue_start_s,
               coalesce(responses, 0) AS responses, coalesce(responses_overlapping, 0) AS responses_overlapping,
               response_median_gap_s,
               coalesce(overtalks_begun, 0) AS overtalks_begun, coalesce(overtalk_begun_s, 0) AS overtalk_begun_s,
               coalesce(interruptions, 0) AS interruptions, coalesce(interrupted, 0) AS interrupted,
               syllables, rated_s, level_dbfs, level_third_1_dbfs, level_third_3_dbfs, level_third_1_s,
               level_third_3_s
        FROM sums JOIN together USING (call_id) JOIN heard USING (call_id)
        LEFT JOIN longest USING (call_id, speaker) LEFT JOIN responses USING (call_id, speaker)
        LEFT JOIN begun USING (call_id, speaker) LEFT JOIN suffered USING (call_id, speaker)
    """,
    "call_components": f"""
        WITH edges AS (
            SELECT call_id, start_s AS at_s, 1 AS step FROM turns
            UNION ALL SELECT call_id, end_s, -1 FROM turns
        ),
        counted AS (
            SELECT call_id, lead(at_s) OVER edge - at_s AS length_s, sum(step) OVER edge AS speaking
            FROM edges WINDOW edge AS (PARTITION BY call_id ORDER BY at_s, step
                                       ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
        ),
        spoken AS (
            SELECT call_id, sum(length_s) FILTER (speaking >= 1) AS spoken_s,
                   coalesce(sum(length_s) FILTER (speaking >= 2), 0) AS overtalk_s
            FROM counted GROUP BY call_id
        ),
        sums AS (
            SELECT call_id, count(DISTINCT speaker) AS speakers, count(*) AS turns,
                   sum(end_s - start_s) AS speech_s,
                   {_OVERLAP_HEARD} AS overlap_heard
            FROM turns JOIN calls USING (call_id) GROUP BY call_id
        ),
        changes AS (
            SELECT call_id, count(*) AS speaker_changes, count(*) {_RESPONSE} AS responses,
                   count(*) FILTER (gap_s < 0) AS responses_overlapping,
                   median(gap_s) {_RESPONSE} AS response_median_gap_s
            FROM ({_CHANGES}) GROUP BY call_id
        ),
        overtalk AS (
            SELECT call_id, count(*) AS overtalks, count(*) FILTER (interruption) AS interruptions
            FROM ({_OVERTALKS}) GROUP BY call_id
        ),
        unspoken AS (
            SELECT call_id, sum(end_s - start_s) AS told_apart_s,
                   {", ".join(f"coalesce(sum(end_s - start_s) FILTER (kind = '{k}'), 0) AS {k}_s" for k in _KINDS)},
                   count(*) {_DEAD_AIR} AS dead_airs,
                   coalesce(sum(end_s - start_s) {_DEAD_AIR}, 0) AS dead_air_s,
                   coalesce(max(end_s - start_s) FILTER (kind = 'silence'), 0) AS longest_silence_s
            FROM nonspeech GROUP BY call_id
        )
        SELECT call_id, duration_s, coalesce(speakers, 0) AS speakers, coalesce(turns, 0) AS turns,
               coalesce(speech_s, 0) AS speech_s, coalesce(spoken_s, 0) AS spoken_s,
               greatest(duration_s - coalesce(spoken_s, 0), 0) AS unspoken_s, overlap_heard,
               coalesce(overtalk_s, 0) AS overtalk_s, coalesce(overtalks, 0) AS overtalks,
               coalesce(interruptions, 0) AS interruptions, coalesce(speaker_changes, 0) AS speaker_changes,
               coalesce(responses, 0) AS responses, coalesce(responses_overlapping, 0) AS responses_overlapping,
               response_median_gap_s, told_apart_s, silence_s, tone_s, music_s, noise_s,
               dead_airs, dead_air_s, longest_silence_s
        FROM calls LEFT JOIN spoken USING (call_id) LEFT JOIN sums USING (call_id)
        LEFT JOIN changes USING (call_id) LEFT JOIN overtalk USING (call_id)
        LEFT JOIN unspoken USING (call_id)
        WHERE duration_s IS NOT NULL
    """,
}
"""Tables that are filled as a call is written, by name: what the measures are made of."""

_SOME_SPEECH = Need(
    condition=f"speech_of_all_s >= {MIN_SPEECH_S}", lacking=f"less than {MIN_SPEECH_S:.0f} s of speech"
)
_TWO = Need(condition="speakers >= 2", lacking="only one party is heard")
_OVERLAP = Need(
    condition="overlap_heard", lacking="the engine that made the turns gives each moment to one speaker"
)
_RESPONSES = Need(condition=f"responses >= {MIN_RESPONSES}", lacking=f"fewer than {MIN_RESPONSES} responses")
_SPOKEN = Need(condition="spoken_s > 0", lacking="nobody speaks")
_TOLD_APART = Need(
    condition="told_apart_s IS NOT NULL OR unspoken_s < 0.1",
    lacking="silence, tones and music were not told apart when the call was analyzed",
)
_LENGTH = Need(condition="duration_s > 0", lacking="the recording is empty")
_FTO = (
    "Heldner and Edlund 2010, Pauses, gaps and overlaps in conversations; de Ruiter, Mitterer and Enfield 2006 "
    "(floor transfer offset)."
)
_TALKING_OVER = (
    "Zimmerman and West 1975; Schegloff 2000, Overlapping talk and the organization of turn-taking."
)


def _counted(name: str, meaning: str, *needs: Need, source: str = "") -> Measure:
    """A measure that is a component itself."""
    return Measure(name=name, meaning=meaning, value=name, components=(), needs=needs, source=source)


MEASURES: dict[str, tuple[Measure, ...]] = {
    "speaker_conversation": (
        _counted("turns", "Number of the speaker's turns: stretches of speech with pauses of at most 0.3 s."),
        _counted("speech_s", "Seconds of speech: the sum of the speaker's turns."),
        Measure(
            name="talk_share",
            meaning="The speaker's share of the speech of all speakers: speech_s / speech_of_all_s, where "
            "speech_of_all_s is the sum of all turns. The shares of a call add up to 1.",
            value="speech_s / speech_of_all_s",
            components=("speech_s", "speech_of_all_s", "speakers"),
            needs=(_TWO, _SOME_SPEECH),
        ),
        Measure(
            name="talk_share_of_call",
            meaning="The speaker's share of the call: speech_s / duration_s. The shares of a call add up to 1 less "
            "what nobody speaks, plus overtalk.",
            value="speech_s / duration_s",
            components=("speech_s", "duration_s"),
            needs=(_LENGTH,),
        ),
        Measure(
            name="turn_length_mean_s",
            meaning="Mean length of the speaker's turns: speech_s / turns.",
            value="speech_s / turns",
            components=("speech_s", "turns"),
        ),
        _counted(
            "monologue_s",
            "The speaker's longest monologue: from the start of a turn to the end of another of the speaker's, with "
            f"no pause over {DEAD_AIR_S:.0f} s and nobody else's turn between that takes the floor. A turn takes the "
            "floor where it outlasts every turn begun before it, so words thrown in while the other speaks end no "
            "monologue.",
        ),
        _counted("monologue_start_s", "When that monologue begins; of equal ones the first."),
        _counted(
            "responses",
            "Number of the speaker's turns that take the floor from somebody else, beginning at most "
            f"{RESPONSE_WITHIN_S:.0f} s after the other's last word, or before it.",
            _TWO,
            source=_FTO,
        ),
        Measure(
            name="response_median_gap_s",
            meaning="Median of the gaps before those turns, from the other's last word to the speaker's first; "
            "negative where the speaker begins before the other has ended.",
            value="response_median_gap_s",
            components=("responses",),
            needs=(_TWO, _RESPONSES),
            source=_FTO,
        ),
        Measure(
            name="response_overlap_share",
            meaning="Share of the responses that begin before the other has ended: responses_overlapping / "
            "responses.",
            value="responses_overlapping / responses",
            components=("responses_overlapping", "responses", "overlap_heard"),
            needs=(_TWO, _OVERLAP, _RESPONSES),
            source=_FTO,
        ),
        _counted(
            "overtalks_begun",
            "Number of times that the speaker began while somebody else was speaking (view overtalks).",
            _TWO,
            _OVERLAP,
        ),
        _counted("overtalk_begun_s", "Seconds that both then spoke, together.", _TWO, _OVERLAP),
        _counted(
            "interruptions",
            f"Number of those in which both spoke for at least {INTERRUPTION_S} s and the other yielded, that is "
            "stopped first. Whether the other was about to end anyway is not known.",
            _TWO,
            _OVERLAP,
            source=_TALKING_OVER,
        ),
        _counted("interrupted", "Number of times that the speaker was interrupted likewise.", _TWO, _OVERLAP),
        Measure(
            name="interruptions_per_hour",
            meaning="interruptions per hour of the call: interruptions / (duration_s / 3600).",
            value="interruptions / (duration_s / 3600)",
            components=("interruptions", "duration_s"),
            needs=(
                _TWO,
                _OVERLAP,
                Need(condition="duration_s >= 60", lacking="the call is shorter than a minute"),
            ),
        ),
        Measure(
            name="speech_rate",
            meaning="Syllable nuclei per second of speech: syllables / rated_s, where rated_s is the sum of the "
            "turns in which they were counted. Pauses within turns count as speech.",
            value="syllables / rated_s",
            components=("syllables", "rated_s"),
            needs=(
                Need(
                    condition="syllables IS NOT NULL",
                    lacking="syllables were not counted when the call was analyzed",
                ),
                Need(
                    condition=f"rated_s >= {MIN_RATED_S}", lacking=f"less than {MIN_RATED_S:.0f} s of speech"
                ),
            ),
            source="de Jong and Wempe 2009, Praat script to detect syllable nuclei and measure speech rate "
            "automatically.",
        ),
        Measure(
            name="level_change_db",
            meaning="How much louder the speaker is in the last third of the call than in the first: "
            "level_third_3_dbfs - level_third_1_dbfs, the mean power of the turns whose middle lies there.",
            value="level_third_3_dbfs - level_third_1_dbfs",
            components=(
                "level_third_1_dbfs",
                "level_third_3_dbfs",
                "level_third_1_s",
                "level_third_3_s",
                "level_dbfs",
            ),
            needs=(
                Need(
                    condition="level_dbfs IS NOT NULL",
                    lacking="levels were not measured when the call was analyzed",
                ),
                Need(
                    condition=f"level_third_1_s >= {MIN_LEVEL_S} AND level_third_3_s >= {MIN_LEVEL_S}",
                    lacking=f"less than {MIN_LEVEL_S:.0f} s of speech in the first or the last third of the call",
                ),
            ),
        ),
    ),
    "call_conversation": (
        _counted("speakers", "Number of speakers found."),
        _counted("turns", "Number of turns of all speakers."),
        Measure(
            name="speech_share_of_call",
            meaning="Share of the call during which somebody speaks: spoken_s / duration_s.",
            value="spoken_s / duration_s",
            components=("spoken_s", "duration_s"),
            needs=(_LENGTH,),
        ),
        _counted("speaker_changes", "Number of times that the floor passes to somebody else.", _TWO),
        Measure(
            name="response_median_gap_s",
            meaning="Median gap at those changes, from the last word to the next speaker's first, of gaps up to "
            f"{RESPONSE_WITHIN_S:.0f} s; negative where the next begins before the other has ended.",
            value="response_median_gap_s",
            components=("responses",),
            needs=(_TWO, _RESPONSES),
            source=_FTO,
        ),
        Measure(
            name="response_overlap_share",
            meaning="Share of those changes at which the next begins before the other has ended: "
            "responses_overlapping / responses.",
            value="responses_overlapping / responses",
            components=("responses_overlapping", "responses", "overlap_heard"),
            needs=(_TWO, _OVERLAP, _RESPONSES),
            source=_FTO,
        ),
        _counted("overtalk_s", "Seconds during which at least two speak.", _TWO, _OVERLAP),
        Measure(
            name="overtalk_share_of_call",
            meaning="overtalk_s / duration_s.",
            value="overtalk_s / duration_s",
            components=("overtalk_s", "duration_s"),
            needs=(_TWO, _OVERLAP, _LENGTH),
        ),
        Measure(
            name="overtalk_share_of_speech",
            meaning="overtalk_s / spoken_s.",
            value="overtalk_s / spoken_s",
            components=("overtalk_s", "spoken_s"),
            needs=(_TWO, _OVERLAP, _SPOKEN),
        ),
        _counted("overtalks", "Number of pairs of turns of two speakers that overlap.", _TWO, _OVERLAP),
        _counted(
            "interruptions", "Number of interruptions, by whomever.", _TWO, _OVERLAP, source=_TALKING_OVER
        ),
        _counted("unspoken_s", "Seconds during which nobody speaks."),
        _counted("silence_s", "Seconds of those in which nothing else sounds either.", _TOLD_APART),
        Measure(
            name="silence_share_of_call",
            meaning="silence_s / duration_s.",
            value="silence_s / duration_s",
            components=("silence_s", "duration_s", "told_apart_s"),
            needs=(_TOLD_APART, _LENGTH),
        ),
        _counted("longest_silence_s", "The longest silence.", _TOLD_APART),
        _counted(
            "dead_airs",
            f"Number of silences over {DEAD_AIR_S:.0f} s; of any other length: view nonspeech.",
            _TOLD_APART,
            source="Amazon Connect Contact Lens counts silence from 3 s on as non-talk time.",
        ),
        _counted("dead_air_s", "Seconds of those silences.", _TOLD_APART),
        _counted("tone_s", "Seconds of ring, dial, busy and other tones while nobody speaks.", _TOLD_APART),
        _counted("music_s", "Seconds of music, such as on hold, while nobody speaks.", _TOLD_APART),
        _counted(
            "noise_s",
            "Seconds of other sounds while nobody speaks, words that were not found to be speech among them.",
            _TOLD_APART,
        ),
    ),
}

_KEYS = ("agent_id", "queue", "started_at")

VIEWS: dict[str, str] = {
    "speaker_changes": _CHANGES,
    "overtalks": _OVERTALKS,
    "speaker_conversation": measured(
        MEASURES["speaker_conversation"],
        keys=("call_id", "speaker", "role", *_KEYS),
        base="""
            SELECT s.*, c.agent_id, c.queue, c.started_at
            FROM speaker_components AS s JOIN calls AS c USING (call_id)
        """,
    ),
    "call_conversation": measured(
        MEASURES["call_conversation"],
        keys=("call_id", *_KEYS, "turn_confidence", "role_confidence", "duration_s"),
        base="""
            SELECT m.*, c.agent_id, c.queue, c.started_at, c.turn_confidence, c.role_confidence
            FROM call_components AS m JOIN calls AS c USING (call_id)
        """,
    ),
}
