"""Safetensors files on disk: what is in them, whether it is right, and one tensor at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from safetensors import SafetensorError, safe_open

from jina_local.config import read_json
from jina_local.errors import CheckpointError, ModelNotFoundError
from jina_local.names import canonical_name, is_ignored

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    import torch

__all__ = [
    "FileStamp",
    "StoredTensor",
    "by_canonical_name",
    "check_tensors",
    "model_files",
    "stored_tensors",
]


@dataclass(frozen=True, slots=True)
class FileStamp:
    """What a file looked like at one moment; it changes whenever the file is written.

    Attributes:
        path: Where it is.
        size: Its bytes.
        mtime_ns: When it was last written.
    """

    path: Path
    size: int
    mtime_ns: int

    @classmethod
    def of(cls, path: Path) -> FileStamp:
        """The file as it is now."""
        stat = path.stat()
        return cls(path.resolve(), stat.st_size, stat.st_mtime_ns)

    def refuse_change(self) -> None:
        """Hold the file against the stamp.

        Raises:
            CheckpointError: If it was written or removed since.
        """
        try:
            is_same = FileStamp.of(self.path) == self
        except OSError:
            is_same = False
        if not is_same:
            msg = f"{self.path} changed on disk since it was loaded: load the model again"
            raise CheckpointError(msg)


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A tensor in a file, not read yet."""

    path: Path
    key: str
    shape: tuple[int, ...]
    dtype: str

    def read(self, device: str = "cpu") -> torch.Tensor:
        """The tensor, in memory of its own on the device.

        The file is mapped for this one tensor only: a mapping kept open would count every page
        that was ever read as memory of the process, next to the copy.
        """
        with safe_open(self.path, framework="pt", device=device) as file:
            tensor: torch.Tensor = file.get_tensor(self.key)
            return tensor.clone() if device == "cpu" else tensor


def model_files(folder: Path) -> list[Path]:
    """The safetensors files of the base model: one, or the shards that an index names.

    Raises:
        ModelNotFoundError: If the folder holds no weights, or not all shards.
        CheckpointError: If the index is not a safetensors index.
    """
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        weight_map = read_json(index).get("weight_map")
        names = weight_map.values() if isinstance(weight_map, Mapping) else ()
        if not names or not all(isinstance(name, str) for name in names):
            msg = f"{index} has no weight_map: it is not an index of safetensors shards"
            raise CheckpointError(msg)
        files = [folder / name for name in sorted(set(names))]
    else:
        files = [folder / "model.safetensors"]
    missing = [path.name for path in files if not path.is_file()]
    if missing:
        pickles = [path.name for path in sorted(folder.glob("*.bin"))]
        hint = f"; {pickles} are pickles, which are never loaded" if pickles else ""
        msg = f"{folder} has no weights: {missing} not found{hint}; download the whole checkpoint"
        raise ModelNotFoundError(msg)
    return files


def stored_tensors(path: Path) -> list[StoredTensor]:
    """Everything in one file, from its header alone.

    Raises:
        CheckpointError: If the file is cut short or is not a safetensors file.
    """
    try:
        with safe_open(path, framework="pt") as file:
            return [
                StoredTensor(path, key, tuple(part.get_shape()), part.get_dtype())
                for key in file.keys()  # noqa: SIM118 - safe_open is not a mapping
                for part in [file.get_slice(key)]
            ]
    except (SafetensorError, OSError) as error:
        with path.open("rb") as content:
            is_pointer = content.read(24) == b"version https://git-lfs."
        what = (
            "is a git-lfs pointer, not the weights: run `git lfs pull`"
            if is_pointer
            else f"is not a complete safetensors file ({error}): download it again"
        )
        msg = f"{path} {what}"
        raise CheckpointError(msg) from error


def by_canonical_name(stored: Iterable[StoredTensor], folder: Path) -> dict[str, StoredTensor]:
    """Stored tensors under their canonical names, without those that are ignored.

    Raises:
        CheckpointError: If two stored tensors are the same one.
    """
    named: dict[str, StoredTensor] = {}
    for tensor in stored:
        name = canonical_name(tensor.key)
        if is_ignored(name):
            continue
        if name in named:
            msg = f"{folder} stores {name} twice: as {named[name].key!r} and as {tensor.key!r}"
            raise CheckpointError(msg)
        named[name] = tensor
    return named


_LISTED = 8
_FLOATS = frozenset({"F64", "F32", "F16", "BF16"})


def check_tensors(
    tensors: Mapping[str, StoredTensor], shapes: Mapping[str, tuple[int, ...]], folder: Path
) -> None:
    """Hold what is stored against what must be there.

    Raises:
        CheckpointError: Listing everything that is missing, unexpected, misshapen or no float.
    """
    problems = {
        "missing": [name for name in shapes if name not in tensors],
        "unexpected": [tensor.key for name, tensor in tensors.items() if name not in shapes],
        "misshapen": [
            f"{tensor.key} {tensor.shape} instead of {shapes[name]}"
            for name, tensor in tensors.items()
            if name in shapes and tensor.shape != shapes[name]
        ],
        "not floating point": [
            f"{tensor.key} in {tensor.dtype}, which quantized files use"
            for tensor in tensors.values()
            if tensor.dtype not in _FLOATS
        ],
    }
    if not any(problems.values()):
        return
    lines = [
        f"  {len(names)} {problem}: {', '.join(names[:_LISTED])}{', …' * (len(names) > _LISTED)}"
        for problem, names in problems.items()
        if names
    ]
    msg = "\n".join([f"{folder} does not hold the tensors that its config.json promises:", *lines])
    raise CheckpointError(msg)
