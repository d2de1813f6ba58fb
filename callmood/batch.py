"""Many recordings: what is new, and the one writer."""

from __future__ import annotations

import math
import platform
import time
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from pathlib import Path

from callmood.discover import discover
from callmood.discover.find import check_inputs
from callmood.discover.identity import fingerprint
from callmood.discover.settled import Looks
from callmood.errors import DatabaseError, RefusedValueError, StoppedError, UsageError
from callmood.model_files import NEEDED, models_hash, verified
from callmood.pseudonyms import Pseudonyms
from callmood.remote import is_url
from callmood.results.archive import Out, known_store, write_files, write_parts, write_run
from callmood.results.holder import holder_path, user_name
from callmood.results.publish import backup_path, snapshot_path
from callmood.results.run import Run
from callmood.results.schema import MIGRATIONS
from callmood.results.store import Store
from callmood.run import Progress, RunSummary, Truncation
from callmood.settings import Settings
from callmood.stopping import Stopping
from callmood.text import path_text, printable
from callmood.types import CallMetadata, CallResult, KnownCall, Leg, Recording
from callmood.workers import results

_WRITE_EVERY_S = 2.0
"""Results that come within so long after others were written are written together,"""
_WRITE_AT_ONCE = 32
"""or as soon as there are so many."""


def run_batch(
    paths: Sequence[str | Path],
    settings: Settings,
    *,
    force: bool,
    stale: bool = False,
    include_purged: bool = False,
    progress: Callable[[Progress], None] | None = None,
    stopping: Stopping,
) -> RunSummary:
    """Analyze what is new below `paths` into the database that the settings name; see `callmood.analyze`."""
    if settings.pseudonymize and any(is_url(path) for path in paths):
        raise UsageError(
            "--pseudonymize hides no folders of a URL; name recordings by paths, or leave --pseudonymize out."
        )
    # Before the database is made, so that a mistyped name leaves nothing behind.
    check_inputs(paths)
    with _session(settings, stopping) as session:
        store, run = session.store, session.run
        known = store.known_calls()
        try:
            discovery = discover(
                paths,
                metadata=Path(settings.metadata) if settings.metadata else None,
                pattern=settings.pattern,
                timezone=settings.timezone,
                content_hash=session.looks.hash,
                known=known,
                exclude=own_files(settings),
                pseudonyms=session.pseudonyms,
            )
        finally:
            store.remember_hashes()
            if settings.out is not None:
                write_files(Out(root=settings.out, run=run), store)
        now = (run.settings_hash, run.model_hash)
        known_by_id = {call.call_id: call for call in known}
        purged = (
            set() if include_purged else purged_calls(discovery.recordings, known, store.purged_contents())
        )
        at_hand = [recording for recording in discovery.recordings if recording.call_id not in purged]
        found, left_alone, warnings = set_aside(at_hand, known)
        recordings = [
            with_known_metadata(recording, known_by_id.get(recording.call_id)) for recording in found
        ]
        roles_count = settings.emotion_for != "everyone"
        same = [r for r in recordings if is_known(r, known_by_id.get(r.call_id), roles_count=roles_count)]
        old = {r.call_id for r in same if made_by(known_by_id[r.call_id]) != now}
        unchanged = [r for r in same if not force and not (stale and r.call_id in old)]
        kept = {recording.call_id for recording in unchanged}
        todo = [recording for recording in recordings if recording.call_id not in kept]
        plan = Plan(
            todo=todo,
            replaced=superseded(todo, known, current={recording.call_id for recording in recordings}),
            unchanged=[r for r in unchanged if _has_news(r, known_by_id[r.call_id])],
            found=len(discovery.recordings),
            already_known=len(unchanged) + left_alone,
            other_settings=len(old & kept),
            skipped=len(discovery.skipped),
            duplicates=len(discovery.duplicates),
            purged=len(purged),
            warnings=(*discovery.warnings, *warnings),
        )
        return _carry_out(plan, session, progress)


def retry_batch(
    settings: Settings,
    *,
    statuses: Collection[str],
    progress: Callable[[Progress], None] | None = None,
    stopping: Stopping,
) -> RunSummary:
    """Analyze the known calls with one of `statuses` once more; see `callmood.retry`."""
    with _session(replace(settings, out=None), stopping, create=False) as session:
        chosen = [call for call in session.store.known_calls() if call.status in statuses]
        todo, warnings = as_before(chosen, session.looks.hash, session.pseudonyms)
        plan = Plan(
            todo=todo, found=len(chosen), already_known=len(chosen) - len(todo), warnings=tuple(warnings)
        )
        return _carry_out(plan, session, progress)


