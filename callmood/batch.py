"""Many recordings: what is new, workers, and the one writer."""

from __future__ import annotations

import getpass
import os
import platform
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, replace
from datetime import UTC, datetime
from pathlib import Path

from callmood.discover import discover
from callmood.discover.find import check_inputs
from callmood.model_files import NEEDED, models_hash, verified
from callmood.results.store import Run, Store
from callmood.run import Progress, RunSummary
from callmood.settings import Settings
from callmood.text import path_text, printable
from callmood.types import CallMetadata, CallResult, KnownCall, Recording


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
    # Before the database is made, so that a mistyped name leaves nothing behind.
    check_inputs(paths)
    for name in NEEDED:
        verified(name, settings.models)
    with Store(database) as store:
        known = store.known_calls()
        discovery = discover(
            paths,
            metadata=Path(settings.metadata) if settings.metadata else None,
            pattern=settings.pattern,
            timezone=settings.timezone,
            content_hash=store.content_hash,
            known=known,
            exclude=(database, database.with_name(database.name + ".wal")),
        )
        run = _describe_run(settings)
        known_by_id = {call.call_id: call for call in known}
        found, left_alone, warnings = set_aside(discovery.recordings, known)
        recordings = [
            with_known_metadata(recording, known_by_id.get(recording.call_id)) for recording in found
        ]
        unchanged = [r for r in recordings if not force and is_known(r, known_by_id.get(r.call_id))]
        kept = {recording.call_id for recording in unchanged}
        todo = [recording for recording in recordings if recording.call_id not in kept]
        replaced = superseded(todo, known, current={recording.call_id for recording in recordings})
        store.begin_run(run)
        store.update_metadata(r for r in unchanged if _has_news(r, known_by_id[r.call_id]))
        failures: list[CallResult] = []
        truncated: list[CallResult] = []
        audio_s, done = 0.0, 0
        for result in _results(todo, settings):
            store.write(
                result,
                run,
                analyzed_at=datetime.now(UTC),
                supersedes=replaced.get(result.recording.call_id, ()),
            )
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
            already_known=len(unchanged) + left_alone,
        )
    now = (run.settings_hash, run.model_hash)
    return RunSummary(
        run_id=run.run_id,
        emotion_for=run.emotion_for,
        found=len(discovery.recordings),
        analyzed=done,
        already_known=len(unchanged) + left_alone,
        failures=tuple(failures),
        truncated=tuple(truncated),
        skipped=len(discovery.skipped),
        duplicates=len(discovery.duplicates),
        other_settings=sum(
            (call.settings_hash, call.model_hash) != now for call in known if call.call_id in kept
        ),
        warnings=(*discovery.warnings, *warnings),
        audio_s=audio_s,
        wall_s=time.monotonic() - started,
    )


def set_aside(
    recordings: Sequence[Recording], known: Sequence[KnownCall]
) -> tuple[list[Recording], int, tuple[str, ...]]:
    """The recordings to look at, how many others are left alone, and warnings.

    Left alone are files that are known as a leg of a call (this run was not told of it, or does not see the
    other leg), and files that cannot be read now and could be before: what is known of them stays.
    """
    pairs = [call for call in known if len(call.legs) == 2]
    leg_contents = {leg.content_hash for call in pairs for leg in call.legs if leg.has_content}
    readable_before = {str(leg.path) for call in known for leg in call.legs if leg.has_content}
    found, left_alone, warnings = [], 0, []
    for recording in recordings:
        leg = recording.legs[0]
        if len(recording.legs) == 1 and leg.content_hash in leg_contents:
            left_alone += 1
        elif not leg.has_content and path_text(leg.path) in readable_before:
            left_alone += 1
            warnings.append(
                f"{printable(leg.path)}: cannot be read now; what is known of it stays, see to the file."
            )
        else:
            found.append(recording)
    return found, left_alone, tuple(warnings)


def with_known_metadata(recording: Recording, call: KnownCall | None) -> Recording:
    """The recording, with what an earlier run was told of it wherever this run is told nothing.

    The agent's channel is taken over for the same content only.
    """
    if call is None:
        return recording
    told = {
        field.name: value
        for field in fields(CallMetadata)
        if (value := getattr(recording.metadata, field.name)) is not None
    }
    told["extra"] = {**call.metadata.extra, **recording.metadata.extra}
    if call.content_hash != recording.content_hash:
        told["agent_channel"] = recording.metadata.agent_channel
    legs = recording.legs
    if call.content_hash == recording.content_hash:
        legs = tuple(
            replace(leg, role=leg.role or before.role)
            for leg, before in zip(recording.legs, call.legs, strict=True)
        )
    return replace(recording, legs=legs, metadata=replace(call.metadata, **told))


