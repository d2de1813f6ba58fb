"""What a result becomes in the tables: rows, made of plain values and arrays."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from callmood.diarize.turns import mean_confidence
from callmood.emotions import EMOTIONS, PROBABILITY_COLUMNS
from callmood.results.run import Run
from callmood.types import (
    Affect,
    Analysis,
    CallResult,
    Escalation,
    EscalationScore,
    Nonspeech,
    Recording,
    TurnSignal,
    Windows,
)

if TYPE_CHECKING:
    import pandas as pd

Analyses = Sequence[tuple[str, Analysis]]
"""Call ids, and what was found in each call."""


def metadata_row(recording: Recording) -> dict[str, Any]:
    """The columns of `calls` that are known before a recording is analyzed."""
    metadata = recording.metadata
    return {
        "call_id": recording.call_id,
        "path": recording.legs[0].kept_path,
        "content_hash": recording.content_hash,
        "legs": json.dumps(
            [
                {"path": leg.kept_path, "role": leg.role, "content_hash": leg.content_hash}
                for leg in recording.legs
            ]
        ),
        "agent_id": metadata.agent_id,
        "customer_id": metadata.customer_id,
        "queue": metadata.queue,
        "started_at": metadata.started_at,
        "agent_channel": metadata.agent_channel,
        "metadata": json.dumps(dict(metadata.extra), default=str) if metadata.extra else None,
    }


def call_row(result: CallResult, run: Run, analyzed_at: datetime) -> dict[str, Any]:
    """All columns, since what a row is replaced by keeps those that it does not name."""
    analysis = result.analysis
    return metadata_row(result.recording) | {
        "status": result.status,
        "error": result.error,
        "settings_hash": run.settings_hash,
        "model_hash": run.model_hash,
        "run_id": run.run_id,
        "analyzed_at": analyzed_at,
        "duration_s": analysis and analysis.duration_s,
        "channels": analysis and analysis.channels,
        "rate_hz": analysis and analysis.rate_hz,
        "codec": analysis and analysis.codec,
        "truncated": analysis and analysis.lost_s > 0,
        "lost_s": analysis and analysis.lost_s,
        "diarizer": analysis and analysis.diarizer,
        "turn_confidence": analysis and mean_confidence(analysis.turns),
        "role_source": analysis and analysis.role_source,
        "role_confidence": analysis and analysis.role_confidence,
        "rescore": None,
    }


def turn_rows(analyses: Analyses) -> pd.DataFrame:
    """Rows of `turns`, of all the calls."""
    import pandas as pd

    turns = [turn for _, analysis in analyses for turn in analysis.turns]
    signals = [
        signal
        for _, analysis in analyses
        for signal in analysis.turn_signals or (TurnSignal(),) * len(analysis.turns)
    ]
    affect = [analysis.turn_affect for _, analysis in analyses]
    probabilities = _joined(affect, lambda each: each.probabilities)
    scored = ~np.isnan(probabilities[:, 0])
    best = np.nan_to_num(probabilities).argmax(axis=1)
    return pd.DataFrame(
        {
            "call_id": _repeated(analyses, lambda analysis: len(analysis.turns)),
            "turn_index": _joined(analyses, lambda each: np.arange(len(each[1].turns))),
            "speaker": [turn.speaker for turn in turns],
            "role": pd.Series([turn.role for turn in turns], dtype="object"),
            "channel": [turn.channel for turn in turns],
            "start_s": [turn.start_s for turn in turns],
            "end_s": [turn.end_s for turn in turns],
            "overlap_s": [turn.overlap_s for turn in turns],
            "speaker_confidence": pd.Series([turn.confidence for turn in turns], dtype="Float32"),
            "emotion": pd.Series(
                [EMOTIONS[i] if known else None for i, known in zip(best, scored, strict=True)],
                dtype="object",
            ),
            "confidence": np.where(scored, probabilities.max(axis=1, initial=0.0), np.nan),
            **_affect_columns(affect),
            "level_dbfs": pd.Series([signal.level_dbfs for signal in signals], dtype="Float32"),
            "syllables": pd.Series([signal.syllables for signal in signals], dtype="Int32"),
        }
    )


def window_rows(analyses: Analyses) -> pd.DataFrame:
    """Rows of `windows`, of all the calls."""
    import pandas as pd

    windows = [analysis.windows for _, analysis in analyses]
    return pd.DataFrame(
        {
            "call_id": _repeated(analyses, lambda analysis: len(analysis.windows.start_s)),
            "turn_index": _joined(windows, lambda each: each.turn_index),
            "start_s": _joined(windows, lambda each: each.start_s),
            "end_s": _joined(windows, lambda each: each.end_s),
            **_affect_columns([each.affect for each in windows]),
            "negativity_smooth": _joined(windows, lambda each: each.negativity_smooth),
            **_course_columns(windows),
        }
    )


def rows_of_each(
    analyses: Analyses,
    found: Callable[[Analysis], Sequence[Nonspeech | Escalation | EscalationScore]],
) -> pd.DataFrame:
    """A row for each of what was `found` in the calls; columns are its fields."""
    import pandas as pd

    return pd.DataFrame(
        [{"call_id": call_id} | vars(each) for call_id, analysis in analyses for each in found(analysis)]
    )


def _affect_columns(affect: Sequence[Affect]) -> dict[str, Any]:
    probabilities = _joined(affect, lambda each: each.probabilities)
    columns: Mapping[str, Any] = dict(zip(PROBABILITY_COLUMNS, probabilities.T, strict=True))
    return {
        **columns,
        "valence": _joined(affect, lambda each: each.valence),
        "arousal": _joined(affect, lambda each: each.arousal),
        "negativity": _joined(affect, lambda each: each.negativity),
    }


_COURSE_COLUMNS = {
    "valence_smooth": "valence",
    "arousal_smooth": "arousal",
    "valence_se": "valence_se",
    "arousal_se": "arousal_se",
    "negativity_se": "negativity_se",
}
"""Columns of `windows`, and the fields of `Course` that they hold."""


def _course_columns(windows: Sequence[Windows]) -> dict[str, Any]:
    def values(each: Windows, field: str) -> NDArray[Any]:
        if each.course is None:
            return np.full(len(each.start_s), np.nan, dtype=np.float32)
        found: NDArray[Any] = getattr(each.course, field)
        return found

    return {
        column: np.concatenate([values(each, field) for each in windows])
        for column, field in _COURSE_COLUMNS.items()
    }


def _joined(parts: Sequence[Any], array: Callable[[Any], NDArray[Any]]) -> NDArray[Any]:
    return np.concatenate([array(part) for part in parts])


def _repeated(analyses: Analyses, count: Callable[[Analysis], int]) -> NDArray[Any]:
    """The id of each call, as often as it has rows."""
    ids = np.array([call_id for call_id, _ in analyses], dtype=object)
    return np.repeat(ids, [count(analysis) for _, analysis in analyses])
