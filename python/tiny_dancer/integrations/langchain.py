"""A LangChain retriever over a storage of candidates."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Self

from tiny_dancer.errors import OptionError
from tiny_dancer.extras import needed
from tiny_dancer.integrations.ids import scoped
from tiny_dancer.storage import CandidateRecord

with needed("langchain"):
    from langchain_core.documents import Document
    from langchain_core.embeddings import Embeddings
    from langchain_core.retrievers import BaseRetriever
    from pydantic import ConfigDict, Field, SkipValidation

if TYPE_CHECKING:
    from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun

    from tiny_dancer.storage import CandidateStorage, Neighbour

__all__ = ["TinyDancerRetriever"]

_BY: Final = "langchain"


class TinyDancerRetriever(BaseRetriever):
    """Finds stored memories, tools or documents by their words, or by an embedding model's vectors and words.

    A document has the candidate's text as its content, its id, its metadata, and there too ``score``,
    ``namespace`` and ``created_at`` (UTC seconds) where the metadata has no such keys of its own. Ids are each
    namespace's own: two users may have documents of the same id. A question without words finds nothing.

    Example:
        >>> from tiny_dancer.storage import MemoryStorage
        >>> documents = [Document("The train to Bern leaves at nine."), Document("Anna likes tea.")]
        >>> retriever = TinyDancerRetriever.from_documents(documents, MemoryStorage(), k=1)
        >>> retriever.invoke("When does the train leave?")[0].page_content
        'The train to Bern leaves at nine.'
    """

    # A namespace that is misspelt would otherwise be none, and everybody's documents found.
    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    storage: SkipValidation[Any]
    """A :class:`~tiny_dancer.storage.CandidateStorage`; stays the caller's to close."""
    k: int = Field(default=5, ge=1)
    """Most documents; fewer where fewer have to do with the query."""
    namespace: tuple[str, ...] = ()
    """Only candidates of it, and of what is below it."""
    filter: dict[str, Any] | None = None
    """Conditions on metadata, in words of :class:`~tiny_dancer.CandidateFilter`."""
    embeddings: SkipValidation[Embeddings] | None = None
    """The model that the stored embeddings are from; None where candidates were stored without."""

    @classmethod
    def from_documents(
        cls,
        documents: Iterable[Document],
        storage: CandidateStorage,
        *,
        embeddings: Embeddings | None = None,
        namespace: Sequence[str] = (),
        **given: Any,
    ) -> Self:
        """Stores documents, replacing those of the same ids in this namespace, and makes the retriever of them.

        Args:
            documents: those without an id get one.
            storage: keeps them.
            embeddings: makes a vector of each; None leaves that to the storage.
            namespace: to store them in.
            given: fields of the retriever.

        Raises:
            CandidateError: what cannot be stored.
            OptionError: a namespace that is one text instead of several.
        """
        if isinstance(namespace, str):
            raise OptionError("namespace", namespace, "give a list of texts, from the widest to the narrowest")
        listed = list(documents)
        texts = [document.page_content for document in listed]
        vectors: Sequence[Any] = [None] * len(listed)
        if embeddings is not None and listed:
            vectors = embeddings.embed_documents(texts)
        records = [
            CandidateRecord(
                scoped(namespace, [document.id or uuid.uuid4().hex]),
                embedding=vector,
                text=text or None,
                metadata=document.metadata,
                namespace=tuple(namespace),
            )
            for document, text, vector in zip(listed, texts, vectors, strict=True)
        ]
        storage.upsert_candidates(records, by=_BY, keep_use=True)
        return cls(storage=storage, embeddings=embeddings, namespace=tuple(namespace), **given)

    def delete(self, ids: Iterable[str]) -> int:
        """Removes documents of this namespace, and returns how many there were.

        Args:
            ids: as the documents were stored with, or were found with.
        """
        removed: int = self.storage.delete_candidates([scoped(self.namespace, [id]) for id in ids], by=_BY)
        return removed

    def _get_relevant_documents(
        self,
        query: str,
        *,
        run_manager: CallbackManagerForRetrieverRun,
        k: int | None = None,
        filter: dict[str, Any] | None = None,
    ) -> list[Document]:
        vector = None
        if self.embeddings is not None and query.strip():
            vector = self.embeddings.embed_query(query)
        return self._found(query, vector, k, filter)

    async def _aget_relevant_documents(
        self,
        query: str,
        *,
        run_manager: AsyncCallbackManagerForRetrieverRun,
        k: int | None = None,
        filter: dict[str, Any] | None = None,
    ) -> list[Document]:
        vector = None
        if self.embeddings is not None and query.strip():
            vector = await self.embeddings.aembed_query(query)
        return await asyncio.to_thread(self._found, query, vector, k, filter)

    def _found(
        self, query: str, vector: list[float] | None, k: int | None, filter: dict[str, Any] | None
    ) -> list[Document]:
        if not (filter is None or isinstance(filter, Mapping)):
            raise OptionError("filter", type(filter).__name__, "give a mapping from metadata keys")
        if not query.strip():
            return []
        conditions = [each for each in (self.filter, filter) if each]
        if self.namespace:
            conditions.append({"$namespace": list(self.namespace)})
        found = self.storage.query_candidates(
            query if vector is None else vector,
            self.k if k is None else k,
            text=None if vector is None else query,
            filter={"$and": conditions} if conditions else None,
        )
        return [_document(each) for each in found]


def _document(found: Neighbour) -> Document:
    record = found.candidate
    own = {"score": found.score, "namespace": list(record.namespace), "created_at": record.created_at}
    return Document(page_content=record.text or "", id=_id(record), metadata={**own, **record.metadata})


def _id(record: CandidateRecord) -> str:
    """The document's, where it was stored as one; else the candidate's."""
    if record.id.endswith("]]"):
        try:
            *_, (id,) = json.loads(record.id)
        except (TypeError, ValueError):
            return record.id
        if isinstance(id, str) and record.id == scoped(record.namespace, [id]):
            return id
    return record.id
