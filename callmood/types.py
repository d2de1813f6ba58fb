"""The values that travel between the stages: discover, decode, diarize, score, trajectory, store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from callmood.text import path_text, printable

Role = Literal["agent", "customer"]
RoleSource = Literal["channel", "metadata", "voice", "heuristic"]
OtherParty = Literal["speaking", "silent", "interrupting"]
"""What the others did when a speaker's escalation began; see `callmood.trajectory.escalation.other_party`."""
Floats = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class CallMetadata:
    """What is known of a call beside its audio; anything unknown is None."""

    agent_id: str | None = None
    customer_id: str | None = None
    queue: str | None = None
    started_at: datetime | None = None
    """Aware (it carries an offset)."""
    agent_channel: int | None = None
    """0 (left) or 1 (right): the channel of a two-channel recording that the agent speaks on."""
    extra: Mapping[str, str | int | float | bool | None] = field(default_factory=dict)
    """Further columns of the metadata file, as given."""


@dataclass(frozen=True, kw_only=True)
class Leg:
    """One file of a recording that was kept as one file per party."""

    path: Path
    role: Role | None = None
    content_hash: str = ""
    """SHA-256 of the file; `empty:...` or `unreadable:...` where it has no content to read."""
    alias: str | None = None
    """What stands for the path wherever it is kept or told, where that is not to be the path itself."""

    @property
    def kept_path(self) -> str:
        """The path as the database holds it."""
        return path_text(self.path) if self.alias is None else self.alias

    @property
    def has_content(self) -> bool:
        return ":" not in self.content_hash


@dataclass(frozen=True, kw_only=True)
class LinkedAgent:
    """Which speaker of a call is the agent by voice, as `callmood link-agents` found it."""

    agent_id: str
    """Of the calls whose voices were compared."""
    confidence: float
    """Probability in [0, 1] that it is the right speaker."""
    spans: tuple[tuple[float, float], ...]
    """Start and end of that speaker's turns, in seconds: a later analysis may number the speakers otherwise."""


@dataclass(frozen=True, kw_only=True)
class Recording:
    """One call to analyze: one file, or two mono legs that are played together."""

    call_id: str
    legs: tuple[Leg, ...]
    content_hash: str
    metadata: CallMetadata = CallMetadata()
    linked: LinkedAgent | None = None

    @property
    def path(self) -> Path:
        """The (first) file."""
        return self.legs[0].path

    @property
    def name(self) -> str:
        """What names the call in messages: its (first) file, or what stands for it."""
        return printable(self.legs[0].alias or self.path)


@dataclass(frozen=True, kw_only=True)
class KnownCall:
    """What an earlier run left of a call, as far as deciding what is new needs it."""

    call_id: str
    content_hash: str
    legs: tuple[Leg, ...]
    """Paths as `callmood.text.path_text` writes them."""
    metadata: CallMetadata
    status: str
    """As in `CallResult`."""
    settings_hash: str
    model_hash: str
    rescore: bool = False
    """Whether roles were found since, by which emotions are to be inferred."""


@dataclass(frozen=True, kw_only=True)
class Audio:
    """Canonical audio, the only form that leaves the decode stage."""

    samples: Floats
    """Shape (channels, samples), one or two channels, float32 in [-1, 1], finite."""
    rate_hz: int
    source_rate_hz: int
    source_channels: int
    codec: str
    """What the source was encoded with, as its decoder names it (`PCM_16`, `MPEG_LAYER_III`, `amr_nb`)."""
    lost_s: float = 0.0
    """Seconds that the file announced and that did not decode."""

    @property
    def channels(self) -> int:
        return int(self.samples.shape[0])

    @property
    def duration_s(self) -> float:
        return float(self.samples.shape[1] / self.rate_hz)


@dataclass(frozen=True, kw_only=True)
class Turn:
    """One stretch of speech by one speaker."""

    speaker: str
    """`S1`, `S2`, ...: by channel (left is S1) or, in mono, by order of first speech."""
    channel: int
    """Row of `Audio.samples` in which the turn is heard."""
    start_s: float
    end_s: float
    role: Role | None = None
    confidence: float | None = None
    """Probability in [0, 1] that the turn bears the right speaker, as the engine sees it."""
    overlap_s: float = 0.0
    """Seconds of this turn during which another speaker speaks as well."""

    @property
    def duration_s(self) -> float:
        return self.end_s - self.start_s


