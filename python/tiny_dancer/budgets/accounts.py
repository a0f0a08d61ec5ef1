"""One budget in the table of money: what is left of it, and drawing more of it from the ledger.

What is spent and reserved never exceeds what was *drawn*: the ledger has noted that, durably, before. So a machine
that loses power, or a table that is deleted, can only count too much: what was drawn and not spent, a hundredth of
the limit. Draws of all tables together never exceed the limit.
"""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Final, Literal

from tiny_dancer.budgets.money import (
    DRAWN,
    MOST,
    NONE,
    OTHERS,
    PRESENT,
    PRESENT_DRAWN,
    RESERVED,
    RING,
    ROLLING_RESERVED,
    SPENT,
    MoneyTable,
    units,
)
from tiny_dancer.storage.budgets import Draw, Entry
from tiny_dancer.storage.periods import PARTS, period, rolling

if TYPE_CHECKING:
    from tiny_dancer.storage.budgets import Budget, BudgetStorage

# Of the limit: what is drawn beyond what is needed.
_SHARE: Final = 100
# Rows of the ledger that are kept, in periods.
_KEPT: Final = 100
# So long nobody asks the ledger again for what other tables have not spent.
_AGAIN_S: Final = 0.1

Verdict = Literal["fits", "spent", "draw", "full"]


