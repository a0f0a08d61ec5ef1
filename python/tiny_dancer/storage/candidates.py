"""Candidates: what is stored of each, which of them a search may return, and what storage does with them.

Records are checked when they are written (:mod:`tiny_dancer.storage.candidate_checks`), filters when made.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from tiny_dancer.errors import OptionError
from tiny_dancer.storage.metadata import metadata_text, terms
from tiny_dancer.storage.values import given, integer, settle, share, stored_text, utc_seconds

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy.typing as npt


@dataclass(frozen=True, slots=True, eq=False)
class CandidateRecord:
    """One memory, tool or document.

    It is checked when it is written, and comes back in the forms below, whichever of those it was written in:
    texts and numbers of numpy, embeddings as lists or arrays of any real numbers, times as ``datetime``, ISO 8601
    or in milliseconds (:func:`~tiny_dancer._core.timestamps.seconds_since_epoch`).

    Attributes:
        id: names it; unique in the database.
        embedding: float32 [dimension], the same dimension for all; None keeps it out of nearest searches.
        text: what it says.
        created_at: UTC seconds, before 1970 below 0.
        last_accessed_at: UTC seconds of the last access, or None.
        access_count: accesses so far.
        success_count: sum of feedback scores over its trials.
        trial_count: decisions it had feedback in.
        confidence: in [0, 1], or None where unknown.
        metadata: properties to filter by; a plain tag is a key with an empty value. Any JSON (text, numbers, true,
            false, None, lists and mappings), kept as it is; compared as the text that a candidate set has for it.
        group: session or conversation it belongs to.
        position: place within its group, from 0.
    """

    id: str
    embedding: npt.NDArray[np.float32] | None = None
    text: str | None = None
    created_at: float = field(default_factory=time.time)
    last_accessed_at: float | None = None
    access_count: int = 0
    success_count: float = 0.0
    trial_count: int = 0
    confidence: float | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    group: str | None = None
    position: int | None = None

    @property
    def success_rate(self) -> float | None:
        """Mean feedback score, or None without trials."""
        return self.success_count / self.trial_count if self.trial_count else None


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A candidate found near a query.

    Attributes:
        candidate: without its embedding, unless that was asked for.
        distance: 1 - cosine, in [0, 2].
    """

    candidate: CandidateRecord
    distance: float


@dataclass(frozen=True, slots=True)
class Filter:
    """Conditions that must all hold; the default lets every candidate pass.

    Attributes:
        equals: metadata keys and the value each must have: text, a number, true or false. It becomes the text that
            stands for it in metadata: 1, 1.0 and ``"1"`` are one, True is ``"true"``. A list in metadata has each
            of its values. None is no value: nothing passes.
        any_of: metadata keys and the values each may have; without any, or with None for them, nothing passes.
        has: metadata keys that must be there, whatever their value.
        ids: the candidate is one of these.
        groups: its group is one of these.
        created_from: created at or after, UTC seconds.
        created_before: created before, UTC seconds.
        min_success_rate: mean feedback score at least this; removes candidates without trials.
        min_trials: trials at least this many.
        min_confidence: confidence at least this; removes candidates without one.
    """

    equals: Mapping[str, Any] = field(default_factory=dict)
    any_of: Mapping[str, Collection[Any]] = field(default_factory=dict)
    has: Collection[str] = ()
    ids: Collection[str] | None = None
    groups: Collection[str] | None = None
    created_from: float | None = None
    created_before: float | None = None
    min_success_rate: float | None = None
    min_trials: int = 0
    min_confidence: float | None = None

    def __post_init__(self) -> None:
        for name in ("equals", "any_of"):
            if not isinstance(getattr(self, name), Mapping):
                raise OptionError(f"filter.{name}", getattr(self, name), "give a mapping from metadata keys")
        for name in ("has", "ids", "groups"):
            if (values := getattr(self, name)) is not None:
                settle(self, name, _texts(f"filter.{name}", values))
        # Metadata is compared as text: what is looked for has the same form. None has none, and finds nothing.
        equals = {
            _key(key): given(metadata_text, f"filter.equals[{key}]", value, error=OptionError)
            for key, value in self.equals.items()
        }
        any_of = {
            _key(key): tuple(
                metadata_text(f"filter.any_of[{key}]", value, error=OptionError)
                for value in _listed(f"filter.any_of[{key}]", () if values is None else values)
                if value is not None
            )
            for key, values in self.any_of.items()
        }
        settle(self, "equals", equals)
        settle(self, "any_of", any_of)
        for name in ("created_from", "created_before"):
            settle(self, name, given(utc_seconds, f"filter.{name}", getattr(self, name), error=OptionError))
        for name in ("min_success_rate", "min_confidence"):
            settle(self, name, share(f"filter.{name}", getattr(self, name), error=OptionError))
        settle(self, "min_trials", integer("filter.min_trials", self.min_trials, error=OptionError))

    @property
    def empty(self) -> bool:
        """Whether every candidate passes."""
        return self == EVERYTHING

    def passes(self, record: CandidateRecord) -> bool:
        """Whether a candidate may be returned."""
        found, rate = terms(record.metadata), record.success_rate
        return (
            all(value in found.get(key, ()) for key, value in self.equals.items())
            and all(any(value in values for value in found.get(key, ())) for key, values in self.any_of.items())
            and all(key in found for key in self.has)
            and (self.ids is None or record.id in self.ids)
            and (self.groups is None or record.group in self.groups)
            and (self.created_from is None or record.created_at >= self.created_from)
            and (self.created_before is None or record.created_at < self.created_before)
            and (self.min_success_rate is None or (rate is not None and rate >= self.min_success_rate))
            and record.trial_count >= self.min_trials
            and (
                self.min_confidence is None
                or (record.confidence is not None and record.confidence >= self.min_confidence)
            )
        )


