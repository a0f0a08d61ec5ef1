"""Storage: candidates, history, requests, keys, the queue, agents and budgets in one database, and its life."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, Self

from tiny_dancer.errors import OptionError
from tiny_dancer.storage.agents import AgentStorage
from tiny_dancer.storage.budgets import BudgetStorage
from tiny_dancer.storage.candidates import CandidateStorage
from tiny_dancer.storage.history import HistoryStorage
from tiny_dancer.storage.keys import KeyStorage
from tiny_dancer.storage.ledger import RequestStorage
from tiny_dancer.storage.queue import QueueStorage
from tiny_dancer.storage.values import amount, given, integer, utc_seconds

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import TracebackType


@dataclass(frozen=True, slots=True)
class RowCounts:
    """Rows by what they are: stored (backup, restore, verify), or removed (retention). Changes are those of
    candidates."""

    candidates: int
    routing: int
    outcomes: int
    feedback: int
    requests: int = 0
    api_keys: int = 0
    changes: int = 0
    queued: int = 0
    agents: int = 0
    budgets: int = 0


class Storage(
    CandidateStorage,
    HistoryStorage,
    RequestStorage,
    KeyStorage,
    QueueStorage,
    AgentStorage,
    BudgetStorage,
    Protocol,
):
    """All of it in one database: what every backend does. Safe to use from many threads.

    Who needs only a part asks for that part's protocol.

    Every method raises :class:`~tiny_dancer.errors.StorageError` where the database cannot be read or written.
    """

    def apply_retention(
        self, *, max_age_s: float | None = None, max_rows: int | None = None, now: float | None = None
    ) -> RowCounts:
        """Removes history: decisions, outcomes, feedback, requests, what was done to candidates, and what was
        queued and has ended, where it is older or beyond the newest rows.

        Args:
            max_age_s: seconds to keep.
            max_rows: rows to keep of each.
            now: UTC seconds to count the age from; the present by default.

        Returns:
            How many rows were removed; candidates, agents, budgets and API keys are never removed.

        Raises:
            OptionError: neither limit is given, or one is negative.
        """
        ...

    def backup(self, path: str | Path) -> RowCounts:
        """Writes a verified copy to a file, while reading and writing go on; returns what it holds."""
        ...

    def restore(self, path: str | Path) -> RowCounts:
        """Replaces everything by a backup, at once for all; what was stored stays where the backup is no good."""
        ...

    def vacuum(self) -> None:
        """Gives back the space of what was removed."""
        ...

    def verify(self) -> RowCounts:
        """Reads everything; raises where it is damaged, else says how many rows there are."""
        ...

    def close(self) -> None:
        """Writes what is queued and lets go; closing again does nothing, other calls raise."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...


def retention_limits(
    max_age_s: float | None, max_rows: int | None, now: float | None
) -> tuple[float | None, int | None]:
    """The oldest time to keep and the most rows to keep, each None for no limit.

    Raises:
        OptionError: neither limit is given, or one is negative.
    """
    if max_age_s is None and max_rows is None:
        raise OptionError("retention", "no limit", "give max_age_s, max_rows or both")
    age = given(amount, "max_age_s", max_age_s, error=OptionError)
    most = given(integer, "max_rows", max_rows, error=OptionError)
    present = time.time() if now is None else utc_seconds("now", now, error=OptionError)
    return None if age is None else present - age, most


def first_kept(
    oldest: float | None, most: int | None, newest: Callable[[int], tuple[float, int] | None]
) -> tuple[float, int] | None:
    """Time and number of the first row of a history to keep, of those that are there; None where all are kept.

    Args:
        oldest: the oldest time to keep, or None.
        most: rows to keep, or None.
        newest: time and number of the row before which so many are newer, or None where there are fewer.
    """
    first = None if oldest is None else (oldest, 0)
    if most is not None:
        # With nothing to keep, the newest is the last to go.
        found = newest(max(most - 1, 0))
        if found is not None:
            time, number = found
            of_count = (time, number if most else number + 1)
            first = of_count if first is None else max(first, of_count)
    return first
