"""Reserve, settle, release: budgets as a program uses them.

What a call can cost at most is reserved before it is made, of every budget it falls under, all or nothing; what it
did cost is settled after. Any number of threads and processes over one database count together. Nothing is given
back by accident: what nobody settled, since its process was killed, has stopped, or forgot, is spent.
"""

from __future__ import annotations

import logging
import math
import os
import threading
import time
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, Self, overload

from tiny_dancer.budgets.accounts import Account, account_of
from tiny_dancer.budgets.clock import steady
from tiny_dancer.budgets.hold import Hold, Part, units_of
from tiny_dancer.budgets.money import UNITS, units
from tiny_dancer.budgets.till import till
from tiny_dancer.errors import BudgetError, BudgetExceededError, OptionError, StorageError
from tiny_dancer.names import hint
from tiny_dancer.storage.budgets import SCOPES, Budget
from tiny_dancer.storage.values import amount, texts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from types import TracebackType

    from tiny_dancer.budgets.accounts import Verdict
    from tiny_dancer.storage.budgets import BudgetStorage, Entry

    _Names = tuple[str | tuple[str, ...] | None, ...]

log = logging.getLogger("tiny_dancer.budgets")
LEASE_S: Final = 600.0
"""Seconds after which what nobody settled is spent."""
SILENCE_S: Final = 120.0
"""Seconds after which a process that is not heard of has stopped: what it reserved is spent. More than a database
may be locked for, which who keeps the budgets waits for."""

_KEEP_S: Final = 1.0
# Who is asked about, by the names of the arguments.
_NAMED: Final = tuple(scope for scope in SCOPES if scope not in ("tag", "all"))
# Who was asked about lately.
_REMEMBERED: Final = 4096
# Rows on which nobody else may draw for as long as it takes to write of them.
_AT_ONCE: Final = 256
# Draws for one reservation, before it is taken for spent: others draw and spend it every time.
_TRIES: Final = 50


@dataclass(frozen=True, slots=True)
class Standing:
    """How a budget stands. USD, UTC seconds.

    Attributes:
        budget: as stored.
        spent: in the present period, or in the window, as far as it is told.
        reserved: of it, by calls under way, and what tables that are gone or not here may have spent beyond.
        left: may still be reserved; 0 where it is exceeded.
        start: of the period, or of the window.
        end: when the period ends, or the next money comes back; infinite where none does.
    """

    budget: Budget
    spent: float
    reserved: float
    left: float
    start: float
    end: float


