"""Candidates of a database as a set that follows it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NoReturn

from tiny_dancer.errors import CandidateError
from tiny_dancer.routing.candidate_set import CandidateSet, Ranking, as_filter
from tiny_dancer.storage.candidates import compiled

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tiny_dancer import _core
    from tiny_dancer.routing.candidate_set import Candidate
    from tiny_dancer.storage import CandidateStorage
    from tiny_dancer.storage.candidates import Filtering


class StoredCandidates(CandidateSet):
    """All candidates of a storage, or those that pass a filter, as they are at each call: a write that returned
    before is seen, and what has expired is not among them. Candidates of one group follow each other by position,
    else by time.

    To change it, write to the storage.

    Args:
        storage: where they are.
        filter: which of them take part.

    Raises:
        OptionError: a filter that is none.
    """

    def __init__(self, storage: CandidateStorage, filter: Filtering | None = None) -> None:
        self._storage = storage
        self._filter = compiled(filter)

    @property
    def ranking(self) -> Ranking:
        """What a router ranks now."""
        live = self._storage.live_candidates()
        return Ranking(live.native, live.encoder, self._filter)

    @property
    def native(self) -> _core.CandidateSet:
        """The engine's set, with candidates that the filter keeps out, and such as have expired."""
        return self._storage.live_candidates().native

    @property
    def encoder(self) -> _core.Encoder | None:
        """The static encoder where the candidates' embeddings are its, else None."""
        return self._storage.live_candidates().encoder

    @property
    def ids(self) -> list[str]:
        """The candidates."""
        return self.native.passing(self._filter, time.time())

    @property
    def dimensions(self) -> int | None:
        """Values in an embedding, the static encoder's where it makes them."""
        return self._storage.live_candidates().dimensions

    def matching(self, where: Mapping[str, Any] | _core.CandidateFilter) -> bytes:
        """One byte a candidate, in the order of :attr:`ids`: 1 where it passes another filter as well.

        Raises:
            CandidateError: what is no filter.
        """
        other = as_filter(where)
        native, now = self.native, time.time()
        passing = set(native.passing(other if self._filter is None else self._filter & other, now))
        return bytes(id in passing for id in native.passing(self._filter, now))

    def __len__(self) -> int:
        return len(self.ids)

    def __contains__(self, candidate_id: object) -> bool:
        return isinstance(candidate_id, str) and self.native.all_pass([candidate_id], self._filter, time.time())

    @classmethod
    def from_arrays(cls, *columns: Any, **options: Any) -> NoReturn:
        """Refused: only a storage has such a set.

        Raises:
            CandidateError: always.
        """
        del columns, options
        raise CandidateError("candidates", "StoredCandidates from arrays", "use CandidateSet.from_arrays")

    def extend(self, candidates: Iterable[Candidate]) -> NoReturn:
        """Refused: write to the storage.

        Raises:
            CandidateError: always.
        """
        self._refuse()

    def update(self, candidate: Candidate) -> NoReturn:
        """Refused, as :meth:`extend`.

        Raises:
            CandidateError: always.
        """
        self._refuse()

    def record_use(self, candidate_id: str, *, helped: bool | None = None) -> NoReturn:
        """Refused, as :meth:`extend`.

        Raises:
            CandidateError: always.
        """
        self._refuse()

    def remove(self, candidate_ids: Iterable[str]) -> NoReturn:
        """Refused, as :meth:`extend`.

        Raises:
            CandidateError: always.
        """
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise CandidateError("candidates", "of a storage", "write to the storage: the set follows it")
