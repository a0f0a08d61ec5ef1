"""Conversations: what is remembered of whom, and who is unhappy. What a cache is worth, the engine's tests say."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from tests.gateway_upstream import Behaviour, Upstream
from tests.unit.gateway.gateways import CHEAP, DEAR, HARD, InProcess, configured, model, serving

from tiny_dancer.gateway.choosing.sessions import Cached, SessionTable, key_of, unhappy
from tiny_dancer.gateway.configuration import settings as config
from tiny_dancer.routing.requests import as_engine, conversation

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@given(st.lists(st.tuples(st.integers(0, 12), st.sampled_from("ab")), max_size=60), st.integers(1, 6))
def test_the_least_recently_used_is_forgotten(turns: list[tuple[int, str]], remembered: int) -> None:
    table = SessionTable(config.Sessions(remembered=remembered))
    expected: dict[int, dict[str, Cached]] = {}
    for now, (key, name) in enumerate(turns):
        table.answered(key, name, 10 * now, "said", float(now))
        caches = expected.pop(key, {})
        expected[key] = {**caches, name: Cached(10 * now, float(now))}
        while len(expected) > remembered:
            del expected[next(iter(expected))]
        assert len(table) == len(expected)
        last = table.find(key)
        assert last is not None
        assert last.model == name
    for key in range(13):
        found = table.find(key)
        assert (None if found is None else found.caches) == expected.get(key)


def test_texts_are_not_kept() -> None:
    table = SessionTable(config.Sessions())
    long = "word " * 100_000
    key = key_of("", long, None, b"")
    table.answered(key, "small", 5, long, 0.0)
    found = table.find(key)
    assert found is not None
    assert len(repr(found)) + len(repr(key)) < 1000
    asked = SessionTable(config.Sessions(escalate=True))
    asked.answered(key, "small", 5, long, 0.0)
    found = asked.find(key)
    assert found is not None
    assert 0 < len(found.said) < 100
    assert unhappy(long.upper(), found.said)


TEXT = st.text(max_size=10)
MESSAGE = st.fixed_dictionaries(
    {"role": st.sampled_from(["system", "user", "assistant"]), "content": st.one_of(TEXT, st.none())}
)


def begun(messages: list[dict[str, Any]]) -> str | bytes:
    return conversation(as_engine(messages), None).begun


@given(TEXT, TEXT, st.one_of(st.none(), TEXT), st.binary(max_size=9))
def test_keys_never_share_a_conversation(one: str, other: str, named: str | None, begun: bytes) -> None:
    assume(one != other)
    assert key_of(one, named, None, begun) != key_of(other, named, None, begun)


@given(st.lists(MESSAGE, max_size=3), TEXT, st.lists(MESSAGE, max_size=4), st.lists(MESSAGE, max_size=4))
def test_a_conversation_is_known_by_how_it_began(
    before: list[dict[str, Any]], said: str, one: list[dict[str, Any]], other: list[dict[str, Any]]
) -> None:
    first = [*before, {"role": "user", "content": said + "."}]
    start = begun([*first, *one])
    assert start == begun([*first, *other])
    changed = begun([*first[:-1], {"role": "user", "content": said + "?"}])
    if not any(each["role"] == "user" for each in before):
        assert key_of("k", None, None, start) != key_of("k", None, None, changed)
    assert key_of("k", None, b"S", start) != key_of("k", None, None, start), "instructions are how one began"
    assert key_of("k", "named", None, start) == key_of("k", "named", None, changed)
    assert key_of("k", "named", None, start) != key_of("k", "other", None, start)
    assert key_of("k", said, None, start) != key_of("k", None, None, start), "a name is not how one began"


@pytest.mark.parametrize(
    ("said", "before", "expected"),
    [
        ("What is it?", "What is it?", True),
        ("what  IS it?", "What is it?", True),
        ("What is that?", "What is it?", False),
        ("What is it?", "", False),
        ("That's wrong.", "What is it?", True),
        ("It still fails", "What is it?", True),
        ("You missed the point", "What is it?", True),
        ("Thank you, and what is the capital of Peru?", "What is it?", False),
        ("wrong " * 100, "What is it?", False),
    ],
)
def test_who_repeats_or_complains_is_unhappy(said: str, before: str, expected: bool) -> None:
    table = SessionTable(config.Sessions(escalate=True))
    table.answered("k", "small", 1, before, 0.0)
    found = table.find("k")
    assert found is not None
    assert unhappy(said, found.said if before else "") == expected


# Through the whole gateway.

MANUAL = "You know the manual. " + "The pump has seven valves. " * 300
# A cheap model that reads slowly: the dear one with its prefix cached costs less.
SLOW = {**CHEAP, "input_cost_per_token": 8e-6, "expected_output_tokens": 1}
FAST = {**DEAR, "expected_output_tokens": 1}


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with Upstream() as running:
        yield running


def talk(turns: int) -> list[dict[str, str]]:
    said = [{"role": "system", "content": MANUAL}]
    for turn in range(turns):
        said += [{"role": "user", "content": f"{HARD} ({turn})"}, {"role": "assistant", "content": "The first."}]
    return said[:-1]


async def served_by(gateway: InProcess, turns: int, threshold: float, **td: Any) -> str:
    body = {"model": "auto", "messages": talk(turns), "td": {"threshold": threshold, **td}}
    answer = await gateway.ask("POST", "/v1/chat/completions", body)
    assert answer.status == 200, answer.body
    return answer.headers["x-td-model"]


def sticky(upstream: Upstream, settings: dict[str, Any], **fast: Any) -> config.GatewayConfig:
    upstream.forget()
    upstream.usual = Behaviour(input_tokens=2000, cached_tokens=1900)
    models = {"small": model(**SLOW), "large": model(**{**FAST, **fast})}
    return configured(upstream.url, models=models, sessions=settings)


@pytest.mark.parametrize(
    ("settings", "fast", "expected"),
    [
        ({}, {}, "large"),
        ({"sticky": False}, {}, "small"),
        ({"cache_seconds": 1e-9}, {}, "small"),
        ({}, {"cache_read_input_token_cost": None}, "small"),
        ({}, {"cache_read_input_token_cost": 9.9e-6}, "small"),
    ],
)
@pytest.mark.parametrize("name", [None, "mine"])
def test_a_conversation_stays_while_leaving_costs_more(
    upstream: Upstream,
    tmp_path: Path,
    settings: dict[str, Any],
    fast: dict[str, Any],
    expected: str,
    name: str | None,
) -> None:
    td = {} if name is None else {"session": name}

    async def run() -> None:
        async with serving(sticky(upstream, settings, **fast), tmp_path) as gateway:
            assert await served_by(gateway, 1, -1.0, **td) == "large"
            # A gain that would not be worth the dearer model anew.
            assert await served_by(gateway, 2, 0.3, **td) == expected
            kept = gateway.records()[-1]
            assert (kept.routed_by, kept.reason) == (
                ("session", "prompt_cached") if expected == "large" else ("override", "gain_too_small")
            )
            assert kept.decision_id

    asyncio.run(run())


def test_another_conversation_is_not_held(upstream: Upstream, tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(sticky(upstream, {}), tmp_path) as gateway:
            assert await served_by(gateway, 1, -1.0, session="mine") == "large"
            assert await served_by(gateway, 2, 0.3, session="yours") == "small"
            assert await served_by(gateway, 2, 0.3) == "small"
            assert await served_by(gateway, 2, 0.3, session="mine") == "large"
            # What the user asks for outright wins.
            assert await served_by(gateway, 3, 0.3, session="mine", pin="small") == "small"
            assert await served_by(gateway, 3, 0.3, session="mine", exclude=["large"]) == "small"

    asyncio.run(run())


@pytest.mark.parametrize("escalate", [False, True])
@pytest.mark.parametrize("again", [HARD, HARD.upper(), "No, that's wrong."])
def test_unhappy_users_get_the_strongest_only_where_configured(
    upstream: Upstream, tmp_path: Path, escalate: bool, again: str
) -> None:
    upstream.forget()

    async def run() -> None:
        settings = configured(upstream.url, sessions={"escalate": escalate, "sticky": False})
        async with serving(settings, tmp_path) as gateway:
            td = {"threshold": 1.0, "session": "mine"}
            assert (await gateway.chat(HARD, td=td)).headers["x-td-model"] == "small"
            answer = await gateway.chat(again, td=td)
            assert answer.headers["x-td-model"] == ("large" if escalate else "small")
            assert answer.headers["x-td-reason"] == ("escalated" if escalate else "gain_too_small")
            assert (await gateway.chat("Thanks. And the capital?", td=td)).headers["x-td-model"] == "small"

    asyncio.run(run())
