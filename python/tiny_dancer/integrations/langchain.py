"""A LangChain retriever over a storage of candidates."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Self

from tiny_dancer.errors import MissingExtraError
from tiny_dancer.storage import CandidateRecord

try:
    from langchain_core.documents import Document
    from langchain_core.embeddings import Embeddings
    from langchain_core.retrievers import BaseRetriever
    from pydantic import Field, SkipValidation
except ModuleNotFoundError as error:
    raise MissingExtraError("langchain", error.name, "run pip install 'tiny-dancer[langchain]'") from None

if TYPE_CHECKING:
    from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun

    from tiny_dancer.storage import CandidateStorage, Neighbour

__all__ = ["TinyDancerRetriever"]


class TinyDancerRetriever(BaseRetriever):
    """Finds stored memories, tools or documents by their words, or by an embedding model's vectors and words.

    A document has the candidate's text as its content, its id, its metadata, and there too ``score``,
    ``namespace`` and ``created_at`` (UTC seconds) where the metadata has no such keys of its own.

    Example:
        >>> from tiny_dancer.storage import MemoryStorage
        >>> documents = [Document("The train to Bern leaves at nine."), Document("Anna likes tea.")]
        >>> retriever = TinyDancerRetriever.from_documents(documents, MemoryStorage(), k=1)
        >>> retriever.invoke("When does the train leave?")[0].page_content
        'The train to Bern leaves at nine.'
    """

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
        """Stores documents, replacing those of the same ids, and makes the retriever of them.

        Args:
            documents: those without an id get one.
            storage: keeps them.
            embeddings: makes a vector of each; None leaves that to the storage.
            namespace: to store them in.
            given: fields of the retriever.

        Raises:
            CandidateError: what cannot be stored.
        """
        listed = list(documents)
        texts = [document.page_content for document in listed]
        vectors: Sequence[Any] = [None] * len(listed)
        if embeddings is not None and listed:
            vectors = embeddings.embed_documents(texts)
        records = [
            CandidateRecord(
                document.id or uuid.uuid4().hex,
                embedding=vector,
                text=text or None,
                metadata=document.metadata,
                namespace=tuple(namespace),
            )
            for document, text, vector in zip(listed, texts, vectors, strict=True)
        ]
        storage.upsert_candidates(records, by="langchain", keep_use=True)
        return cls(storage=storage, embeddings=embeddings, namespace=tuple(namespace), **given)

    def _get_relevant_documents(
        self,
        query: str,
        *,
        run_manager: CallbackManagerForRetrieverRun,
        k: int | None = None,
        filter: dict[str, Any] | None = None,
    ) -> list[Document]:
        vector = None if self.embeddings is None else self.embeddings.embed_query(query)
        return self._found(query, vector, k, filter)

    async def _aget_relevant_documents(
        self,
        query: str,
        *,
        run_manager: AsyncCallbackManagerForRetrieverRun,
        k: int | None = None,
        filter: dict[str, Any] | None = None,
    ) -> list[Document]:
        vector = None if self.embeddings is None else await self.embeddings.aembed_query(query)
        return await asyncio.to_thread(self._found, query, vector, k, filter)

    def _found(
        self, query: str, vector: list[float] | None, k: int | None, filter: dict[str, Any] | None
    ) -> list[Document]:
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
    return Document(page_content=record.text or "", id=record.id, metadata={**own, **record.metadata})
