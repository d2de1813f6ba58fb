"""Streams in real time into one process: `python -m benchmarks.live [--streams 50,100,200] [--seconds 40]`.

With `--flat-out`, the same streams go through the engine of this process as fast as it can, a round of all of them at a
time, and only processor time is measured, which other programs on the machine do not change: seconds of stream for each
second of one core, which is the number of streams that saturates it. What `callmood listen` sets for itself
(OMP_NUM_THREADS=1 and TF_ENABLE_ONEDNN_OPTS=0) has to stand in the environment.

A server is started (`callmood listen --socket`), and for each number of streams so many clients connect, one after
another, and send two-channel calls of 8 kHz in pieces of a tenth of a second, as fast as people speak. Printed are, of
the lines that came after the first ten seconds: the latency of a line (from the moment that the last sample of its hop
was sent to the moment that the client has the line), the same of a window beyond its end, the processor time of the
server for each second of wall clock and of stream, and how many streams one core could take by that. Calls are those of
a folder (`--calls`, default ../shared/calls, or else examples/calls); each stream begins at a place of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

RATE_HZ = 8000
PIECE_S = 0.1
SETTLED_S = 10.0
"""Lines before this do not count: streams are still beginning."""
ROOT = Path(__file__).resolve().parents[1]


@dataclass
class Seen:
    """What one number of streams took."""

    lines_s: list[float] = field(default_factory=list)
    """Latency of each line."""
    windows_s: list[float] = field(default_factory=list)
    """From the end of each window to its line."""
    processor_s: float = 0.0
    wall_s: float = 0.0
    late_sends_s: list[float] = field(default_factory=list)
    """How late this benchmark's own clients sent a piece."""


def two_channel_calls(folder: Path) -> list[bytes]:
    """PCM of 16 bit of calls of two channels; a pair of `..._agent` and `..._caller` files is one."""
    from callmood.decode import decode_file

    found = []
    agents = sorted(folder.glob("*_agent.wav"))
    for agent in agents:
        caller = agent.with_name(agent.name.replace("_agent.wav", "_caller.wav"))
        if caller.is_file():
            legs = [decode_file(path, rate_hz=RATE_HZ).samples[0] for path in (agent, caller)]
            length = min(map(len, legs))
            found.append(np.stack([leg[:length] for leg in legs]))
    for path in sorted(folder.glob("*.wav")):
        audio = decode_file(path, rate_hz=RATE_HZ)
        if audio.channels == 2:
            found.append(audio.samples)
    return [np.round(np.clip(rows.T, -1, 1) * 32767).astype("<i2").tobytes() for rows in found]


async def stream(
    socket: str, call: bytes, *, offset: int, begin_s: float, until_s: float, seen: Seen
) -> None:
    """One client: sends from `begin_s` to `until_s` by the monotonic clock, and notes when lines come."""
    reader, writer = await asyncio.open_unix_connection(socket, limit=1 << 20)
    size = int(PIECE_S * RATE_HZ) * 4
    writer.write(b'callmood {"rate_hz": 8000, "channels": 2, "agent_channel": 0}\n')

    async def send() -> None:
        for piece in range(int((until_s - begin_s) / PIECE_S)):
            # A recorder hands a piece on when its last sample has been spoken.
            due_s = begin_s + (piece + 1) * PIECE_S
            await asyncio.sleep(max(0.0, due_s - time.monotonic()))
            at = (offset + piece * size) % (len(call) - size)
            writer.write(call[at : at + size])
            if due_s - begin_s > SETTLED_S:
                seen.late_sends_s.append(time.monotonic() - due_s)
        writer.write_eof()

    async def receive() -> None:
        while line := await reader.readline():
            now_s = time.monotonic()
            record = json.loads(line)
            if record["type"] != "hop" or now_s - begin_s < SETTLED_S:
                continue
            seen.lines_s.append(now_s - begin_s - record["t_s"])
            seen.windows_s += [
                now_s - begin_s - speaker["window"]["end_s"]
                for speaker in record["speakers"]
                if speaker["window"]
            ]

    await asyncio.gather(send(), receive())
    writer.close()


