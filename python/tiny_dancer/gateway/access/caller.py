"""What a gateway holds about the client behind a request: its limits, its budgets, what it has used of them.

Spending is what storage says, plus what this worker charged that storage may not know of yet: for a moment
something may count twice, never not at all.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tiny_dancer.gateway.access.keys import day_start, month_start, next_month, written
from tiny_dancer.gateway.errors import GatewayError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tiny_dancer.gateway.access.limits import Bucket
    from tiny_dancer.storage import ApiKey

Headers = tuple[tuple[bytes, bytes], ...]

# Charges this close together are one entry, so that hours without storage do not fill memory.
_ENTRY_S = 0.25


@dataclass(slots=True)
class _Charge:
    """Money spent here that storage may not know of yet.

    Attributes:
        since: monotonic seconds of the first addition.
        at: monotonic seconds of the last one.
        day: the UTC day it belongs to, by its first moment.
        cost: USD.
    """

    since: float
    at: float
    day: float
    cost: float


class Caller:
    """A client that was let in: one object per key, for as long as the key is stored. Belongs to one thread.

    :class:`~tiny_dancer.gateway.access.admission.Access` makes and admits it. Who serves its request asks
    :meth:`allows`, and calls :meth:`charge` when it is done.

    Attributes:
        id: of the key; empty without one.
        name: of the key; empty without one.
        models: it may use; None: all.
        soft_budget_spent: only models cheaper than the strongest may serve it.
        key: as stored; None without one.
        digest: SHA-256 of its secret.
        valid_until: UTC seconds.
        limited: whether it has a rate limit or a budget.
        budgeted: whether it has a budget.
        day: the UTC day its spending is counted for, by its first moment.
    """

    __slots__ = (
        "_charges",
        "_clock",
        "_day_budget",
        "_monotonic",
        "_month_budget",
        "_period_end",
        "_requests",
        "_soft",
        "_spent_day",
        "_spent_month",
        "_stored_day",
        "_stored_month",
        "_tokens",
        "budgeted",
        "day",
        "digest",
        "id",
        "key",
        "limited",
        "models",
        "name",
        "soft_budget_spent",
        "valid_until",
    )

    def __init__(self, clock: Callable[[], float], monotonic: Callable[[], float]) -> None:
        """Everybody: no key, no limits."""
        self.id = self.name = ""
        self.models: frozenset[str] | None = None
        self.soft_budget_spent = False
        self._clock, self._monotonic = clock, monotonic
        self.key: ApiKey | None = None
        self.digest = b""
        self.valid_until = math.inf
        self.limited = self.budgeted = False
        self._requests: Bucket | None = None
        self._tokens: Bucket | None = None
        self._charges: deque[_Charge] = deque()
        self._day_budget = self._month_budget = math.inf
        self._soft = False
        self._stored_day = self._stored_month = self._spent_day = self._spent_month = 0.0
        self.day = self._period_end = 0.0

    def allows(self, model: str) -> bool:
        """Whether it may use this model, by its name in the configuration."""
        return self.models is None or model in self.models

    def charge(self, tokens: int, cost: float | None) -> None:
        """Counts what a request took, once it is known, and after its record was handed to accounting.

        Args:
            tokens: of prompt and answer; the bucket goes into debt where they are more than it has.
            cost: USD; None where the model has no price.
        """
        if not self.limited:
            return
        if self._tokens is not None and tokens > 0:
            self._tokens.charge(tokens)
        if self.budgeted and cost:
            self.turn(self._clock())
            at = self._monotonic()
            last = self._charges[-1] if self._charges else None
            if last is not None and last.day == self.day and at - last.since < _ENTRY_S:
                # The later time for all of it: it is forgotten late rather than early.
                last.at = at
                last.cost += cost
            else:
                self._charges.append(_Charge(at, at, self.day, cost))
            self._spent_day += cost
            self._spent_month += cost

    def ratelimit_headers(self) -> Headers:
        """``x-ratelimit-*`` as OpenAI sends them: what its limits are, what is left, when all of it is back."""
        found: list[tuple[bytes, bytes]] = []
        for what, bucket in ((b"requests", self._requests), (b"tokens", self._tokens)):
            if bucket is not None:
                found += (
                    (b"x-ratelimit-limit-" + what, b"%d" % bucket.capacity),
                    (b"x-ratelimit-remaining-" + what, b"%d" % max(bucket.level(), 0.0)),
                    (b"x-ratelimit-reset-" + what, _duration(bucket.full_in())),
                )
        return tuple(found)

    def enter(self, now: float) -> None:
        """Takes one request, at UTC seconds ``now``.

        Raises:
            GatewayError: 429; a limit is reached, or a budget is spent.
        """
        if self.budgeted:
            self.turn(now)
            self._check_budgets(now)
        # Tokens first: what they refuse must not cost a request.
        if self._tokens is not None and (wait := self._tokens.wait()):
            raise self._too_many("tokens", self._tokens, wait)
        if self._requests is not None and (wait := self._requests.take()):
            raise self._too_many("requests", self._requests, wait)

    def _check_budgets(self, now: float) -> None:
        monthly = self._spent_month >= self._month_budget
        spent = monthly or self._spent_day >= self._day_budget
        self.soft_budget_spent = spent and self._soft
        if not spent or self._soft:
            return
        # The month first: it is what has to be waited for where both are spent.
        if monthly:
            word, used, budget, reset = "monthly", self._spent_month, self._month_budget, next_month(now)
        else:
            word, used, budget, reset = "daily", self._spent_day, self._day_budget, self._period_end
        raise GatewayError(
            429,
            f"The {word} budget of key {self.name!r} is spent: {used:.6g} of {budget:.6g} USD. "
            f"It starts anew at {written(reset)}.",
            type="insufficient_quota",
            code="insufficient_quota",
            # Clients' libraries try again after a 429 unless told that it is no use.
            headers=(*retry_after(reset - now), (b"x-should-retry", b"false")),
        )

    def _too_many(self, what: str, bucket: Bucket, wait: float) -> GatewayError:
        return GatewayError(
            429,
            f"Key {self.name!r} may use {bucket.capacity:,.0f} {what} a minute, and has. "
            f"Try again in {wait:.3g} seconds.",
            code="rate_limit_exceeded",
            headers=(*retry_after(wait), *self.ratelimit_headers()),
        )

    def turn(self, now: float) -> None:
        """Begins a new day, and perhaps month."""
        if now < self._period_end:
            return
        month = month_start(now)
        if month > self.day:
            self._stored_month = 0.0
        self.day = day_start(now)
        self._period_end = self.day + 86_400
        self._stored_day = 0.0
        self._count()

    def _count(self) -> None:
        month = month_start(self.day)
        self._spent_day = self._stored_day + sum(each.cost for each in self._charges if each.day == self.day)
        self._spent_month = self._stored_month + sum(each.cost for each in self._charges if each.day >= month)

    def settle(self, day: float, month: float, settled: float) -> None:
        """Takes over what storage says was spent; charges before ``settled``, monotonic, are in it."""
        while self._charges and self._charges[0].at < settled:
            self._charges.popleft()
        self._stored_day, self._stored_month = day, month
        self._count()

    def become(self, key: ApiKey, bucket: Callable[[str, float], Bucket]) -> None:
        """Takes over a key as it is stored now; what its buckets hold stays where its limits do."""
        # Buckets first, for they may not be had: then it stays as it was.
        requests, tokens = self._requests, self._tokens
        if self.key is None or self.key.requests_per_minute != key.requests_per_minute:
            limit = key.requests_per_minute
            requests = None if limit is None else bucket(f"{key.id}/requests", limit)
        if self.key is None or self.key.tokens_per_minute != key.tokens_per_minute:
            limit = key.tokens_per_minute
            tokens = None if limit is None else bucket(f"{key.id}/tokens", limit)
        self._requests, self._tokens = requests, tokens
        self.key, self.id, self.name = key, key.id, key.name
        self.models = frozenset(key.models) or None
        self.digest = bytes.fromhex(key.secret_hash)
        self.valid_until = min(
            math.inf if key.expires_at is None else key.expires_at,
            math.inf if key.revoked_at is None else key.revoked_at,
        )
        self._day_budget = math.inf if key.daily_budget is None else key.daily_budget
        self._month_budget = math.inf if key.monthly_budget is None else key.monthly_budget
        self._soft = key.soft_budget
        self.budgeted = not math.isinf(self._day_budget) or not math.isinf(self._month_budget)
        self.limited = self.budgeted or requests is not None or tokens is not None


def retry_after(seconds: float) -> Headers:
    """When to try again, in the standard's words and in those of OpenAI's libraries."""
    # Whole seconds, as HTTP has it, rounded up: earlier would be refused again.
    return (
        (b"retry-after", b"%d" % math.ceil(seconds)),
        (b"retry-after-ms", b"%d" % math.ceil(seconds * 1000)),
    )


def _duration(seconds: float) -> bytes:
    """As OpenAI writes it: ``120ms``, ``6.2s``, ``1m3s``."""
    if seconds < 1:
        return b"%dms" % math.ceil(seconds * 1000)
    if seconds < 60:
        return b"%gs" % (math.ceil(seconds * 10) / 10)
    whole = math.ceil(seconds)
    return b"%dm%ds" % divmod(whole, 60)
