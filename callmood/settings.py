"""Settings: their names, defaults and meanings, and where an effective value came from.

The command line comes first, then environment variables (`CALLMOOD_DB`, `CALLMOOD_JOBS`, ...), then
`callmood.toml` (in the working directory, or named by `CALLMOOD_CONFIG`), then the defaults.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from callmood.errors import UsageError

BACKENDS: tuple[str, ...] = ("loky", "dask", "ray")

DIARIZERS: tuple[str, ...] = ("auto", "channels", "builtin", "pyannote")

ESCALATION_THRESHOLD = 4.0
"""Default of `Settings.escalation_threshold`, and of the rule in `callmood.trajectory`."""

_BOOLEANS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}

RULES = 3
"""Grows whenever the same settings and models come to say something else of a recording (how turns are found, what an
escalation is), so that `--stale` finds what older rules made."""

_RESULT = {"decides_results": True}
"""Metadata of the fields whose change would change what a recording's analysis says."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything a user can set; the same names serve the command line, environment and `callmood.toml`."""

    db: str = field(default="callmood.duckdb", metadata={"help": "The results database."})
    metadata: str | None = field(
        default=None, metadata={"help": "CSV, JSON lines or Parquet file with what is known of each call."}
    )
    pattern: str | None = field(
        default=None,
        metadata={
            "help": "File-name pattern, such as {agent_id}_{call_id}_{started_at:%Y%m%d}, or {call_id}_{role} for calls "
            "of one file per party."
        },
    )
    timezone: str = field(default="UTC", metadata={"help": "What a date without an offset means."})
    diarizer: str = field(
        default="auto",
        metadata={
            **_RESULT,
            "choices": DIARIZERS,
            "help": "Who spoke when: auto takes channels for two-channel audio, else builtin.",
        },
    )
    speakers: str = field(
        default="2",
        metadata={
            **_RESULT,
            "help": "Speakers in a one-channel call, or auto to find the number (builtin: one or two).",
        },
    )
    pyannote_pipeline: str | None = field(
        default=None,
        metadata={**_RESULT, "help": "Local directory or hub id of the pipeline for --diarizer pyannote."},
    )
    rttm: str | None = field(
        default=None,
        metadata={
            **_RESULT,
            "help": (
                "Folder with the turns of each recording as RTTM (call.rttm for call.wav), taken instead of "
                "diarizing."
            ),
        },
    )
    causal: bool = field(
        default=False,
        metadata={
            **_RESULT,
            "help": (
                "Look at no moment with what comes after it, as `callmood listen` does with live audio; one channel is "
                "then one speaker."
            ),
        },
    )
    emotion_for: str = field(
        default="everyone",
        metadata={
            **_RESULT,
            "choices": ("everyone", "customer", "agent"),
            "help": "Whose emotions are inferred; the network never runs on anybody else.",
        },
    )
    min_role_confidence: float = field(
        default=0.9,
        metadata={
            **_RESULT,
            "help": (
                "Least confidence in who is the agent at which --emotion-for customer or agent relies on it, "
                "0 to 1; roles that were told have 1."
            ),
        },
    )
    guess_roles: bool = field(
        default=False,
        metadata={
            **_RESULT,
            "help": (
                "Where nothing tells who the agent is, take whoever speaks first for the agent, as in inbound "
                "calls; confidence 0.6."
            ),
        },
    )
    pseudonymize: bool = field(
        default=False,
        metadata={
            "help": (
                "Keep keyed hashes instead of agents, customers, given call ids, paths and further columns; the "
                "key is in --pseudonym-key-file or the variable CALLMOOD_PSEUDONYM_KEY."
            )
        },
    )
    pseudonym_key_file: str | None = field(
        default=None, metadata={"help": "File with the key of --pseudonymize, 16 bytes or more."}
    )
    plain_columns: str | None = field(
        default=None,
        metadata={
            "help": "Further columns of the metadata that --pseudonymize leaves as they are, with commas between."
        },
    )
    escalation_threshold: float = field(
        default=ESCALATION_THRESHOLD,
        metadata={
            **_RESULT,
            "help": (
                "Evidence (strain times seconds of speech) at which a rise counts as an escalation; "
                "`callmood validate --refit` finds the value for your own calls."
            ),
        },
    )
    jobs: int = field(default=0, metadata={"help": "Worker processes; 0 means one per CPU core."})
    backend: str = field(
        default="loky",
        metadata={
            "choices": BACKENDS,
            "help": "Where the work is done: loky is this machine; dask and ray are a cluster, whose workers "
            "--scheduler leads to.",
        },
    )
    scheduler: str | None = field(
        default=None,
        metadata={
            "help": "Address of the cluster's scheduler, such as tcp://10.0.0.1:8786 (dask) or 10.0.0.1:6379 (ray)."
        },
    )
    out: str | None = field(
        default=None,
        metadata={
            "help": "Write results as partitioned Parquet to this folder or URL, and into no database; `callmood load` "
            "brings them into one."
        },
    )
    max_seconds_per_call: int = field(
        default=7200,
        metadata={"help": "Give a recording up (status failed) after this many seconds; 0 means never."},
    )
    max_memory_per_worker: int = field(
        default=0,
        metadata={
            "help": "Give a recording up when its worker holds more than this many MiB; 0 means no limit."
        },
    )
    lock: str | None = field(
        default=None,
        metadata={
            "help": "Hold this lock file during the run, as the program flock does, to keep other jobs apart."
        },
    )
    wait: int = field(
        default=0,
        metadata={
            "help": "Seconds to wait for another process that holds the database or the lock file before exit code 4."
        },
    )
    max_runtime: int = field(
        default=0,
        metadata={"help": "Begin no further call after this many seconds; 0 means no limit."},
    )
    snapshot_every: int = field(
        default=300,
        metadata={
            "help": "Seconds between snapshots for readers during a run (DB.snapshot.duckdb); 0 makes none."
        },
    )
    log_file: str | None = field(
        default=None,
        metadata={"help": "Append what happens, as JSON lines, to this file; it is rotated at 10 MB."},
    )
    heartbeat_file: str | None = field(
        default=None, metadata={"help": "Write how far the run is to this file, every few seconds, as JSON."}
    )
    metrics_file: str | None = field(
        default=None,
        metadata={"help": "Write the outcome to this file for Prometheus's text-file collector."},
    )
    device: str = field(
        default="auto",
        metadata={
            "choices": ("auto", "cpu", "gpu"),
            "help": "Where the networks run; auto takes the GPUs that there are.",
        },
    )
    models: str | None = field(
        default=None,
        metadata={
            "help": (
                "Folder of the models, or the word commercial for the shipped set that may be used commercially "
                "(a folder of that name: ./commercial); default: the ones callmood ships."
            )
        },
    )

    def __post_init__(self) -> None:
        for option in fields(self):
            choices = option.metadata.get("choices")
            value = getattr(self, option.name)
            if choices and value not in choices:
                raise UsageError(f"{option.name} is {value!r}; it must be one of {', '.join(choices)}.")
        if self.speakers != "auto" and not (self.speakers.isdecimal() and 1 <= int(self.speakers) <= 20):
            raise UsageError(f"speakers is {self.speakers!r}; it must be auto or a number from 1 to 20.")
        if not 0 < self.escalation_threshold < math.inf:
            raise UsageError(
                f"escalation_threshold is {self.escalation_threshold}; it must be a number above 0."
            )
        if not 0 <= self.min_role_confidence <= 1:
            raise UsageError(
                f"min_role_confidence is {self.min_role_confidence}; it must be a number from 0 to 1."
            )
        if self.causal and (self.rttm is not None or self.diarizer not in ("auto", "channels")):
            raise UsageError(
                "causal finds the turns as they come; leave rttm and diarizer as they are, or causal out."
            )
        if (self.backend == "loky") != (self.scheduler is None):
            raise UsageError(
                "backend dask or ray and the address of its scheduler go together; give --backend and --scheduler, "
                "or neither."
            )
        if self.out is not None and self.pseudonymize:
            raise UsageError(
                "out takes no pseudonyms, as workers would need the key; leave --out or --pseudonymize out."
            )
        if self.jobs < 0:
            raise UsageError(f"jobs is {self.jobs}; it must be 0 (one per core) or more.")
        for name in (
            "max_seconds_per_call",
            "max_memory_per_worker",
            "wait",
            "max_runtime",
            "snapshot_every",
        ):
            if getattr(self, name) < 0:
                raise UsageError(f"{name} is {getattr(self, name)}; it must be 0 or more.")
        try:
            ZoneInfo(self.timezone)
        except (KeyError, ValueError, OSError) as error:
            raise UsageError(
                f"timezone {self.timezone!r} is unknown; name one like Europe/Berlin."
            ) from error

    @property
    def speaker_count(self) -> int | None:
        """Speakers in a one-channel call; None means to find the number."""
        return None if self.speakers == "auto" else int(self.speakers)

    @property
    def worker_count(self) -> int:
        import joblib

        return self.jobs or int(joblib.cpu_count())

    def results_hash(self) -> str:
        """16 hex digits that change with any setting that decides results, and with the rules."""
        decisive: dict[str, Any] = {"rules": RULES} | {
            option.name: getattr(self, option.name)
            for option in fields(self)
            if option.metadata.get("decides_results")
        }
        return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:16]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class EffectiveSettings:
    """Settings, and for each name where its value came from."""

    settings: Settings
    sources: Mapping[str, str]
    """`command line`, `CALLMOOD_...`, the path of the configuration file, or `default`."""


