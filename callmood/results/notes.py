"""What each table, view and column means; kept in the database as comments, and in docs/schema.md."""

from __future__ import annotations

from callmood.emotions import EMOTIONS

RELATIONS: dict[str, str] = {
    "schema_migrations": "The migrations that made this database, in order.",
    "runs": "One row per run of `callmood analyze`.",
    "files": "Files seen, so that their content need not be read again while size and time of change stay.",
    "calls": "One row per recording, failed ones included.",
    "turns": "One row per speaker turn of a call.",
    "windows": "Short windows inside turns, every half second; the finest grain of the emotion scores.",
    "escalation_events": "Escalations as detected; query them through the view `escalations`.",
    "escalation_scores": (
        "How strongly each speaker escalates in a call, enough for an escalation or not; no row for those who were "
        "scored for less than 10 s of speech, nor for calls of a version that kept no scores."
    ),
    "trajectory": "Emotion over time: one row per window with its speaker and role.",
    "escalations": "One row per escalation of any speaker (role tells whose), with what is known of its call.",
    "speaker_summary": "One row per speaker of a call.",
    "call_summary": (
        "Exactly one row per call. Moods and escalations are the customer's where roles are known, else those "
        "of all speakers, the agent among them (see mood_of)."
    ),
    "agent_summary": (
        "One row per agent_id. Rates stand beside their numerator and denominator and are NULL where the "
        "denominator is 0. Moods and escalations are those of call_summary."
    ),
}

