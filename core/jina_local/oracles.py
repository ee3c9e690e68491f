"""Published numbers of a model, as data: what they are, and where they were published.

`oracles.json` in this package holds those of jina-embeddings-v3. Any file of its form works as
well: for a fine-tune whose numbers somebody keeps, and for tests that compute theirs.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import numpy as np

from jina_local.config import read_json
from jina_local.errors import InvalidOptionError
from jina_local.verdicts import Tolerance

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = [
    "FileDigest",
    "KnownWeights",
    "OracleSet",
    "PooledOracle",
    "StateOracle",
    "TokenOracle",
    "known_weights",
    "published_oracles",
    "read_oracles",
]

_SCHEMA = 1


@dataclass(frozen=True, slots=True)
class FileDigest:
    """SHA-256 of one file of a repository.

    Attributes:
        path: Where the file is in the folder.
        layout: The layout whose file it is, or `any`.
        digest: Hexadecimal.
    """

    path: str
    layout: str
    digest: str


@dataclass(frozen=True, slots=True)
class TokenOracle:
    """How a text is tokenized.

    Attributes:
        text: The text.
        ids: Its ids with `<s>` and `</s>`, if they are known.
        count: How many there are.
        source: Where that was published.
    """

    text: str
    ids: tuple[int, ...] | None
    count: int
    source: str


@dataclass(frozen=True, slots=True, eq=False)
class StateOracle:
    """A slice of the last hidden states of one text, neither pooled nor normalized.

    Attributes:
        name: What the input is.
        given: The input: ids, which need no tokenizer, or a text, which gets `<s>` and `</s>` and
            no instruction.
        row: The first token of the slice.
        column: The first component of the slice.
        values: Task (`None` for the base model) → float64 (rows, columns).
        source: Where they were published.
    """

    name: str
    given: tuple[int, ...] | str
    row: int
    column: int
    values: Mapping[str | None, np.ndarray]
    source: str


@dataclass(frozen=True, slots=True, eq=False)
class PooledOracle:
    """The first components of the unit vectors of N texts, adapters without instructions.

    Attributes:
        texts: The texts.
        values: Task → float64 (N, columns).
        source: Where they were published.
    """

    texts: tuple[str, ...]
    values: Mapping[str | None, np.ndarray]
    source: str


@dataclass(frozen=True, slots=True)
class KnownWeights:
    """Weights that a few small tensors tell from all others.

    Attributes:
        name: What they are.
        digests: Canonical tensor name → SHA-256 of its values as little-endian float32.
    """

    name: str
    digests: Mapping[str, str]


@dataclass(frozen=True, slots=True, eq=False)
class OracleSet:
    """Everything that is known of one model.

    Attributes:
        model: Its name.
        sizes: What tells its architecture from others.
        settings: Numbers of its config that change every vector.
        instructions: Task → instruction, in the order of the adapters.
        files: Digests of files.
        tensors: Canonical tensor name → SHA-256 of its values as little-endian float32.
        tokens: How texts are tokenized.
        states: Slices of hidden states.
        pooled: Slices of vectors.
        tolerances: `states` or `pooled` → dtype → tolerance.
        sources: Section → where it was published.
    """

    model: str
    sizes: Mapping[str, int]
    settings: Mapping[str, float]
    instructions: Mapping[str, str]
    files: tuple[FileDigest, ...]
    tensors: Mapping[str, str]
    tokens: tuple[TokenOracle, ...]
    states: tuple[StateOracle, ...]
    pooled: tuple[PooledOracle, ...]
    tolerances: Mapping[str, Mapping[str, Tolerance]]
    sources: Mapping[str, str]


def published_oracles() -> OracleSet:
    """The published numbers of jina-embeddings-v3."""
    return _oracle_set(_shipped())


def read_oracles(path: Path) -> OracleSet:
    """Numbers of another model, in a file of the same form.

    Raises:
        ModelNotFoundError: If there is no such file.
        CheckpointError: If it is no JSON object.
        InvalidOptionError: If it does not have the form of `oracles.json`.
    """
    content = read_json(path)
    try:
        return _oracle_set(content)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        msg = (
            f"{str(path)!r} is no set of oracles ({type(error).__name__}: {error}): it has to have "
            "the form of jina_local/oracles.json"
        )
        raise InvalidOptionError(msg) from error


def known_weights() -> tuple[KnownWeights, ...]:
    """The weights that can be recognised."""
    return tuple(KnownWeights(one["name"], one["sha256"]) for one in _shipped()["recognition"])


def _shipped() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(
        files("jina_local").joinpath("oracles.json").read_text(encoding="utf-8")
    )
    return content


def _oracle_set(content: Mapping[str, Any]) -> OracleSet:
    if content["schema"] != _SCHEMA:
        msg = f"schema {content['schema']!r}, not {_SCHEMA}"
        raise ValueError(msg)
    sections = ("sizes", "settings", "tasks", "files", "tensors", "tokens")
    return OracleSet(
        model=content["model"],
        sizes=_numbers(content["sizes"]),
        settings=_numbers(content["settings"]),
        instructions=content["tasks"]["instructions"],
        files=tuple(
            FileDigest(path, one["layout"], one["digest"])
            for path, one in content["files"]["sha256"].items()
        ),
        tensors=content["tensors"]["sha256"],
        tokens=tuple(
            _token_oracle(one, content["tokens"]["source"]) for one in content["tokens"]["texts"]
        ),
        states=tuple(map(_state_oracle, content["states"])),
        pooled=tuple(
            PooledOracle(tuple(one["texts"]), _by_task(one["values"]), one["source"])
            for one in content["pooled"]
        ),
        tolerances={
            kind: {dtype: Tolerance(*pair) for dtype, pair in content["tolerances"][kind].items()}
            for kind in ("states", "pooled")
        },
        sources={name: content[name]["source"] for name in sections},
    )


def _numbers(section: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in section.items() if name != "source"}


def _token_oracle(one: Mapping[str, Any], source: str) -> TokenOracle:
    ids = tuple(one["ids"]) if "ids" in one else None
    count = one["count"] if ids is None else len(ids)
    return TokenOracle(one["text"], ids, count, one.get("source", source))


def _state_oracle(one: Mapping[str, Any]) -> StateOracle:
    return StateOracle(
        name=one["name"],
        given=tuple(one["ids"]) if "ids" in one else one["text"],
        row=one["row"],
        column=one["column"],
        values=_by_task(one["values"]),
        source=one["source"],
    )


def _by_task(values: Mapping[str, Any]) -> dict[str | None, np.ndarray]:
    return {
        None if task == "none" else task: np.array(rows, dtype=np.float64)
        for task, rows in values.items()
    }
