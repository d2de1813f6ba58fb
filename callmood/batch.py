"""Many recordings: what is new, workers, and the one writer."""

from __future__ import annotations

import getpass
import platform
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from callmood.discover import discover
from callmood.discover.identity import told_apart
from callmood.errors import WorkerDiedError
from callmood.model_files import CONFIG, WEIGHTS, models_hash, verified
from callmood.results.store import KnownCall, Run, Store, path_text
from callmood.run import Progress, RunSummary
from callmood.settings import Settings
from callmood.types import CallResult, Recording


def run_batch(
    paths: Sequence[str | Path],
    settings: Settings,
    *,
    force: bool,
    progress: Callable[[Progress], None] | None,
) -> RunSummary:
    """Analyze what is new below `paths` into the database that the settings name; see `callmood.analyze`."""
    started = time.monotonic()
    database = Path(settings.db)
    for name in (CONFIG, WEIGHTS):
        verified(name, settings.models)
    with Store(database) as store:
        discovery = discover(
            paths,
            metadata=Path(settings.metadata) if settings.metadata else None,
            pattern=settings.pattern,
            timezone=settings.timezone,
            content_hash=store.content_hash,
            exclude=(database, database.with_name(database.name + ".wal")),
        )
        run = _describe_run(settings)
        known = store.known_calls()
        recordings = [settle_id(recording, known) for recording in discovery.recordings]
        unchanged = [r for r in recordings if not force and _is_known(r, known)]
        todo = [r for r in recordings if force or not _is_known(r, known)]
        store.begin_run(run)
        store.update_metadata(unchanged)
        failures: list[CallResult] = []
        truncated: list[CallResult] = []
        audio_s, done = 0.0, 0
        for result in _results(todo, settings):
            store.write(result, run, analyzed_at=datetime.now(UTC))
            done += 1
            if result.analysis is None:
                failures.append(result)
            else:
                audio_s += result.analysis.duration_s
                if result.analysis.lost_s > 0:
                    truncated.append(result)
            if progress:
                progress(Progress(done=done, total=len(todo), audio_s=audio_s, result=result))
        store.finish_run(
            run.run_id,
            finished_at=datetime.now(UTC),
            found=len(discovery.recordings),
            analyzed=done,
            failed=len(failures),
            already_known=len(unchanged),
        )
    return RunSummary(
        run_id=run.run_id,
        found=len(discovery.recordings),
        analyzed=done,
        already_known=len(unchanged),
        failures=tuple(failures),
        truncated=tuple(truncated),
        skipped=len(discovery.skipped),
        duplicates=len(discovery.duplicates),
        other_settings=_made_otherwise(unchanged, known, run),
        warnings=discovery.warnings,
        audio_s=audio_s,
        wall_s=time.monotonic() - started,
    )


def settle_id(recording: Recording, known: Mapping[str, KnownCall]) -> Recording:
    """The recording, under another id where an earlier run gave its id to another file.

    As within one run (`callmood.discover.identity`): who came first keeps the id. The same file with new
    content keeps its id, and its result replaces the old one.
    """
    call = known.get(recording.call_id)
    if call is None or recording.content_hash == call.content_hash or path_text(recording.path) == call.path:
        return recording
    return replace(recording, call_id=told_apart(recording.call_id, recording.content_hash))


def _is_known(recording: Recording, known: dict[str, KnownCall]) -> bool:
    call = known.get(recording.call_id)
    return call is not None and call.content_hash == recording.content_hash


def _made_otherwise(unchanged: Sequence[Recording], known: dict[str, KnownCall], run: Run) -> int:
    now = (run.settings_hash, run.model_hash)
    calls = (known[recording.call_id] for recording in unchanged)
    return sum((call.settings_hash, call.model_hash) != now for call in calls)


def _describe_run(settings: Settings) -> Run:
    from callmood import __version__

    return Run(
        run_id=uuid.uuid4().hex,
        started_at=datetime.now(UTC),
        started_by=getpass.getuser(),
        host=platform.node(),
        version=__version__,
        settings=settings.as_dict(),
        settings_hash=settings.results_hash(),
        model_hash=models_hash(settings.models),
        emotion_for=settings.emotion_for,
    )


def _results(recordings: Sequence[Recording], settings: Settings) -> Iterator[CallResult]:
    """Results as they come, in no order, from as many worker processes as the settings ask for."""
    if not recordings:
        return
    import joblib
    from joblib.externals.loky import get_reusable_executor
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    # Largest first, so that the last worker is not left alone with the longest call.
    recordings = sorted(recordings, key=_size, reverse=True)
    workers = min(settings.worker_count, len(recordings))
    with joblib.parallel_config(backend="loky", n_jobs=workers, inner_max_num_threads=1):
        parallel = joblib.Parallel(return_as="generator_unordered", batch_size=1, pre_dispatch="2*n_jobs")
        try:
            yield from parallel(joblib.delayed(_work)(recording, settings) for recording in recordings)
        except TerminatedWorkerError as error:
            raise WorkerDiedError(
                "A worker process died (out of memory, perhaps); finished recordings are kept, run again to go "
                "on, with fewer --jobs if it happens again."
            ) from error
        except BaseException:
            # Interrupted: workers would finish their calls for nobody, and then wait for more.
            get_reusable_executor().shutdown(kill_workers=True)
            raise


def _size(recording: Recording) -> int:
    return sum(leg.path.stat().st_size for leg in recording.legs if leg.path.is_file())


def _work(recording: Recording, settings: Settings) -> CallResult:
    from callmood.pipeline import analyze_recording, load_engines

    return analyze_recording(recording, load_engines(settings))
