"""LangGraph's ``BaseStore`` over a storage of candidates: items are found by their words, without any model.

An item is one candidate of the namespace it was put in, with the value in its metadata. What further vectors it
has (one a field, where an embedding model is configured) are candidates in a namespace that no item can have.
"""

from __future__ import annotations

import asyncio
import copy
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tiny_dancer.errors import OptionError
from tiny_dancer.extras import needed
from tiny_dancer.integrations.ids import scoped
from tiny_dancer.integrations.langgraph_filters import check, narrowed, passes
from tiny_dancer.storage import CandidateRecord

with needed("langgraph"):
    from langgraph.store.base import (
        BaseStore,
        GetOp,
        IndexConfig,
        Item,
        ListNamespacesOp,
        MatchCondition,
        Op,
        PutOp,
        Result,
        SearchItem,
        SearchOp,
        TTLConfig,
        ensure_embeddings,
        get_text_at_path,
    )

if TYPE_CHECKING:
    import numpy.typing as npt
    from langchain_core.embeddings import Embeddings

    from tiny_dancer.storage import Storage

__all__ = ["TinyDancerStore"]

# LangGraph's labels have no dot.
_VECTORS: Final = "langgraph.vectors"
_BY: Final = "langgraph"
_WHOLE: Final = ("$", "")


@dataclass(frozen=True, slots=True)
class _Texts:
    """What a batch needs embedded: a model may have other vectors for queries than for documents."""

    documents: tuple[str, ...]
    queries: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Vectors:
    """Vectors of a batch's texts."""

    documents: Mapping[str, npt.NDArray[np.float32]]
    queries: Mapping[str, npt.NDArray[np.float32]]