async def measure(socket: str, server: int, calls: list[bytes], *, streams: int, seconds: float) -> Seen:
    """So many streams for so long."""
    rng = np.random.default_rng(0)
    seen = Seen()
    begin_s = time.monotonic() + 0.5
    clients = [
        stream(
            socket,
            calls[index % len(calls)],
            offset=int(rng.integers(len(calls[index % len(calls)]) // 4)) * 4,
            begin_s=begin_s + float(rng.uniform(0, 1)),
            until_s=begin_s + seconds + 1,
            seen=seen,
        )
        for index in range(streams)
    ]
    running = [asyncio.create_task(client) for client in clients]
    await asyncio.sleep(SETTLED_S)
    before_s, started_s = processor_s(server), time.monotonic()
    await asyncio.sleep(max(0.0, begin_s + seconds - time.monotonic()))
    seen.processor_s, seen.wall_s = processor_s(server) - before_s, time.monotonic() - started_s
    await asyncio.gather(*running)
    return seen


def flat_out(calls: list[bytes], *, streams: int, seconds: float) -> str:
    """One line of the table of `--flat-out`: everything but the sockets."""
    from callmood.live import StreamFormat, load_engine
    from callmood.live.lines import as_line
    from callmood.live.listener import Listener
    from callmood.settings import Settings

    rng = np.random.default_rng(0)
    engine = load_engine(Settings(device="cpu"))
    raw = StreamFormat(channels=2, agent_channel=0)
    listeners = [Listener(engine, raw) for _ in range(streams)]
    size = RATE_HZ * 4 // 2
    offsets = [int(rng.integers(len(calls[index % len(calls)]) // 4)) * 4 for index in range(streams)]
    spent_s, rounds_s = 0.0, []
    for hop in range(int((seconds + SETTLED_S) * 2)):
        before_s = time.process_time()
        for index, listener in enumerate(listeners):
            call = calls[index % len(calls)]
            at = (offsets[index] + hop * size) % (len(call) - size)
            listener.feed(call[at : at + size])
        heard = [listener.stream for listener in listeners if listener.stream is not None]
        for listener, told_hop in zip(listeners, engine.step(heard), strict=True):
            as_line(listener.record(told_hop))
        if hop >= SETTLED_S * 2:
            rounds_s.append(time.process_time() - before_s)
            spent_s += rounds_s[-1]
    return (
        f"| {streams} | {spent_s / seconds / streams * 1000:.2f} | {streams * seconds / spent_s:.0f} | "
        f"{np.percentile(rounds_s, 50):.2f} | {np.percentile(rounds_s, 99):.2f} |"
    )


def processor_s(process: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def told(streams: int, seen: Seen) -> str:
    """One line of the table."""

    def tail(values: list[float]) -> NDArray[np.float64]:
        return np.percentile(values, [50, 99])

    (line_50, line_99), (window_50, window_99) = tail(seen.lines_s), tail(seen.windows_s)
    share = seen.processor_s / seen.wall_s
    return (
        f"| {streams} | {line_50:.2f} | {line_99:.2f} | {window_50:.2f} | {window_99:.2f} | {share:.2f} | "
        f"{share / streams * 1000:.1f} | {streams / share:.0f} | {np.percentile(seen.late_sends_s, 99):.2f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--streams", default="50", help="comma-separated numbers of streams")
    parser.add_argument("--seconds", type=float, default=40.0)
    parser.add_argument("--flat-out", action="store_true", help="processor time alone, without real time")
    parser.add_argument("--calls", type=Path)
    given = parser.parse_args()
    shared = ROOT.parent / "shared" / "calls"
    calls = two_channel_calls(given.calls or (shared if shared.is_dir() else ROOT / "examples" / "calls"))
    if given.flat_out:
        print("| streams | ms of processor per stream-s | streams/core | round of all p50, s | p99, s |")
        print("| --- | --- | --- | --- | --- |")
        for streams in map(int, given.streams.split(",")):
            print(flat_out(calls, streams=streams, seconds=given.seconds), flush=True)
        return
    with tempfile.TemporaryDirectory() as folder:
        socket = str(Path(folder) / "live.sock")
        server = subprocess.Popen(
            [sys.executable, "-m", "callmood", "listen", "--socket", socket, "--device", "cpu"],
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        assert server.stderr is not None
        try:
            if "listening" not in server.stderr.readline():
                sys.exit("the server did not start")
            print(
                "| streams | line p50 | p99 | window p50 | p99 | cores | ms/stream-s | streams/core | own p99 |"
            )
            print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
            for streams in map(int, given.streams.split(",")):
                seen = asyncio.run(measure(socket, server.pid, calls, streams=streams, seconds=given.seconds))
                print(told(streams, seen), flush=True)
            memory = next(
                line
                for line in Path(f"/proc/{server.pid}/status").read_text().splitlines()
                if "VmHWM" in line
            )
            print(f"the server's largest memory: {int(memory.split()[1]) // 1024} MiB")
        finally:
            server.terminate()
            server.wait()


if __name__ == "__main__":
    main()
