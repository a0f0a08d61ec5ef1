"""Candidates as callers write them → the engine's set."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from tiny_dancer import _core
from tiny_dancer._core.timestamps import seconds_since_epoch
from tiny_dancer.errors import CandidateError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Candidate:
    """A memory, a tool, a document: something worth passing on, or not. Everything but the id may be absent.

    Attributes:
        id: names it; unique within a set.
        embedding: D numbers, D the same for all candidates of a set.
        text: what it says. The set keeps hashed terms of it, not the text.
        created_at: seconds, milliseconds, microseconds or nanoseconds since 1970 (told apart by size), a
            ``datetime`` or ISO 8601; without a zone, UTC. A time in the future counts as now.
        access_count: how often it was used.
        success_rate: share of its uses that helped, in [0, 1]; few trials are drawn towards one half.
        trials: uses the rate was counted over; ``access_count`` where absent.
        confidence: how sure its maker is of it, in [0, 1].
        metadata: tags and other properties: text, whole numbers and others, true or false, or lists and mappings
            of them. They are compared, and searched, as text: a number as JSON of any language has it (``1`` and
            ``1.0`` are ``1``), a truth value as ``true`` or ``false``; None is no value. What lies in a mapping
            has both names with a point between: ``{"a": {"b": 1}}`` is ``a.b``.
        group: the session, conversation or document it is part of. Candidates of one group are each other's
            neighbours, in the order of ``position``.
        position: place within the group, equal ones by id; those without one come last, in the order in which they
            were added.
            neighbours in the order in which they were added.
        namespace: where it belongs, from the widest part to the narrowest, such as ``["acme", "anna"]``; at most
            32 parts. Filters find it by its beginning.
    """

    id: str
    embedding: Sequence[float] | npt.NDArray[np.float32] | None = None
    text: str | None = None
    created_at: float | datetime | str | None = None
    access_count: float | None = None
    success_rate: float | None = None
    trials: float | None = None
    confidence: float | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    group: str | None = None
    position: float | None = None
    namespace: Sequence[str] | None = None


def _columns(candidates: Sequence[Candidate]) -> _core.CandidateColumns:
    return (
        [candidate.id for candidate in candidates],
        [candidate.text for candidate in candidates],
        [seconds_since_epoch(c.created_at, f"candidates[{i}].created_at") for i, c in enumerate(candidates)],
        [candidate.access_count for candidate in candidates],
        [candidate.success_rate for candidate in candidates],
        [candidate.trials for candidate in candidates],
        [candidate.confidence for candidate in candidates],
        [candidate.metadata for candidate in candidates],
        [candidate.group for candidate in candidates],
        [candidate.position for candidate in candidates],
        [None] * len(candidates),
        [candidate.namespace for candidate in candidates],
    )


def float_row(values: object, where: str, dimensions: int | None = None) -> npt.NDArray[np.float32]:
    """A vector of ``dimensions`` float32 values.

    Raises:
        CandidateError: no numbers, or another number of them.
    """
    try:
        row = np.asarray(values, dtype=np.float32)
    except (TypeError, ValueError):
        raise CandidateError(where, type(values).__name__, "give a sequence of numbers") from None
    if row.ndim != 1 or row.size == 0 or dimensions not in (None, row.size):
        expected = "at least one number" if dimensions is None else f"{dimensions} numbers"
        raise CandidateError(where, f"shape {row.shape}", f"give {expected}")
    return np.ascontiguousarray(row)


def as_filter(where: Mapping[str, Any] | _core.CandidateFilter) -> _core.CandidateFilter:
    """A filter, compiled where it is not yet.

    Raises:
        CandidateError: what is no filter.
    """
    return where if isinstance(where, _core.CandidateFilter) else _core.CandidateFilter(where)


@dataclass(frozen=True, slots=True)
class Ranking:
    """What a router ranks: the engine's set, what makes a query's embedding, and which candidates take part.

    Attributes:
        native: the engine's set.
        encoder: the static encoder where the candidates' embeddings are its, else None.
        where: only candidates that pass; None for all.
    """

    native: _core.CandidateSet
    encoder: _core.Encoder | None
    where: _core.CandidateFilter | None = None


def _owner(array: npt.NDArray[Any]) -> object:
    """What the array's memory belongs to."""
    owner: object = array
    while isinstance(owner, np.ndarray) and owner.base is not None:
        owner = owner.base
    while isinstance(owner, memoryview):
        owner = owner.obj
    return owner