@dataclass(frozen=True, kw_only=True)
class Session:
    """A run whose database is open."""

    settings: Settings
    stopping: Stopping
    pseudonyms: Pseudonyms | None
    store: Store
    run: Run
    looks: Looks


@contextmanager
def _session(settings: Settings, stopping: Stopping, *, create: bool = True) -> Iterator[Session]:
    pseudonyms = Pseudonyms.of_settings(settings)
    if settings.out is None:
        opened: AbstractContextManager[Store] = _opened(settings, pseudonyms, stopping, create=create)
    else:
        opened = _known(settings)
    with opened as store:
        yield Session(
            settings=settings,
            stopping=stopping,
            pseudonyms=pseudonyms,
            store=store,
            run=_describe_run(settings, pseudonyms),
            looks=Looks(until_stopped(stopping, store.content_hash)),
        )


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run is to do, and what it leaves."""

    todo: Sequence[Recording]
    replaced: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Of a recording's call_id: the known calls that its result takes the place of."""
    unchanged: Sequence[Recording] = ()
    """Known calls whose path or metadata are news."""
    found: int
    already_known: int
    other_settings: int = 0
    skipped: int = 0
    duplicates: int = 0
    purged: int = 0
    warnings: tuple[str, ...] = ()


def own_files(settings: Settings) -> tuple[Path, ...]:
    """Files beside the recordings that callmood itself writes."""
    database = Path(settings.db)
    named = (settings.log_file, settings.heartbeat_file, settings.metrics_file, settings.lock)
    return (
        database,
        database.with_name(database.name + ".wal"),
        holder_path(database),
        snapshot_path(database),
        *(backup_path(database, version=version) for version in range(1, len(MIGRATIONS))),
        *(Path(name) for name in named if name),
    )


def until_stopped(stopping: Stopping, content_hash: Callable[[Path], str]) -> Callable[[Path], str]:
    """`content_hash`, which raises StoppedError once the run is to end: to read many new files takes hours."""

    def content_hash_or_stop(path: Path) -> str:
        if stopping.due:
            why = "asked to end" if stopping.asked else "--max-runtime is over"
            raise StoppedError(
                f"{why} before all files were looked at; what was read is remembered, run again to go on."
            )
        return content_hash(path)

    return content_hash_or_stop


def _opened(
    settings: Settings, pseudonyms: Pseudonyms | None, stopping: Stopping, *, create: bool = True
) -> Store:
    for name in NEEDED:
        verified(name, settings.models)
    database = Path(settings.db)
    if not create and not database.is_file():
        raise DatabaseError(
            f"{database}: no such database; run `callmood analyze` first, or name it with --db."
        )
    store = Store(
        database,
        wait_s=settings.wait,
        give_up=lambda: stopping.due,
        path_key=path_text if pseudonyms is None else pseudonyms.path,
    )
    try:
        store.check_pseudonyms(None if pseudonyms is None else pseudonyms.check)
    except BaseException:
        store.close()
        raise
    return store


def _known(settings: Settings) -> AbstractContextManager[Store]:
    """In place of a database, where results go elsewhere: what is known there."""
    for name in NEEDED:
        verified(name, settings.models)
    assert settings.out is not None
    return known_store(settings.out)


