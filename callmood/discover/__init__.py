"""Discover: from directories, files and globs to recordings with their ids and metadata."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from callmood.discover.fields import Facts, read_facts, time_zone
from callmood.discover.find import find
from callmood.discover.identity import Candidate, assemble, fingerprint, hash_file
from callmood.discover.metadata import match_rows, read_metadata
from callmood.discover.notices import Notices
from callmood.discover.pattern import compile_pattern, known_naming, unjoined_legs
from callmood.types import KnownCall, Recording

if TYPE_CHECKING:
    from callmood.pseudonyms import Pseudonyms

__all__ = ["Discovery", "discover", "hash_file"]


@dataclass(frozen=True, kw_only=True)
class Discovery:
    """What the inputs hold."""

    recordings: tuple[Recording, ...]
    """One per call, sorted by path."""
    skipped: tuple[Path, ...]
    """Files with neither an audio extension nor audio content."""
    duplicates: tuple[tuple[Path, Path], ...]
    """(file, the file it repeats)."""
    warnings: tuple[str, ...]
    """One sentence each."""


def discover(
    inputs: Sequence[str | Path],
    *,
    metadata: Path | None = None,
    pattern: str | None = None,
    timezone: str = "UTC",
    content_hash: Callable[[Path], str] = hash_file,
    known: Iterable[KnownCall] = (),
    exclude: Collection[Path] = (),
    pseudonyms: Pseudonyms | None = None,
) -> Discovery:
    """Finds the calls under `inputs`: directories (recursively), files and globs.

    What is known of a call comes from its rows in the `metadata` file, then from `pattern`, then from the
    naming of Amazon's post-call analytics, field by field; `timezone` is the IANA name that a date without an
    offset means. `content_hash` answers the SHA-256 of a file (from a cache, say) or raises OSError.
    `known` are the calls of earlier runs, whose ids stay theirs. The files of `exclude` are never read. With
    `pseudonyms` the recordings bear them instead of what they stand for, and warnings name nothing.

    Raises UsageError for an input that does not exist or a glob that matches nothing, an unusable metadata
    file, a pattern that cannot be understood and an unknown time zone. All else becomes a warning.
    """
    zone = time_zone(timezone)
    name_pattern = None if pattern is None else compile_pattern(pattern)
    notices = Notices()
    rows = () if metadata is None else read_metadata(metadata, zone=zone, notices=notices)
    own = () if metadata is None else (metadata,)
    found = find(inputs, exclude=(*exclude, *own), notices=notices)

    named: dict[Path, Facts] = {}
    for path in found.audio.values():
        facts = read_facts(known_naming(path, notices), place=str(path), zone=zone, notices=notices)
        if name_pattern is not None:
            values = name_pattern.match(path, notices)
            if values is None:
                notices.add(
                    "The pattern does not match a name without its extension, so it says nothing about it",
                    path,
                )
            else:
                facts = read_facts(values, place=str(path), zone=zone, notices=notices).over(facts)
        named[path] = facts

    matched = match_rows(
        rows,
        files=found.audio,
        named_ids={path: facts.call_id for path, facts in named.items() if facts.call_id is not None},
        directories=(*(file.absolute().parent for file in own), *found.roots),
        notices=notices,
    )
    candidates = []
    for path, facts in named.items():
        row = matched.get(path)
        known_facts = facts if row is None else row.facts.over(facts)
        alias = None
        if pseudonyms is not None:
            alias = pseudonyms.path(path)
            known_facts = replace(
                known_facts,
                call_id=known_facts.call_id and pseudonyms.of("call", known_facts.call_id),
                metadata=pseudonyms.metadata(known_facts.metadata),
            )
        candidates.append(
            Candidate(
                path=path,
                alias=alias,
                content_hash=fingerprint(path, content_hash, alias=alias),
                facts=known_facts,
            )
        )
    known = tuple(known)
    recordings, duplicates = assemble(candidates, known, notices)
    told = {each.path for each in candidates if each.facts.is_of_leg or each.facts.call_id is not None}
    joined = {leg.content_hash for call in known if len(call.legs) > 1 for leg in call.legs}
    for path in unjoined_legs(
        each.path for each in recordings if each.path not in told and each.content_hash not in joined
    ):
        notices.add(
            "Two files look like the legs of one call and are analyzed as two, so join them with "
            "--pattern '{call_id}_{role}' or a column role in --metadata",
            path,
        )
    return Discovery(
        recordings=recordings,
        skipped=found.skipped,
        duplicates=duplicates,
        warnings=notices.sentences(places=pseudonyms is None),
    )
