"""callmood: emotion trajectories and escalation of recorded calls, in DuckDB.

>>> import callmood
>>> summary = callmood.analyze("./calls", db="callmood.duckdb")  # doctest: +SKIP
>>> callmood.connect("callmood.duckdb").sql("SELECT * FROM call_summary")  # doctest: +SKIP
"""

from callmood.api import (
    analyze,
    classify,
    connect,
    export,
    find_turns,
    link_agents,
    listen,
    load,
    plot_call,
    predict,
    purge,
    retry,
    snapshot,
    validate,
    write_page,
)
from callmood.run import Progress, RunSummary
from callmood.settings import Settings
from callmood.validation.result import Validation

__version__ = "0.1.0"
__all__ = [
    "Progress",
    "RunSummary",
    "Settings",
    "Validation",
    "analyze",
    "classify",
    "connect",
    "export",
    "find_turns",
    "link_agents",
    "listen",
    "load",
    "plot_call",
    "predict",
    "purge",
    "retry",
    "snapshot",
    "validate",
    "write_page",
]
