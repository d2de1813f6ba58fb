"""Reading what libsndfile does not: blocks streamed from an ffmpeg child process."""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import IO

import numpy as np

from callmood.decode.source import Source, block_frames, check_format, empty
from callmood.errors import RecordingError
from callmood.limits import limit_child
from callmood.text import printable
from callmood.types import Floats

HUNG_S = 60.0
"""A child that gives no block for this long is killed."""

CPU_S = 3600
"""Seconds of computing after which the system ends a child,"""
MEMORY_BYTES = 2 << 30
"""and address space beyond which it gets no memory."""

_RAW = {
    **dict.fromkeys((".g729", ".g729a"), ("-f", "g729")),
    **dict.fromkeys((".g723", ".g723_1", ".tco", ".rco"), ("-f", "g723_1")),
    ".g722": ("-f", "g722"),
    ".gsm": ("-f", "gsm"),
    ".sln": ("-f", "sln"),
    **dict.fromkeys((".ul", ".ulaw", ".mulaw", ".pcmu"), ("-f", "mulaw", "-ar", "8000")),
    **dict.fromkeys((".al", ".alaw", ".pcma"), ("-f", "alaw", "-ar", "8000")),
}
"""ffmpeg's input options for the codecs whose files carry no header, by extension."""

_HEADERS = (b"RIFF", b"RF64", b"OggS", b"fLaC", b".snd", b"caff", b"FORM", b"#!AMR", b"#!iLBC", b"ID3")

# Only formats that hold their audio themselves: playlists and the like (concat, hls, dash, sdp, image2 ...)
# could make ffmpeg open other files or connections.
_CONTAINERS = (
    "aac,ac3,aiff,alaw,amr,amrnb,amrwb,ape,asf,asf_o,au,avi,caf,eac3,flac,flv,g722,g723_1,g729,gsm,ilbc,loas,"
    "matroska,webm,mov,mp4,m4a,3gp,mp3,mpc,mpc8,mpeg,mpegts,mulaw,nist,nut,ogg,rm,sln,tak,tta,voc,w64,wav,wv"
)

_CODEC = re.compile(rb"^\[info\]   Stream #0:\d+.*?: Audio: (\w+)")
_VIDEO = re.compile(rb"^\[info\]   Stream #0:\d+.*?: Video: (?!.*\(attached pic\))")
_DURATION = re.compile(rb"^\[info\]   Duration: (\d+):(\d\d):(\d\d(?:\.\d+)?),")
_ERROR = re.compile(rb"^(?:\[[^\]]* @ [^\]]*\] )*\[(?:error|fatal)\] (.*)")
_CUT = re.compile(rb"partial file|ended prematurely")


@cache
def find_ffmpeg() -> Path | None:
    """The ffmpeg that this process uses: the system's, else the one that imageio-ffmpeg carries, else None.

    pydub is set to use the same.
    """
    found = shutil.which("ffmpeg")
    if found is None:
        import imageio_ffmpeg

        try:
            found = imageio_ffmpeg.get_ffmpeg_exe()
        except RuntimeError:
            return None
    path = Path(found).absolute()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydub warns on import where the system has no ffmpeg
        from pydub import AudioSegment
    AudioSegment.converter = str(path)
    return path


def raw_options(path: Path) -> tuple[str, ...]:
    """ffmpeg's input options for a headerless file, by its extension; none for a file with a header."""
    with path.open("rb") as file:
        if file.read(8).startswith(_HEADERS):
            return ()
    return _RAW.get(path.suffix.lower(), ())


@contextmanager
def open_ffmpeg(path: Path) -> Iterator[Source]:
    """Open the first audio track of a recording with ffmpeg; the child ends with the context.

    Raises RecordingError where there is no ffmpeg, no audio track or nothing that ffmpeg can read, and,
    from `Source.blocks`, where the child hangs.
    """
    ffmpeg = find_ffmpeg()
    if ffmpeg is None:
        raise RecordingError(
            f"{printable(path)} needs ffmpeg to be read, and there is none: "
            "install ffmpeg, or reinstall imageio-ffmpeg with pip."
        )
    # `file:` keeps dashes, colons and percent signs in a name from meaning anything to ffmpeg.
    command = [
        *(str(ffmpeg), "-hide_banner", "-nostdin", "-nostats", "-v", "level+info", "-threads", "1"),
        *("-protocol_whitelist", "file,pipe", "-format_whitelist", _CONTAINERS, *raw_options(path)),
        *("-i", f"file:{path.absolute()}", "-vn", "-sn", "-dn", "-map", "0:a:0"),
        *("-f", "au", "-c:a", "pcm_f32be", "pipe:1"),
    ]
    # In a process group of its own: a signal to the run's group must not end a file early.
    child = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        process_group=0,
    )
    limit_child(child.pid, cpu_s=CPU_S, memory_bytes=MEMORY_BYTES)
    assert child.stdout is not None
    assert child.stderr is not None
    log = _Log(child.stderr)
    try:
        header = _read(child, 24, path)
        if len(header) < 24:
            child.wait()
            raise log.refusal(path)
        _magic, offset, _size, _encoding, rate_hz, channels = struct.unpack(">4s5I", header)
        _read(child, offset - 24, path)
        check_format(path, rate_hz=rate_hz, channels=channels)
        source = Source(rate_hz=rate_hz, channels=channels, blocks=iter(()))
        source.blocks = _blocks(child, log, source, path)
        yield source
    finally:
        child.kill()
        child.wait()
        log.finish()
        child.stdout.close()
        child.stderr.close()


