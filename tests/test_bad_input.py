"""What phones, gateways and people leave in folders: one run over all of it, and for each kind the row it must have.

The run is the real one but for the networks (`benchmarks.kills.stand_in_work`): the voice of the first half of a
recording is one speaker, that of the second half another.
"""

from __future__ import annotations

import io
import os
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pytest
import soundfile
from audio import encode, ffmpeg, tone, voice, write_wav

import callmood
from benchmarks import kills
from callmood import workers
from callmood.errors import Exit
from callmood.results import connect
from callmood.run import RunSummary
from callmood.types import Floats

RATE_HZ = 8000


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of input."""

    name: str
    """Of its file, in a folder of its own."""
    make: Callable[[Path], Any]
    """Makes the file."""
    status: str | None
    """Of its row; None where there is none."""
    sentence: str = ""
    """A part of the row's sentence, or of the run's warning where there is no row."""
    duration_s: float | None = None
    lost_s: float = 0.0

    @property
    def fails(self) -> bool:
        return self.status in ("empty", "unreadable")


def ok(name: str, make: Callable[[Path], Any], *, duration_s: float = 2.0) -> Kind:
    return Kind(name=name, make=make, status="ok", duration_s=duration_s)


def unreadable(name: str, make: Callable[[Path], Any], sentence: str) -> Kind:
    return Kind(name=name, make=make, status="unreadable", sentence=sentence)


def no_row(name: str, make: Callable[[Path], Any], warning: str = "") -> Kind:
    return Kind(name=name, make=make, status=None, sentence=warning)


def of(samples: Floats, subtype: str = "PCM_16") -> Callable[[Path], Any]:
    """Writes a WAV of some samples, whatever the name."""

    def make(path: Path) -> None:
        # In memory first: soundfile takes no name that is not UTF-8.
        file = io.BytesIO()
        soundfile.write(file, samples, RATE_HZ, subtype=subtype, format="WAV")
        path.write_bytes(file.getvalue())

    return make


def content(data: bytes) -> Callable[[Path], Any]:
    return lambda path: path.write_bytes(data)


_seeds = iter(range(1000, 2000))


def speech(seconds: float = 2.0) -> Floats:
    """Sound of its own: files of the same content would be one call."""
    return voice(seconds=seconds, seed=next(_seeds))


def wav_bytes(samples: Floats, folder: Path) -> bytearray:
    path = write_wav(folder / "whole.wav", samples)
    data = bytearray(path.read_bytes())
    path.unlink()
    return data


def with_header(offset: int, form: str, value: int) -> Callable[[Path], Any]:
    """Writes a WAV with one field of its header changed."""

    def make(path: Path) -> None:
        data = wav_bytes(speech(), path.parent)
        struct.pack_into(form, data, offset, value)
        path.write_bytes(data)

    return make


def truncated(tenths: int) -> Kind:
    """A WAV of 2 s, 44 + 32000 bytes, that ends after so many tenths of its length."""

    def make(path: Path) -> None:
        data = wav_bytes(speech(), path.parent)
        path.write_bytes(data[: len(data) * tenths // 10])

    have_s = ((44 + 32000) * tenths // 10 - 44) // 2 / RATE_HZ
    return Kind(
        name=f"cut-{tenths}.wav",
        make=make,
        status="ok",
        sentence="truncated",
        duration_s=have_s,
        lost_s=2.0 - have_s,
    )


def channels(count: int) -> Kind:
    return ok(
        f"{count}-channels.wav",
        lambda path: write_wav(path, *(speech() for _ in range(count))),
        duration_s=2.0,
    )


def dtmf() -> Floats:
    """The keys 1, 5 and 9: two tones each for 0.3 s, and a pause as long."""
    keys = [(697, 1209), (770, 1336), (852, 1477)]
    pause = np.zeros(2400, dtype=np.float32)
    return np.concatenate(
        [x for low, high in keys for x in (tone(seconds=0.3, hz=low) + tone(seconds=0.3, hz=high), pause)]
    )


def music() -> Floats:
    """Chords, one a second."""
    chords = [(262, 330, 392), (294, 370, 440)]
    return np.concatenate([np.sum([tone(hz=hz, amplitude=0.2) for hz in chord], axis=0) for chord in chords])


def joined(*parts: tuple[str, str, str, int]) -> Callable[[Path], Any]:
    """Writes encoded files one after another: name, ffmpeg's container and codec, and rate of each."""

    def make(path: Path) -> None:
        data = b""
        for name, form, codec, rate_hz in parts:
            part = path.parent / name
            encode(
                part,
                voice(seconds=1.0, seed=next(_seeds), rate_hz=rate_hz),
                form=form,
                codec=codec,
                rate_hz=rate_hz,
            )
            data += part.read_bytes()
            part.unlink()
        path.write_bytes(data)

    return make


