"""Budgets against a model that knows every cent: several processes, any of which is killed or stops, lost tables,
midnight, and windows."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tiny_dancer.budgets import keeping
from tiny_dancer.budgets.keeping import Budgets
from tiny_dancer.budgets.money import MoneyTable, shared
from tiny_dancer.errors import BudgetExceededError
from tiny_dancer.storage import Budget, MemoryStorage

if TYPE_CHECKING:
    from tiny_dancer.budgets import Hold

NOON = datetime(2026, 11, 28, 12, tzinfo=UTC).timestamp()
DAY = 86_400
LIMITS = {"team": 40, "user": 100, "project": 60, "tag": 30}
PERIODS = {"team": "1d", "user": "1mo", "project": "rolling 10d", "tag": "1d"}


class Ledger(MemoryStorage):
    """A ledger of several processes, which have a table beside it."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path

    def budget_table(self) -> tuple[Path | None, str]:
        return self.path, "one"


class Till:
    """What a process has: the table by a seat of its own, which no lock holds here."""

    def __init__(self, path: Path, seat: int) -> None:
        self.table = shared(path, "one")
        self.table.sit(seat)
        self.drawing = threading.Lock()

    def leave(self) -> None:
        self.table.close()


class Process:
    """One that spends."""

    def __init__(self, machine: Machine, seat: int) -> None:
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(keeping, "till", lambda _: Till(machine.path, seat))
            patched.setattr(threading.Thread, "start", lambda _: None)
            patched.setattr(keeping, "SILENCE_S", float("inf"))
            patched.setattr(MoneyTable, "end_lost", lambda *_: 0)
            self.budgets = Budgets(machine.ledger, clock=lambda: machine.now)
        self.seat = seat
        self.holds: list[tuple[Hold, int, float, tuple[str, ...]]] = []


class Machine(RuleBasedStateMachine):
    """Whatever happens, no budget is exceeded, and while no table is lost none refuses what fits."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = TemporaryDirectory()
        self.path = Path(self.folder.name, "budgets")
        self.now = NOON
        self.ledger = Ledger(self.path)
        for scope, limit in LIMITS.items():
            kind = "soft" if scope == "tag" else "hard"
            self.ledger.insert_budget(
                Budget(scope, "a", limit=limit, period=PERIODS[scope], kind=kind, created_at=NOON)
            )
        self.processes = [Process(self, seat) for seat in range(3)]
        self.gone: list[Process] = []
        self.lost = False
        # When reserved, how much, of which scopes; and when counted at the latest.
        self.spent: list[tuple[float, int, tuple[str, ...], float]] = []

    def teardown(self) -> None:
        for process in (*self.processes, *self.gone):
            process.budgets._table.close()
        self.folder.cleanup()

    @rule(seconds=st.sampled_from([0.1, 3.0, 20_000.0, 86_400.0, 86_400.0 * 12, -3.0, -86_400.0]))
    def time_passes_and_is_set_back(self, seconds: float) -> None:
        self.now = max(self.now + seconds, NOON)

    @rule(
        which=st.integers(0, 2),
        most=st.sampled_from([1, 7, 20, 45]),
        scopes=st.sets(st.sampled_from(list(LIMITS)), min_size=1),
    )
    def a_call_is_asked_for(self, which: int, most: int, scopes: set[str]) -> None:
        process = self.processes[which]
        who: dict[str, Any] = {scope: "a" for scope in sorted(scopes) if scope != "tag"}
        fits = all(self.used(scope) + most <= LIMITS[scope] for scope in who)
        try:
            hold = process.budgets.reserve(float(most), tags=["a"] if "tag" in scopes else [], **who)
        except BudgetExceededError as error:
            assert not fits or self.lost or self.late()
            assert error.left < most
        else:
            assert all(self.certain(scope) + most <= LIMITS[scope] for scope in who if self.is_whole(scope))
            process.holds.append((hold, most, self.now, tuple(scopes)))

    @rule(which=st.integers(0, 2), share=st.sampled_from([0.0, 0.5, 1.0]), nth=st.integers(0, 5))
    def a_call_ends(self, which: int, share: float, nth: int) -> None:
        process = self.processes[which]
        if process.holds:
            hold, most, at, scopes = process.holds.pop(nth % len(process.holds))
            cost = int(most * share)
            self.spent.append((at, cost, scopes, at))
            hold.settle(float(cost))

    @rule(which=st.integers(0, 2))
    def a_process_is_killed(self, which: int) -> None:
        process = self.processes[which]
        self.spent += [(at, most, scopes, self.now) for _, most, at, scopes in process.holds]
        self.gone.append(process)
        self.processes[which] = Process(self, which)

    @rule(which=st.integers(0, 2))
    def a_process_stops_and_goes_on(self, which: int) -> None:
        process = self.processes[which]
        table = self.processes[(which + 1) % 3].budgets._table
        if table.holder == process.budgets._table.holder:
            self.spent += [(at, most, scopes, self.now) for _, most, at, scopes in process.holds]
            table.numbers[table._ends + which] += 1
            table._count_reserved(which)
            for hold, *_ in process.holds:
                hold.settle(0.0)  # it is not given back
            process.holds.clear()

    @rule()
    def the_table_is_deleted(self) -> None:
        self.path.unlink(missing_ok=True)
        self.lost = True

    @rule(which=st.integers(0, 2))
    def what_was_spent_is_told(self, which: int) -> None:
        process = self.processes[which]
        accounts = list(process.budgets._accounts.values())
        process.budgets._tell(accounts)
        process.budgets._let_go(accounts, self.now)

    @invariant()
    def nothing_is_exceeded(self) -> None:
        for scope, limit in LIMITS.items():
            if scope != "tag" and self.is_whole(scope):
                assert self.certain(scope) <= limit

    def is_whole(self, scope: str) -> bool:
        """Whether what counts now is what counted when it was spent: set back, a window has again what had left it
        before the last was spent."""
        return not (PERIODS[scope].startswith("rolling") and self.late())

    def used(self, scope: str) -> int:
        return self.certain(scope, slack=True)

    def certain(self, scope: str, *, slack: bool = False) -> int:
        """What is spent and held in the present period; in a window with ``slack`` what may count still."""
        held = [(at, most, of) for each in self.processes for _, most, at, of in each.holds if scope in of]
        spent = [(at, cost, last) for at, cost, of, last in self.spent if scope in of]
        if PERIODS[scope].startswith("rolling"):
            since = self.now - 10 * DAY * (31 / 30 if slack else 1)
            return sum(cost for at, cost, last in spent if (last if slack else at) > since) + sum(
                most for at, most, _ in held if slack or at > since
            )
        paid = [(at, cost) for at, cost, _ in spent] + [(at, most) for at, most, _ in held]
        return sum(cost for at, cost in paid if self.same(scope, at))

    def same(self, scope: str, at: float) -> bool:
        if PERIODS[scope] == "1d":
            return at // DAY == self.now // DAY
        one, two = (datetime.fromtimestamp(each, UTC) for each in (at, self.now))
        return (one.year, one.month) == (two.year, two.month)

    def late(self) -> bool:
        """Whether something happened later than now: the clock was set back, and the table may have forgotten."""
        times = [at for at, *_ in self.spent] + [at for each in self.processes for _, _, at, _ in each.holds]
        return any(at > self.now for at in times)


Machine.TestCase.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, report_multiple_bugs=False
)
test_budgets = Machine.TestCase
