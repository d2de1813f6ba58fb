"""Finding recordings: what is walked, what counts as audio, duplicates and ids."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import wave
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callmood.discover import Discovery, discover, hash_file
from callmood.discover.sniff import HEAD_BYTES, has_audio_extension, is_audio_content
from callmood.errors import UsageError

SHARED_CALLS = Path(__file__).resolve().parents[2] / "shared" / "calls"


def sha(content: str | bytes) -> str:
    return hashlib.sha256(content if isinstance(content, bytes) else content.encode()).hexdigest()


def put(path: Path, content: str | None = None) -> Path:
    """A file whose content is its own path unless given, so that no two are alike."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(str(path) if content is None else content)
    return path


def names(found: Discovery, root: Path) -> list[str]:
    return [str(recording.path.relative_to(root)) for recording in found.recordings]


@pytest.fixture
def wav(tmp_path: Path) -> bytes:
    path = tmp_path / "made.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(random.Random(1).randbytes(16000))
    content = path.read_bytes()
    path.unlink()
    return content


def test_directories_are_walked_and_hidden_entries_left_out(tmp_path: Path) -> None:
    for name in ("b.wav", "a/deep/er.mp3", "odd.wav/in.flac", ".hidden.wav", ".trash/x.wav", "notes.txt"):
        put(tmp_path / name)
    found = discover([tmp_path])
    assert names(found, tmp_path) == ["a/deep/er.mp3", "b.wav", "odd.wav/in.flac"]
    assert found.skipped == (tmp_path / "notes.txt",)
    assert found.warnings == ()


def test_a_hidden_file_or_directory_that_is_named_is_taken(tmp_path: Path) -> None:
    put(tmp_path / ".calls" / "a.wav")
    put(tmp_path / ".b.wav")
    assert names(discover([tmp_path / ".calls", tmp_path / ".b.wav"]), tmp_path) == [".b.wav", ".calls/a.wav"]


def test_relative_inputs_give_absolute_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "calls" / "a.wav")
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    assert discover(["../calls"]).recordings[0].path == tmp_path / "calls" / "a.wav"


def test_symlink_loops_end_and_reach_each_file_once(tmp_path: Path) -> None:
    put(tmp_path / "a" / "x.wav")
    for link in ("a/loop", "a/again", "b"):
        (tmp_path / link).symlink_to(tmp_path)
    (tmp_path / "a" / "self.wav").symlink_to(tmp_path / "a" / "self.wav")
    found = discover([tmp_path, tmp_path / "b", f"{tmp_path}/**/*.wav"])
    assert names(found, tmp_path) == ["a/self.wav", "a/x.wav"]
    assert found.duplicates == ()
    assert found.recordings[0].content_hash.startswith("unreadable:")


def test_a_directory_that_two_inputs_reach_gives_its_files_once(tmp_path: Path) -> None:
    put(tmp_path / "real" / "x.wav")
    (tmp_path / "view").mkdir()
    (tmp_path / "view" / "link").symlink_to(tmp_path / "real")
    found = discover([tmp_path / "view", tmp_path / "real"])
    assert names(found, tmp_path) == ["view/link/x.wav"]
    assert found.duplicates == ()


def test_globs_match_files_and_directories(tmp_path: Path) -> None:
    for name in ("x1.wav", "x2.wav", "y1.wav", "d1/z.wav", "d1/e/z.mp3", ".h/z.wav"):
        put(tmp_path / name)
    assert names(discover([f"{tmp_path}/x*.wav"]), tmp_path) == ["x1.wav", "x2.wav"]
    assert names(discover([f"{tmp_path}/[dy]?*"]), tmp_path) == ["d1/e/z.mp3", "d1/z.wav", "y1.wav"]
    assert names(discover([f"{tmp_path}/**/z.*"]), tmp_path) == ["d1/e/z.mp3", "d1/z.wav"]
    assert names(discover([f"{tmp_path}/*/e/*"]), tmp_path) == ["d1/e/z.mp3"]
    assert len(discover([f"{tmp_path}/**"]).recordings) == 5


