"""Who may call, how often, and for how much.

:meth:`Access.identify` and :meth:`Access.enter` run on every request: one SHA-256, one look-up, two buckets. Keys
made or revoked are read from storage every two seconds beside it. What workers of this gateway spend counts at
once in all of them (:mod:`.money`); what another gateway spends by the same database is read every two seconds as
well.

On time: the first half of the digest only finds the key, the whole of it is compared by ``hmac.compare_digest``.
Neither tells a client about a secret: what it could measure is how the SHA-256 of its guess compares with stored
ones, and from no part of a digest can 256 random bits be told.
"""

from __future__ import annotations

import asyncio
import hmac
import math
import time
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

from tiny_dancer.budgets.clock import steady
from tiny_dancer.budgets.money import MoneyTable
from tiny_dancer.errors import StorageError, TinyDancerError
from tiny_dancer.gateway.access.budgets import Budget, terms_of
from tiny_dancer.gateway.access.caller import Caller, retry_after
from tiny_dancer.gateway.access.keys import PREFIX, written
from tiny_dancer.gateway.access.limits import TokenBucket
from tiny_dancer.gateway.access.payers import Owned
from tiny_dancer.gateway.errors import GatewayError
from tiny_dancer.storage.periods import period

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tiny_dancer.gateway.access.budgets import Terms
    from tiny_dancer.gateway.access.limits import Bucket
    from tiny_dancer.gateway.access.shared_limits import SharedLimits
    from tiny_dancer.storage import ApiKey, KeyStorage, Spend

__all__ = ["Access", "Caller"]

REFRESH_S = 2.0
# Reading takes at most a twentieth of the time, however many keys and requests there are.
_REST = 19.0


@dataclass(frozen=True, slots=True)
class _Reading:
    """What storage says at one moment.

    Attributes:
        keys: all, by id.
        changed: those that are new, or other than at the last reading.
        now: UTC seconds.
        spent: by first moment and end of a period, then by key.
        seconds: of work it took.
    """

    keys: Mapping[str, ApiKey]
    changed: tuple[ApiKey, ...]
    now: float
    spent: Mapping[tuple[float, float], Mapping[str, Spend]]
    seconds: float