def load_settings(
    given: Mapping[str, Any] | None = None, *, environment: Mapping[str, str] | None = None
) -> EffectiveSettings:
    """Effective settings; entries of `given` that are None count as not given.

    Raises
    ------
    UsageError
        An unknown name in the configuration file, or a value that does not fit.
    """
    environment = os.environ if environment is None else environment
    types = {option.name: option.type for option in fields(Settings)}
    values: dict[str, Any] = {}
    sources = dict.fromkeys(types, "default")
    path, from_file = _read_config(environment)
    for name, value in from_file.items():
        if name not in types:
            raise UsageError(f"{path}: unknown setting {name!r}; `callmood config` lists the known ones.")
        values[name], sources[name] = _fit(name, value, str(types[name]), str(path)), str(path)
    for name in types:
        variable = f"CALLMOOD_{name.upper()}"
        if environment.get(variable):
            values[name] = _fit(name, environment[variable], str(types[name]), variable)
            sources[name] = variable
    for name, value in (given or {}).items():
        if name not in types:
            raise UsageError(f"Unknown setting {name!r}; `callmood config` lists the known ones.")
        if value is not None:
            values[name], sources[name] = _fit(name, value, str(types[name]), "command line"), "command line"
    return EffectiveSettings(settings=replace(Settings(), **values), sources=sources)


