"""A recording of many hours through one worker: memory and computing time of each stage.

    python -m benchmarks.long_call                      12 hours of one channel
    python -m benchmarks.long_call --hours 12 --channels 2
    python -m benchmarks.long_call --hours 1 --speech call.wav

The recording repeats the example calls (or another one) at changing levels, mono ones mixed from both channels. It is
written to a temporary file, and so are its samples: the folder for those (TMPDIR) must be on a disk, not in memory.
Memory is looked at every 20 ms: `private` is what no file backs, `all` what the system counts as the process's,
libraries and mapped samples among it.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

import callmood.pipeline as pipeline
from benchmarks.calls import EXAMPLES, RATE_HZ
from callmood.decode import decode, decode_file
from callmood.emotion.device import own_process
from callmood.settings import load_settings
from callmood.threads import one_thread
from callmood.types import Leg, Recording

_LOOK_EVERY_S = 0.02

T = TypeVar("T")


def resident_mib() -> tuple[float, float]:
    """Private memory of this process, and all of it."""
    sizes = {}
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(("RssAnon:", "VmRSS:")):
            name, size, _ = line.split()
            sizes[name] = int(size) / 1024
    return sizes["RssAnon:"], sizes["VmRSS:"]


class Peaks:
    """The most memory since the last time that it was asked for."""

    def __init__(self) -> None:
        self._peaks = (0.0, 0.0)
        threading.Thread(target=self._follow, daemon=True).start()

    def _follow(self) -> None:
        while True:
            now = resident_mib()
            self._peaks = (max(self._peaks[0], now[0]), max(self._peaks[1], now[1]))
            time.sleep(_LOOK_EVERY_S)

    def take(self) -> tuple[float, float]:
        peaks, self._peaks = self._peaks, (0.0, 0.0)
        return peaks


class Stages:
    """Runs stages, and prints what each took."""

    def __init__(self) -> None:
        self._peaks = Peaks()
        self.most = (0.0, 0.0)

    def run(self, name: str, stage: Callable[..., T], *arguments: Any) -> T:
        self._peaks.take()
        used = resource.getrusage(resource.RUSAGE_SELF)
        answer = stage(*arguments)
        time.sleep(2 * _LOOK_EVERY_S)
        now = resource.getrusage(resource.RUSAGE_SELF)
        cpu_s = now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime
        private, everything = self._peaks.take()
        self.most = (max(self.most[0], private), max(self.most[1], everything))
        print(
            f"{name:10} {cpu_s:7.1f} s   private {private:6.0f} MiB   all {everything:6.0f} MiB", flush=True
        )
        return answer


def speech(paths: list[Path], *, channels: int) -> NDArray[np.float32]:
    """The recordings one after another, shape (samples, channels)."""
    parts = []
    for path in paths:
        samples = decode_file(path, rate_hz=RATE_HZ).samples
        if channels == 1:
            samples = samples.mean(axis=0, keepdims=True)
        if len(samples) == channels:
            parts.append(samples.T)
    return np.concatenate(parts)


def make_recording(path: Path, part: NDArray[np.float32], *, hours: float) -> None:
    """A recording that repeats `part` at changing levels."""
    import soundfile

    rng = np.random.default_rng(0)
    left = int(hours * 3600 * RATE_HZ)
    with soundfile.SoundFile(path, "w", RATE_HZ, part.shape[1], "PCM_16") as file:
        while left > 0:
            file.write((part * rng.uniform(0.4, 1.0))[:left])
            left -= len(part)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--hours", type=float, default=12.0)
    parser.add_argument("--channels", type=int, choices=(1, 2), default=1)
    parser.add_argument("--speech", type=Path, nargs="+", default=sorted(EXAMPLES.iterdir()))
    given = parser.parse_args()
    # Before numpy is loaded, hence in a process of its own, as workers are.
    os.environ.update(one_thread())
    process = multiprocessing.get_context("spawn").Process(target=measure, args=(given,))
    process.start()
    process.join()
    raise SystemExit(process.exitcode)


def measure(given: argparse.Namespace) -> None:
    """Print what the stages of one recording took."""
    own_process()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "long.wav"
        make_recording(path, speech(given.speech, channels=given.channels), hours=given.hours)
        stages = Stages()
        engines = stages.run("load", pipeline.load_engines, load_settings({"device": "cpu"}).settings)
        recording = Recording(call_id="long", legs=(Leg(path=path),), content_hash="long")
        audio = stages.run("decode", lambda: decode(recording, rate_hz=RATE_HZ))
        find_turns, score = pipeline._turns, pipeline._score
        pipeline._turns = lambda *arguments: stages.run("turns", find_turns, *arguments)
        pipeline._score = lambda *arguments: stages.run("scores", score, *arguments)
        analysis = pipeline.analyze_audio(audio, recording, engines)
    windows = len(analysis.windows.start_s)
    print(f"{audio.duration_s / 3600:g} h, {len(analysis.turns)} turns, {windows} windows")
    print(f"at most {stages.most[0]:.0f} MiB private, {stages.most[1]:.0f} MiB in all")


if __name__ == "__main__":
    main()