def test_a_file_with_the_characters_of_a_glob_is_taken_by_its_name(tmp_path: Path) -> None:
    put(tmp_path / "call[1].wav")
    put(tmp_path / "call1.wav")
    assert names(discover([tmp_path / "call[1].wav"]), tmp_path) == ["call[1].wav"]


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("absent", "input 'absent' does not exist"),
        ("", "input '' does not exist"),  # not the working directory
        ("absent/*.wav", "glob 'absent/*.wav' matches nothing"),
        ("*.nothing", "glob '*.nothing' matches nothing"),
        ("bad\x1b[31m", r"glob 'bad\x1b[31m' matches nothing"),
    ],
)
def test_an_input_that_is_not_there_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str, message: str
) -> None:
    put(tmp_path / "a.wav")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError) as error:
        discover([missing])
    assert message in str(error.value)


def test_a_directory_without_recordings_is_named_in_a_warning(tmp_path: Path) -> None:
    put(tmp_path / "empty" / "notes.txt")
    put(tmp_path / "full" / "a.wav")
    found = discover([tmp_path / "empty", tmp_path / "full"])
    (warning,) = found.warnings
    assert str(tmp_path / "empty") in warning


def test_pipes_are_never_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "live.wav")
    os.mkfifo(tmp_path / "pipe")
    put(tmp_path / "a.wav")
    found = discover([tmp_path])
    assert names(found, tmp_path) == ["a.wav"]
    assert found.skipped == (tmp_path / "pipe",)
    (warning,) = found.warnings
    assert "live.wav" in warning


def test_a_directory_that_cannot_be_listed_becomes_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path / "a.wav")
    put(tmp_path / "locked" / "b.wav")
    listed = Path.iterdir

    def refuse(directory: Path) -> object:
        if directory.name == "locked":
            raise PermissionError
        return listed(directory)

    monkeypatch.setattr(Path, "iterdir", refuse)
    found = discover([tmp_path])
    assert names(found, tmp_path) == ["a.wav"]
    assert "locked" in found.warnings[0]


def test_audio_is_known_by_content_and_promised_by_extension(tmp_path: Path, wav: bytes) -> None:
    (tmp_path / "download").write_bytes(wav)
    put(tmp_path / "text.WAV", "not audio")
    put(tmp_path / "text", "not audio")
    put(tmp_path / "raw.g729")
    found = discover([tmp_path])
    assert names(found, tmp_path) == ["download", "raw.g729", "text.WAV"]
    assert found.skipped == (tmp_path / "text",)


def test_excluded_files_and_the_metadata_file_are_no_recordings(tmp_path: Path, wav: bytes) -> None:
    put(tmp_path / "a.wav")
    database = put(tmp_path / "db.wav")
    (tmp_path / "link.wav").symlink_to(database)
    metadata = put(tmp_path / "meta.wav", "path,agent_id\na.wav,ann\n")
    read = []

    def content_hash(path: Path) -> str:
        read.append(path.name)
        return sha(path.read_bytes())

    found = discover([tmp_path], metadata=metadata, exclude=[database], content_hash=content_hash)
    assert read == ["a.wav"]
    assert found.skipped == ()
    assert found.recordings[0].metadata.agent_id == "ann"


def test_the_same_content_is_one_call_at_the_first_path(tmp_path: Path) -> None:
    for name in ("b.wav", "a/c.mp3", "z.wav"):
        put(tmp_path / name, "same")
    put(tmp_path / "other.wav", "other")
    found = discover([tmp_path])
    assert [(r.call_id, r.content_hash) for r in found.recordings] == [
        (sha("same")[:16], sha("same")),
        (sha("other")[:16], sha("other")),
    ]
    first = tmp_path / "a" / "c.mp3"
    assert found.duplicates == ((tmp_path / "b.wav", first), (tmp_path / "z.wav", first))


