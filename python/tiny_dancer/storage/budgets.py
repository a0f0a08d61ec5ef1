"""Budgets, what was spent of each, and what storage does with them.

Times are UTC seconds since 1970. Money is USD in records and units of 10⁻¹² USD in the ledger, so that sums are
exact. The ledger knows *holders*: tables of reservations that stand beside a database
(:mod:`tiny_dancer.budgets.money`). A holder draws from the ledger before it hands out, so what is drawn of a
budget is never less than what is spent, whoever is killed.
"""

from __future__ import annotations

import re
import time
from dataclasses import InitVar, dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, Protocol, get_args

from tiny_dancer.errors import BudgetError
from tiny_dancer.names import hint
from tiny_dancer.storage.periods import check_period
from tiny_dancer.storage.values import amount, given, plain, settle, stored_text, utc_seconds

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

Scope = Literal["key", "user", "team", "agent", "model", "route", "project", "tag", "all"]
SCOPES: Final[tuple[str, ...]] = get_args(Scope)
Kind = Literal["hard", "soft"]
KINDS: Final[tuple[str, ...]] = get_args(Kind)
LARGEST: Final = 9_000_000.0
"""USD of a budget at most: what 63 bits hold of 10⁻¹² USD."""

_EVERYTHING: Final = "all"
_HARD: Final = "hard"
_CURRENCY: Final = "USD"
_WRITTEN: Final = re.compile(
    r"(?P<before>[^\d\s.,+-]*)\s*(?P<number>[+-]?[\d.,_]*\d[\d.,_]*(?:e[+-]?\d+)?)\s*(?P<after>[^\d]*)", re.I
)


@dataclass(frozen=True, slots=True)
class Budget:
    """What may be spent, on whose account, in which period. Checked when it is made.

    Attributes:
        scope: what it is for: ``key``, ``user``, ``team``, ``agent``, ``model``, ``route``, ``project``, ``tag``
            or ``all``.
        subject: which of them, by its name; empty for ``all``.
        limit: USD in a period; given as a number or as text such as ``"12.50 USD"``.
        period: ``day``, ``week``, ``month``, ``year``, a length as LiteLLM's ``budget_duration`` (``30d``,
            ``12h``, ``1mo``), or a window that moves with the clock (``rolling 30d``); None: once, for ever. Kept
            as ``1d``, ``1mo``, ``rolling 30d``. See :mod:`tiny_dancer.storage.periods`.
        kind: ``hard`` refuses what would exceed it; ``soft`` refuses nothing, and says that it is spent.
        starts_at: nothing counts before; None: from now on.
        ends_at: not in force from then on; None: for ever.
        created_at: periods of days and weeks are counted from that day on; a budget put in another's place keeps
            its.
        currency: of ``limit``; only USD is accounted.

    Raises:
        BudgetError: a field is not what it should be.
    """

    scope: str
    subject: str = ""
    limit: float = field(kw_only=True)
    period: str | None = field(default=None, kw_only=True)
    kind: str = field(default=_HARD, kw_only=True)
    starts_at: float | None = field(default=None, kw_only=True)
    ends_at: float | None = field(default=None, kw_only=True)
    created_at: float = field(default_factory=time.time, kw_only=True)
    currency: InitVar[str] = field(default=_CURRENCY, kw_only=True)

    def __post_init__(self, currency: str) -> None:
        error = BudgetError
        settle(self, "scope", _one_of("scope", self.scope, SCOPES))
        subject = stored_text("subject", self.subject, empty=True, error=error)
        settle(self, "subject", subject)
        if self.scope == _EVERYTHING and subject:
            raise error("subject", subject, "leave it out: a budget of everything has none")
        if self.scope != _EVERYTHING and not subject:
            raise error("subject", "empty", f"name the {self.scope} it is for, or give the scope 'all'")
        settle(self, "limit", usd("limit", self.limit, currency))
        if self.limit > LARGEST:
            raise error("limit", self.limit, f"give at most {LARGEST:,.0f} USD")
        settle(self, "period", None if self.period is None else check_period("period", plain(self.period)))
        settle(self, "kind", _one_of("kind", self.kind, KINDS))
        settle(self, "created_at", utc_seconds("created_at", self.created_at, error=error))
        for name in ("starts_at", "ends_at"):
            settle(self, name, given(utc_seconds, name, getattr(self, name), error=error))
        if self.ends_at is not None:
            if self.starts_at is not None and self.ends_at <= self.starts_at:
                raise error(
                    "ends_at", f"{_moment(self.ends_at)}, not after starts_at", "give an end after the start"
                )
            if self.ends_at <= self.created_at:
                raise error("ends_at", f"{_moment(self.ends_at)}, in the past", "give an end to come, or none")

    @property
    def id(self) -> str:
        """Its name among budgets: scope, subject and period, and ``soft`` where it is; there is one of each."""
        soft = self.kind if self.kind != _HARD else ""
        return "/".join(part for part in (self.scope, self.subject, self.period or "ever", soft) if part)

    def in_force(self, now: float) -> bool:
        """Whether it counts at ``now``, UTC seconds."""
        return (self.starts_at is None or self.starts_at <= now) and (self.ends_at is None or now < self.ends_at)


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _one_of(name: str, value: object, known: tuple[str, ...]) -> str:
    found = plain(value)
    if isinstance(found, str) and found in known:
        return found
    raise BudgetError(name, repr(value), f"{hint(found, known)}The {name}s are {', '.join(known)}")


