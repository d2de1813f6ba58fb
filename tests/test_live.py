"""Live audio: the same numbers however the sound comes, and streams that end badly."""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import soundfile
from audio import tone, voice, write_wav
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from callmood.cli.app import main
from callmood.decode import decode_file
from callmood.diarize import silero
from callmood.diarize.channels import ChannelsDiarizer
from callmood.emotions import EMOTIONS
from callmood.errors import RecordingError, UsageError
from callmood.features import FrontEnd
from callmood.live.engine import Engine, mfcc_of
from callmood.live.lines import as_line
from callmood.live.listener import listen
from callmood.live.load import load_engine
from callmood.live.mood import EscalationWatch, RunningSmoother
from callmood.live.norm import RunningNorm, TypicalSpeech
from callmood.live.recorded import analyze_causally
from callmood.live.server import Server
from callmood.live.standard_input import hear
from callmood.live.turns import TurnTracker
from callmood.live.wire import Canonical, StreamFormat, Unpacker
from callmood.settings import Settings
from callmood.trajectory import EscalationRule
from callmood.types import Audio, Turn

EXAMPLE = Path(__file__).parents[1] / "examples" / "calls" / "billing-0417.wav"
MONO = StreamFormat()
STEREO = StreamFormat(channels=2, agent_channel=0)


class StandIn:
    """Answers from the mean of what it is shown of a span, so that any other span or norm changes the answer."""

    front_end = FrontEnd(n_mfcc=8)

    def __init__(self) -> None:
        self.stretches = 0

    def typical_speech(self):
        return np.zeros(8, dtype=np.float32), np.full(8, 20.0, dtype=np.float32)

    def probabilities(self, stretches, spans):
        found = []
        for frames, rows in zip(stretches, spans, strict=True):
            self.stretches += 1
            assert np.isfinite(frames).all()
            assert all(0 <= first < last <= len(frames) for first, last in rows)
            odds = np.exp(np.stack([frames[first:last, :7].mean(axis=0) for first, last in rows]))
            found.append((odds / odds.sum(axis=1, keepdims=True)).astype(np.float32))
        return found


def engine(emotion_for: str = "everyone") -> Engine:
    return Engine(StandIn(), emotion_for=emotion_for, rule=EscalationRule())


def records(
    data: bytes, raw: StreamFormat = STEREO, *, pieces: list[int] | None = None, **more
) -> list[dict]:
    """The records of a stream whose bytes come in pieces of such sizes, over and over."""
    at, parts = 0, []
    while at < len(data):
        size = (pieces or [4096])[len(parts) % len(pieces or [1])]
        parts.append(data[at : at + size])
        at += size
    return [json.loads(as_line(record)) for record in listen(engine(**more), parts, raw)]


@pytest.fixture(scope="module")
def call() -> np.ndarray:
    """Twenty seconds of two people, shape (2, n)."""
    return decode_file(EXAMPLE, rate_hz=8000).samples[:, : 20 * 8000]


def pcm(rows: np.ndarray) -> bytes:
    return np.round(rows.T * 32767).astype("<i2").tobytes()


def flat(record: object) -> list[float | str | None]:
    """Every value in a record, in order."""
    if isinstance(record, dict):
        return [item for value in record.values() for item in flat(value)]
    if isinstance(record, list):
        return [item for value in record for item in flat(value)]
    return [record]  # type: ignore[list-item]


def assert_same(one: list[dict], other: list[dict]) -> None:
    for left, right in zip(flat(one), flat(other), strict=True):
        assert left == (pytest.approx(right, abs=1e-5) if isinstance(right, float) else right)


# The same numbers.


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pieces=st.lists(st.integers(1, 9000), min_size=1, max_size=5).filter(lambda sizes: max(sizes) > 500))
def test_pieces_leave_no_trace(call, pieces) -> None:
    data = pcm(call[:, : 8 * 8000])
    assert_same(records(data, pieces=pieces), records(data, pieces=[len(data)]))