def video(*sound: str) -> Callable[[Path], Any]:
    return lambda path: ffmpeg(
        *("-f", "lavfi", "-i", "color=size=64x64:rate=5:duration=2", *sound, "-c:v", "mpeg4", str(path))
    )


def protected(path: Path) -> None:
    """An MP4 whose track is encrypted, as those of music shops are."""
    plain = path.parent / "plain.wav"
    write_wav(plain, speech())
    key = ("-encryption_key", "00112233445566778899aabbccddeeff")
    ffmpeg(
        *("-i", str(plain), "-c:a", "aac", "-encryption_scheme", "cenc-aes-ctr", *key),
        *("-encryption_kid", "ffeeddccbbaa99887766554433221100", str(path)),
    )
    plain.unlink()


def wave_of(subtype: str) -> Callable[[Path], Any]:
    return lambda path: soundfile.write(path, speech(), RATE_HZ, subtype=subtype, format="WAV")


def loop(path: Path) -> None:
    path.symlink_to(path)


def full_of_nan() -> Floats:
    return np.full(16000, np.nan, dtype=np.float32)


def some_not_finite() -> Floats:
    samples = speech()
    samples[::100], samples[50::100] = np.nan, np.inf
    return samples


def huge_claim(path: Path) -> None:
    """One second of a recording that its header says lasts 12 hours."""
    data = wav_bytes(speech(1.0), path.parent)
    struct.pack_into("<I", data, 40, 12 * 3600 * 16000)
    path.write_bytes(data)


NO_AUDIO = "is not a recording that can be decoded"
PLAYLIST = b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n"
RANDOM = np.random.default_rng(0).bytes(20_000)

