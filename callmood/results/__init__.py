"""The results database: schema, one writer, many readers."""

from callmood.results.read import connect
from callmood.results.store import Store

__all__ = ["Store", "connect"]