@pytest.mark.parametrize(("rate_hz", "network"), [(8000, True), (8000, False), (16000, False)])
def test_a_recording_analyzed_causally_has_the_numbers_of_the_stream(
    call, tmp_path, rate_hz, network
) -> None:
    samples = call if rate_hz == 8000 else np.repeat(call, 2, axis=1)
    path = write_wav(tmp_path / "call.wav", *samples, rate_hz=rate_hz)
    hearing = load_engine(Settings(device="cpu")) if network else engine()
    data = path.read_bytes()
    parts = [data[at : at + 777] for at in range(0, len(data), 777)]
    told = [json.loads(as_line(record)) for record in listen(hearing, parts, STEREO)]
    analysis = analyze_causally(decode_file(path, rate_hz=8000), hearing, agent_channel=0)

    windows = [
        (
            speaker["speaker"],
            speaker["window"]["start_s"],
            speaker["negativity"],
            speaker["negativity_smooth"],
        )
        for record in told[:-1]
        for speaker in record["speakers"]
        if speaker["window"]
    ]
    stored = {
        (analysis.turns[turn].speaker, round(float(start_s), 6)): (negativity, smooth)
        for turn, start_s, negativity, smooth in zip(
            analysis.windows.turn_index,
            analysis.windows.start_s,
            analysis.windows.affect.negativity,
            analysis.windows.negativity_smooth,
            strict=True,
        )
    }
    assert len(windows) > 15
    for speaker, start_s, *numbers in windows:
        assert numbers == pytest.approx(stored[speaker, start_s], abs=1e-5)
    over = [
        (speaker["speaker"], turn["start_s"], turn["end_s"], turn["negativity"])
        for record in told[:-1]
        for speaker in record["speakers"]
        for turn in speaker["turns_over"]
    ]
    assert sorted(over, key=lambda turn: turn[1:]) == [
        (
            turn.speaker,
            pytest.approx(turn.start_s, abs=1e-5),
            pytest.approx(turn.end_s, abs=1e-5),
            pytest.approx(negativity, abs=1e-5),
        )
        for turn, negativity in zip(analysis.turns, analysis.turn_affect.negativity, strict=True)
    ]
    assert [turn.role for turn in analysis.turns if turn.channel == 0] == ["agent"] * sum(
        turn.channel == 0 for turn in analysis.turns
    )


def test_nothing_that_comes_later_changes_what_was_told(call) -> None:
    whole = records(pcm(call))
    cut = records(pcm(call[:, : 10 * 8000]))

    # The hop at the cut itself is the last of the shorter stream, so its turns end there.
    assert_same(cut[:19], whole[:19])


def test_turns_are_nearly_those_of_the_diarizer_that_knows_the_whole_call(call) -> None:
    audio = Audio(samples=call, rate_hz=8000, source_rate_hz=8000, source_channels=2, codec="PCM_16")
    known, heard = (
        spoken(turns) for turns in (ChannelsDiarizer()(audio), analyze_causally(audio, engine()).turns)
    )

    # The diarizer hears each channel amplified as well, by a level that only the whole call tells.
    assert known.any(axis=1).all()
    assert np.mean(known == heard) > 0.93


def spoken(turns: Sequence[Turn]) -> NDArray[np.bool_]:
    """Whether S1 and S2 speak, for each 10 ms of 20 s."""
    found = np.zeros((2, 2000), dtype=bool)
    for turn in turns:
        found[int(turn.speaker[1]) - 1, round(turn.start_s * 100) : round(turn.end_s * 100)] = True
    return found


def test_frames_of_pieces_are_those_of_the_whole(call) -> None:
    front_end = FrontEnd()
    whole = front_end.mfcc(call[0])
    # Frame 5 begins at sample 500 - 128, frame 14 ends at 1400 + 128.
    one, none, other = mfcc_of(front_end, [call[0, 372:1528], call[0, :0], call[0, 8872:9128]])

    assert one == pytest.approx(whole[5:15], abs=1e-3)
    assert none.shape == (0, 40)
    assert other == pytest.approx(whole[90:91], abs=1e-3)


