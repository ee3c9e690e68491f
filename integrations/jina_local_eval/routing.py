"""Tasks of MTEB → tasks of the model: which adapter and which instruction a text gets.

`V3_ROUTING` is what the entry of jina-embeddings-v3 in the mteb package has, which made the scores
in MTEB's results (mteb/models/model_implementations/jina_models.py, revision 215a6e12 of the
model). The paper (Sturua et al. 2024) differs for three retrieval tasks that compare like with
like; `PAPER_ROUTING` is that.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from jina_local.errors import InvalidOptionError
from jina_local.tasks import ROLE_TASKS

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["PAPER_ROUTING", "V3_ROUTING", "Routing"]


@dataclass(frozen=True, slots=True)
class Routing:
    """Which of the model's tasks embeds the texts of which of MTEB's.

    Attributes:
        by_type: The model's task by MTEB's type of task, for types whose texts play one role.
        asymmetric: Types of MTEB whose texts are queries or documents, and embedded as such.
        by_name: The model's task by a pattern of the name of MTEB's task, such as `CQADupstack*`;
            goes before the type.
    """

    by_type: Mapping[str, str]
    asymmetric: frozenset[str]
    by_name: Mapping[str, str] = field(default_factory=dict)

    def task(self, name: str, kind: str, role: str | None) -> str:
        """The model's task.

        Args:
            name: Of MTEB's task.
            kind: Its type.
            role: `query`, `document`, or `None` where MTEB names none.

        Raises:
            InvalidOptionError: If the type is not routed, or asymmetric and the role neither.
        """
        for pattern, task in self.by_name.items():
            if fnmatchcase(name, pattern):
                return task
        if kind in self.by_type:
            return self.by_type[kind]
        if kind not in self.asymmetric:
            known = ", ".join(sorted({*self.by_type, *self.asymmetric}))
            msg = f"{name} is of type {kind!r}, and this routing has {known}: route it by its name"
            raise InvalidOptionError(msg)
        for known_role, task in ROLE_TASKS.items():
            if role == known_role:
                return task
        msg = f"{name} is of type {kind!r}, whose texts are queries or documents, not {role!r}"
        raise InvalidOptionError(msg)


_BY_TYPE: Mapping[str, str] = {
    "BitextMining": "text-matching",
    "Classification": "classification",
    "Clustering": "separation",
    "MultilabelClassification": "classification",
    "PairClassification": "classification",
    "Reranking": "separation",
    "STS": "text-matching",
    "Summarization": "text-matching",
}

V3_ROUTING = Routing(_BY_TYPE, frozenset({"Retrieval"}))

PAPER_ROUTING = Routing(
    _BY_TYPE,
    frozenset({"Retrieval"}),
    {
        "ArguAna": "text-matching",
        "CQADupstack*": "text-matching",
        "QuoraRetrieval": "text-matching",
    },
)
