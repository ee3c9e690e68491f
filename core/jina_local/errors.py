"""Everything that jina-local raises on purpose.

Each error is also the builtin that it refines, so that callers who have never heard of
jina-local catch it naturally. The tree:

    JinaLocalError
    ├── InvalidTextsError (TypeError)          texts are not a list of strings
    ├── InvalidOptionError (ValueError)        an option outside its allowed set
    │   ├── UnknownTaskError                   a task that the checkpoint does not have
    │   └── DimensionsError                    not an integer in 1…width
    ├── InvalidSpansError (ValueError)         spans that are not spans of their text
    │   └── EmptyChunkError                    a chunk without a token, where that is refused
    ├── TextTooLongError (ValueError)          more tokens than the model takes
    ├── NonFiniteVectorError (ArithmeticError) NaN or infinity where a vector should be
    ├── EngineClosedError (RuntimeError)       use after close()
    ├── DeviceUnavailableError (RuntimeError)  a device that this machine does not have
    ├── DeviceMemoryError (MemoryError)        no memory for one text alone
    ├── ForkedProcessError (RuntimeError)      a device that was lost when the process was forked
    ├── MissingExtraError (ImportError)        an optional dependency is not installed
    ├── ModelNotFoundError (FileNotFoundError) no such folder, repository or file
    ├── HubError (ConnectionError)             the hub cannot be reached, or refused
    │   └── GatedModelError                    the repository asks for a token
    └── CheckpointError (ValueError)           files are there, but are not a v3 checkpoint

One warning: `TruncationWarning`, when `encode` cuts a text as the reference does, and when a cut
takes all tokens of a chunk.
"""

from __future__ import annotations

__all__ = [
    "CheckpointError",
    "DeviceMemoryError",
    "DeviceUnavailableError",
    "DimensionsError",
    "EmptyChunkError",
    "EngineClosedError",
    "ForkedProcessError",
    "GatedModelError",
    "HubError",
    "InvalidOptionError",
    "InvalidSpansError",
    "InvalidTextsError",
    "JinaLocalError",
    "MissingExtraError",
    "ModelNotFoundError",
    "NonFiniteVectorError",
    "TextTooLongError",
    "TruncationWarning",
    "UnknownTaskError",
]


class JinaLocalError(Exception):
    """Root of every error that jina-local raises on purpose."""


class InvalidTextsError(JinaLocalError, TypeError):
    """The texts are not a list of strings."""


class InvalidOptionError(JinaLocalError, ValueError):
    """An option has a value outside its allowed set."""


class UnknownTaskError(InvalidOptionError):
    """The checkpoint has no adapter of this name."""


class DimensionsError(InvalidOptionError):
    """The Matryoshka dimension is not an integer in 1…the model's width."""


class InvalidSpansError(JinaLocalError, ValueError):
    """The spans are not pairs of integers inside of their text, or there is no text."""


class EmptyChunkError(InvalidSpansError):
    """A chunk holds no token, and nobody allowed the nearest one to stand for it."""


class TextTooLongError(JinaLocalError, ValueError):
    """A text has more tokens than the model takes, and nobody allowed to cut or window it."""


class NonFiniteVectorError(JinaLocalError, ArithmeticError):
    """The model produced NaN or infinity for a text."""


class EngineClosedError(JinaLocalError, RuntimeError):
    """The engine was closed, and its weights are gone."""


class DeviceUnavailableError(JinaLocalError, RuntimeError):
    """The device was named, but this machine does not have it."""


class DeviceMemoryError(JinaLocalError, MemoryError):
    """The device has no memory for one text, even if nothing else is run with it."""


class ForkedProcessError(JinaLocalError, RuntimeError):
    """The process was forked, and the model's device is lost in the new one."""


class MissingExtraError(JinaLocalError, ImportError):
    """An optional dependency is not installed; the message has the pip command."""


class ModelNotFoundError(JinaLocalError, FileNotFoundError):
    """There is no such folder or repository, or a file that a checkpoint needs is not in it."""


class HubError(JinaLocalError, ConnectionError):
    """The model hub cannot be reached, or answered with an error."""


class GatedModelError(HubError):
    """The repository exists but asks for an access token."""


class CheckpointError(JinaLocalError, ValueError):
    """The files are there, but they are not a checkpoint that the engine understands."""


class TruncationWarning(UserWarning):
    """A text was cut to the model's limit, and what was cut off is part of no vector."""
