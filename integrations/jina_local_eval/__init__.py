"""How good is it? On questions of your own, and on the public suites of MTEB.

`jina-local eval --questions FILE` compares plain chunks with late chunking, dimensions and
encodings on your questions; `jina-local eval --suite NAME MODEL` runs tasks of the mteb package and
compares the scores with published ones. `MtebEncoder` is an engine as mteb wants it:

    import mteb
    from jina_local import Engine
    from jina_local_eval import MtebEncoder

    encoder = MtebEncoder(Engine.load("jinaai/jina-embeddings-v3"))
    mteb.evaluate(encoder, mteb.get_tasks(["SciFact"]), cache=None)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jina_local_eval.mteb_encoder import MtebEncoder
    from jina_local_eval.routing import Routing

__all__ = ["MtebEncoder", "Routing"]

_LAZY = {
    "MtebEncoder": "jina_local_eval.mteb_encoder",
    "Routing": "jina_local_eval.routing",
}


def __getattr__(name: str) -> object:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