class Access:
    """Lets clients in by their keys. Belongs to the event loop's thread, but for :meth:`refresh`.

    Attributes:
        required: whether a key is needed; else it is honoured where one of ours is presented.
        owned: names of payers that keys carry.
        last_error: why the last reading of storage failed, or None. Meanwhile the keys known stay in force.

    Example:
        >>> access = Access(storage, required=True)
        >>> access.refresh()
        >>> caller = access.admit("td-…")
        >>> caller.charge(1_200, 0.003)
    """

    def __init__(
        self,
        storage: KeyStorage,
        *,
        required: bool,
        shared: SharedLimits | None = None,
        money: MoneyTable | None = None,
        clock: Callable[[], float] = steady,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Knows no keys until :meth:`refresh`.

        Args:
            storage: of the keys, and of what each has spent.
            required: whether a key is needed.
            shared: rate limits that hold for all workers together; None where there is one worker.
            money: budgets that hold for all workers together; None where there is one worker.
            clock: UTC seconds.
            monotonic: seconds that never go back; the same in all workers where limits are shared.
        """
        self.required = required
        self.owned = Owned()
        self.last_error: str | None = None
        self._storage = storage
        self._shared = shared
        self._money = money or MoneyTable()
        self._clock, self._monotonic = clock, monotonic
        self._everybody = Caller(clock)
        self._keys: Mapping[str, ApiKey] | None = None
        self._callers: dict[str, Caller] = {}
        # By the first half of the digest.
        self._by_digest: dict[bytes, Caller] = {}

    def admit(self, *presented: str | bytes | None) -> Caller:
        """The client that presents these secrets, counted as one request.

        Args:
            presented: as of :meth:`identify`.

        Raises:
            GatewayError: as :meth:`identify` and :meth:`enter`.
        """
        caller = self.identify(*presented)
        self.enter(caller)
        return caller

    def enter(self, caller: Caller) -> None:
        """Counts a request of a client that was identified.

        Raises:
            GatewayError: 429, a rate limit is reached, or a budget is spent; 503, nobody knows yet what is.
        """
        if caller.limited:
            caller.enter(self._clock())

    def identify(self, *presented: str | bytes | None) -> Caller:
        """The client that presents these secrets: for what costs nothing, and is not held against its limits.

        Any of them that is a key of ours lets it in: beside it a client's library may send another provider's.

        Args:
            presented: as the client sent them (without ``Bearer``); None for none.

        Raises:
            GatewayError: 401 (no key, unknown, revoked, expired), 503 (keys have never been read). No message
                repeats a secret.
        """
        ended: GatewayError | None = None
        unknown: list[bytes] = []
        for secret in presented:
            if secret is None:
                continue
            given = secret if isinstance(secret, bytes) else secret.encode("utf-8", "surrogatepass")
            digest = sha256(given).digest()
            caller = self._by_digest.get(digest[:16])
            if caller is None or not hmac.compare_digest(digest, caller.digest):
                unknown.append(given)
            elif caller.valid_until != math.inf and (now := self._clock()) >= caller.valid_until:
                ended = _ended(caller, now)
            else:
                return caller
        if ended is not None:
            raise ended
        if unknown:
            return self._without_key(unknown)
        if self.required:
            raise _unauthorised("missing_api_key", "No API key. Send one as `Authorization: Bearer td-...`.")
        return self._everybody

    def refresh(self) -> None:
        """Reads keys and spending now, and blocks meanwhile. Not while requests are served: that is :meth:`run`.

        Raises:
            StorageError: they cannot be read; those known stay.
        """
        self._install(self._read())

    async def run(self) -> None:
        """Reads keys and spending again and again, beside the event loop, until it is cancelled."""
        while True:
            pause = REFRESH_S
            try:
                reading = await asyncio.to_thread(self._read)
                self._install(reading)
                self.last_error = None
                pause = max(pause, reading.seconds * _REST)
            except TinyDancerError as error:
                self.last_error = str(error)
            await asyncio.sleep(pause)

    def _read(self) -> _Reading:
        began = self._monotonic()
        keys = {key.id: key for key in self._storage.api_keys()}
        known = self._keys or {}
        changed = tuple(key for key in keys.values() if known.get(key.id) != key)
        now = self._clock()
        spans = {period(terms.duration, key.created_at, now) for key in keys.values() for terms in terms_of(key)}
        spent = {
            (start, end): self._storage.spend(since=start, until=None if math.isinf(end) else end)
            for start, end in spans
        }
        return _Reading(keys, changed, now, spent, self._monotonic() - began)

    def _install(self, reading: _Reading) -> None:
        failure: StorageError | None = None
        keys = dict(reading.keys)
        for key in reading.changed:
            caller = self._callers.get(key.id) or Caller(self._clock)
            before = caller.digest[:16]
            try:
                caller.become(key, self._bucket, self._budget)
            except StorageError as error:
                # There is no room for its limits. It has to wait, but no other key has to, and no revocation.
                failure = error
                del keys[key.id]
                if known := (self._keys or {}).get(key.id):
                    keys[key.id] = known
                continue
            self._callers[key.id] = caller
            self._by_digest.pop(before, None)
            self._by_digest[caller.digest[:16]] = caller
        for gone in (self._keys or {}).keys() - reading.keys.keys():
            self._by_digest.pop(self._callers.pop(gone).digest[:16], None)
        if reading.changed or keys.keys() != (self._keys or {}).keys():
            self.owned = Owned(keys.values())
        self._keys = keys
        for caller in self._callers.values():
            for budget in caller.budgets:
                spent = reading.spent.get(budget.period(reading.now))
                if spent is not None:
                    budget.learn(reading.now, spent.get(caller.id))
        if failure is not None:
            raise failure

    def _budget(self, key: ApiKey, terms: Terms) -> Budget:
        return Budget(self._money, key, terms)

    def _bucket(self, name: str, per_minute: float) -> Bucket:
        if self._shared is not None:
            return self._shared.bucket(name, per_minute, clock=self._monotonic)
        return TokenBucket(per_minute, clock=self._monotonic)

    def _without_key(self, presented: list[bytes]) -> Caller:
        ours = any(each.startswith(PREFIX.encode()) for each in presented)
        # Clients' libraries insist on a key; where none is needed, whatever they send will do.
        if not (self.required or ours):
            return self._everybody
        if self._keys is None:
            raise GatewayError(
                503, "API keys cannot be read yet.", code="keys_unavailable", headers=retry_after(REFRESH_S)
            )
        message = "This API key is not known, or was removed."
        if not ours:
            message = f"This is no API key of this gateway: those begin with {PREFIX}."
        raise _unauthorised("invalid_api_key", message)


def _ended(caller: Caller, now: float) -> GatewayError:
    key = caller.key
    assert key is not None
    if key.revoked_at is not None and now >= key.revoked_at:
        return _unauthorised("revoked_api_key", f"Key {key.name!r} was revoked at {written(key.revoked_at)}.")
    return _unauthorised("expired_api_key", f"Key {key.name!r} expired at {written(caller.valid_until)}.")


def _unauthorised(code: str, message: str) -> GatewayError:
    return GatewayError(401, message, code=code, headers=((b"www-authenticate", b"Bearer"),))
