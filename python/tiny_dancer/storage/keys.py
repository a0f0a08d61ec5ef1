"""Keys of a gateway's clients, what each has used, and what storage does with them.

Times are UTC seconds since 1970, money is USD.
"""

from __future__ import annotations

import dataclasses
import string
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from tiny_dancer.errors import AccessError
from tiny_dancer.storage.periods import check_duration
from tiny_dancer.storage.values import amount, flag, given, integer, plain, settle, stored_text, utc_seconds

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tiny_dancer.errors import TinyDancerError

_HEXADECIMAL = frozenset(string.hexdigits.lower())


@dataclass(frozen=True, slots=True)
class ModelBudget:
    """What a key may spend on one model.

    Attributes:
        model: by its name in the configuration.
        max_budget: USD.
        budget_duration: after which it starts anew, see :mod:`tiny_dancer.storage.periods`; None: never.
    """

    model: str
    max_budget: float
    budget_duration: str | None = None


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
        requests_per_minute: most it may send, or None (LiteLLM's ``rpm_limit``).
        tokens_per_minute: most it may use, prompt and answer, or None (LiteLLM's ``tpm_limit``).
        daily_budget: USD a UTC day, or None.
        monthly_budget: USD a UTC month, or None.
        cheaper_when_spent: a spent budget leaves it the cheaper models, instead of refusing.
        max_budget: USD in a period of ``budget_duration``, or None.
        budget_duration: how long such a period is, see :mod:`tiny_dancer.storage.periods`; None: for ever.
        soft_budget: USD in such a period from which on a warning is due, or None.
        model_max_budget: what it may spend on single models, beside the budgets of the key.
        tier: of its owner, such as ``free``: what routes and chains may depend on.
        tags: of its owner, likewise.
        operator: whether it may see, claim and answer what waits for a person, and sees the dashboard.
        user: whose it is; their budgets are charged with what it spends.
        team: likewise.
        project: likewise.

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
    cheaper_when_spent: bool = False
    max_budget: float | None = None
    budget_duration: str | None = None
    soft_budget: float | None = None
    model_max_budget: tuple[ModelBudget, ...] = ()
    tier: str | None = None
    tags: tuple[str, ...] = ()
    operator: bool = False
    user: str | None = None
    team: str | None = None
    project: str | None = None

    def __post_init__(self) -> None:
        settle(self, "id", stored_text("id", self.id, error=AccessError))
        settle(self, "name", stored_text("name", self.name, error=AccessError))
        digits = plain(self.secret_hash)
        if not isinstance(digits, str) or len(digits) != 64 or not _HEXADECIMAL.issuperset(digits):
            # Not shown: it may be the secret itself.
            raise AccessError("secret_hash", "no SHA-256", "give its 64 lower-case hexadecimal digits")
        settle(self, "secret_hash", digits)
        settle(self, "created_at", utc_seconds("created_at", self.created_at, error=AccessError))
        for field in ("expires_at", "revoked_at"):
            settle(self, field, given(utc_seconds, field, getattr(self, field), error=AccessError))
        if not isinstance(self.models, tuple):
            raise AccessError("models", self.models, "give a tuple of names; empty for all models")
        if not isinstance(self.tags, tuple):
            raise AccessError("tags", self.tags, "give a tuple of words")
        for field, named in (("models", self.models), ("tags", self.tags)):
            texts = [stored_text(f"{field}[{at}]", each, error=AccessError) for at, each in enumerate(named)]
            settle(self, field, tuple(texts))
        for field in ("tier", "user", "team", "project"):
            settle(self, field, given(stored_text, field, getattr(self, field), error=AccessError))
        settle(self, "operator", flag("operator", self.operator, error=AccessError))
        for field in ("requests_per_minute", "tokens_per_minute"):
            most = given(integer, field, getattr(self, field), error=AccessError)
            if most == 0:
                raise AccessError(field, most, "give 1 or more; revoke a key that may send nothing")
            settle(self, field, most)
        for field in ("daily_budget", "monthly_budget", "max_budget", "soft_budget"):
            settle(self, field, given(amount, field, getattr(self, field), error=AccessError))
        settle(self, "cheaper_when_spent", flag("cheaper_when_spent", self.cheaper_when_spent, error=AccessError))
        settle(
            self, "budget_duration", given(_duration, "budget_duration", self.budget_duration, error=AccessError)
        )
        if self.budget_duration is not None and self.max_budget is None and self.soft_budget is None:
            remedy = "give max_budget or soft_budget as well"
            raise AccessError("budget_duration", self.budget_duration, remedy)
        if not isinstance(self.model_max_budget, tuple):
            raise AccessError("model_max_budget", type(self.model_max_budget).__name__, "give a tuple of budgets")
        budgets = [_budget(f"model_max_budget[{place}]", each) for place, each in enumerate(self.model_max_budget)]
        settle(self, "model_max_budget", tuple(budgets))
        limited = [budget.model for budget in budgets]
        if len(set(limited)) != len(limited):
            raise AccessError("model_max_budget", ", ".join(limited), "give one budget a model")


def _budget(where: str, budget: object) -> ModelBudget:
    if not isinstance(budget, ModelBudget):
        raise AccessError(where, type(budget).__name__, "give a ModelBudget(model, max_budget, ...)")
    return ModelBudget(
        stored_text(f"{where}.model", budget.model, error=AccessError),
        amount(f"{where}.max_budget", budget.max_budget, error=AccessError),
        given(_duration, f"{where}.budget_duration", budget.budget_duration, error=AccessError),
    )


def _duration(field: str, value: object, *, error: type[TinyDancerError]) -> str:
    text = stored_text(field, value, empty=True, error=error)
    check_duration(field, text)
    return text


@dataclass(frozen=True, slots=True)
class Spend:
    """What one key has used in a span of time.

    Attributes:
        cost: USD of the requests that have a price.
        tokens: of prompts and answers.
        requests: sent, failed ones too.
        models: USD by model, of those that cost something; under an empty name what was spent before models were
            told apart, or on none.
    """

    cost: float
    tokens: int
    requests: int
    models: Mapping[str, float] = dataclasses.field(default_factory=dict, compare=False)


class KeyStorage(Protocol):
    """Keeps API keys, and knows what each has used. Safe to use from many threads.

    A write is durable when it returns: it survives the end of the process, and in a file also a loss of power.

    Every method raises :class:`~tiny_dancer.errors.StorageError` where the database cannot be read or written.
    """

    def insert_api_key(self, key: ApiKey) -> None:
        """Adds a key of the gateway.

        Raises:
            AccessError: its id or its secret is stored already.
        """
        ...

    def api_keys(self) -> tuple[ApiKey, ...]:
        """All keys, ended ones too, the oldest first."""
        ...

    def revoke_api_key(self, id: str, at: float) -> bool:
        """Ends a key at ``at``, UTC seconds; false where there is none, or it was revoked before (that stays)."""
        ...

    def spend(self, *, since: float, until: float | None = None) -> Mapping[str, Spend]:
        """What each key (by id; empty without one) has used with ``since <= time < until``.

        Fast where both are starts of UTC days. Whole days stay right when :meth:`apply_retention` removes their
        requests.
        """
        ...
