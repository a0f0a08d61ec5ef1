"""Which model, and which next: names, roles, keys, policies, constraints, and a router that has failed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.faults import Fault
from tests.synthetic import requests
from tests.unit.gateway.gateways import (
    CHEAP,
    DEAR,
    EASY,
    HARD,
    caller,
    chooser,
    configured,
    model,
    plan,
)

from tiny_dancer import _core
from tiny_dancer.gateway.errors import GatewayError
from tiny_dancer.gateway.serving import Serving
from tiny_dancer.registry import ArtifactFile
from tiny_dancer.resilience import Category, CircuitBreaker, Level
from tiny_dancer.routing.resilient import ResilientRouter

if TYPE_CHECKING:
    from collections.abc import Iterator

ARTIFACTS = Path(__file__).resolve().parents[3] / "conformance" / "artifacts"
TEXTS = [*requests(120, 5)[0], EASY, HARD, "Prove that there are infinitely many primes.", "What is 17 * 23 - 4?"]
FIVE = ("anchor", "brisk", "calm", "doubtful", "exact")
PRICES = dict(zip(FIVE, (16e-6, 8e-6, 2e-6, 4e-6, 1e-6), strict=True))


def opened(**more: Any) -> Serving:
    return Serving(configured(**more), Path())


@pytest.fixture(scope="module")
def pair() -> Iterator[Serving]:
    """``small`` and ``large`` with aliases, and models no router knows."""
    models = {
        "small": model(**CHEAP, aliases=["little", "vendor/tiny-1"]),
        "large": model(**DEAR, aliases=["grand"]),
        "other": model(input_cost_per_token=5e-6, output_cost_per_token=5e-6),
        "claude": model("there", input_cost_per_token=5e-6, output_cost_per_token=5e-6),
    }
    upstreams = {
        "here": {"base_url": "http://127.0.0.1:9/v1"},
        "there": {"base_url": "http://127.0.0.1:9", "kind": "anthropic", "api_key": "k"},
    }
    routers = {
        "default": {"models": {"weak": "small", "strong": "large"}},
        "my-own": {"models": {"weak": "small", "strong": "large"}, "threshold": 0.2},
        "my": {"models": {"weak": "small", "strong": "large"}, "policy": "cost"},
    }
    serving = opened(models=models, upstreams=upstreams, routers=routers)
    yield serving
    serving.close()


@pytest.fixture(scope="module")
def five() -> Iterator[Serving]:
    """Five models by weight of cost."""
    serving = opened(
        models={
            name: model(input_cost_per_token=PRICES[name], output_cost_per_token=4 * PRICES[name]) for name in FIVE
        },
        routers={"default": {"artifact": str(ARTIFACTS / "five.safetensors")}},
        strongest="anchor",
        max_fallbacks=10,
    )
    yield serving
    serving.close()


def names(serving: Serving, text: object = EASY, **more: Any) -> list[str]:
    return [each.name for each in plan(serving, text, **more).models()]


def refused(serving: Serving, text: object = EASY, **more: Any) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        plan(serving, text, **more)
    assert 400 <= caught.value.status < 500
    return caught.value


# Names.


@pytest.mark.parametrize(
    ("asked", "served"), [("small", "small"), ("little", "small"), ("vendor/tiny-1", "small"), ("grand", "large")]
)
def test_a_model_that_is_named_serves(pair: Serving, asked: str, served: str) -> None:
    found = plan(pair, HARD, model=asked)
    assert [each.name for each in found.models()] == [served]
    assert (found.routed_by, found.reason, found.decision, found.router) == ("client", "named", None, "")
    assert found.baseline.name == served


def test_auto_is_the_default_router(pair: Serving) -> None:
    found = plan(pair)
    assert (found.router, found.routed_by) == ("default", "learned")
    assert found.decision is not None
    assert found.model.name == found.decision.model
    assert found.baseline.name == "large"
    assert found.said == EASY


@pytest.mark.parametrize(
    ("asked", "router"), [("router-default", "default"), ("router-my-own", "my-own"), ("router-my", "my")]
)
def test_routers_have_names(pair: Serving, asked: str, router: str) -> None:
    assert plan(pair, model=asked).router == router


@pytest.mark.parametrize("router", ["default", "my-own", "my", "cost", "quality", "balanced"])
@pytest.mark.parametrize("written", ["1", "1.0", "+1.0", "0.999", "1e0", "10E-1", "-1", "-1.0", "-1e+0", "-.95"])
def test_names_carry_thresholds(pair: Serving, router: str, written: str) -> None:
    """As RouteLLM's: no gain is worth 1, any is worth -1."""
    found = plan(pair, HARD, model=f"router-{router}-{written}")
    assert found.model.name == ("large" if float(written) < 0 else "small")
    assert found.routed_by == "override"
    assert found.router == (router if router in ("default", "my-own", "my") else "default")