def _never_changes(array: npt.NDArray[Any]) -> bool:
    # A class derived from bytes may hand out memory of its own choice.
    return type(_owner(array)) is bytes


class CandidateSet:
    """Candidates ready to be ranked: one contiguous column a property; many threads may rank one set.

    Candidates with text and without embeddings are encoded by the static encoder (256 values); the query's text
    then is, too. Where some candidates have embeddings, those without count as unlike everything (cosine 0).

    Args:
        candidates: what to start with.
        quantised: keep embeddings as int8 with one scale a row: a quarter of the memory, cosines within about .01.

    Raises:
        CandidateError: names candidate and field: a repeated or empty id, embeddings of different lengths, a
            negative count, a rate outside [0, 1], a time that is none. Nothing is added then.
    """

    def __init__(self, candidates: Iterable[Candidate] = (), *, quantised: bool = False) -> None:
        self._kept = "quantised" if quantised else "full"
        self._native: _core.CandidateSet | None = None
        self._dimensions: int | None = None
        self._encoded = False
        self.extend(candidates)

    @classmethod
    def from_arrays(
        cls,
        ids: Sequence[str],
        embeddings: npt.NDArray[np.float32],
        *,
        copy: bool = True,
        quantised: bool = False,
        **columns: Sequence[Any],
    ) -> CandidateSet:
        """A set from columns.

        Args:
            ids: n ids.
            embeddings: float32 [n, D].
            copy: False reads the array where it lies; the first change to the set copies it. It has to be
                C-contiguous and lie in a ``bytes`` object (``np.frombuffer``): of other memory it is not known
                that nobody can write to it. An array that is read-only may be a view of one that is not, or be
                made writeable again; Arrow's buffers and mapped files may change as well.
            quantised: as for the class; needs the copy.
            columns: further columns of n values by the names of :class:`Candidate`'s fields.

        Raises:
            CandidateError: as the class; or columns of different lengths.
        """
        matrix = np.asarray(embeddings)
        if matrix.ndim != 2 or len(matrix) != len(ids):
            raise CandidateError("embeddings", f"shape {matrix.shape}", f"give one row for each of {len(ids)} ids")
        for name, values in columns.items():
            if name not in Candidate.__slots__ or name in ("id", "embedding"):
                known = ", ".join(slot for slot in Candidate.__slots__ if slot not in ("id", "embedding"))
                raise CandidateError("columns", name, f"columns are {known}")
            if len(values) != len(ids):
                raise CandidateError(name, f"{len(values)} values", f"give one for each of {len(ids)} ids")
        rows = [
            Candidate(id, **{name: values[row] for name, values in columns.items()}) for row, id in enumerate(ids)
        ]
        found = cls(quantised=quantised)
        if copy or quantised or not rows:
            found._append(rows, np.ascontiguousarray(matrix, dtype=np.float32) if rows else None)
        else:
            if matrix.dtype != np.float32 or not matrix.flags.c_contiguous or not _never_changes(matrix):
                raise CandidateError(
                    "embeddings",
                    f"{matrix.dtype} over {type(_owner(matrix)).__name__}",
                    "give a C-contiguous float32 array over bytes (np.frombuffer), or leave copy True",
                )
            found._native = _core.CandidateSet.over(matrix.shape[1], matrix, _columns(rows))
            found._dimensions = matrix.shape[1]
        return found

    def _append(self, rows: Sequence[Candidate], matrix: npt.NDArray[np.float32] | None) -> None:
        if not rows:
            return
        dimensions = None if matrix is None else matrix.shape[1]
        native = self._native
        if native is None:
            native = _core.CandidateSet(dimensions, self._kept)
        elif dimensions != self._dimensions:
            raise CandidateError("embedding", f"{dimensions} values", f"this set has {self._dimensions}")
        native.append(_columns(rows), matrix)
        self._native, self._dimensions = native, dimensions

    def _matrix(self, rows: Sequence[Candidate]) -> tuple[npt.NDArray[np.float32] | None, bool]:
        """Embeddings of ``rows``, and whether they come from the static encoder."""
        given = [place for place, candidate in enumerate(rows) if candidate.embedding is not None]
        if given and not (self._encoded and self._native is not None):
            dimensions = self._dimensions
            matrix: npt.NDArray[np.float32] | None = None
            for place in given:
                where = f"candidates[{place}].embedding"
                row = float_row(rows[place].embedding, where, dimensions)
                if matrix is None:
                    dimensions = row.size
                    matrix = np.zeros((len(rows), dimensions), np.float32)
                matrix[place] = row
            return matrix, False
        if given:
            where = f"candidates[{given[0]}].embedding"
            raise CandidateError(where, "given", "this set encodes text itself: leave it out, or make a new set")
        if self._native is not None and not self._encoded:
            if self._dimensions is None:
                return None, False
            return np.zeros((len(rows), self._dimensions), np.float32), False
        if not any(candidate.text for candidate in rows) and not self._encoded:
            return None, False
        try:
            return _core.encode([candidate.text or "" for candidate in rows]), True
        except UnicodeEncodeError as error:
            place = next(place for place, candidate in enumerate(rows) if candidate.text == error.object)
            remedy = "give a string that is valid Unicode"
            raise CandidateError(f"candidates[{place}].text", "a lone surrogate", remedy) from None

    def extend(self, candidates: Iterable[Candidate]) -> None:
        """Adds candidates; all or none."""
        rows = list(candidates)
        if rows:
            matrix, encoded = self._matrix(rows)
            self._append(rows, matrix)
            self._encoded = encoded

    def add(self, candidate: Candidate) -> None:
        """Adds one candidate."""
        self.extend([candidate])

    def update(self, candidate: Candidate) -> None:
        """Replaces what is known of the candidate with this id; without an embedding (or text to encode) it keeps
        its own.

        Raises:
            CandidateError: an unknown id, or as the class.
        """
        matrix = None
        if candidate.embedding is not None or (self._encoded and candidate.text):
            matrix, _ = self._matrix([candidate])
            if self._dimensions is None:
                raise CandidateError("candidates[0].embedding", "given", "this set has no embeddings")
        self.native.update(_columns([candidate]), matrix)

    def record_use(self, candidate_id: str, *, helped: bool | None = None) -> None:
        """Counts one more use of a candidate, and whether it helped where that is known."""
        self.native.record_use(candidate_id, helped)

    def remove(self, candidate_ids: Iterable[str]) -> None:
        """Removes candidates; all or none.

        Raises:
            CandidateError: an unknown id.
        """
        self.native.remove(list(candidate_ids))

    def matching(self, where: Mapping[str, Any] | _core.CandidateFilter) -> bytes:
        """One byte a candidate, in the order of :attr:`ids`: 1 where it passes the filter
        (:class:`tiny_dancer.CandidateFilter`).

        Raises:
            CandidateError: what is no filter.
        """
        return self.native.matching(as_filter(where))

    @property
    def ranking(self) -> Ranking:
        """What a router ranks now."""
        return Ranking(self.native, self.encoder)

    @property
    def native(self) -> _core.CandidateSet:
        """The engine's set."""
        if self._native is None:
            self._native = _core.CandidateSet(None, self._kept)
        return self._native

    @property
    def encoder(self) -> _core.Encoder | None:
        """The static encoder where the candidates' embeddings are its, else None."""
        return _core.encoder() if self._encoded else None

    @property
    def dimensions(self) -> int | None:
        """Values in an embedding; None without any."""
        return self._dimensions

    @property
    def ids(self) -> list[str]:
        """The candidates."""
        return self.native.ids()

    def __len__(self) -> int:
        return 0 if self._native is None else len(self._native)

    def __contains__(self, candidate_id: object) -> bool:
        return isinstance(candidate_id, str) and self._native is not None and candidate_id in self._native
