"""Haystack components over the jina-local engine."""

__all__: list[str] = []
