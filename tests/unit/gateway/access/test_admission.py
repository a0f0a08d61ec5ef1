"""Who is let in, by keys in a real database, and for how much."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

import pytest

from tiny_dancer.errors import StorageError
from tiny_dancer.gateway.access import admission as access_module
from tiny_dancer.gateway.access.admission import Access
from tiny_dancer.gateway.access.caller import _duration
from tiny_dancer.gateway.access.keys import NewKey, make_key
from tiny_dancer.gateway.errors import GatewayError
from tiny_dancer.storage import MemoryStorage, SqliteStorage
from tiny_dancer.types import RequestRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC).timestamp()


class Clock:
    """Wall and monotonic time together; neither passes by itself."""

    def __init__(self, now: float = NOON) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now - NOON + 1000


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[SqliteStorage]:
    with SqliteStorage(tmp_path / "gateway.db", mirror=False) as opened:
        yield opened


@pytest.fixture
def clock() -> Clock:
    return Clock()


def opened(storage: SqliteStorage | MemoryStorage, clock: Clock, *keys: NewKey, required: bool = True) -> Access:
    for key in keys:
        storage.insert_api_key(key.key)
    found = Access(storage, required=required, clock=clock, monotonic=clock.monotonic)
    found.refresh()
    return found


def refused(call: Callable[[], object]) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        call()
    return caught.value


def header(error: GatewayError, name: str) -> str:
    return dict(error.headers)[name.encode()].decode()


def request(id: str, key: str, cost: float | None, time: float) -> RequestRecord:
    return RequestRecord(id=id, time=time, endpoint="embeddings", key=key, asked="m", status=200, cost=cost)


def test_a_key_lets_its_owner_in_whatever_the_type_of_the_header(storage: SqliteStorage, clock: Clock) -> None:
    ada, bob = make_key("ada", models=["cheap"], now=NOON), make_key("bob", now=NOON)
    access = opened(storage, clock, ada, bob)
    caller = access.admit(ada.secret)
    assert (caller.id, caller.name, caller.models) == (ada.key.id, "ada", frozenset({"cheap"}))
    assert caller.allows("cheap")
    assert not caller.allows("dear")
    assert access.admit(ada.secret.encode()) is caller
    assert access.admit(bob.secret).allows("anything")
    assert access.admit(bob.secret).models is None


def test_whoever_has_no_key_is_refused_and_reads_nothing_of_what_was_sent(
    storage: SqliteStorage, clock: Clock
) -> None:
    ada = make_key("ada", now=NOON)
    access = opened(storage, clock, ada)
    right = ada.secret
    wrong = "A" if right[-1] != "A" else "B"
    presented = {
        "": "invalid_api_key",
        "sk-proj-abcdefghijklmnop": "invalid_api_key",
        right[:-1] + wrong: "invalid_api_key",
        right[:-1]: "invalid_api_key",
        right + "=": "invalid_api_key",
        right.upper(): "invalid_api_key",
        ada.key.id: "invalid_api_key",
        ada.key.secret_hash: "invalid_api_key",
        "td-" + "é\udce9\0" * 15: "invalid_api_key",
    }
    for secret, code in presented.items():
        error = refused(partial(access.admit, secret))
        assert (error.status, error.code, error.type) == (401, code, "authentication_error")
        assert header(error, "www-authenticate") == "Bearer"
        if secret:
            assert secret not in error.message
    assert refused(lambda: access.admit(None)).code == "missing_api_key"
    assert refused(lambda: access.admit(b"\xff\xfe")).code == "invalid_api_key"


def test_without_required_keys_everybody_is_let_in_but_not_on_a_bad_key_of_ours(
    storage: SqliteStorage, clock: Clock
) -> None:
    ada, gone = make_key("ada", models=["cheap"], now=NOON), make_key("gone", now=NOON)
    access = opened(storage, clock, ada, gone, required=False)
    storage.revoke_api_key(gone.key.id, NOON)
    access.refresh()
    for secret in (None, "", "sk-whatever", b"ollama"):
        caller = access.admit(secret)
        assert (caller.id, caller.models, caller.soft_budget_spent) == ("", None, False)
        caller.charge(10**9, 1e9)
        assert caller.ratelimit_headers() == ()
    assert access.admit(ada.secret).id == ada.key.id
    assert refused(lambda: access.admit(gone.secret)).code == "revoked_api_key"
    assert refused(lambda: access.admit("td-unknown")).code == "invalid_api_key"


def test_a_key_ends_at_its_moment(storage: SqliteStorage, clock: Clock) -> None:
    ada = make_key("ada", expires_at=NOON + 60, now=NOON)
    access = opened(storage, clock, ada)
    clock.now += 59.9
    assert access.admit(ada.secret).name == "ada"
    clock.now = NOON + 60
    error = refused(lambda: access.admit(ada.secret))
    assert (error.status, error.code) == (401, "expired_api_key")
    assert "2026-11-21T12:01:00Z" in error.message


def test_changes_and_failures_of_storage_are_followed_while_serving(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process (here: another connection) makes and revokes keys; then the database is gone, and back."""
    monkeypatch.setattr(access_module, "REFRESH_S", 0.01)
    path = tmp_path / "gateway.db"
    ada, bob = make_key("ada"), make_key("bob")

    async def until(condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(30):
            while not condition():
                await asyncio.sleep(0.005)

    def serves(access: Access, key: NewKey) -> bool:
        try:
            return access.admit(key.secret).id == key.key.id
        except GatewayError:
            return False

    async def main() -> None:
        with SqliteStorage(path) as storage, SqliteStorage(path) as other:
            access = Access(storage, required=True)
            assert refused(lambda: access.admit(ada.secret)).status == 503, "not a word on keys nobody has read"
            running = asyncio.create_task(access.run())
            other.insert_api_key(ada.key)
            await until(lambda: serves(access, ada))
            in_flight = access.admit(ada.secret)
            other.insert_api_key(bob.key)
            other.revoke_api_key(ada.key.id, 1.7e9)
            await until(lambda: serves(access, bob) and not serves(access, ada))
            assert refused(lambda: access.admit(ada.secret)).code == "revoked_api_key"
            in_flight.charge(10, 0.1)

            def fail() -> None:
                raise StorageError("database", "locked", "wait")

            with monkeypatch.context() as patched:
                patched.setattr(storage, "api_keys", fail)
                await until(lambda: access.last_error is not None)
                assert "locked" in str(access.last_error)
                assert serves(access, bob), "the keys known stay in force"
            await until(lambda: access.last_error is None)
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running

    asyncio.run(main())


def test_requests_are_limited_and_said_how(storage: SqliteStorage, clock: Clock) -> None:
    ada, bob = make_key("ada", requests_per_minute=3, now=NOON), make_key("bob", now=NOON)
    access = opened(storage, clock, ada, bob)
    for left in (2, 1, 0):
        headers = dict(access.admit(ada.secret).ratelimit_headers())
        assert headers[b"x-ratelimit-limit-requests"] == b"3"
        assert headers[b"x-ratelimit-remaining-requests"] == b"%d" % left
    assert headers[b"x-ratelimit-reset-requests"] == b"1m0s"
    error = refused(lambda: access.admit(ada.secret))
    assert (error.status, error.code, error.type) == (429, "rate_limit_exceeded", "rate_limit_error")
    assert header(error, "retry-after") == "20"
    assert header(error, "retry-after-ms") == "20000"
    assert header(error, "x-ratelimit-remaining-requests") == "0"
    assert "3 requests a minute" in error.message
    access.admit(bob.secret)
    clock.now += float(header(error, "retry-after"))
    access.refresh()
    access.admit(ada.secret)
    assert refused(lambda: access.admit(ada.secret)).status == 429, "neither waiting nor a refresh refills it"


def test_tokens_are_charged_afterwards_and_their_refusals_cost_no_request(
    storage: SqliteStorage, clock: Clock
) -> None:
    ada = make_key("ada", requests_per_minute=2, tokens_per_minute=1000, now=NOON)
    access = opened(storage, clock, ada)
    access.admit(ada.secret).charge(3000, None)
    for _ in range(5):
        error = refused(lambda: access.admit(ada.secret))
        assert "1,000 tokens a minute" in error.message
    # 2,000 in debt, and one is needed.
    assert header(error, "retry-after") == "121"
    assert header(error, "x-ratelimit-remaining-tokens") == "0"
    assert header(error, "x-ratelimit-reset-tokens") == "3m0s"
    assert header(error, "x-ratelimit-remaining-requests") == "1"
    clock.now += 121
    access.admit(ada.secret)


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.0, "0ms"), (0.1201, "121ms"), (6.15, "6.2s"), (12.0, "12s"), (60.5, "1m1s")]
)
def test_durations_are_written_as_openai_does(seconds: float, words: str) -> None:
    assert _duration(seconds) == words.encode()