KINDS = [
    Kind(name="zero.wav", make=content(b""), status="empty", sentence="holds no audio samples"),
    Kind(name="header.wav", make=of(np.zeros(0, np.float32)), status="empty", sentence="holds no audio"),
    *(truncated(tenths) for tenths in range(1, 10)),
    ok("a-wav.mp3", of(speech())),
    ok("without-extension", of(speech())),
    unreadable("random.wav", content(RANDOM), NO_AUDIO),
    unreadable("zeros.wav", content(bytes(20_000)), NO_AUDIO),
    unreadable("text.wav", content(b"This is no audio.\n" * 40), NO_AUDIO),
    unreadable("page.mp3", content(b"<html><body>404 Not Found</body></html>\n" * 20), NO_AUDIO),
    unreadable("archive.wav", content(b"PK\x03\x04" + RANDOM[:4000]), NO_AUDIO),
    unreadable("playlist.wav", content(PLAYLIST), NO_AUDIO),
    unreadable("list.mp4", content(b"ffconcat version 1.0\nfile /etc/passwd\n"), NO_AUDIO),
    unreadable("encrypted.wav", content(b"Salted__" + RANDOM), NO_AUDIO),
    unreadable("protected.mp4", protected, "protected.mp4"),
    no_row("notes.txt", content(b"call them back")),
    no_row("random", content(RANDOM[:4000])),
    Kind(
        name="twice-its-length.wav",
        make=with_header(40, "<I", 64_000),
        status="ok",
        sentence="truncated",
        duration_s=2.0,
        lost_s=2.0,
    ),
    Kind(
        name="12-hours-claimed.wav",
        make=huge_claim,
        status="ok",
        sentence="truncated",
        duration_s=1.0,
        lost_s=12 * 3600 - 1.0,
    ),
    ok("length-left-open.wav", with_header(40, "<I", 0xFFFFFFFF)),
    ok("half-its-length.wav", with_header(40, "<I", 16_000), duration_s=1.0),
    unreadable("0-hz.wav", with_header(24, "<I", 0), "0-hz.wav"),
    unreadable("1-mhz.wav", with_header(24, "<I", 1_000_000), "claims 1000000 Hz"),
    unreadable("no-channels.wav", with_header(22, "<H", 0), "no-channels.wav"),
    *(channels(count) for count in range(1, 9)),
    *(ok(f"{subtype}.wav", wave_of(subtype)) for subtype in ("PCM_U8", "PCM_24", "FLOAT", "DOUBLE")),
    ok("nan-and-infinity.wav", of(some_not_finite(), "FLOAT")),
    unreadable("nothing-but-nan.wav", of(full_of_nan(), "FLOAT"), "nothing but NaN"),
    ok("silence.wav", of(np.zeros(16000, np.float32))),
    ok("dc.wav", of(np.full(16000, 0.5, np.float32))),
    ok("clipping.wav", of(np.clip(speech() * 50, -1, 1))),
    ok("tone.wav", of(tone(seconds=2.0))),
    ok("dtmf.wav", of(dtmf()), duration_s=1.8),
    ok("ring.wav", of(np.concatenate([tone(hz=425), np.zeros(32000, np.float32)])), duration_s=5.0),
    ok("hold-music.wav", of(music())),
    ok("one-speaker.wav", of(speech())),
    ok("eight-speakers.wav", of(np.concatenate([speech(0.5) for _ in range(8)])), duration_s=4.0),
    ok("0.2-s.wav", of(speech(0.2)), duration_s=0.2),
    Kind(name="one-sample.wav", make=of(speech()[:1]), status="ok", duration_s=1 / RATE_HZ),
    ok("rate-changes.mp3", joined(("a", "mp3", "mp3", 16000), ("b", "mp3", "mp3", 44100)), duration_s=2.0),
    ok("chained.ogg", joined(("a", "ogg", "libvorbis", 8000), ("b", "ogg", "libvorbis", 8000))),
    ok("video.mp4", video("-f", "lavfi", "-i", "sine=frequency=440:duration=2")),
    unreadable("silent-film.mp4", video(), "has no audio track"),
    no_row("pipe.wav", os.mkfifo, "A pipe, socket or device"),
    no_row("device.wav", lambda path: path.symlink_to("/dev/zero"), "A pipe, socket or device"),
    no_row("directory.wav", Path.mkdir),
    unreadable("loop.wav", loop, "cannot be opened"),
    unreadable("nowhere.wav", lambda path: path.symlink_to("gone.wav"), "does not exist"),
    no_row(".hidden.wav", of(speech())),
    ok("new\nline.wav", of(speech())),
    ok("tab\tand\x1b[31mcolour.wav", of(speech())),
    ok("Grüße-日本語-🎧.wav", of(speech())),
    ok("x" * 251 + ".wav", of(speech())),
    ok("--force.wav", of(speech())),
    ok("-i.wav", of(speech())),
    ok("%d-%s{call_id}.wav", of(speech())),
    ok("'; DROP TABLE calls; --.wav", of(speech())),
    ok("$(touch hacked).wav", of(speech())),
    ok("<script>alert(1)</script>.wav".replace("/", "|"), of(speech())),
    ok(os.fsdecode(b"latin-\xe9.wav"), of(speech())),
]


@dataclass(frozen=True)
class Done:
    summary: RunSummary
    rows: dict[str, tuple[Any, ...]]
    """Status, sentence, duration and loss of each row, by the number of its folder."""


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Done:
    folder = tmp_path_factory.mktemp("bad")
    for number, kind in enumerate(KINDS):
        place = folder / "calls" / str(number)
        place.mkdir(parents=True)
        kind.make(place / kind.name)
    with pytest.MonkeyPatch.context() as patch:
        cloudpickle.register_pickle_by_value(kills)
        patch.setattr(workers, "_work", kills.stand_in_work)
        summary = callmood.analyze(folder / "calls", db=str(folder / "x.duckdb"), jobs=2)
    with connect(folder / "x.duckdb") as connection:
        rows = connection.execute("SELECT path, status, error, duration_s, lost_s FROM calls").fetchall()
    assert not Path("hacked").exists()
    start = len(str(folder / "calls")) + 1
    return Done(summary, {path[start:].split("/")[0]: tuple(row) for path, *row in rows})


