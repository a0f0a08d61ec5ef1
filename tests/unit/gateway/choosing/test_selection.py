"""What a request's ``provider`` leaves: which models and deployments, in which order; what is refused by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.gateway.gateways import ARTIFACTS, EASY, FIVE, HARD, model, names, opened, plan, refused

from tiny_dancer.gateway.choosing.plan import following
from tiny_dancer.gateway.errors import GatewayError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tiny_dancer.gateway.choosing.serving import Serving
    from tiny_dancer.gateway.upstream.deployments import ServedModel

PRICES = dict(zip(FIVE, (16e-6, 8e-6, 2e-6, 4e-6, 1e-6), strict=True))
# Each model is at its own upstream of these, "calm" at two of them.
AT = {"anchor": ["Paris"], "brisk": ["rome"], "calm": ["Paris", "oslo"], "doubtful": ["oslo"], "exact": ["claude"]}
UPSTREAMS: dict[str, dict[str, Any]] = {
    "Paris": {"base_url": "http://127.0.0.1:9/v1"},
    "rome": {"base_url": "http://127.0.0.1:9/v1", "data_collection": "deny"},
    "oslo": {"base_url": "http://127.0.0.1:9/v1", "data_collection": "deny"},
    "claude": {"base_url": "http://127.0.0.1:9", "kind": "anthropic", "data_collection": "deny"},
}


def models(**more: Any) -> dict[str, Any]:
    return {
        name: {
            "deployments": [{"upstream": each} for each in AT[name]],
            "input_cost_per_token": PRICES[name],
            "output_cost_per_token": 4 * PRICES[name],
            "expected_output_tokens": 100,
            **more.get(name, {}),
        }
        for name in FIVE
    }


def serving_of(upstreams: dict[str, dict[str, Any]] = UPSTREAMS, **more: Any) -> Serving:
    return opened(
        upstreams=upstreams,
        models=models(**more),
        routers={"default": {"artifact": str(ARTIFACTS / "five.safetensors")}},
        strongest="anchor",
        max_fallbacks=10,
    )


@pytest.fixture(scope="module")
def five() -> Iterator[Serving]:
    found = serving_of()
    yield found
    found.close()


def tried(serving: Serving, provider: Any, **more: Any) -> list[str]:
    return sorted(names(serving, HARD, provider=provider, **more))


def upstreams(found: ServedModel) -> list[str]:
    return [each.server.name for each in found.deployments]


@pytest.mark.parametrize(
    ("provider", "left"),
    [
        ({}, FIVE),
        (None, FIVE),
        ({"only": None, "sort": None}, FIVE),
        ({"only": ["paris"]}, ["anchor", "calm"]),
        ({"only": ["OSLO", "rome"]}, ["brisk", "calm", "doubtful"]),
        ({"ignore": ["Paris"]}, ["brisk", "calm", "doubtful", "exact"]),
        ({"ignore": ["Paris", "oslo"]}, ["brisk", "exact"]),
        ({"only": ["oslo"], "ignore": ["oslo"]}, []),
        ({"only": []}, []),
        ({"max_price": {"prompt": 4}}, ["calm", "doubtful", "exact"]),
        ({"max_price": {"prompt": "4"}}, ["calm", "doubtful", "exact"]),
        ({"max_price": {"completion": 8.0}}, ["calm", "exact"]),
        ({"max_price": {"prompt": 4, "completion": 15}}, ["calm", "exact"]),
        ({"max_price": {"request": 0}}, FIVE),
        ({"max_price": {"prompt": 0.5}}, []),
        ({"data_collection": "allow"}, FIVE),
        ({"data_collection": "deny"}, ["brisk", "calm", "doubtful", "exact"]),
        ({"require_parameters": True}, ["anchor", "brisk", "calm", "doubtful"]),
        ({"require_parameters": False, "allow_fallbacks": True}, FIVE),
        ({"only": ["Paris"], "data_collection": "deny"}, []),
    ],
)
def test_what_is_left(five: Serving, provider: Any, left: list[str]) -> None:
    if not left:
        error = refused(five, HARD, provider=provider)
        assert (error.status, error.code, error.param) == (400, "no_feasible_model", "provider")
        assert all(name in error.message for name in FIVE)
        assert any(f"provider.{option}" in error.message for option in provider)
        return
    assert tried(five, provider) == sorted(left)
    # A model that is named is no exception.
    for name in FIVE:
        if name in left:
            assert plan(five, model=name, provider=provider).model.name == name
        else:
            assert f"{name}: provider." in refused(five, model=name, provider=provider).message


def test_only_the_deployments_that_are_left_are_tried(five: Serving) -> None:
    for provider, left in (
        ({"only": ["oslo"]}, ["oslo"]),
        ({"ignore": ["oslo"]}, ["Paris"]),
        ({"data_collection": "deny"}, ["oslo"]),
    ):
        (found,) = plan(five, model="calm", provider=provider).models()
        assert upstreams(found) == left
    assert upstreams(five.models["calm"]) == ["Paris", "oslo"], "of this request alone"


@given(order=st.permutations(["Paris", "oslo"]), text=st.sampled_from([EASY, HARD]))
def test_deployments_are_tried_in_order(five: Serving, order: list[str], text: str) -> None:
    (found,) = plan(five, text, model="calm", provider={"order": order}).models()
    picked = [found.pick("chat.completions", ()) for _ in range(3)]
    for each in picked:
        assert each is not None
        assert each[0].server.name == order[0]
        each[0].withdraw("chat.completions", each[1])
    second = found.pick("chat.completions", {found.deployments[0]})
    assert second is not None
    assert second[0].server.name == order[1]
    second[0].withdraw("chat.completions", second[1])


def test_models_follow_in_order(five: Serving) -> None:
    usual = plan(five, HARD)
    found = plan(five, HARD, provider={"order": ["oslo", "claude"]})
    assert found.model is usual.model, "which model is the router's choice"
    after = [each.name for each in following(found)]
    ranked = ["calm", "doubtful"], ["exact"], ["anchor", "brisk"]
    places = {name: place for place, group in enumerate(ranked) for name in group}
    assert [places[each] for each in after] == sorted(places[each] for each in after)
    assert set(after) == {each.name for each in following(usual)}
    listed = plan(five, HARD, models=["anchor"], provider={"order": ["oslo"]})
    assert next(iter(following(listed))).name == "anchor", "the client's own list is before"


def test_without_fallbacks_nothing_follows(five: Serving) -> None:
    assert len(names(five, HARD, provider={"allow_fallbacks": False})) == 1
    assert names(five, model="brisk", models=["calm"], provider={"allow_fallbacks": False}) == ["brisk"]
    # And an order is all there is.
    provider = {"order": ["rome", "oslo"], "allow_fallbacks": False}
    assert plan(five, HARD, provider=provider).model.name in ("brisk", "calm", "doubtful")
    assert "anchor: provider.order" in refused(five, model="anchor", provider=provider).message


def test_of_the_models_a_client_lists_the_first_that_is_left_serves(five: Serving) -> None:
    fields: dict[str, Any] = {"model": "anchor", "models": ["brisk", "calm", "exact"]}
    assert names(five, provider={"max_price": {"prompt": 2}}, **fields) == ["calm", "exact"]
    assert names(five, provider={"sort": "price"}, **fields)[0] == "exact"
    assert (
        refused(five, provider={"max_price": {"prompt": 2}, "allow_fallbacks": False}, **fields).param
        == "provider"
    )
    assert refused(five, provider={"only": ["rome"]}, td={"pin": "anchor"}, **fields).param == "provider"


@pytest.mark.parametrize("text", [EASY, HARD])
def test_the_cheapest_by_what_it_is_expected_to_cost(five: Serving, text: str) -> None:
    found = plan(five, text, provider={"sort": "price"})
    assert found.decision is not None
    assert found.decision.costs is not None
    assert (found.model.name, found.routed_by, found.reason) == ("exact", "override", "sorted_by_price")
    assert found.decision.model == "exact"
    assert found.decision.cost == min(cost for cost in found.decision.costs.values() if cost is not None)
    assert [each.name for each in found.models()] == sorted(FIVE, key=PRICES.__getitem__)
    left = {"sort": "price", "only": ["Paris"]}
    assert [each.name for each in plan(five, text, provider=left).models()] == ["calm", "anchor"]
    # What has no text has no decision, but prices.
    image = [{"type": "image_url", "image_url": {"url": "data:"}}]
    assert plan(five, image, provider=left).model.name == "calm"


def test_what_is_asked_of_td_holds_beside_it(five: Serving) -> None:
    found = plan(five, provider={"sort": "price"}, td={"exclude": ["exact"], "max_cost": 0.01})
    assert found.model.name == "calm"
    assert "exact" not in [each.name for each in found.models()]


def test_the_fastest_where_latencies_were_measured() -> None:
    artifact = str(ARTIFACTS / "priced.safetensors")
    given = {
        name: model(input_cost_per_token=1e-6, output_cost_per_token=1e-6) for name in ("swift", "deep", "flat")
    }
    serving = opened(models=given, routers={"default": {"artifact": artifact}})
    found = plan(serving, provider={"sort": "latency"})
    assert found.decision is not None
    latencies = found.decision.latencies
    assert latencies is not None
    assert latencies[found.model.name] == min(each for each in latencies.values() if each is not None)
    assert found.reason == "sorted_by_latency"
    assert refused(serving, model="swift", provider={"sort": "latency"}).param == "provider.sort"
    serving.close()


@pytest.mark.parametrize(
    ("provider", "param", "word"),
    [
        ({"only": ["pariss"]}, "provider.only", "did you mean Paris?"),
        ({"order": ["zzzz"]}, "provider.order", "'zzzz' is no upstream here"),
        ({"ignore": ["rom"]}, "provider.ignore", "did you mean rome?"),
        ({"quantizations": ["fp8"]}, "provider.quantizations", "no upstream here can keep it"),
        ({"zdr": True}, "provider.zdr", "no upstream here"),
        ({"beyond": 1}, "provider.beyond", "no upstream here"),
        ({"sort": "throughput"}, "provider.sort", "throughput is not measured"),
        ({"sort": "latency"}, "provider.sort", "latency"),
        ({"sort": "name"}, "provider", "sort"),
        ({"sort": {"by": "price"}}, "provider", "sort"),
        ({"only": "Paris"}, "provider", "only"),
        ({"only": ["a"] * 101}, "provider", "only"),
        ({"allow_fallbacks": "no"}, "provider", "allow_fallbacks"),
        ({"require_parameters": 1}, "provider", "require_parameters"),
        ({"data_collection": "never"}, "provider", "data_collection"),
        ({"max_price": 5}, "provider", "max_price"),
        ({"max_price": {"prompt": -1}}, "provider", "max_price"),
        ({"max_price": {"prompt": "nan"}}, "provider", "max_price"),
        ({"max_price": {"prompt": "much"}}, "provider", "max_price"),
        ({"max_price": {"image": 1}}, "provider", "image"),
        ([], "provider", "provider"),
        ("Paris", "provider", "provider"),
    ],
)
def test_what_cannot_be_kept_is_refused_by_name(five: Serving, provider: Any, param: str, word: str) -> None:
    error = refused(five, provider=provider)
    assert (error.status, error.param) == (400, param)
    assert word in error.message


def test_a_model_without_a_price_is_none_below_a_limit() -> None:
    nothing = {"input_cost_per_token": None, "output_cost_per_token": None}
    tier = {"above_tokens": 500, "input_cost_per_token": 3e-6}
    serving = serving_of(
        calm=nothing, brisk={**nothing, "cost_per_request": 0.01}, exact={"tiers": [tier]}, anchor=nothing
    )
    assert tried(serving, {"max_price": {"prompt": 2.5}}) == ["brisk", "exact"]
    assert tried(serving, {"max_price": {"prompt": 2.5, "request": 0.005}}) == ["exact"]
    sorting = refused(serving, model="exact", models=["calm"], provider={"sort": "price"})
    assert (sorting.param, "'calm' has not a price" in sorting.message) == ("provider.sort", True)
    # A prompt that may be long enough for a dearer tier.
    assert (
        "exact: provider.max_price"
        in refused(serving, "x" * 600, model="exact", provider={"max_price": {"prompt": 2.5}}).message
    )
    serving.close()


# OpenRouter itself.


@pytest.fixture(scope="module")
def open_router() -> Iterator[Serving]:
    given = {**UPSTREAMS, "Paris": {"base_url": "https://openrouter.ai/api/v1"}}
    found = serving_of(given)
    yield found
    found.close()


@pytest.mark.parametrize(
    ("provider", "left"),
    [
        ({"quantizations": ["fp8"]}, ["anchor", "calm"]),
        ({"only": ["deepinfra/turbo"]}, ["anchor", "calm"]),
        ({"only": ["rome"]}, ["brisk"]),
        ({"only": ["rome", "deepinfra"]}, ["anchor", "brisk", "calm"]),
        ({"ignore": ["deepinfra"]}, FIVE),
        ({"ignore": ["paris"]}, ["brisk", "calm", "doubtful", "exact"]),
        ({"data_collection": "deny"}, FIVE),
        ({"sort": "throughput"}, ["anchor", "calm"]),
        ({"order": ["deepinfra"], "allow_fallbacks": False}, ["anchor", "calm"]),
    ],
)
def test_openrouter_keeps_itself_to_what_it_is_told(open_router: Serving, provider: Any, left: list[str]) -> None:
    for name in FIVE:
        if name in left:
            assert plan(open_router, model=name, provider=provider).model.name == name
        else:
            assert f"{name}: provider." in refused(open_router, model=name, provider=provider).message
    (found,) = plan(open_router, model="calm", models=[], provider={"only": ["deepinfra"]}).models()
    assert upstreams(found) == ["Paris"]


def test_what_openrouter_cannot_be_told_goes_nowhere(open_router: Serving) -> None:
    """Messages are translated for it, and a translation has no such field."""
    asked: dict[str, Any] = {"endpoint": "messages", "model": "anchor", "max_tokens": 5}
    assert plan(open_router, **asked).model.name == "anchor"
    for provider in ({"data_collection": "deny"}, {"ignore": ["deepinfra"]}, {"order": ["deepinfra"]}):
        assert "anchor: provider." in refused(open_router, provider=provider, **asked).message


@given(
    provider=st.fixed_dictionaries(
        {},
        optional={
            "order": st.lists(st.sampled_from(list(UPSTREAMS)), max_size=4),
            "only": st.lists(st.sampled_from(list(UPSTREAMS)), max_size=4),
            "ignore": st.lists(st.sampled_from(list(UPSTREAMS)), max_size=3),
            "allow_fallbacks": st.booleans(),
            "require_parameters": st.booleans(),
            "max_price": st.fixed_dictionaries(
                {}, optional={"prompt": st.floats(0, 20), "completion": st.floats(0, 70)}
            ),
            "sort": st.sampled_from(["price"]),
            "data_collection": st.sampled_from(["allow", "deny"]),
        },
    ),
    asked=st.sampled_from(["auto", *FIVE]),
    listed=st.lists(st.sampled_from(FIVE), max_size=3),
)
def test_nothing_that_filters_fails_open(
    five: Serving, provider: dict[str, Any], asked: str, listed: list[str]
) -> None:
    try:
        found = list(plan(five, HARD, model=asked, models=listed, provider=provider).models())
    except GatewayError as error:
        assert (error.status, error.param) == (400, "provider")
        return
    assert found
    if not provider.get("allow_fallbacks", True):
        assert len(found) == 1
    for each in found:
        assert each.deployments
        prices = provider.get("max_price", {})
        assert PRICES[each.name] * 1e6 <= prices.get("prompt", 99) * (1 + 1e-9)
        assert 4 * PRICES[each.name] * 1e6 <= prices.get("completion", 99) * (1 + 1e-9)
        for deployment in each.deployments:
            name = deployment.server.name
            assert name in provider.get("only", [name])
            assert name not in provider.get("ignore", [])
            assert provider.get("data_collection") != "deny" or UPSTREAMS[name].get("data_collection") == "deny"
            assert not provider.get("require_parameters") or name != "claude"
            if provider.get("order") and not provider.get("allow_fallbacks", True):
                assert name in provider["order"]
