"""The money of one request: what it has reserved of every budget it falls under, its key's and those of any scope.

What is reserved at the key's own limits is in :mod:`.caller`; budgets of any scope are the library's
(:mod:`tiny_dancer.budgets`), which every process that has the same database counts together.
"""

from __future__ import annotations

import asyncio
import math
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from tiny_dancer.errors import BudgetExceededError, StorageError
from tiny_dancer.gateway.access.caller import SOON_S, retry_after
from tiny_dancer.gateway.access.keys import written
from tiny_dancer.gateway.errors import GatewayError, storage_unavailable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tiny_dancer.budgets import Budgets, Hold
    from tiny_dancer.gateway.access import budgets as own
    from tiny_dancer.gateway.access.caller import Caller, Headers
    from tiny_dancer.gateway.access.payers import Payers

SPENT_HEADER: Final = b"x-td-budget"

# Of these a client is told no sums: they are everybody's.
_SHARED: Final = ("all", "model", "agent", "route")


class Purse:
    """Made for one request; belongs to the event loop's thread.

    Attributes:
        route: the intent found, once it is known; empty where none was.
        warnings: ids of soft budgets that were found spent, in the order they were.
    """

    __slots__ = ("_budgets", "_caller", "_held", "_own", "_who", "route", "warnings")

    def __init__(self, caller: Caller, payers: Payers, budgets: Budgets) -> None:
        self._caller, self._budgets = caller, budgets
        self._who = _who(caller, payers)
        self._own: own.Hold | None = None
        # By model: each reservation, and how many USD it has left.
        self._held: dict[str, list[list[Any]]] = {}
        self.route = ""
        self.warnings: dict[str, None] = {}

    def cheaper(self, strongest: str | None) -> bool:
        """Whether a soft budget is spent that the strongest model would be paid from."""
        return self._budgets.cheaper_only(wait=False, **self._who, model=strongest or "", route=self.route)

    def left(self) -> float | None:
        """USD of the tightest hard budget it falls under, whatever model is asked; None where there is none."""
        found = (self._caller.left(), self._budgets.remaining(wait=False, **self._who, route=self.route))
        return min((each for each in found if each is not None), default=None)

    async def reserve(self, model: str, cost: float | None, agent: str = "") -> None:
        """Reserves the most a call can cost of all budgets it falls under, in addition to what is held.

        Args:
            model: that will be asked, by its name in the configuration.
            cost: USD, the most; None: it has no price, and needs only that nothing is spent.
            agent: that the model is asked as; empty where it is none.

        Raises:
            GatewayError: 429, a budget has less left; 503, the database cannot be asked. Nothing more is reserved
                than before.
        """
        who = {**self._who, "model": model, "agent": (agent, *self._who["agent"]), "route": self.route}
        if not cost:
            self._check(who)
            return
        try:
            hold = self._budgets.try_reserve(cost, **who)
            if hold is None:
                hold = await self._reserved(cost, who)
        except BudgetExceededError as error:
            raise self._refusal(error) from error
        except StorageError as error:
            raise storage_unavailable() from error
        if self._caller.budgets:
            try:
                self._own = self._caller.reserve(model, cost, self._own)
            except GatewayError:
                hold.release()
                raise
        self._held.setdefault(model, []).append([hold, cost])
        self.warnings.update(dict.fromkeys(hold.soft))

    def shrink(self, paid: Mapping[str, float]) -> None:
        """Lets go of all but what has been paid already: USD by model."""
        if self._own is not None:
            self._own.shrink(paid)
        for model, holds in self._held.items():
            rest = paid.get(model, 0.0)
            for each in holds:
                each[1] = min(rest, each[1])
                each[0].shrink(each[1])
                rest -= each[1]

    def settle(self, tokens: int, paid: Mapping[str, float]) -> None:
        """Counts what was paid, USD by model, and lets go of everything; again does nothing.

        ``tokens``: of prompt and answer, which the key's rate is charged with.
        """
        hold, self._own = self._own, None
        held, self._held = self._held, {}
        self._caller.charge(tokens, paid, hold)
        rest = dict(paid)
        for model, ((first, _), *others) in held.items():
            first.settle(rest.pop(model, 0.0), wait=False)
            for other, _ in others:
                other.settle(0.0, wait=False)
        for model, usd in rest.items():
            if usd:  # nothing was reserved for it, so it may wait for the disk
                charge = partial(self._budgets.charge, usd, **self._who, model=model, route=self.route)
                asyncio.get_running_loop().run_in_executor(None, charge)

    async def _reserved(self, cost: float, who: Mapping[str, Any]) -> Hold:
        """As :meth:`Budgets.reserve`, which may wait for the disk."""
        reserving = asyncio.get_running_loop().run_in_executor(None, partial(self._budgets.reserve, cost, **who))
        try:
            return await asyncio.shield(reserving)
        except asyncio.CancelledError:
            # Its client has gone; what comes of it belongs to nobody.
            reserving.add_done_callback(_let_go)
            raise

    def _check(self, who: Mapping[str, Any]) -> None:
        for each in self._budgets.standing(wait=False, **who):
            if each.budget.kind == "hard" and each.left <= 0:
                raise self._refusal(
                    BudgetExceededError(
                        each.budget.id,
                        limit=each.budget.limit,
                        spent=each.spent,
                        reserved=each.reserved,
                        wanted=0.0,
                        left=each.left,
                        starts_anew=None if each.end is None or math.isinf(each.end) else each.end,
                    )
                )

    def _refusal(self, error: BudgetExceededError) -> GatewayError:
        """What a client is told of a budget that is spent, or has too little left."""
        scope, _, rest = error.budget.removesuffix("/soft").partition("/")
        subject, _, period = rest.rpartition("/")
        if scope == "key":
            subject = self._caller.name
        of = "the gateway" if scope == "all" else f"{scope} '{subject}'"
        name = f"budget of {of}" + ("" if error.starts_anew is None else f" ({period})")
        anew = "It does not start anew."
        if error.starts_anew is not None:
            anew = f"It starts anew at {written(error.starts_anew)}."
        spent = error.spent >= error.limit
        # What others hold and do not need will be there in a moment.
        soon = not spent and error.spent + error.wanted <= error.limit
        if spent:
            used = "" if scope in _SHARED else f": {error.spent:.6g} of {error.limit:.6g} USD"
            message = f"The {name} is spent{used}. {anew}"
        else:
            message = (
                f"This request can cost up to {error.wanted:.6g} USD, more than is left of the {name} "
                f"({max(error.left, 0.0):.6g} USD). Set a lower max_tokens, or name a cheaper model. {anew}"
            )
        headers: Headers = ((SPENT_HEADER, ascii(error.budget)[1:-1].encode()),)
        if soon:
            headers += retry_after(SOON_S)
        else:
            if error.starts_anew is not None:
                headers += retry_after(max(error.starts_anew - self._caller.now(), 0.0))
            # Clients' libraries try again after a 429 unless told that it is no use.
            headers += ((b"x-should-retry", b"false"),)
        return GatewayError(429, message, type="budget_exceeded", code="budget_exceeded", headers=headers)


def purse_of(caller: Caller, payers: Payers, budgets: Budgets) -> Purse | None:
    """The purse of a request; None where no budget can fall on it."""
    if caller.budgets or budgets.concerns(**_who(caller, payers)):
        return Purse(caller, payers, budgets)
    return None


def is_of_agent(error: GatewayError) -> bool:
    """Whether a request is refused by the budget of an agent."""
    return any(name == SPENT_HEADER and id.startswith(b"agent/") for name, id in error.headers)


def _who(caller: Caller, payers: Payers) -> dict[str, Any]:
    return {
        "key": caller.id,
        "user": payers.user,
        "team": payers.team,
        "project": payers.project,
        "tags": payers.tags,
        "agent": payers.ensembles,
    }


def _let_go(reserving: asyncio.Future[Hold]) -> None:
    if not reserving.cancelled() and reserving.exception() is None:
        reserving.result().release()
