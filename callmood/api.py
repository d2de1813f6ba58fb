"""The public functions: the same as the command line offers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from callmood.run import Progress, RunSummary
from callmood.settings import load_settings

if TYPE_CHECKING:
    from callmood.emotion.utterance import Utterance
    from callmood.results.schema import Connection
    from callmood.types import Floats


def analyze(
    *paths: str | Path,
    force: bool = False,
    progress: Callable[[Progress], None] | None = None,
    **settings: Any,
) -> RunSummary:
    """Analyze directories, files and globs into a results database.

    Parameters
    ----------
    paths
        At least one.
    force
        Analyze known recordings again.
    progress
        Called in this process after each recording.
    settings
        Fields of `callmood.settings.Settings`, such as `db="calls.duckdb"` or `jobs=4`; what is not given
        comes from the environment and `callmood.toml`, as on the command line.

    Raises
    ------
    callmood.errors.CallmoodError
        With one sentence that says what to do. A bad recording raises nothing: it becomes a row.
    """
    from callmood.batch import run_batch

    effective = load_settings(settings).settings
    return run_batch(paths, effective, force=force, progress=progress)


def connect(db: str | Path | None = None) -> Connection:
    """A read-only DuckDB connection to a results database (default: the one the settings name)."""
    from callmood.results.read import connect as connect_database

    return connect_database(load_settings({"db": db and str(db)}).settings.db)


def predict(samples: Floats, rate_hz: int, *, models: str | Path | None = None) -> Utterance:
    """The emotion of one utterance.

    Parameters
    ----------
    samples
        Shape (n,) or (channels, n), float in [-1, 1]; channels are mixed.
    rate_hz
        Sampling rate; any from 1 kHz up.
    models
        Folder of the models; default: the ones callmood ships.
    """
    from callmood.emotion.utterance import predict_utterance

    return predict_utterance(samples, rate_hz, models=models)


def classify(paths: Sequence[str | Path], *, models: str | Path | None = None) -> list[Utterance]:
    """The emotion of each file, one utterance each; raises `RecordingError` for one that cannot be read."""
    from callmood.emotion.utterance import classify_file

    return [classify_file(Path(path), models=models) for path in paths]