def test_there_are_at_least_forty_kinds() -> None:
    assert len({kind.name for kind in KINDS}) == len(KINDS) >= 40


@pytest.mark.parametrize("number", range(len(KINDS)), ids=[ascii(kind.name)[:40] for kind in KINDS])
def test_each_kind_has_the_row_and_the_sentence_it_must_have(done: Done, number: int) -> None:
    kind = KINDS[number]
    row = done.rows.get(str(number))

    if kind.status is None:
        assert row is None
        assert kind.sentence in " ".join(done.summary.warnings)
        return
    assert row is not None
    status, sentence, duration_s, lost_s = row
    assert status == kind.status, sentence
    assert kind.sentence in (sentence or "")
    assert (sentence is None) == (kind.sentence == "")
    if sentence:
        assert sentence.isprintable()
        assert sentence.count("\n") == 0
    if kind.duration_s is not None:
        # 0.15 s: what lossy encoders pad.
        assert duration_s == pytest.approx(kind.duration_s, abs=0.15 if kind.name[-3:] != "wav" else 1e-3)
        assert lost_s == pytest.approx(kind.lost_s, abs=1e-3)


def test_failures_decide_the_exit_code_and_are_those_expected(done: Done) -> None:
    failed = {result.recording.path.name for result in done.summary.failures}

    assert failed == {kind.name for kind in KINDS if kind.fails}
    assert done.summary.exit_code == Exit.SOME_FAILED


# Metadata


def run_with(folder: Path, monkeypatch: pytest.MonkeyPatch, metadata: str) -> tuple[RunSummary, list[tuple]]:
    """A run over one call with some metadata: its outcome, and agent and time of each call."""
    cloudpickle.register_pickle_by_value(sys.modules[kills.__name__])
    monkeypatch.setattr(workers, "_work", kills.stand_in_work)
    calls = folder / "calls"
    calls.mkdir()
    write_wav(calls / "a.wav", speech(1.0))
    (folder / "m.csv").write_text(metadata)
    summary = callmood.analyze(
        calls, db=str(folder / "x.duckdb"), metadata=str(folder / "m.csv"), jobs=1, snapshot_every=0
    )
    with connect(folder / "x.duckdb") as connection:
        rows = connection.execute("SELECT agent_id, CAST(epoch(started_at) AS BIGINT) FROM calls").fetchall()
    return summary, rows


@pytest.mark.parametrize(
    ("metadata", "agent", "warning"),
    [
        ("path,agent_id\na.wav,bob\nmissing.wav,eve\n", "bob", "missing.wav"),
        ("path,agent_id\na.wav,bob\na.wav,eve\n", None, "a.wav"),
        ("path,agent_id\na.wav,\"=HYPERLINK('x')\"\n", "=HYPERLINK('x')", ""),
        ("path,agent_id\n../../../../etc/passwd,bob\n", None, "etc/passwd"),
    ],
    ids=["matches nothing", "twice", "formula", "outside"],
)
def test_rows_that_match_nothing_or_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, metadata: str, agent: str | None, warning: str
) -> None:
    summary, rows = run_with(tmp_path, monkeypatch, metadata)

    assert (summary.found, summary.exit_code) == (1, Exit.OK)
    if warning:
        assert warning in " ".join(summary.warnings)
    if agent:
        assert rows[0][0] == agent


# 2026-04-17 07:12:30 UTC is 1776409950 s after 1970.
@pytest.mark.parametrize(
    ("text", "epoch_s"),
    [
        ("2026-04-17T07:12:30Z", 1776409950),
        ("2026-04-17 09:12:30+02:00", 1776409950),
        ("1776409950", 1776409950),
        ("20260417T071230", 1776409950),
        ("31.02.2026 25:61", None),
        ("yesterday", None),
        ("", None),
    ],
)
def test_dates_in_any_form_are_read_or_left_empty_with_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, epoch_s: int | None
) -> None:
    summary, rows = run_with(tmp_path, monkeypatch, f"path,started_at\na.wav,{text}\n")

    assert rows[0][1] == epoch_s
    assert bool(summary.warnings) == (epoch_s is None and bool(text))
