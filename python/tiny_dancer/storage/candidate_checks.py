"""Candidates before they are written, a search before it is made: checked and made plain, for every backend."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np

from tiny_dancer.errors import CandidateError, OptionError, TinyDancerError
from tiny_dancer.storage.candidates import CandidateRecord, compiled
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

    from tiny_dancer import _core
    from tiny_dancer.storage.candidates import Filtering

# sqlite-vec's limit for one vector.
WIDEST = 8192
# A norm outside says that something else than an embedding is meant; within, float32 dot products stay exact
# enough.
SMALLEST_NORM, LARGEST_NORM = 1e-9, 1e9
# What float32 may make of these.
_ROUNDING = 1 + 2.0**-20
# Parts of a namespace, as in the engine.
_DEEPEST = 32
# 316 years: from any refresh on it ends at a time that the engine has.
_LONGEST_LIFE = 1e10
_VECTOR = "give real numbers in one dimension: a list, or an array of floats or whole numbers"


def check_candidates(records: Iterable[CandidateRecord]) -> tuple[tuple[CandidateRecord, ...], int | None]:
    """Checks candidates before they are written.

    Returns:
        The candidates as they are stored, sharing nothing that its owner may change: ids, texts and numbers of
        Python's own, times in UTC seconds, metadata in lists and dictionaries, embeddings float32 [dimension], the
        time of writing and that of their end; and that dimension, or None where none has one.

    Raises:
        CandidateError: a field of one of them cannot be stored; it names which.
    """
    dimension = None
    checked: dict[str, CandidateRecord] = {}
    now = time.time()
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
        if fields["expires_at"] is None and fields["ttl_s"] is not None:
            fields["expires_at"] = now + fields["ttl_s"]
        checked[fields["id"]] = replace(record, **fields, updated_at=now)
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
        "namespace": path(f"{where}.namespace", record.namespace, error=kind),
        "ttl_s": given(_life, f"{where}.ttl_s", record.ttl_s, error=kind),
        "expires_at": given(utc_seconds, f"{where}.expires_at", record.expires_at, error=kind),
    }
    if fields["success_count"] > float(fields["trial_count"]):
        remedy = f"give {fields['trial_count']} (trials) or less"
        raise kind(f"{where}.success_count", record.success_count, remedy)
    return fields


def _life(field: str, value: object, *, error: type[TinyDancerError]) -> float:
    found = amount(field, value, error=error)
    if found > _LONGEST_LIFE:
        raise error(field, value, f"give {_LONGEST_LIFE:.0f} seconds or less, or None for ever")
    return found


def path(field: str, namespace: object, *, error: type[TinyDancerError] = OptionError) -> tuple[str, ...]:
    """A namespace, or the beginning of one.

    Raises:
        OptionError: it is no list of at most 32 texts (or ``error``).
    """
    if isinstance(namespace, str) or not isinstance(namespace, Sequence):
        raise error(field, namespace, "give a tuple of texts, the widest first")
    if len(namespace) > _DEEPEST:
        raise error(field, f"{len(namespace)} parts", f"give at most {_DEEPEST}")
    return tuple(stored_text(f"{field}[{place}]", part, error=error) for place, part in enumerate(namespace))


def check_by(by: object) -> str | None:
    """Who changes candidates: a text, or None.

    Raises:
        OptionError: it is neither.
    """
    return stored_text("by", by, optional=True, error=OptionError)


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
        # As it is stored: what is taken once is taken again when it comes back.
        stored = wide.astype(np.float32)
        norm = math.sqrt(float(np.dot(stored.astype(np.float64), stored)))
    if not SMALLEST_NORM / _ROUNDING <= norm <= LARGEST_NORM * _ROUNDING:
        raise CandidateError(
            where,
            f"norm {norm:g}",
            f"scale it to between {SMALLEST_NORM:g} and {LARGEST_NORM:g}; zero has no direction",
        )
    return stored


def usual_norms(matrix: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    """Which rows of a matrix, float32 [rows, dimension], :func:`stored_embedding` takes; bool [rows]."""
    # What is damaged may be no number at all.
    with np.errstate(invalid="ignore"):
        wide = matrix.astype(np.float64)
        norms = np.sqrt(np.einsum("ij,ij->i", wide, wide))
    found: npt.NDArray[np.bool_] = (norms >= SMALLEST_NORM / _ROUNDING) & (norms <= LARGEST_NORM * _ROUNDING)
    return found


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
        CandidateError: the query is no finite vector of real numbers with a direction.
        OptionError: another argument outside its range.
    """
    embedding: npt.NDArray[np.float32] | None = None
    if isinstance(query, str):
        if text is not None:
            raise OptionError("text", text, "give one text, or an embedding and a text")
        text = query
    else:
        embedding = _query(query)
    if text is not None:
        text = stored_text("text", text, empty=True, error=OptionError)
        if not text.strip():
            raise OptionError("text", repr(text), "give words, or an embedding alone")
        if max_distance is not None:
            raise OptionError("max_distance", max_distance, "it goes with an embedding alone")
    if type(k) is not int:
        k = plain(k)  # type: ignore[assignment]
    if type(k) is not int or k < 1:
        raise OptionError("k", k, "give a whole number, 1 or more")
    if max_distance is not None:
        farthest = number("max_distance", max_distance, error=OptionError)
        if not 0 <= farthest <= 2:
            raise OptionError("max_distance", max_distance, "give a cosine distance between 0 and 2")
        max_distance = farthest
    return Search(embedding, text, k, compiled(filter), max_distance, embeddings, time.time())


def _query(embedding: npt.ArrayLike) -> npt.NDArray[np.float32]:
    if _is_usual(embedding) and _has_usual_norm(embedding):
        return np.ascontiguousarray(embedding)
    return stored_embedding("query_embedding", embedding)