def test_the_same_content_under_two_given_ids_is_two_calls(tmp_path: Path) -> None:
    for name in ("1_GUID_x.wav", "2_GUID_y.wav", "3.wav"):
        put(tmp_path / name, "same")
    found = discover([tmp_path])
    assert [r.call_id for r in found.recordings] == ["x", "y"]
    assert found.duplicates == ((tmp_path / "3.wav", tmp_path / "1_GUID_x.wav"),)


def test_what_is_known_of_a_duplicate_is_not_lost(tmp_path: Path) -> None:
    put(tmp_path / "copy.wav", "same")
    put(tmp_path / "x_GUID_7_AGENT_ann.wav", "same")
    (recording,) = discover([tmp_path]).recordings
    assert (recording.call_id, recording.path.name, recording.metadata.agent_id) == ("7", "copy.wav", "ann")


def test_different_content_under_one_given_id_is_told_apart(tmp_path: Path) -> None:
    for directory in ("a", "b", "c"):
        put(tmp_path / directory / "x_GUID_000.wav", directory)
    found = discover([tmp_path])
    assert [r.call_id for r in found.recordings] == ["000", f"000~{sha('b')[:8]}", f"000~{sha('c')[:8]}"]
    (warning,) = found.warnings
    assert "'000'" in warning


def test_files_that_are_empty_or_cannot_be_read_have_a_row_each(tmp_path: Path) -> None:
    put(tmp_path / "e1.wav", "")
    put(tmp_path / "e2.wav", "")
    put(tmp_path / "locked.wav")

    def refuse(path: Path) -> str:
        if path.name == "locked.wav":
            raise PermissionError
        return hash_file(path)

    found = discover([tmp_path], content_hash=refuse)
    assert [r.content_hash for r in found.recordings] == [
        f"empty:{sha(str(tmp_path / 'e1.wav'))}",
        f"empty:{sha(str(tmp_path / 'e2.wav'))}",
        f"unreadable:{sha(str(tmp_path / 'locked.wav'))}",
    ]
    assert found.recordings[2].call_id == sha(str(tmp_path / "locked.wav"))[:16]


def test_file_names_that_no_terminal_can_show_are_escaped_in_messages(tmp_path: Path) -> None:
    os.mkfifo(os.fsencode(tmp_path) + b"/\xff\x1b[2J\n.wav")
    (warning,) = discover([tmp_path]).warnings[:1]
    warning.encode()
    assert "\\x1b[2J\\n.wav" in warning
    assert warning.isprintable()


# Formats that ffmpeg can write, with a name that says nothing.
MADE_BY_FFMPEG = {
    "wav": ["-f", "wav"],
    "rf64": ["-f", "wav", "-rf64", "always"],
    "w64": ["-f", "w64"],
    "aiff": ["-f", "aiff"],
    "au": ["-f", "au"],
    "caf": ["-f", "caf"],
    "flac": ["-f", "flac"],
    "ogg": ["-f", "ogg", "-c:a", "flac"],
    "mp3 with a tag": ["-f", "mp3", "-id3v2_version", "3"],
    "mp3 without a tag": ["-f", "mp3", "-id3v2_version", "0", "-write_xing", "0"],
    "mp3 of MPEG-2": ["-f", "mp3", "-ar", "16000", "-id3v2_version", "0", "-write_xing", "0"],
    "mp2": ["-f", "mp2"],
    "aac": ["-f", "adts"],
    "m4a": ["-f", "ipod"],
    "mov": ["-f", "mov"],
    "webm": ["-f", "webm", "-c:a", "libopus"],
    "mkv": ["-f", "matroska"],
    "avi": ["-f", "avi"],
    "flv": ["-f", "flv", "-c:a", "mp3"],
    "wma": ["-f", "asf"],
    "mpeg-1 program stream": ["-f", "mpeg"],
    "mpeg-2 program stream": ["-f", "vob"],
    "transport stream": ["-f", "mpegts"],
}