def test_a_hard_budget_refuses_until_the_day_or_the_month_is_over(storage: SqliteStorage, clock: Clock) -> None:
    ada = make_key("ada", daily_budget=1.0, monthly_budget=1.5, now=NOON)
    access = opened(storage, clock, ada)
    caller = access.admit(ada.secret)
    caller.charge(10, 0.99)
    assert access.admit(ada.secret) is caller, "not spent yet"
    caller.charge(10, 0.05)
    error = refused(lambda: access.admit(ada.secret))
    assert (error.status, error.code, error.type) == (429, "budget_exceeded", "budget_exceeded")
    assert "daily budget" in error.message
    assert "1.04 of 1 USD" in error.message
    assert "2026-11-22T00:00:00Z" in error.message
    assert header(error, "retry-after") == str(12 * 3600)
    assert header(error, "x-should-retry") == "false"
    # A new day, before anything was read again.
    clock.now = NOON + 12 * 3600
    access.admit(ada.secret).charge(10, 0.5)
    error = refused(lambda: access.admit(ada.secret))
    assert "monthly budget" in error.message
    assert "2026-12-01T00:00:00Z" in error.message
    # What storage says agrees, and is not added to what was charged.
    storage.record_requests([request("1", ada.key.id, 1.04, NOON), request("2", ada.key.id, 0.5, clock.now)])
    clock.now += 60
    access.refresh()
    error = refused(lambda: access.admit(ada.secret))
    assert "1.54 of 1.5 USD" in error.message
    clock.now = datetime(2026, 12, 1, tzinfo=UTC).timestamp()
    assert access.admit(ada.secret) is caller
    access.refresh()
    assert access.admit(ada.secret) is caller