def _listed(field: str, values: object) -> Collection[Any]:
    if isinstance(values, (str, bytes, np.ma.MaskedArray)) or not isinstance(values, Collection):
        raise OptionError(field, values, "give a list of texts")
    return values


def _texts(field: str, values: object) -> tuple[str, ...]:
    return tuple([stored_text(field, value, empty=True, error=OptionError) for value in _listed(field, values)])


def _key(key: object) -> str:
    return stored_text("filter key", key, empty=True, error=OptionError)


EVERYTHING = Filter()


class CandidateStorage(Protocol):
    """Keeps candidates and finds the nearest. Safe to use from many threads.

    A write is durable when it returns: it survives the end of the process, and in a file also a loss of power.

    Every method raises :class:`~tiny_dancer.errors.StorageError` where the database cannot be read or written.
    """

    def insert_candidate(self, record: CandidateRecord) -> None:
        """Adds one candidate; as :meth:`insert_candidates`."""
        ...

    def insert_candidates(self, records: Iterable[CandidateRecord]) -> None:
        """Adds candidates, all or none.

        Raises:
            CandidateError: an id is stored already or given twice, a field cannot be stored, or an embedding has
                another dimension than those stored.
        """
        ...

    def upsert_candidates(self, records: Iterable[CandidateRecord]) -> None:
        """Adds candidates, replacing those of the same ids as a whole (their counts too), all or none.

        Raises:
            CandidateError: a field cannot be stored, an id is given twice, or an embedding has another dimension
                than those stored.
        """
        ...

    def delete_candidates(self, ids: Iterable[str]) -> int:
        """Removes candidates; returns how many there were. Ids that are not stored are ignored."""
        ...

    def get_candidates(
        self, ids: Iterable[str] | None = None, *, filter: Filter | None = None
    ) -> tuple[CandidateRecord, ...]:
        """Candidates with their embeddings: those of ``ids`` that are stored, in that order, or all by id."""
        ...

    def query_candidates(
        self,
        query_embedding: npt.ArrayLike,
        k: int = 10,
        *,
        filter: Filter | None = None,
        max_distance: float | None = None,
        touch: bool = True,
        embeddings: bool = False,
    ) -> tuple[Neighbour, ...]:
        """The nearest candidates by cosine, exactly; equal distances in the order of their ids.

        Args:
            query_embedding: [dimension] real numbers, in any form an embedding is taken in; not zero.
            k: most to return; fewer where fewer pass.
            filter: which candidates may be returned.
            max_distance: largest 1 - cosine, in [0, 2].
            touch: count this as an access to those returned. Counted in batches: readable after
                :meth:`~tiny_dancer.storage.HistoryStorage.flush`.
            embeddings: return the embeddings too.

        Raises:
            CandidateError: the query is no vector of real numbers, not finite, zero or of another dimension than
                those stored.
            OptionError: ``k`` or ``max_distance`` outside its range.
        """
        ...