class Account(ABC):
    """One budget in one table. What it counts by is a *key*: the milliseconds its period began, or the present
    part of its window. Amounts are units.

    Attributes:
        budget: as stored.
        limit: at most so much is spent in a period; what a soft one warns from.
        refuses: whether it is a hard one.
        row: in the table.
        touched: changed since its spending was last told to the ledger.
        kept: the key up to which nothing is drawn that is not needed.
    """

    def __init__(self, table: MoneyTable, storage: BudgetStorage, budget: Budget) -> None:
        """Finds its row.

        Raises:
            StorageError: the table is full, or the disk.
        """
        self.budget = budget
        self.id = budget.id
        self.limit = units(budget.limit)
        self.refuses = budget.kind == "hard"
        self.touched = True
        self.kept: int | None = None
        self.begins = -math.inf if budget.starts_at is None else budget.starts_at
        self.ends = math.inf if budget.ends_at is None else budget.ends_at
        self._table, self._storage = table, storage
        self._numbers = table.numbers
        self._others = self._others_spent = 0
        self._asked = (NONE, 0.0)
        self._more = max(self.limit // _SHARE, 1)
        self.row = table.row(budget.id, rolling(budget.period) or 0)

    @abstractmethod
    def key(self, now: float) -> int:
        """What an amount reserved at ``now``, UTC seconds, counts by."""

    @abstractmethod
    def span(self, now: float) -> tuple[float, float]:
        """First moment of the period at ``now``, or of its window; and when money comes back. UTC seconds."""

    @abstractmethod
    def since(self, key: int) -> int:
        """The first key that counts together with this one."""

    @abstractmethod
    def place(self, key: int) -> int | None:
        """Of what is reserved by seat; None where the table does not have the period."""

    @abstractmethod
    def standing(self, key: int) -> tuple[int, int, int, int]:
        """Spent, reserved and drawn in the period, and spent in earlier parts of the window. Of a period that the
        table has. Under lock."""

    def glance(self, key: int) -> tuple[int, int, int, int]:
        """As :meth:`standing`; nothing, of a period that the table does not have. Under lock."""
        return self.standing(key) if self.place(key) is not None else (0, 0, 0, 0)

    @abstractmethod
    def put(self, key: int, reserved: int, spent: int) -> bool:
        """Lets go of what this seat had reserved, and counts what was spent, in a period; whether more is spent
        and reserved now than drawn. Under lock."""

    @abstractmethod
    def _begin(self, key: int, entries: tuple[Entry, ...]) -> None:
        """Gives a period its place, with what the ledger knows of it. Under lock."""

    @abstractmethod
    def _set_drawn(self, key: int, drawn: int, others: int) -> None: ...

    def judge(self, key: int, amount: int) -> Verdict:
        """Whether an amount may be reserved: yes, no, or not before more is drawn; ``full``: no, whatever the
        limit is, as no number holds the sum. Under lock."""
        if self.place(key) is None:
            return "draw"
        spent, reserved, drawn, before = self.standing(key)
        used = spent + reserved + amount
        if used > MOST:
            return "full"
        if self.refuses:
            if before + used > self.limit - self._known_others(key):
                return "spent" if before + used > self.limit or self._just_asked(key) else "draw"
            if before and before + used > self.limit - self._drawn_by_others():
                return "draw"
        return "fits" if used <= drawn else "draw"

    def covers(self, key: int, amount: int) -> bool:
        """Whether an amount is drawn already. Under lock."""
        if self.place(key) is None:
            return False
        spent, reserved, drawn, _ = self.standing(key)
        return spent + reserved + amount <= drawn

    def is_spent(self, key: int) -> bool:
        """Whether the limit is reached, with what is reserved. Under lock."""
        spent, reserved, _, before = self.standing(key)
        return before + spent + reserved > self.limit

    def _known_others(self, key: int) -> int:
        return self._others if self._asked[0] == key else 0

    def _drawn_by_others(self) -> int:
        """In the window, as all processes know."""
        return 0

    def _just_asked(self, key: int) -> bool:
        return self._asked[0] == key and time.monotonic() - self._asked[1] < _AGAIN_S

    def take(self, key: int, amount: int) -> None:
        """Reserves for this seat. Under lock."""
        place = self.place(key)
        assert place is not None
        self._numbers[place + self._table.seat] += amount
        self.touched = True

    def draw(self, now: float, amount: int, *, limited: bool = True) -> None:
        """Asks the ledger for more, so that an amount may be reserved, as far as there is any. Not under lock; one
        thread of this process at a time.

        Raises:
            StorageError: the ledger cannot be written.
        """
        table, key = self._table, self.key(now)
        table.lock_draws(self.row)
        try:
            self.learn(key)
            table.lock((self.row,))
            try:
                if self.place(key) is None or self.judge(key, amount) in ("fits", "full"):
                    return
                spent, reserved, _, before = self.standing(key)
            finally:
                table.unlock()
            need = spent + reserved + amount
            limit = self.limit if limited and self.refuses else None
            forget = key - _KEPT * max(round(1000 * (self.span(now)[1] - self.span(now)[0])), 1) if key else 0
            goal = min(need + self._more, MOST)
            drawn = self._storage.draw_budget(
                Draw(self.id, table.holder, key, self.since(key), need, goal, limit, before, forget)
            )
            self._others, self._asked = drawn.others, (key, time.monotonic())
            table.lock((self.row,))
            try:
                if self.place(key) is not None:
                    self._set_drawn(key, drawn.drawn, drawn.others)
            finally:
                table.unlock()
        finally:
            table.unlock_draws(self.row)

    def learn(self, key: int) -> None:
        """Gives a period a place in the table, where it has none, with what the ledger knows. Others may not draw
        meanwhile.

        Raises:
            StorageError: the ledger cannot be read.
        """
        self._table.lock((self.row,))
        try:
            if self.place(key) is not None:
                return
        finally:
            self._table.unlock()
        entries = self._storage.budget_entries(self.id, since=self.since(key))
        mine = tuple(each for each in entries if each.holder == self._table.holder)
        self._count_others(entries, key)
        self._table.lock((self.row,))
        try:
            if self.place(key) is None:
                self._begin(key, mine)
        finally:
            self._table.unlock()

    def know(self, key: int) -> None:
        """As :meth:`learn`, and reads what other tables have drawn, where that was never read in this period.

        Raises:
            StorageError: the ledger cannot be read.
        """
        self.learn(key)
        if self._asked[0] != key:
            self.look(key)

    def look(self, key: int) -> None:
        """Reads what other tables have drawn.

        Raises:
            StorageError: the ledger cannot be read.
        """
        self._count_others(self._storage.budget_entries(self.id, since=self.since(key)), key)

    def _count_others(self, entries: tuple[Entry, ...], key: int) -> None:
        others = [each for each in self._in_window(entries, key) if each.holder != self._table.holder]
        self._others, self._others_spent = sum(each.drawn for each in others), sum(each.spent for each in others)
        self._asked = (key, time.monotonic())

    def _in_window(self, entries: tuple[Entry, ...], key: int) -> tuple[Entry, ...]:
        return tuple(each for each in entries if each.start == key)

    def others(self, key: int) -> int:
        """What other tables have drawn, as was read last."""
        return self._known_others(key)

    def others_spent(self, key: int) -> int:
        """What of it they have said that it is spent."""
        return min(self._others_spent, self._known_others(key))

    @abstractmethod
    def tell(self, *, shrink: int | None = None) -> list[Entry]:
        """What the ledger is to be told of this row, its periods before ``shrink`` (milliseconds) with no more
        drawn than is needed. Others may not draw meanwhile."""


class PeriodAccount(Account):
    """A budget of one period after another. A hold counts in the period it was reserved in."""

    def __init__(self, table: MoneyTable, storage: BudgetStorage, budget: Budget) -> None:
        super().__init__(table, storage, budget)
        # Start, end and key, replaced as one: threads ask.
        self._present = (0.0, 0.0, 0)

    def key(self, now: float) -> int:
        """As of :class:`Account`."""
        start, end, key = self._present
        if not start <= now < end:
            start, end = period(self.budget.period, self.budget.created_at, now)
            key = round(start * 1000)
            self._present = (start, end, key)
        return key

    def span(self, now: float) -> tuple[float, float]:
        """As of :class:`Account`."""
        return period(self.budget.period, self.budget.created_at, now)

    def since(self, key: int) -> int:
        """As of :class:`Account`."""
        return key

    def place(self, key: int) -> int | None:
        """As of :class:`Account`."""
        at = self._table.find_key(self.row, key)
        return None if at is None else at + RESERVED

    def standing(self, key: int) -> tuple[int, int, int, int]:
        """As of :class:`Account`."""
        at = self._table.find_key(self.row, key)
        assert at is not None
        numbers = self._numbers
        return numbers[at + SPENT], self._table.reserved(at + RESERVED), numbers[at + DRAWN], 0

    def put(self, key: int, reserved: int, spent: int) -> bool:
        """As of :class:`Account`."""
        at = self._table.find_key(self.row, key)
        if at is None:
            # Over and forgotten: what was drawn for it stays counted.
            return False
        numbers = self._numbers
        # Spent first: a process that is killed in between has counted too much, for a moment.
        numbers[at + SPENT] = now = min(max(numbers[at + SPENT] + spent, 0), MOST)
        numbers[at + RESERVED + self._table.seat] -= reserved
        self.touched = True
        return spent > reserved and now + self._table.reserved(at + RESERVED) > numbers[at + DRAWN]

    def _begin(self, key: int, entries: tuple[Entry, ...]) -> None:
        drawn = sum(each.drawn for each in entries if each.start == key)
        self._table.begin_key(self.row, key, drawn, drawn)

    def _set_drawn(self, key: int, drawn: int, others: int) -> None:
        at = self._table.find_key(self.row, key)
        assert at is not None
        self._numbers[at + DRAWN] = drawn

    def tell(self, *, shrink: int | None = None) -> list[Entry]:
        """As of :class:`Account`."""
        found = []
        for at in self._table.periods(self.row):
            if (key := self._numbers[at]) == NONE:
                continue
            if shrink is not None and key < shrink:
                used = self._numbers[at + SPENT] + self._table.reserved(at + RESERVED)
                self._numbers[at + DRAWN] = min(self._numbers[at + DRAWN], used)
            spent = self._numbers[at + SPENT]
            drawn = max(self._numbers[at + DRAWN], min(spent + self._table.reserved(at + RESERVED), MOST))
            if drawn or spent:
                found.append(Entry(self.id, key, self._table.holder, drawn, spent))
        return found


class RollingAccount(Account):
    """A budget of a window that moves with the clock: its present part and the :data:`PARTS` before it count
    whole, so what is spent counts for the window's length at least, and at most for a part more. What is reserved
    counts until it is settled, and is spent in the part it was reserved in."""

    def __init__(self, table: MoneyTable, storage: BudgetStorage, budget: Budget) -> None:
        self._length = rolling(budget.period) or 1
        super().__init__(table, storage, budget)

    def key(self, now: float) -> int:
        """As of :class:`Account`."""
        key = math.floor(now * 1000 / self._length) * self._length
        present = self._numbers[self.row + PRESENT]
        # Another process's clock may be a little ahead: it has begun the next part for all.
        return present if 0 < present - key <= self._length else key

    def span(self, now: float) -> tuple[float, float]:
        """As of :class:`Account`."""
        key = self.key(now)
        spent = self._numbers[self._table.ring + self.row : self._table.ring + self.row + 2 * RING]
        starts = [spent[at] for at in range(0, 2 * RING, 2) if spent[at + 1] and spent[at] >= self.since(key)]
        first = min(starts, default=key)
        return self.since(key) / 1000, (first + (PARTS + 1) * self._length) / 1000

    def since(self, key: int) -> int:
        """As of :class:`Account`."""
        return key - PARTS * self._length

    def place(self, key: int) -> int | None:
        """As of :class:`Account`."""
        return self.row + ROLLING_RESERVED if self._numbers[self.row + PRESENT] == key else None

    def standing(self, key: int) -> tuple[int, int, int, int]:
        """As of :class:`Account`."""
        numbers, row = self._numbers, self.row
        ring = numbers[row + self._table.ring : row + self._table.ring + 2 * RING].tolist()
        since = self.since(key)
        window = sum([spent for start, spent in zip(ring[::2], ring[1::2], strict=True) if start >= since])
        spent = numbers[self._part(key)] if numbers[self._part(key) - 1] == key else 0
        reserved = self._table.reserved(row + ROLLING_RESERVED)
        return spent, reserved, numbers[row + PRESENT_DRAWN], window - spent

    def glance(self, key: int) -> tuple[int, int, int, int]:
        """As of :class:`Account`; the ring knows the window also when its present part is not begun."""
        return self.standing(key)

    def put(self, key: int, reserved: int, spent: int) -> bool:
        """As of :class:`Account`."""
        numbers = self._numbers
        part = self._part(key)
        now = 0
        if numbers[part - 1] == key:
            numbers[part] = now = min(max(numbers[part] + spent, 0), MOST)
        numbers[self.row + ROLLING_RESERVED + self._table.seat] -= reserved
        self.touched = True
        return spent > reserved and now + self._table.reserved(self.row + ROLLING_RESERVED) > self._drawn(key)

    def _drawn(self, key: int) -> int:
        return self._numbers[self.row + PRESENT_DRAWN] if self._numbers[self.row + PRESENT] == key else 0

    def _drawn_by_others(self) -> int:
        return self._numbers[self.row + OTHERS]

    def _in_window(self, entries: tuple[Entry, ...], key: int) -> tuple[Entry, ...]:
        return entries

    def _begin(self, key: int, entries: tuple[Entry, ...]) -> None:
        numbers, row = self._numbers, self.row
        drawn = 0
        numbers[row + PRESENT] = NONE
        for each in (*entries, Entry(self.id, key, 0, 0, 0)):
            part = self._part(each.start)
            if each.start == key:
                drawn = max(drawn, each.drawn)
            if numbers[part - 1] != each.start and each.start > key - RING * self._length:
                # Not in the table any more, or a first time: as much as was drawn may have been spent.
                numbers[part - 1] = NONE
                numbers[part] = each.drawn
                numbers[part - 1] = each.start
        numbers[row + PRESENT_DRAWN] = drawn
        numbers[row + OTHERS] = min(self._others, MOST)
        numbers[row + PRESENT] = key

    def _set_drawn(self, key: int, drawn: int, others: int) -> None:
        self._numbers[self.row + OTHERS] = min(others, MOST)
        self._numbers[self.row + PRESENT_DRAWN] = drawn

    def tell(self, *, shrink: int | None = None) -> list[Entry]:
        """As of :class:`Account`."""
        numbers, row = self._numbers, self.row
        present = numbers[row + PRESENT]
        if present == NONE:
            return []
        reserved = self._table.reserved(row + ROLLING_RESERVED)
        found = []
        for at in range(row + self._table.ring, row + self._table.ring + 2 * RING, 2):
            start, spent = numbers[at], numbers[at + 1]
            if start < self.since(present):
                continue
            if start != present:
                found.append(Entry(self.id, start, self._table.holder, min(spent + reserved, MOST), spent))
                continue
            if shrink is not None and present < shrink:
                numbers[row + PRESENT_DRAWN] = min(numbers[row + PRESENT_DRAWN], spent + reserved)
            drawn = max(numbers[row + PRESENT_DRAWN], min(spent + reserved, MOST))
            found.append(Entry(self.id, start, self._table.holder, drawn, spent))
        return found

    def _part(self, key: int) -> int:
        """Of the ring, where a part's sum is; its start is before it."""
        return self.row + self._table.ring + 2 * (key // self._length % RING) + 1


def account_of(table: MoneyTable, storage: BudgetStorage, budget: Budget) -> Account:
    """The account of a budget in a table.

    Raises:
        StorageError: the table is full, or the disk.
    """
    kind = PeriodAccount if rolling(budget.period) is None else RollingAccount
    return kind(table, storage, budget)
