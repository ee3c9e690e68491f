"""Tasks: which adapter and which instruction a text gets, always together.

The difference between a query and a document is data in this module and nowhere else. A role
(`query`, `document`) names the task that plays it; a task names an adapter of the checkpoint and
the instruction that this adapter was trained with.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from jina_local.errors import InvalidOptionError, UnknownTaskError

__all__ = [
    "BASE",
    "NO_ADAPTER",
    "ROLE_TASKS",
    "V3_INSTRUCTIONS",
    "Role",
    "Task",
    "TaskTable",
    "check_task_name",
]

Role = Literal["query", "document"]

ROLE_TASKS: Mapping[Role, str] = {"query": "retrieval.query", "document": "retrieval.passage"}

V3_INSTRUCTIONS: Mapping[str, str] = {
    "retrieval.query": "Represent the query for retrieving evidence documents: ",
    "retrieval.passage": "Represent the document for retrieval: ",
    "separation": "",
    "classification": "",
    "text-matching": "",
}
"""The published instructions, for checkpoints in the native layout that do not carry their own."""

NO_ADAPTER = -1

_TASK_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_NOT_TASKS = frozenset({*ROLE_TASKS, "none"})


def check_task_name(name: str) -> str:
    """The name, if a task of the user's own may have it.

    Raises:
        InvalidOptionError: If it is not made of letters, digits, `.`, `_` and `-`, or means
            something else already: a role is played by a task, and `none` is the base model.
    """
    if not isinstance(name, str) or not _TASK_NAME.fullmatch(name) or name.lower() in _NOT_TASKS:
        msg = (
            f"{name!r} is no name for a task: use letters, digits, '.', '_' and '-', beginning "
            f"with a letter or digit, and none of {sorted(_NOT_TASKS)}"
        )
        raise InvalidOptionError(msg)
    return name


@dataclass(frozen=True, slots=True)
class Task:
    """One way to embed a text.

    Attributes:
        name: The checkpoint's name of the task; `None` for the base model.
        adapter: Index of the task's adapter in the checkpoint; `NO_ADAPTER` for the base model.
        instruction: Text put before every input of this task, possibly empty.
    """

    name: str | None
    adapter: int
    instruction: str

    def without_instruction(self) -> Task:
        """The same adapter with an empty instruction."""
        return replace(self, instruction="")


BASE = Task(name=None, adapter=NO_ADAPTER, instruction="")
"""The model without adapter and without instruction: what the reference does for no task."""


@dataclass(frozen=True, slots=True)
class TaskTable:
    """The tasks of one checkpoint, in the order of its adapters."""

    tasks: tuple[Task, ...]

    @classmethod
    def from_instructions(cls, instructions: Mapping[str, str]) -> TaskTable:
        """Number the tasks in the order of `instructions`, which is the order of the adapters."""
        return cls(
            tuple(Task(name, i, text) for i, (name, text) in enumerate(instructions.items()))
        )

    @property
    def names(self) -> tuple[str, ...]:
        """Task names in the order of the checkpoint's adapters."""
        return tuple(str(task.name) for task in self.tasks)

    def find(self, name: str | None) -> Task:
        """The task of this name; `None` is the base model.

        Raises:
            UnknownTaskError: If the checkpoint has no such task. Nothing is mapped in silence:
                `clustering` is not `separation`.
        """
        if name is None:
            return BASE
        for task in self.tasks:
            if task.name == name:
                return task
        choices = ", ".join(repr(known) for known in self.names)
        msg = (
            f"unknown task {name!r}: this checkpoint has {choices}; "
            "use None for the base model without adapter and instruction"
        )
        raise UnknownTaskError(msg)

    def for_texts(self, task: str | Sequence[str | None] | None, n_texts: int) -> list[Task]:
        """One task per text, from one name for all or from one name each.

        Raises:
            UnknownTaskError: If a name is not a task of the checkpoint.
            InvalidOptionError: If the number of names is not the number of texts.
        """
        if isinstance(task, str) or not isinstance(task, Iterable):
            return [self.find(task)] * n_texts
        names = list(task)
        if len(names) != n_texts:
            msg = f"task has {len(names)} names for {n_texts} texts; give one name, or one per text"
            raise InvalidOptionError(msg)
        found = {name: self.find(name) for name in dict.fromkeys(names)}
        return [found[name] for name in names]
