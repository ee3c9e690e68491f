"""What the model computes, according to transformers and PEFT.

`Oracle` is `JinaEmbeddingsV3Model` with one PEFT adapter per task, float32, loaded from a native
folder the way its documentation shows. `naive_hidden_states` says the same in formulas. The two
share nothing but the neutral weights, so each checks the other; `mutations` lists wrong models that
a comparison with them has to notice.

Shapes: T tokens, D hidden width, d embedding width.
"""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Literal, cast

import torch
import torch.nn.functional as F
from transformers import AutoModel
from transformers.utils import logging

from support.checkpoints import write_native
from support.mutations import mutations
from support.naive import naive_hidden_states
from support.spellings import SPELLINGS, adapter_folder
from support.tiny_tokenizers import PAD_ID

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from transformers import JinaEmbeddingsV3Model

    from support.weights import TinyConfig, Weights

__all__ = ["Oracle", "load_native", "mutations", "naive_hidden_states"]

Attention = Literal["eager", "sdpa"]


class Oracle:
    """The model as transformers runs it: padded, one adapter at a time, no instructions.

    Not for two threads at once, because switching adapters changes the model.
    """

    def __init__(
        self, config: TinyConfig, weights: Weights, *, attention: Attention = "eager"
    ) -> None:
        weights = {name: tensor.float() for name, tensor in weights.items()}
        with TemporaryDirectory() as folder:
            write_native(Path(folder), config, weights, SPELLINGS["hub"])
            self._model = load_native(Path(folder), config, attention=attention)
        self._model.disable_adapters()
        self._task: str | None = None

    def hidden_states(self, ids: Sequence[int], task: str | None) -> torch.Tensor:
        """The last hidden state of one text, (T, D) float32; `None` is the base model."""
        return self.padded_hidden_states([ids], task)[0]

    def padded_hidden_states(
        self, batch: Sequence[Sequence[int]], task: str | None
    ) -> list[torch.Tensor]:
        """The same for several texts in one forward pass, padded right and masked; each (T, D)."""
        longest = max(map(len, batch))
        ids = torch.tensor([[*row, *[PAD_ID] * (longest - len(row))] for row in batch])
        mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in batch])
        self._select(task)
        with torch.no_grad():
            hidden = self._model(input_ids=ids, attention_mask=mask).last_hidden_state
        return [states[: len(row)] for states, row in zip(hidden, batch, strict=True)]

    def embedding(
        self,
        ids: Sequence[int],
        task: str | None,
        *,
        dimensions: int | None = None,
        normalize: bool = True,
    ) -> torch.Tensor:
        """The embedding of one text, (d,) float32: mean of all tokens, truncate, normalise."""
        pooled = self.hidden_states(ids, task).mean(dim=0)[:dimensions]
        return F.normalize(pooled, dim=0) if normalize else pooled

    def _select(self, task: str | None) -> None:
        if task == self._task:
            return
        if task is None:
            self._model.disable_adapters()
        else:
            self._model.enable_adapters()
            self._model.set_adapter(adapter_folder(task))
        self._task = task


def load_native(
    folder: Path, config: TinyConfig, *, attention: Attention = "eager"
) -> JinaEmbeddingsV3Model:
    """Load a native folder with all its adapters, as the documentation of transformers does.

    Raises:
        ValueError: Some tensor of the files was not used, or some weight was not in them. By itself
            transformers only logs that, and goes on with random weights.
    """
    with _quiet():
        model, report = AutoModel.from_pretrained(
            folder, dtype=torch.float32, attn_implementation=attention, output_loading_info=True
        )
        _check(report["missing_keys"], report["unexpected_keys"])
        for name in map(adapter_folder, config.tasks):
            # by the documentation `folder` with a `subfolder`, which 5.17 finds on the hub only
            loaded = model.load_adapter(str(folder / name), adapter_name=name)
            # the report also counts the adapters loaded before as missing, which they are not
            missing = {key for key in loaded.missing_keys if f".{name}" in key}
            _check(missing, loaded.unexpected_keys)
    model.eval()
    return cast("JinaEmbeddingsV3Model", model)


def _check(missing: set[str], unexpected: set[str]) -> None:
    unused = {key for key in missing | unexpected if "pooler." not in key}
    if unused:
        msg = f"names that transformers could not match: {sorted(unused)[:4]}…"
        raise ValueError(msg)


@contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars, no load reports, and not PEFT's warning about a second adapter."""
    bars, verbosity = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Already found a `peft_config`", UserWarning)
            yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