def _carry_out(plan: Plan, session: Session, progress: Callable[[Progress], None] | None) -> RunSummary:
    """Analyze what is to be done, each call written soon after it is there."""
    settings, store, run, looks = session.settings, session.store, session.run, session.looks
    started_s = time.monotonic()
    warnings = [*plan.warnings]
    out = None if settings.out is None else Out(root=settings.out, run=run, superseded=plan.replaced)
    every_s = settings.snapshot_every if out is None else 0
    snapshots = Snapshots(store, every_s=every_s, warnings=warnings)
    store.begin_run(run)
    if out is not None:
        write_run(out, store)
        if plan.unchanged:
            warnings.append(
                f"{len(plan.unchanged)} known calls have a new path or new metadata, which --out does not take down; "
                "--force analyzes them again."
            )
    store.update_metadata(plan.unchanged)
    snapshots.publish()
    writing = looks.unsettled([leg.path for r in plan.todo for leg in r.legs], now_s=time.time())
    todo = store.with_linked_agents([r for r in plan.todo if not any(leg.path in writing for leg in r.legs)])
    unsettled = [r for r in plan.todo if any(leg.path in writing for leg in r.legs)]
    failures: list[CallResult] = []
    truncated: list[Truncation] = []
    audio_s, done, came = 0.0, 0, 0
    pending: list[CallResult] = []
    written_s = -math.inf

    def write_pending() -> None:
        nonlocal audio_s, done, written_s
        these = pending.copy()
        pending.clear()
        if out is None:
            these = _written(store, these, run, plan)
        elif settings.backend == "loky":  # workers of a cluster have written them
            these = write_parts(out, these)
        for result in these:
            done += 1
            if result.analysis is None:
                failures.append(result)
            else:
                audio_s += result.analysis.duration_s
                if result.analysis.lost_s > 0:
                    truncated.append(
                        Truncation(
                            recording=result.recording, error=result.error, lost_s=result.analysis.lost_s
                        )
                    )
            if progress:
                progress(Progress(done=done, total=len(todo), audio_s=audio_s, result=result))
        snapshots.publish_if_due()
        written_s = time.monotonic()

    try:
        for result in results(todo, settings, stopping=session.stopping, out=out, warnings=warnings):
            if result is not None:
                came += 1
                if session.pseudonyms is not None:
                    result = session.pseudonyms.result(result)
                if any(looks.changed(leg.path) for leg in result.recording.legs):
                    unsettled.append(result.recording)
                else:
                    pending.append(result)
            due = len(pending) >= _WRITE_AT_ONCE or time.monotonic() - written_s >= _WRITE_EVERY_S
            if pending and due:
                write_pending()
    finally:
        if pending:
            write_pending()
    if unsettled:
        warnings.append(
            f"{unsettled[0].name}{_and_more(len(unsettled) - 1)}: still being written, so left for "
            "the next run."
        )
    if out is not None and any(failure.status in ("failed", "quarantined") for failure in failures):
        warnings.append(
            "`callmood retry` tries calls that failed again once `callmood load` has brought them into a database."
        )
    store.finish_run(
        run.run_id,
        finished_at=datetime.now(UTC),
        found=plan.found,
        analyzed=done,
        failed=len(failures),
        already_known=plan.already_known,
    )
    if out is None:
        store.make_statistics(timezone=settings.timezone)
    else:
        write_run(out, store)
    return RunSummary(
        run_id=run.run_id,
        emotion_for=run.emotion_for,
        found=plan.found,
        analyzed=done,
        already_known=plan.already_known,
        failures=tuple(failures),
        truncated=tuple(truncated),
        skipped=plan.skipped,
        duplicates=plan.duplicates,
        purged=plan.purged,
        other_settings=plan.other_settings,
        warnings=tuple(warnings),
        audio_s=audio_s,
        wall_s=time.monotonic() - started_s,
        writing=len(unsettled),
        left=len(todo) - came,
        asked_to_end=session.stopping.asked,
    )


def _written(store: Store, results: Sequence[CallResult], run: Run, plan: Plan) -> list[CallResult]:
    """What was written: the results or, where the database does not take one, a failure that says so."""
    try:
        store.write_all(results, run, analyzed_at=datetime.now(UTC), supersedes=plan.replaced)
        return list(results)
    except RefusedValueError as error:
        # One call must not keep all others from being analyzed, night after night.
        if len(results) > 1:
            return [written for result in results for written in _written(store, [result], run, plan)]
        (result,) = results
        sentence = f"{result.recording.name}: cannot be stored; {error}"
        failed = CallResult(recording=result.recording, status="failed", error=sentence)
        store.write_all([failed], run, analyzed_at=datetime.now(UTC), supersedes=plan.replaced)
        return [failed]


def _and_more(count: int) -> str:
    return f" and {count} more" if count else ""


_SNAPSHOT_SHARE = 20
"""A snapshot comes at most after so many times what the last one took: to copy a large database must not fill a run."""


