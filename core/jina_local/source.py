"""Where a checkpoint comes from: a local folder, the hub, or the demo model in this package."""

from __future__ import annotations

import errno
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jina_local.errors import (
    GatedModelError,
    HubError,
    InvalidOptionError,
    ModelNotFoundError,
)

__all__ = ["DEMO", "ModelSource", "resolve_source"]

DEMO = "demo"

_DEMO_FOLDER = Path(__file__).parent / "demo_model"
_REPO_ID = re.compile(r"[\w.-]+/[\w.-]+")

# Data only: no code and no pickles ever leave the hub.
_WANTED_FILES = [
    "config.json",
    "config_sentence_transformers.json",
    "model.safetensors",
    "model-*-of-*.safetensors",
    "model.safetensors.index.json",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "*/adapter_config.json",
    "*/adapter_model.safetensors",
]


@dataclass(frozen=True, slots=True)
class ModelSource:
    """A checkpoint on disk.

    Attributes:
        name: A folder in full, a hub id, or `demo`.
        folder: Where its files are.
        revision: The hub's revision that was asked for; `None` otherwise.
    """

    name: str
    folder: Path
    revision: str | None = None

    @property
    def is_demo(self) -> bool:
        """Whether this is the demo model of this package."""
        return self.folder == _DEMO_FOLDER


def resolve_source(
    source: str | Path,
    *,
    revision: str | None = None,
    local_files_only: bool = False,
    cache_dir: str | Path | None = None,
    token: str | None = None,
) -> ModelSource:
    """Find a checkpoint, downloading it only when it is named by a hub id.

    Args:
        source: A folder, a hub id such as `jinaai/jina-embeddings-v3`, or `demo`.
        revision: Branch, tag or commit on the hub.
        local_files_only: Use the hub's cache and touch no network.
        cache_dir: Where the hub's files are kept; the hub's own default if `None`.
        token: Access token for gated repositories.

    Raises:
        ModelNotFoundError: If there is no such folder or repository.
        HubError: If the hub cannot be reached or refuses.
        InvalidOptionError: If `revision` is given for something that has none.
    """
    name = _name(source)
    if name == DEMO:
        _refuse_revision(name, revision)
        return ModelSource(name=DEMO, folder=_DEMO_FOLDER)
    folder = _local_folder(name)
    if folder is not None:
        _refuse_revision(name, revision)
        return ModelSource(name=str(folder), folder=folder)
    if isinstance(source, Path) or not _REPO_ID.fullmatch(name):
        msg = (
            f"no model at {name!r}: give a folder that exists, a hub id such as "
            "'jinaai/jina-embeddings-v3', or 'demo'"
        )
        raise ModelNotFoundError(msg)
    download = _download(name, revision, local_files_only, cache_dir, token)
    return ModelSource(name=name, folder=download, revision=revision)


def _name(source: str | Path) -> str:
    """A `Path` is always a folder, also `Path("demo")`, and is named in full."""
    return source if isinstance(source, str) else str(_expanded(source).absolute())


def _local_folder(name: str) -> Path | None:
    folder = _expanded(name)
    return folder.resolve() if name and folder.is_dir() else None


def _expanded(path: str | Path) -> Path:
    try:
        return Path(path).expanduser()
    except RuntimeError:  # ~ of a user whom this machine does not know
        return Path(path)


def _refuse_revision(name: str, revision: str | None) -> None:
    if revision is not None:
        msg = f"revision={revision!r} has no meaning for {name!r}: only hub ids have revisions"
        raise InvalidOptionError(msg)


def _download(
    repo_id: str,
    revision: str | None,
    local_files_only: bool,
    cache_dir: str | Path | None,
    token: str | None,
) -> Path:
    from huggingface_hub import errors as hub
    from huggingface_hub import snapshot_download

    where = f"{repo_id!r}" + (f" at revision {revision!r}" if revision else "")
    options: dict[str, Any] = {
        "revision": revision,
        "local_files_only": local_files_only,
        "cache_dir": cache_dir,
        "token": token,
        "allow_patterns": _WANTED_FILES,
    }
    try:
        return Path(snapshot_download(repo_id, **options))
    except hub.GatedRepoError as error:
        msg = (
            f"{where} is gated: accept its terms on the hub and pass token=…, "
            "or log in with `hf auth login`"
        )
        raise GatedModelError(msg) from error
    except (hub.RepositoryNotFoundError, hub.RevisionNotFoundError) as error:
        msg = (
            f"the hub has no {where} (or it is private and needs token=…); "
            "there is no local folder of this name either"
        )
        raise ModelNotFoundError(msg) from error
    except hub.LocalEntryNotFoundError as error:
        if local_files_only:
            msg = (
                f"{where} is not in the local cache, and local_files_only=True forbids the "
                "network; download it once without it, or name a local folder"
            )
            raise ModelNotFoundError(msg) from error
        reason = str(error.__cause__ or error).strip().partition("\n")[0]
        msg = (
            f"the hub gave nothing for {where} ({reason}), and it is not in the local cache: "
            "check the connection, or name a local folder"
        )
        raise HubError(msg) from error
    except hub.HFValidationError as error:
        msg = f"{repo_id!r} is neither a local folder nor a valid hub id"
        raise ModelNotFoundError(msg) from error
    except Exception as error:  # other answers, errors of the HTTP library, a login page
        if isinstance(error, OSError) and error.errno in (errno.EACCES, errno.ENOSPC, errno.EROFS):
            raise  # this machine's disk, not the hub
        msg = f"the hub failed for {where}: {error}"
        raise HubError(msg) from error
