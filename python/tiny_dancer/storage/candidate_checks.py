"""Checks of candidates before they are written, and of a search before it is made: the same for every backend."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tiny_dancer.errors import CandidateError, OptionError, TinyDancerError
from tiny_dancer.storage.candidates import compiled
from tiny_dancer.storage.values import amount, integer, metadata_text, share, stored_text, utc_seconds

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import numpy.typing as npt

    from tiny_dancer import _core
    from tiny_dancer.storage.candidates import CandidateRecord, Filtering

# sqlite-vec's limit for one vector.
WIDEST = 8192
# A norm outside says that something else than an embedding is meant; within, float32 dot products stay exact
# enough.
SMALLEST_NORM, LARGEST_NORM = 1e-9, 1e9


def check_candidates(records: Iterable[CandidateRecord]) -> tuple[list[CandidateRecord], int | None]:
    """Checks candidates before they are written.

    Returns:
        The candidates as they are stored, with the time of writing and that of their end; and the dimension of their
        embeddings, or None where none has one.

    Raises:
        CandidateError: a field of one of them cannot be stored; it names which.
    """
    dimension = None
    seen = set()
    now = time.time()
    stored = []
    for row, record in enumerate(records):
        where = f"candidates[{row}]"
        _fields(where, record)
        if record.id in seen:
            raise CandidateError(f"{where}.id", record.id, "give each id once")
        seen.add(record.id)
        if record.embedding is not None:
            width = _embedding(f"{where}.embedding", record.embedding)
            if dimension not in (None, width):
                raise CandidateError(
                    f"{where}.embedding", f"dimension {width} after {dimension}", "use one dimension for all"
                )
            dimension = width
        stored.append(_stamped(record, now))
    return stored, dimension


def _stamped(record: CandidateRecord, now: float) -> CandidateRecord:
    expires_at = record.expires_at
    if expires_at is None and record.ttl_s is not None:
        expires_at = now + record.ttl_s
    return replace(record, namespace=tuple(record.namespace), expires_at=expires_at, updated_at=now)


def _fields(where: str, record: CandidateRecord) -> None:
    kind = CandidateError
    stored_text(f"{where}.id", record.id, error=kind)
    stored_text(f"{where}.text", record.text, empty=True, optional=True, error=kind)
    stored_text(f"{where}.group", record.group, optional=True, error=kind)
    utc_seconds(f"{where}.created_at", record.created_at, error=kind)
    if record.last_accessed_at is not None:
        utc_seconds(f"{where}.last_accessed_at", record.last_accessed_at, error=kind)
    integer(f"{where}.access_count", record.access_count, error=kind)
    integer(f"{where}.trial_count", record.trial_count, error=kind)
    amount(f"{where}.success_count", record.success_count, error=kind)
    if record.success_count > record.trial_count:
        raise kind(f"{where}.success_count", record.success_count, f"give {record.trial_count} (trials) or less")
    share(f"{where}.confidence", record.confidence, error=kind)
    if record.position is not None:
        integer(f"{where}.position", record.position, error=kind)
    _metadata(f"{where}.metadata", record.metadata)
    for place, part in enumerate(path(f"{where}.namespace", record.namespace, error=kind)):
        stored_text(f"{where}.namespace[{place}]", part, error=kind)
    if record.ttl_s is not None:
        amount(f"{where}.ttl_s", record.ttl_s, error=kind)
    if record.expires_at is not None:
        utc_seconds(f"{where}.expires_at", record.expires_at, error=kind)


def with_use(record: CandidateRecord, before: CandidateRecord | None) -> CandidateRecord:
    """A candidate with what was counted of the one it replaces, where there is one."""
    if before is None:
        return record
    return replace(
        record,
        last_accessed_at=before.last_accessed_at,
        access_count=before.access_count,
        success_count=before.success_count,
        trial_count=before.trial_count,
    )


def check_by(by: object) -> None:
    """Checks who changes candidates: a text, or None.

    Raises:
        OptionError: it is neither.
    """
    stored_text("by", by, optional=True, error=OptionError)


def path(field: str, namespace: object, *, error: type[TinyDancerError] = OptionError) -> tuple[str, ...]:
    """A namespace, or the beginning of one.

    Raises:
        OptionError: it is no list of texts (or ``error``).
    """
    if isinstance(namespace, str) or not isinstance(namespace, Sequence):
        raise error(field, namespace, "give a tuple of texts, the widest first")
    return tuple(namespace)


def _metadata(where: str, metadata: Mapping[str, Any]) -> None:
    for key, value in metadata.items():
        stored_text(f"{where} key", key, error=CandidateError)
        metadata_text(f"{where}[{key}]", value, error=CandidateError)


def _embedding(where: str, embedding: npt.NDArray[np.float32]) -> int:
    if not isinstance(embedding, np.ndarray) or embedding.dtype != np.float32 or embedding.ndim != 1:
        raise CandidateError(where, _describe(embedding), "give a float32 array of one dimension")
    if not 1 <= len(embedding) <= WIDEST:
        raise CandidateError(where, f"dimension {len(embedding)}", f"give 1 to {WIDEST} numbers")
    _norm(where, embedding)
    return len(embedding)


def _norm(where: str, embedding: npt.NDArray[np.float32]) -> None:
    wide = embedding.astype(np.float64)
    norm = math.sqrt(float(wide @ wide))
    if not math.isfinite(norm):
        raise CandidateError(where, "NaN or infinite", "give finite numbers")
    if not SMALLEST_NORM <= norm <= LARGEST_NORM:
        raise CandidateError(
            where,
            f"norm {norm:g}",
            f"scale it to between {SMALLEST_NORM:g} and {LARGEST_NORM:g}; zero has no direction",
        )


def _describe(value: object) -> str:
    return f"{value.dtype} {list(value.shape)}" if isinstance(value, np.ndarray) else type(value).__name__


@dataclass(frozen=True, slots=True)
class Search:
    """A search, checked.

    Attributes:
        embedding: float32 [dimension] in one piece, or None.
        text: what is asked, or None.
        k: most to return.
        where: which candidates may be returned; None for all.
        max_distance: largest 1 - cosine; None for any.
        embeddings: whether embeddings are to be returned.
        now: UTC seconds; what has expired by then is not found.
    """

    embedding: npt.NDArray[np.float32] | None
    text: str | None
    k: int
    where: _core.CandidateFilter | None
    max_distance: float | None
    embeddings: bool
    now: float


def check_search(
    query: npt.ArrayLike | str,
    k: int,
    text: str | None,
    filter: Filtering | None,
    max_distance: float | None,
    *,
    embeddings: bool,
) -> Search:
    """Checks a search's arguments.

    Raises:
        CandidateError: the query is no finite float vector with a direction.
        OptionError: another argument outside its range.
    """
    if type(k) is not int or k < 1:
        raise OptionError("k", k, "give a whole number, 1 or more")
    embedding: npt.NDArray[np.float32] | None = None
    if isinstance(query, str):
        if text is not None:
            raise OptionError("text", text, "give one text, or an embedding and a text")
        text = query
    else:
        embedding = _query(query)
    if text is not None:
        stored_text("text", text, empty=True, error=OptionError)
        if not text.strip():
            raise OptionError("text", repr(text), "give words, or an embedding alone")
        if max_distance is not None:
            raise OptionError("max_distance", max_distance, "it goes with an embedding alone")
    if max_distance is not None and not 0 <= max_distance <= 2:
        raise OptionError("max_distance", max_distance, "give a cosine distance between 0 and 2")
    return Search(embedding, text, k, compiled(filter), max_distance, embeddings, time.time())


def _query(embedding: npt.ArrayLike) -> npt.NDArray[np.float32]:
    if not isinstance(embedding, np.ndarray) or embedding.dtype.kind != "f" or embedding.ndim != 1:
        raise CandidateError("query_embedding", _describe(embedding), "give a float32 array of one dimension")
    narrow = np.ascontiguousarray(embedding, np.float32)
    # In float32 this is quick and enough to see that all is well; what is not, is looked at again.
    if not SMALLEST_NORM**2 <= np.dot(narrow, narrow) <= LARGEST_NORM**2:
        _norm("query_embedding", embedding)
        _norm("query_embedding", narrow)
    return narrow
