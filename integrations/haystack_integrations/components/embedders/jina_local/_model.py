"""What both embedders share: which model, where, and how its vectors are made.

The difference between a text and a document embedder is data in this package: its default task,
and what it makes texts of. Neither torch nor the model is imported before `ModelSettings.load`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from haystack.utils import ComponentDevice, Secret

from jina_local.adapter_folders import check_task_choice
from jina_local.errors import InvalidOptionError
from jina_local.inputs import check_choice, check_dimensions, check_flag, check_integer
from jina_local.tasks import V3_INSTRUCTIONS
from jina_local.widths import width_without_loading

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jina_local import Engine

__all__ = [
    "DEFAULT_MODEL",
    "HUB_TOKEN",
    "Dtype",
    "ModelSettings",
    "OnOverflow",
    "check_fields",
    "check_strings",
]

DEFAULT_MODEL = "jinaai/jina-embeddings-v3"
HUB_TOKEN = Secret.from_env_var(["HF_API_TOKEN", "HF_TOKEN"], strict=False)

OnOverflow = Literal["error", "truncate", "window"]
Dtype = Literal["auto", "float32", "bfloat16", "float16"]

_V3_WIDTH = 1024
_HUB_ID = re.compile(r"\w[\w.-]*/[\w.-]+")


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """What both embedders are made with; see `JinaLocalTextEmbedder`."""

    model: str
    task: str | None
    adapters: Mapping[str, str] | None
    dimensions: int | None
    normalize_embeddings: bool
    on_overflow: OnOverflow | None
    device: ComponentDevice | None
    dtype: Dtype
    token: Secret | None
    revision: str | None
    local_files_only: bool
    cache_dir: str | None

    @classmethod
    def of(cls, embedder: object) -> ModelSettings:
        """Those that an embedder has under the same names."""
        return cls(**{field.name: getattr(embedder, field.name) for field in fields(cls)})

    def check(self) -> None:
        """Refuse what cannot be meant, before anything heavy is imported.

        Raises:
            ValueError: If an option is outside its allowed set.
        """
        if not isinstance(self.model, str) or not self.model:
            msg = f"model is {self.model!r}; give a folder, a name on the hub, or 'demo'"
            raise InvalidOptionError(msg)
        tasks = dict.fromkeys((*V3_INSTRUCTIONS, *(self.adapters or ())))
        check_task_choice("task", self.task, tasks, "the base model")
        if self.dimensions is not None:
            check_integer("dimensions", self.dimensions, 1)
        for name in ("normalize_embeddings", "local_files_only"):
            check_flag(name, getattr(self, name))
        check_choice("on_overflow", self.on_overflow, (None, *get_args(OnOverflow)))
        check_choice("dtype", self.dtype, get_args(Dtype))
        if self.device is not None and not isinstance(self.device, ComponentDevice):
            msg = (
                f"Invalid component device type '{type(self.device).__name__}'. Must either be "
                "None or ComponentDevice."
            )
            raise InvalidOptionError(msg)
        if self.device is not None and self.device.has_multiple_devices:
            msg = "device is a map of several; give one, such as ComponentDevice.from_str('cuda:0')"
            raise InvalidOptionError(msg)
        if self.token is not None and not isinstance(self.token, Secret):
            msg = f"token is a {type(self.token).__name__}; give a haystack.utils.Secret, or None"
            raise InvalidOptionError(msg)

    @property
    def embedding_dim(self) -> int:
        """d: `dimensions`, or else the model's width as far as it is known without loading it."""
        return self.dimensions or width_without_loading(
            self.model, revision=self.revision, cache_dir=self.cache_dir, otherwise=_V3_WIDTH
        )

    @property
    def public_name(self) -> str:
        """The model's name on the hub; of a folder, only its last part, on this machine or not."""
        is_on_hub = _HUB_ID.fullmatch(self.model) and not Path(self.model).exists()
        return self.model if is_on_hub else Path(self.model).name

    def load(self) -> Engine:
        """An engine over the process's one set of weights.

        Raises:
            InvalidOptionError: If the model has fewer dimensions than are asked for.
        """
        from jina_local import shared_engine

        engine = shared_engine(
            self.model,
            revision=self.revision,
            device="auto" if self.device is None else self.device.to_torch_str(),
            dtype=self.dtype,
            local_files_only=self.local_files_only,
            cache_dir=self.cache_dir,
            token=None if self.token is None else self.token.resolve_value(),
            adapters=self.adapters,
        )
        try:
            check_dimensions(self.dimensions, engine.dimension)
        except InvalidOptionError:
            engine.close()
            raise
        return engine


def check_fields(fields: object) -> None:
    """Refuse what is no list of metadata keys; a string would be one field per letter.

    Raises:
        InvalidOptionError: If so.
    """
    if not isinstance(fields, list | tuple) or not all(isinstance(one, str) for one in fields):
        msg = f"meta_fields_to_embed is {fields!r}; give a list of metadata keys, or None"
        raise InvalidOptionError(msg)


def check_strings(values: Mapping[str, object]) -> None:
    """Refuse values that are no strings.

    Raises:
        InvalidOptionError: If one is none.
    """
    for name, value in values.items():
        if not isinstance(value, str):
            msg = f"{name} is {value!r}; give a string"
            raise InvalidOptionError(msg)
