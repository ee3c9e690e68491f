"""A share of the process's one set of weights, taken when it is first needed.

Integrations hold embedders that are made, copied, pickled and thrown away long before and after
anything is embedded. None of that may load a model or carry one along.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any, TypeVar

from jina_local.errors import EngineClosedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from jina_local.engine import Engine

__all__ = ["LazyEngine"]

R = TypeVar("R")


class LazyEngine:
    """An engine that is loaded once, let go of on `close`, and loaded again if it is needed again.

    Copies and pickles have what loads it, and no engine.

    Args:
        load: Makes the engine, such as by `shared_engine`; picklable if this has to be.
    """

    def __init__(self, load: Callable[[], Engine]) -> None:
        self._load = load
        self._engine: Engine | None = None
        self._width: int | None = None
        self._lock = threading.Lock()
        self._lock_of = os.getpid()

    def engine(self) -> Engine:
        """The engine, loaded if it is not; any number of threads may ask."""
        with self._own_lock():
            if self._engine is None:
                self._engine = self._load()
                self._width = self._engine.dimension
            return self._engine

    def use(self, work: Callable[[Engine], R]) -> R:
        """The result of some work with the engine, also if another thread closes it meanwhile."""
        while True:
            engine = self.engine()
            try:
                return work(engine)
            except EngineClosedError:
                if self._engine is engine:  # it was not closed here, and would not be loaded anew
                    raise

    @property
    def width(self) -> int:
        """D of the model that was loaded last, even if it is closed by now."""
        return self._width or self.engine().dimension

    @property
    def is_loaded(self) -> bool:
        """Whether there is an engine."""
        return self._engine is not None

    def close(self) -> None:
        """Let go of the model; weights go when the last holder lets go of them."""
        with self._own_lock():
            engine, self._engine = self._engine, None
        if engine is not None:
            engine.close()

    def _own_lock(self) -> threading.Lock:
        """A lock of this process: after a fork nobody is left to open what another thread held."""
        if self._lock_of != os.getpid():
            self._lock, self._lock_of = threading.Lock(), os.getpid()
        return self._lock

    def __deepcopy__(self, memo: dict[int, Any]) -> LazyEngine:
        """Another holder: an engine is shared by loading, not by copying."""
        return LazyEngine(self._load)

    def __reduce__(self) -> tuple[type[LazyEngine], tuple[Callable[[], Engine]]]:
        return LazyEngine, (self._load,)
