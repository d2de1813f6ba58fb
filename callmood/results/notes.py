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
    "linkings": "One row per run of `callmood link-agents`.",
    "linked_agents": "One row per call whose agent `callmood link-agents` found by voice.",
    "purges": "One row per `callmood purge` that removed something.",
    "purged_recordings": "Recordings that were purged, so that they are not analyzed again while their files lie there.",
    "escalation_events": "Escalations as detected; query them through the view `escalations`.",
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
    "role_source": (
        "What tells the roles: channel (the agent's channel was told), metadata, voice (callmood link-agents) or "
        "heuristic; NULL where nothing does."
    ),
    "role_confidence": "Probability that the roles are right, 0 to 1; NULL where they are not known.",
    "rescore": (
        "Whether link-agents found roles since by which emotions are to be inferred, so that the next run of "
        "analyze takes the call up again."
    ),
    "pseudonyms": (
        "Of a run with --pseudonymize, a check value of its key (not the key); NULL where ids were kept as given."
    ),
    "linked_at": "When the agents were linked.",
    "linked_by": "User that linked them.",
    "agents": "Number of agents.",
    "calls_linked": "Number of calls whose agent was found by voice.",
    "spans": "Start and end of the agent's turns in seconds, as JSON.",
    "purged_at": "When the calls were purged.",
    "purged_by": "User that purged them.",
    "criterion": "What was purged, as JSON: older_than, or call, agent and customer as hashes with their salt.",
    "erased": "Whether the file was written anew since, so that its bytes no longer hold the removed rows.",
    "reason": "The reason, as given with --reason.",
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
    "onset_s": "First moment of the rise.",
    "peak_s": "Moment of the highest smoothed negativity while it lasts.",
    "height": "Peak above the speaker's median in the call, 0 to 1.",
    "slope": "Height per second from onset to peak.",
    "recovered": "Whether it ended while the speaker was still to be heard.",
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
        "Height of the highest escalation; 0 where there is none, NULL where nothing was scored."
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
