"""What each table, view and column means; kept in the database as comments, and in docs/schema.md."""

from __future__ import annotations

from callmood.emotions import EMOTIONS
from callmood.results.views import MEASURES

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
    "escalation_scores": (
        "How strongly each speaker escalates in a call, enough for an escalation or not; no row for those who were "
        "scored for less than 10 s of speech, nor for calls of a version that kept no scores."
    ),
    "trajectory": "Emotion over time: one row per window with its speaker and role.",
    "trajectories": (
        "Valence, arousal and negativity over time, smoothed, with a band of 1.96 standard errors on either side: one "
        "row per window and dimension. Smoothed and band are as in trajectory; in calls that an earlier version wrote "
        "the bands are NULL, and smoothed, too, but for negativity."
    ),
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
    "nonspeech": "What sounds while nobody speaks: stretches that make up all of a call outside its turns.",
    "speaker_mood": "One row per speaker of a call: mood by part of the call and by emotion.",
    "speaker_conversation": "One row per speaker of a call: how the speaker talked.",
    "call_conversation": "One row per call that was decoded: how it was talked.",
    "speaker_changes": "One row for each time that the floor passes to somebody else.",
    "overtalks": "One row for each pair of turns of two speakers that overlap.",
    "mood_components": "What speaker_mood is made of, as the call was written; query the view.",
    "speaker_components": "What speaker_conversation is made of, as the call was written; query the view.",
    "call_components": "What call_conversation is made of, as the call was written; query the view.",
    "overview": "Exactly one row: all calls of the database. Moods and escalations are those of call_summary.",
    "outcomes": "One row per status that calls have.",
    "provenance": "How the calls' results were made: one row per setting, version, models and diarizer.",
    "moments": (
        "What to listen to: one row per escalation, from 2 s before its onset to 3 s after its peak, and one for "
        "the worst moment of each call, where it is in none of them."
    ),
    "group_statistics": (
        "One row per group of calls (an agent, a queue, a team, an hour, a weekday, a week) and measure; made at the "
        "end of each run, defined in docs/agents.md. What is not claimed is NULL, and `why` says why."
    ),
    "statistics_made": "One row that says when and how group_statistics was made; none before the first time.",
    "agent_statistics": "The rows of group_statistics that are about agents.",
}

