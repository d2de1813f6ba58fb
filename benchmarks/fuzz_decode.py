"""Mutated recordings through decode, in a subprocess that is watched: crashes, hangs and leaks.

    python -m benchmarks.fuzz_decode                  10,000 files
    python -m benchmarks.fuzz_decode --files 500 --seed 3

Each file is a small recording in one of `FORMS`, changed by one to eight random edits: bits flipped, bytes
overwritten, cut out, repeated or inserted, the end cut off, fields set to extreme values. Decode must answer with
samples that are finite and within [-1, 1], or with a RecordingError of one printable sentence, within `LIMIT_S` and
`LIMIT_MIB`. What ends the subprocess, keeps it from answering, raises anything else, or leaves descriptors,
children, memory or temporary files behind is reported with the number of the file, and `--only NUMBER` repeats it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

LIMIT_S = 20.0
LIMIT_MIB = 1000
SILENT_S = 60.0
"""Without an answer for this long, a subprocess hangs."""
LEAK_MIB = 50.0
"""Growth over the second half of a subprocess's files that counts as a leak."""
PER_PROCESS = 500

FORMS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("x.wav", ("-c:a", "pcm_s16le")),
    ("ulaw.wav", ("-c:a", "pcm_mulaw")),
    ("ima.wav", ("-c:a", "adpcm_ima_wav")),
    ("stereo.wav", ("-c:a", "pcm_s16le", "-ac", "2")),
    ("x.flac", ()),
    ("x.ogg", ("-c:a", "libvorbis")),
    ("x.opus", ("-c:a", "libopus")),
    ("x.mp3", ()),
    ("x.m4a", ("-c:a", "aac")),
    ("x.webm", ("-c:a", "libopus")),
    ("x.amr", ("-c:a", "libopencore_amrnb")),
    ("x.au", ()),
    ("x.aiff", ()),
    ("x.wma", ("-c:a", "wmav2")),
    ("x.g722", ()),
)
_EXTREMES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def make_originals(folder: Path) -> list[Path]:
    """A recording of half a second in each form that this ffmpeg writes."""
    from callmood.decode import find_ffmpeg

    found = []
    for name, options in FORMS:
        path = folder / name
        done = subprocess.run(
            [
                *(str(find_ffmpeg()), "-nostdin", "-v", "quiet", "-f", "lavfi"),
                *("-i", "anoisesrc=duration=0.5:sample_rate=8000:seed=1:amplitude=0.3"),
                *("-ar", "16000" if name == "x.g722" else "8000", *options, str(path)),
            ],
            check=False,
        )
        if done.returncode == 0 and path.stat().st_size:
            found.append(path)
    return found


def mutate(data: bytes, rng: np.random.Generator) -> bytes:
    """`data` after one to eight random edits, most of them where the headers are."""
    changed = bytearray(data)
    for _ in range(int(rng.integers(1, 9))):
        if not changed:
            break
        near = len(changed) if rng.random() < 0.4 else min(len(changed), 200)
        at = int(rng.integers(near))
        length = int(rng.integers(1, 65))
        match int(rng.integers(7)):
            case 0:
                changed[at] ^= 1 << int(rng.integers(8))
            case 1:
                part = rng.bytes(length)
                changed[at : at + length] = part[: max(0, len(changed) - at)]
            case 2:
                del changed[at : at + length]
            case 3:
                changed[at:at] = changed[at : at + length] * int(rng.integers(1, 5))
            case 4:
                changed[at:at] = rng.bytes(length)
            case 5:
                del changed[int(rng.integers(len(changed))) :]
            case _:
                size = int(rng.choice([1, 2, 4]))
                value = int(rng.choice(_EXTREMES)) & (256**size - 1)
                order = "little" if rng.random() < 0.5 else "big"
                changed[at : at + size] = value.to_bytes(size, order)  # type: ignore[arg-type]
    return bytes(changed)


def mutated(originals: Sequence[Path], *, seed: int, number: int) -> tuple[str, bytes]:
    """Name and content of one mutated file."""
    rng = np.random.default_rng((seed, number))
    original = originals[int(rng.integers(len(originals)))]
    return original.name, mutate(original.read_bytes(), rng)


def outcome(path: Path) -> tuple[str, str]:
    """`samples`, `refused`, `limit`, or `wrong` with what is wrong."""
    from callmood.decode import decode_file
    from callmood.errors import RecordingError
    from callmood.limits import LimitExceeded, limited

    try:
        with limited(max_s=LIMIT_S, max_memory_mib=LIMIT_MIB):
            audio = decode_file(path, rate_hz=8000)
    except RecordingError as error:
        return ("refused", "") if str(error).isprintable() else ("wrong", f"unprintable: {error!r}")
    except LimitExceeded as reason:
        return "limit", str(reason)
    except Exception as error:
        return "wrong", f"{type(error).__name__}: {error}"
    samples = audio.samples
    if not samples.size or not np.isfinite(samples).all() or float(np.abs(samples).max()) > 1.0:
        return "wrong", "samples that are none, not finite or beyond 1"
    return "samples", ""