COLUMNS: dict[str, str] = {
    "version": "Version of the schema (in runs: of callmood).",
    "name": "Name of the migration.",
    "applied_at": "When the migration was applied.",
    "run_id": "The run (of calls: the one that wrote the row).",
    "started_at": "When the call (in runs: the run) began; NULL where not known.",
    "finished_at": "When the run ended; NULL where it was killed.",
    "started_by": "User that started the run.",
    "host": "Machine it ran on.",
    "settings": "Effective settings, as JSON.",
    "settings_hash": "Changes with any setting that decides results.",
    "model_hash": "Changes with any model file.",
    "emotion_for": "Whose emotions were inferred: everyone, customer or agent.",
    "found": "Recordings found by the run.",
    "analyzed": "Recordings it wrote, failed ones included.",
    "failed": "Recordings that failed in it.",
    "already_known": "Recordings it left as they were.",
    "path": "The recording's file (of two legs: the first).",
    "size_bytes": "Size of the file.",
    "modified_ns": "Time of its last change, in nanoseconds since 1970.",
    "content_hash": "SHA-256 of the content (of two legs: of both).",
    "legs": "The recording's files, as JSON: path, role and SHA-256 of each.",
    "call_id": "The call: as metadata or file-name pattern give it, else 16 hex digits of the content hash.",
    "agent_id": "The agent, as given; NULL where not known.",
    "customer_id": "The customer, as given.",
    "queue": "The queue, as given.",
    "agent_channel": "Channel that the agent speaks on, from 0 (left), as given by channel or by leg.",
    "metadata": "Further columns of the metadata file, as JSON.",
    "duration_s": "Length of the recording in seconds.",
    "channels": "Channels of the source.",
    "rate_hz": "Sampling rate of the source.",
    "codec": "What the source was encoded with, as its decoder names it.",
    "status": (
        "ok, no_speech (nothing to score), empty (no samples), unreadable (does not decode), failed (an error "
        "of ours) or quarantined (its worker process died twice)."
    ),
    "error": "One sentence that says why, where there is something to say.",
    "truncated": "Whether a part of the recording did not decode.",
    "lost_s": "Seconds announced by the file that did not decode.",
    "diarizer": "Engine and version that made the turns.",
    "analyzed_at": "When the row was written.",
    "turn_index": "Number of the turn in its call, from 0, in order of time.",
    "speaker": "S1, S2, ...: by channel (left is S1) or, in one channel, by order of first speech.",
    "role": "agent, customer or NULL where not known.",
    "channel": "Channel on which the turn is heard, from 0.",
    "start_s": "Start, in seconds from the start of the call.",
    "end_s": "End, in seconds from the start of the call; of an escalation NULL where it lasted to the end.",
    "overlap_s": "Seconds of the turn during which another speaker speaks too.",
    "speaker_confidence": "Probability that the turn bears the right speaker, where the engine tells one.",
    "emotion": "Most probable emotion; NULL where it was not inferred or the turn is shorter than 0.5 s.",
    "confidence": "Probability of `emotion`.",
    "valence": (
        "Expected pleasantness, -1 to 1: the probabilities times Russell and Mehrabian's (1977) ratings."
    ),
    "arousal": "Expected activation, -1 to 1, likewise.",
    "negativity": "p_angry + 0.5 p_fearful + 0.5 p_disgust + 0.25 p_sad, 0 to 1.",
    "negativity_smooth": (
        "negativity, exponentially smoothed over the speaker's earlier windows (time constant 5 s of own speech), "
        "from the speaker's median in the call on."
    ),
    "onset_s": "Start of the first window of the escalation.",
    "peak_s": "Centre of the window of the highest smoothed negativity while it lasts.",
    "height": "Peak above the speaker's median in the call, 0 to 1.",
    "slope": "Height per second from onset to peak.",
    "recovered": "Whether the speaker was calm again (evidence of calm of 1 or more) before the call ended.",
    "recovery_s": "Seconds from peak to end, where it was recovered.",
    "other_party": (
        "What the others did when it began: interrupting (began to speak during the speaker's turn, in the first "
        "window or up to 2 s before it), speaking (0.25 s or more of that window), silent; NULL where nobody else is "
        "heard, or an earlier version wrote it."
    ),
    "evidence": (
        "Largest loss of the account of calm: strain beyond the usual, times seconds of speech; there is an escalation "
        "where it reaches escalation_threshold."
    ),
    "score": "evidence / (evidence + 4), 0 to 1: 0.5 at the default threshold.",
    "t_s": "Centre of the window, in seconds from the start of the call.",
    "length_s": "Seconds from onset to end (or to the end of the call).",
    "turns": "Number of turns.",
    "speech_s": "Seconds of speech: the sum of the turns.",
    "talk_share": "The speaker's share of the speech of all speakers.",
    "valence_mean": "Mean valence of the speaker's turns.",
    "arousal_mean": "Mean arousal of the speaker's turns.",
    "negativity_mean": "Mean negativity (of turns, windows or calls: whatever the view has a row of).",
    "speakers": "Number of speakers found.",
    "mood_of": "customer, or everyone where roles are not known; NULL where nothing was scored.",
    "mood_start": "Mean valence in the first third of the call, -1 to 1.",
    "mood_end": "Mean valence in the last third of the call, -1 to 1.",
    "mood_change": "mood_end - mood_start.",
    "worst_s": "Moment of the highest smoothed negativity, in seconds from the start of the call.",
    "worst_negativity": "The smoothed negativity at that moment.",
    "worst_speaker": "Who spoke at that moment.",
    "escalations": "Number of escalations.",
    "escalations_recovered": "Number of those that ended while the speaker was still to be heard.",
    "escalation_score": (
        "Highest score of the customer (of everyone, where roles are not known), 0 to 1: evidence / (evidence + 4), "
        "continuous below the threshold too; NULL where nobody was scored for 10 s of speech."
    ),
    "calls": "Number of calls.",
    "calls_analyzed": "Number of calls with status ok.",
    "hours": "Hours of recordings.",
    "calls_scored": "Number of calls in which somebody's emotion was scored; denominator of escalation_rate.",
    "calls_escalated": "Number of calls with an escalation.",
    "escalation_rate": "calls_escalated / calls_scored.",
    "recovery_rate": "escalations_recovered / escalations.",
    "calls_with_mood_change": "Number of calls with a mood_change.",
    "mood_change_mean": "Mean mood_change of those calls.",
    "calls_with_talk_share": "Number of calls in which the agent's speech is known.",
    "talk_share_mean": "Mean talk_share of the agent in those calls.",
    **{f"p_{name}": f"Probability of {name}, 0 to 1." for name in EMOTIONS},
}
"""A name means the same wherever it stands."""