class TinyDancerStore(BaseStore):
    """Long-term memory of LangGraph's agents in a storage of candidates. Share it between threads and tasks.

    Without ``index``, ``search(…, query=…)`` finds by words, character grams and the shipped static encoder, and
    returns what has to do with the query; with it, by cosine to the vectors of a model, of which an item may have
    several, as LangGraph's own stores do. Items that have expired are never returned. Of one batch, what reads
    sees the store as it was before what writes; of several writes of one key, the last one counts.

    Example:
        >>> from tiny_dancer.storage import MemoryStorage
        >>> store = TinyDancerStore(MemoryStorage())
        >>> store.put(("users", "anna"), "1", {"memory": "The train to Bern leaves at nine."})
        >>> store.search(("users",), query="When does the train leave?")[0].key
        '1'
    """

    supports_ttl = True

    def __init__(
        self, storage: Storage, *, index: IndexConfig | None = None, ttl: TTLConfig | None = None
    ) -> None:
        """Puts a store over a storage, which stays the caller's to close.

        Args:
            storage: keeps the items.
            index: ``embed`` (and ``fields``) as LangGraph reads them; without ``embed``, ``fields`` says in which
                words are looked for.
            ttl: ``default_ttl`` and ``refresh_on_read`` as LangGraph reads them; ``sweep_interval_minutes`` is how
                often at most a write also removes what has expired. ``omit_expired`` is always so.
        """
        self.storage = storage
        self.index_config = index
        self.ttl_config = ttl
        embed = (index or {}).get("embed")
        self.embeddings: Embeddings | None = None if embed is None else ensure_embeddings(embed)
        self._fields = (index or {}).get("fields") or ["$"]
        self._swept = time.monotonic()

    def batch(self, ops: Iterable[Op]) -> list[Result]:
        """Executes operations, in one transaction what is put; see :class:`TinyDancerStore` for their order."""
        ops = _checked(ops)
        texts = self._texts(ops)
        vectors = _NONE
        if self.embeddings is not None:
            documents = self.embeddings.embed_documents(list(texts.documents)) if texts.documents else []
            queries = [self.embeddings.embed_query(text) for text in texts.queries]
            vectors = _vectors(texts, documents, queries)
        return self._run(ops, vectors)

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        """:meth:`batch`, in a thread but for the embedding model, which is awaited."""
        ops = _checked(ops)
        texts = self._texts(ops)
        vectors = _NONE
        if self.embeddings is not None:
            documents = await self.embeddings.aembed_documents(list(texts.documents)) if texts.documents else []
            queries = await asyncio.gather(*(self.embeddings.aembed_query(text) for text in texts.queries))
            vectors = _vectors(texts, documents, queries)
        return await asyncio.to_thread(self._run, ops, vectors)

    def sweep_ttl(self) -> int:
        """Removes what has expired, and gives how many items and further vectors that were."""
        self._swept = time.monotonic()
        return self.storage.remove_expired()

    def _run(self, ops: Sequence[Op], vectors: _Vectors) -> list[Result]:
        results: list[Result] = [None] * len(ops)
        gets = [(at, op) for at, op in enumerate(ops) if isinstance(op, GetOp)]
        for (at, _), item in zip(gets, self._get([op for _, op in gets]), strict=True):
            results[at] = item
        for at, op in enumerate(ops):
            if isinstance(op, SearchOp):
                results[at] = self._search(op, vectors)
            elif isinstance(op, ListNamespacesOp):
                results[at] = self._list(op)
        puts = {(op.namespace, op.key): op for op in ops if isinstance(op, PutOp)}
        if puts:
            self._put(list(puts.values()), vectors)
            minutes = (self.ttl_config or {}).get("sweep_interval_minutes")
            if minutes is not None and time.monotonic() - self._swept > minutes * 60:
                self.sweep_ttl()
        return results

    def _get(self, ops: Sequence[GetOp]) -> list[Item | None]:
        if not ops:
            return []
        ids = [scoped(op.namespace, op.key) for op in ops]
        found = {
            record.id: record for record in self.storage.get_candidates(dict.fromkeys(ids)) if _is_item(record)
        }
        self._refresh([found[id] for id, op in zip(ids, ops, strict=True) if op.refresh_ttl and id in found])
        return [None if (record := found.get(id)) is None else _item(record) for id in ids]

    def _search(self, op: SearchOp, vectors: _Vectors) -> list[SearchItem]:
        last = op.offset + op.limit
        if op.limit < 1 or op.offset < 0:
            return []
        found: list[tuple[CandidateRecord, float | None]]
        if not _asks(op):
            found = [(record, None) for record in self._listed(op, last)]
        elif self.embeddings is None:
            found = list(self._ranked(op, op.query or "", last))
        else:
            query = vectors.queries[op.query or ""]
            points = bool(query.any())
            found = list(self._ranked(op, query, last)) if points else []
            if len(found) < last:
                scored = {record.id for record, _ in found}
                unscored = self._listed(op, last, unscored=points)
                found += ((record, None) for record in unscored if record.id not in scored)
        page = found[op.offset : last]
        if op.refresh_ttl:
            self._refresh([record for record, _ in page])
        return [_search_item(record, score) for record, score in page]

    def _ranked(
        self, op: SearchOp, query: npt.NDArray[np.float32] | str, wanted: int
    ) -> Iterator[tuple[CandidateRecord, float]]:
        """Items with their scores, best first: at least ``wanted`` where there are as many."""
        conditions = narrowed(op.filter, "value")
        filter = _within(op.namespace_prefix, {**conditions, "key": {"$exists": True}})
        if not isinstance(query, str):
            further = _within((_VECTORS, *op.namespace_prefix), conditions)
            filter = {"$or": [filter, further]}
        k = wanted
        while True:
            hits = self.storage.query_candidates(query, k, filter=filter, touch=False)
            # What was put without an index is not found by words, whatever else speaks for it.
            mains = self._mains(
                [hit.candidate for hit in hits if not isinstance(query, str) or hit.candidate.text]
            )
            best: dict[str, tuple[CandidateRecord, float]] = {}
            for hit in hits:
                record = mains.get(hit.candidate.id)
                if record is not None and record.id not in best and passes(record.metadata["value"], op.filter):
                    best[record.id] = (record, hit.score)
            if len(best) >= wanted or len(hits) < k:
                yield from best.values()
                return
            k *= 4

    def _mains(self, hits: Sequence[CandidateRecord]) -> dict[str, CandidateRecord]:
        """By the id of a hit, the item it belongs to; vectors of what an item was before belong to none.

        A namespace may also hold what others stored there, whatever its metadata says.
        """
        mains = {hit.id: hit for hit in hits if _is_item(hit)}
        further = {hit.id: (str(hit.metadata.get("of")), hit) for hit in hits if hit.namespace[:1] == (_VECTORS,)}
        missing = [id for id in dict.fromkeys(of for of, _ in further.values()) if id not in mains]
        if missing:
            mains |= {record.id: record for record in self.storage.get_candidates(missing) if _is_item(record)}
        belonging = {
            id: mains[of] for id, (of, hit) in further.items() if of in mains and _is_vector_of(hit, mains[of])
        }
        return mains | belonging

    def _listed(self, op: SearchOp, wanted: int, *, unscored: bool = False) -> list[CandidateRecord]:
        """Items that pass, the latest first, at least ``wanted`` where there are as many; with ``unscored`` those
        alone that have no vector."""
        conditions = {**narrowed(op.filter, "value"), "key": {"$exists": True}}
        if unscored:
            conditions["vectors"] = {"$lt": 1}
        filter = _within(op.namespace_prefix, conditions)
        limit = wanted
        while True:
            records = self.storage.get_candidates(filter=filter, newest_first=True, limit=limit)
            found = [
                record for record in records if _is_item(record) and passes(record.metadata["value"], op.filter)
            ]
            if len(found) >= wanted or len(records) < limit:
                return found
            limit *= 4

    def _refresh(self, records: Sequence[CandidateRecord]) -> None:
        """Has items, with their further vectors, live on from now."""
        ending = [record for record in records if record.ttl_s is not None]
        if ending:
            self.storage.get_candidates([id for record in ending for id in _ids(record)], refresh_ttl=True)

    def _put(self, ops: Sequence[PutOp], vectors: _Vectors) -> None:
        ids = [scoped(op.namespace, op.key) for op in ops]
        before = {record.id: record for record in self.storage.get_candidates(ids) if _is_item(record)}
        records: list[CandidateRecord] = []
        gone: list[str] = []
        for op in ops:
            old = before.get(scoped(op.namespace, op.key))
            made = [] if op.value is None else self._records(op, vectors, old)
            records += made
            kept = {record.id for record in made}
            gone += [id for id in (_ids(old) if old is not None else ()) if id not in kept]
        # Written first: where the process ends in between, vectors are left of what was, which belong to none.
        if records:
            self.storage.upsert_candidates(records, by=_BY, keep_use=True)
        if gone:
            self.storage.delete_candidates(gone, by=_BY)

    def _records(self, op: PutOp, vectors: _Vectors, old: CandidateRecord | None) -> list[CandidateRecord]:
        texts = self._indexed(op)
        found = (vectors.documents.get(text) for text in texts)
        made = [vector for vector in found if vector is not None and vector.any()]
        metadata: dict[str, Any] = {"key": op.key, "value": op.value, "vectors": len(made)}
        words = "\n".join(texts) if self.embeddings is None else None
        if len(made) > 1:
            metadata["version"] = uuid.uuid4().hex
        ttl = None if op.ttl is None else op.ttl * 60
        main = CandidateRecord(
            scoped(op.namespace, op.key),
            embedding=made[0] if made else None,
            text=words or None,
            created_at=time.time() if old is None else old.created_at,
            metadata=metadata,
            namespace=tuple(op.namespace),
            ttl_s=ttl,
        )
        further = [
            CandidateRecord(
                scoped((_VECTORS, *op.namespace), op.key, number),
                embedding=vector,
                created_at=main.created_at,
                metadata={"of": main.id, "version": metadata["version"], "value": op.value},
                namespace=(_VECTORS, *op.namespace),
                ttl_s=ttl,
            )
            for number, vector in enumerate(made[1:], 1)
        ]
        return [main, *further]

    def _texts(self, ops: Sequence[Op]) -> _Texts:
        if self.embeddings is None:
            return _Texts((), ())
        documents = [text for op in ops if isinstance(op, PutOp) for text in self._indexed(op)]
        queries = [op.query for op in ops if isinstance(op, SearchOp) and op.query and _asks(op)]
        return _Texts(tuple(dict.fromkeys(documents)), tuple(dict.fromkeys(queries)))

    def _indexed(self, op: PutOp) -> list[str]:
        """The texts an item is found by."""
        if op.value is None or op.index is False:
            return []
        paths = self._fields if op.index is None else op.index
        if self.embeddings is None and all(path in _WHOLE for path in paths):
            return [_words(op.value)]
        return [text for path in paths for text in get_text_at_path(op.value, path) if text.strip()]

    def _list(self, op: ListNamespacesOp) -> list[tuple[str, ...]]:
        conditions = op.match_conditions or ()
        prefix = next(
            (each.path for each in conditions if each.match_type == "prefix" and "*" not in each.path), ()
        )
        found = {
            namespace if op.max_depth is None else namespace[: op.max_depth]
            for namespace in self.storage.list_namespaces(prefix)
            if namespace
            and namespace[0] != _VECTORS
            and all(_matches(condition, namespace) for condition in conditions)
        }
        return sorted(found)[op.offset : op.offset + op.limit]


