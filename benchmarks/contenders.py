"""Ways of running the model on one machine, each as its own documentation recommends.

A contender gets a folder in the native layout, texts, and the task `retrieval.passage` with its
instruction, and gives unit vectors of full width. What is not installed is named, never dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["CONTENDERS", "INSTRUCTION", "TASK", "Contender", "Embed", "contenders_for"]

TASK = "retrieval.passage"
INSTRUCTION = "Represent the document for retrieval: "
_ADAPTER = "retrieval_passage"

Embed = Callable[[Sequence[str]], np.ndarray]
"""N texts → unit vectors (N, D)."""


class _Load(Protocol):
    def __call__(self, folder: Path, device: str) -> Embed: ...


@dataclass(frozen=True, slots=True)
class Contender:
    """One way of running the model.

    Attributes:
        name: In tables.
        dtype: What it computes in.
        load: Loads it.
        needs: Packages that must be there.
        devices: Where it makes sense.
    """

    name: str
    dtype: str
    load: _Load
    needs: tuple[str, ...] = ()
    devices: tuple[str, ...] = ("cpu", "cuda")

    @property
    def full_name(self) -> str:
        """The name with the dtype."""
        return f"{self.name}, {self.dtype}"

    def missing(self) -> list[str]:
        """Packages that are not installed."""
        return [name for name in self.needs if find_spec(name) is None]


def contenders_for(device: str) -> list[Contender]:
    """All that make sense on a device."""
    return [one for one in CONTENDERS if device in one.devices]


def _jina_local(dtype: str) -> _Load:
    def load(folder: Path, device: str) -> Embed:
        from jina_local import Engine

        engine = Engine.load(folder, device=device, dtype=dtype)
        return lambda texts: engine.embed(list(texts), task=TASK).vectors

    return load


def _transformers(dtype: str, *, by_length: bool, attention: str, batch: int) -> _Load:
    """The native model with a PEFT adapter, padded batches, mean over the mask."""

    def load(folder: Path, device: str) -> Embed:
        import torch
        from transformers import AutoModel, AutoTokenizer

        model = AutoModel.from_pretrained(
            folder, dtype=getattr(torch, dtype), attn_implementation=attention
        )
        model.load_adapter(str(folder / _ADAPTER), adapter_name=_ADAPTER)
        model.set_adapter(_ADAPTER)
        model.to(device=device, dtype=getattr(torch, dtype)).eval()
        tokenizer = AutoTokenizer.from_pretrained(folder)

        def embed(texts: Sequence[str]) -> np.ndarray:
            prompted = [INSTRUCTION + text for text in texts]
            order = list(range(len(texts)))
            if by_length:
                order.sort(key=lambda i: -len(prompted[i]))
            rows = np.empty((len(texts), model.config.hidden_size), dtype=np.float32)
            for start in range(0, len(order), batch):
                chosen = order[start : start + batch]
                rows[chosen] = _mean_vectors(model, tokenizer, [prompted[i] for i in chosen])
            return rows

        return embed

    return load


def _mean_vectors(model: Any, tokenizer: Any, texts: list[str]) -> np.ndarray:  # noqa: ANN401
    import torch

    encoded = tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
    inputs = {name: encoded[name].to(model.device) for name in ("input_ids", "attention_mask")}
    with torch.inference_mode():
        hidden = model(**inputs).last_hidden_state.float()
        mask = inputs["attention_mask"][..., None].float()
        pooled = (hidden * mask).sum(1) / mask.sum(1)
        return np.asarray(torch.nn.functional.normalize(pooled).cpu())


def _sentence_transformers(dtype: str, *, batch: int) -> _Load:
    def load(folder: Path, device: str) -> Embed:
        import torch
        from sentence_transformers import SentenceTransformer

        model = SentenceTransformer(
            str(folder), device=device, model_kwargs={"dtype": getattr(torch, dtype)}
        )
        inner = model[0].auto_model
        inner.load_adapter(str(folder / _ADAPTER), adapter_name=_ADAPTER)
        inner.set_adapter(_ADAPTER)
        model.to(device=device, dtype=getattr(torch, dtype))

        def embed(texts: Sequence[str]) -> np.ndarray:
            vectors = model.encode(
                list(texts),
                prompt=INSTRUCTION,
                batch_size=batch,
                normalize_embeddings=True,
                show_progress_bar=False,
            )
            return np.asarray(vectors, dtype=np.float32)

        return embed

    return load


def _onnxruntime(*, batch: int) -> _Load:
    """A graph with the adapter merged, in batches sorted by length."""

    def load(folder: Path, device: str) -> Embed:
        del device  # only the processor
        import onnxruntime
        from transformers import AutoTokenizer

        graph = _exported(folder)
        session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
        tokenizer = AutoTokenizer.from_pretrained(folder)

        def embed(texts: Sequence[str]) -> np.ndarray:
            prompted = [INSTRUCTION + text for text in texts]
            order = sorted(range(len(texts)), key=lambda i: -len(prompted[i]))
            rows: dict[int, np.ndarray] = {}
            for start in range(0, len(order), batch):
                chosen = order[start : start + batch]
                encoded = tokenizer(
                    [prompted[i] for i in chosen],
                    padding=True,
                    truncation=True,
                    return_tensors="np",
                )
                names = ("input_ids", "attention_mask")
                hidden = session.run(None, {name: encoded[name] for name in names})[0]
                mask = encoded["attention_mask"][..., None]
                pooled = (hidden * mask).sum(1) / mask.sum(1)
                pooled /= np.linalg.norm(pooled, axis=1, keepdims=True)
                rows |= zip(chosen, pooled, strict=True)
            return np.stack([rows[i] for i in range(len(texts))]).astype(np.float32)

        return embed

    return load


def _exported(folder: Path) -> str:
    """The path of the graph, made beside the weights if it is not there."""
    import torch
    from transformers import AutoModel

    path = folder / "onnx" / "model.onnx"
    if path.exists():
        return str(path)
    path.parent.mkdir(exist_ok=True)
    model = AutoModel.from_pretrained(folder, dtype=torch.float32, attn_implementation="sdpa")
    model.load_adapter(str(folder / _ADAPTER), adapter_name=_ADAPTER)
    model.set_adapter(_ADAPTER)
    model.eval()
    for module in model.modules():
        if hasattr(module, "merge") and hasattr(module, "lora_A"):
            module.merge()
    ids = torch.ones((2, 9), dtype=torch.int64)
    sizes = {0: torch.export.Dim("texts"), 1: torch.export.Dim("tokens")}
    torch.onnx.export(
        model,
        (),
        str(path),
        kwargs={"input_ids": ids, "attention_mask": torch.ones_like(ids)},
        dynamic_shapes={"input_ids": sizes, "attention_mask": sizes},
        dynamo=True,
        external_data=True,
    )
    return str(path)


_NATIVE = ("transformers", "peft")
_ST = ("sentence_transformers", "peft")

CONTENDERS: tuple[Contender, ...] = (
    Contender(
        "transformers + PEFT",
        "float32",
        _transformers("float32", by_length=False, attention="sdpa", batch=32),
        _NATIVE,
    ),
    Contender(
        "transformers + PEFT, sorted by length",
        "float32",
        _transformers("float32", by_length=True, attention="sdpa", batch=8),
        _NATIVE,
    ),
    Contender("jina-local", "float32", _jina_local("float32")),
    Contender("jina-local", "bfloat16", _jina_local("bfloat16")),
    Contender("jina-local", "float16", _jina_local("float16"), devices=("cuda",)),
    Contender(
        "transformers + PEFT, sorted by length",
        "bfloat16",
        _transformers("bfloat16", by_length=True, attention="sdpa", batch=8),
        _NATIVE,
        ("cpu",),
    ),
    Contender(
        "transformers + PEFT, sorted by length",
        "bfloat16",
        _transformers("bfloat16", by_length=True, attention="sdpa", batch=64),
        _NATIVE,
        ("cuda",),
    ),
    Contender(
        "transformers + PEFT, flash-attention, sorted by length",
        "bfloat16",
        _transformers("bfloat16", by_length=True, attention="flash_attention_2", batch=64),
        (*_NATIVE, "flash_attn"),
        ("cuda",),
    ),
    Contender(
        "sentence-transformers, as it comes",
        "float32",
        _sentence_transformers("float32", batch=32),
        _ST,
    ),
    Contender(
        "sentence-transformers",
        "bfloat16",
        _sentence_transformers("bfloat16", batch=32),
        _ST,
        ("cpu",),
    ),
    Contender(
        "sentence-transformers",
        "bfloat16",
        _sentence_transformers("bfloat16", batch=128),
        _ST,
        ("cuda",),
    ),
    Contender(
        "onnxruntime, sorted by length",
        "float32",
        _onnxruntime(batch=8),
        ("onnxruntime", "onnx", "onnxscript", "transformers", "peft"),
        ("cpu",),
    ),
)
