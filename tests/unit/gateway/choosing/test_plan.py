"""Which model, and which next: what the client names, its role and its key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.gateway.gateways import (
    CHEAP,
    DEAR,
    EASY,
    FIVE,
    HARD,
    TEXTS,
    caller,
    chooser,
    model,
    names,
    open_five,
    open_pair,
    opened,
    plan,
    refused,
)

from tiny_dancer.gateway.errors import GatewayError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tiny_dancer.gateway.choosing.serving import Serving


@pytest.fixture(scope="module")
def pair() -> Iterator[Serving]:
    found = open_pair()
    yield found
    found.close()


@pytest.fixture(scope="module")
def five() -> Iterator[Serving]:
    found = open_five()
    yield found
    found.close()


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


@pytest.mark.parametrize("router", ["default", "my-own", "my", "cheapest", "cost", "quality", "balanced"])
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
    error = refused(pair, td={"exclude": ["small", "large"]})
    assert error.code == "no_feasible_model"
    assert str(error).count("constraints") == 1, "said once"
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
    assert (found.model.name, found.asked.role) == ("small", "embed")
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
        assert found.asked.role == role
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
