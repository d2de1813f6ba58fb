"""Metadata from file names: a pattern that the user gives, and the naming of Amazon's post-call analytics.

A pattern is the file's name with its fields in braces: `{agent_id}_{call_id}_{started_at:%Y%m%dT%H%M%S}`.
The fields `call_id`, `agent_id`, `customer_id`, `queue`, `started_at` and `agent_channel` have their
meaning, `{role}` (agent, customer, caller or client) and `{channel}` (left, right, 1 or 2) tell the legs of a call
apart (a name with anything else there does not match), `{_}` ignores what stands there, any other name is kept beside them; `{{` and `}}` are braces. It is
compared with the name without its extension or, where it contains `/`, with as many trailing parts of the
path. A value ends where the text that follows it first appears; only before a formatted date, a role or a
channel it may go on until that fits.
`{started_at:FORMAT}` takes the codes of `strptime` and needs a year, a month and a day; without a format it
reads what the metadata file may hold.

The naming of Amazon's post-call analytics is known without a pattern: `_GUID_x`, `_AGENT_y` and `_CUST_z`,
each up to the next underscore or the end of the name, in any order, any of them missing, and a date
`YYYY-MM-DDTHH-MM-SS` anywhere. The GUID is the call's id whatever it looks like (`000` too): it is what that
system shows for the call, and ids that turn out to repeat are told apart (`callmood.discover.identity`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from string import Formatter

from callmood.discover.fields import ROLES, UNREADABLE_DATE
from callmood.discover.notices import Notices
from callmood.errors import UsageError
from callmood.text import printable
from callmood.types import Role

_DIRECTIVES = {
    "Y": r"\d{4}",
    "y": r"\d{2}",
    "m": r"\d{2}",
    "d": r"\d{2}",
    "j": r"\d{3}",
    "H": r"\d{2}",
    "I": r"\d{2}",
    "M": r"\d{2}",
    "S": r"\d{2}",
    "f": r"\d{1,6}",
    "p": r"[AaPp][Mm]",
    "b": r"[A-Za-z]{3}",
    "B": r"[A-Za-z]{3,9}",
    "z": r"(?:Z|[+-]\d{2}:?\d{2})",
    "%": "%",
}

_CHOICES = {"role": "|".join(ROLES), "channel": "left|right|[12]"}
_PARTY = re.compile(rf"(.+[ _.-])({'|'.join(ROLES)})", re.IGNORECASE)
_NAMING_TAGS = {
    "call_id": re.compile(r"(?:^|_)GUID_([^_]+)"),
    "agent_id": re.compile(r"(?:^|_)AGENT_([^_]+)"),
    "customer_id": re.compile(r"(?:^|_)CUST_([^_]+)"),
}
_NAMING_DATE = re.compile(r"(?<!\d)\d{4}-\d{2}-\d{2}T\d{2}-\d{2}-\d{2}(?!\d)", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class NamePattern:
    """A compiled pattern."""

    regex: re.Pattern[str]
    fields: Mapping[str, str]
    """Field name by the name of its group."""
    date_format: str | None
    depth: int
    """How many trailing parts of the path are compared."""

    def match(self, path: Path, notices: Notices) -> dict[str, object] | None:
        """Values by field name, None where the path does not match; a formatted date is a datetime."""
        match = self.regex.fullmatch("/".join(path.with_suffix("").parts[-self.depth :]))
        if match is None:
            return None
        values: dict[str, object] = {name: match[group] for group, name in self.fields.items()}
        if self.date_format is not None:
            values["started_at"] = _parse(str(values["started_at"]), self.date_format, path, notices)
        return values


def compile_pattern(pattern: str) -> NamePattern:
    """Raises UsageError for a pattern that cannot be understood or would match ambiguously."""
    try:
        pieces = list(Formatter().parse(pattern))
    except ValueError as error:
        raise _refused(pattern, f"has an unbalanced brace ({error})") from None
    regex = ""
    fields: dict[str, str] = {}
    date_format = None
    for index, (literal, name, spec, conversion) in enumerate(pieces):
        regex += re.escape(literal)
        if name is None:
            continue
        if not name.isidentifier() or conversion:
            raise _refused(pattern, f"has '{printable(name)}' where a field's name is expected")
        if spec and name != "started_at":
            raise _refused(pattern, f"has a format for {name}, which only started_at takes")
        if name in fields.values():
            raise _refused(pattern, f"names {name} twice")
        follower = pieces[index + 1] if index + 1 < len(pieces) else ("", None, None, None)
        is_open = follower[1] is not None and not follower[2] and follower[1] not in _CHOICES
        if spec:
            value, date_format = _date_regex(pattern, spec), spec
        elif name in _CHOICES:
            value = f"(?i:{_CHOICES[name]})"
        elif follower[0] == "" and is_open:
            raise _refused(pattern, f"has nothing between {name} and {follower[1]}")
        elif is_open:
            # Never past the text that ends it: a search over all splits would take hostile names for ever.
            value = f"(?:(?!{re.escape(follower[0])})[^/])+"
        else:
            value = "[^/]+?"
        if name == "_":
            regex += f"(?:{value})"
        else:
            fields[f"f{index}"] = name
            regex += f"(?P<f{index}>{value})"
    if not fields:
        raise _refused(pattern, "names no field")
    return NamePattern(
        regex=re.compile(regex, re.ASCII),
        fields=fields,
        date_format=date_format,
        depth=pattern.count("/") + 1,
    )


def known_naming(path: Path, notices: Notices) -> dict[str, object]:
    """Values by field name that the naming of Amazon's post-call analytics gives; empty for other names."""
    values: dict[str, object] = {
        field: match[1] for field, tag in _NAMING_TAGS.items() if (match := tag.search(path.stem))
    }
    if date := _NAMING_DATE.search(path.stem):
        values["started_at"] = _parse(date[0], "%Y-%m-%dT%H-%M-%S", path, notices)
    return values


def unjoined_legs(paths: Iterable[Path]) -> list[Path]:
    """The agent's file of each pair like `NAME_agent.wav` and `NAME_caller.wav` in one folder."""
    pairs: dict[tuple[Path, str], dict[Role, Path]] = {}
    for path in paths:
        if match := _PARTY.fullmatch(path.stem):
            pairs.setdefault((path.parent, match[1]), {})[ROLES[match[2].lower()]] = path
    return [pair["agent"] for pair in pairs.values() if len(pair) == len(set(ROLES.values()))]


def _date_regex(pattern: str, spec: str) -> str:
    pieces = re.findall(r"%(.?)|([^%]+)", spec, re.DOTALL)
    codes = {code for code, literal in pieces if not literal}
    if unknown := sorted(codes - _DIRECTIVES.keys()):
        raise _refused(pattern, f"has the unknown date code %{printable(unknown[0])}")
    if not (codes & {"Y", "y"} and (("d" in codes and codes & {"m", "b", "B"}) or "j" in codes)):
        raise _refused(pattern, "has a date without a year, a month or a day")
    return "".join(re.escape(literal) if literal else _DIRECTIVES[code] for code, literal in pieces)


def _parse(text: str, date_format: str, path: Path, notices: Notices) -> datetime | None:
    try:
        return datetime.strptime(text, date_format)
    except ValueError:
        notices.add(UNREADABLE_DATE, f"'{text}' in {path}")
        return None


def _refused(pattern: str, why: str) -> UsageError:
    return UsageError(
        f"The pattern '{printable(pattern)}' {why}: write it like '{{agent_id}}_{{call_id}}', fields in braces."
    )