def test_voice_activity_step_by_step_is_that_of_the_whole(call) -> None:
    whole = silero.listen([silero.Listening()], [call[0, : 256 * 60]])[0]
    listening = [silero.Listening(), silero.Listening()]
    first = silero.listen(listening, [call[0, : 256 * 10], call[1, : 256 * 20]])[0]
    rest = silero.listen(listening, [call[0, 256 * 10 : 256 * 60], call[1, 256 * 20 : 256 * 21]])[0]

    assert np.concatenate([first, rest]) == pytest.approx(whole, abs=1e-5)


# What becomes a turn.


def turns_of(
    probabilities: list[float], *, ends: bool = True
) -> tuple[list[tuple[float, float]], TurnTracker]:
    """Turns of steps of 32 ms that come one after another."""
    tracker, found = TurnTracker(), []
    for index, probability in enumerate(probabilities):
        tracker.hear(np.array([probability], dtype=np.float32))
        last = ends and index == len(probabilities) - 1
        over = tracker.settle(lambda *_: False, duration_s=(index + 1) * 0.032, last=last)
        found += [(round(turn.start_s, 3), round(turn.end_s, 3)) for turn in over]
    return found, tracker


def test_a_turn_is_closed_by_its_pause_and_bridges_a_shorter_one() -> None:
    # Speech in steps 10 to 19 and 30 to 39: 10 silent steps of 32 ms less twice 30 ms are 0.26 s. Then 12: 0.324 s.
    speech, pause = [0.9] * 10, [0.0] * 10
    found, tracker = turns_of(pause + speech + pause + speech + [0.0] * 12, ends=False)

    assert found == [(0.29, 1.31)]
    assert tracker.turn is None


def test_clicks_are_no_turns_and_a_soft_end_belongs_to_the_speech() -> None:
    assert turns_of([0.0] * 5 + [0.9] * 3 + [0.0] * 20)[0] == []
    # Steps 5 to 11 are at least 0.2 once 0.4 was reached: 5 x 32 ms - 30 ms to 12 x 32 ms + 30 ms.
    assert turns_of([0.3] * 5 + [0.9] * 5 + [0.25] * 2 + [0.1] * 20)[0] == [(0.13, 0.414)]


def test_an_echo_is_no_turn_and_one_that_turns_into_speech_is() -> None:
    tracker = TurnTracker()
    tracker.hear(np.full(20, 0.9, dtype=np.float32))
    assert tracker.settle(lambda *_: True, duration_s=0.64, last=False) == []
    assert tracker.turn is None
    tracker.hear(np.full(20, 0.9, dtype=np.float32))
    tracker.settle(lambda *_: False, duration_s=1.28, last=False)
    assert tracker.turn is not None
    assert tracker.turn.start_s == 0.0
    echo = TurnTracker()
    echo.hear(np.full(20, 0.9, dtype=np.float32))
    assert echo.settle(lambda *_: True, duration_s=0.64, last=True) == []


# What is known so far.


def test_smoothing_begins_at_the_first_window_and_is_the_weighted_mean_so_far() -> None:
    smoother = RunningSmoother()
    keep = np.exp(-1.0)

    assert smoother.step(0.6, 2.0) == pytest.approx(0.6)
    smoother = RunningSmoother()
    smoother.step(1.0, 5.0)
    # Weights: e^-1 for the window before, 1 for this one.
    assert smoother.step(0.0, 5.0) == pytest.approx(keep / (keep + 1.0))


