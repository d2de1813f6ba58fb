"""Which files are one call, and the call's id.

1. A `call_id` given by the metadata file, else by the pattern, else by a file name that Amazon's post-call
   analytics could have written, is the call's id. Control characters are removed from it, and it is cut to
   255 characters.
2. Any other call's id is the first 16 hexadecimal digits of the SHA-256 of its file's content. A file that
   cannot be read or is empty has no content to tell it by, so the SHA-256 of its path stands in.
3. Files of the same content are one call, at the first path in sorted order; the others are duplicates, and
   what is known of them fills what is not known of the first. If they were given different ids they are
   different calls; a file among them without an id repeats the first of these.
4. Two files that share a `call_id` and have a `role` or a `channel`, by their rows or the pattern, are the legs
   of one call, and its content hash is the SHA-256 of the legs' hashes, joined by a colon. Legs are ordered by channel, left
   first; where no channel is given the agent comes first; else by path. The role of one gives that of the
   other, and `agent_channel` gives both. A file with the content of a leg, and without another id, is a
   duplicate.
5. Where calls of different content were given one id, the first path keeps it and the others are called
   `<id>~<first 8 hexadecimal digits of their content hash>` (16 or 64 where that is taken too).
6. What earlier runs know comes before rules 2 and 5: content that is known and was not given another id keeps
   its id, wherever it lies now, and a call keeps a given id against later calls of other content. Only a new
   recording at the same path, or the pair that a known leg belongs to, takes the id over.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import reduce
from pathlib import Path

from callmood.discover.fields import MAX_ID_CHARACTERS, Facts
from callmood.discover.notices import Notices
from callmood.remote import as_os_error
from callmood.types import KnownCall, Leg, Recording, Role


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One file that is a recording or a leg of one."""

    path: Path
    content_hash: str
    facts: Facts
    alias: str | None = None
    """As of a `Leg`."""


@dataclass(frozen=True, kw_only=True)
class _Call:
    """A recording before its id is settled."""

    legs: tuple[Leg, ...]
    content_hash: str
    facts: Facts


_OF_NOTHING = hashlib.sha256(b"").hexdigest()


def hash_file(path: Path) -> str:
    """SHA-256 of a file's content, 64 hexadecimal digits."""
    with as_os_error(str(path)), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fingerprint(path: Path, content_hash: Callable[[Path], str], *, alias: str | None = None) -> str:
    """The content hash or, where there is no content, `unreadable:` or `empty:` and the hash of the path, or of the
    `alias` that stands for it."""
    reason = "unreadable"
    # A pipe or a device, which may never end, is not opened.
    with suppress(OSError):
        if path.is_file():
            digest = content_hash(path)
            if digest != _OF_NOTHING:
                return digest
            reason = "empty"
    return f"{reason}:{hashlib.sha256(os.fsencode(alias or path)).hexdigest()}"


def assemble(
    candidates: Sequence[Candidate], known: Iterable[KnownCall], notices: Notices
) -> tuple[tuple[Recording, ...], tuple[tuple[Path, Path], ...]]:
    """Recordings sorted by path, and (file, the file it repeats) for each duplicate.

    `candidates`: sorted by path.
    """
    pairs = _pairs(candidates, notices)
    paired = {candidate.path for pair in pairs for candidate in pair}
    calls = [_call_of_pair(pair, notices) for pair in pairs]
    leg_of = {leg.content_hash: leg for pair in pairs for leg in pair}

    by_content: dict[str, list[Candidate]] = {}
    duplicates = []
    for candidate in candidates:
        if candidate.path in paired:
            continue
        leg = leg_of.get(candidate.content_hash)
        if leg is not None and candidate.facts.call_id in (None, leg.facts.call_id):
            duplicates.append((candidate.path, leg.path))
        else:
            by_content.setdefault(candidate.content_hash, []).append(candidate)
    for same in by_content.values():
        for repeats in _by_given_id(same):
            first = repeats[0]
            calls.append(
                _Call(
                    legs=(
                        Leg(
                            path=first.path,
                            role=first.facts.role,
                            content_hash=first.content_hash,
                            alias=first.alias,
                        ),
                    ),
                    content_hash=first.content_hash,
                    facts=_merged(repeats),
                )
            )
            duplicates.extend((other.path, first.path) for other in repeats[1:])
    calls.sort(key=lambda call: call.legs[0].path)
    return _with_ids(calls, known, notices), tuple(sorted(duplicates))


def _by_given_id(same: Sequence[Candidate]) -> list[list[Candidate]]:
    """Groups files of one content by the id they were given; those without one join the first group."""
    given = dict.fromkeys(c.facts.call_id for c in same if c.facts.call_id is not None)
    ids: list[str | None] = [*given] or [None]
    return [
        [c for c in same if c.facts.call_id == call_id or (c.facts.call_id is None and call_id == ids[0])]
        for call_id in ids
    ]


