"""Arguments that would be misread: what lifts a restriction, or is taken for something else, is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tiny_dancer import Router
from tiny_dancer.errors import OptionError, RequestError


@pytest.fixture(scope="module")
def router() -> Router:
    return Router.load()


def test_an_iterator_read_before_does_not_lift_the_restriction(router: Router) -> None:
    allowed = iter(["weak"])
    assert router.route("Hello", allowed=allowed).model == "weak"
    with pytest.raises(OptionError, match=r"allowed.*an iterator gives its items once"):
        router.route("Hello", allowed=allowed)
    router.route("Hello", exclude=iter(()))


@pytest.mark.parametrize("requests", [{"role": "user", "content": "Hello"}, {}])
def test_a_mapping_is_no_batch(router: Router, requests: Any) -> None:
    with pytest.raises(RequestError, match="requests: dict"):
        router.route_batch(requests)


@pytest.mark.parametrize("tools", ["ab", b"ab", {"a": 1, "b": 2}, 7])
def test_tools_of_a_batch_are_a_list(router: Router, tools: Any) -> None:
    with pytest.raises(RequestError, match=r"tools: .*one entry a request"):
        router.route_batch(["Hello", "Bye"], tools=tools)


def test_tools_of_a_batch_may_be_a_generator(router: Router) -> None:
    tool = {"name": "sail", "input_schema": {"properties": {"to": {}}}}
    found = router.route_batch(["Hello"], tools=(each for each in [[tool]]))
    assert found.scores[0].tolist() == list(router.route("Hello", tools=[tool]).scores.values())


@pytest.mark.parametrize("name", ["allowed", "exclude", "cached_tokens", "max_cost", "pin", "policy"])
def test_null_asks_nothing(router: Router, name: str) -> None:
    asked = router._engine.decide_json('"Hello"', json.dumps({name: None}))
    assert asked == router._engine.decide_json('"Hello"')


@pytest.mark.parametrize(
    ("options", "field", "value"),
    [
        ({"policy": "cost", "max_cost": "1"}, "max_cost", '"1"'),
        ({"allowed": "weak"}, "allowed", '"weak"'),
        ({"exclude": [1]}, "exclude", "[1]"),
        ({"pin": 5}, "pin", "5"),
        ({"policy": "fast"}, "policy", '"fast"'),
        ({"cached_tokens": {"weak": None}}, "cached_tokens", '{"weak":null}'),
    ],
)
def test_an_option_that_cannot_be_read_is_named(router: Router, options: Any, field: str, value: str) -> None:
    with pytest.raises(OptionError) as found:
        router._engine.decide_json('"Hello"', json.dumps(options))
    assert (found.value.field, found.value.value) == (field, value)


def test_the_output_of_a_call_may_be_a_screenshot(router: Router) -> None:
    said = {"role": "user", "content": "What is on the screen?"}
    shot = {"type": "computer_call_output", "output": {"type": "computer_screenshot", "image_url": "data:,"}}
    assert router.route([said, shot]).scores == router.route([said, {**shot, "output": None}]).scores


def test_the_output_of_a_call_may_be_one_part(router: Router) -> None:
    part = {"type": "input_text", "text": "Five ships lie in the harbour."}
    one, listed = ({"type": "function_call_output", "output": output} for output in (part, [part]))
    assert router.route([one]).scores == router.route([listed]).scores
    with pytest.raises(RequestError, match=r"content: an object"):
        router.route([{"role": "user", "content": part}])


@pytest.mark.parametrize("refusal", [None, "no"])
def test_a_word_about_refusals_beside_a_text_is_not_what_is_said(router: Router, refusal: str | None) -> None:
    part = {"type": "output_text", "text": "Prove that there are infinitely many primes."}
    found = router.route([{"role": "user", "content": [{**part, "refusal": refusal}]}])
    assert found.scores == router.route([{"role": "user", "content": [part]}]).scores
