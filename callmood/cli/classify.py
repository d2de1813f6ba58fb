"""Utterances as a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import callmood
from callmood.emotions import PROBABILITY_COLUMNS
from callmood.errors import RecordingError
from callmood.report import Table

_COLUMNS = ("path", "emotion", "confidence", *PROBABILITY_COLUMNS, "duration_s", "speech_s")


def classify_each(paths: Sequence[str], *, models: str | None) -> tuple[Table, list[RecordingError]]:
    """One row per file that can be read; the errors of the others are there once the rows have been read."""
    errors: list[RecordingError] = []

    def rows() -> Iterator[tuple[Any, ...]]:
        for path in paths:
            try:
                (utterance,) = callmood.classify([path], models=models)
            except RecordingError as error:
                errors.append(error)
                continue
            yield (
                path,
                utterance.emotion,
                utterance.confidence,
                *utterance.probabilities.tolist(),
                utterance.duration_s,
                utterance.speech_s,
            )

    return Table(columns=_COLUMNS, rows=rows()), errors
