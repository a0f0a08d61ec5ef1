"""Conversations: the price of leaving a prompt cache, what is remembered of whom, and who is unhappy."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from tests.gateway_upstream import Behaviour, Upstream
from tests.unit.gateway.gateways import CHEAP, DEAR, HARD, InProcess, configured, model, serving

from tiny_dancer.gateway.choosing.sessions import (
    Cached,
    SessionTable,
    key_of,
    quality_per_dollar,
    unhappy,
    worth_staying,
)
from tiny_dancer.gateway.configuration import settings as config
from tiny_dancer.gateway.upstream.deployments import ServedModel
from tiny_dancer.types import Decision

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PRICE = st.floats(1e-9, 1e-3)
QUALITY = st.floats(0.0, 1.0)
TOKENS = st.integers(0, 100_000)
WEIGHT = st.floats(0.0, 1e6)


def decided(stay: tuple[float, float | None], leave: tuple[float, float | None]) -> Decision:
    """A decision for ``leave``, from (quality, cost) of both."""
    scores = {"stay": stay[0], "leave": leave[0]}
    costs = {"stay": stay[1], "leave": leave[1]}
    known = {name: cost for name, cost in costs.items() if cost is not None}
    return Decision(
        id="d",
        model="leave",
        scores=scores,
        costs=known,
        quality=leave[0],
        cost=leave[1],
        confidence=1.0,
        prediction_set=("stay", "leave"),
        reason="gain_too_small",
        routed_by="learned",
        guarantee=None,
        guarantee_note="",
        artifact_version="1",
        elapsed_us=1.0,
    )


def served(name: str, **prices: float | None) -> ServedModel:
    return ServedModel(name, config.Model(deployments=[config.Deployment(upstream="here")], **prices), [])


class Case:
    """Two models with prices, a prompt, and what the engine expects of both."""

    def __init__(self, draw: Any) -> None:
        self.tokens = draw(TOKENS)
        self.models, self.costs, self.discounts = {}, {}, {}
        for name in ("stay", "leave"):
            prompt, written, each = draw(PRICE), draw(st.floats(0, 1e-3)), draw(st.floats(0, 1e-2))
            cached, expected = draw(st.floats(0, 1)) * prompt, draw(st.floats(1, 1000))
            self.models[name] = served(
                name,
                input_cost_per_token=prompt,
                output_cost_per_token=written,
                cost_per_request=each,
                cache_read_input_token_cost=cached,
                expected_output_tokens=expected,
            )
            self.costs[name] = each + prompt * self.tokens + written * expected
            self.discounts[name] = prompt - cached
        self.decision = decided((draw(QUALITY), self.costs["stay"]), (draw(QUALITY), self.costs["leave"]))
        self.weight = draw(WEIGHT)

    def stays(self, tokens: int, left: int | None = None, weight: float | None = None) -> bool:
        return worth_staying(
            self.decision,
            self.models["stay"],
            self.models["leave"],
            Cached(tokens, 0.0),
            self.weight if weight is None else weight,
            None if left is None else Cached(left, 0.0),
        )


@given(st.data(), TOKENS, st.one_of(st.none(), TOKENS))
def test_the_price_of_leaving_stands_in_the_choice(data: st.DataObject, tokens: int, left: int | None) -> None:
    """Staying iff q_s - λ(c_s - saved_s) >= q_l - λ(c_l - saved_l)."""
    case = Case(data.draw)
    saved = min(tokens, case.tokens) * case.discounts["stay"]
    assume(case.discounts["stay"] > 0)
    saved_there = min(left or 0, case.tokens) * case.discounts["leave"]
    qualities, costs = case.decision.scores, case.costs
    gain = qualities["stay"] - qualities["leave"]
    price = case.weight * ((costs["stay"] - saved) - (costs["leave"] - saved_there))
    assume(abs(gain - price) > 1e-9 * max(1.0, case.weight))
    assert case.stays(tokens, left) == (gain > price)


@given(st.data(), TOKENS, TOKENS)
def test_a_longer_prefix_never_makes_leaving_likelier(data: st.DataObject, one: int, other: int) -> None:
    case = Case(data.draw)
    assert case.stays(max(one, other)) or not case.stays(min(one, other))
    assert case.stays(one, min(one, other)) or not case.stays(one, max(one, other)), "nor one there staying"


@given(st.data(), st.integers(0, 10**9))
def test_no_more_is_cached_than_the_prompt_has(data: st.DataObject, more: int) -> None:
    """A prefix beyond the prompt saves what the prompt costs, and none of what the answer costs."""
    case = Case(data.draw)
    assume(case.tokens > 0)
    assume(case.discounts["stay"] * case.tokens > 1e-9)
    # Beside the boundary, where the last bit of a float decides.
    ways = {case.stays(case.tokens + 1 + more, weight=case.weight * each) for each in (1 - 1e-6, 1, 1 + 1e-6)}
    assume(len(ways) == 1)
    assert case.stays(case.tokens) in ways


def test_a_prefix_at_the_other_model_counts_for_leaving() -> None:
    cost = 1000 * 1e-6 + 256 * 2e-6
    decision, stay, leave = decided((0.5, cost), (0.5, cost)), served("stay", **CHEAP), served("leave", **CHEAP)
    for left, expected in ((None, True), (Cached(400, 0.0), True), (Cached(600, 0.0), False)):
        assert worth_staying(decision, stay, leave, Cached(500, 0.0), 1.0, left) == expected


def test_a_prompt_too_long_for_a_model_does_not_stay_with_it() -> None:
    """The engine counts the prompt, and what the answer is expected to take, against the window."""
    cost = 1000 * 1e-6 + 256 * 2e-6
    decision = decided((0.9, cost), (0.1, cost))
    for window, expected in ((None, True), (1257, True), (1255, False), (100, False)):
        stay = served("stay", **CHEAP, context_window=window)
        assert worth_staying(decision, stay, served("leave", **DEAR), Cached(1000, 0.0), 1.0) == expected


@given(st.data(), TOKENS)
def test_without_a_discount_nothing_holds(data: st.DataObject, tokens: int) -> None:
    case = Case(data.draw)
    for cached in (None, case.models["stay"].settings.input_cost_per_token, 1.0):
        prices = {"input_cost_per_token": case.models["stay"].settings.input_cost_per_token}
        case.models["stay"] = served("stay", **prices, cache_read_input_token_cost=cached)
        assert not case.stays(tokens)
    case.models["stay"] = served("stay")
    assert not case.stays(tokens)


def test_what_has_no_price_does_not_hold() -> None:
    stay, leave = served("stay", **CHEAP), served("leave", **DEAR)
    cached = Cached(1000, 0.0)
    assert worth_staying(decided((0.9, 0.01), (0.1, 0.01)), stay, leave, cached, 1.0)
    assert not worth_staying(decided((0.9, None), (0.1, 0.01)), stay, leave, cached, 1.0)
    assert not worth_staying(decided((0.9, 0.01), (0.1, None)), stay, leave, cached, 1.0)
    assert not worth_staying(decided((0.9, 0.01), (0.1, 0.01)), stay, leave, cached, math.nan)
    unknown = decided((0.9, 0.01), (0.1, 0.01))
    assert not worth_staying(_without_costs(unknown), stay, leave, cached, 1.0)


def _without_costs(decision: Decision) -> Decision:
    from dataclasses import replace

    return replace(decision, costs=None)


@given(st.floats(-1, 1), PRICE, PRICE)
def test_a_threshold_is_a_weight(threshold: float, one: float, other: float) -> None:
    """Gain >= threshold exactly where quality - λ · cost of the dear one is at least that of the cheap one."""
    assume(abs(one - other) > 1e-12)
    cheap, dear = sorted((one, other))
    policy = {"kind": "threshold", "weak": 0, "strong": 1, "threshold": threshold}
    models = ("stay", "leave")
    weight = quality_per_dollar(policy, models, decided((0.5, cheap), (0.5, dear)), None, 1.0)
    assert weight * (dear - cheap) == pytest.approx(max(threshold, 0.0))
    given_ = quality_per_dollar(policy, models, decided((0.5, cheap), (0.5, dear)), 0.25, 1.0)
    assert given_ * (dear - cheap) == pytest.approx(0.25)
    # A weak model that costs more than the strong one: no weight says what the threshold does.
    assert math.isnan(quality_per_dollar(policy, models, decided((0.5, dear), (0.5, cheap)), None, 1.0))


def test_a_weight_is_itself_and_other_policies_have_none() -> None:
    decision, models = decided((0.5, 0.1), (0.5, 0.2)), ("stay", "leave")
    policy = {"kind": "cost_weight", "cost_weight": 20.0, "unit": "usd"}
    assert quality_per_dollar(policy, models, decision, None, 2.0) == 40.0
    assert math.isnan(quality_per_dollar({**policy, "unit": "calls"}, models, decision, None, 1.0))
    assert math.isnan(quality_per_dollar({"kind": "constant", "model": 0}, models, decision, None, 1.0))


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
    key = key_of("", long, [])
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


@given(TEXT, TEXT, st.one_of(st.none(), TEXT), st.lists(MESSAGE, min_size=1, max_size=5))
def test_keys_never_share_a_conversation(
    one: str, other: str, named: str | None, messages: list[dict[str, Any]]
) -> None:
    assume(one != other)
    assert key_of(one, named, messages) != key_of(other, named, messages)


@given(st.lists(MESSAGE, max_size=3), TEXT, st.lists(MESSAGE, max_size=4), st.lists(MESSAGE, max_size=4))
def test_a_conversation_is_known_by_how_it_began(
    begun: list[dict[str, Any]], said: str, one: list[dict[str, Any]], other: list[dict[str, Any]]
) -> None:
    begun = [*begun, {"role": "user", "content": said}]
    assert key_of("k", None, [*begun, *one]) == key_of("k", None, [*begun, *other])
    changed = [*begun[:-1], {"role": "user", "content": said + "?"}]
    if not any(each["role"] == "user" for each in begun[:-1]):
        assert key_of("k", None, begun) != key_of("k", None, changed)
    assert key_of("k", "named", begun) == key_of("k", "named", changed)
    assert key_of("k", "named", begun) != key_of("k", "other", begun)
    assert key_of("k", said, begun) != key_of("k", None, begun), "a name is not how one began"


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