def _pairs(candidates: Sequence[Candidate], notices: Notices) -> list[tuple[Candidate, Candidate]]:
    groups: dict[str, list[Candidate]] = {}
    for candidate in candidates:
        if candidate.facts.is_of_leg and candidate.facts.call_id is not None:
            groups.setdefault(candidate.facts.call_id, []).append(candidate)
    pairs = []
    for legs in groups.values():
        if len(legs) == 2:
            first, second = sorted(legs, key=_leg_order)
            pairs.append((first, second))
        elif len(legs) == 1:
            notices.add("Only one leg of a call was found, so it is analyzed alone", legs[0].path)
        else:
            notices.add("A call has more than two legs, so each is analyzed as a call", legs[0].path)
    return pairs


def _leg_order(leg: Candidate) -> tuple[float, bool]:
    """A leg without a channel stands between left and right; the sort keeps the order of paths."""
    return 0.5 if leg.facts.channel is None else leg.facts.channel, leg.facts.role != "agent"


def _call_of_pair(pair: tuple[Candidate, Candidate], notices: Notices) -> _Call:
    facts = _merged(pair)
    roles = _roles(pair, facts.metadata.agent_channel, notices)
    agent_channel = roles.index("agent") if "agent" in roles else facts.metadata.agent_channel
    return _Call(
        legs=tuple(
            Leg(path=leg.path, role=role, content_hash=leg.content_hash, alias=leg.alias)
            for leg, role in zip(pair, roles, strict=True)
        ),
        content_hash=hashlib.sha256(":".join(leg.content_hash for leg in pair).encode()).hexdigest(),
        facts=replace(facts, metadata=replace(facts.metadata, agent_channel=agent_channel)),
    )


def _roles(
    pair: tuple[Candidate, Candidate], agent_channel: int | None, notices: Notices
) -> tuple[Role | None, Role | None]:
    first, second = pair[0].facts.role, pair[1].facts.role
    if first is not None and first == second:
        notices.add(f"Both legs of a call have the role {first}, so their roles stay empty", pair[0].path)
        return None, None
    if first == "agent" or second == "customer":
        return "agent", "customer"
    if first == "customer" or second == "agent":
        return "customer", "agent"
    if agent_channel is None:
        return None, None
    return ("agent", "customer") if agent_channel == 0 else ("customer", "agent")


def _merged(candidates: Sequence[Candidate]) -> Facts:
    return reduce(Facts.over, (candidate.facts for candidate in candidates))


def _with_ids(calls: Sequence[_Call], known: Iterable[KnownCall], notices: Notices) -> tuple[Recording, ...]:
    owners: dict[str, KnownCall] = {}
    by_content: dict[str, list[KnownCall]] = {}
    for earlier in known:
        owners[earlier.call_id] = earlier
        by_content.setdefault(earlier.content_hash, []).append(earlier)
    recordings: dict[str, Recording] = {}
    for call in calls:
        call_id = _settled_id(call, owners, by_content.get(call.content_hash, []))
        if call_id in recordings:
            call_id = next(unique for unique in _told_apart(call_id, call) if unique not in recordings)
        if call.facts.call_id is not None and call_id != call.facts.call_id:
            notices.add(
                "A call_id was given to different recordings, so the later ones carry a part of their hash",
                f"'{call.facts.call_id}' for {call.legs[0].path}",
            )
        recordings[call_id] = Recording(
            call_id=call_id, legs=call.legs, content_hash=call.content_hash, metadata=call.facts.metadata
        )
    return tuple(recordings.values())


def _settled_id(call: _Call, owners: Mapping[str, KnownCall], same_content: Sequence[KnownCall]) -> str:
    """The id by rules 1, 2 and 6, not yet told apart from other calls of this run."""
    given = call.facts.call_id
    if given is None:
        return same_content[0].call_id if same_content else _digest(call)[:16]
    kept = {earlier.call_id for earlier in same_content} & {given, *_told_apart(given, call)}
    if kept:
        return min(kept, key=len)
    owner = owners.get(given)
    if owner is None:
        return given
    paths = {leg.kept_path for leg in call.legs}
    contents = {leg.content_hash for leg in call.legs}
    takes_over = any(str(leg.path) in paths or leg.content_hash in contents for leg in owner.legs)
    return given if takes_over else _told_apart(given, call)[0]


def _told_apart(call_id: str, call: _Call) -> tuple[str, ...]:
    """The ids, in order, for a call whose given id another call has: rule 5."""
    return tuple(
        f"{call_id[: MAX_ID_CHARACTERS - 1 - digits]}~{_digest(call)[:digits]}" for digits in (8, 16, 64)
    )


def _digest(call: _Call) -> str:
    return call.content_hash.rpartition(":")[2]
