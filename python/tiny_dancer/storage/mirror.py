"""Candidates in memory: searched by embedding and by condition, in microseconds.

:class:`~tiny_dancer.storage.MemoryStorage` holds its candidates here; the SQLite backend mirrors its table
here and brings the mirror up to date before each search. Not locked: its owner does that.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from tiny_dancer.errors import CandidateError
from tiny_dancer.storage.candidates import Neighbour
from tiny_dancer.storage.index import Index
from tiny_dancer.storage.metadata import terms

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy.typing as npt

    from tiny_dancer.storage.candidates import CandidateRecord, Filter

# Columns of numbers that filters compare; NaN where a candidate has none, which no comparison lets pass.
_COLUMNS = ("created_at", "success_rate", "trials", "confidence")


class Mirror:
    """Candidates that have an embedding, with what filters ask for in columns and lists of rows."""

    def __init__(self) -> None:
        self._index: Index | None = None
        self._row: dict[str, int] = {}
        self._records: list[CandidateRecord] = []
        self._columns = np.empty((len(_COLUMNS), 0))
        self._tags: dict[tuple[str, ...], _Rows] = {}

    def __len__(self) -> int:
        return len(self._records)

    @property
    def dimension(self) -> int | None:
        """Of the embeddings; None before the first."""
        return None if self._index is None else self._index.dimension

    def put(self, records: Sequence[CandidateRecord], embeddings: npt.NDArray[np.float32] | None = None) -> None:
        """Adds or replaces candidates.

        Args:
            records: the candidates, ids all different.
            embeddings: float32 [n, dimension]; None replaces what is known of stored candidates and leaves their
                embeddings as they are.
        """
        fresh = [place for place, record in enumerate(records) if record.id not in self._row]
        if embeddings is not None:
            if self._index is None:
                self._index = Index(embeddings.shape[1])
            for place, record in enumerate(records):
                if record.id in self._row:
                    self._index.update(self._row[record.id], embeddings[place])
            self._index.add(embeddings if len(fresh) == len(records) else embeddings[fresh])
        self._make_room(len(self._records) + len(fresh))
        for record in records:
            known = replace(record, embedding=None) if record.embedding is not None else record
            row = self._row.get(record.id)
            if row is None:
                row = len(self._records)
                self._row[record.id] = row
                self._records.append(known)
                self._tag(row, known)
            elif (known.metadata, known.group) != (self._records[row].metadata, self._records[row].group):
                self._untag(row, self._records[row])
                self._records[row] = known
                self._tag(row, known)
            else:
                self._records[row] = known
            rate = known.success_rate
            self._columns[:, row] = (
                known.created_at,
                np.nan if rate is None else rate,
                known.trial_count,
                np.nan if known.confidence is None else known.confidence,
            )

    def drop(self, ids: Iterable[str]) -> None:
        """Removes those of the candidates that are here."""
        for each in ids:
            row = self._row.pop(each, None)
            if row is None or self._index is None:
                continue
            last = len(self._records) - 1
            self._untag(row, self._records[row])
            self._index.remove(row)
            moved = self._records.pop()
            if row != last:
                self._untag(last, moved)
                self._records[row] = moved
                self._row[moved.id] = row
                self._columns[:, row] = self._columns[:, last]
                self._tag(row, moved)

    def nearest(
        self,
        query: npt.NDArray[np.float32],
        k: int,
        *,
        filter: Filter | None = None,
        max_distance: float | None = None,
    ) -> tuple[Neighbour, ...]:
        """The nearest candidates; arguments as :meth:`Storage.query_candidates`, checked.

        Raises:
            CandidateError: the query has another dimension than the candidates.
        """
        if self._index is None or not self._records:
            return ()
        check_dimension(query, self._index.dimension)
        allowed = None if filter is None or filter.empty else self.allowed(filter)
        records = self._records
        ordered = sorted(
            (distance, records[row].id, row) for row, distance in self._index.search(query, k, allowed)
        )
        return tuple(
            [
                Neighbour(records[row], distance)
                for distance, _, row in ordered[:k]
                if max_distance is None or distance <= max_distance
            ]
        )

    def allowed(self, filter: Filter) -> npt.NDArray[np.bool_]:
        """bool [len(self)], the rows that pass."""
        count = len(self._records)
        masks = [
            self._tagged([] if value is None else [("metadata", key, value)])
            for key, value in filter.equals.items()
        ]
        masks += [
            self._tagged([("metadata", key, value) for value in values]) for key, values in filter.any_of.items()
        ]
        masks += [self._tagged([("key", key)]) for key in filter.has]
        if filter.groups is not None:
            masks.append(self._tagged([("group", group) for group in filter.groups]))
        if filter.ids is not None:
            listed = np.zeros(count, bool)
            listed[[self._row[each] for each in filter.ids if each in self._row]] = True
            masks.append(listed)
        created, rate, trials, confidence = range(len(_COLUMNS))
        for column, least in (
            (created, filter.created_from),
            (rate, filter.min_success_rate),
            (trials, filter.min_trials or None),
            (confidence, filter.min_confidence),
        ):
            if least is not None:
                masks.append(self._columns[column, :count] >= least)
        if filter.created_before is not None:
            masks.append(self._columns[created, :count] < filter.created_before)
        if not masks:
            return np.ones(count, bool)
        passing = masks[0]
        for mask in masks[1:]:
            passing &= mask
        return passing

    def _tagged(self, tags: Sequence[tuple[str, ...]]) -> npt.NDArray[np.bool_]:
        mask = np.zeros(len(self._records), bool)
        for tag in tags:
            if tag in self._tags:
                mask[self._tags[tag].rows()] = True
        return mask

    def _make_room(self, count: int) -> None:
        room = self._columns.shape[1]
        if count > room:
            more = np.full((len(_COLUMNS), max(count, 2 * room) - room), np.nan)
            self._columns = np.concatenate([self._columns, more], axis=1)

    def _tag(self, row: int, record: CandidateRecord) -> None:
        for tag in _tags_of(record):
            self._tags.setdefault(tag, _Rows()).add(row)

    def _untag(self, row: int, record: CandidateRecord) -> None:
        for tag in _tags_of(record):
            rows = self._tags[tag]
            rows.remove(row)
            if not len(rows):
                del self._tags[tag]


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


def _tags_of(record: CandidateRecord) -> list[tuple[str, ...]]:
    found = terms(record.metadata)
    tags: list[tuple[str, ...]] = [("key", key) for key in found]
    # A list may say one thing twice.
    tags += dict.fromkeys(("metadata", key, text) for key, texts in found.items() for text in texts)
    if record.group is not None:
        tags.append(("group", record.group))
    return tags


class _Rows:
    """A set of row numbers that becomes an index array without a loop."""

    __slots__ = ("_array", "_count")

    def __init__(self) -> None:
        self._array = np.empty(1, np.int32)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def rows(self) -> npt.NDArray[np.int32]:
        return self._array[: self._count]

    def add(self, row: int) -> None:
        if self._count == len(self._array):
            self._array = np.concatenate([self._array, np.empty_like(self._array)])
        self._array[self._count] = row
        self._count += 1

    def remove(self, row: int) -> None:
        place = int(np.flatnonzero(self.rows() == row)[0])
        self._count -= 1
        self._array[place] = self._array[self._count]