class Budgets:
    """What may be spent, by key, user, team, agent, model, route, project and tag.

    Any number of threads may share one object, and any number of processes one database; after ``fork``, make it
    anew. A call of :meth:`reserve` or :meth:`Hold.settle` takes microseconds; one in a hundred per budget waits
    for the disk, when more is drawn from the ledger.

    Args:
        storage: of the budgets; any :class:`~tiny_dancer.storage.BudgetStorage`.
        lease_s: seconds after which what nobody settled is spent.
        clock: UTC seconds; the wall clock, but for jumps that do not last, by default.

    Raises:
        StorageError: the database cannot be read or written, or the file beside it.
        OptionError: ``lease_s`` is not above 0.

    Example:
        >>> storage.insert_budget(Budget("team", "research", limit=500, period="month"))
        >>> budgets = Budgets(storage)
        >>> with budgets.reserve(0.04, team="research", model="large") as hold:
        ...     answer = call()
        ...     hold.settle(answer.cost)
    """

    def __init__(
        self, storage: BudgetStorage, *, lease_s: float = LEASE_S, clock: Callable[[], float] = steady
    ) -> None:
        self.lease_s = amount("lease_s", lease_s, error=OptionError)
        if not self.lease_s:
            raise OptionError("lease_s", lease_s, "give seconds above 0")
        self.last_error: str | None = None
        self._clock = clock
        self._storage = storage
        self._process = os.getpid()
        self._till = till(storage)
        self._table = self._till.table
        self._lock = threading.Lock()
        self._accounts: dict[str, Account] = {}
        self._by_subject: dict[tuple[str, str], tuple[Account, ...]] = {}
        self._known: dict[object, tuple[Account, ...]] = {}
        self._by_choice = False
        self._changes = -1
        self._holds: set[Hold] = set()
        self._wanted: set[Account] = set()
        self._wake = threading.Event()
        self._closed = False
        try:
            self._table.end_lost(SILENCE_S)
            self.refresh()
        except BaseException:
            self._till.leave()
            raise
        self._thread = threading.Thread(
            target=_keep, args=(weakref.ref(self), self._wake), name="tiny-dancer budgets", daemon=True
        )
        self._thread.start()

    def reserve(
        self,
        cost: float,
        *,
        key: str | None = None,
        user: str | None = None,
        team: str | None = None,
        agent: str | tuple[str, ...] | None = None,
        model: str | None = None,
        route: str | None = None,
        project: str | None = None,
        tags: Iterable[str] = (),
    ) -> Hold:
        """Reserves the most that a call can cost, of every budget it falls under: all or nothing.

        Args:
            cost: USD, the most (:func:`most_cost`).
            key: whose key calls.
            user: who is asking.
            team: on whose account.
            agent: that will answer; several where one asks another, as an ensemble asks its members.
            model: that will be asked.
            route: that was taken.
            project: that it is for.
            tags: any more words that budgets may be of.

        Raises:
            BudgetExceededError: one has less left, or comes to more than 9 million USD with it, soft or hard.
                Nothing is reserved.
            BudgetError: ``cost`` is no amount.
            StorageError: the ledger cannot be written, or the object is closed or of before a fork.
        """
        accounts = self._of((key, user, team, agent, model, route, project), tags)
        hold = self._reserve(accounts, units_of("cost", cost), wait=True)
        assert hold is not None
        return hold

    def try_reserve(
        self,
        cost: float,
        *,
        key: str | None = None,
        user: str | None = None,
        team: str | None = None,
        agent: str | tuple[str, ...] | None = None,
        model: str | None = None,
        route: str | None = None,
        project: str | None = None,
        tags: Iterable[str] = (),
    ) -> Hold | None:
        """As :meth:`reserve`, without ever waiting for the disk: for event loops. None where more has to be drawn
        from the ledger first: call :meth:`reserve` in a thread."""
        accounts = self._of((key, user, team, agent, model, route, project), tags)
        return self._reserve(accounts, units_of("cost", cost), wait=False)

    def charge(self, cost: float, *, tags: Iterable[str] = (), **who: str | tuple[str, ...] | None) -> None:
        """Counts USD that were spent without being reserved, whatever the limits are; ``who`` as :meth:`reserve`.

        Raises:
            BudgetExceededError: one comes to more than 9 million USD with it. Nothing is counted.
            BudgetError: it is no amount.
            StorageError: the ledger cannot be written.
        """
        spent = units_of("cost", cost)
        accounts = self._of(_named(who), tags)
        hold = self._reserve(accounts, spent, wait=True, limited=False)
        assert hold is not None
        hold.settle(cost)

    def refund(self, cost: float, *, tags: Iterable[str] = (), **who: str | tuple[str, ...] | None) -> None:
        """Gives USD back, at most what was spent in the present period; ``who`` as :meth:`reserve`.

        Raises:
            BudgetError: it is no amount.
            StorageError: the ledger cannot be written.
        """
        back = units_of("cost", cost)
        part, _ = self._take(self._of(_named(who), tags), 0, wait=True, limited=False)
        self._put(part, 0, -back)

    def catch_up(self, id: str, spent: float) -> float:
        """Counts what was spent in the present period of a budget before there was one: ``spent`` USD at least are
        counted then.

        Args:
            id: of the budget.
            spent: USD in the present period, or in the window, by the log.

        Returns:
            USD that were added.

        Raises:
            BudgetError: there is none of this id, or it is no amount.
            StorageError: the ledger cannot be written.
        """
        least = units_of("spent", spent)
        account = self._accounts.get(id)
        if account is None:
            raise BudgetError("budget", id, "there is none; see Budgets.standings")
        missing = max(least - units(self._stands(account, self._clock(), wait=True).spent), 0)
        if missing:
            hold = self._reserve((account,), missing, wait=True, limited=False)
            assert hold is not None
            hold.settle(missing / UNITS)
        return missing / UNITS

    def remaining(
        self, *, wait: bool = True, tags: Iterable[str] = (), **who: str | tuple[str, ...] | None
    ) -> float | None:
        """USD that may still be reserved of the tightest hard budget that a call falls under; None where it falls
        under none. What :meth:`~tiny_dancer.routing.AgentRouter.route` takes as ``budget_remaining``. Arguments as
        of :meth:`standing`."""
        left = [each.left for each in self.standing(wait=wait, tags=tags, **who) if each.budget.kind == "hard"]
        return min(left, default=None)

    def cheaper_only(
        self, *, wait: bool = True, tags: Iterable[str] = (), **who: str | tuple[str, ...] | None
    ) -> bool:
        """Whether a soft budget that a call falls under is spent. Arguments as of :meth:`standing`."""
        found = self.standing(wait=wait, tags=tags, **who)
        return any(not each.left for each in found if each.budget.kind == "soft")

    def concerns(self, *, tags: Iterable[str] = (), **who: str | tuple[str, ...] | None) -> bool:
        """Whether a call may fall under any budget, whatever model, agent and route it takes; ``who`` as
        :meth:`reserve`. Asks nobody."""
        if not self._by_subject:
            return False
        return self._by_choice or bool(self._of(_named(who), tags))

    def standing(
        self, *, wait: bool = True, tags: Iterable[str] = (), **who: str | tuple[str, ...] | None
    ) -> tuple[Standing, ...]:
        """How the budgets stand that a call falls under.

        Args:
            wait: read from the disk what was spent in a period of which nothing is reserved here yet; else that
                counts as nothing.
            tags: as of :meth:`reserve`.
            who: as of :meth:`reserve`.

        Raises:
            StorageError: the ledger cannot be read.
        """
        now = self._clock()
        accounts = self._of(_named(who), tags)
        return tuple(self._stands(each, now, wait=wait) for each in accounts if each.begins <= now < each.ends)

    def standings(self) -> tuple[Standing, ...]:
        """How all budgets in force stand, by id, with what other tables have drawn read anew."""
        self._check()
        now = self._clock()
        accounts = [each for _, each in sorted(self._accounts.items()) if each.begins <= now < each.ends]
        for each in accounts:
            each.look(each.key(now))
        return tuple(self._stands(each, now, wait=True) for each in accounts)

    def refresh(self) -> None:
        """Reads the budgets anew where they have changed; a thread does so every second.

        Raises:
            StorageError: they cannot be read, or there is no room for one.
        """
        changes = self._storage.budget_changes()
        if changes == self._changes:
            return
        with self._lock:
            accounts: dict[str, Account] = {}
            by_subject: dict[tuple[str, str], tuple[Account, ...]] = {}
            for budget in self._storage.budgets():
                before = self._accounts.get(budget.id)
                known = before is not None and before.budget == budget
                account = (
                    before if known and before is not None else account_of(self._table, self._storage, budget)
                )
                accounts[budget.id] = account
                place = (budget.scope, budget.subject)
                by_subject[place] = (*by_subject.get(place, ()), account)
            # Those that have gone are settled still by who holds them.
            self._accounts, self._by_subject, self._known = accounts, by_subject, {}
            self._by_choice = any(scope in ("model", "agent", "route") for scope, _ in by_subject)
            self._changes = changes

    def close(self) -> None:
        """Tells the ledger what was spent, and lets go. What is not settled counts as spent."""
        if self._closed:
            return
        self._closed = True
        self._wake.set()
        if os.getpid() != self._process:
            return
        if threading.current_thread() is not self._thread:
            self._thread.join()
        try:
            for hold in list(self._holds):
                hold._spend_all()
            self._let_go(list(self._accounts.values()), self._clock(), present=True)
        finally:
            self._till.leave()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _check(self) -> None:
        if self._closed:
            raise StorageError("budgets", "closed", "make them anew")
        if os.getpid() != self._process:
            raise StorageError("budgets", "opened before a fork", "make them anew in this process")

    def _of(self, named: _Names, tags: Iterable[str]) -> tuple[Account, ...]:
        """The accounts a call falls under, by their places in the table."""
        who = (named, tags if type(tags) is tuple else texts("tags", tags))
        known = self._known
        try:
            found = known.get(who)
        except TypeError:
            found = None
        if found is None:
            places: list[tuple[str, Any]] = [("all", "")]
            for scope, given in zip(_NAMED, named, strict=True):
                several = given if isinstance(given, tuple) and scope == "agent" else (given,)
                places += [(scope, name) for name in several if name is not None]
            places += [("tag", tag) for tag in dict.fromkeys(texts("tags", tags))]
            for scope, name in places:
                if not isinstance(name, str):
                    raise BudgetError(scope, type(name).__name__, "give its name as text")
            by_subject = self._by_subject
            accounts = [account for place in dict.fromkeys(places) for account in by_subject.get(place, ())]
            found = tuple(sorted(accounts, key=lambda account: account.row))
            if len(known) >= _REMEMBERED:
                known.clear()
            known[who] = found
        return found

    def _reserve(
        self, accounts: tuple[Account, ...], wanted: int, *, wait: bool, limited: bool = True
    ) -> Hold | None:
        taken = self._take(accounts, wanted, wait=wait, limited=limited)
        if taken is None:
            return None
        hold = Hold(self, *taken)
        self._holds.add(hold)
        return hold

    @overload
    def _take(
        self, accounts: tuple[Account, ...], wanted: int, *, wait: Literal[True], limited: bool = True
    ) -> tuple[Part, tuple[str, ...]]: ...
    @overload
    def _take(
        self, accounts: tuple[Account, ...], wanted: int, *, wait: bool, limited: bool = True
    ) -> tuple[Part, tuple[str, ...]] | None: ...
    def _take(
        self, accounts: tuple[Account, ...], wanted: int, *, wait: bool, limited: bool = True
    ) -> tuple[Part, tuple[str, ...]] | None:
        """Reserves of all accounts, drawing where needed; and which soft budgets are spent. None where something
        has to be drawn, and nobody is to wait."""
        self._check()
        now = self._clock()
        table = self._table
        for _ in range(_TRIES):
            of = tuple([(each, each.key(now)) for each in accounts if each.begins <= now < each.ends])
            table.lock([account.row for account, _ in of])
            try:
                trouble = self._trouble(of, wanted, limited=limited)
                if trouble is None:
                    for account, key in of:
                        account.take(key, wanted)
                    soft = [each.id for each, key in of if not each.refuses and each.is_spent(key)]
                    return Part(of, wanted, table.term), tuple(soft)
            finally:
                table.unlock()
            if trouble == "stopped":
                table.beat()
                continue
            account, verdict = trouble
            if verdict in ("spent", "full"):
                raise self._exceeded(account, now, wanted)
            if not wait:
                self._wanted.add(account)
                self._wake.set()
                return None
            with self._till.drawing:
                account.draw(now, wanted, limited=limited)
        raise self._exceeded(account, now, wanted)

    def _trouble(
        self, of: tuple[tuple[Account, int], ...], wanted: int, *, limited: bool
    ) -> tuple[Account, Verdict] | Literal["stopped"] | None:
        """What is in the way of reserving, first of all that one is spent. Under lock."""
        if not self._table.stands(self._table.term):
            return "stopped"
        found: tuple[Account, Verdict] | None = None
        for account, key in of:
            verdict = account.judge(key, wanted)
            if verdict == "fits" or (not limited and account.covers(key, wanted)):
                continue
            if verdict == "full" or (verdict == "spent" and limited):
                return account, verdict
            found = found or (account, "draw")
        return found

    def _put(self, part: Part, reserved: int, spent: int, *, wait: bool = True) -> None:
        """Lets go of what is reserved, and counts what is spent."""
        table = self._table
        over: list[Account] = []
        table.lock([account.row for account, _ in part.of])
        try:
            if not table.stands(part.term):
                # This process was taken for stopped, and all it had reserved for spent.
                reserved, spent = 0, max(spent - reserved, 0)
            for account, key in part.of:
                if account.put(key, reserved, spent):
                    over.append(account)
        finally:
            table.unlock()
        if over and wait:
            self._tell(over)
        elif over:
            self._wake.set()

    def _stands(self, account: Account, now: float, *, wait: bool) -> Standing:
        self._check()
        key = account.key(now)
        if wait:
            account.know(key)
        table = self._table
        table.lock((account.row,))
        try:
            spent, reserved, _, before = account.glance(key)
        finally:
            table.unlock()
        others, told = account.others(key), account.others_spent(key)
        start, end = account.span(now)
        left = max(account.limit - others - before - spent - reserved, 0)
        return Standing(
            account.budget,
            (before + spent + told) / UNITS,
            (reserved + others - told) / UNITS,
            left / UNITS,
            start,
            end,
        )

    def _exceeded(self, account: Account, now: float, wanted: int) -> BudgetExceededError:
        found = self._stands(account, now, wait=False)
        return BudgetExceededError(
            account.id,
            limit=account.budget.limit,
            spent=found.spent,
            reserved=found.reserved,
            wanted=wanted / UNITS,
            left=found.left,
            starts_anew=None if math.isinf(found.end) else found.end,
        )

    def _keep(self) -> None:
        """What has to be done every second."""
        self._table.beat()
        late = time.monotonic()
        for hold in list(self._holds):
            if hold._deadline < late:
                hold._expire()
        if lost := self._table.end_lost(SILENCE_S):
            log.warning("%d processes were killed or have stopped: what they had reserved counts as spent", lost)
            for account in self._accounts.values():
                account.touched = True
        self.refresh()
        while self._wanted:
            account = self._wanted.pop()
            with self._till.drawing:
                account.draw(self._clock(), 1)
        now = self._clock()
        accounts = list(self._accounts.values())
        self._tell([each for each in accounts if each.touched])
        self._let_go([each for each in accounts if each.kept != each.key(now)], now)

    def _tell(self, accounts: Sequence[Account]) -> None:
        """Tells the ledger what was spent."""
        entries: list[Entry] = []
        for account in accounts:
            account.touched = False
            self._table.lock((account.row,))
            try:
                entries += account.tell()
            finally:
                self._table.unlock()
        try:
            self._storage.tell_budgets(entries)
        except BaseException:
            for account in accounts:
                account.touched = True
            raise

    def _let_go(self, accounts: Sequence[Account], now: float, *, present: bool = False) -> None:
        """Lets go of what was drawn and is not needed any more: of periods that are over, or of all."""
        for first in range(0, len(accounts), _AT_ONCE):
            self._let_some_go(accounts[first : first + _AT_ONCE], now, present=present)

    def _let_some_go(self, accounts: Sequence[Account], now: float, *, present: bool) -> None:
        entries: list[Entry] = []
        # While nobody draws: else what is drawn in between would be taken away.
        locked: list[int] = []
        with self._till.drawing:
            try:
                for account in sorted(accounts, key=lambda each: each.row):
                    self._table.lock_draws(account.row)
                    locked.append(account.row)
                    key = account.key(now)
                    self._table.lock((account.row,))
                    try:
                        entries += account.tell(shrink=key + present)
                    finally:
                        self._table.unlock()
                self._storage.tell_budgets(entries, shrink=True)
                for account in accounts:
                    account.kept = account.key(now)
            finally:
                for row in locked:
                    self._table.unlock_draws(row)


def _keep(of: weakref.ref[Budgets], wake: threading.Event) -> None:
    while True:
        wake.wait(_KEEP_S)
        wake.clear()
        budgets = of()
        if budgets is None or budgets._closed:
            return
        try:
            budgets._keep()
            budgets.last_error = None
        # Whatever it is: a process whose thread ended would be taken for one that has stopped.
        except Exception as error:  # noqa: BLE001
            if budgets.last_error != str(error):
                log.error("budgets cannot be kept: %s", error)
            budgets.last_error = str(error)
        del budgets


def _named(who: dict[str, Any]) -> _Names:
    if not who:
        return (None,) * len(_NAMED)
    for name in who:
        if name not in _NAMED:
            raise BudgetError(name, "unknown", f"{hint(name, _NAMED)}Give any of {', '.join(_NAMED)} and tags")
    return tuple([who.get(name) for name in _NAMED])
