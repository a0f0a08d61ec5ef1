"""What a gateway holds about the client behind a request: its limits, and its budgets."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, Final

from tiny_dancer.budgets.money import UNITS, units
from tiny_dancer.gateway.access.budgets import Budget, Hold, Terms, terms_of, usd
from tiny_dancer.gateway.access.keys import written
from tiny_dancer.gateway.access.payers import NOBODY, payers_of
from tiny_dancer.gateway.errors import GatewayError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tiny_dancer.gateway.access.limits import Bucket
    from tiny_dancer.storage import ApiKey

Headers = tuple[tuple[bytes, bytes], ...]

log = logging.getLogger("tiny_dancer.gateway")
# Until what was spent before is read.
_READ_S = 2.0
SOON_S: Final = 1.0
"""Seconds until a request under way may have ended, which holds what another needs."""


class Caller:
    """A client that was let in: one object per key, for as long as the key is stored. Belongs to one thread.

    :class:`~tiny_dancer.gateway.access.admission.Access` makes and admits it. Who serves its request asks
    :meth:`allows`, has the most that a call can cost reserved (:meth:`reserve`), and calls :meth:`charge` when
    it is done.

    Attributes:
        id: of the key; empty without one.
        name: of the key; empty without one.
        models: it may use; None: all.
        soft_budget_spent: only models cheaper than the strongest may serve it.
        warned: it has spent the amount from which on a warning is due.
        key: as stored; None without one.
        digest: SHA-256 of its secret.
        valid_until: UTC seconds.
        limited: whether it has a rate limit or a budget.
        budgets: in the order in which they are asked.
        payers: whose the key is.
    """

    __slots__ = (
        "_cheaper",
        "_clock",
        "_requests",
        "_tokens",
        "_warned_until",
        "budgets",
        "digest",
        "id",
        "key",
        "limited",
        "models",
        "name",
        "payers",
        "soft_budget_spent",
        "valid_until",
        "warned",
    )

    def __init__(self, clock: Callable[[], float]) -> None:
        """Everybody: no key, no limits."""
        self.id = self.name = ""
        self.models: frozenset[str] | None = None
        self.soft_budget_spent = self.warned = False
        self._clock = clock
        self.key: ApiKey | None = None
        self.digest = b""
        self.valid_until = math.inf
        self.limited = False
        self.budgets: tuple[Budget, ...] = ()
        self.payers = NOBODY
        self._requests: Bucket | None = None
        self._tokens: Bucket | None = None
        self._cheaper = False
        self._warned_until = -math.inf

    def allows(self, model: str) -> bool:
        """Whether it may use this model, by its name in the configuration."""
        return self.models is None or model in self.models

    def now(self) -> float:
        """UTC seconds by the clock that its limits go by."""
        return self._clock()

    def left(self) -> float | None:
        """USD of the tightest of its budgets that hold whatever model is asked; None where it has none."""
        if self._cheaper:
            return None
        now = self._clock()
        left = []
        for budget in self.budgets:
            if budget.terms.model is None and not budget.terms.warns:
                spent, reserved = budget.standing(now)
                left.append(max(budget.limit - (spent or 0) - reserved, 0) / UNITS)
        return min(left, default=None)

    def reserve(self, model: str, cost: float, hold: Hold | None = None) -> Hold:
        """Reserves the most that a call can cost, of every budget it falls under.

        Args:
            model: that will be asked, by its name in the configuration.
            cost: USD, the most.
            hold: of the same request, which has it in addition; None: a new one.

        Returns:
            What is to be handed to :meth:`charge` in the end, whatever came of the request.

        Raises:
            GatewayError: 429; what is left of a budget is less. Nothing more is reserved than before.
        """
        hold = hold or Hold()
        now, amount = self._clock(), units(cost)
        done: list[tuple[Budget, float]] = []
        for budget in self.budgets:
            only = budget.terms.model
            if only is not None and only != model:
                continue
            standing = budget.reserve(now, amount, limited=only is not None or not self._cheaper)
            if standing is not None:
                for each, start in done:
                    each.settle(start, amount, 0)
                raise self._exceeded(budget, now, standing, amount)
            done.append((budget, budget.period(now)[0]))
        for each, start in done:
            hold.add(each, start, amount)
        return hold

    def charge(self, tokens: int, paid: float | Mapping[str, float] | None, hold: Hold | None = None) -> None:
        """Counts what a request took, once it is known, and after its record was handed to accounting.

        Args:
            tokens: of prompt and answer; the bucket goes into debt where they are more than it has.
            paid: USD, or USD by model; None where the model has no price.
            hold: what was reserved for it, which is let go.
        """
        if not self.limited:
            return
        if self._tokens is not None and tokens > 0:
            self._tokens.charge(tokens)
        if hold is not None or (paid and self.budgets):
            by_model = {"": paid} if isinstance(paid, float | int) else paid or {}
            (hold or Hold()).settle(self.budgets, self._clock(), by_model)

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
        if self.warned:
            found.append((b"x-td-soft-budget", b"spent"))
        return tuple(found)

    def enter(self, now: float) -> None:
        """Takes one request, at UTC seconds ``now``.

        Raises:
            GatewayError: 429; a limit is reached, or a budget is spent.
        """
        if self.budgets:
            self._check_budgets(now)
        # Tokens first: what they refuse must not cost a request.
        if self._tokens is not None and (wait := self._tokens.wait()):
            raise self._too_many("tokens", self._tokens, wait)
        if self._requests is not None and (wait := self._requests.take()):
            raise self._too_many("requests", self._requests, wait)

    def _check_budgets(self, now: float) -> None:
        cheaper = False
        for budget in self.budgets:
            if budget.terms.model is not None:
                continue  # known once a model is chosen
            spent, reserved = budget.standing(now)
            if budget.terms.warns:
                self._warn(budget, now, spent or 0)
            elif self._cheaper:
                cheaper = cheaper or spent is None or spent + reserved >= budget.limit
            elif spent is None or spent >= budget.limit:
                raise self._exceeded(budget, now, (spent, reserved), None)
        self.soft_budget_spent = cheaper

    def _warn(self, budget: Budget, now: float, spent: int) -> None:
        self.warned = spent >= budget.limit
        if self.warned and now >= self._warned_until:
            self._warned_until = budget.period(now)[1]
            log.warning("key %r has spent %s USD; its soft budget is %s", self.name, usd(spent), usd(budget.limit))

    def _exceeded(
        self, budget: Budget, now: float, standing: tuple[int | None, int], wanted: int | None
    ) -> GatewayError:
        """What a client is told of a budget that is spent, or has too little left."""
        spent, reserved = standing
        if spent is None:
            return GatewayError(
                503,
                f"What key {self.name!r} has spent is not read yet.",
                code="keys_unavailable",
                headers=retry_after(_READ_S),
            )
        end = budget.period(now)[1]
        anew = "It does not start anew." if math.isinf(end) else f"It starts anew at {written(end)}."
        used = f"{usd(spent)} of {usd(budget.limit)} USD"
        soon = False
        if wanted is None or spent >= budget.limit:
            message = f"The {budget.terms.word}budget of key {self.name!r} is spent: {used}. {anew}"
        else:
            # What others hold and do not need will be there in a moment.
            soon = spent + wanted <= budget.limit
            held = f", {usd(reserved)} reserved for requests under way" if reserved else ""
            message = (
                f"This request can cost up to {usd(wanted)} USD, more than is left of the "
                f"{budget.terms.word}budget of key {self.name!r} ({used} spent{held}). Set a lower max_tokens, or "
                f"name a cheaper model. {anew}"
            )
        headers: Headers = () if math.isinf(end) and not soon else retry_after(SOON_S if soon else end - now)
        if not soon:
            # Clients' libraries try again after a 429 unless told that it is no use.
            headers = (*headers, (b"x-should-retry", b"false"))
        return GatewayError(429, message, type="budget_exceeded", code="budget_exceeded", headers=headers)

    def _too_many(self, what: str, bucket: Bucket, wait: float) -> GatewayError:
        return GatewayError(
            429,
            f"Key {self.name!r} may use {bucket.capacity:,.0f} {what} a minute, and has. "
            f"Try again in {wait:.3g} seconds.",
            code="rate_limit_exceeded",
            headers=(*retry_after(wait), *self.ratelimit_headers()),
        )

    def become(
        self, key: ApiKey, bucket: Callable[[str, float], Bucket], budget: Callable[[ApiKey, Terms], Budget]
    ) -> None:
        """Takes over a key as it is stored now; what its buckets hold stays where its limits do."""
        # Buckets first, for they may not be had: then it stays as it was.
        requests, tokens = self._requests, self._tokens
        if self.key is None or self.key.requests_per_minute != key.requests_per_minute:
            limit = key.requests_per_minute
            requests = None if limit is None else bucket(f"{key.id}/requests", limit)
        if self.key is None or self.key.tokens_per_minute != key.tokens_per_minute:
            limit = key.tokens_per_minute
            tokens = None if limit is None else bucket(f"{key.id}/tokens", limit)
        known = {each.terms: each for each in self.budgets}
        self.budgets = tuple(known.get(terms) or budget(key, terms) for terms in terms_of(key))
        self._requests, self._tokens = requests, tokens
        self.key, self.id, self.name = key, key.id, key.name
        self.models = frozenset(key.models) or None
        self.payers = payers_of(key)
        self.digest = bytes.fromhex(key.secret_hash)
        self.valid_until = min(
            math.inf if key.expires_at is None else key.expires_at,
            math.inf if key.revoked_at is None else key.revoked_at,
        )
        self._cheaper = key.cheaper_when_spent
        self.limited = bool(self.budgets) or requests is not None or tokens is not None


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
