"""LlamaIndex embedding classes over the jina-local engine."""

__all__: list[str] = []