def test_an_escalation_is_told_when_enough_calm_is_lost() -> None:
    rule = EscalationRule(level=0.3, own_share=0.5, threshold_s=2.0, recovery_s=1.0, min_speech_s=10.0)
    watch = EscalationWatch(rule, speaker="S1", role="customer")
    states = []
    for index in range(5):
        # Calm: strain 0, so that each window adds 0.3 x 2 s to the account: 3.0 after five.
        watch.step(0.0, 0.2, start_s=2.0 * index, end_s=2.0 * index + 2.0, step_s=2.0)
        states.append(watch.state)
    assert states == ["unknown"] * 4 + ["calm"]
    # The usual strain is 0, then 0.9 x 2 / 12 = 0.15: the windows of 0.9 take 0.6 x 2 s away, then 0.525 x 2 s, 2.25 together.
    watch.step(0.9, 0.7, start_s=10.0, end_s=12.0, step_s=2.0)
    assert (watch.state, watch.escalations()) == ("rising", ())
    watch.step(0.9, 0.8, start_s=12.0, end_s=14.0, step_s=2.0)
    assert watch.state == "escalated"
    (going_on,) = watch.escalations()
    assert (going_on.onset_s, going_on.end_s, going_on.recovered) == (10.0, None, False)
    # Calm again, and the usual strain 0.257, then 0.225: 0.86 is not enough for the end, 1.68 is.
    watch.step(0.0, 0.5, start_s=14.0, end_s=16.0, step_s=2.0)
    assert watch.state == "escalated"
    watch.step(0.0, 0.3, start_s=16.0, end_s=18.0, step_s=2.0)
    (over,) = watch.escalations()
    assert (over.end_s, over.recovered, watch.state) == (14.0, True, "calm")
    assert over.height == pytest.approx(0.8 - 0.2)
    assert over.slope == pytest.approx(0.6 / 3.0)
    assert watch.score is not None
    assert watch.score.evidence == pytest.approx(2.25)


def test_the_norm_is_the_speakers_own_mixed_with_typical_speech() -> None:
    typical = TypicalSpeech(mean=np.array([5.0, 10.0]), std=np.array([1.0, 2.0]))
    norm = RunningNorm(typical, frames_per_s=2.0, prior_s=1.0)  # as much as two frames
    norm.add(np.array([[1.0, 0.0], [3.0, 4.0]], dtype=np.float32))
    relative, absolute = np.split(norm.network_input(np.array([[2.0, 6.0]], dtype=np.float32))[0], 2)

    # C0: mean 2 of its own alone; variance (1 + 1 + 2 x 1) / 4 = 1. C1: mean (0 + 4 + 2 x 10) / 4 = 6.
    assert relative == pytest.approx([0.0, 0.0])
    assert absolute == pytest.approx([0.0, 6.0])
    one_up = norm.network_input(np.array([[3.0, 6.0]], dtype=np.float32))[0]
    assert one_up[0] == pytest.approx(1.0)


# Bytes.


def unpacked(data: bytes, raw: StreamFormat = MONO, *, size: int = 7) -> tuple[np.ndarray, StreamFormat]:
    unpacker = Unpacker(raw)
    parts = [unpacker.feed(data[at : at + size]) for at in range(0, len(data), size)]
    parts.append(unpacker.finish())
    assert unpacker.format is not None
    return np.concatenate([part for part in parts if len(part)]), unpacker.format


@pytest.mark.parametrize(
    "subtype", ["PCM_16", "PCM_24", "PCM_32", "PCM_U8", "FLOAT", "DOUBLE", "ULAW", "ALAW"]
)
@pytest.mark.parametrize("container", ["WAV", "WAVEX"])
def test_wav_of_any_encoding_is_read_as_libsndfile_reads_it(tmp_path, subtype, container) -> None:
    rows = np.stack([tone(seconds=0.05), tone(seconds=0.05, hz=300)], axis=1)
    path = tmp_path / "call.wav"
    soundfile.write(path, rows, 16000, subtype=subtype, format=container)
    samples, found = unpacked(path.read_bytes())

    assert (found.rate_hz, found.channels) == (16000, 2)
    assert samples == pytest.approx(soundfile.read(path, dtype="float32")[0], abs=1e-6)


def test_a_wav_of_unknown_length_lasts_to_the_end_and_notes_behind_samples_are_no_sound(tmp_path) -> None:
    data = write_wav(tmp_path / "call.wav", tone(seconds=0.1)).read_bytes()
    head, samples = data[:40], data[44:]

    assert len(unpacked(head + b"\xff\xff\xff\xff" + samples)[0]) == 800
    assert len(unpacked(head + b"\0\0\0\0" + samples)[0]) == 800
    assert len(unpacked(data + b"LIST" + struct.pack("<I", 4000) + b"x" * 4000)[0]) == 800