@given(threshold=st.floats(-1, 1))
def test_any_threshold_can_stand_in_a_name(pair: Serving, threshold: float) -> None:
    found = plan(pair, HARD, model=f"router-my-own-{threshold!r}")
    said = plan(pair, HARD, model="router-my-own", td={"threshold": threshold})
    assert found.model is said.model
    # What the request says in words wins over the name.
    assert plan(pair, HARD, model="router-my-own-1", td={"threshold": threshold}).model is said.model


@pytest.mark.parametrize(
    "asked",
    [
        "smal",
        "Small",
        "router-",
        "router",
        "router-defualt",
        "router-default-",
        "router-default-1.5",
        "router-default--2",
        "router-default-nan",
        "router-default-inf",
        "router-default-0.5-0.5",
        "router-default-cost",
        "router-0.5",
        "",
        "x" * 200,
        "模型",
    ],
)
def test_an_unknown_name_is_404(pair: Serving, asked: str) -> None:
    error = refused(pair, model=asked)
    assert (error.status, error.code, error.param) == (404, "model_not_found", "model")
    if asked in ("smal", "Small"):
        assert "small" in error.message
    if asked == "router-defualt":
        assert "router-default" in error.message


def test_without_a_router_auto_is_unknown() -> None:
    serving = opened(routers={})
    assert refused(serving).status == 404
    assert names(serving, model="small") == ["small"]


# Who follows.


def test_a_list_of_models_is_an_order(pair: Serving) -> None:
    assert names(pair, model="large", models=["other", "little", "other", "large"]) == ["large", "other", "small"]
    assert names(pair, model="large") == ["large"]
    assert refused(pair, model="large", models=["nope"]).code == "model_not_found"
    assert refused(pair, model="large", models=["auto"]).param == "models"


@given(
    listed=st.lists(st.sampled_from([*FIVE, "auto"]), max_size=6),
    excluded=st.lists(st.sampled_from(FIVE), max_size=3),
    allowed=st.one_of(st.none(), st.sets(st.sampled_from(FIVE), min_size=1)),
    spent=st.booleans(),
    text=st.sampled_from(TEXTS),
    asked=st.sampled_from(["auto", *FIVE]),
)
def test_only_what_may_serve_follows(
    five: Serving,
    listed: list[str],
    excluded: list[str],
    allowed: set[str] | None,
    spent: bool,
    text: str,
    asked: str,
) -> None:
    who = caller(allowed, soft_budget_spent=spent)
    may = [
        each
        for each in FIVE
        if each not in excluded and (not allowed or each in allowed) and not (spent and each == "anchor")
    ]
    fallbacks = [each for each in listed if each != "auto"]
    fields = {"model": asked, "models": fallbacks, "td": {"exclude": excluded}}
    try:
        found = [each.name for each in plan(five, text, who=who, **fields).models()]
    except GatewayError as error:
        assert (asked not in may) if asked != "auto" else not may
        assert error.status in (400, 403, 429)
        return
    assert len(set(found)) == len(found)
    assert set(found) <= set(may)
    if asked != "auto":
        assert found[0] == asked
    # The client's list comes first, in its order.
    wanted = [each for each in dict.fromkeys(fallbacks) if each in may and each != found[0]]
    assert found[1 : 1 + len(wanted)] == wanted
    if asked == "auto":
        assert set(found) == set(may), "all that may serve do, before the client gets an error"


@pytest.mark.parametrize("most", [0, 1, 2])
def test_at_most_so_many_follow(most: int) -> None:
    models = {name: model(**CHEAP) for name in ("small", "a", "b", "c")} | {"large": model(**DEAR)}
    serving = opened(models=models, max_fallbacks=most)
    assert len(names(serving, model="small", models=["a", "b", "c"])) == 1 + most
    assert len(names(serving, models=["a", "b", "c"])) == 1 + most
    serving.close()


def test_the_default_model_follows_what_a_router_knows() -> None:
    models = {"small": model(**CHEAP), "large": model(**DEAR), "safe": model(**CHEAP)}
    serving = opened(models=models, default_model="safe")
    assert names(serving, td={"threshold": 1}) == ["small", "large", "safe"]
    serving.close()


