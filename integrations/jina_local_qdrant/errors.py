"""What the Qdrant helper raises on purpose; each is also the builtin that it refines.

JinaLocalError
├── FingerprintMismatchError (ValueError)   the collection was made another way
├── UnmanagedCollectionError (ValueError)   the collection was not made by this helper
├── CollectionNotFoundError (LookupError)   there is nothing to search yet
├── InvalidDocumentError (ValueError)       a document without id or text
│   └── DuplicateIdError                    two documents with one id
├── EmptySourceError (ValueError)           nothing came, and everything would be deleted
├── TooManyDeletionsError (ValueError)      more would be deleted than the caller allows
├── VerificationError (ValueError)          stored vectors are not what embedding gives
├── MigrationRefusedError (ValueError)      a migration that would lose or mix something
├── StoreError (RuntimeError)               what a store said no to
│   ├── StoreRefusedError (ValueError)      a request that will never be right
│   │   ├── AccessRefusedError              whatever the request: no key, no right, no collection
│   │   └── TooLargeError                   a request that is right in parts
│   └── StoreUnavailableError (ConnectionError) no answer, after every retry
├── ConcurrentWriteError (RuntimeError)     two ingestions wrote one document
├── IndexInUseError (RuntimeError)          another process has the folder open
├── PathNotFoundError (FileNotFoundError)   no such file or folder to read
├── ServerUnreachableError (ConnectionError) no server answers at this URL
└── UnreadableFileError (ValueError)        a file without a text that can be read
"""

from __future__ import annotations

from jina_local.errors import JinaLocalError

__all__ = [
    "AccessRefusedError",
    "CollectionNotFoundError",
    "ConcurrentWriteError",
    "DuplicateIdError",
    "EmptySourceError",
    "FingerprintMismatchError",
    "IndexInUseError",
    "InvalidDocumentError",
    "MigrationRefusedError",
    "PathNotFoundError",
    "ServerUnreachableError",
    "StoreError",
    "StoreRefusedError",
    "StoreUnavailableError",
    "TooLargeError",
    "TooManyDeletionsError",
    "UnmanagedCollectionError",
    "UnreadableFileError",
    "VerificationError",
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


class StoreError(JinaLocalError, RuntimeError):
    """A store did not do what it was asked to."""


class StoreRefusedError(StoreError, ValueError):
    """A store refused a request for good; asking again would not help."""


class AccessRefusedError(StoreRefusedError):
    """A store refuses every request of this kind: a key is missing, or what is asked for is."""


class TooLargeError(StoreRefusedError):
    """A store refused a request for its size; parts of it may be taken."""


class StoreUnavailableError(StoreError, ConnectionError):
    """A store gave no answer, or no good one, however often it was asked."""


class ConcurrentWriteError(JinaLocalError, RuntimeError):
    """Two ingestions wrote the same document at the same time."""


class EmptySourceError(JinaLocalError, ValueError):
    """A source gave no document, so that deleting what is missing would delete everything."""


class TooManyDeletionsError(JinaLocalError, ValueError):
    """More documents are missing from a source than the caller allows to delete."""


class VerificationError(JinaLocalError, ValueError):
    """Stored vectors are not what embedding their texts gives."""


class MigrationRefusedError(JinaLocalError, ValueError):
    """A migration, or a step of one, that would lose or mix something."""
