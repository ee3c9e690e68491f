"""A model and one task → an ONNX file that gives the engine's vectors, held against them.

The file pools, cuts and normalizes. What it cannot do is in its metadata and in `docs/onnx.md`: the
instruction goes before the text, the tokenizer lies beside it.
"""

from __future__ import annotations

import logging
import shutil
import tempfile
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
import torch

from jina_local.__about__ import __version__
from jina_local.engine import Engine
from jina_local.errors import InvalidOptionError, MissingExtraError
from jina_local.inputs import check_dimensions
from jina_local.onnx_graph import ExportedModel

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from jina_local.loading import LoadedModel
    from jina_local.tasks import Task

__all__ = ["OPSET", "Parity", "Precision", "check_export", "export_onnx"]

OPSET = 18
MODEL_FILE = "model.onnx"
TOKENIZER_FILE = "tokenizer.json"

Precision = Literal["float32", "float16", "int8"]

_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
_LARGEST_DIFFERENCE = 1e-5  # of float32
_SMALLEST_COSINE = {"float16": 0.999, "int8": 0.95}
_TEXTS = (
    "The harbour lies at the mouth of the river.",
    "Ships that pass in the night speak each other in passing; only a signal shown, and a distant "
    "voice in the darkness. So on the ocean of life we pass and speak one another.",
    "Der Hafen liegt an der Mündung des Flusses.",
    "42",
)
_MOST_TOKENS = 500  # of a text that is compared; longer ones are cut


@dataclass(frozen=True, slots=True, kw_only=True)
class Parity:
    """How far a file's vectors are from the engine's in float32.

    Attributes:
        folder: Where the file is, or would be.
        n_texts: Over how many texts, the longest one cut to hundreds of tokens.
        largest_difference: Of any component.
        smallest_cosine: Of any text.
        allowed: What was asked for, in words.
        is_ok: Whether it was kept; a file that failed is not.
    """

    folder: Path
    n_texts: int
    largest_difference: float
    smallest_cosine: float
    allowed: str
    is_ok: bool


@dataclass(frozen=True, slots=True)
class _Way:
    """What one file does."""

    task: Task
    dimensions: int
    precision: Precision


