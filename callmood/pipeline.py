"""One recording through all stages: decode, diarize, roles, MFCC, network, trajectory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from callmood.decode import decode, decode_file
from callmood.diarize.engine import Diarizer, engine_for, make_diarizer, turns_and_audio
from callmood.diarize.told import told_turns
from callmood.diarize.turns import mixed, of_one_speaker
from callmood.diarize.vad import RATE_HZ
from callmood.emotion.score import ProbabilityModel, Scores, score_turns
from callmood.errors import CallmoodError, RecordingError
from callmood.features import ChannelFrames
from callmood.model_files import models_hash
from callmood.remote import as_named, at_hand
from callmood.roles import TOLD_CONFIDENCE, Roles, roles_of, told_by
from callmood.settings import Settings
from callmood.signals import signals_of
from callmood.text import printable, truncated
from callmood.trajectory import (
    EscalationRule,
    affect_of,
    course_of,
    escalation_scores,
    find_escalations,
)
from callmood.trajectory.speech import speech_per_window
from callmood.types import Analysis, Audio, CallResult, Diarization, Recording, Turn, Windows

if TYPE_CHECKING:
    from callmood.emotion.model import EmotionModel
    from callmood.live.engine import Engine as CausalEngine


@dataclass(frozen=True, kw_only=True)
class Engines:
    """What a worker loads once and uses for every recording."""

    diarizer: Diarizer
    model: ProbabilityModel
    emotion_for: str
    min_role_confidence: float = 0.0
    """Least confidence in the roles at which emotions are inferred by them."""
    guess_roles: bool = False
    escalation: EscalationRule = field(default_factory=EscalationRule)
    rttm: Path | None = None
    """Folder of turns that are taken instead of the diarizer's."""
    causal: CausalEngine | None = None
    """Takes the place of all of these where nothing may look ahead."""


@lru_cache(maxsize=1)
def load_engines(settings: Settings) -> Engines:
    """The engines that some settings ask for, loaded once per process.

    Raises
    ------
    ModelError, EngineUnavailableError
    """
    from callmood.emotion.device import use_device
    from callmood.gpu.client import served

    if not served():
        use_device(settings.device)
    model = _emotion_model(settings.models, models_hash(settings.models))
    rule = EscalationRule(threshold_s=settings.escalation_threshold)
    causal = None
    if settings.causal:
        from callmood.live.engine import Engine

        causal = Engine(model, emotion_for=settings.emotion_for, rule=rule)
    return Engines(
        diarizer=load_diarizer(settings),
        model=model,
        emotion_for=settings.emotion_for,
        min_role_confidence=settings.min_role_confidence,
        guess_roles=settings.guess_roles,
        escalation=rule,
        rttm=_folder(settings.rttm),
        causal=causal,
    )


@lru_cache(maxsize=1)
def _emotion_model(models: str | None, hash_: str) -> EmotionModel:
    """Loaded once for all settings that name the same models: TensorFlow never gives back what a network held."""
    from callmood.emotion.model import EmotionModel

    return EmotionModel(models)


def load_diarizer(settings: Settings) -> Diarizer:
    """The diarizer that some settings ask for, loaded once per process.

    Raises
    ------
    ModelError, EngineUnavailableError
    """
    from callmood.emotion.device import use_device
    from callmood.gpu.client import served

    if settings.device == "gpu" and not served():
        # Networks load when they are first needed; that there is no GPU is told before.
        use_device(settings.device)
    return _diarizer(
        settings.diarizer,
        models_hash(settings.models) if settings.diarizer in ("auto", "builtin") else "",
        speakers=settings.speaker_count,
        pyannote_pipeline=settings.pyannote_pipeline,
        device=settings.device,
        models=settings.models,
    )


@lru_cache(maxsize=1)
def _diarizer(name: str, hash_: str, **given: Any) -> Diarizer:
    return make_diarizer(name, **given)


def find_turns(path: Path, settings: Settings) -> Diarization:
    """The turns of one file, without its emotions; raises `RecordingError` where it cannot be read."""
    diarizer = load_diarizer(settings)
    audio = decode_file(path, rate_hz=RATE_HZ)
    try:
        engine, turns, _ = _turns(audio, [path], diarizer, _folder(settings.rttm))
    except RecordingError as error:
        raise RecordingError(f"{printable(path)}: {error}") from error
    return Diarization(turns=turns, engine=engine, lost_s=audio.lost_s)


def _turns(
    audio: Audio, paths: Sequence[Path], diarizer: Diarizer, rttm: Path | None
) -> tuple[str, tuple[Turn, ...], Audio]:
    """What found the turns of a call, the turns, and the audio whose rows are their channels."""
    if rttm is not None:
        return "rttm", *told_turns(rttm, paths, audio)
    return engine_for(diarizer, audio).name, *turns_and_audio(diarizer, audio)