@dataclass(frozen=True, kw_only=True)
class Diarization:
    """Who speaks when in one file."""

    turns: tuple[Turn, ...]
    """Ordered by start; none where nobody speaks."""
    engine: str
    """Name and version of what found them."""
    lost_s: float
    """Seconds of the file that did not decode; 0 where it is whole."""


@dataclass(frozen=True, kw_only=True)
class Affect:
    """Emotion scores of n spans, in the order of the spans; rows not inferred are NaN."""

    probabilities: Floats
    """Shape (n, 7), in the order of `callmood.emotions.EMOTIONS`; each row sums to 1."""
    valence: Floats
    """Shape (n,), in [-1, 1]."""
    arousal: Floats
    """Shape (n,), in [-1, 1]."""
    negativity: Floats
    """Shape (n,), in [0, 1]."""


@dataclass(frozen=True, kw_only=True)
class Course:
    """Affect of n windows smoothed over each speaker's earlier speech, with standard errors; arrays of shape (n,)."""

    valence: Floats
    arousal: Floats
    negativity: Floats
    valence_se: Floats
    arousal_se: Floats
    negativity_se: Floats


@dataclass(frozen=True, kw_only=True)
class Windows:
    """Short windows inside turns, ordered by turn and time."""

    turn_index: NDArray[np.int32]
    start_s: NDArray[np.float64]
    end_s: NDArray[np.float64]
    affect: Affect
    negativity_smooth: Floats
    """Shape (n,), in [0, 1]; see `callmood.trajectory.smoothing`."""
    course: Course | None = None
    """All that is smoothed, with its errors; None where only escalations are looked for."""


@dataclass(frozen=True, kw_only=True)
class Escalation:
    """A stretch in which a speaker who was calm before is negative; see `callmood.trajectory.find_escalations`."""

    speaker: str
    role: Role | None
    onset_s: float
    peak_s: float
    """Moment of the highest smoothed negativity while it lasts."""
    end_s: float | None
    """None where it had not ended when the speaker's last window did."""
    height: float
    """The smoothed negativity at the peak above the speaker's median in the call, in [0, 1]."""
    slope: float
    """Height per second from onset to peak."""
    recovered: bool
    """Whether the speaker was calm again before the call ended."""
    other_party: OtherParty | None = None
    """None where nobody else is heard in the call."""


@dataclass(frozen=True, kw_only=True)
class EscalationScore:
    """How strongly a speaker escalates in a call, whether it suffices for an `Escalation` or not."""

    speaker: str
    evidence: float
    """From 0 on; an escalation is declared where it reaches `Settings.escalation_threshold`."""
    score: float
    """In [0, 1), rising with the evidence, 0.5 at the default threshold."""


@dataclass(frozen=True, kw_only=True)
class TurnSignal:
    """What the signal tells of one turn beside its emotion; None where it was not measured."""

    level_dbfs: float | None = None
    """Root mean square of the turn on its channel, in dB below full scale."""
    syllables: int | None = None
    """Syllable nuclei counted in the turn."""


@dataclass(frozen=True, kw_only=True)
class Nonspeech:
    """A stretch of a call during which nobody speaks."""

    start_s: float
    end_s: float
    kind: Literal["silence", "tone", "music", "noise"]
    level_dbfs: float
    """Root mean square, in dB below full scale, of all channels together."""


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """What was found in one recording."""

    duration_s: float
    channels: int
    rate_hz: int
    codec: str
    lost_s: float
    diarizer: str
    """Engine and version that made the turns."""
    turns: tuple[Turn, ...]
    turn_affect: Affect
    windows: Windows
    escalations: tuple[Escalation, ...]
    turn_signals: tuple[TurnSignal, ...] = ()
    """Of each turn, in their order; empty where the signal was not measured."""
    nonspeech: tuple[Nonspeech, ...] = ()
    """All of the call outside turns, in order."""
    role_source: RoleSource | None = None
    """What tells the roles of the turns; None where nothing does."""
    role_confidence: float | None = None
    """Probability in [0, 1] that these roles are right."""
    escalation_scores: tuple[EscalationScore, ...] = ()
    """Of each speaker who was scored."""


@dataclass(frozen=True, kw_only=True)
class CallResult:
    """The outcome for one recording: an analysis, or the reason why there is none."""

    recording: Recording
    status: str
    """`ok`, `no_speech`, `empty`, `unreadable`, `failed` or `quarantined`."""
    error: str | None = None
    analysis: Analysis | None = None
