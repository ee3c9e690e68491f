"""What is used of sentence-transformers, imported in one place, with a hint if it is missing."""

from __future__ import annotations

from jina_local.errors import MissingExtraError

try:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import InputModule
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling
except ModuleNotFoundError as error:
    if error.name is None or error.name.partition(".")[0] != "sentence_transformers":
        raise
    msg = "pip install 'jina-local[sentence-transformers]' (sentence-transformers is not installed)"
    raise MissingExtraError(msg) from error

__all__ = ["InputModule", "Normalize", "Pooling", "SentenceTransformer"]
