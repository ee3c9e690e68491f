"""The version, in one place: hatch and `jina-local --version` read it from here."""

__version__ = "0.1.0"