def export_onnx(
    model: LoadedModel,
    folder: str | Path,
    *,
    task: str | None,
    dimensions: int | None = None,
    precision: Precision = "float32",
) -> Parity:
    """Write model.onnx and tokenizer.json, if the file's vectors are the engine's.

    Args:
        model: Loaded on the CPU in float32, which is what the file is held against.
        folder: Must not exist yet, or be empty.
        task: Whose adapter is merged and whose instruction goes into the metadata; `None` is the
            base model.
        dimensions: d, fixed in the file; the full width if `None`.
        precision: `float32`; `float16`; `int8`: weights of the linears quantized per channel and
            activations dynamically, the word table in float16.

    Returns:
        What the comparison gave. Where it failed, there is no folder.

    Raises:
        MissingExtraError: If onnx, onnxscript or onnxruntime is not installed.
        InvalidOptionError: If an option is outside its allowed set, or the folder is not empty.
        UnknownTaskError: If the task is none of the model's.
    """
    used = model.checkpoint.tasks.find(task)
    way = _Way(used, check_dimensions(dimensions, model.checkpoint.config.width), precision)
    target = Path(folder)
    _check(model, precision)
    check_export(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as name:
        partial = Path(name) / "folder"
        partial.mkdir()
        with Engine(model) as engine:
            (partial / TOKENIZER_FILE).write_text(engine.tokenizer_json, encoding="utf-8")
            with _quiet():
                _write(model, way, partial, _facts(engine, way))
            parity = _compare(engine, way, partial, target)
        if parity.is_ok:
            if target.exists():
                target.rmdir()  # it is empty
            shutil.move(partial, target)
    return parity


def check_export(folder: Path) -> None:
    """Refuse an export that cannot be, before anything is read for it.

    Raises:
        MissingExtraError: If onnx, onnxscript or onnxruntime is not installed.
        InvalidOptionError: If the folder is not empty, or no folder.
    """
    missing = [name for name in _PACKAGES if find_spec(name) is None]
    if missing:
        msg = f"exporting needs {', '.join(missing)}: pip install 'jina-local[onnx]'"
        raise MissingExtraError(msg)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        msg = f"{folder} is there already and not an empty folder: give another one"
        raise InvalidOptionError(msg)


def _check(model: LoadedModel, precision: str) -> None:
    if precision not in get_args(Precision):
        msg = f"precision is {precision!r}, none of {get_args(Precision)}"
        raise InvalidOptionError(msg)
    if (model.device.type, model.dtype) != ("cpu", torch.float32):
        msg = (
            f"the model is on {model.device} in {model.dtype}: a file is held against the engine "
            "on the CPU in float32"
        )
        raise InvalidOptionError(msg)


def _facts(engine: Engine, way: _Way) -> dict[str, str]:
    """The file's metadata: all that one needs to use it, and what it was made of."""
    fingerprint = engine.fingerprint(
        task=way.task.name, dimensions=way.dimensions, normalize=True, instruction=True
    )
    return {
        "created_by": f"jina-local {__version__}",
        "model": engine.source,
        "task": way.task.name or "",
        "instruction": way.task.instruction,
        "dimensions": str(way.dimensions),
        "max_tokens": str(engine.max_tokens),
        "pooling": "mean over all tokens, inside",
        "normalized": "true",
        "precision": way.precision,
        "fingerprint": fingerprint,
    }


def _write(model: LoadedModel, way: _Way, folder: Path, facts: dict[str, str]) -> None:
    module = ExportedModel(
        model.checkpoint,
        way.task,
        dimensions=way.dimensions,
        dtype=torch.float16 if way.precision == "float16" else torch.float32,
        table_dtype=torch.float32 if way.precision == "float32" else torch.float16,
    ).eval()
    example = torch.zeros((2, 8), dtype=torch.int64)
    axes = {0: torch.export.Dim("n_texts"), 1: torch.export.Dim("n_tokens")}
    program = torch.onnx.export(
        module,
        (example, torch.ones_like(example)),
        input_names=["input_ids", "attention_mask"],
        output_names=["embeddings"],
        dynamic_shapes={"input_ids": axes, "attention_mask": axes},
        opset_version=OPSET,
        dynamo=True,
        verbose=False,
    )
    assert program is not None  # noqa: S101 - it is with dynamo
    program.model.metadata_props.update(facts)
    if way.precision != "int8":
        program.save(folder / MODEL_FILE, external_data=True)
        return
    with tempfile.TemporaryDirectory(dir=folder.parent) as name:
        program.save(Path(name) / MODEL_FILE, external_data=True)
        _quantize(Path(name) / MODEL_FILE, folder / MODEL_FILE)


def _quantize(source: Path, target: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(
        source,
        target,
        op_types_to_quantize=["MatMul"],
        per_channel=True,
        weight_type=QuantType.QInt8,
        use_external_data_format=True,
    )


def _compare(engine: Engine, way: _Way, partial: Path, target: Path) -> Parity:
    """The file as its users run it, from the text on, and the engine."""
    words = " ".join(_TEXTS)
    texts = [*_TEXTS, words, " ".join([words] * (_MOST_TOKENS // 8))]
    limit = min(engine.max_tokens, _MOST_TOKENS)
    expected = engine.embed(
        texts,
        task=way.task.name,
        dimensions=way.dimensions,
        max_tokens=limit,
        on_overflow="truncate",
    ).vectors
    found = _run(partial, [way.task.instruction + text for text in texts], limit)
    difference = float(abs(found - expected).max())
    cosine = float((found * expected).sum(1).min())
    is_exact = way.precision == "float32"
    least = _SMALLEST_COSINE.get(way.precision, 1.0)
    return Parity(
        folder=target,
        n_texts=len(texts),
        largest_difference=difference,
        smallest_cosine=cosine,
        allowed=f"difference ≤ {_LARGEST_DIFFERENCE:g}" if is_exact else f"cosine ≥ {least}",
        # a comparison with NaN is false
        is_ok=difference <= _LARGEST_DIFFERENCE if is_exact else cosine >= least,
    )


def _run(folder: Path, texts: Sequence[str], max_tokens: int) -> np.ndarray:
    """Vectors of all texts in one padded batch, float32 (N, d)."""
    import onnxruntime
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / TOKENIZER_FILE))
    tokenizer.enable_padding()  # any id will do, as the mask hides it
    tokenizer.enable_truncation(max_tokens)
    encodings = tokenizer.encode_batch(list(texts))
    session = onnxruntime.InferenceSession(folder / MODEL_FILE, providers=["CPUExecutionProvider"])
    inputs = {
        "input_ids": np.array([encoding.ids for encoding in encodings], dtype=np.int64),
        "attention_mask": np.array([e.attention_mask for e in encodings], dtype=np.int64),
    }
    (vectors,) = session.run(None, inputs)
    return np.asarray(vectors, dtype=np.float32)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what torch, onnxscript and onnxruntime say of themselves while they export."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
