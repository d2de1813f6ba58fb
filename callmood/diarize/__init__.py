"""Who speaks when: audio in, speaker turns out."""

from callmood.diarize.engine import ENGINES, Diarizer, engine_for, make_diarizer, mark_overlap
from callmood.diarize.rttm import read_rttm, write_rttm

__all__ = [
    "ENGINES",
    "Diarizer",
    "engine_for",
    "make_diarizer",
    "mark_overlap",
    "read_rttm",
    "write_rttm",
]
