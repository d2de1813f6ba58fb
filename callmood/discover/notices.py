"""Warnings of the discover stage: one sentence per kind of trouble, however many files or rows have it."""

from __future__ import annotations

from pathlib import Path

from callmood.text import printable


class Notices:
    """Collects trouble by kind; `sentences()` names the first instance of each kind and counts the rest."""

    def __init__(self) -> None:
        # Ordered sets: overlapping inputs meet the same file twice.
        self._places: dict[str, dict[str, None]] = {}

    def add(self, what: str, place: str | Path) -> None:
        """`what`: the trouble and the way out, without a full stop; `place`: the file or row that has it."""
        self._places.setdefault(what, {})[printable(place)] = None

    def sentences(self, *, places: bool = True) -> tuple[str, ...]:
        """One sentence per kind; without `places` they tell how often, and name no file and no id."""
        if not places:
            return tuple(f"{what} ({len(found):,} times)." for what, found in self._places.items())
        return tuple(
            f"{what}: {next(iter(places))}{f' and {len(places) - 1:,} more' if len(places) > 1 else ''}."
            for what, places in self._places.items()
        )
