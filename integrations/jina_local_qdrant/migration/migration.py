"""A collection moves to other vectors, while searches and writes go on.

A new collection is filled beside the old one and checked; then an alias is let name it. The old one
is only read, until it is deleted by name.

This class composes; the work is in the modules that it imports.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from jina_local.inputs import check_integer
from jina_local_qdrant.errors import (
    MigrationRefusedError,
    VerificationError,
)
from jina_local_qdrant.layout import LAYOUT_KEY, METADATA_KEY, CollectionLayout
from jina_local_qdrant.migration.checking import MigrationCheck, check_migration
from jina_local_qdrant.migration.fields import PayloadFields
from jina_local_qdrant.migration.helper_origin import HelperOrigin
from jina_local_qdrant.migration.journal import Journal
from jina_local_qdrant.migration.lifecycle import begun, finalize, rollback, under_way
from jina_local_qdrant.migration.moving import Mover, MoveReport
from jina_local_qdrant.migration.names import (
    WithoutText,
    check_names,
    check_options,
    check_source_is_left,
    resolved,
)
from jina_local_qdrant.migration.payload_origin import PayloadOrigin
from jina_local_qdrant.migration.planning import MigrationPlan, plan_migration
from jina_local_qdrant.migration.points import Points
from jina_local_qdrant.migration.recognizing import recognize_fields
from jina_local_qdrant.migration.switching import check_alias, point_alias
from jina_local_qdrant.migration.target import (
    TargetWriter,
    check_foreign_layout,
    create_target,
    source_shape,
)
from jina_local_qdrant.qdrant_store import QdrantStore
from jina_local_qdrant.spec import EmbeddingSpec, refuse_differences
from jina_local_qdrant.splitting import make_splitter
from jina_local_qdrant.store import in_parts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from qdrant_client import QdrantClient

    from jina_local import Engine
    from jina_local_qdrant.migration.origins import DocumentRef, Origin
    from jina_local_qdrant.retries import RetryPolicy

__all__ = ["Migration"]

_FP_LENGTH = 16
_MARKED_AT_ONCE = 256


class Migration:
    """Re-embeds every text of a collection into a new one, while searches and writes go on.

    `plan`, `run`, `verify` and `switch`, in this order; `rollback` undoes the switch, `finalize`
    ends the migration. Every step can be interrupted at any moment, by `kill -9` too, and be called
    again. One process runs a migration; others may write through a `DualWriter` meanwhile.

    A collection that this helper wrote becomes one that `JinaQdrant` opens. Points of any other
    collection keep their ids, payloads and other vectors, and only the one vector is made anew.

    Args:
        client: Any Qdrant client of both collections.
        source: Name of the old collection, or an alias of it.
        target: Name of the new collection, which `run` creates.
        engine: The engine that embeds.
        spec: How the new vectors are made. `chunk_tokens` counts for documents of this helper;
            chunks of other origins stay as they are.
        fields: Where text, document and order are in payloads of other origins; "haystack" or
            "llama-index" for what their Qdrant stores write, which is also found out by itself.
        layout: How the new collection stores its vectors; as the old one if this helper wrote it.
        vector: Name of the vector that is made anew, if there are several.
        without_text: What becomes of points that have no text: "refuse", or "leave_out".
        documents_at_once: Documents that are embedded and written together; after an interruption,
            only those under way are embedded again.
        retries: How long a server that does not answer is asked again.

    Raises:
        CollectionNotFoundError: If there is no such source.
        MigrationRefusedError: If it cannot be right: no text field, chunks that cannot be put
            together to documents for late chunking, a target that is there already.
        FingerprintMismatchError: If it was begun with other settings.
    """

    def __init__(
        self,
        client: QdrantClient,
        source: str,
        target: str,
        engine: Engine,
        spec: EmbeddingSpec | None = None,
        *,
        fields: PayloadFields | Literal["haystack", "llama-index"] | None = None,
        layout: CollectionLayout | None = None,
        vector: str | None = None,
        without_text: WithoutText = "refuse",
        documents_at_once: int = 64,
        retries: RetryPolicy | None = None,
    ) -> None:
        check_options(client, without_text, documents_at_once)
        self._retries = retries
        self._journal = Journal(client, target, retries)
        self.source = resolved(Points(client, source, retries))
        self.target = Points(client, target, retries)
        check_names(self.source, self.target)
        self._shape = source_shape(self.source, vector)
        self._layout = self._checked_layout(layout)
        self._without_text = without_text
        self.spec = self._checked_spec(spec or EmbeddingSpec(), engine)
        self._fields = None if self._shape.is_ours else recognize_fields(self.source, fields)
        self.record = self._record(engine)
        self._mover = Mover(
            source=self.source,
            target=self.target,
            journal=self._journal,
            origin=self._origin(engine),
            engine=engine,
            spec=self.spec,
            writer=TargetWriter(self._shape, self._layout.coarse_dimensions),
            documents_at_once=documents_at_once,
        )
        self._check_begun()

    @classmethod
    def open(
        cls,
        client: QdrantClient,
        target: str,
        engine: Engine,
        *,
        documents_at_once: int = 64,
        retries: RetryPolicy | None = None,
    ) -> Self:
        """A migration that was begun, with the settings of then.

        Raises:
            MigrationRefusedError: If none was begun to this collection, or it is finished.
        """
        state = begun(Journal(client, target, retries), target)
        check_source_is_left(Points(client, state["source"], retries), state, target)
        fields = state["fields"]
        return cls(
            client,
            state["source"],
            target,
            engine,
            EmbeddingSpec(**state["spec"]),
            fields=None if fields is None else PayloadFields(**fields),
            layout=CollectionLayout.from_dict(state["layout"]),
            vector=state["vector"],
            without_text=state["without_text"],
            documents_at_once=documents_at_once,
            retries=retries,
        )

    # The steps

    def plan(self, *, sample: int = 256) -> MigrationPlan:
        """Look at the source, and embed a few documents to say how long all will take.

        Writes nothing.

        Args:
            sample: Points that are looked at.
        """
        check_integer("sample", sample, 1)
        return plan_migration(self._mover, self._layout, sample=sample)

    def run(self, progress: Callable[[MoveReport], None] | None = None) -> MoveReport:
        """Fill the target; what is there already is not embedded again.

        Goes on where the last run ended. Once it has come to the end, running again compares all
        and brings what has changed.

        Args:
            progress: Called after each page of points with the report so far.

        Raises:
            MigrationRefusedError: If points make no document or have no text, or the switch has
                happened.
            StoreUnavailableError: If the store gives no answer, after every retry.
        """
        state = self._begin()
        total = MoveReport()
        offset = state["cursor"]
        while True:
            points, offset = self.source.page(
                offset, self._mover.origin.visited, vectors=self._shape.others
            )
            total += self._mover.follow_source(points)
            filled = state["filled"] or offset is None
            self._journal.update({"cursor": offset, "filled": filled})
            if progress is not None:
                progress(total)
            if offset is None:
                break
        total += self._take_out_what_is_gone()
        if self._layout.bulk:
            QdrantStore(self.target.client, self.target.collection).finish_bulk()
        return total

    def verify(self, *, sample: int = 20, report: Path | str | None = None) -> MigrationCheck:
        """Compare both collections, and embed some documents again.

        Args:
            sample: Documents that are embedded again and compared with what the target holds.
            report: File to write the result into, as JSON.

        Raises:
            MigrationRefusedError: If the migration has not begun.
        """
        check_integer("sample", sample, 1)
        state = under_way(self._journal, self.target)
        self._journal.update({"verified": False})
        check = check_migration(self._mover, self.record, sample=sample)
        self._journal.update({"verified": check.ok and state["filled"]})
        if report is not None:
            Path(report).write_text(check.as_json(), encoding="utf-8")
        return check

    def switch(self, alias: str) -> None:
        """Let an alias name the target instead of the source, in one request.

        What was written through a `DualWriter` meanwhile is brought once more before.

        Raises:
            VerificationError: If `verify` has not found everything right since the last run.
            MigrationRefusedError: If the alias is the name of a collection, or names another one.
        """
        state = under_way(self._journal, self.target)
        source, target = self.source.collection, self.target.collection
        check_alias(self.source, alias, {source, target})
        if not state["verified"]:
            msg = (
                f"collection {target!r} was not found to be right since it was last filled: verify "
                "the migration first"
            )
            raise VerificationError(msg)
        self._bring_marked()
        self._journal.update({"alias": alias, "switched": True})
        point_alias(self.source, alias, target)

    def rollback(self) -> None:
        """Let the alias name the source again.

        Raises:
            MigrationRefusedError: If there was no switch.
        """
        rollback(self.target.client, self.target.collection, retries=self._retries)

    def finalize(self, *, delete: str | None = None) -> None:
        """End the migration; there is no way back after it.

        Args:
            delete: The name of the old collection, if it is to be deleted.

        Raises:
            MigrationRefusedError: If there was no switch, or `delete` is another name.
        """
        finalize(self.target.client, self.target.collection, delete=delete, retries=self._retries)

    # Writes meanwhile

    def check_under_way(self) -> None:
        """Refuse to go on when the migration has not begun, or is finished.

        Raises:
            MigrationRefusedError: If so.
        """
        under_way(self._journal, self.target)

    def note(self, doc_ids: Sequence[str | int], tenant: str | None = None) -> None:
        """Write down that documents are about to change in the source."""
        self._journal.mark(self._refs(doc_ids, tenant))

    def follow(self, doc_ids: Sequence[str | int], tenant: str | None = None) -> MoveReport:
        """Make documents of the target what they are in the source now."""
        return self._mover.bring(self._refs(doc_ids, tenant))

    def _refs(self, doc_ids: Iterable[str | int], tenant: str | None) -> list[DocumentRef]:
        return [ref for doc_id in doc_ids for ref in self._mover.origin.refs_of_id(doc_id, tenant)]

    def _bring_marked(self) -> MoveReport:
        report = MoveReport()
        for refs in in_parts(list(self._journal.marked()), _MARKED_AT_ONCE):
            report += self._mover.bring(refs)
        return report

    def _take_out_what_is_gone(self) -> MoveReport:
        report = self._bring_marked()
        offset = None
        while True:
            points, offset = self.target.page(offset)
            report += self._mover.follow_target(points)
            if offset is None:
                break
        return report + self._mover.bring(self._mover.origin.incomplete(self.target.scan()))

    # Settings

    def _origin(self, engine: Engine) -> Origin:
        if self._fields is not None:
            return PayloadOrigin(
                self._fields,
                together=self.spec.late_chunking and self._fields.document is not None,
                leaves_out=self._without_text == "leave_out",
            )
        old = self.source.metadata()[METADATA_KEY]
        is_same = old.get("chunk_tokens") == self.spec.chunk_tokens
        chunk_tokens = self.spec.chunk_tokens
        splitter = None if is_same else make_splitter(engine.tokenizer_json, chunk_tokens)
        return HelperOrigin(splitter=splitter, fp=self.record["fingerprint"][:_FP_LENGTH])

    def _checked_layout(self, layout: CollectionLayout | None) -> CollectionLayout:
        if not self._shape.is_ours:
            check_foreign_layout(layout or CollectionLayout())
            return layout or CollectionLayout()
        old = CollectionLayout.from_dict(self.source.metadata().get(LAYOUT_KEY) or {})
        if layout is not None and layout.tenants != old.tenants:
            msg = f"tenants is {layout.tenants}, but in the old collection it is {old.tenants}"
            raise MigrationRefusedError(msg)
        return layout or replace(old, bulk=False)

    def _checked_spec(self, spec: EmbeddingSpec, engine: Engine) -> EmbeddingSpec:
        checked = spec if self._shape.is_ours else replace(spec, chunk_tokens=None)
        checked.check(engine)
        self._layout.check(checked.dimensions or engine.dimension)
        return checked

    def _record(self, engine: Engine) -> dict[str, Any]:
        record = self.spec.record(engine)
        if self._fields is None:
            return record
        if self.spec.late_chunking and not self._fields.can_group:
            msg = (
                "late chunking embeds a chunk in the context of its document, and the payload "
                "fields do not say which document that is and in which order its chunks are: name "
                "them with PayloadFields(document=…, order=…), or ask for chunks without their "
                "context with EmbeddingSpec(late_chunking=False)"
            )
            raise MigrationRefusedError(msg)
        return {**record, "payload": asdict(self._fields), "vector": self._shape.vector or None}

    def _settings(self) -> dict[str, Any]:
        return {
            "source": self.source.collection,
            "fields": None if self._fields is None else asdict(self._fields),
            "spec": asdict(self.spec),
            "layout": self._layout.as_dict(),
            "vector": self._shape.vector if not self._shape.is_ours else None,
            "without_text": self._without_text,
            "record": self.record,
        }

    def _check_begun(self) -> None:
        """Refuse a target that something else has made, or this with other settings."""
        state = self._journal.state()
        if state is None:
            if self.target.exists():
                msg = (
                    f"there is a collection {self.target.collection!r} already, and no migration "
                    "has made it: choose another name, or delete it first"
                )
                raise MigrationRefusedError(msg)
            return
        settings = self._settings()
        of_then = {name: state[name] for name in settings}
        refuse_differences(
            self.target.collection,
            {**state["record"], **of_then, "record": None},
            {**self.record, **settings, "record": None},
        )

    def _begin(self) -> dict[str, Any]:
        state = self._journal.state()
        if state is None:
            self._mover.refuse_blank()
            progress = {"cursor": None, "filled": False, "verified": False}
            state = self._journal.begin(
                {**self._settings(), **progress, "alias": None, "switched": False}
            )
        if state["switched"]:
            msg = (
                f"alias {state['alias']!r} names the new collection already, which is written to: "
                "roll the migration back before it is run again"
            )
            raise MigrationRefusedError(msg)
        is_new = state["cursor"] is None and not state["filled"]
        if is_new or not self.target.exists():
            create_target(
                self.source, self.target, self._shape, layout=self._layout, record=self.record
            )
        if state["verified"]:
            state = self._journal.update({"verified": False})
        return state