def test_half_a_sample_at_the_end_is_left_out() -> None:
    samples, _ = unpacked(np.array([16384, -16384], dtype="<i2").tobytes() + b"\x01")

    assert samples[:, 0].tolist() == [0.5, -0.5]


def test_a_greeting_says_what_the_stream_holds() -> None:
    greeting = b'callmood {"rate_hz": 16000, "channels": 2, "agent_channel": 1, "call_id": "c-7"}\n'
    samples, found = unpacked(greeting + b"\0\x40\0\xc0")

    assert samples.tolist() == [[0.5, -0.5]]
    assert found == StreamFormat(rate_hz=16000, channels=2, agent_channel=1, call_id="c-7")
    assert found.roles == ("customer", "agent")


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"RIFF\x24\0\0\0JUNKjunk" + b"\0" * 40, "damaged"),
        (b"RIFF\x24\0\0\0WAVEdata\0\0\0\0" + b"\0" * 40, "does not tell the format"),
        (b"RIFF\x24\0\0\0WAVEfmt \xff\xff\xff\x7f" + b"\0" * 40, "damaged"),
        (b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0" + struct.pack("<HHIIHH", 49, 1, 8000, 0, 0, 0), "format 49"),
        (
            b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0"
            + struct.pack("<HHIIHH", 1, 9, 8000, 0, 0, 16)
            + b"data\0\0\0\0",
            "9 channels",
        ),
        (
            b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0" + struct.pack("<HHIIHH", 1, 1, 5, 0, 0, 16) + b"data\0\0\0\0",
            "5 Hz",
        ),
        (b"RIFF\x24\0\0", "inside its WAV header"),
        (b"OggS" + b"\0" * 40, "Ogg"),
        (b'callmood {"rate_hz": "8000"}\n' + b"\0" * 40, "'rate_hz' wrong"),
        (b'callmood {"volume": 11}\n' + b"\0" * 40, "'volume' wrong"),
        (b"callmood [1]\n" + b"\0" * 40, "not a JSON object"),
        (b"callmood " + b"x" * 5000, "does not end"),
        (b'callmood {"party": "judge"}\n', "party"),
    ],
)
def test_what_cannot_be_understood_is_said_in_a_sentence(data, sentence) -> None:
    with pytest.raises(RecordingError, match=sentence):
        unpacked(data)


@settings(max_examples=60, deadline=None)
@given(data=st.binary(max_size=300), start=st.sampled_from([b"", b"RIFF", b"RIFF    WAVE", b"callmood {"]))
def test_random_bytes_are_sound_or_refused(data, start) -> None:
    unpacker = Unpacker(MONO)
    parts = []
    with suppress(RecordingError):
        parts += [unpacker.feed(start + data), unpacker.finish()]
    for samples in parts:
        assert np.isfinite(samples).all()
        assert abs(samples).max(initial=0.0) <= 1.0


def test_resampling_does_not_depend_on_pieces() -> None:
    stereo = np.stack(
        [voice(seconds=1, seed=1, rate_hz=44100), voice(seconds=1, seed=2, rate_hz=44100)], axis=1
    )

    def resampled(size: int) -> np.ndarray:
        canonical = Canonical(StreamFormat(rate_hz=44100, channels=2), rate_hz=8000)
        parts = [canonical.feed(stereo[at : at + size]) for at in range(0, len(stereo), size)]
        return np.concatenate([*parts, canonical.feed(stereo[:0], last=True)], axis=1)

    assert resampled(44100).shape == (2, 8000)
    assert (resampled(441) == resampled(44100)).all()
    assert (resampled(13) == resampled(44100)).all()


# Streams.


def test_silence_has_a_line_for_each_hop_and_no_speaker_speaks() -> None:
    told = records(b"\0\0" * 8000 * 3, StreamFormat())

    assert [record["t_s"] for record in told[:-1]] == [0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.0]
    assert all(record["speakers"][0]["turn"] is None for record in told[:-1])
    assert told[-1]["type"] == "end"
    assert told[-1]["speakers"][0] == {
        "channel": 0, "speaker": "S1", "role": None, "turns": 0, "speech_s": 0.0, "negativity": None,
        "escalations": [],
    }  # fmt: skip


