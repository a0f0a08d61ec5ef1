"""Making and finding API keys; :mod:`tiny_dancer.gateway.access.admission` is what lets requests in.

A secret is ``td-`` and 43 characters that stand for 256 random bits. Only its SHA-256 is stored. A slow, salted
hash guards what people think up; 256 random bits cannot be found by trying, whatever the hash, and every request
would pay for it.
"""

from __future__ import annotations

import hashlib
import math
import secrets
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from tiny_dancer.errors import AccessError
from tiny_dancer.storage import ApiKey, ModelBudget
from tiny_dancer.storage.periods import check_duration

if TYPE_CHECKING:
    from collections.abc import Iterable

PREFIX = "td-"
_UNITS = {"h": 3600.0, "d": 86_400.0, "w": 604_800.0}


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key and its secret, which exists nowhere else.

    Attributes:
        key: what is stored.
        secret: what the client presents.
    """

    key: ApiKey
    secret: str = field(repr=False)


def make_key(
    name: str,
    *,
    expires_at: float | None = None,
    models: Iterable[str] = (),
    requests_per_minute: int | None = None,
    tokens_per_minute: int | None = None,
    daily_budget: float | None = None,
    monthly_budget: float | None = None,
    cheaper_when_spent: bool = False,
    max_budget: float | None = None,
    budget_duration: str | None = None,
    soft_budget: float | None = None,
    model_max_budget: Iterable[ModelBudget] = (),
    tier: str | None = None,
    tags: Iterable[str] = (),
    operator: bool = False,
    user: str | None = None,
    team: str | None = None,
    project: str | None = None,
    now: float | None = None,
) -> NewKey:
    """A new key; storing it is the caller's.

    Args:
        name: what its owner calls it.
        expires_at: UTC seconds; None: never.
        models: it may use, by the names of the configuration; empty: all.
        requests_per_minute: most it may send.
        tokens_per_minute: most it may use, prompt and answer.
        daily_budget: USD a UTC day.
        monthly_budget: USD a UTC month.
        cheaper_when_spent: a spent budget leaves it the cheaper models, instead of refusing.
        max_budget: USD in a period of ``budget_duration``.
        budget_duration: ``30m``, ``12h``, ``30d``, ``1mo``; None: for ever.
        soft_budget: USD in such a period from which on a warning is due.
        model_max_budget: what it may spend on single models.
        tier: of its owner.
        tags: of its owner.
        operator: whether it may see, claim and answer what waits for a person, and sees the dashboard.
        user: whose it is.
        team: likewise.
        project: likewise.
        now: UTC seconds; the present by default.

    Raises:
        AccessError: a field is not what it should be, it expires in the past, or there is no budget that could
            be spent.
    """
    now = time.time() if now is None else now
    if not name.strip() or not name.isprintable():
        raise AccessError("name", repr(name), "give a name in printable characters")
    if expires_at is not None and expires_at <= now:
        raise AccessError("expires", written(max(expires_at, 0.0)), "give a time to come")
    if cheaper_when_spent and daily_budget is None and monthly_budget is None and max_budget is None:
        raise AccessError("cheaper_when_spent", "without a budget", "give max_budget, or a daily or monthly one")
    secret = PREFIX + secrets.token_urlsafe(32)
    key = ApiKey(
        id=secrets.token_hex(6),
        name=name,
        secret_hash=hashlib.sha256(secret.encode()).hexdigest(),
        created_at=now,
        expires_at=expires_at,
        models=tuple(dict.fromkeys(models)),
        requests_per_minute=requests_per_minute,
        tokens_per_minute=tokens_per_minute,
        daily_budget=daily_budget,
        monthly_budget=monthly_budget,
        cheaper_when_spent=cheaper_when_spent,
        max_budget=max_budget,
        budget_duration=budget_duration,
        soft_budget=soft_budget,
        model_max_budget=tuple(model_max_budget),
        tier=tier,
        tags=tuple(dict.fromkeys(tags)),
        operator=operator,
        user=user,
        team=team,
        project=project,
    )
    return NewKey(key, secret)


def find_key(keys: Iterable[ApiKey], wanted: str) -> ApiKey:
    """The key of this id; else the only one of this name that still serves, or the only one at all.

    Raises:
        AccessError: there is none, or the name stands for several: the message lists their ids.
    """
    listed = tuple(keys)
    for key in listed:
        if key.id == wanted:
            return key
    named = [key for key in listed if key.name == wanted]
    found = [key for key in named if key.revoked_at is None] or named
    if not found:
        raise AccessError("key", wanted, "give an id or a name that `tiny-dancer keys list` shows")
    if len(found) > 1:
        raise AccessError(
            "key", f"{wanted} names {len(found)} keys", f"give an id: {', '.join(k.id for k in found)}"
        )
    return found[0]


def model_budget(text: str) -> ModelBudget:
    """The budget of a model, written as ``gpt-4o=5`` or ``gpt-4o=5/30d``.

    Raises:
        AccessError: it is none.
    """
    model, _, amount = text.rpartition("=")
    usd, slash, duration = amount.partition("/")
    try:
        most = float(usd)
    except ValueError:
        raise AccessError(
            "model_max_budget", text, "give MODEL=USD, or MODEL=USD/DURATION as in gpt-4o=5/30d"
        ) from None
    if slash:
        check_duration("model_max_budget", duration)
    return ModelBudget(model, most, duration if slash else None)


def state_of(key: ApiKey, now: float) -> str:
    """``active``, ``expired`` or ``revoked`` at ``now``, UTC seconds."""
    if key.revoked_at is not None and key.revoked_at <= now:
        return "revoked"
    return "expired" if key.expires_at is not None and key.expires_at <= now else "active"


def expiry(text: str, now: float, *, field: str = "expires") -> float:
    """UTC seconds of ``30d``, ``12h`` or ``2w`` from ``now``, or of an ISO date or time.

    A date is its first moment; without a zone, UTC is meant.

    Raises:
        AccessError: it is neither.
    """
    seconds = _UNITS.get(text[-1:].lower())
    try:
        if seconds is not None:
            length = float(text[:-1])
            if math.isfinite(length) and length > 0:
                return now + length * seconds
        else:
            moment = datetime.fromisoformat(text)
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except ValueError:
        pass
    raise AccessError(field, text, "give a span such as 30d or 12h, or a date such as 2027-01-31")


def written(seconds: float) -> str:
    """UTC seconds as ``2026-11-22T00:00:00Z``."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