# What the client may say.


@pytest.mark.parametrize("asked", ["auto", "large", "router-default-1", "nope"])
def test_a_pin_wins_over_everything(pair: Serving, asked: str) -> None:
    td = {"pin": "little", "threshold": -1.0, "policy": "quality", "role": "edit", "session": "mine"}
    found = plan(pair, HARD, model=asked, td=td)
    assert (found.model.name, found.routed_by, found.reason) == ("small", "override", "pinned")
    assert refused(pair, td={"pin": "auto"}).param == "td.pin"
    assert refused(pair, td={"pin": "nope"}).code == "model_not_found"
    assert refused(pair, td={"pin": "small", "exclude": ["little"]}).param == "td.exclude"


def test_what_is_excluded_does_not_serve(pair: Serving) -> None:
    assert names(pair, HARD, td={"exclude": ["grand"], "threshold": -1}) == ["small"]
    assert refused(pair, model="small", td={"exclude": ["small"]}).param == "td.exclude"
    assert refused(pair, td={"exclude": ["small", "large"]}).code == "no_feasible_model"
    assert refused(pair, td={"exclude": ["nope"]}).code == "model_not_found"


def test_a_key_uses_its_models(pair: Serving) -> None:
    mine = caller({"small", "other"})
    assert names(pair, HARD, who=mine, td={"threshold": -1}) == ["small"]
    assert names(pair, who=mine, model="small", models=["large", "other"]) == ["small", "other"]
    assert refused(pair, who=mine, model="large").status == 403
    assert refused(pair, who=mine, model="grand").status == 403
    assert refused(pair, who=mine, td={"pin": "large"}).status == 403
    assert refused(pair, who=caller({"other"})).code == "no_feasible_model"


def test_a_spent_soft_budget_leaves_cheaper_models(pair: Serving) -> None:
    spent = caller(soft_budget_spent=True)
    assert names(pair, HARD, who=spent, td={"threshold": -1}) == ["small"]
    assert refused(pair, who=spent, model="large").code == "budget_exceeded"
    assert names(pair, who=spent, model="small", models=["large", "other"]) == ["small", "other"]


def test_embeddings_are_not_routed(pair: Serving) -> None:
    assert refused(pair, endpoint="embeddings", model="auto").code == "not_routable"
    assert refused(pair, endpoint="embeddings", model="router-my").code == "not_routable"
    found = plan(pair, endpoint="embeddings", model="small")
    assert (found.model.name, found.role) == ("small", "embed")
    assert refused(pair, endpoint="embeddings", model="claude").code == "unsupported_endpoint"
    serving = opened(roles={"embed": {"model": "small"}})
    found = plan(serving, endpoint="embeddings", model="auto")
    assert (found.model.name, found.routed_by, found.reason) == ("small", "default", "role_default")
    serving.close()


def test_models_that_do_not_serve_an_endpoint_do_not_follow(pair: Serving) -> None:
    assert names(pair, endpoint="completions", model="small", models=["claude", "other"]) == ["small", "other"]
    assert refused(pair, endpoint="completions", model="claude").code == "unsupported_endpoint"
    assert names(pair, model="small", models=["claude"]) == ["small", "claude"]


# Roles.


def test_roles_have_their_own_defaults_and_models() -> None:
    models = {
        "small": model(**CHEAP, roles=["autocomplete", "chat"]),
        "large": model(**DEAR),
        "coder": model(**CHEAP, roles=["apply"]),
    }
    roles = {
        "edit": {"model": "large", "fallbacks": []},
        "chat": {"model": "auto", "policy": "quality"},
        "autocomplete": {"model": "router-cost", "fallbacks": ["large"]},
        "apply": {"model": "coder", "fallbacks": ["large"]},
        "summarize": {"model": "router-default-1.0"},
    }
    serving = opened(models=models, roles=roles, strongest="large")

    def first(role: str, text: str = EASY, **more: Any) -> tuple[str, str]:
        found = plan(serving, text, td={"role": role}, **more)
        assert found.role == role
        return found.model.name, found.routed_by

    assert first("edit") == ("large", "default")
    assert names(serving, td={"role": "apply"}) == ["coder", "large"]
    # Only ``large`` is for everything: a role that no model names still has it.
    assert first("rerank")[0] == "large"
    assert first("summarize")[0] == "large"
    # A role's default is for ``auto``; what is named wins.
    assert first("edit", model="small") == ("small", "client")
    assert first("edit", HARD, model="router-default-1")[0] == "large"
    chat = [plan(serving, text).model.name for text in TEXTS]
    asked = [plan(serving, text, td={"policy": "cost"}).model.name for text in TEXTS]
    assert chat == [plan(serving, text, td={"policy": "quality"}).model.name for text in TEXTS]
    assert chat.count("large") > asked.count("large")
    serving.close()


