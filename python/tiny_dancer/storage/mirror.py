"""Candidates in memory, in the engine's set: searched by embedding, by words and by condition, in microseconds.

:class:`~tiny_dancer.storage.MemoryStorage` holds its candidates here; the SQLite backend mirrors its table
here and brings the mirror up to date before each search. Not locked: its owner does that.
"""

from __future__ import annotations

from dataclasses import fields, replace
from operator import attrgetter
from struct import Struct
from typing import TYPE_CHECKING

import numpy as np

from tiny_dancer import _core
from tiny_dancer.errors import CandidateError
from tiny_dancer.storage.candidates import CandidateRecord, LiveCandidates, Neighbour
from tiny_dancer.storage.metadata import decoded, encoded

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy.typing as npt

    from tiny_dancer.storage.candidate_checks import Search

# The combination without training, as CandidateRouter has it.
_SCORER = _core.CandidateScorer()
_NAMES = [field.name for field in fields(CandidateRecord)]
_METADATA = _NAMES.index("metadata")
_fields_of = attrgetter(*_NAMES)
_FLOAT = Struct("<f")
_COSINE = _FLOAT.size * _core.CANDIDATE_FEATURES.index("cosine")


class Mirror:
    """All candidates, with what a search compares.

    Args:
        dimension: of the embeddings; None where no candidate has one: the static encoder makes them then.
    """

    def __init__(self, dimension: int | None = None) -> None:
        self._dimension = dimension
        self._native = _core.CandidateSet(dimension or _core.EMBEDDING_DIMENSIONS, "indexed")
        self._records: dict[str, CandidateRecord] = {}
        # Those without an embedding: rows of zeros in the set.
        self._bare: set[str] = set()

    @property
    def live(self) -> LiveCandidates:
        """The engine's set."""
        if self._dimension is None:
            return LiveCandidates(self._native, _core.encoder(), _core.EMBEDDING_DIMENSIONS)
        return LiveCandidates(self._native, None, self._dimension)

    def apply(self, gone: Iterable[str], records: Sequence[CandidateRecord]) -> None:
        """Removes and adds or replaces candidates, in one step.

        Args:
            gone: ids to remove; those that are not here are ignored.
            records: the candidates, ids all different, with their embeddings.
        """
        width = next((len(record.embedding) for record in records if record.embedding is not None), None)
        if width is not None and self._dimension is None:
            self._widen(width)
        absent = [each for each in gone if each in self._records]
        self._native.apply(absent, engine_columns(records), self._embeddings(records))
        for each in absent:
            del self._records[each]
            self._bare.discard(each)
        for record in records:
            self._records[record.id] = record if record.embedding is None else replace(record, embedding=None)
            if self._dimension is not None and record.embedding is None:
                self._bare.add(record.id)
            else:
                self._bare.discard(record.id)

    def use(self, records: Sequence[CandidateRecord]) -> None:
        """Takes over what was counted of candidates that are here, and when they expire."""
        known = [replace(record, embedding=None) for record in records if record.id in self._records]
        self._native.use(
            [record.id for record in known],
            [_count(record.access_count) for record in known],
            [record.success_rate for record in known],
            [_count(record.trial_count) for record in known],
            [record.confidence for record in known],
            [record.expires_at for record in known],
        )
        self._records.update((record.id, record) for record in known)

    def search(self, search: Search) -> tuple[Neighbour, ...]:
        """What :meth:`~tiny_dancer.storage.CandidateStorage.query_candidates` finds.

        Raises:
            CandidateError: the query has another dimension than the candidates.
        """
        if not self._records:
            return ()
        if search.embedding is not None:
            if self._dimension is not None:
                check_dimension(search.embedding, self._dimension)
            elif search.text is None:
                return ()
            else:
                # Nothing stored has one to compare it with.
                search = replace(search, embedding=None)
        found = self._nearest(search) if search.text is None else self._ranked(search)
        return self._with_embeddings(found) if search.embeddings else found

    def _nearest(self, search: Search) -> tuple[Neighbour, ...]:
        assert search.embedding is not None
        most = min(search.k, len(self._records))
        # Nearest first, equal ones by id; all that tie with the last are among them.
        near = self._native.nearest(search.embedding, most, search.where, search.now)
        return tuple(
            [
                Neighbour(given(self._records[id]), 1.0 - cosine, cosine)
                for id, cosine in near[:most]
                if search.max_distance is None or 1.0 - cosine <= search.max_distance
            ]
        )

    def _ranked(self, search: Search) -> tuple[Neighbour, ...]:
        decisions, *_ = _SCORER.rank(
            self._native,
            search.embedding,
            search.text,
            now=search.now,
            encoder=self.live.encoder,
            k=min(search.k, len(self._records)),
            where=search.where,
        )
        compared = self._dimension is None or search.embedding is not None
        return tuple(
            [
                Neighbour(
                    given(self._records[found.candidate_id]),
                    1.0 - _cosine(found) if compared and found.candidate_id not in self._bare else None,
                    found.score,
                )
                for found in decisions
                if found.score > 0
            ]
        )

    def passing(self, where: _core.CandidateFilter | None, now: float) -> list[CandidateRecord]:
        """The candidates that pass a filter and have not expired, as they are here; not to be changed."""
        return [self._records[id] for id in self._native.passing(where, now)]

    def _with_embeddings(self, found: tuple[Neighbour, ...]) -> tuple[Neighbour, ...]:
        if self._dimension is None or not found:
            return found
        flat = np.frombuffer(self._native.embeddings([each.candidate.id for each in found]), "<f4")
        matrix = flat.reshape(len(found), -1).copy()
        return tuple(
            each
            if each.candidate.id in self._bare
            else replace(each, candidate=replace(each.candidate, embedding=row))
            for each, row in zip(found, matrix, strict=True)
        )

    def _widen(self, width: int) -> None:
        """The first embedding that is a caller's own: from now on those of the encoder are no longer compared."""
        self._dimension = width
        self._native = _core.CandidateSet(width, "indexed")
        known = list(self._records.values())
        self._native.apply([], engine_columns(known), self._embeddings(known))
        self._bare = set(self._records)

    def _embeddings(self, records: Sequence[CandidateRecord]) -> npt.NDArray[np.float32]:
        if self._dimension is None:
            return _core.encode([record.text or "" for record in records])
        matrix = np.zeros((len(records), self._dimension), np.float32)
        for row, record in enumerate(records):
            if record.embedding is not None:
                matrix[row] = record.embedding
        return matrix


