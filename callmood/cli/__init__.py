"""The command line: a thin layer over the public functions and the reports."""

from callmood.cli.app import main

__all__ = ["main"]
