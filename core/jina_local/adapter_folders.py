"""Folders of adapters as options that can be written down: checked and named without torch.

Integrations are made, serialized and compared long before anything is loaded. What can be said of
their adapters until then is said here; whether a folder holds an adapter of the model is found out
when it is read, by `own_adapters`.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path

from jina_local.errors import InvalidOptionError
from jina_local.stored import FileStamp
from jina_local.tasks import check_task_name

__all__ = [
    "INSTRUCTION_FILE",
    "PEFT_SETTINGS",
    "PEFT_WEIGHTS",
    "check_adapter_folders",
    "check_task_choice",
    "files_as_they_are",
    "folder_id",
]

PEFT_SETTINGS = "adapter_config.json"
PEFT_WEIGHTS = "adapter_model.safetensors"
INSTRUCTION_FILE = "jina_local_adapter.json"


def check_adapter_folders(adapters: object) -> dict[str, str]:
    """Folders by the names of their tasks, in the order of the names.

    That order makes the same adapters the same model, however they were written down.

    Raises:
        InvalidOptionError: If it is no mapping of names of tasks to folders.
    """
    if adapters is None:
        return {}
    if not isinstance(adapters, Mapping):
        msg = f"adapters is {adapters!r}, not names of tasks with folders: {{'my-task': 'folder'}}"
        raise InvalidOptionError(msg)
    return {check_task_name(name): _folder(name, adapters[name]) for name in _sorted(adapters)}


def check_task_choice(name: str, task: object, choices: Iterable[str], otherwise: str) -> None:
    """Refuse a task that is neither a known one, nor `None`, nor one of the user's adapters.

    Args:
        name: What the option is called.
        task: Its value.
        choices: The names that it may have.
        otherwise: What `None` stands for.

    Raises:
        InvalidOptionError: If it is something else.
    """
    known = tuple(choices)
    if task is not None and task not in known:
        listed = ", ".join(map(repr, known))
        msg = f"{name} is {task!r}; give one of {listed}, or None for {otherwise}"
        raise InvalidOptionError(msg)


def files_as_they_are(folder: str | Path) -> tuple[FileStamp, ...]:
    """Stamps of the files that make an adapter; of those that are not there, none."""
    paths = (Path(folder) / name for name in (PEFT_SETTINGS, PEFT_WEIGHTS, INSTRUCTION_FILE))
    return tuple(FileStamp.of(path) for path in paths if path.is_file())


def folder_id(folder: str | Path) -> str | None:
    """SHA-256 of the files that make an adapter; `None` if there are none.

    It is another one whenever weights, settings or instruction are. Files that stayed as they were
    are not read again.
    """
    stamps = files_as_they_are(folder)
    return _hash_of_files(stamps) if stamps else None


@lru_cache(maxsize=64)
def _hash_of_files(stamps: tuple[FileStamp, ...]) -> str:
    digest = hashlib.sha256()
    for stamp in stamps:
        digest.update(f"{stamp.path.name} {stamp.size}\n".encode())
        digest.update(stamp.path.read_bytes())
    return digest.hexdigest()


def _folder(name: str, folder: object) -> str:
    path = os.fspath(folder) if isinstance(folder, os.PathLike) else folder
    if not isinstance(path, str) or not path:
        what = (
            repr(path) if isinstance(path, str | int | None) else f"of type {type(path).__name__}"
        )
        msg = (
            f"the adapter {name!r} is {what}, not a folder: options can be written down, which an "
            "adapter in memory cannot; save_adapter makes a folder of it"
        )
        raise InvalidOptionError(msg)
    return path


def _sorted(adapters: Mapping[str, object]) -> list[str]:
    return sorted(adapters, key=str)  # what is no string is refused by name
