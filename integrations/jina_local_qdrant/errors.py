"""What the Qdrant helper raises on purpose; each is also the builtin that it refines.

JinaLocalError
├── FingerprintMismatchError (ValueError)   the collection was made another way
├── UnmanagedCollectionError (ValueError)   the collection was not made by this helper
├── CollectionNotFoundError (LookupError)   there is nothing to search yet
├── InvalidDocumentError (ValueError)       a document without id or text
│   └── DuplicateIdError                    two documents with one id
├── IndexInUseError (RuntimeError)          another process has the folder open
├── PathNotFoundError (FileNotFoundError)   no such file or folder to read
├── ServerUnreachableError (ConnectionError) no server answers at this URL
└── UnreadableFileError (ValueError)        a file without a text that can be read
"""

from __future__ import annotations

from jina_local.errors import JinaLocalError

__all__ = [
    "CollectionNotFoundError",
    "DuplicateIdError",
    "FingerprintMismatchError",
    "IndexInUseError",
    "InvalidDocumentError",
    "PathNotFoundError",
    "ServerUnreachableError",
    "UnmanagedCollectionError",
    "UnreadableFileError",
]


class FingerprintMismatchError(JinaLocalError, ValueError):
    """The collection's vectors were made in another way than this engine would make them."""


class UnmanagedCollectionError(JinaLocalError, ValueError):
    """The collection does not say how its vectors were made."""


class CollectionNotFoundError(JinaLocalError, LookupError):
    """There is no collection of this name yet."""


class InvalidDocumentError(JinaLocalError, ValueError):
    """A document that cannot be ingested."""


class DuplicateIdError(InvalidDocumentError):
    """Two documents have the same id."""


class PathNotFoundError(JinaLocalError, FileNotFoundError):
    """There is no such file or folder."""


class UnreadableFileError(JinaLocalError, ValueError):
    """The file is there, but has no text that can be read."""


class IndexInUseError(JinaLocalError, RuntimeError):
    """The folder of an index is open in another process."""


class ServerUnreachableError(JinaLocalError, ConnectionError):
    """No Qdrant server answers at this URL."""
