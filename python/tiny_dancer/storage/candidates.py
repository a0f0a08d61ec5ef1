"""Candidates: what is stored of each, which of them a search may return, and what storage does with them.

Records are checked when they are written (:mod:`tiny_dancer.storage.candidate_checks`), filters when made.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

import numpy as np

from tiny_dancer import _core
from tiny_dancer.errors import OptionError
from tiny_dancer.storage.metadata import metadata_text
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
        position: place within its group, from 0; the time of its creation where None.
        namespace: whose it is, from the widest to the narrowest: ``("users", "anna", "facts")``.
        ttl_s: seconds it lives from when it is written or was last refreshed, up to 1e10; None for ever.
        expires_at: UTC seconds from which on nothing finds it any more; from ``ttl_s`` where None.
        updated_at: UTC seconds of the last write, set by the storage.
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
    namespace: tuple[str, ...] = ()
    ttl_s: float | None = None
    expires_at: float | None = None
    updated_at: float | None = None

    def has_expired(self, now: float) -> bool:
        """Whether it has ended by ``now`` (UTC seconds): nothing finds it then."""
        return self.expires_at is not None and self.expires_at <= now

    @property
    def success_rate(self) -> float | None:
        """Mean feedback score, or None without trials."""
        return self.success_count / self.trial_count if self.trial_count else None


def latest_first(records: Iterable[CandidateRecord]) -> list[CandidateRecord]:
    """Candidates in the order of their last write, the latest first; of one time by id."""
    return sorted(records, key=lambda record: (-(record.updated_at or 0.0), record.id))


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A candidate that a search found.

    Attributes:
        candidate: without its embedding, unless that was asked for.
        distance: 1 - cosine, in [0, 2]; None where it, or the query, has no embedding.
        score: what the search ranked by, higher is better. Found near an embedding: the cosine. Found by a text:
            how well words, character grams and cosine agree, and what its use says for it, as in
            :class:`~tiny_dancer.CandidateRouter` without training.
    """

    candidate: CandidateRecord
    distance: float | None
    score: float


@dataclass(frozen=True, slots=True)
class CandidateChange:
    """One entry of a candidate's history. Accesses and feedback are no changes.

    Attributes:
        candidate_id: which.
        time: UTC seconds.
        action: what was done.
        by: who did it, as the caller said.
        before: what was stored until then, without its embedding; None where nothing was.
    """

    candidate_id: str
    time: float
    action: ChangeAction
    by: str | None
    before: CandidateRecord | None


ChangeAction = Literal["insert", "update", "delete", "expire"]


@dataclass(frozen=True, slots=True)
class LiveCandidates:
    """All stored candidates as the engine ranks them; goes on following the storage it is from.

    Attributes:
        native: the engine's set.
        encoder: makes a query's embedding, where the candidates' are the static encoder's; else None.
        dimensions: values in an embedding.
    """

    native: _core.CandidateSet
    encoder: _core.Encoder | None
    dimensions: int


