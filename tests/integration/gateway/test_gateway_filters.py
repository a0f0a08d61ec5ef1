"""What a content filter refuses goes to the next model where that is chosen, and nowhere else."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from tests.gateway_upstream import Behaviour
from tests.integration.gateway.serving import EASY, text_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.gateway_upstream import Upstream
    from tests.integration.gateway.serving import Serving

BOTH = {"models": ["small", "large"]}
ASKED = {"td": {"fallback_on": ["content_filter"]}}
USAGE = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}


def cut(reason: str = "content_filter", choices: int = 1) -> Behaviour:
    """A whole answer that a filter has ended."""
    found = [
        {"index": place, "message": {"role": "assistant", "content": "Once"}, "finish_reason": reason}
        for place in range(choices)
    ]
    body = {"id": "c1", "object": "chat.completion", "model": "m", "choices": found, "usage": USAGE}
    return Behaviour(body=json.dumps(body).encode())


ERRORS = {
    "azure": Behaviour(status=400, error={"message": "The response was filtered", "code": "content_filter"}),
    "openai": Behaviour(status=400, error={"message": "Rejected.", "code": "content_policy_violation"}),
    "openrouter": Behaviour(status=403, error={"message": "Your input was flagged", "code": 403}),
    "moderation": Behaviour(status=403, error={"message": "Blocked by moderation."}),
    "dashscope": Behaviour(status=400, error={"message": "Input may be bad.", "code": "data_inspection_failed"}),
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", ERRORS)
def test_an_error_of_a_filter_leads_on_where_that_is_chosen(
    gateway: Serving, cheap: Upstream, strong: Upstream, name: str, stream: bool
) -> None:
    trouble = ERRORS[name]
    unasked: tuple[dict[str, Any], ...] = ({}, {"td": {"fallback_on": []}}, {"td": {"fallback_on": None}})
    for more in unasked:
        cheap.script(trouble)
        answer = gateway.chat(**BOTH, **more, stream=stream)
        assert answer.status_code == trouble.status
        assert answer.json()["error"]["message"] == trouble.error["message"]
    assert not strong.received
    for asked in ({"headers": {"x-td-fallback-on": "content_filter"}}, ASKED):
        cheap.script(trouble)
        answer = gateway.chat(**BOTH, **asked, stream=stream)
        assert answer.status_code == 200, answer.text
        assert answer.headers["x-td-model"] == "large"
        assert answer.headers["x-td-fallbacks"] == "1"
    assert gateway.states()["small"] == "closed", "a filter that works is no failure"
    cheap.script(trouble)
    answer = gateway.chat(model="small", **ASKED)
    assert answer.status_code == trouble.status, "there is no other"
    assert answer.json()["error"]["message"] == trouble.error["message"]


def test_the_configuration_chooses_unless_the_request_does(
    start: Callable[..., Serving], cheap: Upstream, strong: Upstream
) -> None:
    gateway = start(fallback_on=["content_filter"])
    cheap.script(ERRORS["azure"])
    assert gateway.chat(**BOTH).headers["x-td-model"] == "large"
    cheap.script(ERRORS["azure"])
    assert gateway.chat(**BOTH, td={"fallback_on": []}).status_code == 400
    cheap.script(Behaviour(status=400, error={"message": "temperature is too high", "code": "invalid_value"}))
    assert gateway.chat(**BOTH).status_code == 400, "of another kind"
    assert len(strong.received) == 1
    wrong = gateway.chat(**BOTH, td={"fallback_on": ["everything"]})
    assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "td")
    assert gateway.chat(headers={"x-td-fallback-on": "everything"}).status_code == 400


def paid(gateway: Serving) -> Any:
    assert gateway.gateway.services.accounting.flush(30)
    return max(gateway.gateway.services.storage.request_history(), key=lambda each: each.time)


def test_an_answer_that_a_filter_cut_is_paid_for_beside_the_one_served(
    start: Callable[..., Serving], cheap: Upstream, strong: Upstream
) -> None:
    gateway = start(fallback_on=["content_filter"])
    cheap.script(cut(), cut(), cut("stop"))
    answer = gateway.chat(**BOTH)
    assert answer.headers["x-td-model"] == "large"
    assert answer.headers["x-td-reason"] == "content_filter"
    expected = 100 * 1e-6 + 10 * 2e-6 + 30 * 1e-5 + 5 * 3e-5
    assert float(answer.headers["x-td-cost"]) == pytest.approx(expected)
    record = paid(gateway)
    assert (record.model, record.fallbacks, record.attempts) == ("large", 1, 2)
    assert record.cost == pytest.approx(expected)
    # Served after all where nobody else answers.
    strong.script(Behaviour(status=500))
    answer = gateway.chat(**BOTH)
    assert answer.status_code == 200
    assert answer.json()["choices"][0]["finish_reason"] == "content_filter"
    assert answer.headers["x-td-model"] == "small"
    assert "x-td-fallbacks" not in answer.headers
    record = paid(gateway)
    assert (record.model, record.cost) == ("small", pytest.approx(100 * 1e-6 + 10 * 2e-6))
    assert gateway.chat(**BOTH).headers["x-td-model"] == "small", "an answer as any other"
    # And where it is not chosen.
    cheap.script(cut())
    assert gateway.chat(**BOTH, td={"fallback_on": []}).headers["x-td-model"] == "small"


def test_every_model_s_answer_is_cut(start: Callable[..., Serving], cheap: Upstream, strong: Upstream) -> None:
    gateway = start(fallback_on=["content_filter"])
    cheap.script(cut())
    strong.script(cut(choices=2))
    answer = gateway.chat(**BOTH)
    assert (answer.status_code, answer.headers["x-td-model"]) == (200, "large"), "the last one"
    record = paid(gateway)
    assert record.cost == pytest.approx(100 * 1e-6 + 10 * 2e-6 + 100 * 1e-5 + 10 * 3e-5)


def test_a_stream_is_not_held_back_to_see_how_it_ends(
    start: Callable[..., Serving], cheap: Upstream, strong: Upstream
) -> None:
    gateway = start(fallback_on=["content_filter"])
    answer = gateway.chat(EASY, **BOTH, stream=True)
    assert text_of(answer.text) == "Hello there, my friend."
    assert not strong.received


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        ("/messages", {"max_tokens": 9}, {"stop_reason": "refusal"}),
        ("/responses", {}, {"status": "incomplete", "incomplete_details": {"reason": "content_filter"}}),
    ],
)
def test_other_protocols_have_their_own_word_for_it(
    start: Callable[..., Serving], cheap: Upstream, strong: Upstream, path: str, body: dict[str, Any], said: Any
) -> None:
    anthropic = {"kind": "anthropic", "base_url": cheap.url} if path == "/messages" else {"base_url": cheap.url}
    gateway = start(upstreams={"cheap": anthropic, "strong": {"base_url": strong.url}})
    whole = {
        "id": "m1", "type": "message", "role": "assistant", "model": "m", "content": [], "output": [],
        "usage": {"input_tokens": 1, "output_tokens": 1}, **said,
    }  # fmt: skip
    cheap.script(Behaviour(body=json.dumps(whole).encode()))
    asked = {"messages": [{"role": "user", "content": "Hi"}]} if path == "/messages" else {"input": "Hi"}
    answer = gateway.http.post(path, json={**asked, **body, **BOTH, **ASKED})
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-td-model"] == "large"
