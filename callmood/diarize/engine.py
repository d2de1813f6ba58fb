"""What every diarizer has in common: the interface and the factory."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from callmood.diarize.builtin import BuiltinDiarizer
from callmood.diarize.channels import ChannelsDiarizer
from callmood.diarize.turns import mixed
from callmood.errors import UsageError
from callmood.settings import DIARIZERS
from callmood.types import Audio, Turn


class Diarizer(Protocol):
    """Audio in, turns out."""

    @property
    def name(self) -> str:
        """Engine and version, stored with every call, such as `builtin 1`."""

    @property
    def by_channel(self) -> bool:
        """Whether it wants two channels, each with its own party, rather than one."""

    def __call__(self, audio: Audio) -> tuple[Turn, ...]:
        """Turns ordered by start; none where nobody speaks."""


def make_diarizer(
    engine: str,
    *,
    speakers: int | None,
    pyannote_pipeline: str | None = None,
    device: str = "cpu",
    models: str | Path | None = None,
) -> Diarizer:
    """The engine of that name (one of `DIARIZERS`), which can be called for any number of recordings.

    `speakers` is the number of people in a mono call, None to find it; `channels` has one per channel.
    Raises UsageError for an unknown engine or a number below one, EngineUnavailableError where the
    engine cannot run here.
    """
    if speakers is not None and speakers < 1:
        raise UsageError(f"--speakers {speakers} is not possible; give 1 or more, or `auto`.")
    match engine:
        case "auto":
            return AutoDiarizer(
                mono=BuiltinDiarizer(speakers=speakers, models=models, device=device),
                stereo=ChannelsDiarizer(),
            )
        case "channels":
            return ChannelsDiarizer()
        case "builtin":
            return BuiltinDiarizer(speakers=speakers, models=models, device=device)
        case "pyannote":
            from callmood.diarize.pyannote import PyannoteDiarizer

            return PyannoteDiarizer(pipeline=pyannote_pipeline, speakers=speakers, device=device)
    raise UsageError(f"--diarizer {engine} is not known; choose one of {', '.join(DIARIZERS)}.")


class AutoDiarizer:
    """`stereo` for a call of two channels, `mono` for a call of one."""

    name = "auto"
    by_channel = True

    def __init__(self, *, mono: Diarizer, stereo: Diarizer) -> None:
        self.mono = mono
        self.stereo = stereo

    def __call__(self, audio: Audio) -> tuple[Turn, ...]:
        return engine_for(self, audio)(audio)


def turns_and_audio(diarizer: Diarizer, audio: Audio) -> tuple[tuple[Turn, ...], Audio]:
    """The turns of a call, and the audio whose rows are their channels: mixed where the engine hears one."""
    engine = engine_for(diarizer, audio)
    heard = audio if engine.by_channel else mixed(audio)
    return engine(heard), heard


def engine_for(diarizer: Diarizer, audio: Audio) -> Diarizer:
    """`diarizer` itself, or the engine that `auto` picks for this call; its name is the one to store."""
    if isinstance(diarizer, AutoDiarizer):
        return diarizer.stereo if audio.channels == 2 else diarizer.mono
    return diarizer