def _blocks(child: subprocess.Popen[bytes], log: _Log, source: Source, path: Path) -> Iterator[Floats]:
    frame_bytes = 4 * source.channels
    block_bytes = frame_bytes * block_frames(rate_hz=source.rate_hz, channels=source.channels)
    any_frame = False
    while True:
        data = _read(child, block_bytes, path)
        usable = len(data) - len(data) % frame_bytes
        if usable:
            any_frame = True
            block = np.frombuffer(data[:usable], dtype=">f4").astype(np.float32)
            yield block.reshape(-1, source.channels)
        if len(data) < block_bytes:
            break
    log.finish()
    if not any_frame and log.first_error:
        raise log.refusal(path)
    source.codec = log.codec
    source.announced_s = log.announced_s


def _read(child: subprocess.Popen[bytes], size: int, path: Path) -> bytes:
    """Read `size` bytes, fewer at the end; raise RecordingError and kill the child where none come."""
    assert child.stdout is not None
    hung = threading.Event()

    def give_up() -> None:
        hung.set()
        child.kill()

    timer = threading.Timer(HUNG_S, give_up)
    timer.start()
    try:
        data = child.stdout.read(size)
    finally:
        timer.cancel()
    if hung.is_set():
        raise RecordingError(
            f"{printable(path)} made ffmpeg hang for {HUNG_S:g} s: convert the file to WAV and try again."
        )
    return data


class _Log:
    """What ffmpeg writes to stderr, read as it comes so that the child never waits for us."""

    def __init__(self, stderr: IO[bytes]) -> None:
        self.codec = "unknown"
        self._duration_s: float | None = None
        self.first_error = b""
        self._input = False
        self._video = False
        self._estimated = False
        self._cut = False
        self._thread = threading.Thread(target=self._follow, args=(stderr,), daemon=True)
        self._thread.start()

    def finish(self) -> None:
        """Wait for the end of the log."""
        self._thread.join()

    @property
    def announced_s(self) -> float | None:
        """The container's duration, unless it is an estimate or may be that of the video track."""
        if self._estimated or (self._video and not self._cut):
            return None
        return self._duration_s

    def refusal(self, path: Path) -> RecordingError:
        """The error for a file from which no audio came."""
        self.finish()
        if self._input and self.codec == "unknown":
            return RecordingError(
                f"{printable(path)} has no audio track: name a recording that has one, or leave it out."
            )
        reason = self.first_error.removeprefix(b"Error opening input: ").decode("utf-8", "replace").strip()
        if reason == "End of file":
            return empty(path)
        if reason.startswith("Format not on whitelist"):
            reason = "not an audio format"
        reason = printable(reason[:200]).rstrip(".") or "ffmpeg gives no reason"
        return RecordingError(
            f"{printable(path)} is not a recording that can be decoded ({reason}): "
            "copy or export it again, or convert it to WAV."
        )

    def _follow(self, stderr: IO[bytes]) -> None:
        in_input = False
        for line in iter(lambda: stderr.readline(4096), b""):
            if line.startswith(b"[info] Input #0"):
                in_input = self._input = True
            elif line.startswith(b"[info] Output #0"):
                in_input = False
            elif in_input and self.codec == "unknown" and (match := _CODEC.match(line)):
                self.codec = match[1].decode("ascii", "replace")
            elif in_input and _VIDEO.match(line):
                self._video = True
            elif in_input and self._duration_s is None and (match := _DURATION.match(line)):
                hours, minutes, seconds = match.groups()
                self._duration_s = int(hours) * 3600 + int(minutes) * 60 + float(seconds)
            elif match := _ERROR.match(line):
                self.first_error = self.first_error or match[1]
            self._estimated |= b"Estimating duration from bitrate" in line
            self._cut |= _CUT.search(line) is not None