def _cosine(decision: _core.CandidateDecision) -> float:
    found: float = _FLOAT.unpack_from(decision.feature_bytes(), _COSINE)[0]
    return found


def given(record: CandidateRecord) -> CandidateRecord:
    """A candidate for a caller, who may change its metadata."""
    values = list(_fields_of(record))
    values[_METADATA] = decoded(encoded(record.metadata)) if record.metadata else {}
    # In half the time of `dataclasses.replace`.
    return CandidateRecord(*values)


def engine_columns(records: Sequence[CandidateRecord], *, texts: bool = True) -> _core.CandidateColumns:
    """Candidates as the engine's set takes them; ``texts`` false where only conditions are to be looked at."""
    return (
        [record.id for record in records],
        [record.text if texts else None for record in records],
        [record.created_at for record in records],
        [_count(record.access_count) for record in records],
        [record.success_rate for record in records],
        [_count(record.trial_count) for record in records],
        [record.confidence for record in records],
        [record.metadata for record in records],
        [record.group for record in records],
        [record.created_at if record.position is None else float(record.position) for record in records],
        [record.expires_at for record in records],
        [record.namespace or None for record in records],
    )


def _count(count: int) -> float:
    """A count as the engine takes it: beyond a thousand million, more makes no difference."""
    return float(min(count, 1_000_000_000))


def passing(where: _core.CandidateFilter | None, records: Sequence[CandidateRecord]) -> list[CandidateRecord]:
    """Those of the candidates that pass a filter."""
    if where is None or not records:
        return list(records)
    candidates = _core.CandidateSet(None, "full")
    candidates.apply([], engine_columns(records, texts=False), None)
    flags = candidates.matching(where)
    # The set keeps the order in which they were added.
    return [record for record, flag in zip(records, flags, strict=True) if flag]


def check_dimension(query: npt.NDArray[np.float32], dimension: int) -> None:
    """Refuses a query of another dimension than the candidates.

    Raises:
        CandidateError: it is.
    """
    if len(query) != dimension:
        raise CandidateError(
            "query_embedding",
            f"dimension {len(query)}",
            f"the stored candidates have {dimension}: use their encoder",
        )
