"""The teacher: all-MiniLM-L6-v2 (a 6-layer BERT, E = 384, mean pooling), read from a folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from transformers import BertModel

from .batching import by_length, mean_pool, pad_rows
from .settings import TEACHER_WIDTH

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tokenizers import Encoding
    from torch import Tensor

TEACHER_PAD_ID = 0
MAX_TOKENS = 512
ENCODE_AT_ONCE = 2000


def load_bert(folder: Path, dtype: torch.dtype = torch.float32) -> BertModel:
    """Reads the teacher's weights; nothing is downloaded."""
    model: BertModel = BertModel.from_pretrained(
        str(folder),
        add_pooling_layer=False,
        attn_implementation="sdpa",
        dtype=dtype,
        local_files_only=True,
    )
    model.train(mode=False)
    return model


def encode(tokenizer: Tokenizer, texts: Sequence[str]) -> list[Encoding]:
    """Tokenizes in batches of bounded size."""
    encodings: list[Encoding] = []
    for start in range(0, len(texts), ENCODE_AT_ONCE):
        encodings += tokenizer.encode_batch(list(texts[start : start + ENCODE_AT_ONCE]))
    return encodings


class Teacher:
    """The model and its tokenizer, run in bfloat16 unless told otherwise."""

    def __init__(self, folder: Path, dtype: torch.dtype = torch.bfloat16) -> None:
        self._model = load_bert(folder, dtype)
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(MAX_TOKENS)

    @torch.inference_mode()
    def run(self, rows: Sequence[Sequence[int]]) -> tuple[tuple[Tensor, ...], Tensor | None]:
        """Returns the states after the embeddings and each layer, (B, L, E), and the mask (B, L).

        Args:
            rows: the teacher's token ids.
        """
        ids, mask = pad_rows(rows, TEACHER_PAD_ID)
        output = self._model(input_ids=ids, attention_mask=mask, output_hidden_states=True)
        return tuple(output.hidden_states or ()), mask

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Returns unit vectors, (N, E) float32."""
        rows = [encoding.ids for encoding in encode(self.tokenizer, texts)]
        vectors = np.zeros((len(texts), TEACHER_WIDTH), np.float32)
        for batch in by_length([len(row) for row in rows]):
            states, mask = self.run([rows[index] for index in batch])
            vectors[batch] = F.normalize(mean_pool(states[-1], mask), dim=-1).numpy()
        return vectors