# Policies and constraints.


def share(serving: Serving, dear: str, **more: Any) -> int:
    return sum(names(serving, text, **more)[0] == dear for text in TEXTS)


@pytest.mark.parametrize("way", ["name", "body", "header"])
def test_policies_order_the_share_of_the_dear_model(pair: Serving, way: str) -> None:
    def asked(policy: str) -> dict[str, Any]:
        if way == "name":
            return {"model": f"router-{policy}"}
        return {"td": {"policy": policy}} if way == "body" else {"headers": {b"x-td-policy": policy.encode()}}

    cost, balanced, quality = (share(pair, "large", **asked(each)) for each in ("cost", "balanced", "quality"))
    assert cost <= balanced <= quality
    assert cost < quality
    assert balanced == share(pair, "large", model="auto")


@pytest.mark.parametrize("threshold", [-0.05, 0.0, 0.05, 0.2])
def test_policies_are_ordered_at_any_threshold_of_a_router(threshold: float) -> None:
    serving = opened(routers={"default": {"models": {"weak": "small", "strong": "large"}, "threshold": threshold}})
    shares = [share(serving, "large", td={"policy": each}) for each in ("cost", "balanced", "quality")]
    assert shares == sorted(shares)
    assert shares[1] == share(serving, "large")
    assert shares[1] == share(serving, "large", td={"threshold": threshold})
    serving.close()


def test_policies_order_what_five_models_cost(five: Serving) -> None:
    def spent(policy: str) -> float:
        found = [plan(five, text, td={"policy": policy}) for text in TEXTS]
        return sum(each.decision.cost for each in found)

    assert spent("cost") <= spent("balanced") <= spent("quality")
    assert spent("cost") < spent("quality")


@given(text=st.sampled_from(TEXTS), max_cost=st.floats(1e-4, 2e-2), min_quality=st.floats(0, 1))
def test_constraints_hold_on_many_models(five: Serving, text: str, max_cost: float, min_quality: float) -> None:
    try:
        found = plan(five, text, td={"max_cost": max_cost, "min_quality": min_quality})
    except GatewayError as error:
        assert error.code == "no_feasible_model"
        free = plan(five, text).decision
        assert free is not None
        assert free.costs is not None
        for name in FIVE:
            assert free.costs[name] > max_cost or free.scores[name] < min_quality
        return
    decision = found.decision
    assert decision is not None
    assert decision.costs is not None
    assert decision.costs[found.model.name] <= max_cost
    assert decision.scores[found.model.name] >= min_quality


def test_a_router_s_own_bounds_give_way_to_the_request_s() -> None:
    bounds = {"models": {"weak": "small", "strong": "large"}, "max_cost": 0.001}
    serving = opened(routers={"default": bounds})
    assert names(serving, HARD, td={"threshold": -1})[0] == "small"
    assert names(serving, HARD, td={"threshold": -1, "max_cost": 1.0})[0] == "large"
    serving.close()


@pytest.mark.parametrize(
    ("td", "headers", "param"),
    [
        ({"max_latency": 1.0}, {}, "td"),
        ({}, {b"x-td-max-cost": b"inf"}, "td.max_cost"),
    ],
)
def test_options_that_cannot_be_met_name_themselves(
    pair: Serving, td: dict[str, Any], headers: dict[bytes, bytes], param: str
) -> None:
    error = refused(pair, td=td, headers=headers)
    assert error.status == 400
    assert str(error.param).startswith(param)


def test_a_threshold_is_for_two_models(five: Serving) -> None:
    error = refused(five, td={"threshold": 0.5})
    assert (error.status, error.param) == (400, "td.threshold")


@pytest.mark.parametrize(
    "messages",
    [
        [{"role": "dancer", "content": "Hi"}],
        [{"content": "Hi"}],
        [{"role": 5, "content": "Hi"}],
        [{"role": "user", "content": 5}],
        [{"role": "user", "content": {"text": "Hi"}}],
        [{"role": "user", "content": [5]}],
        [{"role": "user", "content": [{"type": "text", "text": 5}]}],
    ],
)
def test_broken_messages_name_their_field(pair: Serving, messages: list[Any]) -> None:
    error = refused(pair, messages=messages)
    assert error.status == 400
    assert str(error.param).startswith("messages[0]")


