"""The public functions: the same as the command line offers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from callmood.errors import UsageError
from callmood.run import Progress, RunSummary
from callmood.settings import load_settings

if TYPE_CHECKING:
    from callmood.emotion.utterance import Utterance
    from callmood.link_run import LinkSummary
    from callmood.purging import PurgeSummary
    from callmood.results.archive import LoadSummary
    from callmood.results.schema import Connection
    from callmood.stopping import Stopping
    from callmood.types import Diarization, Floats, Role
    from callmood.validation.result import Validation


def analyze(
    *paths: str | Path,
    force: bool = False,
    stale: bool = False,
    include_purged: bool = False,
    progress: Callable[[Progress], None] | None = None,
    stopping: Stopping | None = None,
    **settings: Any,
) -> RunSummary:
    """Analyze directories, files and globs into a results database.

    Parameters
    ----------
    paths
        At least one.
    force
        Analyze known recordings again.
    stale
        Analyze those known recordings again that were analyzed with other settings or another model.
    include_purged
        Analyze recordings too that were purged.
    progress
        Called in this process after each recording.
    stopping
        Can be asked to end the run between calls; see `callmood.stopping`. Default: `max_runtime` decides.
    settings
        Fields of `callmood.settings.Settings`, such as `db="calls.duckdb"` or `jobs=4`; what is not given
        comes from the environment and `callmood.toml`, as on the command line.

    Raises
    ------
    callmood.errors.CallmoodError
        With one sentence that says what to do. A bad recording raises nothing: it becomes a row.
    """
    from callmood.batch import run_batch
    from callmood.lock import held
    from callmood.monitor import Monitor
    from callmood.stopping import Stopping

    effective = load_settings(settings).settings
    stopping = stopping or Stopping(max_runtime_s=effective.max_runtime)
    lock = held(effective.lock, wait_s=effective.wait, give_up=lambda: stopping.due)
    with Monitor(effective, command="analyze") as monitor, lock:
        summary = run_batch(
            paths,
            effective,
            force=force,
            stale=stale,
            include_purged=include_purged,
            progress=monitor.progress(progress),
            stopping=stopping,
        )
        monitor.finished(summary)
    return summary


def retry(
    *,
    unreadable: bool = False,
    progress: Callable[[Progress], None] | None = None,
    stopping: Stopping | None = None,
    **settings: Any,
) -> RunSummary:
    """Analyze the calls again that failed or were quarantined, from the files that the database names.

    Parameters
    ----------
    unreadable
        Those too that held no samples or could not be decoded.
    progress, stopping, settings
        As for `analyze`.

    Raises
    ------
    callmood.errors.CallmoodError
        With one sentence that says what to do.
    """
    from callmood.batch import retry_batch
    from callmood.lock import held
    from callmood.monitor import Monitor
    from callmood.stopping import Stopping

    statuses = ("failed", "quarantined", *(("unreadable", "empty") if unreadable else ()))
    effective = load_settings(settings).settings
    stopping = stopping or Stopping(max_runtime_s=effective.max_runtime)
    lock = held(effective.lock, wait_s=effective.wait, give_up=lambda: stopping.due)
    with Monitor(effective, command="retry") as monitor, lock:
        summary = retry_batch(
            effective, statuses=statuses, progress=monitor.progress(progress), stopping=stopping
        )
        monitor.finished(summary)
    return summary


def load(archive: str | Path, **settings: Any) -> LoadSummary:
    """Bring results that `analyze` wrote as Parquet (its setting `out`) into a results database.

    Parameters
    ----------
    archive
        Folder or URL. What the database holds already, or has newer, is left as it is; what was purged from it stays
        away.
    settings
        Fields of `callmood.settings.Settings`, such as `db="calls.duckdb"`.

    Raises
    ------
    callmood.errors.CallmoodError
        With one sentence that says what to do.
    """
    from callmood.results.archive import existing, load_archive
    from callmood.results.store import Store

    effective = load_settings(settings).settings
    if effective.pseudonymize:
        raise UsageError(
            "what --out wrote holds ids as they were given, and load keeps them so; leave --pseudonymize out (unset "
            "CALLMOOD_PSEUDONYMIZE, or take it out of callmood.toml), or analyze the recordings into a database."
        )
    # Before the database is made, so that a mistyped name leaves nothing behind.
    found = existing(str(archive))
    with Store(effective.db, wait_s=effective.wait) as store:
        store.check_pseudonyms(None)
        return load_archive(found, store, timezone=effective.timezone)


def link_agents(**settings: Any) -> LinkSummary:
    """Find the agent of calls that tell no roles, by the voices of calls that bear the same agent_id.

    Voices are compared on the spot, from the recordings, and not kept; docs/roles.md tells how, and how well.

    Parameters
    ----------
    settings
        Fields of `callmood.settings.Settings`, such as `db="calls.duckdb"`.

    Raises
    ------
    callmood.errors.CallmoodError
        With one sentence that says what to do.
    """
    from callmood.link_run import link_calls

    return link_calls(load_settings(settings).settings)


def purge(
    *,
    older_than: str | None = None,
    call: str | None = None,
    customer: str | None = None,
    agent: str | None = None,
    reason: str | None = None,
    dry_run: bool = False,
    **settings: Any,
) -> PurgeSummary:
    """Remove calls and all that callmood made of them from a results database, for good; docs/privacy.md says more.

    Parameters
    ----------
    older_than
        An age such as "90d", "12w" or "36h", of the call's start or, where that is not known, of its analysis.
    call, customer, agent
        A whole id. Calls must meet all that is given; one criterion is needed.
    reason
        Kept with the record of the purge.
    dry_run
        Only tell which calls would be purged.
    settings
        Fields of `callmood.settings.Settings`, such as `db="calls.duckdb"`.

    Raises
    ------
    callmood.errors.CallmoodError
        With one sentence that says what to do.
    """
    from datetime import UTC, datetime

    from callmood.purging import Criteria, list_purgeable, purge_calls

    criteria = Criteria(older_than=older_than, call=call, customer=customer, agent=agent)
    effective, now = load_settings(settings).settings, datetime.now(UTC)
    if dry_run:
        return list_purgeable(effective, criteria, now=now)
    return purge_calls(effective, criteria, now=now, reason=reason)


def connect(db: str | Path | None = None) -> Connection:
    """A read-only DuckDB connection to a results database (default: the one the settings name)."""
    from callmood.results.read import connect as connect_database

    return connect_database(load_settings({"db": db and str(db)}).settings.db)


def write_page(path: str | Path, *, db: str | Path | None = None, top: int | None = None) -> None:
    """Write the report as one HTML page that needs nothing else.

    Parameters
    ----------
    path
        File to write; what was there is replaced in one step.
    db
        Default: the one the settings name. It is only read.
    top
        How many calls get a plot, by their score; default 50.

    Raises
    ------
    callmood.errors.CallmoodError
        With one sentence that says what to do.
    """
    from datetime import datetime

    from callmood.report.page import write_page as write
    from callmood.results.read import connect as connect_database

    settings = load_settings({"db": db and str(db)}).settings
    with connect_database(settings.db) as connection:
        write(
            connection,
            Path(path),
            database=Path(settings.db).name,
            made_at=datetime.now().astimezone(),
            timezone=settings.timezone,
            top=top,
        )


def plot_call(call: str, path: str | Path, *, db: str | Path | None = None) -> None:
    """Write the plot of one call, negativity over its turns with the escalations marked, to a PNG or SVG file.

    Parameters
    ----------
    call
        A call_id, a path or a file name; of ids and names a unique beginning will do.
    path
        File to write, ending in `.png` or `.svg`.
    db
        Default: the one the settings name. It is only read.

    Raises
    ------
    callmood.errors.CallmoodError
        With one sentence that says what to do.
    """
    from callmood.report import find_call
    from callmood.report.in_depth import in_depth
    from callmood.report.picture import PARTS, save_picture

    with connect(db) as connection:
        (found,) = in_depth(connection, [find_call(connection, call)], parts=PARTS)
    save_picture(found, Path(path))


def export(*calls: str, format: str, out: str | Path, db: str | Path | None = None) -> tuple[Path, ...]:
    """Write turns and escalations for other programs, and name the files.

    Parameters
    ----------
    calls
        Each as `plot_call` takes it; none: all calls. One without turns is left
        out.
    format
        `rttm`, `audacity`, `webvtt` (a file for each call), `audformat` or `audformat-parquet` (a database).
    out
        Folder, made where it is missing; files of the same names are replaced.
    db
        Default: the one the settings name. It is only read.

    Raises
    ------
    callmood.errors.CallmoodError
        With one sentence that says what to do.
    """
    from callmood.exports.write import to_folder
    from callmood.report import find_call

    with connect(db) as connection:
        found = [find_call(connection, call) for call in calls] if calls else None
        return to_folder(connection, found, format, Path(out))


def snapshot(path: str | Path, *, db: str | Path | None = None) -> None:
    """Copy the database to a read-only file for other programs to open, also while a run writes.

    Parameters
    ----------
    path
        File to write; what was there is replaced in one step.
    db
        Default: the one the settings name.

    Raises
    ------
    callmood.errors.CallmoodError
        With one sentence that says what to do.
    """
    from callmood.exports.snapshot import write_snapshot

    write_snapshot(Path(load_settings({"db": db and str(db)}).settings.db), Path(path))


def predict(samples: Floats, rate_hz: int, *, models: str | Path | None = None) -> Utterance:
    """The emotion of one utterance.

    Parameters
    ----------
    samples
        Shape (n,) or (channels, n), float in [-1, 1]; channels are mixed.
    rate_hz
        Sampling rate; any from 1 kHz up.
    models
        Folder of the models, or "commercial"; default: the ones callmood ships.
    """
    from callmood.emotion.utterance import predict_utterance

    return predict_utterance(samples, rate_hz, models=models)


def classify(paths: Sequence[str | Path], *, models: str | Path | None = None) -> list[Utterance]:
    """The emotion of each file, one utterance each; raises `RecordingError` for one that cannot be read."""
    from callmood.emotion.utterance import classify_file

    return [classify_file(Path(path), models=models) for path in paths]


def find_turns(path: str | Path, **settings: Any) -> Diarization:
    """Who speaks when in one file, without a database and without emotions.

    Parameters
    ----------
    path
        A recording.
    settings
        Fields of `callmood.settings.Settings`, such as `diarizer="builtin"` or `speakers="auto"`.

    Raises
    ------
    callmood.errors.CallmoodError
        With one sentence that says what to do; `RecordingError` where the file cannot be read.
    """
    from callmood.pipeline import find_turns as turns_of_file

    return turns_of_file(Path(path), load_settings(settings).settings)


def listen(
    pieces: Iterable[bytes],
    *,
    rate_hz: int = 8000,
    channels: int = 1,
    agent_channel: int | None = None,
    party: Role | None = None,
    **settings: Any,
) -> Iterator[dict[str, Any]]:
    """The records of one live stream, one for each half second and a closing one; docs/live.md defines their fields.

    Parameters
    ----------
    pieces
        The bytes of the stream, in pieces of any size: WAV, or PCM of 16 bit, little-endian.
    rate_hz, channels
        Of PCM; a WAV stream tells its own.
    agent_channel
        0 (left) or 1 (right): the channel of a two-channel stream that the agent speaks on.
    party
        `agent` or `customer`: who speaks in a stream of one channel, where it is one party alone.
    settings
        Fields of `callmood.settings.Settings`, such as `emotion_for="customer"`.

    Raises
    ------
    callmood.errors.CallmoodError
        With one sentence that says what to do; `RecordingError` where the bytes cannot be understood.
    """
    from callmood.live import StreamFormat, load_engine
    from callmood.live import listen as records_of

    raw = StreamFormat(rate_hz=rate_hz, channels=channels, agent_channel=agent_channel, party=party)
    return records_of(load_engine(load_settings(settings).settings), pieces, raw)


def validate(
    labels: str | Path,
    *,
    db: str | Path | None = None,
    refit: float | None = None,
    seed: int = 0,
    models: str | Path | None = None,
    write_models: str | Path | None = None,
) -> Validation:
    """Hold a results database against human labels of the same calls; docs/validate.md tells the figures.

    Parameters
    ----------
    labels
        CSV with call_id, start_s, end_s and emotion, and if wanted speaker, role and escalated.
    db
        Default: the one the settings name. It is only read.
    refit
        Share of the calls, above 0 and below 1, to fit the temperature and the escalation threshold on; all
        figures are then those of the other calls.
    seed
        Of the split of the calls and of the bootstrap.
    models
        The models that the calls were analyzed with, as in the settings.
    write_models
        New folder for a copy of those models with the fitted temperature.

    Raises
    ------
    callmood.errors.CallmoodError
        With one sentence that says what to do.
    """
    from callmood.results.read import connect as connect_database
    from callmood.validation.compare import compare
    from callmood.validation.labels import read_labels

    # A `Path` is a folder even where it has the name of a shipped set.
    named = None if models is None or isinstance(models, Path) else models
    settings = load_settings({"db": db and str(db), "models": named}).settings
    with connect_database(settings.db) as connection:
        return compare(
            connection,
            read_labels(Path(labels)),
            refit=refit,
            seed=seed,
            models=models if isinstance(models, Path) else settings.models,
            write_models=None if write_models is None else Path(write_models),
        )