@dataclass(frozen=True)
class Filter:
    """Conditions that must all hold; the default lets every candidate pass. The same in words of
    :class:`~tiny_dancer.CandidateFilter`, which every ``filter`` may be as well.

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

    @cached_property
    def compiled(self) -> _core.CandidateFilter | None:
        """The filter as the engine has it; None where every candidate passes."""
        conditions: list[dict[str, Any]] = [{key: {"$eq": value}} for key, value in self.equals.items()]
        conditions += [{key: {"$in": list(values)}} for key, values in self.any_of.items()]
        conditions += [{key: {"$exists": True}} for key in self.has]
        for name, listed in (("$id", self.ids), ("$group", self.groups)):
            if listed is not None:
                conditions.append({name: {"$in": list(listed)}})
        for name, operator, least in (
            ("$created_at", "$gte", self.created_from),
            ("$created_at", "$lt", self.created_before),
            ("$success_rate", "$gte", self.min_success_rate),
            ("$trials", "$gte", self.min_trials or None),
            ("$confidence", "$gte", self.min_confidence),
        ):
            if least is not None:
                conditions.append({name: {operator: least}})
        return _core.CandidateFilter({"$and": conditions}) if conditions else None


def _listed(field: str, values: object) -> Collection[Any]:
    if isinstance(values, (str, bytes, np.ma.MaskedArray)) or not isinstance(values, Collection):
        raise OptionError(field, values, "give a list of texts")
    return values


def _texts(field: str, values: object) -> tuple[str, ...]:
    return tuple([stored_text(field, value, empty=True, error=OptionError) for value in _listed(field, values)])


def _key(key: object) -> str:
    return stored_text("filter key", key, empty=True, error=OptionError)


Filtering: TypeAlias = Filter | Mapping[str, Any] | _core.CandidateFilter
"""How callers say which candidates a search may return."""


def compiled(filter: Filtering | None) -> _core.CandidateFilter | None:
    """A filter as the engine has it; None where every candidate passes.

    Raises:
        CandidateError: it is none.
    """
    if filter is None:
        return None
    if isinstance(filter, Filter):
        return filter.compiled
    if isinstance(filter, _core.CandidateFilter):
        return filter
    return _core.CandidateFilter(filter)


class CandidateStorage(Protocol):
    """Keeps candidates and finds them by embedding and by words. Safe to use from many threads.

    A write is durable when it returns: it survives the end of the process, and in a file also a loss of power. A
    search sees every write that returned before it began. A candidate that has expired is found by nothing, and
    its id may be given again.

    Every method raises :class:`~tiny_dancer.errors.StorageError` where the database cannot be read or written.
    """

    def insert_candidate(self, record: CandidateRecord, *, by: str | None = None) -> None:
        """Adds one candidate; as :meth:`insert_candidates`."""
        ...

    def insert_candidates(self, records: Iterable[CandidateRecord], *, by: str | None = None) -> None:
        """Adds candidates, all or none.

        Args:
            records: what to add.
            by: who does it, for :meth:`candidate_history`.

        Raises:
            CandidateError: an id is stored already or given twice, a field cannot be stored, or an embedding has
                another dimension than those stored.
        """
        ...

    def upsert_candidates(
        self, records: Iterable[CandidateRecord], *, by: str | None = None, keep_use: bool = False
    ) -> None:
        """Adds candidates, replacing those of the same ids as a whole, all or none.

        Args:
            records: what to store.
            by: who does it, for :meth:`candidate_history`.
            keep_use: those that replace others keep what was counted of them: accesses, trials and successes. Of
                those that have expired nothing is kept.

        Raises:
            CandidateError: a field cannot be stored, an id is given twice, or an embedding has another dimension
                than those stored.
        """
        ...

    def delete_candidates(self, ids: Iterable[str], *, by: str | None = None, purge: bool = False) -> int:
        """Removes candidates; returns how many there were. Ids that are not stored are ignored.

        Args:
            ids: which.
            by: who does it, for :meth:`candidate_history`.
            purge: remove their history as well, so that nothing of what they said can be read here. Bytes of it
                are in a database's file until :meth:`~tiny_dancer.storage.Storage.vacuum`.
        """
        ...

    def remove_expired(self, *, now: float | None = None) -> int:
        """Removes candidates that have expired by ``now`` (UTC seconds, the present where None), in bounded steps;
        returns how many."""
        ...

    def get_candidates(
        self,
        ids: Iterable[str] | None = None,
        *,
        filter: Filtering | None = None,
        newest_first: bool = False,
        limit: int | None = None,
        refresh_ttl: bool = False,
    ) -> tuple[CandidateRecord, ...]:
        """Candidates with their embeddings: those of ``ids`` that are stored, in that order, or all by id.

        Args:
            ids: which; all where None.
            filter: which of them may be returned.
            newest_first: those written last come first, in place of the order said above.
            limit: most to return; None for all.
            refresh_ttl: those returned that have a ``ttl_s`` live as long from now on. Written in batches.
        """
        ...

    def query_candidates(
        self,
        query: npt.ArrayLike | str,
        k: int = 10,
        *,
        text: str | None = None,
        filter: Filtering | None = None,
        max_distance: float | None = None,
        touch: bool = True,
        refresh_ttl: bool = False,
        embeddings: bool = False,
    ) -> tuple[Neighbour, ...]:
        """The candidates a query is about, best first; equal ones in the order of their ids.

        An embedding finds the nearest by cosine, exactly. A text, or an embedding with a text, finds by words,
        character grams and cosine together, also candidates that have no embedding; what has nothing to do with it
        is not returned. Where no candidate was stored with an embedding of its own, the static encoder makes them,
        and the text's.

        Args:
            query: [dimension] real numbers, in any form an embedding is taken in, not all zero; or the text.
            k: most to return; fewer where fewer pass.
            text: the query's text beside its embedding.
            filter: which candidates may be returned: a boundary, whatever happens to them meanwhile.
            max_distance: largest 1 - cosine, in [0, 2]; removes candidates without an embedding.
            touch: count this as an access to those returned. Counted in batches: readable after
                :meth:`~tiny_dancer.storage.HistoryStorage.flush`.
            refresh_ttl: those returned that have a ``ttl_s`` live as long from now on. Written in batches.
            embeddings: return the embeddings too.

        Raises:
            CandidateError: the query is no vector of real numbers, not finite, zero or of another dimension than
                those stored; or what is no filter.
            OptionError: an option outside its range, or a text without any.
        """
        ...

    def live_candidates(self) -> LiveCandidates:
        """All candidates as the engine ranks them, with every write that returned before."""
        ...

    def list_namespaces(self, prefix: Iterable[str] = ()) -> tuple[tuple[str, ...], ...]:
        """Namespaces that candidates have, those that begin with ``prefix``, in their order."""
        ...

    def candidate_history(
        self, candidate_id: str | None = None, *, since: float | None = None, limit: int | None = 1000
    ) -> tuple[CandidateChange, ...]:
        """What was done to a candidate, or to all, newest first."""
        ...
