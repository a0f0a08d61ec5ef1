"""Checks on what is stored, and on the arguments of searches: a typed error names field, value and remedy."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np

from tiny_dancer import _core
from tiny_dancer.errors import CandidateError, OptionError, StorageError, TinyDancerError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import numpy.typing as npt

    from tiny_dancer.storage.records import CandidateRecord

# Year 5138. Milliseconds of any year from 1973 on lie beyond, and are caught.
LATEST = 1e11
_INTEGERS = 2**63
# sqlite-vec's limit for one vector.
WIDEST = 8192
# A norm outside says that something else than an embedding is meant; within, float32 dot products stay exact
# enough.
SMALLEST_NORM, LARGEST_NORM = 1e-9, 1e9


def stored_text(
    field: str,
    value: object,
    *,
    empty: bool = False,
    optional: bool = False,
    error: type[TinyDancerError] = StorageError,
) -> None:
    """Text that every database can hold: UTF-8 without NUL. None passes where it is ``optional``.

    Raises:
        StorageError: it is none (or ``error``).
    """
    # The usual case, in one look: what is printable has neither NUL nor surrogates.
    if type(value) is str and value and value.isprintable():
        return
    if value is None and optional:
        return
    if not isinstance(value, str):
        raise error(field, type(value).__name__, "give text")
    if not value and not empty:
        raise error(field, "empty", "give text")
    if "\0" in value:
        raise error(field, repr(value), "remove the NUL character")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise error(field, ascii(value), "give valid Unicode: a surrogate stands alone") from None


def _is_number(value: object) -> TypeGuard[float]:
    return type(value) is float or (isinstance(value, (int, float)) and not isinstance(value, bool))


def number(field: str, value: object) -> None:
    """A finite number.

    Raises:
        StorageError: it is none.
    """
    if not (_is_number(value) and -math.inf < value < math.inf):
        raise StorageError(field, value, "give a finite number")


def amount(field: str, value: object, *, error: type[TinyDancerError] = StorageError) -> None:
    """A finite number, 0 or more.

    Raises:
        StorageError: it is none (or ``error``).
    """
    if not (_is_number(value) and 0 <= value < math.inf):
        raise error(field, value, "give a finite number, 0 or more")


def share(
    field: str, value: object, *, required: bool = False, error: type[TinyDancerError] = StorageError
) -> None:
    """A number in [0, 1]; None passes unless ``required``.

    Raises:
        StorageError: it is none (or ``error``).
    """
    if value is None and not required:
        return
    if not _is_number(value) or not 0 <= value <= 1:
        raise error(field, value, "give a number between 0 and 1")


def integer(field: str, value: object, *, error: type[TinyDancerError] = StorageError) -> None:
    """A whole number from 0 to 2**63 - 1.

    Raises:
        StorageError: it is none (or ``error``).
    """
    if type(value) is not int or not 0 <= value < _INTEGERS:
        raise error(field, value, "give a whole number, 0 or more")


def utc_seconds(field: str, value: object, *, error: type[TinyDancerError] = StorageError) -> None:
    """A time in seconds since 1970, in UTC.

    Raises:
        StorageError: it is none, or looks like milliseconds (or ``error``).
    """
    if not _is_number(value) or not 0 <= value <= LATEST:
        raise error(field, value, f"give UTC seconds since 1970, between 0 and {LATEST:g}, not milliseconds")


def limit(value: object) -> None:
    """How many rows to return: 1 or more, or None for all.

    Raises:
        OptionError: it is neither.
    """
    if value is not None and (type(value) is not int or value < 1):
        raise OptionError("limit", value, "give a whole number, 1 or more, or None for all")


def candidates(records: Sequence[CandidateRecord]) -> int | None:
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


def metadata_text(field: str, value: object, *, error: type[TinyDancerError]) -> str:
    """The text that stands for one value of metadata, in a database as in a candidate set.

    Raises:
        TinyDancerError: of the type given: neither text, number, true nor false, or no database can hold it.
    """
    if type(value) is not str:
        try:
            value = _core.metadata_text(value, field)
        except CandidateError as refusal:
            raise error(refusal.field, refusal.value, refusal.remedy) from None
    stored_text(field, value, empty=True, error=error)
    return value


def metadata_texts(metadata: Mapping[str, Any]) -> dict[str, str]:
    """Metadata, checked, as it is stored."""
    return {
        key: value if type(value) is str else _core.metadata_text(value, key) for key, value in metadata.items()
    }


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


def query(embedding: npt.NDArray[np.float32], k: int, max_distance: float | None) -> npt.NDArray[np.float32]:
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


def texts(field: str, values: Iterable[str]) -> tuple[str, ...]:
    """Texts to look up.

    Raises:
        OptionError: one text instead of several, or something else among them.
    """
    if isinstance(values, str):
        raise OptionError(field, values, "give a list of texts")
    listed = tuple(values)
    for value in listed:
        stored_text(field, value, empty=True, error=OptionError)
    return listed


def history(
    since: float | None, until: float | None, decision_ids: Iterable[str] | None, most: int | None
) -> tuple[str, ...] | None:
    """Checks what a history is asked for.

    Returns:
        The decision ids, or None for all.

    Raises:
        OptionError: one of them is not what it should be.
    """
    limit(most)
    for field, value in (("since", since), ("until", until)):
        if value is not None:
            utc_seconds(field, value, error=OptionError)
    return None if decision_ids is None else texts("decision_ids", decision_ids)
