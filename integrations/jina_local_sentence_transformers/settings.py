"""What is saved of a model, and what is needed to load it again.

A saved model holds adapters and settings; the weights that all tasks share stay where they were
loaded from, and are checked to be the same when it is loaded again. A model that was trained as a
whole holds everything: it is a checkpoint of its own, and its source is `.`.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from jina_local.config import read_json
from jina_local.errors import CheckpointError, InvalidOptionError
from jina_local.files import written_whole
from jina_local.fingerprint import weights_id
from jina_local.native_files import task_folder
from jina_local.source import ModelSource, resolve_source
from jina_local.tasks import ROLE_TASKS

if TYPE_CHECKING:
    from jina_local.checkpoint import Checkpoint
    from jina_local.own_adapters import AdapterSource

__all__ = [
    "HERE",
    "SETTINGS_FILE",
    "Settings",
    "Where",
    "is_saved_model",
    "read_saved",
    "refuse_other_weights",
    "write_settings",
]

SETTINGS_FILE = "jina_local_model.json"
HERE = "."
_SCHEMA = 1

Overflow = Literal["truncate", "error"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """How the source is found and where it goes; see `jina_local.Engine.load`."""

    device: str = "auto"
    dtype: str = "auto"
    local_files_only: bool = False
    cache_dir: str | Path | None = None
    token: str | None = None
    canary: bool = True

    def find(self, settings: Settings) -> ModelSource:
        """The source of a model, downloaded if need be."""
        return resolve_source(
            settings.source,
            revision=settings.revision,
            local_files_only=self.local_files_only,
            cache_dir=self.cache_dir,
            token=self.token,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What makes a model this one.

    Attributes:
        source: What the base weights were loaded from: a folder, a hub id, `demo`; `.` if they
            were saved with the model.
        revision: The hub's revision that was asked for.
        weights: `weights_id` of the source's own checkpoint; empty where it is not known yet.
        added: Tasks whose adapters are saved with the model.
        trained: Tasks that are trained.
        train_base: Whether the base weights are trained.
        query_task: The task of `encode_query`.
        document_task: The task of `encode_document`.
        default_task: The task of texts of which nothing is said.
        max_seq_length: The most tokens per text; the checkpoint's own limit if `None`.
        on_overflow: For texts longer than that.
    """

    source: str
    revision: str | None = None
    weights: str = ""
    added: tuple[str, ...] = ()
    trained: tuple[str, ...] = ()
    train_base: bool = False
    query_task: str = ROLE_TASKS["query"]
    document_task: str = ROLE_TASKS["document"]
    default_task: str | None = None
    max_seq_length: int | None = None
    on_overflow: Overflow = "truncate"

    def updated(
        self,
        *,
        query_task: str | None,
        document_task: str | None,
        default_task: str | None,
        max_seq_length: int | None,
        on_overflow: Overflow | None,
    ) -> Settings:
        """The same with other options, where these are not `None`."""
        given = {
            "query_task": query_task,
            "document_task": document_task,
            "default_task": default_task,
            "max_seq_length": max_seq_length,
            "on_overflow": on_overflow,
        }
        changes: dict[str, Any] = {key: one for key, one in given.items() if one is not None}
        return replace(self, **changes)

    def as_json(self) -> dict[str, Any]:
        """What `read_settings` reads."""
        return {"schema": _SCHEMA, **asdict(self)}


def is_saved_model(folder: str | Path) -> bool:
    """Whether a folder is of a saved model."""
    return (Path(folder) / SETTINGS_FILE).is_file()


def read_saved(folder: Path) -> tuple[Settings, dict[str, AdapterSource]]:
    """Settings of a saved model, and the folders of its adapters by task.

    Raises:
        ModelNotFoundError: If the folder has no settings.
        CheckpointError: If they are not what this version saves.
    """
    content = read_json(folder / SETTINGS_FILE)
    schema = content.pop("schema", None)
    tuples = {key: tuple(content.get(key) or ()) for key in ("added", "trained")}
    try:
        settings = Settings(**content | tuples)
    except TypeError as error:
        msg = f"{folder / SETTINGS_FILE} was saved by another version ({error}): save it again"
        raise CheckpointError(msg) from error
    if schema != _SCHEMA:
        msg = f"{folder / SETTINGS_FILE} has schema {schema!r}, not {_SCHEMA}: save it again"
        raise CheckpointError(msg)
    adapters: dict[str, AdapterSource] = {
        task: task_folder(folder, task) for task in settings.added
    }
    source = str(folder.resolve()) if settings.source == HERE else settings.source
    return replace(settings, source=source), adapters


def write_settings(settings: Settings, folder: Path) -> None:
    """Write what `read_saved` reads.

    Raises:
        InvalidOptionError: If two tasks would be saved in one folder.
    """
    folders = [task_folder(folder, task).name for task in settings.added]
    if len(set(folders)) < len(folders):
        msg = f"tasks {settings.added} would be saved in folders {folders}: give one another name"
        raise InvalidOptionError(msg)
    with written_whole(folder / SETTINGS_FILE) as file:
        file.write((json.dumps(settings.as_json(), indent=2) + "\n").encode())


def refuse_other_weights(settings: Settings, checkpoint: Checkpoint) -> None:
    """Refuse a source that is not the one that a saved model was made from.

    Raises:
        CheckpointError: If so.
    """
    if settings.weights and weights_id(checkpoint.own or checkpoint) != settings.weights:
        msg = (
            f"{settings.source} does not hold the weights that the model was saved over; load it "
            "with base=…, the folder or hub id of those, or its vectors would be wrong"
        )
        raise CheckpointError(msg)
