"""What sentence-transformers says of a text → the task that embeds it, adapter and instruction.

There a task is a word for modules and a prompt is a string, and nothing holds them together: with
the published model `task=` alone drops the instruction and `prompt_name=` alone drops the adapter.
Here each of them names a task as a whole, and two that disagree are refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from jina_local.errors import InvalidOptionError
from jina_local.tasks import ROLE_TASKS
from jina_local_eval.routing import V3_ROUTING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jina_local.tasks import Task, TaskTable

__all__ = ["TaskChoice", "TaskPrompt"]

_WITH_ROLES = {"Reranking"}  # mteb embeds these as queries and documents, which have prompts


class TaskPrompt(str):
    """A task's instruction that remembers whose it is; most tasks have the same, empty one.

    Attributes:
        task: The task's name.
    """

    task: str
    __slots__ = ("task",)

    def __new__(cls, instruction: str, task: str) -> TaskPrompt:
        """An instruction and the name of its task."""
        prompt = super().__new__(cls, instruction)
        prompt.task = task
        return prompt

    def __getnewargs__(self) -> tuple[str, str]:  # type: ignore[override] # one for `task`
        return str(self), self.task


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskChoice:
    """The tasks of a checkpoint, and which of them stand for roles.

    Attributes:
        table: The tasks.
        query: The task of `encode_query`.
        document: The task of `encode_document`.
        default: The task of texts of which nothing is said; `None` is the base model.
    """

    table: TaskTable
    query: str = ROLE_TASKS["query"]
    document: str = ROLE_TASKS["document"]
    default: str | None = None

    def checked(self) -> TaskChoice:
        """The choice itself.

        Raises:
            UnknownTaskError: If it names a task that the checkpoint does not have.
        """
        for name in (self.query, self.document, self.default):
            self.table.find(name)
        return self

    def prompts(self) -> dict[str, str]:
        """Prompts by the names of tasks, and of the two roles; `text` is LlamaIndex's document.

        Also by mteb's types of tasks: it looks for them here, and embeds the texts of a type that
        it does not find like any others, which would be the base model. A default of the user's
        own goes before them.
        """
        names = {"query": self.query, "document": self.document, "text": self.document}
        if self.default is None:
            for kind, task in V3_ROUTING.by_type.items():
                if task in self.table.names and kind not in _WITH_ROLES:
                    names[kind] = task
        names |= {name: name for name in self.table.names}
        found = {key: self.table.find(name) for key, name in names.items()}
        return {key: TaskPrompt(task.instruction, str(task.name)) for key, task in found.items()}

    def task(self, task: str | None, prompt: str | None) -> Task:
        """The task of texts.

        Args:
            task: A task, `query`, `document`, or `None`.
            prompt: One of `prompts`, the text of a task's instruction, or `None`. Frameworks give
                an empty one for none.

        Raises:
            UnknownTaskError: If the checkpoint has no such task.
            InvalidOptionError: If the prompt is not the instruction of the task, or, where no task
                is given, not that of exactly one.
        """
        wanted = {"query": self.query, "document": self.document}.get(task or "", task)
        named = prompt.task if isinstance(prompt, TaskPrompt) else None
        if named is not None and wanted not in (None, named):
            msg = f"task {wanted!r} and the prompt of {named!r} do not go together; give one"
            raise InvalidOptionError(msg)
        if wanted is None and named is None:
            return self._owner(prompt) if prompt else self.table.find(self.default)
        found = self.table.find(wanted or named)
        if prompt is not None and prompt != found.instruction:
            msg = (
                f"prompt {prompt!r} is not the instruction of {found.name!r}, which is "
                f"{found.instruction!r} and put before every text by itself: leave the prompt out"
            )
            raise InvalidOptionError(msg)
        return found

    def refuse_doubled(self, texts: Sequence[str]) -> None:
        """Refuse texts that all begin with an instruction, as those with a prefix do.

        Whoever puts it there, the text has no adapter, or the instruction twice.

        Raises:
            InvalidOptionError: If so.
        """
        for task in self.table.tasks:
            instruction = task.instruction
            if instruction and texts and all(text.startswith(instruction) for text in texts):
                msg = (
                    f"the texts begin with {instruction!r} already, the instruction of "
                    f"{task.name!r}, which is put before every text by itself: leave out the "
                    f"prefix, and say task={task.name!r} (Haystack: encode_kwargs)"
                )
                raise InvalidOptionError(msg)

    def _owner(self, prompt: str) -> Task:
        """The task whose instruction this is; where several share it, the one that has a role."""
        owners = [task for task in self.table.tasks if task.instruction == prompt]
        with_role = [task for task in owners if task.name in (self.query, self.document)]
        for candidates in (owners, with_role):
            if len(candidates) == 1:
                return candidates[0]
        names = [task.name for task in owners]
        msg = (
            f"prompt {prompt!r} is the instruction of {names or 'no task'}, and says nothing of an "
            f"adapter: give task=…, one of {list(self.table.names)}, and no prompt"
        )
        raise InvalidOptionError(msg)
