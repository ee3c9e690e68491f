"""Does context help? Late against plain chunks, with the demo model, on three sets of questions.

The questions (`late_chunking_questions.json`) were written before any model was run on them. A
question counts as answered at k if the one right chunk is among the k most similar of all chunks of
its set. `referring`: later chunks say "the city" or "she", the question says the name. `headings`:
only a section's first chunk has the heading. `unrelated`: every chunk stands alone, so that context
can only hurt.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from jina_local import ChunkedText, Engine

__all__ = ["measure"]

_QUESTIONS = Path(__file__).parent / "late_chunking_questions.json"
_SEPARATORS = {"referring": " ", "headings": "\n", "unrelated": " "}
_CUTS = (1, 5)


def measure() -> dict[str, object]:
    """Recall of the right chunk per set and kind of vector."""
    from jina_local import Engine

    sets = json.loads(_QUESTIONS.read_text())
    with Engine.load("demo", device="cpu") as engine:
        return {name: _measure_set(engine, sets[name], _SEPARATORS[name]) for name in _SEPARATORS}


def _measure_set(engine: Engine, questions: dict[str, Any], separator: str) -> dict[str, object]:
    documents = questions["documents"]
    first_chunk, chunks = {}, []
    for document in documents:
        first_chunk[document["id"]] = len(chunks)
        chunks += document["chunks"]
    wanted = np.array([first_chunk[q["document"]] + q["chunk"] for q in questions["queries"]])
    queries = engine.embed_queries([q["query"] for q in questions["queries"]]).vectors
    texts = [_chunked(document["chunks"], separator) for document in documents]
    titled = [
        _chunked(document["chunks"], separator, header=document["title"]) for document in documents
    ]
    kinds = {
        "plain": engine.embed_documents(chunks).vectors,
        "late": _late(engine, texts),
        "late, specials excluded": _late(engine, texts, special_tokens="exclude"),
        "late, title as header": _late(engine, titled),
    }
    return {
        "documents": len(documents),
        "chunks": len(chunks),
        "questions": len(wanted),
        **{kind: _recall(queries @ vectors.T, wanted) for kind, vectors in kinds.items()},
    }


def _chunked(chunks: list[str], separator: str, header: str | None = None) -> ChunkedText:
    from jina_local import ChunkedText

    ends = np.cumsum([len(chunk) + len(separator) for chunk in chunks]) - len(separator)
    spans = [(int(end) - len(chunk), int(end)) for chunk, end in zip(chunks, ends, strict=True)]
    return ChunkedText(separator.join(chunks), spans, header)


def _late(engine: Engine, texts: list[ChunkedText], **settings: Any) -> np.ndarray:  # noqa: ANN401
    return np.concatenate([one.vectors for one in engine.embed_chunks(texts, **settings)])


def _recall(similarities: np.ndarray, wanted: np.ndarray) -> dict[str, float]:
    """The share of questions whose chunk is among the best k."""
    of_wanted = np.take_along_axis(similarities, wanted[:, None], axis=1)
    ranks = (similarities > of_wanted).sum(axis=1)
    return {f"recall@{k}": round(float((ranks < k).mean()), 3) for k in _CUTS}
