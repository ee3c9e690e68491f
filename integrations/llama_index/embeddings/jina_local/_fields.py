"""What a `JinaV3Embedding` is made with: the fields, their checks, and what they stand for."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any, Literal, Self

from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.bridge.pydantic import (
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)
from llama_index.embeddings.jina_local._doubts import Fallback  # noqa: TC002 - read at run time
from llama_index.embeddings.jina_local._late_nodes import (
    MetadataPlace,  # noqa: TC002 - read at run time
)
from llama_index.embeddings.jina_local._model import ModelPlace
from llama_index.embeddings.jina_local._roles import RoleCache
from pydantic import AliasChoices, ValidationInfo, field_serializer

from jina_local.adapter_folders import check_adapter_folders, check_task_choice, folder_id
from jina_local.errors import InvalidOptionError
from jina_local.tasks import ROLE_TASKS, V3_INSTRUCTIONS
from jina_local.widths import width_without_loading

__all__ = ["EmbeddingFields"]

_V3_WIDTH = 1024

_PAIR = "retrieval"
_TASKS = ("task", "query_task", "text_task")


class EmbeddingFields(BaseEmbedding):
    """The fields of an embedding model, checked when they are given and when they are assigned."""

    model_config = ConfigDict(
        extra="forbid",
        validate_assignment=True,
        arbitrary_types_allowed=True,
        protected_namespaces=("pydantic_model_",),
    )

    # What vectors depend on: in `to_dict`, and so in the key of an ingestion cache.
    model_name: str = Field(
        default="jinaai/jina-embeddings-v3",
        min_length=1,
        validation_alias=AliasChoices("model_name", "model"),
        description='A folder, a name on the hub, or "demo" for the small bundled model, which is '
        "not jina-embeddings-v3. Also accepted as `model`.",
    )
    revision: str | None = Field(default=None, description="Branch, tag or commit on the hub.")
    adapters: dict[str, str] | None = Field(
        default=None,
        description="Adapters of your own, each a PEFT folder by the name of its task: more tasks, "
        "or others in the place of the model's. What is in the folders is part of `to_dict`.",
    )
    task: str | None = Field(
        default=_PAIR,
        description='What vectors are for; "retrieval" has an adapter for queries and one for '
        "texts. None is the base model without adapter and instruction.",
    )
    query_task: str | None = Field(
        default=None, description="Adapter of queries, if it is not that of `task`."
    )
    text_task: str | None = Field(
        default=None, description="Adapter of texts, if it is not that of `task`."
    )
    dimensions: int | None = Field(
        default=None,
        ge=1,
        strict=True,
        description="Matryoshka dimension; the model's width if None.",
    )
    normalize: bool = Field(
        default=True, strict=True, description="Whether vectors get unit length."
    )
    max_length: int | None = Field(
        default=None,
        ge=3,
        strict=True,
        description="The most tokens of a text; what the model takes if None.",
    )
    on_overflow: Literal["error", "truncate", "window"] | None = Field(
        default=None,
        description='What happens to longer ones; None is "error" for queries and "window" for '
        "everything else.",
    )
    late_chunking: bool = Field(
        default=False,
        strict=True,
        description="Whether nodes are embedded in the context of their document.",
    )
    late_chunking_group_by: str | None = Field(
        default=None,
        description="Metadata key that sources have in common which are one document, such as "
        "the file of pages.",
    )
    late_chunking_metadata: MetadataPlace = Field(
        default="context",
        description="Where the metadata goes that nodes want embedded: what all nodes of a "
        "document share once in front as context, and the rest before its node; all of it before "
        "its node (inline); nowhere (none).",
    )
    late_chunking_window: int | None = Field(
        default=None,
        ge=3,
        strict=True,
        description="The most tokens of a window of a longer document; `max_length` if None.",
    )

    # How it is run: in no key.
    device: str | None = Field(
        default=None, exclude=True, description="Where the model runs; the fastest if None."
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        default="auto", exclude=True, description="What the model computes in."
    )
    cache_folder: str | None = Field(
        default=None, exclude=True, description="Where the hub's files are kept."
    )
    local_files_only: bool = Field(
        default=False, strict=True, exclude=True, description="Whether to touch no network."
    )
    max_batch_tokens: int | None = Field(
        default=None,
        ge=1,
        strict=True,
        exclude=True,
        description="The most tokens per pass; a default of the device if None.",
    )
    show_progress: bool = Field(
        default=False,
        strict=True,
        exclude=True,
        description="Whether to show a bar also where LlamaIndex does not ask for one.",
    )
    late_chunking_fallback: Fallback = Field(
        default="warn",
        exclude=True,
        description="What to do where `late_chunking` cannot know the documents of several texts, "
        "which are then embedded on their own.",
    )
    embed_batch_size: int = Field(
        default=256,
        gt=0,
        le=2048,
        exclude=True,
        description="Texts that are handed to the engine at once, which packs them by tokens.",
    )
    num_workers: int | None = Field(default=None, exclude=True, description="Not needed.")
    embeddings_cache: Any | None = Field(
        default=None,
        exclude=True,
        description="A key-value store for vectors of texts and queries; not used for vectors in "
        "context.",
    )

    @field_validator("model_name", "cache_folder", mode="before")
    @classmethod
    def _path(cls, place: object) -> object:
        return os.fspath(place) if isinstance(place, os.PathLike) else place

    @field_validator("adapters", mode="before")
    @classmethod
    def _folders(cls, adapters: object) -> object:
        if isinstance(adapters, Mapping):
            adapters = {name: _folder(one) for name, one in adapters.items()}
        checked = check_adapter_folders(adapters)
        if _PAIR in checked:
            msg = f"{_PAIR!r} is the name of two tasks together; give your own one another name"
            raise InvalidOptionError(msg)
        return checked or None

    @field_validator("adapters")
    @classmethod
    def _still_there(
        cls, adapters: dict[str, str] | None, info: ValidationInfo
    ) -> dict[str, str] | None:
        for name in _TASKS:  # those that were chosen before, if this is an assignment
            _check_task(name, info.data.get(name), adapters)
        return adapters

    @field_serializer("adapters")
    def _identified(self, adapters: dict[str, str] | None) -> dict[str, Any] | None:
        if adapters is None:
            return None
        return {
            name: {"folder": folder, "sha256": folder_id(folder)}
            for name, folder in adapters.items()
        }

    @field_validator("task", mode="before")
    @classmethod
    def _pair(cls, task: object) -> object:
        return _PAIR if task in ROLE_TASKS.values() else task

    @field_validator("task", "query_task", "text_task")
    @classmethod
    def _known(cls, task: str | None, info: ValidationInfo) -> str | None:
        _check_task(str(info.field_name), task, info.data.get("adapters"))
        return task

    @model_validator(mode="after")
    def _own_cache(self) -> Self:
        cache = self.embeddings_cache
        if cache is not None:
            store = cache.store if isinstance(cache, RoleCache) else cache
            self.__dict__["embeddings_cache"] = RoleCache(store, self._settings)
        return self

    @model_validator(mode="after")
    def _no_chunks_of_queries(self) -> Self:
        if self.late_chunking and self._text_task == ROLE_TASKS["query"]:
            msg = (
                f"late_chunking with text_task {self.text_task!r}: queries are no chunks of a "
                f"document; use {ROLE_TASKS['document']!r}, the default"
            )
            raise ValueError(msg)
        return self

    def __setattr__(self, name: str, value: object) -> None:
        before = self.__dict__.copy()
        try:
            super().__setattr__(name, value)
        except (TypeError, ValueError):  # the base class raises the former for a cache
            self.__dict__.update(before)  # pydantic keeps what a model validator refuses
            raise

    def to_payload(self) -> dict[str, Any]:
        """What events say of the model."""
        return {
            "class_name": self.class_name(),
            "model_name": self.model_name,
            "embed_batch_size": self.embed_batch_size,
            "task": self.task,
            "dimensions": self.dimensions,
            "late_chunking": self.late_chunking,
        }

    @property
    def embedding_dim(self) -> int:
        """d, for stores that ask for it; known before the model is loaded."""
        return self.dimensions or width_without_loading(
            self.model_name,
            revision=self.revision,
            cache_dir=self.cache_folder,
            otherwise=_V3_WIDTH,
        )

    @property
    def _query_task(self) -> str | None:
        own = ROLE_TASKS["query"] if self.task == _PAIR else self.task
        return self.query_task or own

    @property
    def _text_task(self) -> str | None:
        own = ROLE_TASKS["document"] if self.task == _PAIR else self.task
        return self.text_task or own

    @property
    def _place(self) -> ModelPlace:
        return ModelPlace(
            source=self.model_name,
            revision=self.revision,
            device=self.device,
            dtype=self.dtype,
            cache_folder=self.cache_folder,
            local_files_only=self.local_files_only,
            max_batch_tokens=self.max_batch_tokens,
            adapters=tuple(
                (name, folder, folder_id(folder)) for name, folder in (self.adapters or {}).items()
            ),
        )

    def _settings(self) -> str:
        """What vectors depend on, as a key."""
        return json.dumps(self.to_dict(), sort_keys=True)


def _check_task(name: str, task: str | None, adapters: Mapping[str, str] | None) -> None:
    """Refuse a task that is neither one of the model's nor one of the user's own."""
    choices = dict.fromkeys((*V3_INSTRUCTIONS, *(adapters or ())))
    if name != "task":
        check_task_choice(name, task, choices, "that of task")
        return
    of_both = [one for one in choices if one not in ROLE_TASKS.values()]
    check_task_choice(name, task, (_PAIR, *of_both), "the base model")


def _folder(one: object) -> object:
    """The folder of an adapter as `to_dict` has it, or as it is given."""
    return one.get("folder") if isinstance(one, Mapping) else one
