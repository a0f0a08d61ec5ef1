"""API keys, for every storage backend."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from tests.contract.requests import MIDNIGHT, api_key

from tiny_dancer.errors import AccessError, OptionError
from tiny_dancer.storage import ModelBudget

if TYPE_CHECKING:
    from tiny_dancer.storage import Storage

FULL = api_key(
    "0123456789ab",
    name="Zoë's '); DROP TABLE api_key;--",
    created_at=MIDNIGHT + 0.5,
    expires_at=MIDNIGHT + 100,
    revoked_at=MIDNIGHT + 50,
    models=("small", "large, π"),
    requests_per_minute=60,
    tokens_per_minute=100_000,
    daily_budget=0.0,
    monthly_budget=12.5,
    cheaper_when_spent=True,
    max_budget=40.0,
    budget_duration="30d",
    soft_budget=30.5,
    model_max_budget=(ModelBudget("large, π", 2.5, "1mo"), ModelBudget("small", 0.0)),
    tier="gold",
    tags=("beta", "π"),
    operator=True,
    user="ada",
    team="research",
    project="π",
)


def test_keys_are_read_back_as_they_were_the_oldest_first(storage: Storage) -> None:
    assert storage.api_keys() == ()
    bare = api_key("b", "b", created_at=MIDNIGHT)
    storage.insert_api_key(FULL)
    storage.insert_api_key(bare)
    assert storage.api_keys() == (bare, FULL)
    assert storage.verify().api_keys == 2


def test_an_id_or_a_secret_is_stored_once(storage: Storage) -> None:
    storage.insert_api_key(FULL)
    with pytest.raises(AccessError, match=r"^id"):
        storage.insert_api_key(api_key(FULL.id, "b"))
    with pytest.raises(AccessError, match=r"^secret_hash"):
        storage.insert_api_key(api_key("other", "a"))
    assert storage.api_keys() == (FULL,)


def test_a_key_is_revoked_once(storage: Storage) -> None:
    key, other = api_key("a"), api_key("b", "b")
    storage.insert_api_key(key)
    storage.insert_api_key(other)
    assert storage.revoke_api_key("a", MIDNIGHT + 5)
    assert not storage.revoke_api_key("a", MIDNIGHT + 9)
    assert not storage.revoke_api_key("nobody's", MIDNIGHT)
    assert storage.api_keys() == (replace(key, revoked_at=MIDNIGHT + 5), other)
    with pytest.raises(OptionError, match="at"):
        storage.revoke_api_key("b", float("nan"))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"id": ""}, "id"),
        ({"id": "\ud800"}, "id"),
        ({"name": "nul\0"}, "name"),
        ({"name": None}, "name"),
        ({"secret_hash": "the secret itself"}, "secret_hash"),
        ({"secret_hash": "A" * 64}, "secret_hash"),
        ({"secret_hash": "a" * 63}, "secret_hash"),
        ({"created_at": "soon"}, "created_at"),
        ({"expires_at": -7e10}, "expires_at"),
        ({"revoked_at": float("nan")}, "revoked_at"),
        ({"models": "gpt"}, "models"),
        ({"models": ("",)}, r"models\[0\]"),
        ({"requests_per_minute": 0}, "requests_per_minute"),
        ({"tokens_per_minute": 1.5}, "tokens_per_minute"),
        ({"daily_budget": -0.01}, "daily_budget"),
        ({"monthly_budget": float("inf")}, "monthly_budget"),
        ({"cheaper_when_spent": 1}, "cheaper_when_spent"),
        ({"max_budget": -1.0}, "max_budget"),
        ({"soft_budget": True}, "soft_budget"),
        ({"budget_duration": "30d"}, "budget_duration"),
        ({"max_budget": 1.0, "budget_duration": "30"}, "budget_duration"),
        ({"max_budget": 1.0, "budget_duration": "0d"}, "budget_duration"),
        ({"max_budget": 1.0, "budget_duration": 30}, "budget_duration"),
        ({"tier": ""}, "tier"),
        ({"tier": 3}, "tier"),
        ({"tags": "beta"}, "tags"),
        ({"tags": ("",)}, r"tags\[0\]"),
        ({"operator": 1}, "operator"),
        ({"user": ""}, "user"),
        ({"team": "a\0"}, "team"),
        ({"project": 3}, "project"),
        ({"model_max_budget": {"m": 1.0}}, "model_max_budget"),
        ({"model_max_budget": (ModelBudget("", 1.0),)}, r"model_max_budget\[0\].model"),
        ({"model_max_budget": (ModelBudget("m", float("nan")),)}, r"model_max_budget\[0\].max_budget"),
        ({"model_max_budget": (ModelBudget("m", 1.0, "1y"),)}, r"model_max_budget\[0\].budget_duration"),
        ({"model_max_budget": (ModelBudget("m", 1.0), ModelBudget("m", 2.0))}, "model_max_budget"),
    ],
    ids=str,
)
def test_a_bad_key_cannot_be_made(change: dict[str, Any], named: str) -> None:
    with pytest.raises(AccessError, match=f"^{named}"):
        api_key(**{"id": "a", **change})


def test_a_refused_secret_is_not_shown() -> None:
    with pytest.raises(AccessError) as refused:
        api_key("a", secret_hash="td-secret")
    assert "td-secret" not in str(refused.value)