def is_known(recording: Recording, call: KnownCall | None) -> bool:
    """Whether a call of the same content was analyzed before, with the same roles."""
    return (
        call is not None
        and call.content_hash == recording.content_hash
        and call.metadata.agent_channel == recording.metadata.agent_channel
        and [leg.role for leg in call.legs] == [leg.role for leg in recording.legs]
    )


def superseded(
    recordings: Sequence[Recording], known: Sequence[KnownCall], *, current: set[str]
) -> dict[str, list[str]]:
    """Ids of the known calls that the result of each recording (by call_id) takes the place of.

    A known call goes when the recording, or a leg of it, is the same file and the call's id was taken from its
    content (the file has new content, or turned out to be a leg, or was given an id and moved), or when path
    and content are the same (it was given another id).
    """
    by_path: dict[str, list[KnownCall]] = {}
    gone: dict[str, list[KnownCall]] = {}
    for call in known:
        if call.call_id not in current and len(call.legs) == 1:
            (leg,) = call.legs
            by_path.setdefault(str(leg.path), []).append(call)
            if not leg.path.exists():
                gone.setdefault(leg.content_hash, []).append(call)
    return {
        recording.call_id: [
            call.call_id
            for leg in recording.legs
            for call in [*by_path.get(path_text(leg.path), []), *gone.get(leg.content_hash, [])]
            if _named_by_content(call) or (path_text(leg.path), leg.content_hash) == _file(call)
        ]
        for recording in recordings
    }


def _named_by_content(call: KnownCall) -> bool:
    return call.call_id == call.content_hash.rpartition(":")[2][:16]


def _file(call: KnownCall) -> tuple[str, str]:
    return str(call.legs[0].path), call.content_hash


def _has_news(recording: Recording, call: KnownCall) -> bool:
    paths = [path_text(leg.path) for leg in recording.legs]
    return (paths, recording.metadata) != ([str(leg.path) for leg in call.legs], call.metadata)


def _describe_run(settings: Settings) -> Run:
    from callmood import __version__

    return Run(
        run_id=uuid.uuid4().hex,
        started_at=datetime.now(UTC),
        started_by=_user(),
        host=platform.node(),
        version=__version__,
        settings=settings.as_dict(),
        settings_hash=settings.results_hash(),
        model_hash=models_hash(settings.models),
        emotion_for=settings.emotion_for,
    )


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # in containers, a number without a name
        return str(os.getuid())


def _results(recordings: Sequence[Recording], settings: Settings) -> Iterator[CallResult]:
    """Results as they come, in no order, from as many worker processes as the settings ask for.

    A worker that dies takes the others of its pool along. Those recordings that it may have been working on
    are then analyzed alone, each in a process of its own; one that kills that too is quarantined.
    """
    import joblib
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    # Largest first, so that the last worker is not left alone with the longest call.
    pending = {r.call_id: r for r in sorted(recordings, key=_size, reverse=True)}
    while pending:
        workers = min(settings.worker_count, len(pending))
        # Dispatched ahead of the workers, so that none waits for the writer.
        ahead = 2 * workers
        with joblib.parallel_config(backend="loky", n_jobs=workers, inner_max_num_threads=1):
            parallel = joblib.Parallel(return_as="generator_unordered", batch_size=1, pre_dispatch=ahead)
        try:
            for result in parallel(joblib.delayed(_work)(r, settings) for r in list(pending.values())):
                del pending[result.recording.call_id]
                yield result
        except TerminatedWorkerError:
            for recording in list(pending.values())[: ahead + workers]:
                del pending[recording.call_id]
                yield _alone(recording, settings)


def _alone(recording: Recording, settings: Settings) -> CallResult:
    """The result from a process of its own, whose death becomes the recording's status."""
    from joblib.externals.loky import ProcessPoolExecutor
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    executor = ProcessPoolExecutor(max_workers=1)
    try:
        result: CallResult = executor.submit(_work, recording, settings).result()
        return result
    except TerminatedWorkerError:
        sentence = (
            f"{printable(recording.path)}: its worker process died twice (out of memory, perhaps); "
            "--force tries it again."
        )
        return CallResult(recording=recording, status="quarantined", error=sentence)
    finally:
        executor.shutdown(kill_workers=True)


def _size(recording: Recording) -> int:
    return sum(leg.path.stat().st_size for leg in recording.legs if leg.path.is_file())


def _work(recording: Recording, settings: Settings) -> CallResult:
    from callmood.pipeline import analyze_recording, load_engines

    return analyze_recording(recording, load_engines(settings))
