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

from typing import TYPE_CHECKING

from jina_local.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from jina_local_eval.mteb_encoder import MtebEncoder
    from jina_local_eval.routing import Routing

__all__ = ["MtebEncoder", "Routing"]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "MtebEncoder": "mteb_encoder",
        "Routing": "routing",
    },
)
