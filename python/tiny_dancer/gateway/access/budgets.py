"""The budgets of a key: what of them is spent and reserved, and what a request may still reserve."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tiny_dancer.budgets.money import UNITS, MoneyTable, units
from tiny_dancer.storage.periods import period

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tiny_dancer.storage import ApiKey, Spend


class Terms(NamedTuple):
    """What a budget is.

    Attributes:
        name: among those of its key.
        word: before "budget", for the client.
        limit: USD.
        duration: as of :mod:`tiny_dancer.storage.periods`.
        model: the only one it is for; None: all.
        warns: it refuses nothing, it only warns.
    """

    name: str
    word: str
    limit: float
    duration: str | None
    model: str | None = None
    warns: bool = False


def terms_of(key: ApiKey) -> list[Terms]:
    """The budgets of a key; those first whose end has to be waited for the longest."""
    found = []
    if key.max_budget is not None:
        length = f"{key.budget_duration} " if key.budget_duration else ""
        found.append(Terms("max", length, key.max_budget, key.budget_duration))
    if key.monthly_budget is not None:
        found.append(Terms("month", "monthly ", key.monthly_budget, "1mo"))
    if key.daily_budget is not None:
        found.append(Terms("day", "daily ", key.daily_budget, "1d"))
    for each in key.model_max_budget:
        length = f"{each.budget_duration} " if each.budget_duration else ""
        name = f"model/{each.model}"
        found.append(Terms(name, f"{length}{each.model!r} ", each.max_budget, each.budget_duration, each.model))
    if key.soft_budget is not None:
        found.append(Terms("soft", "soft ", key.soft_budget, key.budget_duration, warns=True))
    return found


class Budget:
    """One budget of one key. Belongs to the thread of its table.

    Attributes:
        terms: what it is.
        limit: units of :mod:`.money`.
    """

    __slots__ = ("_created", "_period", "_row", "_table", "limit", "terms")

    def __init__(self, table: MoneyTable, key: ApiKey, terms: Terms) -> None:
        """Finds its row.

        Raises:
            StorageError: the table is full.
        """
        self.terms = terms
        self.limit = units(terms.limit)
        self._table = table
        # Another length is another sum.
        self._row = table.row(f"{key.id}/{terms.name}/{terms.duration}")
        self._created = key.created_at
        self._period = (0.0, 0.0)

    def period(self, now: float) -> tuple[float, float]:
        """First moment and end of the period at ``now``, UTC seconds."""
        start, end = self._period
        if not start <= now < end:
            self._period = start, end = period(self.terms.duration, self._created, now)
        return start, end

    def standing(self, now: float) -> tuple[int | None, int]:
        """Units spent (None where nobody knows yet) and reserved."""
        return self._table.state(self._row, self.period(now)[0])

    def reserve(self, now: float, amount: int, *, limited: bool) -> tuple[int | None, int] | None:
        """Reserves units; None where they are, else how it stands. ``limited``: no more than the budget has."""
        start = self.period(now)[0]
        limit = self.limit if limited and not self.terms.warns else None
        return self._table.reserve(self._row, start, amount, limit)

    def settle(self, start: float, reserved: int, spent: int) -> None:
        """Counts units spent in the period that began at ``start``, and lets go of those reserved there."""
        self._table.settle(self._row, start, reserved, spent)

    def share(self, paid: Mapping[str, float]) -> int:
        """Units of what was paid, USD by model, that this budget is for."""
        model = self.terms.model
        return units(sum(paid.values()) if model is None else paid.get(model, 0.0))

    def learn(self, now: float, spent: Spend | None) -> None:
        """What the ledger says the key has spent in the period at ``now``."""
        if spent is None:
            usd = 0.0
        else:
            usd = spent.cost if self.terms.model is None else spent.models.get(self.terms.model, 0.0)
        self._table.learn(self._row, self.period(now)[0], units(usd))


class Hold:
    """What one request has reserved of its key's budgets.

    Attributes:
        parts: units, by budget and start of its period.
    """

    __slots__ = ("parts",)

    def __init__(self) -> None:
        self.parts: dict[tuple[Budget, float], int] = {}

    def add(self, budget: Budget, start: float, amount: int) -> None:
        """Notes units that were reserved."""
        self.parts[budget, start] = self.parts.get((budget, start), 0) + amount

    def shrink(self, paid: Mapping[str, float]) -> None:
        """Lets go of all but what has been paid already: USD by model."""
        for (budget, start), amount in self.parts.items():
            left = min(amount, budget.share(paid))
            budget.settle(start, amount - left, 0)
            self.parts[budget, start] = left

    def settle(self, budgets: Iterable[Budget], now: float, paid: Mapping[str, float]) -> None:
        """Counts what was paid, USD by model, and lets go of all that is reserved.

        It counts for the period it was reserved in; of a budget nothing was reserved of, for that at ``now``.
        """
        starts = {budget: budget.period(now)[0] for budget in budgets}
        for budget, start in self.parts:
            starts[budget] = start
        for budget, start in starts.items():
            budget.settle(start, self.parts.pop((budget, start), 0), budget.share(paid))
        for (budget, start), amount in self.parts.items():
            budget.settle(start, amount, 0)
        self.parts.clear()


def usd(amount: int) -> str:
    """Units as USD, for people."""
    return f"{amount / UNITS:.6g}"
