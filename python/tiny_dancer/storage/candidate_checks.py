"""Checks of candidates before they are written, and of a search before it is made: the same for every backend."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from tiny_dancer.errors import CandidateError, OptionError
from tiny_dancer.storage.values import amount, integer, metadata_text, share, stored_text, utc_seconds

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from tiny_dancer.storage.candidates import CandidateRecord

# sqlite-vec's limit for one vector.
WIDEST = 8192
# A norm outside says that something else than an embedding is meant; within, float32 dot products stay exact
# enough.
SMALLEST_NORM, LARGEST_NORM = 1e-9, 1e9


def check_candidates(records: Sequence[CandidateRecord]) -> int | None:
    """Checks candidates before they are written.

    Returns:
        The dimension of their embeddings, or None where none has one.

    Raises:
        CandidateError: a field of one of them cannot be stored; it names which.
    """
    dimension = None
    seen = set()
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
    return dimension


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


def check_query(embedding: npt.NDArray[np.float32], k: int, max_distance: float | None) -> npt.NDArray[np.float32]:
    """Checks a search's arguments.

    Returns:
        float32 [dimension], the query in one piece.

    Raises:
        CandidateError: the query is no finite float vector with a direction.
        OptionError: ``k`` or ``max_distance`` outside its range.
    """
    if not isinstance(embedding, np.ndarray) or embedding.dtype.kind != "f" or embedding.ndim != 1:
        raise CandidateError("query_embedding", _describe(embedding), "give a float32 array of one dimension")
    narrow = np.ascontiguousarray(embedding, np.float32)
    # In float32 this is quick and enough to see that all is well; what is not, is looked at again.
    if not SMALLEST_NORM**2 <= np.dot(narrow, narrow) <= LARGEST_NORM**2:
        _norm("query_embedding", embedding)
        _norm("query_embedding", narrow)
    if type(k) is not int or k < 1:
        raise OptionError("k", k, "give a whole number, 1 or more")
    if max_distance is not None and not 0 <= max_distance <= 2:
        raise OptionError("max_distance", max_distance, "give a cosine distance between 0 and 2")
    return narrow
