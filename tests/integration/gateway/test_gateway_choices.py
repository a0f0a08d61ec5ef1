"""Who chooses: the user first, then the policy; and a router that is broken chooses the default."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.gateway_upstream import Behaviour
from tests.integration.gateway.serving import EASY, HARD, LARGE, SMALL

from tiny_dancer import Router, _core

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.gateway_upstream import Upstream
    from tests.integration.gateway.serving import Serving


def served(gateway: Serving, text: str = EASY, *, headers: Any = None, **fields: Any) -> str:
    answer = gateway.chat(text, headers=headers, **{"model": "auto", **fields})
    assert answer.status_code == 200, answer.text
    return str(answer.headers["x-td-model"])


@pytest.mark.parametrize("way", ["body", "headers"])
@pytest.mark.parametrize(
    ("options", "model"),
    [
        ({"pin": "large"}, "large"),
        ({"pin": "small"}, "small"),
        ({"exclude": "small"}, "large"),
        ({"exclude": "large"}, "small"),
        ({"max_cost": 0.001}, "small"),
        ({"threshold": -1.0}, "large"),
        ({"threshold": 1.0}, "small"),
    ],
)
def test_the_user_s_choice_wins(gateway: Serving, way: str, options: dict[str, Any], model: str) -> None:
    if way == "body":
        body = {**options, "exclude": [options["exclude"]]} if "exclude" in options else options
        assert served(gateway, HARD, td=body) == model
    else:
        headers = {f"x-td-{name.replace('_', '-')}": str(value) for name, value in options.items()}
        assert served(gateway, HARD, headers=headers) == model


def test_model_names_carry_a_threshold(gateway: Serving) -> None:
    assert served(gateway, model="router-default-1.0") == "small"
    assert served(gateway, HARD, model="router-default-0.0") == "large"


@pytest.mark.parametrize("policy", ["cheapest", "quality", "balanced"])
def test_policies_are_models(gateway: Serving, policy: str) -> None:
    assert served(gateway, model=f"router-{policy}") in ("small", "large")


def test_quality_and_cost_differ(gateway: Serving) -> None:
    texts = [HARD, EASY, "Prove that there are infinitely many primes.", "What is 17 * 23 - 4?", "Hi!"]
    counts = {
        policy: sum(served(gateway, text, model=f"router-{policy}") == "large" for text in texts)
        for policy in ("cheapest", "balanced", "quality")
    }
    assert counts["cheapest"] <= counts["balanced"] <= counts["quality"]
    assert counts["cheapest"] < counts["quality"]


def test_a_list_of_models_is_an_order(gateway: Serving, cheap: Upstream, strong: Upstream) -> None:
    assert served(gateway, model="large", models=["large", "small"]) == "large"
    strong.script(Behaviour(status=500))
    assert served(gateway, model="large", models=["large", "small"]) == "small"
    assert "models" not in cheap.arrived().json


def test_options_that_leave_no_model_are_the_caller_s_error(gateway: Serving) -> None:
    answer = gateway.chat(model="auto", td={"exclude": ["small", "large"]})
    assert 400 <= answer.status_code < 500
    assert answer.json()["error"]["type"] == "invalid_request_error"


def test_an_unknown_model_is_404_with_the_nearest_name(gateway: Serving) -> None:
    answer = gateway.chat(model="smal")
    assert answer.status_code == 404
    error = answer.json()["error"]
    assert error["code"] == "model_not_found"
    assert "small" in error["message"]


def test_aliases_are_names(start: Callable[..., Serving], cheap: Upstream) -> None:
    models = {"small": {**SMALL, "deployments": [{"upstream": "cheap"}], "aliases": ["gpt-4o-mini"]}}
    gateway = start(models=models, routers={})
    answer = gateway.chat(model="gpt-4o-mini")
    assert answer.headers["x-td-model"] == "small"
    assert cheap.arrived().json["model"] == "small"


def test_roles_have_defaults_of_their_own(
    start: Callable[..., Serving], cheap: Upstream, strong: Upstream
) -> None:
    gateway = start(roles={"edit": {"model": "large", "fallbacks": ["small"]}, "autocomplete": {"model": "small"}})
    assert served(gateway, headers={"x-td-role": "edit"}) == "large"
    assert served(gateway, HARD, td={"role": "autocomplete"}) == "small"
    strong.script(Behaviour(status=500))
    assert served(gateway, td={"role": "edit"}) == "small"
    assert served(gateway, model="small", td={"role": "edit"}) == "small", "a model that is named wins"
    unknown = gateway.chat(model="auto", td={"role": "dancer"})
    assert unknown.status_code == 400


def test_models_of_other_roles_are_not_chosen(start: Callable[..., Serving]) -> None:
    models = {
        "small": {**SMALL, "deployments": [{"upstream": "cheap"}], "roles": ["summarize"]},
        "large": {**LARGE, "deployments": [{"upstream": "strong"}]},
    }
    gateway = start(models=models)
    assert served(gateway, td={"threshold": 1.0}) == "large"
    assert served(gateway, td={"threshold": 1.0, "role": "summarize"}) == "small"


def conversation(turns: int) -> list[dict[str, str]]:
    """A long one: its prefix is dear to read again."""
    said = [{"role": "system", "content": "You know the manual. " + "The pump has seven valves. " * 600}]
    for turn in range(turns):
        said += [{"role": "user", "content": f"{HARD} ({turn})"}, {"role": "assistant", "content": "The first."}]
    return said[:-1]


def turn(gateway: Serving, number: int, threshold: float) -> str:
    body = {
        "model": "auto",
        "messages": conversation(number),
        "td": {"threshold": threshold, "session": "mine"},
    }
    answer = gateway.http.post("/chat/completions", json=body)
    assert answer.status_code == 200, answer.text
    return str(answer.headers["x-td-model"])


@pytest.mark.parametrize("sticky", [True, False])
def test_a_conversation_stays_where_its_prompt_is_cached(
    start: Callable[..., Serving], strong: Upstream, sticky: bool
) -> None:
    """The dear model with its prefix cached costs less than the cheap one that has to read all of it."""
    models = {
        "small": {
            **SMALL,
            "deployments": [{"upstream": "cheap"}],
            "input_cost_per_token": 8e-6,
            "expected_output_tokens": 1,
        },
        "large": {**LARGE, "deployments": [{"upstream": "strong"}], "expected_output_tokens": 1},
    }
    gateway = start(models=models, sessions={"sticky": sticky})
    strong.usual = Behaviour(input_tokens=4000, cached_tokens=3900)
    assert turn(gateway, 1, -1.0) == "large"
    # A gain that would not be worth the dearer model anew.
    assert turn(gateway, 2, 0.3) == ("large" if sticky else "small")


@pytest.mark.parametrize("gone", ["engine", "features", "encoder and features"])
def test_a_router_that_breaks_fails_open(
    start: Callable[..., Serving], monkeypatch: pytest.MonkeyPatch, gone: str
) -> None:
    gateway = start()

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("the engine is broken")

    monkeypatch.setattr(Router, "decide", broken)
    if "features" in gone:
        monkeypatch.setattr(_core, "featurise", broken)
    if "encoder" in gone:
        monkeypatch.setattr(_core, "encode", broken)
    for number in range(20):
        answer = gateway.chat(f"{HARD} {number}", model="auto")
        assert answer.status_code == 200, answer.text
        assert answer.headers["x-td-level"] == ("2" if gone == "engine" else "3")
        assert answer.headers["x-td-model"] == "large"
    assert gateway.chat(model="small").headers["x-td-model"] == "small"
    monkeypatch.undo()
    assert gateway.gateway.status().ready


def test_decisions_can_be_looked_up(gateway: Serving) -> None:
    answer = gateway.chat(HARD, model="auto", td={"threshold": -1.0})
    decision = answer.headers["x-td-decision"]
    found = gateway.http.get(f"/decisions/{decision}")
    assert found.status_code == 200, found.text
    assert found.json()["model"] == "large"
    assert HARD not in found.text, "prompts are not kept unless asked"
    assert gateway.http.get("/decisions/nothing").status_code == 404


def test_feedback_refers_to_an_answer(gateway: Serving) -> None:
    answer = gateway.chat(HARD, model="auto")
    sent = gateway.http.post(
        "/feedback", json={"id": answer.json()["id"], "score": 0.5, "label": "good", "text": "Yes."}
    )
    assert sent.status_code in (200, 201), sent.text
    unknown = gateway.http.post("/feedback", json={"id": "chatcmpl-unknown", "score": 1.0})
    assert unknown.status_code == 404
    wrong = gateway.http.post("/feedback", json={"id": answer.json()["id"], "score": 7})
    assert wrong.status_code == 400