@pytest.mark.parametrize(("samples", "hops"), [(0, 1), (1, 1), (3999, 1), (4000, 2), (4001, 2)])
def test_what_is_left_at_the_end_is_a_hop_of_its_own(samples, hops) -> None:
    told = records(b"\0\0" * samples + b"\0" if samples else b"\0", StreamFormat())

    assert told[-1]["hops"] == hops
    assert told[-1]["duration_s"] == pytest.approx(samples / 8000)


def test_nobodys_emotion_is_inferred_but_those_asked_for(call) -> None:
    told = records(pcm(call), emotion_for="customer")

    agent = [record["speakers"][0] for record in told[:-1]]
    customer = [record["speakers"][1] for record in told[:-1]]
    assert any(speaker["turn"] for speaker in agent)
    assert all(speaker["emotion"] is None and speaker["escalation"] is None for speaker in agent)
    assert any(speaker["emotion"] in EMOTIONS for speaker in customer)
    # A channel whose role nobody told is nobody's to infer, either.
    unknown = engine(emotion_for="customer")
    list(listen(unknown, [pcm(call)], StreamFormat(channels=2)))
    assert unknown._model.stretches == 0


def test_one_channel_is_one_speaker_with_the_party_that_was_told(call) -> None:
    told = records(pcm(call[1:]), StreamFormat(party="customer"), emotion_for="customer")

    assert {(s["speaker"], s["role"]) for record in told for s in record["speakers"]} == {("S1", "customer")}
    assert any(record["speakers"][0]["emotion"] for record in told[:-1] if record["type"] == "hop")


def test_windows_are_told_within_a_second_of_sound_after_their_end(call) -> None:
    late = [
        record["t_s"] - speaker["window"]["end_s"]
        for record in records(pcm(call))[:-1]
        for speaker in record["speakers"]
        if speaker["window"]
    ]
    assert len(late) > 15
    assert max(late) <= 0.95


# Standard input.


def test_a_pipe_is_followed_until_it_ends(call) -> None:
    source, sink = os.pipe()
    writing = threading.Thread(target=lambda: (os.write(sink, pcm(call[:, :8000])), os.close(sink)))
    writing.start()
    output = io.BytesIO()
    assert hear(engine(), source, STEREO, output) == 0
    writing.join()
    os.close(source)

    told = [json.loads(line) for line in output.getvalue().splitlines()]
    assert [record["type"] for record in told] == ["hop", "hop", "hop", "end"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_stream_with_its_closing_line(call, number) -> None:
    source, sink = os.pipe()
    os.write(sink, pcm(call[:, :9000]))
    threading.Timer(0.5, lambda: os.kill(os.getpid(), number)).start()
    output = io.BytesIO()
    before = signal.getsignal(number)
    assert hear(engine(), source, STEREO, output) == 130
    os.close(source)
    os.close(sink)

    last = json.loads(output.getvalue().splitlines()[-1])
    assert (last["type"], last["reason"], last["duration_s"]) == ("end", "asked to end", 1.125)
    assert signal.getsignal(number) == before


def test_numpy_is_kept_to_one_thread_unless_the_user_says_otherwise(monkeypatch) -> None:
    from typer.testing import CliRunner

    from callmood.cli.app import app

    seen = {}

    def load(settings: Settings) -> None:
        seen.update(os.environ)
        raise UsageError("no further")

    monkeypatch.setattr("callmood.live.load_engine", load)
    others = {name: value for name, value in os.environ.items() if name != "OPENBLAS_NUM_THREADS"}
    monkeypatch.setattr(os, "environ", others | {"OMP_NUM_THREADS": "3"})
    CliRunner().invoke(app, ["listen", "-"])

    assert (seen["OPENBLAS_NUM_THREADS"], seen["OMP_NUM_THREADS"]) == ("1", "3")


PROGRAM = """
import sys
import callmood.live, test_live
callmood.live.load_engine = lambda settings: test_live.engine(settings.emotion_for)
from callmood.cli.app import main
main(sys.argv[1:])
"""


def program(*arguments: str, **options) -> subprocess.Popen[bytes]:
    """The command in a process of its own, without the emotion network."""
    path = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[1])])
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "listen", *arguments],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path}, **options,
    )  # fmt: skip