COLUMNS: dict[str, str] = {
    **{measure.name: measure.meaning for measures in MEASURES.values() for measure in measures},
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
    "turn_confidence": (
        "Share of the speech that is expected to bear the right speaker, 0 to 1 (the mean of `speaker_confidence` by "
        "length); NULL where the engine states none, as for two channels, where only one speaker was found, or before it was kept."
    ),
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
    "speaker_confidence": (
        "Probability that the turn bears the right speaker, where the engine tells one; it takes account of how sure "
        "the voices of the call as a whole are told apart. NULL also where all of the turn is heard beneath another's."
    ),
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
    **{
        f"{name}_smooth": f"{name}, smoothed in the same way as negativity_smooth."
        for name in ("valence", "arousal")
    },
    **{
        f"{name}_{ending}": meaning.format(name)
        for name in ("valence", "arousal", "negativity")
        for ending, meaning in (
            (
                "se",
                "Standard error of {}_smooth by what the network is unsure of; NULL in calls written before.",
            ),
            ("low", "Low end of its band of 95 %: {0}_smooth - 1.96 {0}_se, not below what there can be."),
            ("high", "High end likewise."),
        )
    },
    "dimension": "valence, arousal or negativity.",
    "raw": "The window's own value.",
    "smoothed": "It smoothed over the speaker's earlier speech.",
    "standard_error": "Standard error of `smoothed`.",
    "band_low": "Low end of the band of 95 %, smoothed - 1.96 standard_error, not below what there can be.",
    "band_high": "High end likewise.",
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
        "Largest loss of the account of calm: strain beyond the usual, times seconds, scaled to a minute of the speaker's "
        "speech (docs/escalation.md; not scaled where calls.diarizer is causal 1); there is an escalation where it reaches escalation_threshold."
    ),
    "score": "evidence / (evidence + 4), 0 to 1: 0.5 at the default threshold.",
    "t_s": "Centre of the window, in seconds from the start of the call.",
    "length_s": "Seconds from onset to end (or to the end of the call).",
    "speech_s": "Seconds of speech: the sum of the turns.",
    "talk_share": "The speaker's share of the speech of all speakers.",
    "valence_mean": "Mean valence of the speaker's turns.",
    "arousal_mean": "Mean arousal of the speaker's turns.",
    "negativity_mean": "Mean negativity (of turns, windows or calls: whatever the view has a row of).",
    "speakers": "Number of speakers found.",
    "mood_of": "customer, or everyone where roles are not known; NULL where nothing was scored.",
    "mood_start": "Mean valence in the first third of the call, -1 to 1.",
    "mood_end": "Mean valence in the last third of the call, -1 to 1.",
    "mood_change": "Mean valence in the last third of the call less that in the first.",
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
    "level_dbfs": (
        "Root mean square in dB below full scale, of the turn or of the speaker's turns on their channel, or of all "
        "channels; NULL where it was not measured."
    ),
    "syllables": "Syllable nuclei counted (de Jong and Wempe 2009); NULL where they were not.",
    "kind": (
        "silence, tone (ring, dial, busy and the like, with the pauses of its cadence), music or noise (any other "
        "sound)."
    ),
    "too_thin": "Which measures of the row are NULL, and why; NULL where none is.",
    "from_speaker": "Who had the floor before.",
    "from_end_s": "When that speaker's last turn ended, in seconds from the start of the call.",
    "gap_s": "From there to the start of the next turn; negative where it began before.",
    "over_speaker": "Who was speaking already (or began at the same time).",
    "yielded": "Who of the two stopped first; NULL where they stopped together.",
    "interruption": "Whether both spoke for long enough (docs/metrics.md) and the one who was speaking yielded.",
    "windows": "Number of windows of the speaker that were scored.",
    "scored_s": "Seconds of speech that those windows stand for.",
    "negativity_sum": "Sum of negativity over the windows.",
    "valence_step_squares": "Sum of the squared differences of valence between successive turns of the speaker.",
    "negativity_step_squares": "The same of negativity.",
    "turn_steps": "Number of those differences.",
    **{
        f"{what}_{kind}_{number}": f"{meaning} centred in that {kind} of the call."
        for what, meaning in (
            ("windows", "Number of windows"),
            ("valence_sum", "Sum of valence over the windows"),
        )
        for kind, count in (("quarter", 4), ("third", 3))
        for number in range(1, count + 1)
    },
    **{f"{name}_s": f"Seconds of speech expected to be {name}." for name in EMOTIONS},
    "turns": "Number of turns: stretches of one speaker's speech with pauses of at most 0.3 s.",
    "speech_of_all_s": "Sum of all turns of the call.",
    "spoken_s": "Seconds of the call during which anybody speaks.",
    "overlap_heard": "Whether the engine can give a moment to two speakers; how often it finds that in one channel: "
    "models/speaker/card.md.",
    "longest_turn_s": "The speaker's longest turn.",
    "responses": (
        "Number of turns that take the floor from somebody else, beginning at most 10 s after the other's last word."
    ),
    "responses_overlapping": "Number of those that begin before the other has ended.",
    "response_median_gap_s": "Median of the gaps before those turns; negative means overlap.",
    "response_overlap_share": "responses_overlapping / responses.",
    "interruptions": "Number of interruptions (by the speaker, where the row is a speaker's).",
    "rated_s": "Seconds of speech in which syllables were counted.",
    **{
        f"level_third_{n}_dbfs": "Mean power of the speaker's turns whose middle lies in that third."
        for n in (1, 3)
    },
    **{f"level_third_{n}_s": "Seconds of those turns." for n in (1, 3)},
    "told_apart_s": "Seconds without speech that were told apart as silence, tone, music or noise.",
    "calls_failed": "Number of calls without a result: those with a status other than ok and no_speech.",
    "agents": "Number of agents (in linkings: of those whose calls were linked).",
    "first_started_at": "When the earliest of the calls began.",
    "last_started_at": "When the latest of the calls began.",
    "error_example": "One of the sentences that say why.",
    "runs": "Number of runs.",
    "first_analyzed_at": "When the first of these rows was written.",
    "last_analyzed_at": "When the last of these rows was written.",
    "strength": "Height of the escalation, or negativity of the worst moment; 0 to 1.",
    "group_kind": "What the calls are grouped by: agent, queue, team, hour, weekday or week.",
    "group_name": "The group: an agent_id, a queue, ..., 09:00, 1 Monday, 2026-W10.",
    "team": "The team that most of the agent's calls name in their metadata; NULL where none does.",
    "measure": "Name of the measure; docs/agents.md defines each.",
    "calls_measured": "Number of calls in which the measure is known.",
    "numerator": "Its numerator, summed over those calls.",
    "denominator": "Its denominator, likewise.",
    "value": "numerator / denominator; NULL where too few calls have the measure.",
    "low": "Low end of the 95 % interval of `value`.",
    "high": "High end of it.",
    "team_value": "The same ratio over all calls of the agent's team (of all groups, where there are no teams).",
    "expected": "What the team's values let expect of a group with the same mix of queues.",
    "difference": "Observed less expected.",
    "difference_low": "Low end of the 95 % interval of `difference`.",
    "difference_high": "High end of it.",
    "adjusted": "team_value + difference: the value as it would be with the team's mix of queues.",
    "shrunk": "team_value + the part of `difference` that is left when noise is allowed for; what to rank by.",
    "percentile": "Percent of the groups (of the team) whose `shrunk` is lower, equal ones counting half.",
    "q_value": "The least false discovery rate at which the difference would count as found.",
    "within_noise": "Whether the difference may well be chance: q_value above 0.05.",
    "trend": "Change of the measure per week, given the queues.",
    "trend_low": "Low end of the 95 % interval of `trend`.",
    "trend_high": "High end of it.",
    "why": (
        "Why something in the row is NULL; in moments, what makes it worth hearing: escalation, or worst moment "
        "(worst_s of call_summary)."
    ),
    "made_at": "When the statistics were made, or last found to need no change.",
    "timezone": "Whose hours and days of the week count.",
    "min_calls": "Number of calls with a measure below which nothing is claimed.",
    "seed": "Of the bootstrap.",
    "current": "Whether no call was written, changed or removed since.",
    **{f"p_{name}": f"Probability of {name}, 0 to 1." for name in EMOTIONS},
}
"""A name means the same wherever it stands."""