_NONE: Final = _Vectors({}, {})


def _checked(ops: Iterable[Op]) -> list[Op]:
    ops = list(ops)
    for op in ops:
        if not isinstance(op, GetOp | SearchOp | PutOp | ListNamespacesOp):
            raise OptionError("ops", type(op).__name__, "give GetOp, SearchOp, PutOp and ListNamespacesOp")
        if isinstance(op, SearchOp):
            check(op.filter)
        elif isinstance(op, PutOp):
            _check_put(op)
    return ops


def _check_put(op: PutOp) -> None:
    if not isinstance(op.key, str):
        raise OptionError("key", op.key, "give a text")
    if not (op.value is None or isinstance(op.value, Mapping)):
        raise OptionError("value", type(op.value).__name__, "give a dictionary, or None to remove the item")
    if tuple(op.namespace[:1]) == (_VECTORS,):
        raise OptionError("namespace", op.namespace, "give another label: vectors are kept under this one")


def _asks(op: SearchOp) -> bool:
    return bool(op.query and op.query.strip())


def _vectors(texts: _Texts, documents: Iterable[Sequence[float]], queries: Iterable[Sequence[float]]) -> _Vectors:
    def numbers(vectors: Iterable[Sequence[float]]) -> Iterator[npt.NDArray[np.float32]]:
        return (np.asarray(vector, np.float32) for vector in vectors)

    return _Vectors(
        dict(zip(texts.documents, numbers(documents), strict=True)),
        dict(zip(texts.queries, numbers(queries), strict=True)),
    )


