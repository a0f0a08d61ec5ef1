"""What storage keeps for a gateway beside its requests (:class:`tiny_dancer.types.RequestRecord`): keys, and sums.

Times are UTC seconds since 1970, money is USD.
"""

from __future__ import annotations

import string
from dataclasses import dataclass
from typing import Literal

from tiny_dancer.errors import AccessError
from tiny_dancer.storage.check import amount, integer, stored_text, utc_seconds

SummaryBy = Literal["day", "model", "key", "route", "all"]

_HEXADECIMAL = frozenset(string.hexdigits.lower())


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A client's key, checked when it is made. The secret itself is never kept.

    Its SHA-256 is: a slow hash protects what people think up, and cannot be afforded on every request; a secret of
    128 random bits or more, as these are, cannot be found by trying whatever the hash.

    Attributes:
        id: short and public: names it in logs, accounts and commands.
        name: what its owner calls it.
        secret_hash: SHA-256 of the secret, 64 lower-case hexadecimal digits.
        created_at: UTC seconds.
        expires_at: not valid from then on; None: never expires.
        revoked_at: not valid from then on; None: never revoked.
        models: it may use, by the names of the configuration; empty: all.
        requests_per_minute: most it may send, or None.
        tokens_per_minute: most it may use, prompt and answer, or None.
        daily_budget: USD a UTC day, or None.
        monthly_budget: USD a UTC month, or None.
        soft_budget: a spent budget leaves it the cheaper models, instead of refusing.

    Raises:
        AccessError: a field is not what it should be.
    """

    id: str
    name: str
    secret_hash: str
    created_at: float
    expires_at: float | None = None
    revoked_at: float | None = None
    models: tuple[str, ...] = ()
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    daily_budget: float | None = None
    monthly_budget: float | None = None
    soft_budget: bool = False

    def __post_init__(self) -> None:
        stored_text("id", self.id, error=AccessError)
        stored_text("name", self.name, error=AccessError)
        digits = self.secret_hash
        if not isinstance(digits, str) or len(digits) != 64 or not _HEXADECIMAL.issuperset(digits):
            # Not shown: it may be the secret itself.
            raise AccessError("secret_hash", "no SHA-256", "give its 64 lower-case hexadecimal digits")
        utc_seconds("created_at", self.created_at, error=AccessError)
        for field in ("expires_at", "revoked_at"):
            if (value := getattr(self, field)) is not None:
                utc_seconds(field, value, error=AccessError)
        if not isinstance(self.models, tuple):
            raise AccessError("models", self.models, "give a tuple of names; empty for all models")
        for place, model in enumerate(self.models):
            stored_text(f"models[{place}]", model, error=AccessError)
        for field in ("requests_per_minute", "tokens_per_minute"):
            if (value := getattr(self, field)) is not None:
                integer(field, value, error=AccessError)
                if not value:
                    raise AccessError(field, value, "give 1 or more; revoke a key that may send nothing")
        for field in ("daily_budget", "monthly_budget"):
            if (value := getattr(self, field)) is not None:
                amount(field, value, error=AccessError)
        if not isinstance(self.soft_budget, bool):
            raise AccessError("soft_budget", self.soft_budget, "give true or false")


@dataclass(frozen=True, slots=True)
class Spend:
    """What one key has used in a span of time.

    Attributes:
        cost: USD of the requests that have a price.
        tokens: of prompts and answers.
        requests: sent, failed ones too.
    """

    cost: float
    tokens: int
    requests: int


@dataclass(frozen=True, slots=True)
class RequestSummary:
    """Sums over the requests of one day, model, key or route, or over all.

    Spend and baseline can only be compared over the same requests: ``cost`` and ``baseline_cost`` are both over
    those that have both, which ``compared`` counts.

    Attributes:
        group: the UTC day (``2026-11-21``), the model that served, the key's id, or ``router/routed_by``; empty
            where no model served, no key was used, and for all.
        requests: all of them.
        errors: those of status 400 or above.
        input_tokens: of prompts, those cached included.
        output_tokens: of answers.
        cached_tokens: of prompts, read from an upstream's cache.
        cost: USD spent on the requests compared.
        baseline_cost: USD the strongest model would have cost for the same requests.
        compared: requests with a cost and a baseline.
        other_cost: USD spent on requests that have a cost and no baseline.
        unpriced: requests a model served that have no cost, or no baseline.
        latency: mean seconds from arrival to the last byte.
        ttft: mean seconds to the first byte, over the requests that have it; None where none has.
        feedback: requests there is feedback about, as a whole: under the id of their decision, or under their own
            where nothing was routed.
        score: its mean, or None without feedback.
    """

    group: str
    requests: int
    errors: int
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    cost: float
    baseline_cost: float
    compared: int
    other_cost: float
    unpriced: int
    latency: float
    ttft: float | None
    feedback: int
    score: float | None

    @property
    def saved(self) -> float:
        """USD less than the strongest model would have cost; below 0 where routing cost more."""
        return self.baseline_cost - self.cost

    @property
    def saved_share(self) -> float | None:
        """:attr:`saved` as a share of the baseline; None where that is 0."""
        return self.saved / self.baseline_cost if self.baseline_cost else None
