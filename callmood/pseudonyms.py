"""Keyed hashes in place of ids, so that the database names nobody and statistics still join.

A pseudonym is the beginning of HMAC-SHA-256(key, kind NUL id): the same key gives the same pseudonym, kinds do not
mix, and without the key neither an id can be read off it nor a guess at an id be tried. The key comes from a file or
from the environment and is kept nowhere.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal

from callmood.discover.sniff import AUDIO_EXTENSIONS
from callmood.errors import UsageError
from callmood.settings import Settings
from callmood.text import path_text, printable
from callmood.types import CallMetadata, CallResult, Recording

Kind = Literal["agent", "customer", "call"]

KEY_VARIABLE = "CALLMOOD_PSEUDONYM_KEY"
MIN_KEY_BYTES = 16
_DIGITS = 20
"""Hexadecimal digits of a pseudonym: among a million ids, two share one with a chance below 1 in 10^12."""


class Pseudonyms:
    """Makes pseudonyms with one key."""

    def __init__(self, key: bytes, *, plain_columns: Iterable[str] = ()) -> None:
        """`plain_columns`: further columns of the metadata that are left as they are."""
        self._key = key
        self._plain_columns = frozenset(plain_columns)

    @classmethod
    def of_settings(
        cls, settings: Settings, *, environment: Mapping[str, str] | None = None
    ) -> Pseudonyms | None:
        """With the key that the settings name; None where ids are to be kept as they are.

        Raises
        ------
        UsageError
            There is no key, or one too short to keep a secret.
        """
        if not settings.pseudonymize:
            return None
        environment = os.environ if environment is None else environment
        if settings.pseudonym_key_file:
            source = settings.pseudonym_key_file
            try:
                key = Path(source).read_bytes().strip()
            except OSError as error:
                raise UsageError(
                    f"{source}: the key of --pseudonymize cannot be read ({error.strerror or error}); name a "
                    "readable file with --pseudonym-key-file."
                ) from error
        else:
            source, key = KEY_VARIABLE, os.fsencode(environment.get(KEY_VARIABLE, "")).strip()
            if not key:
                raise UsageError(
                    f"--pseudonymize needs a key; name its file with --pseudonym-key-file or set {KEY_VARIABLE} "
                    "(`openssl rand -hex 32` makes one)."
                )
        if len(key) < MIN_KEY_BYTES:
            raise UsageError(
                f"{source}: the key of --pseudonymize has {len(key)} bytes; give it {MIN_KEY_BYTES} or more, as "
                "`openssl rand -hex 32` makes them."
            )
        columns = (name.strip() for name in (settings.plain_columns or "").split(","))
        return cls(key, plain_columns=columns)

    @property
    def check(self) -> str:
        """16 digits by which runs tell whether they have the same key; the key cannot be read off them."""
        return self._digest("check", "")[:16]

    def of(self, kind: Kind, value: str) -> str:
        """The pseudonym of an id.

        >>> Pseudonyms(b"not a secret key").of("agent", "susan")
        'e250b5b5b5f18dcf04d0'
        """
        return self._digest(kind, value)[:_DIGITS]

    def path(self, path: Path) -> str:
        """A path, each part of it replaced but for the extension of a recording.

        >>> Pseudonyms(b"not a secret key").path(Path("/calls/susan.wav"))
        '/6d008ea7b2b9ee068a0d/c92aa0714143dbe8aebc.wav'
        """
        return "/".join(["", *(self._part(part) for part in path.absolute().parts[1:])])

    def find(self, alias: str) -> Path | None:
        """The file whose `path` is `alias`, found by going down from the root; None where there is none."""
        places = [Path("/")]
        for wanted in alias.split("/")[1:]:
            places = [
                place / name for place in places for name in _names(place) if self._part(name) == wanted
            ]
        return next(iter(sorted(places)), None)

    def metadata(self, known: CallMetadata) -> CallMetadata:
        """What is known of a call, with pseudonyms for agent, customer and the values of further columns."""
        return replace(
            known,
            agent_id=known.agent_id and self.of("agent", known.agent_id),
            customer_id=known.customer_id and self.of("customer", known.customer_id),
            extra={
                name: value
                if value is None or name in self._plain_columns
                else self._digest(f"column {name}", str(value))[:_DIGITS]
                for name, value in known.extra.items()
            },
        )

    def result(self, result: CallResult) -> CallResult:
        """A result whose sentence names no file."""
        if result.error is None:
            return result
        return replace(result, error=self._without_names(result.error, result.recording))

    def _without_names(self, sentence: str, recording: Recording) -> str:
        """Paths and names of the recording's files in a sentence of ours, replaced."""
        aliases: dict[str, str] = {}
        for leg in recording.legs:
            alias = self.path(leg.path)
            for name in (str(leg.path), path_text(leg.path)):
                aliases[printable(name)] = alias
            aliases[printable(leg.path.name)] = alias.rpartition("/")[2]
            aliases[printable(leg.path.stem)] = alias.rpartition("/")[2].partition(".")[0]
        longest_first = sorted(aliases, key=len, reverse=True)
        pattern = "|".join(rf"(?<!\w){re.escape(name)}(?!\w)" for name in longest_first if name)
        return re.sub(pattern, lambda found: aliases[found[0]], sentence)

    def _part(self, name: str) -> str:
        stem, dot, extension = name.rpartition(".")
        if dot and stem and extension.lower() in AUDIO_EXTENSIONS:
            return f"{self._digest('path', stem)[:_DIGITS]}.{extension}"
        return self._digest("path", name)[:_DIGITS]

    def _digest(self, kind: str, value: str) -> str:
        message = f"{kind}\0{value}".encode("utf-8", "surrogateescape")
        return hmac.new(self._key, message, hashlib.sha256).hexdigest()


def _names(folder: Path) -> list[str]:
    try:
        return [entry.name for entry in folder.iterdir()]
    except OSError:
        return []
