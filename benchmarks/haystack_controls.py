"""Our Haystack components and their peers before the same questions: which contract rows hold.

The peers are Haystack's mocks and, with a tiny random model made on the spot, the embedders of
`sentence-transformers-haystack`, which is no dependency of ours: `pip install
sentence-transformers-haystack`. What the rows mean is in the contract tests of our components.
"""

from __future__ import annotations

import json
import math
import threading
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["measure"]

_LONG = "word " * 600


@dataclass(frozen=True, slots=True)
class _Peer:
    """Two embedders and how they are made."""

    text: Callable[..., Any]
    documents: Callable[..., Any]
    dimensions: str


def measure() -> dict[str, object]:
    """For each row and each peer, whether it holds; why not, where an error says so."""
    with TemporaryDirectory() as folder:
        peers = _peers(Path(folder))
        return {
            name: {peer: _holds(row, of) for peer, of in peers.items()}
            for name, row in _ROWS.items()
        }


def _holds(row: Callable[[_Peer], bool], peer: _Peer) -> str:
    try:
        return "holds" if row(peer) else "fails"
    except Exception as error:  # noqa: BLE001 - what a peer raises is the finding
        return f"fails: {type(error).__name__}: {error!s:.80}"


def _peers(folder: Path) -> dict[str, _Peer]:
    from haystack.components.embedders import MockDocumentEmbedder, MockTextEmbedder
    from haystack.utils import ComponentDevice
    from haystack_integrations.components.embedders.sentence_transformers import (
        SentenceTransformersDocumentEmbedder,
        SentenceTransformersTextEmbedder,
    )

    from haystack_integrations.components.embedders.jina_local import (
        JinaLocalDocumentEmbedder,
        JinaLocalTextEmbedder,
    )

    cpu = ComponentDevice.from_str("cpu")
    model = str(_tiny_model(folder))

    def made(cls: Any, **given: Any) -> Callable[..., Any]:  # noqa: ANN401 - components
        return lambda **options: cls(**{**given, **options})

    quiet = {"device": cpu, "progress_bar": False}
    return {
        "jina-local": _Peer(
            made(JinaLocalTextEmbedder, model="demo", device=cpu),
            made(JinaLocalDocumentEmbedder, model="demo", **quiet),
            "dimensions",
        ),
        "mock": _Peer(made(MockTextEmbedder), made(MockDocumentEmbedder), "dimension"),
        "sentence-transformers": _Peer(
            made(SentenceTransformersTextEmbedder, model=model, **quiet),
            made(SentenceTransformersDocumentEmbedder, model=model, **quiet),
            "truncate_dim",
        ),
    }


def _tiny_model(folder: Path) -> Path:
    """A random BERT of 32 dimensions and 64 positions, as sentence-transformers saves one."""
    from sentence_transformers import SentenceTransformer, models
    from transformers import BertConfig, BertModel, BertTokenizerFast

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "word", "a", "cat", "sat"]
    (folder / "vocab.txt").write_text("\n".join(words))
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    BertModel(config).save_pretrained(folder / "bert")
    tokenizer = BertTokenizerFast(vocab_file=str(folder / "vocab.txt"), model_max_length=64)
    tokenizer.save_pretrained(folder / "bert")
    transformer = models.Transformer(str(folder / "bert"), max_seq_length=64)
    pooling = models.Pooling(transformer.get_embedding_dimension())
    SentenceTransformer(modules=[transformer, pooling], device="cpu").save(str(folder / "model"))
    return folder / "model"


# Rows


def _refuses_a_second_element(peer: _Peer) -> bool:
    from haystack import Document

    try:
        peer.documents().run([Document(content="a cat"), "sat"])
    except TypeError:
        return True
    return False


def _skips_nothing_to_embed(peer: _Peer) -> bool:
    from haystack import Document

    (found,) = peer.documents().run([Document(content=None)])["documents"]
    return found.embedding is None


def _has_unit_length_when_cut(peer: _Peer) -> bool:
    vector = peer.text(**{peer.dimensions: 8}).run("a cat sat")["embedding"]
    return len(vector) == 8 and math.isclose(math.hypot(*vector), 1, abs_tol=1e-5)


def _refuses_no_dimensions(peer: _Peer) -> bool:
    try:
        peer.text(**{peer.dimensions: 0}).run("a cat")
    except ValueError:
        return True
    return False


def _refuses_too_many_dimensions(peer: _Peer) -> bool:
    try:
        peer.text(**{peer.dimensions: 999}).run("a cat")
    except ValueError:
        return True
    return False


def _says_what_it_cut(peer: _Peer) -> bool:
    """Whether two texts that differ beyond a limit differ, or it is said that they were cut."""
    embedder = peer.documents()
    from haystack import Document

    result = embedder.run([Document(content=_LONG + end) for end in ("cat", "sat")])
    first, second = (one.embedding for one in result["documents"])
    return bool(first != second or result.get("meta", {}).get("truncated"))


def _names_no_machine(peer: _Peer) -> bool:
    """Whether what is serialized is the device that was given, which was none."""
    return "cpu" not in json.dumps(peer.documents(device=None).to_dict())


def _can_be_closed(peer: _Peer) -> bool:
    embedder = peer.text()
    embedder.run("a cat")
    embedder.close()
    return bool(embedder.run("a cat")["embedding"])


def _can_wait_for_it(peer: _Peer) -> bool:
    return hasattr(peer.text(), "run_async")


def _loads_one_model_for_four_threads(peer: _Peer) -> bool:
    embedders = [peer.text() for _ in range(4)]
    start = threading.Barrier(4)

    def warm_up(embedder: Any) -> None:  # noqa: ANN401 - a component
        start.wait()
        embedder.warm_up()

    threads = [threading.Thread(target=warm_up, args=(one,)) for one in embedders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len({_weights(one) for one in embedders}) == 1


def _weights(embedder: Any) -> int:  # noqa: ANN401 - a component
    """Names the weights behind an embedder."""
    access = getattr(embedder, "_access", None)
    if access is not None:
        return id(access.engine()._model)  # noqa: SLF001 - there is no public name
    return id(embedder.embedding_backend.model)


_ROWS: dict[str, Callable[[_Peer], bool]] = {
    "every element of a list is checked": _refuses_a_second_element,
    "a document without content gets no vector": _skips_nothing_to_embed,
    "vectors that are cut have unit length": _has_unit_length_when_cut,
    "0 dimensions are refused": _refuses_no_dimensions,
    "999 dimensions are refused": _refuses_too_many_dimensions,
    "what was cut off is said": _says_what_it_cut,
    "YAML names no machine": _names_no_machine,
    "there is close, and use after it": _can_be_closed,
    "there is run_async": _can_wait_for_it,
    "four threads load one model": _loads_one_model_for_four_threads,
}
