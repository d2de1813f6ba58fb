"""What each stage of `callmood analyze` costs: `python -m benchmarks.profile [--shared FOLDER]`.

Analyzes calls of two minutes (`benchmarks.calls`) in this process, on one thread, as a worker does, and writes them to a
database, together, as the parent does. Prints milliseconds of processor time a call for each stage, and its share. A
stage's time does not hold that of the stages within it; `rest` is what is left of the whole. What hands recordings and
results from process to process is not in it, nor is start-up: the first call is not counted.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.calls import CALL_S, SHARED, make_calls
from callmood.threads import one_thread

CALLS = 16


class Stages:
    """Processor time of functions, each without that of the others within it."""

    def __init__(self) -> None:
        self.spent_s: Counter[str] = Counter()
        self._within: list[float] = []

    def follow(self, owner: Any, name: str, stage: str) -> None:
        """Count what `owner.name` takes from now on as part of a stage."""
        setattr(owner, name, self.counted(getattr(owner, name), stage))

    def counted(self, function: Callable[..., Any], stage: str) -> Callable[..., Any]:
        """The function, which counts what it takes."""

        def run(*arguments: Any, **named: Any) -> Any:
            self._within.append(0.0)
            began_s = time.process_time()
            try:
                return function(*arguments, **named)
            finally:
                took_s = time.process_time() - began_s
                self.spent_s[stage] += took_s - self._within.pop()
                if self._within:
                    self._within[-1] += took_s

        return run


def _follow_all(stages: Stages) -> None:
    from callmood import pipeline
    from callmood.diarize import builtin, channels, vad
    from callmood.diarize.campplus import CamPlus
    from callmood.diarize.voice import VoiceModel
    from callmood.emotion.model import EmotionModel
    from callmood.features import FrontEnd
    from callmood.results import store

    stages.follow(pipeline, "decode", "decode")
    stages.follow(vad, "listen", "voice activity")
    stages.follow(channels, "is_echo", "echo")
    stages.follow(VoiceModel, "embed", "voice network (embedding)")
    stages.follow(CamPlus, "embed", "CAM++")
    stages.follow(builtin, "speakers_of", "clustering")
    stages.follow(FrontEnd, "frames", "MFCC")
    stages.follow(EmotionModel, "probabilities", "emotion network (CNN)")
    stages.follow(pipeline, "_trajectory", "trajectory, escalations")
    stages.follow(pipeline, "find_escalations", "trajectory, escalations")
    stages.follow(pipeline, "escalation_scores", "trajectory, escalations")
    stages.follow(pipeline, "signals_of", "levels, syllables, nonspeech")
    stages.follow(store, "derive_new", "derived measures")


def measure(shared: Path, *, channels: int) -> dict[str, float]:
    """Milliseconds a call of each stage."""
    from callmood import batch, pipeline
    from callmood.results.store import Store
    from callmood.settings import load_settings
    from callmood.types import Leg, Recording

    settings = load_settings({"device": "cpu"}).settings
    stages = Stages()
    with tempfile.TemporaryDirectory() as place:
        make_calls(Path(place) / "calls", count=CALLS + 1, channels=channels, shared=shared)
        recordings = [
            Recording(
                call_id=path.stem, legs=(Leg(path=path, content_hash=path.stem),), content_hash=path.stem
            )
            for path in sorted((Path(place) / "calls").iterdir())
        ]
        engines = pipeline.load_engines(settings)
        pipeline.analyze_recording(recordings[0], engines)
        _follow_all(stages)
        analyze = stages.counted(pipeline.analyze_recording, "rest")
        results = [analyze(recording, engines) for recording in recordings[1:]]
        with Store(Path(place) / "calls.duckdb") as store:
            run = batch._describe_run(settings, None)
            store.begin_run(run)
            write = stages.counted(store.write_all, "database")
            write(results, run, analyzed_at=datetime.now(UTC), supersedes={})
    return {stage: 1000 * spent_s / CALLS for stage, spent_s in stages.spent_s.most_common()}


def show(shared: Path, *, channels: int) -> None:
    """Print the table of calls of one or two channels."""
    spent_ms = measure(shared, channels=channels)
    whole_ms = sum(spent_ms.values())
    print(f"| {channels} channel(s): stage | ms a call | share |\n| --- | ---: | ---: |")
    for stage, each_ms in spent_ms.items():
        print(f"| {stage} | {each_ms:.1f} | {each_ms / whole_ms:.0%} |")
    print(f"| all: {1000 * CALL_S / whole_ms:.0f} times real time | {whole_ms:.1f} | |\n", flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--shared", type=Path, default=SHARED, help="folder of recorded calls")
    given = parser.parse_args(arguments)
    # Before numpy is loaded, hence in a process of its own, as workers are.
    os.environ.update(one_thread())
    for channels in (2, 1):
        process = multiprocessing.get_context("spawn").Process(
            target=show, args=(given.shared,), kwargs={"channels": channels}
        )
        process.start()
        process.join()
        if process.exitcode:
            raise SystemExit(process.exitcode)


if __name__ == "__main__":
    main()
