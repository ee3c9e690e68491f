"""What has to hold on any weights, published or not: checks of the engine against itself.

Each says the same thing in two ways that take different paths through batching, windows, pooling
and prompts, and compares the vectors.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from jina_local.chunked_text import ChunkedText
from jina_local.tasks import ROLE_TASKS
from jina_local.verdicts import Check, Outcome, SkippedCheckError, distance_outcome

if TYPE_CHECKING:
    from jina_local.engine import Engine
    from jina_local.loading import LoadedModel

__all__ = ["own_checks"]

# What other batch shapes may change by rounding; two dtypes are further apart than that.
_ALLOWED = {"float32": 1e-5, "bfloat16": 0.03, "float16": 0.004}

_TEXTS = (
    "The harbour lies at the mouth of the river.",
    "Where do the trams go?",
    "Ships that pass in the night speak each other in passing; only a signal shown, and a distant "
    "voice in the darkness. So on the ocean of life we pass and speak one another.",
    "Der Hafen liegt an der Mündung des Flusses.",
    "42",
)
_SENTENCES = (
    "Lisbon lies on seven hills at the mouth of a wide river.",
    "Its old trams are yellow, and they climb the steepest of the streets.",
    "In the evening people sit on the steps and look at the ferries.",
)
_BATCH = (
    "a text's vector depends on what it is batched with: padding or other texts are attended to, "
    "or tasks of one batch get each other's adapters"
)
_PARTITION = (
    "late chunking: the chunks of a text do not hold each of its tokens once, or their vectors are "
    "not plain means"
)
_WINDOWS = "windows of a long document see tokens of each other, or are cut at other places"
_PROMPT = (
    "the prompt is not put before the text as it stands, or its tokens are left out of the mean, "
    "which the reference takes over all of them"
)
_DIMENSIONS = "vectors are normalized before they are cut, as the reference did before its fix"


def own_checks(engine: Engine, model: LoadedModel) -> list[Check]:
    """All checks that need no published number.

    Args:
        engine: An engine over the model.
        model: A loaded model.
    """
    allowed = _ALLOWED[engine.dtype]
    prompts = {str(task.name): task.instruction for task in model.checkpoint.tasks.tasks}
    chunk_task = next((name for name in engine.tasks if name != ROLE_TASKS["query"]), None)
    rows = [
        ("alone and in a batch of all tasks", _BATCH, partial(_batch, engine, allowed)),
        ("prompt and text as one text", _PROMPT, partial(_prompt, engine, prompts, allowed)),
        ("mean of late chunks", _PARTITION, partial(_partition, engine, chunk_task, allowed)),
        ("chunks in windows and alone", _WINDOWS, partial(_windows, engine, chunk_task, allowed)),
        ("half of the dimensions", _DIMENSIONS, partial(_dimensions, engine, allowed)),
    ]
    return [Check("engine", name, meaning, "", run) for name, meaning, run in rows]


def _batch(engine: Engine, allowed: float) -> Outcome:
    """Texts under one task each, alone and among all texts under all tasks."""
    modes = (None, *engine.tasks)
    pairs = [(text, mode) for text in _TEXTS for mode in modes]
    together = engine.embed([text for text, _ in pairs], task=[mode for _, mode in pairs]).vectors
    tried = range(0, len(pairs), len(modes) + 1)  # the first text under the first mode, and so on
    alone = [engine.embed([pairs[i][0]], task=pairs[i][1]).vectors for i in tried]
    return distance_outcome(together[list(tried)], np.concatenate(alone), allowed)


def _prompt(engine: Engine, prompts: dict[str, str], allowed: float) -> Outcome:
    """A task's prompt put before the text by the engine, and by hand."""
    used = [task for task, prompt in prompts.items() if prompt]
    if not used:
        msg = "the tasks of this model have no prompts"
        raise SkippedCheckError(msg)
    text = _TEXTS[0]
    by_engine = engine.embed([text] * len(used), task=used)
    by_hand = engine.embed([prompts[task] + text for task in used], task=used, instruction=False)
    return distance_outcome(by_engine.vectors, by_hand.vectors, allowed)


def _partition(engine: Engine, task: str | None, allowed: float) -> Outcome:
    """The mean of all chunks, weighted by their tokens, is the vector of the text."""
    document = _document()
    (late,) = engine.embed_chunks([document], task=task, normalize=False)
    whole = engine.embed([document.text], task=task, normalize=False)
    weights = late.token_counts[:, None].astype(np.float64)
    mean = (late.vectors * weights).sum(axis=0, keepdims=True) / weights.sum()
    n_tokens, n_pooled = int(whole.token_counts[0]), int(late.token_counts.sum())
    if n_tokens != n_pooled:
        return Outcome(False, f"{n_tokens} tokens", f"{n_pooled} tokens")
    return distance_outcome(mean, whole.vectors, allowed)


def _windows(engine: Engine, task: str | None, allowed: float) -> Outcome:
    """Chunks that fill a window each have the vectors that they have as documents."""
    apart = [ChunkedText(sentence, [(0, len(sentence))]) for sentence in _SENTENCES]
    alone = [
        result
        for document in apart  # one pass each: what shares a pass is for another check
        for result in engine.embed_chunks([document], task=task, special_tokens="exclude")
    ]
    (windowed,) = engine.embed_chunks(
        [_document()],
        task=task,
        special_tokens="exclude",
        window_tokens=max(one.tokens for one in alone),
        margin_tokens=0,
    )
    if windowed.windows != len(_SENTENCES):
        return Outcome(False, f"{len(_SENTENCES)} windows", f"{windowed.windows} windows")
    vectors = np.concatenate([one.vectors for one in alone])
    return distance_outcome(windowed.vectors, vectors, allowed)


def _dimensions(engine: Engine, allowed: float) -> Outcome:
    """A cut vector is the beginning of the full one, at unit length."""
    size = max(engine.dimension // 2, 1)
    cut = engine.embed(list(_TEXTS), dimensions=size).vectors
    full = engine.embed(list(_TEXTS), normalize=False).vectors
    lengths = np.linalg.norm(cut.astype(np.float64), axis=1)
    longest = lengths[np.abs(lengths - 1).argmax()]
    if abs(longest - 1) > 1e-5:  # noqa: PLR2004 - rounding of float32
        return Outcome(False, "length 1", f"length {longest:.4f}", f"{1e-5:.0e}")
    return distance_outcome(cut, full[:, :size], allowed)


def _document() -> ChunkedText:
    starts = np.cumsum([0, *(len(sentence) + 1 for sentence in _SENTENCES)])
    spans = [(int(a), int(a) + len(one)) for a, one in zip(starts, _SENTENCES, strict=False)]
    return ChunkedText(" ".join(_SENTENCES), spans)
