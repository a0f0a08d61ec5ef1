"""What is reserved for one call, until it is settled."""

from __future__ import annotations

import logging
import math
import threading
import time
from typing import TYPE_CHECKING, Literal, Protocol, Self

from tiny_dancer.budgets.money import UNITS, units
from tiny_dancer.errors import BudgetError
from tiny_dancer.storage.budgets import usd

if TYPE_CHECKING:
    from types import TracebackType

    from tiny_dancer.budgets.accounts import Account

log = logging.getLogger("tiny_dancer.budgets")


class Part:
    """What is reserved in one period, of accounts by their keys. ``term``: of the seat it was reserved from."""

    __slots__ = ("left", "of", "term")

    def __init__(self, of: tuple[tuple[Account, int], ...], left: int, term: int) -> None:
        self.of, self.left, self.term = of, left, term


class Holder(Protocol):
    """The budgets that a hold is of, as it asks them."""

    lease_s: float
    # Those that are not settled yet.
    _holds: set[Hold]

    def _take(
        self, accounts: tuple[Account, ...], wanted: int, *, wait: Literal[True], limited: bool = True
    ) -> tuple[Part, tuple[str, ...]]:
        """Reserves of all accounts; and which soft budgets are spent."""

    def _put(self, part: Part, reserved: int, spent: int, *, wait: bool = True) -> None:
        """Lets go of what is reserved, and counts what is spent."""


class Hold:
    """What is reserved for one call, of every budget it falls under; made by :meth:`~tiny_dancer.Budgets.reserve`.

    Settled once, by :meth:`settle` or :meth:`release`, or at the end of a ``with`` block: without an error and
    without a word all of it is spent; with an error what was charged so far is, and the rest is let go.

    Attributes:
        soft: ids of the soft budgets that are spent: choose a cheaper model, or warn.
        done: whether it is settled.
    """

    __slots__ = ("_budgets", "_deadline", "_lock", "_paid", "_parts", "_vague", "done", "soft")

    def __init__(self, budgets: Holder, part: Part, soft: tuple[str, ...]) -> None:
        self._budgets = budgets
        # More than one where it was extended in another period.
        self._parts = [part]
        self._paid = 0
        self._deadline = time.monotonic() + budgets.lease_s
        self._lock = threading.Lock()
        self._vague = False
        self.soft = soft
        self.done = False

    @property
    def reserved(self) -> float:
        """USD that are reserved still."""
        return self._left / UNITS

    @property
    def charged(self) -> float:
        """USD charged so far."""
        return self._paid / UNITS

    def charge(self, cost: float, *, wait: bool = True) -> None:
        """Counts USD that are known to be spent by now; the rest stays reserved.

        Args:
            cost: USD.
            wait: for the disk, where it is more than was reserved; else a thread notes it there within a second.

        Raises:
            BudgetError: it is no amount, or the hold is settled.
            StorageError: it is more than was reserved, and cannot be noted durably.
        """
        spent = units_of("cost", cost)
        with self._lock:
            self._refuse_done()
            self._move(min(spent, self._left), spent, wait=wait)

    def extend(self, cost: float) -> None:
        """Reserves USD in addition, of the same budgets: for a further try, or a longer answer.

        Raises:
            BudgetExceededError: one has less left; nothing more is reserved then.
            BudgetError: it is no amount, or the hold is settled.
            StorageError: the ledger cannot be written.
        """
        more = units_of("cost", cost)
        with self._lock:
            self._refuse_done()
            first = self._parts[-1]
            part, soft = self._budgets._take(tuple(account for account, _ in first.of), more, wait=True)
            self.soft = soft
            if (part.of, part.term) == (first.of, first.term):
                first.left += more
            else:
                self._parts.append(part)

    def shrink(self, cost: float) -> None:
        """Lets go of all but so many USD of what is reserved.

        Raises:
            BudgetError: it is no amount, or the hold is settled.
        """
        most = units_of("cost", cost)
        with self._lock:
            self._refuse_done()
            self._move(max(self._left - most, 0), 0)

    def settle(self, cost: float, *, wait: bool = True) -> None:
        """Counts what the call did cost in all, USD, and lets go of the rest. Where that is more than was
        reserved, all of it counts. It counts in the period in which it was reserved.

        Late is better than never: what has expired is corrected, where the table has its period still.

        Args:
            cost: USD.
            wait: for the disk, where it is more than was reserved; else a thread notes it there within a second.

        Raises:
            BudgetError: it is no amount (all that is reserved is spent then, unless settled again), or the hold is
                settled already.
            StorageError: it is more than was reserved, and cannot be noted durably.
        """
        try:
            spent = units_of("cost", cost)
        except BudgetError:
            self._vague = True
            raise
        with self._lock:
            self._refuse_done()
            self._end()
            self._move(self._left, spent - self._paid, wait=wait)

    def release(self) -> None:
        """Counts what was charged so far, and lets go of the rest. Does nothing where it is settled."""
        with self._lock:
            if not self.done:
                self._end()
                self._move(self._left, 0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None or self._vague:
            self._spend_all()
        else:
            self.release()

    @property
    def _left(self) -> int:
        return sum([part.left for part in self._parts])

    def _refuse_done(self) -> None:
        if self.done:
            raise BudgetError(
                "hold", "settled already", "settle once; use Budgets.refund to give back what was paid"
            )

    def _end(self) -> None:
        self.done = True
        self._budgets._holds.discard(self)

    def _spend_all(self) -> None:
        with self._lock:
            if not self.done:
                self._end()
                self._move(self._left, self._left)

    def _expire(self) -> None:
        """Counts all that is left as spent; what is settled later corrects that."""
        with self._lock:
            self._budgets._holds.discard(self)
            if not self.done:
                log.warning(
                    "%.6g USD were reserved for %g s: they count as spent", self.reserved, self._budgets.lease_s
                )
                self._move(self._left, self._left)

    def _move(self, reserved: int, spent: int, *, wait: bool = True) -> None:
        """Lets go of units that are reserved, and counts units as spent."""
        self._paid += spent
        last = self._parts[-1]
        for part in self._parts:
            less = min(part.left, reserved)
            more = spent if part is last else min(spent, less)
            reserved, spent = reserved - less, spent - more
            part.left -= less
            if less or more:
                self._budgets._put(part, less, more, wait=wait)


def units_of(field: str, value: float) -> int:
    """An amount in USD as the table counts it.

    Raises:
        BudgetError: it is none.
    """
    return units(value) if type(value) is float and 0 <= value < math.inf else units(usd(field, value))
