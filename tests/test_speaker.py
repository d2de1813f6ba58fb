"""Training of the voice network, on takes made here."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.diarization import spoken_parts
from callmood.diarize.voice import VoiceConfig
from callmood.model_files import VOICE_CONFIG, VOICE_WEIGHTS
from training.corpora import Clip
from training.speaker import HELD_OUT, Recipe, Takes, draw_batch, fit, loud_parts, training_clips

TINY = replace(
    Recipe(),
    network=VoiceConfig(width=8, blocks=1, dimensions=4),
    steps=30,
    calls=2,
    utterances=3,
    equalizer=0.0,
)


@pytest.fixture
def takes() -> Takes:
    """Three voices, four takes each: noise around a shape of the spectrum that is the voice's own."""
    rng = np.random.default_rng(0)
    shapes = rng.normal(0.0, 30.0, (3, 40))
    frames = [rng.normal(shapes[voice], 3.0, (200, 40)) for voice in range(3) for _ in range(4)]
    return Takes(
        frames=tuple(part.astype(np.float16) for part in frames),
        voice=np.repeat(np.arange(3), 4),
        voices=3,
    )


def clip(speaker: str, number: int = 0) -> Clip:
    corpus = speaker.split("/")[0]
    return Clip(file=f"{speaker}-{number}", path=Path("x"), corpus=corpus, speaker=speaker, emotion="sad")


def test_speakers_kept_out_are_not_heard_and_of_tess_every_sixth_clip() -> None:
    kept = next(iter(HELD_OUT))
    clips = [clip(kept), clip("savee/DC"), *(clip("tess/OAF", number) for number in range(12))]
    heard = training_clips(clips, keep_out=HELD_OUT)
    assert [one.file for one in heard] == ["savee/DC-0", "tess/OAF-0", "tess/OAF-6"]


def test_a_batch_is_repeatable_and_holds_calls_of_two_voices(takes: Takes) -> None:
    frames, voices = draw_batch(takes, TINY, 7)
    again, _ = draw_batch(takes, TINY, 7)
    assert frames.shape[0] == 2 * 2 * 3
    assert frames.shape[1] % 4 == 0
    assert 80 <= frames.shape[1] <= 172  # 1.0 to 2.15 s
    assert (frames == again).all()
    for call in voices.reshape(2, 2, 3):
        assert [len(set(of_one)) for of_one in call] == [1, 1]
        assert call[0, 0] != call[1, 0]


def test_each_call_is_heard_relative_to_itself(takes: Takes) -> None:
    frames, _ = draw_batch(takes, TINY, 3)
    assert frames.reshape(2, -1, 40).mean(axis=1) == pytest.approx(np.zeros((2, 40)), abs=0.02)


def test_the_network_learns_voices_apart_and_loads_as_a_model(takes: Takes, tmp_path: Path) -> None:
    import json
    from dataclasses import asdict

    from callmood.diarize.voice import VoiceModel, relative_to_call
    from training.export import record

    network = fit(takes, TINY)
    (tmp_path / "speaker").mkdir()
    network.save_weights(tmp_path / VOICE_WEIGHTS)
    config = {"front_end": asdict(TINY.front_end), "network": asdict(TINY.network)}
    (tmp_path / VOICE_CONFIG).write_text(json.dumps(config))
    record(tmp_path, dict.fromkeys((VOICE_CONFIG, VOICE_WEIGHTS), "a licence"))

    heard = relative_to_call([takes.frames[take].astype(np.float32) for take in (0, 1, 4, 5)])
    rows = np.concatenate(VoiceModel(tmp_path).embed(heard, [np.array([[0, 200]])] * 4))
    assert np.linalg.norm(rows, axis=1) == pytest.approx(np.ones(4), abs=1e-5)
    alike = rows @ rows.T
    assert min(alike[0, 1], alike[2, 3]) > max(alike[0, 2], alike[0, 3], alike[1, 2], alike[1, 3])


def test_loud_parts_are_those_within_25_db_of_the_loudest() -> None:
    tone = np.sin(2 * np.pi * 1000 * np.arange(8000) / 8000).astype(np.float32)
    # A second each: loud, 40 dB below, 20 dB below.
    parts = loud_parts(np.concatenate((tone, tone / 100, tone / 10)))
    assert parts / 8000 == pytest.approx(np.array([[0.0, 1.0], [2.0, 3.0]]), abs=0.1)


def test_the_room_of_a_noisy_clip_is_loud_and_not_spoken() -> None:
    t = np.arange(8000) / 8000
    hum, tone = 0.1 * np.sin(2 * np.pi * 500 * t), np.sin(2 * np.pi * 1000 * t)
    # A second each of the room alone, speech 20 dB above it, and the room again.
    clip = np.concatenate((hum, hum + tone, hum)).astype(np.float32)
    assert loud_parts(clip) / 8000 == pytest.approx(np.array([[0.0, 3.0]]), abs=0.1)
    trimmed, spoken = spoken_parts(clip)
    assert len(trimmed) / 8000 == pytest.approx(3.0, abs=0.1)
    assert spoken == pytest.approx(np.array([[1.0, 2.0]]), abs=0.1)