class Snapshots:
    """Publishes the state of a database for readers now and then; trouble becomes a warning."""

    def __init__(self, store: Store, *, every_s: float, warnings: list[str]) -> None:
        """`every_s`: 0 publishes nothing. `warnings` grows by at most one sentence."""
        self._store = store
        self._every_s = every_s
        self._due_s = 0.0
        self._warnings = warnings
        self._failed = False

    def publish(self) -> None:
        """Publish, unless that has failed before or is not wanted."""
        if not self._every_s or self._failed:
            return
        began_s = time.monotonic()
        try:
            self._store.publish()
        except OSError as error:
            self._failed = True
            self._warnings.append(
                f"{snapshot_path(self._store.path)}: the snapshot for readers cannot be written "
                f"({error.strerror or error}); see to disk space and permissions."
            )
        took_s = time.monotonic() - began_s
        self._due_s = began_s + took_s + max(self._every_s, _SNAPSHOT_SHARE * took_s)

    def publish_if_due(self) -> None:
        """Publish where the last time is long enough ago."""
        if time.monotonic() >= self._due_s:
            self.publish()


def made_by(call: KnownCall) -> tuple[str, str]:
    """Settings and model that a known call was analyzed with."""
    return call.settings_hash, call.model_hash


def as_before(
    calls: Iterable[KnownCall],
    content_hash: Callable[[Path], str],
    pseudonyms: Pseudonyms | None = None,
) -> tuple[list[Recording], list[str]]:
    """The recordings of known calls whose files are where and what they were, and a warning for each other."""
    recordings, warnings = [], []
    for call in calls:
        legs = call.legs if pseudonyms is None else tuple(found_leg(leg, pseudonyms) for leg in call.legs)
        try:
            hashes = [fingerprint(leg.path, content_hash, alias=leg.alias) for leg in legs]
        except OSError:
            hashes = []
        if hashes == [leg.content_hash for leg in legs]:
            recordings.append(
                Recording(
                    call_id=call.call_id,
                    legs=legs,
                    content_hash=call.content_hash,
                    metadata=call.metadata,
                )
            )
        else:
            warnings.append(
                f"{printable(call.legs[0].path)}: not there any more, or other content; `callmood analyze` "
                "finds it wherever it lies."
            )
    return recordings, warnings


def found_leg(leg: Leg, pseudonyms: Pseudonyms) -> Leg:
    """A leg of a database of pseudonyms, with the path that its alias stands for where there is one."""
    alias = str(leg.path)
    return replace(leg, path=pseudonyms.find(alias) or leg.path, alias=alias)


def purged_calls(
    recordings: Sequence[Recording], known: Sequence[KnownCall], purged: Collection[str]
) -> set[str]:
    """Ids of the recordings of `purged` contents, which stay away though their files are still there."""
    kept = {call.content_hash for call in known}
    return {
        recording.call_id
        for recording in recordings
        if recording.content_hash not in kept
        and not {recording.content_hash, *(leg.content_hash for leg in recording.legs)}.isdisjoint(purged)
    }


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
        elif not leg.has_content and leg.kept_path in readable_before:
            left_alone += 1
            warnings.append(
                f"{recording.name}: cannot be read now; what is known of it stays, see to the file."
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


def is_known(recording: Recording, call: KnownCall | None, *, roles_count: bool = False) -> bool:
    """Whether a call of the same content was analyzed before, with the same roles.

    `roles_count`: whether emotions are inferred by roles, so that those found since make a difference.
    """
    return (
        call is not None
        and not (roles_count and call.rescore)
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
            for call in [*by_path.get(leg.kept_path, []), *gone.get(leg.content_hash, [])]
            if _named_by_content(call) or (leg.kept_path, leg.content_hash) == _file(call)
        ]
        for recording in recordings
    }


def _named_by_content(call: KnownCall) -> bool:
    return call.call_id == call.content_hash.rpartition(":")[2][:16]


def _file(call: KnownCall) -> tuple[str, str]:
    return str(call.legs[0].path), call.content_hash


def _has_news(recording: Recording, call: KnownCall) -> bool:
    paths = [leg.kept_path for leg in recording.legs]
    return (paths, recording.metadata) != ([str(leg.path) for leg in call.legs], call.metadata)


def _describe_run(settings: Settings, pseudonyms: Pseudonyms | None) -> Run:
    from callmood import __version__

    return Run(
        run_id=uuid.uuid4().hex,
        started_at=datetime.now(UTC),
        started_by=user_name(),
        host=platform.node(),
        version=__version__,
        settings=settings.as_dict(),
        settings_hash=settings.results_hash(),
        model_hash=models_hash(settings.models),
        emotion_for=settings.emotion_for,
        pseudonyms=None if pseudonyms is None else pseudonyms.check,
    )