def work(folder: Path, *, seed: int, numbers: Sequence[int]) -> None:
    """Decode mutated files in this process; a line of JSON for each."""
    from callmood.limits import private_memory_bytes

    originals = sorted(folder.glob("*.*"))
    for number in numbers:
        name, data = mutated(originals, seed=seed, number=number)
        path = folder / f"mutated-{os.getpid()}" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        print(json.dumps({"begun": number}), flush=True)
        started_s = time.monotonic()
        kind, why = outcome(path)
        answer = {
            "number": number,
            "name": name,
            "kind": kind,
            "why": why,
            "wall_s": time.monotonic() - started_s,
            "memory_mib": private_memory_bytes() / (1 << 20),
            "descriptors": len(list(Path("/proc/self/fd").iterdir())),
            "children": len(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()),
        }
        print(json.dumps(answer), flush=True)
        path.unlink()


@dataclass
class Report:
    """What became of all files."""

    kinds: Counter[str] = field(default_factory=Counter)
    troubles: list[str] = field(default_factory=list)
    slowest_s: float = 0.0
    growth_mib: float = 0.0
    """Largest growth of memory over the second half of a subprocess's files."""


def fuzz(*, files: int, seed: int, only: int | None = None) -> Report:
    """Decode `files` mutated files in watched subprocesses."""
    report = Report()
    with tempfile.TemporaryDirectory() as name:
        folder, temporary = Path(name) / "files", Path(name) / "tmp"
        folder.mkdir()
        temporary.mkdir()
        make_originals(folder)
        numbers = list(range(files)) if only is None else [only]
        while numbers:
            numbers = _one_process(folder, temporary, numbers, seed=seed, report=report)
        left = sorted(path.name for path in temporary.iterdir())
        if left:
            report.troubles.append(f"temporary files left: {left[:5]}")
    return report


def _one_process(
    folder: Path, temporary: Path, numbers: Sequence[int], *, seed: int, report: Report
) -> list[int]:
    """Let one subprocess decode the first of some files; returns the numbers that are left."""
    batch, rest = list(numbers[:PER_PROCESS]), list(numbers[PER_PROCESS:])
    command = [sys.executable, "-m", "benchmarks.fuzz_decode", "--work", str(folder), "--seed", str(seed)]
    child = subprocess.Popen(
        [*command, "--numbers", ",".join(map(str, batch))],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"TMPDIR": str(temporary)},
        cwd=Path(__file__).resolve().parents[1],
    )
    answers: list[dict[str, Any]] = []
    begun = None
    for line in _lines(child):
        if "begun" in line:
            begun = line["begun"]
        else:
            answers.append(line)
    child.wait()
    done = {answer["number"] for answer in answers}
    for answer in answers:
        report.kinds[answer["kind"]] += 1
        report.slowest_s = max(report.slowest_s, answer["wall_s"])
        if answer["kind"] in ("wrong", "limit"):
            report.troubles.append(f"{answer['number']} {answer['name']}: {answer['why']}")
        if answer["children"]:
            report.troubles.append(f"{answer['number']} {answer['name']}: a child process is left")
    if len(answers) > 20:
        middle, last = answers[len(answers) // 2], answers[-1]
        growth = last["memory_mib"] - middle["memory_mib"]
        report.growth_mib = max(report.growth_mib, growth)
        if growth > LEAK_MIB:
            report.troubles.append(f"memory grew by {growth:.0f} MiB over {len(answers) // 2} files")
        if last["descriptors"] > answers[0]["descriptors"] + 2:
            report.troubles.append(f"descriptors: {answers[0]['descriptors']}, then {last['descriptors']}")
    left = [number for number in batch if number not in done]
    if left and begun not in done:
        report.troubles.append(f"{begun}: the subprocess ended with code {child.returncode}")
        report.kinds["crash or hang"] += 1
        left.remove(begun)
    elif left:
        report.troubles.append(f"the subprocess ended with code {child.returncode} between files")
        return rest
    return left + rest


def _lines(child: subprocess.Popen[bytes]) -> Iterator[dict[str, Any]]:
    """What the subprocess prints; it is killed where it prints nothing for too long."""
    import selectors

    assert child.stdout is not None
    with selectors.DefaultSelector() as selector, child.stdout as stdout:
        selector.register(stdout, selectors.EVENT_READ)
        buffer = b""
        while True:
            if not selector.select(SILENT_S):
                child.kill()
            data = os.read(stdout.fileno(), 65536)
            if not data:
                return
            *lines, buffer = (buffer + data).split(b"\n")
            yield from map(json.loads, lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, metavar="NUMBER")
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--numbers", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.work:
        work(given.work, seed=given.seed, numbers=[int(number) for number in given.numbers.split(",")])
        return
    started_s = time.monotonic()
    report = fuzz(files=given.files, seed=given.seed, only=given.only)
    print(", ".join(f"{count} {kind}" for kind, count in sorted(report.kinds.items())))
    print(
        f"slowest {report.slowest_s:.1f} s; largest growth {report.growth_mib:.1f} MiB in half a process; "
        f"{time.monotonic() - started_s:.0f} s"
    )
    print(f"troubles: {len(report.troubles)}")
    for trouble in report.troubles[:30]:
        print(trouble)
    sys.exit(bool(report.troubles))


if __name__ == "__main__":
    main()