def _read_config(environment: Mapping[str, str]) -> tuple[Path, dict[str, Any]]:
    named = environment.get("CALLMOOD_CONFIG")
    path = Path(named or "callmood.toml")
    if not path.is_file():
        if named:
            raise UsageError(f"{path}: no such file; it is named by CALLMOOD_CONFIG.")
        return path, {}
    try:
        return path, tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise UsageError(f"{path}: cannot be read as TOML ({error}).") from error


def _fit(name: str, value: Any, wanted: str, source: str) -> Any:
    """A value of a file or variable as the setting's type."""
    if wanted == "int":
        if isinstance(value, bool | float) or not str(value).strip().lstrip("-").isdecimal():
            raise UsageError(f"{source}: {name} is {value!r}; it must be a whole number.")
        return int(value)
    if wanted == "float":
        try:
            return float("" if isinstance(value, bool) else value)
        except (TypeError, ValueError) as error:
            raise UsageError(f"{source}: {name} is {value!r}; it must be a number.") from error
    if wanted == "bool":
        if (told := str(value).strip().lower()) not in _BOOLEANS:
            raise UsageError(f"{source}: {name} is {value!r}; it must be true or false.")
        return _BOOLEANS[told]
    if isinstance(value, (dict, list)):
        raise UsageError(f"{source}: {name} must be a single value.")
    return str(value)
