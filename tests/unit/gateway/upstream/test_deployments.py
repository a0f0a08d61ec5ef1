"""Deployments: who is let in, and who is drawn."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiny_dancer.gateway.configuration import settings as config
from tiny_dancer.gateway.upstream.clients.connect import connect
from tiny_dancer.gateway.upstream.deployments import Deployment, ServedModel, UpstreamServer
from tiny_dancer.gateway.upstream.dialect import Usage
from tiny_dancer.resilience import Category, State

if TYPE_CHECKING:
    from collections.abc import Sequence


def server(name: str = "u", **settings: Any) -> UpstreamServer:
    upstream = config.Upstream(base_url=f"http://{name}.invalid/v1", **settings)
    return UpstreamServer(name, upstream, connect(upstream))


def deployment(
    at: UpstreamServer | None = None, breaker: config.Breaker | None = None, **settings: Any
) -> Deployment:
    at = at or server()
    return Deployment("m", config.Deployment(upstream=at.name, **settings), at, breaker or config.Breaker())


def model(deployments: Sequence[Deployment], **settings: Any) -> ServedModel:
    described = config.Model(deployments=[each.settings for each in deployments], **settings)
    return ServedModel("m", described, deployments)


def inside(*deployments: Deployment) -> list[int]:
    return [each.status().in_flight for each in deployments] + [
        each.server.limits.gate.inside for each in deployments
    ]


def test_no_more_are_let_in_than_deployment_and_upstream_take() -> None:
    shared = server(max_concurrency=3)
    first, second = deployment(shared, max_concurrency=2), deployment(shared)
    tokens = [first.admit("chat.completions"), first.admit("chat.completions")]
    assert None not in tokens
    assert first.admit("chat.completions") is None, "its own limit"
    assert second.admit("chat.completions") is not None
    assert second.admit("chat.completions") is None, "the upstream's limit"
    first.leave()
    assert second.admit("chat.completions") is not None
    assert inside(first, second) == [1, 2, 3, 3]


def test_an_open_breaker_takes_no_place_and_no_tokens() -> None:
    only = deployment(breaker=config.Breaker(threshold=1), max_concurrency=1, requests_per_minute=2)
    token = only.admit("chat.completions")
    assert token is not None
    only.breaker("chat.completions").fail(token, Category.UPSTREAM)
    only.leave()
    for _ in range(5):
        assert only.admit("chat.completions") is None
    assert inside(only) == [0, 0]
    assert only.wait() == 0.0, "what was refused has not used up the rate"


@pytest.mark.parametrize("where", ["deployment", "upstream"])
def test_rates(where: str) -> None:
    limit = {"requests_per_minute": 2}
    at = server(**limit if where == "upstream" else {})
    only = deployment(at, **limit if where == "deployment" else {})
    for _ in range(2):
        assert only.admit("chat.completions") is not None
        only.leave()
    assert only.admit("chat.completions") is None
    assert 0 < only.wait() <= 30
    assert inside(only) == [0, 0]


def test_tokens_of_answers_count_for_the_next_call() -> None:
    only = deployment(tokens_per_minute=1000)
    assert only.admit("chat.completions") is not None
    only.charge(3000)
    assert only.admit("chat.completions") is None
    assert 100 < only.wait() <= 121


def test_a_call_that_is_not_made_gives_everything_back() -> None:
    only = deployment(max_concurrency=1, requests_per_minute=1, breaker=config.Breaker(threshold=1, cooldown=1e-9))
    for _ in range(3):
        token = only.admit("chat.completions")
        assert token is not None
        only.withdraw("chat.completions", token)
    token = only.admit("chat.completions")
    assert token is not None
    only.breaker("chat.completions").fail(token, Category.UPSTREAM)
    only.withdraw("chat.completions", token)
    probe = only.admit("chat.completions")
    assert probe is not None
    assert only.breaker("chat.completions").status().probes == 1
    only.withdraw("chat.completions", probe)
    assert only.breaker("chat.completions").status().probes == 0
    assert only.breaker("chat.completions").status().state is State.HALF_OPEN
    assert inside(only) == [0, 0]


@given(st.lists(st.sampled_from([1e-6, 0.5, 1.0, 2.0, 1e6]), min_size=2, max_size=5))
@settings(max_examples=20, deadline=None)
def test_those_not_tried_come_first_whatever_their_weight(weights: list[float]) -> None:
    several = [deployment(weight=weight) for weight in weights]
    served = model(several)
    tried: list[Deployment] = []
    for _ in several:
        picked = served.pick("chat.completions", tried)
        assert picked is not None
        tried.append(picked[0])
    assert len(set(map(id, tried))) == len(several)
    assert served.pick("chat.completions", tried) is None, "all were tried"


@pytest.mark.parametrize("scale", [1.0, 1e-6, 1e6, 1e-300])
def test_the_first_is_drawn_by_weight(scale: float) -> None:
    # Weights are shares, so only what they are to each other counts.
    several = [deployment(weight=weight * scale) for weight in (1.0, 2.0, 5.0)]
    served = model(several)
    draws = 4000
    counts: Counter[int] = Counter()
    for _ in range(draws):
        picked = served.pick("chat.completions", ())
        assert picked is not None
        counts[several.index(picked[0])] += 1
        picked[0].leave()
    for index, share in enumerate((1 / 8, 2 / 8, 5 / 8)):
        # Six standard deviations: wrong once in 10⁸ runs.
        assert abs(counts[index] / draws - share) < 6 * (share * (1 - share) / draws) ** 0.5


def test_those_that_take_nothing_now_are_passed_over() -> None:
    full, free = deployment(max_concurrency=1, weight=1e6), deployment()
    assert full.admit("chat.completions") is not None
    served = model([full, free])
    for _ in range(20):
        picked = served.pick("chat.completions", ())
        assert picked is not None
        assert picked[0] is free
        free.leave()
    assert inside(full, free)[:2] == [1, 0]
    assert model([full]).pick("chat.completions", ()) is None


def test_only_those_that_serve_the_endpoint_are_picked() -> None:
    other = server("other", kind="anthropic", api_key="k")
    several = [deployment(other), deployment()]
    served = model(several)
    for _ in range(20):
        picked = served.pick("embeddings", ())
        assert picked is not None
        assert picked[0] is several[1]
    assert model(several[:1]).pick("embeddings", ()) is None


@given(st.integers(0, 10**9), st.integers(0, 10**9), st.integers(0, 10**9), st.none() | st.floats(0, 1))
def test_cached_tokens_cost_what_they_cost(prompt: int, output: int, cached: int, price: float | None) -> None:
    served = model(
        [deployment()],
        input_cost_per_token=2.0,
        output_cost_per_token=3.0,
        cost_per_request=7.0,
        cache_read_input_token_cost=price,
    )
    cached = min(cached, prompt)
    expected = (prompt - cached) * 2.0 + cached * (2.0 if price is None else price) + output * 3.0 + 7.0
    assert served.cost(Usage(prompt, output, cached)) == pytest.approx(expected)
    assert served.cost(Usage(prompt, output, prompt + 1)) == served.cost(Usage(prompt, output, prompt))


def test_without_prices_nothing_is_known() -> None:
    assert model([deployment()]).cost(Usage(1, 1, 1)) is None


def test_long_prompts_and_written_caches_have_prices_of_their_own() -> None:
    tier = config.PriceTier(above_tokens=1000, input_cost_per_token=5.0, cache_read_input_token_cost=1.0)
    served = model(
        [deployment()],
        input_cost_per_token=2.0,
        output_cost_per_token=3.0,
        tiers=[tier],
        cache_creation_input_token_cost=2.5,
    )
    assert served.cost(Usage(1000, 1, 0)) == pytest.approx(2003.0)
    assert served.cost(Usage(1001, 1, 1)) == pytest.approx(5004.0)
    info = served.info()
    assert (info.cache_creation_input_token_cost, info.tiers[0].above_tokens) == (2.5, 1000)


def test_a_probe_may_take_as_long_as_a_request() -> None:
    only = deployment(server(timeouts=config.Timeouts(total=1234.0)))
    assert only.breaker("chat.completions")._probe_timeout == 1234.0