def test_each_line_is_there_before_more_sound_comes_and_a_reader_who_goes_ends_it_quietly(call) -> None:
    with program("-", "--channels", "2") as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(pcm(call[:, :4000]))
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["t_s"] == 0.5
        process.stdout.close()
        process.stdin.write(pcm(call[:, :16000]))
        process.stdin.close()
        assert process.stderr
        assert process.wait(timeout=60) == 0
        assert process.stderr.read() == b""


def test_a_named_pipe_is_read_and_a_foreign_format_refused(tmp_path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with program(str(pipe)) as process:
        pipe.write_bytes(b"OggS" + b"\0" * 100)
        out, error = process.communicate(timeout=60)
    assert (out, process.returncode) == (b"", 1)
    assert error.decode() == (
        f"callmood: {pipe}: the stream is Ogg, not WAV or PCM; send it through `ffmpeg -i - -f wav -`.\n"
    )


@pytest.mark.parametrize("arguments", [[], ["-", "--port", "0"], ["-", "--party", "judge"]])
def test_wrong_usage_is_refused_before_anything_is_loaded(arguments, capsys) -> None:
    with pytest.raises(SystemExit) as exit_info:
        main(["listen", *arguments])
    assert exit_info.value.code == 2
    assert capsys.readouterr().out == ""


# The socket.


async def converse(socket: Path, data: bytes, *, pause_s: float = 0.0) -> list[dict]:
    reader, writer = await asyncio.open_unix_connection(str(socket))
    for at in range(0, len(data), 32000):
        writer.write(data[at : at + 32000])
        await writer.drain()
        await asyncio.sleep(pause_s)
    writer.write_eof()
    told = [json.loads(line) for line in (await reader.read()).splitlines()]
    writer.close()
    return told


def served(tmp_path: Path, clients, *, port: int | None = None) -> None:
    """Run clients against a server, which is then asked to end; they are told its socket, or where its port is."""
    socket = tmp_path / "live.sock"

    async def run() -> None:
        ready: asyncio.Queue[str] = asyncio.Queue()
        server = Server(engine(), STEREO)
        path = socket if port is None else None
        serving = asyncio.create_task(server.serve(path=path, port=port, ready=ready.put_nowait))
        where = await asyncio.wait_for(ready.get(), 10)
        try:
            await asyncio.wait_for(clients(socket if port is None else where), 60)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.wait_for(serving, 20)

    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    try:
        asyncio.run(run())
    finally:
        signal.signal(signal.SIGTERM, before[0])
        signal.signal(signal.SIGINT, before[1])
    assert not socket.exists()


def test_several_clients_get_what_each_would_get_alone_whatever_others_do(call, tmp_path) -> None:
    one, other = pcm(call[:, : 6 * 8000]), pcm(call[:, 6 * 8000 : 13 * 8000])

    async def garbage(socket: Path) -> list[dict]:
        return await converse(socket, b"RIFF....garbage.garbage.")

    async def vanish(socket: Path) -> None:
        _, writer = await asyncio.open_unix_connection(str(socket))
        writer.write(one)
        await writer.drain()
        writer.transport.abort()

    async def clients(socket: Path) -> None:
        first, second, bad, _, third = await asyncio.gather(
            converse(socket, one, pause_s=0.01),
            converse(socket, other),
            garbage(socket),
            vanish(socket),
            converse(socket, b'callmood {"call_id": "c-3"}\n' + one),
        )
        assert_same(first, records(one))
        assert_same(second, records(other))
        assert [record["type"] for record in bad] == ["error"]
        assert {record["call_id"] for record in third} == {"c-3"}
        assert_same([{k: v for k, v in record.items() if k != "call_id"} for record in third], records(one))

    served(tmp_path, clients)


def test_streams_that_are_open_get_their_closing_line_when_the_server_ends(call, tmp_path) -> None:
    told: list[dict] = []

    async def clients(socket: Path) -> None:
        reader, writer = await asyncio.open_unix_connection(str(socket))
        writer.write(pcm(call[:, :9000]))
        await reader.readline()

        async def rest() -> None:
            told.extend(json.loads(line) for line in (await reader.read()).splitlines())
            writer.close()

        resting.append(asyncio.create_task(rest()))

    resting: list[asyncio.Task[None]] = []
    served(tmp_path, clients)
    assert (told[-1]["type"], told[-1]["reason"]) == ("end", "asked to end")


def test_a_port_is_served_on_the_loopback_alone(call, tmp_path) -> None:
    data = pcm(call[:, : 2 * 8000])

    async def clients(where: str) -> None:
        host, _, port = where.partition(":")
        assert host == "127.0.0.1"
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(data)
        writer.write_eof()
        assert_same([json.loads(line) for line in (await reader.read()).splitlines()], records(data))
        writer.close()
        # Another process's port cannot be taken.
        with pytest.raises(UsageError, match=f"port {port}"):
            await Server(engine(), STEREO).serve(port=int(port), ready=lambda _: None)

    served(tmp_path, clients, port=0)


def test_a_client_that_sends_all_at_once_and_reads_late_gets_every_line(call, tmp_path) -> None:
    data = pcm(np.tile(call, 8))

    async def clients(socket: Path) -> None:
        reader, writer = await asyncio.open_unix_connection(str(socket), limit=1000)

        async def send() -> None:
            writer.write(data)
            await writer.drain()
            writer.write_eof()

        sending = asyncio.create_task(send())
        await asyncio.sleep(1.0)
        told = [json.loads(line) for line in (await reader.read()).splitlines()]
        await sending
        writer.close()
        assert [record["t_s"] for record in told[:-1]] == [*(np.arange(1, 321) / 2).tolist(), 160.0]

    served(tmp_path, clients)


def test_a_dead_servers_socket_is_replaced_a_living_ones_and_a_file_are_not(tmp_path) -> None:
    async def clients(socket: Path) -> None:
        assert socket.stat().st_mode & 0o077 == 0
        with pytest.raises(UsageError, match="another process listens"):
            await Server(engine(), STEREO).serve(path=socket, ready=lambda _: None)
        assert (await converse(socket, b"\0" * 32000))[-1]["type"] == "end"

    async def nothing(socket: Path) -> None:
        pass

    served(tmp_path, clients)
    import socket as sockets

    dead = sockets.socket(sockets.AF_UNIX)
    dead.bind(str(tmp_path / "live.sock"))
    dead.close()
    served(tmp_path, nothing)
    (tmp_path / "live.sock").write_text("kept")
    with pytest.raises(UsageError, match="no socket"):
        asyncio.run(Server(engine(), STEREO).serve(path=tmp_path / "live.sock", ready=lambda _: None))
    assert (tmp_path / "live.sock").read_text() == "kept"


# The setting.


def test_causal_decides_results_and_excludes_turns_that_look_ahead() -> None:
    assert Settings(causal=True).results_hash() != Settings().results_hash()
    for other in ({"rttm": "turns"}, {"diarizer": "pyannote"}):
        with pytest.raises(UsageError, match="causal"):
            Settings(causal=True, **other)


def test_the_peak_of_an_escalation_lies_before_its_end() -> None:
    watch = EscalationWatch(EscalationRule(), speaker="S1", role=None)
    # Anger for eight seconds, then sadness: no strain, and yet a negativity that smoothing carries higher.
    told = [(0.0, 0.1)] * 40 + [(0.9, 0.6)] * 16 + [(0.05, 0.7)] * 20
    for index, (strain, negativity) in enumerate(told):
        watch.step(strain, negativity, start_s=0.5 * index, end_s=0.5 * index + 0.5, step_s=0.5)

    (over,) = watch.escalations()
    assert over.recovered
    assert over.end_s is not None
    assert (over.onset_s, over.end_s) == (20.0, 28.0)
    assert over.peak_s <= over.end_s
    assert over.height == pytest.approx(0.5)