def test_a_soft_budget_leaves_the_cheaper_models(storage: SqliteStorage, clock: Clock) -> None:
    ada = make_key("ada", monthly_budget=2.0, cheaper_when_spent=True, now=NOON)
    access = opened(storage, clock, ada)
    assert not access.admit(ada.secret).soft_budget_spent
    storage.record_requests([request("1", ada.key.id, 2.0, NOON - 86_400 * 20)])
    access.refresh()
    assert access.admit(ada.secret).soft_budget_spent
    clock.now += 86_400 * 10
    assert not access.admit(ada.secret).soft_budget_spent, "December"


def test_a_reading_begun_before_midnight_does_not_spend_the_new_day(storage: SqliteStorage, clock: Clock) -> None:
    ada = make_key("ada", daily_budget=1.0, now=NOON)
    access = opened(storage, clock, ada)
    storage.record_requests([request("1", ada.key.id, 5.0, NOON)])
    reading = access._read()
    clock.now = NOON + 12 * 3600
    access.admit(ada.secret)
    access._install(reading)
    access.admit(ada.secret)


def test_half_a_digest_finds_a_key_and_opens_nothing(clock: Clock) -> None:
    ada = make_key("ada", now=NOON)
    near = replace(ada.key, secret_hash=ada.key.secret_hash[:32] + "0" * 32)
    access = opened(MemoryStorage(), clock, NewKey(near, ada.secret))
    assert refused(lambda: access.admit(ada.secret)).code == "invalid_api_key"
