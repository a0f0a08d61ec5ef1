"""Candidates before they are written, a search before it is made: checked and made plain, for every backend."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np

from tiny_dancer.errors import CandidateError, OptionError
from tiny_dancer.storage.candidates import CandidateRecord
from tiny_dancer.storage.metadata import stored_metadata
from tiny_dancer.storage.values import (
    amount,
    given,
    integer,
    is_extension,
    number,
    plain,
    share,
    stored_text,
    utc_seconds,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy.typing as npt

# sqlite-vec's limit for one vector.
WIDEST = 8192
# A norm outside says that something else than an embedding is meant; within, float32 dot products stay exact
# enough.
SMALLEST_NORM, LARGEST_NORM = 1e-9, 1e9
_VECTOR = "give real numbers in one dimension: a list, or an array of floats or whole numbers"


def check_candidates(records: Iterable[CandidateRecord]) -> tuple[tuple[CandidateRecord, ...], int | None]:
    """Checks candidates before they are written.

    Returns:
        The candidates as they are stored, sharing nothing that its owner may change: ids, texts and numbers of
        Python's own, times in UTC seconds, metadata in lists and dictionaries, embeddings float32 [dimension]; and
        that dimension, or None where none has one.

    Raises:
        CandidateError: a field of one of them cannot be stored; it names which.
    """
    dimension = None
    checked: dict[str, CandidateRecord] = {}
    try:
        listed = iter(records)
    except TypeError:
        raise CandidateError("candidates", type(records).__name__, "give a list of CandidateRecord") from None
    for row, record in enumerate(listed):
        where = f"candidates[{row}]"
        if not isinstance(record, CandidateRecord):
            raise CandidateError(where, type(record).__name__, "give a CandidateRecord")
        fields = _fields(where, record)
        if fields["id"] in checked:
            raise CandidateError(f"{where}.id", fields["id"], "give each id once")
        if record.embedding is not None:
            embedding = stored_embedding(f"{where}.embedding", record.embedding)
            width = len(embedding)
            if dimension not in (None, width):
                raise CandidateError(
                    f"{where}.embedding", f"dimension {width} after {dimension}", "use one dimension for all"
                )
            dimension = width
            fields["embedding"] = embedding
        checked[fields["id"]] = replace(record, **fields)
    return tuple(checked.values()), dimension


def _fields(where: str, record: CandidateRecord) -> dict[str, Any]:
    """All but the embedding, as they are stored."""
    kind = CandidateError
    fields: dict[str, Any] = {
        "id": stored_text(f"{where}.id", record.id, error=kind),
        "text": stored_text(f"{where}.text", record.text, empty=True, optional=True, error=kind),
        "group": stored_text(f"{where}.group", record.group, optional=True, error=kind),
        "created_at": utc_seconds(f"{where}.created_at", record.created_at, error=kind),
        "last_accessed_at": given(utc_seconds, f"{where}.last_accessed_at", record.last_accessed_at, error=kind),
        "access_count": integer(f"{where}.access_count", record.access_count, error=kind),
        "trial_count": integer(f"{where}.trial_count", record.trial_count, error=kind),
        "success_count": amount(f"{where}.success_count", record.success_count, error=kind),
        "confidence": share(f"{where}.confidence", record.confidence, error=kind),
        "position": given(integer, f"{where}.position", record.position, error=kind),
        "metadata": stored_metadata(f"{where}.metadata", record.metadata, error=kind),
    }
    if fields["success_count"] > fields["trial_count"]:
        remedy = f"give {fields['trial_count']} (trials) or less"
        raise kind(f"{where}.success_count", record.success_count, remedy)
    return fields


def stored_embedding(where: str, embedding: object) -> npt.NDArray[np.float32]:
    """float32 [dimension], a copy of any sequence or array of real numbers: lists, floats of 16 to 64 bits, whole
    numbers, bfloat16 by ml_dtypes, ``array.array``, a memoryview, a tensor that numpy can read.

    Raises:
        CandidateError: it is no such thing, not finite, or has no direction.
    """
    if _is_usual(embedding) and 1 <= len(embedding) <= WIDEST:
        copied = embedding.copy()
        if _has_usual_norm(copied):
            return copied
    wide = _wide(where, embedding)
    if not 1 <= len(wide) <= WIDEST:
        raise CandidateError(where, f"dimension {len(wide)}", f"give 1 to {WIDEST} numbers")
    if not np.isfinite(wide).all():
        raise CandidateError(where, "NaN or infinite", "give finite numbers")
    with np.errstate(over="ignore"):
        norm = math.sqrt(float(wide @ wide))
    if not SMALLEST_NORM <= norm <= LARGEST_NORM:
        raise CandidateError(
            where,
            f"norm {norm:g}",
            f"scale it to between {SMALLEST_NORM:g} and {LARGEST_NORM:g}; zero has no direction",
        )
    return wide.astype(np.float32)


def _is_usual(embedding: object) -> TypeGuard[npt.NDArray[np.float32]]:
    return type(embedding) is np.ndarray and embedding.dtype == np.float32 and embedding.ndim == 1


def _has_usual_norm(embedding: npt.NDArray[np.float32]) -> bool:
    """In float32 this is quick, and enough to see that all is well; what is not, is looked at again."""
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(SMALLEST_NORM**2 <= np.dot(embedding, embedding) <= LARGEST_NORM**2)


def _wide(where: str, embedding: object) -> npt.NDArray[np.float64]:
    """float64 [dimension], not to be written to."""
    if isinstance(embedding, np.ma.MaskedArray):
        raise CandidateError(where, "masked array", "give a plain one: what is masked has no value")
    try:
        array = np.asarray(embedding)
    # A warning, where warnings are errors, says that something masked is among them.
    except (TypeError, ValueError, RuntimeError, UserWarning) as error:
        raise CandidateError(where, f"{type(embedding).__name__} ({error})", _VECTOR) from None
    if array.ndim != 1 or not (array.dtype.kind in "fiu" or is_extension(array.dtype) or not array.size):
        raise CandidateError(where, f"{array.dtype} {list(array.shape)}", _VECTOR)
    with np.errstate(over="ignore", invalid="ignore"):
        return array.astype(np.float64, copy=False)


def check_query(
    embedding: npt.ArrayLike, k: int, max_distance: float | None
) -> tuple[npt.NDArray[np.float32], int, float | None]:
    """Checks a search's arguments.

    Returns:
        float32 [dimension], the query in one piece; ``k`` and ``max_distance`` as Python's own numbers.

    Raises:
        CandidateError: the query is no finite vector of real numbers with a direction.
        OptionError: ``k`` or ``max_distance`` outside its range.
    """
    if _is_usual(embedding) and _has_usual_norm(embedding):
        query = np.ascontiguousarray(embedding)
    else:
        query = stored_embedding("query_embedding", embedding)
    if type(k) is not int:
        k = plain(k)  # type: ignore[assignment]
    if type(k) is not int or k < 1:
        raise OptionError("k", k, "give a whole number, 1 or more")
    if max_distance is not None:
        farthest = number("max_distance", max_distance, error=OptionError)
        if not 0 <= farthest <= 2:
            raise OptionError("max_distance", max_distance, "give a cosine distance between 0 and 2")
        max_distance = farthest
    return query, k, max_distance