def _folder(name: str | None) -> Path | None:
    return None if name is None else Path(name)


def analyze_recording(recording: Recording, engines: Engines) -> CallResult:
    """The outcome for one recording; what is wrong with the recording becomes its status, never an exception."""
    try:
        with at_hand(recording) as local:
            return as_named(_analyze_local(local, engines), local, recording)
    except RecordingError as error:
        return CallResult(recording=recording, status=error.status, error=str(error))


def _analyze_local(recording: Recording, engines: Engines) -> CallResult:
    name = recording.name
    try:
        audio = decode(recording, rate_hz=engines.model.front_end.rate_hz)
    except RecordingError as error:
        return CallResult(recording=recording, status=error.status, error=str(error))
    except Exception as error:
        return _failed(recording, "decoding", error)
    try:
        analysis = analyze_audio(audio, recording, engines)
    except RecordingError as error:
        return CallResult(recording=recording, status=error.status, error=f"{name}: {error}")
    except CallmoodError:
        raise
    except Exception as error:
        return _failed(recording, "analysis", error)
    lost = None
    if analysis.lost_s > 0:
        lost = truncated(name, analysis.lost_s)
    status = "ok" if analysis.turns else "no_speech"
    return CallResult(recording=recording, status=status, error=lost, analysis=analysis)


def _failed(recording: Recording, stage: str, error: Exception) -> CallResult:
    sentence = (
        f"{recording.name}: {stage} failed ({type(error).__name__}: {printable(error)}); please report this."
    )
    return CallResult(recording=recording, status="failed", error=sentence)


def analyze_audio(audio: Audio, recording: Recording, engines: Engines) -> Analysis:
    """Turns, scores, trajectory, escalations and signals of canonical audio; a pure function of its arguments."""
    party = recording.legs[0].role if len(recording.legs) == 1 else None
    if party is not None:
        audio = mixed(audio)
    if engines.causal is not None:
        from callmood.live.recorded import analyze_causally

        analysis = analyze_causally(
            audio, engines.causal, agent_channel=recording.metadata.agent_channel, party=party
        )
        turn_signals, between = signals_of(audio, analysis.turns)
        analysis = replace(analysis, turn_signals=turn_signals, nonspeech=between)
        if all(turn.role is None for turn in analysis.turns):
            return analysis
        return replace(analysis, role_source=told_by(recording), role_confidence=TOLD_CONFIDENCE)
    engine, turns, audio = _turns(audio, [leg.path for leg in recording.legs], engines.diarizer, engines.rttm)
    if party is not None:
        cast = Roles(
            turns=tuple(replace(turn, role=party) for turn in of_one_speaker(turns)),
            source="metadata",
            confidence=TOLD_CONFIDENCE,
        )
    else:
        cast = roles_of(turns, recording=recording, channels=audio.channels, guess=engines.guess_roles)
    turns = cast.turns
    scores = _score(cast, audio, engines)
    windows = _trajectory(scores, turns)
    turn_signals, between = signals_of(audio, turns)
    return Analysis(
        duration_s=audio.duration_s,
        channels=audio.source_channels,
        rate_hz=audio.source_rate_hz,
        codec=audio.codec,
        lost_s=audio.lost_s,
        diarizer=engine,
        turns=turns,
        turn_affect=affect_of(scores.turns),
        windows=windows,
        escalations=find_escalations(windows, turns, engines.escalation),
        escalation_scores=escalation_scores(windows, turns, engines.escalation),
        role_source=cast.source,
        role_confidence=cast.confidence,
        turn_signals=turn_signals,
        nonspeech=between,
    )


def _score(cast: Roles, audio: Audio, engines: Engines) -> Scores:
    turns = cast.turns
    sure = cast.confidence is not None and cast.confidence >= engines.min_role_confidence

    def wanted(turn: Turn) -> bool:
        return engines.emotion_for == "everyone" or (sure and turn.role == engines.emotion_for)

    channels = {turn.channel for turn in turns if wanted(turn)}
    front_end = engines.model.front_end
    mfcc = {channel: ChannelFrames(front_end, audio.samples[channel]) for channel in channels}
    return score_turns(turns, mfcc, engines.model, wanted=wanted)


def _trajectory(scores: Scores, turns: tuple[Turn, ...]) -> Windows:
    affect = affect_of(scores.windows)
    steps_s = speech_per_window(scores.window_turn, turns)
    course = course_of(affect, scores.window_turn, steps_s, turns)
    return Windows(
        turn_index=scores.window_turn,
        start_s=scores.window_start_s,
        end_s=scores.window_end_s,
        affect=affect,
        negativity_smooth=course.negativity,
        course=course,
    )
