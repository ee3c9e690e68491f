"""Texts → features and hidden states → token embeddings: what both forms of the model share."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from torch.nn import functional as F

from jina_local.adapter_store import save_adapter
from jina_local.errors import InvalidOptionError, TextTooLongError, TruncationWarning
from jina_local.fingerprint import weights_id
from jina_local.inputs import check_choice, check_integer, check_supported, check_texts
from jina_local.native_files import task_folder
from jina_local.overflow import OnOverflow, prepare_texts, refuse_unfit_texts
from jina_local.sequences import PooledSequence
from jina_local_sentence_transformers.framework import InputModule, SentenceTransformer
from jina_local_sentence_transformers.settings import (
    SETTINGS_FILE,
    Where,
    read_saved,
    write_settings,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tokenizers import Tokenizer

    from jina_local.adapter_store import Adapter
    from jina_local.checkpoint import Checkpoint
    from jina_local.own_adapters import AdapterSource
    from jina_local.tokens import TextTokenizer
    from jina_local_sentence_transformers.settings import Settings
    from jina_local_sentence_transformers.task_choice import TaskChoice

__all__ = ["TextInput"]

_PAD_ID = 1  # of the model's vocabulary; what it is does not matter, no padding is ever computed
_SHORTEST = 3  # <s>, one token, </s>


class TextInput(InputModule):
    """First module of a model: texts with their task's instruction, and their token embeddings.

    Args:
        text_tokenizer: The checkpoint's tokenizer.
        choice: The checkpoint's tasks.
        settings: What is saved with the model.

    Attributes:
        max_seq_length: The most tokens per text, `<s>`, instruction and `</s>` included.
        on_overflow: For texts longer than that: `truncate`, with a warning, or `error`.
    """

    config_file_name = SETTINGS_FILE
    save_in_root = True

    def __init__(
        self, text_tokenizer: TextTokenizer, choice: TaskChoice, settings: Settings
    ) -> None:
        super().__init__()
        self.text_tokenizer = text_tokenizer
        self.choice = choice.checked()
        self.settings = settings
        self.max_seq_length = settings.max_seq_length or text_tokenizer.max_tokens
        self.on_overflow = settings.on_overflow
        check_choice("on_overflow", self.on_overflow, ("truncate", "error"))

    @property
    def tokenizer(self) -> Tokenizer:
        """The checkpoint's tokenizer, without truncation and padding."""
        return self.text_tokenizer.tokenizer

    def on_model_ready(self, model: SentenceTransformer) -> None:
        """Give the model its prompts, and what is not a module's business.

        Frameworks make `SentenceTransformer` themselves; without our class its `truncate_dim`
        would give vectors that are not of unit length.

        Raises:
            InvalidOptionError: If it was given other prompts.
        """
        from jina_local_sentence_transformers.model import JinaSentenceTransformer

        if type(model) is SentenceTransformer:
            model.__class__ = JinaSentenceTransformer
        prompts = self.choice.prompts()
        given = {name: text for name, text in model.prompts.items() if text}
        if other := {name: text for name, text in given.items() if text != prompts.get(name)}:
            msg = f"prompts {other} are not this model's, which come with its tasks: {prompts}"
            raise InvalidOptionError(msg)
        model.prompts = prompts

    def preprocess(
        self,
        inputs: Sequence[str],
        prompt: str | None = None,
        task: str | None = None,
        max_length: int | None = None,
        processing_kwargs: None = None,
    ) -> dict[str, torch.Tensor]:
        """Tokenize texts behind the instruction of their task.

        Args:
            inputs: N texts.
            prompt: See `TaskChoice.task`.
            task: See `TaskChoice.task`.
            max_length: The most tokens per text, if fewer than `max_seq_length`.
            processing_kwargs: Only `None`: tokenizing has no options here.

        Returns:
            `input_ids` and `attention_mask` (N, t), and `adapters` (N,), all int64.

        Raises:
            InvalidTextsError: If an input is not a string.
            InvalidOptionError: If the task is unknown, the prompt is not its own, or all texts
                begin with an instruction already.
            TextTooLongError: If a text is too long and `on_overflow` is `error`, or if the
                instruction leaves no room.
        """
        if processing_kwargs is not None:
            msg = f"processing_kwargs={processing_kwargs!r}: set model.max_seq_length instead"
            raise InvalidOptionError(msg)
        texts = check_texts(inputs)
        used = self.choice.task(task, prompt)
        self.choice.refuse_doubled(texts)
        limit = check_integer(
            "max_seq_length", self.max_seq_length, _SHORTEST, self.text_tokenizer.max_tokens
        )
        limit = min(limit, limit if max_length is None else max_length)
        tokenized = self.text_tokenizer.ids(texts, [used.instruction] * len(texts))
        if self.on_overflow == "error":
            _refuse_too_long(tokenized.lengths.tolist(), limit)
        count = len(texts)
        cut_all: list[OnOverflow] = ["truncate"] * count
        refuse_unfit_texts(tokenized, cut_all, limit, range(count))
        prepared = prepare_texts(tokenized, [used] * count, cut_all, limit)
        if prepared.truncated.any():
            n_cut = int(prepared.truncated.sum())
            msg = f"{n_cut} of {count} texts of a batch were cut to {limit} tokens"
            warnings.warn(msg, TruncationWarning, stacklevel=2)
        rows = [sequence.ids for sequence in prepared.sequences]
        longest = max(map(len, rows), default=0)
        ids = np.full((count, longest), _PAD_ID, dtype=np.int64)
        mask = np.zeros((count, longest), dtype=np.int64)
        for row, content in enumerate(rows):
            ids[row, : len(content)] = content
            mask[row, : len(content)] = 1
        return {
            "input_ids": torch.from_numpy(ids),
            "attention_mask": torch.from_numpy(mask),
            "adapters": torch.full((count,), used.adapter),
        }

    def forward(self, features: dict[str, Any]) -> dict[str, Any]:
        """Add `token_embeddings`, float32 (N, t, D), with zeros for padding."""
        ids = features["input_ids"].cpu().numpy().astype(np.int32)
        mask = features["attention_mask"].cpu().numpy().astype(bool)
        adapters = features["adapters"].tolist()
        sequences = [
            PooledSequence(ids[row][mask[row]], adapter, row, ())
            for row, adapter in enumerate(adapters)
        ]
        hidden = self.hidden_states(sequences)
        longest = ids.shape[1]
        padded = [F.pad(states, (0, 0, 0, longest - len(states))) for states in hidden]
        features["token_embeddings"] = torch.stack(padded).to(features["input_ids"].device)
        return features

    def hidden_states(self, sequences: list[PooledSequence]) -> list[torch.Tensor]:
        """Hidden states of each sequence, float32 (t, D), in the order given."""
        raise NotImplementedError

    def checkpoint(self) -> Checkpoint:
        """The checkpoint that the weights are of."""
        raise NotImplementedError

    def own_adapters(self) -> list[Adapter]:
        """Adapters that the source does not have, or has otherwise."""
        raise NotImplementedError

    def get_config_dict(self) -> dict[str, Any]:
        """What is saved: see `Settings`."""
        return self.settings.as_json()

    def save(self, output_path: str, safe_serialization: bool = True) -> None:
        """Save adapters of the user's own, each as a PEFT folder, and the settings.

        Args:
            output_path: The folder.
            safe_serialization: Only true: nothing is ever pickled.

        Raises:
            InvalidOptionError: If pickles are asked for.
            CheckpointError: If a file of the source changed since it was loaded.
        """
        check_supported({"safe_serialization": (safe_serialization, True)})
        folder, adapters = Path(output_path), self.own_adapters()
        settings = replace(
            self.current_settings(),
            weights=weights_id(self.checkpoint().own or self.checkpoint()),
            added=tuple(adapter.task for adapter in adapters),
        )
        write_settings(settings, folder)
        for adapter in adapters:
            save_adapter(adapter, task_folder(folder, adapter.task))

    def current_settings(self) -> Settings:
        """The settings with what was set on the model since it was loaded."""
        limit = self.max_seq_length
        return replace(
            self.settings,
            max_seq_length=None if limit == self.text_tokenizer.max_tokens else limit,
            on_overflow=self.on_overflow,
        )

    @classmethod
    def load(  # noqa: PLR0917 - the signature that sentence-transformers calls
        cls,
        model_name_or_path: str,
        subfolder: str = "",
        token: bool | str | None = None,
        cache_folder: str | None = None,
        revision: str | None = None,
        local_files_only: bool = False,
        trust_remote_code: bool = False,
        model_kwargs: dict[str, Any] | None = None,
        processor_kwargs: dict[str, Any] | None = None,
        config_kwargs: dict[str, Any] | None = None,
        backend: str = "torch",
    ) -> Self:
        """Load what `save` saved, for sentence-transformers; our own `load` has more options.

        Raises:
            InvalidOptionError: If options are given for a transformers model, which this is not.
        """
        del trust_remote_code  # nothing remote is ever run
        options = {
            "model_kwargs": (model_kwargs or None, None),
            "processor_kwargs": (processor_kwargs or None, None),
            "config_kwargs": (config_kwargs or None, None),
            "backend": (backend, "torch"),
        }
        check_supported(options)
        path = cls.load_dir_path(
            model_name_or_path,
            subfolder=subfolder,
            token=token,
            cache_folder=cache_folder,
            revision=revision,
            local_files_only=local_files_only,
        )
        folder = Path(path)
        where = Where(
            local_files_only=local_files_only,
            cache_dir=cache_folder,
            token=token if isinstance(token, str) else None,
        )
        settings, adapters = read_saved(folder)
        return cls.build(settings, adapters, where)

    @classmethod
    def build(cls, settings: Settings, adapters: Mapping[str, AdapterSource], where: Where) -> Self:
        """Load the source and make the module of it."""
        raise NotImplementedError


def _refuse_too_long(lengths: list[int], limit: int) -> None:
    too_long = [row for row, length in enumerate(lengths) if length > limit]
    if too_long:
        msg = (
            f"text {too_long[0]} of a batch has {lengths[too_long[0]]} tokens with its "
            f"instruction, and max_seq_length is {limit} ({len(too_long)} texts are too long): "
            "shorten it, or load the model with on_overflow='truncate'"
        )
        raise TextTooLongError(msg)