def _is_item(record: CandidateRecord) -> bool:
    """Whether this door stored it: no other makes ids of this form, whatever metadata it may be given."""
    key = record.metadata.get("key")
    return isinstance(key, str) and record.id == scoped(record.namespace, key)


def _is_vector_of(record: CandidateRecord, item: CandidateRecord) -> bool:
    """Whether it is one of an item's further vectors, as the item is now."""
    return record.namespace == (_VECTORS, *item.namespace) and record.metadata.get("version") == item.metadata.get(
        "version", ""
    )


def _ids(record: CandidateRecord) -> list[str]:
    """Of an item and of its further vectors."""
    further = range(1, record.metadata["vectors"])
    space = (_VECTORS, *record.namespace)
    return [record.id, *(scoped(space, record.metadata["key"], number) for number in further)]


def _within(prefix: Sequence[str], conditions: Mapping[str, Any]) -> dict[str, Any]:
    return {**conditions, "$namespace": list(prefix)} if prefix else dict(conditions)


def _matches(condition: MatchCondition, namespace: tuple[str, ...]) -> bool:
    path = condition.path
    if len(namespace) < len(path):
        return False
    if condition.match_type not in ("prefix", "suffix"):
        raise OptionError("match_type", condition.match_type, "use prefix or suffix")
    compared = (
        namespace[: len(path)] if condition.match_type == "prefix" else namespace[len(namespace) - len(path) :]
    )
    return all(wanted in ("*", label) for label, wanted in zip(compared, path, strict=True))


def _words(value: Mapping[str, Any]) -> str:
    """What a value says; with the names of its fields, where it has several."""
    leaves = list(_leaves(value, ()))
    if len(leaves) == 1:
        return leaves[0][1]
    return "\n".join(f"{' '.join(path).replace('_', ' ')}: {text}" for path, text in leaves)


def _leaves(value: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    if isinstance(value, Mapping):
        for key, each in value.items():
            yield from _leaves(each, (*path, str(key)))
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _leaves(each, path)
    elif isinstance(value, str | int | float) and not isinstance(value, bool) and str(value).strip():
        yield path, str(value)


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _facts(record: CandidateRecord) -> dict[str, Any]:
    return {
        "namespace": record.namespace,
        "key": record.metadata["key"],
        # The caller's own: what is stored may be shared.
        "value": copy.deepcopy(record.metadata["value"]),
        "created_at": _time(record.created_at),
        "updated_at": _time(record.updated_at or record.created_at),
    }


def _item(record: CandidateRecord) -> Item:
    return Item(**_facts(record))


def _search_item(record: CandidateRecord, score: float | None) -> SearchItem:
    return SearchItem(**_facts(record), score=score)