@pytest.mark.parametrize("options", MADE_BY_FFMPEG.values(), ids=MADE_BY_FFMPEG.keys())
def test_formats_are_known_by_content(tmp_path: Path, options: list[str]) -> None:
    from imageio_ffmpeg import get_ffmpeg_exe

    made = tmp_path / "made"
    source = ["-f", "lavfi", "-i", "sine=duration=1:sample_rate=44100"]
    command = [get_ffmpeg_exe(), "-v", "error", "-nostdin", "-threads", "1", *source, *options, str(made)]
    subprocess.run(command, check=True)
    assert is_audio_content(made.read_bytes()[:HEAD_BYTES])


@pytest.mark.parametrize(
    "head",
    [
        b"#!AMR\n\x3c",
        b"#!AMR-WB\n\x04",
        b"#!iLBC30\n",
        b".snd\x00\x00\x00\x18",
        b"FORM\x00\x00\x10\x00AIFC",
        # MPEG-2 layer III at 8 kbit/s and 22,050 Hz: 72 * 8000 / 22050 = 26 bytes per frame
        b"\xff\xf3\x10\xc4" + bytes(22) + b"\xff\xf3\x10\xc4",
    ],
)
def test_marks_and_headers_of_telephony_formats_are_known(head: bytes) -> None:
    assert is_audio_content(head)


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"RIFF\x10\x00\x00\x00WEBPVP8 ",
        b"RIFF is a container",
        b"ID3 tags are described here",
        b".snd is an extension",
        b"FORM follows function",
        b"FLV\x01 is not enough",
        b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00",
        b"\xff\xfb\x90\x64" + b"\x00" * 4000,  # one MPEG frame header and nothing after the frame
        b"\xff\xfe" + "text in UTF-16".encode("utf-16-le") * 50,
        b"G" * HEAD_BYTES,
        b"\xff" * HEAD_BYTES,
        b"call_id,agent_id\n" * 200,
        b"PAR1",
    ],
)
def test_look_alikes_are_no_audio(head: bytes) -> None:
    assert not is_audio_content(head)


def test_random_bytes_are_no_audio() -> None:
    source = random.Random(7)
    assert not any(is_audio_content(source.randbytes(HEAD_BYTES)) for _ in range(3000))
    # Also not behind the sync word of MPEG.
    assert sum(is_audio_content(b"\xff\xfb" + source.randbytes(HEAD_BYTES)) for _ in range(3000)) == 0


@given(st.binary(max_size=64))
def test_any_bytes_can_be_looked_at(head: bytes) -> None:
    for mark in (b"", b"\xff\xfb", b"ID3\x03\x00", b"\x00\x00\x01\xba", b"\x00\x00\x00\x18ftyp", b"OggS\x00"):
        assert is_audio_content(mark + head) in (True, False)


def test_source_code_in_ts_files_is_not_promised_to_be_audio() -> None:
    assert has_audio_extension(Path("x.M4A"))
    assert has_audio_extension(Path("x.pcmu"))
    assert not has_audio_extension(Path("x.ts"))
    assert not has_audio_extension(Path("wav"))


@pytest.mark.skipif(not SHARED_CALLS.is_dir(), reason="needs the shared calls")
def test_the_shared_calls_are_all_found() -> None:
    found = discover([SHARED_CALLS])
    assert len(found.recordings) == 11
    assert [path.name for path in found.skipped] == ["Auto_Repairs_40_UTC.rttm"]
    assert found.recordings[0].call_id == "000"
    assert found.recordings[0].metadata.agent_id == "ChrisL"
    (warning,) = found.warnings
    assert warning.endswith("Auto_Repairs_40_UTC_agent.wav.")