NUMBER = st.one_of(st.integers(), st.floats(allow_nan=False, allow_infinity=False))
ANY = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBER, st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["type", "text", "role", "content", "input_text"]), inner, max_size=3),
    ),
    max_leaves=8,
)
PART = st.fixed_dictionaries({"type": st.sampled_from(["text", "input_text", "image_url"]), "text": ANY})
MESSAGE = st.fixed_dictionaries(
    {
        "role": st.one_of(st.sampled_from(["user", "system", "assistant", "tool"]), ANY),
        "content": st.one_of(ANY, st.text(), st.lists(PART, max_size=3)),
    }
)


@given(
    st.sampled_from(["chat.completions", "messages", "responses", "completions"]),
    st.one_of(ANY, st.lists(MESSAGE, max_size=4)),
    ANY,
    st.dictionaries(st.sampled_from(["max_cost", "min_quality", "max_latency", "threshold"]), st.floats(-2, 2)),
)
def test_any_request_is_planned_or_refused(
    pair: Serving, endpoint: Any, said: Any, other: Any, td: dict[str, float]
) -> None:
    name = {"completions": "prompt", "responses": "input"}.get(endpoint, "messages")
    fields = {name: said, "tools": other, "system": other, "instructions": other}
    try:
        found = plan(pair, endpoint=endpoint, td=td, **fields)
    except GatewayError as error:
        assert error.status == 400
        assert error.param or error.code == "invalid_json"
    else:
        assert found.model.name in ("small", "large", "claude")


@pytest.mark.parametrize(
    "content",
    [
        "",
        "  ",
        None,
        [],
        [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}],
        [{"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}],
    ],
)
def test_without_text_the_default_serves(pair: Serving, content: object) -> None:
    found = plan(pair, content)
    assert [each.name for each in found.models()] == ["large", "small"]
    assert (found.routed_by, found.reason) == ("default", "no_text")


def test_the_output_of_a_call_alone_is_served(pair: Serving) -> None:
    """What a client sends whose conversation the upstream keeps."""
    call = {"type": "function_call_output", "call_id": "c", "output": "5"}
    found = plan(pair, [call], endpoint="responses", previous_response_id="r")
    assert (found.model.name, found.reason) == ("large", "no_text")


# A router that has failed.


def failed(serving: Serving, router: ResilientRouter) -> Serving:
    serving.routers["default"].router.close()
    serving.routers["default"].router = router
    return serving


@pytest.mark.parametrize("trouble", ["engine", "breaker"])
def test_a_router_that_failed_still_answers(trouble: str) -> None:
    serving = opened()
    infos = {"weak": serving.models["small"].name, "strong": serving.models["large"].name}
    fault = Fault(RuntimeError("the engine is broken") if trouble == "engine" else None)
    breaker = CircuitBreaker(threshold=1)
    if trouble == "breaker":
        token = breaker.admit()
        assert token is not None
        breaker.fail(token, Category.UPSTREAM)
    path = Path(_core.data_path("default.safetensors"))
    router = ResilientRouter.load(path, models=infos, breaker=breaker)
    if trouble == "engine":
        router = ResilientRouter(ArtifactFile(path), load=lambda data: fault.load(data, infos), breaker=breaker)
    failed(serving, router)
    for text in (EASY, HARD):
        found = plan(serving, text, td={"session": "mine"})
        assert found.decision is not None
        assert found.decision.level in (Level.HEURISTIC, Level.DEFAULT)
        assert found.decision.level_reason
        assert found.model.name == found.decision.model
        assert {each.name for each in found.models()} == {"small", "large"}
    # Policies cannot be judged without the engine: the strong model, and the reason says so.
    found = plan(serving, EASY, td={"policy": "cost"})
    assert (found.model.name, found.decision.level) == ("large", Level.DEFAULT)
    assert names(serving, EASY, td={"exclude": ["large"]}) == ["small"]
    assert refused(serving, td={"exclude": ["large", "small"]}).status == 400
    serving.close()


def test_a_plan_remembers_only_conversations_that_were_routed(pair: Serving) -> None:
    by = chooser()
    assert plan(pair, model="small", by=by).session is None
    one = plan(pair, by=by, who=caller(id="one"), td={"session": "mine"})
    other = plan(pair, by=by, who=caller(id="other"), td={"session": "mine"})
    assert one.session is not None
    assert one.session != other.session
    serving = opened(sessions={"sticky": False})
    assert plan(serving).session is None
    serving.close()