def usd(name: str, value: object, currency: object = _CURRENCY) -> float:
    """An amount of USD, 0 or more: a number, or text as people write it (``12``, ``$12.50``, ``12.50 USD``).

    Raises:
        BudgetError: it is negative, no finite number, or of another currency.
    """
    named = plain(currency)
    if not isinstance(named, str) or named.strip().upper() not in (_CURRENCY, "$", "US$"):
        raise BudgetError(
            "currency", repr(currency), "only USD is accounted: convert the amount, as prices are in USD"
        )
    found = plain(value)
    if isinstance(found, str):
        match = _WRITTEN.fullmatch(found.strip())
        if match is None:
            raise BudgetError(name, repr(found), "give USD as a number, such as 12.50 or '12.50 USD'")
        for unit in (match["before"].strip(), match["after"].strip()):
            if unit and unit.upper() not in (_CURRENCY, "$", "US$"):
                raise BudgetError(name, repr(found), f"only USD is accounted: convert {unit} to USD")
        text = match["number"].replace("_", "")
        if "," in text:
            # 1,000 is a thousand here and one there.
            raise BudgetError(name, repr(found), "write the number without commas, with a point before the cents")
        try:
            found = float(text)
        except ValueError:
            raise BudgetError(name, repr(value), "give USD as a number, such as 12.50") from None
    return amount(name, found, error=BudgetError)


class Draw(NamedTuple):
    """What a holder asks of the ledger. Amounts are units.

    Attributes:
        budget: its id.
        holder: who asks.
        start: milliseconds; of the period or of the present part of a rolling window.
        since: milliseconds; of the first part of the window; ``start`` where it is no rolling one.
        need: the least it must have drawn in all in ``start``.
        goal: what it would like to have drawn.
        limit: of the budget; None: draws are not limited.
        before: what this holder has spent in the window's earlier parts.
        forget: milliseconds; rows of earlier starts are removed.
    """

    budget: str
    holder: int
    start: int
    since: int
    need: int
    goal: int
    limit: int | None
    before: int
    forget: int


class Drawn(NamedTuple):
    """What the ledger says to a :class:`Draw`.

    Attributes:
        drawn: units the holder has drawn in ``start`` in all, with this draw.
        others: units drawn by other holders in the window.
    """

    drawn: int
    others: int


class Entry(NamedTuple):
    """One row of the ledger: what a holder has drawn and spent of a budget, from a start on, in units.

    Attributes:
        budget: its id.
        start: milliseconds.
        holder: who.
        drawn: at most so much is spent; exactly so much counts where the holder is lost.
        spent: as it said last.
    """

    budget: str
    start: int
    holder: int
    drawn: int
    spent: int


class BudgetStorage(Protocol):
    """Keeps budgets, and the ledger of what was spent. Safe to use from many threads and processes.

    A write is durable when it returns. Every method raises :class:`~tiny_dancer.errors.StorageError` where the
    database cannot be read or written.
    """

    def insert_budget(self, budget: Budget, *, replace: bool = False) -> Budget:
        """Adds a budget; with ``replace`` in place of the one of its id, whose
        ``created_at`` and spending stay. Returns it as stored.

        Raises:
            BudgetError: there is one of this scope, subject, period and kind, and ``replace`` is false.
        """
        ...

    def budgets(self) -> tuple[Budget, ...]:
        """All budgets, ended ones too, by id."""
        ...

    def delete_budget(self, id: str) -> bool:
        """Removes a budget; false where there is none. What was spent of it stays in the ledger, and counts where
        it is added again within the period."""
        ...

    def budget_changes(self) -> int:
        """A number that every write of the above raises: who has seen it has seen everything before."""
        ...

    def draw_budget(self, draw: Draw) -> Drawn:
        """Lets a holder have more of a budget, as far as the limit goes: where less than ``need`` is left, what
        there is; never less than it has drawn before."""
        ...

    def tell_budgets(self, told: Sequence[Entry], *, shrink: bool = False) -> None:
        """Notes what holders have spent; with ``shrink`` also that they have let go of what they drew beyond
        ``drawn``. Rows the ledger does not have are added."""
        ...

    def budget_entries(
        self, budget: str | None = None, *, holder: int | None = None, since: int | None = None
    ) -> tuple[Entry, ...]:
        """The ledger by budget, start and holder; those of one budget, one holder, with ``start >= since``."""
        ...

    def budget_table(self) -> tuple[Path | None, str]:
        """Where processes that share this database keep their reservations, None: nowhere, it belongs to this
        process; and what tells its content from that of another at the same place."""
        ...


def check_budget(budget: object) -> Budget:
    """A budget to store.

    Raises:
        BudgetError: it is something else.
    """
    if not isinstance(budget, Budget):
        raise BudgetError("budget", type(budget).__name__, "give a Budget(scope, subject, limit=...)")
    return budget


def drawn(draw: Draw, have: int, others: int) -> int:
    """What a holder has drawn after a :class:`Draw`, that had ``have``."""
    if draw.limit is None:
        return max(have, draw.goal)
    return max(have, min(draw.goal, draw.limit - others - draw.before))


def exists(id: str) -> BudgetError:
    """What a second budget of one id is refused by."""
    return BudgetError(
        "budget", id, "there is one of this scope, subject, period and kind: replace it, or delete it first"
    )
