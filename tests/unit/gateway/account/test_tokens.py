"""What a request is likely to take, and at most, before any upstream has said."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.gateway.gateways import CHEAP, caller, chooser, model, opened

from tiny_dancer.gateway.account.tokens import LONGEST_ANSWER, Prompt
from tiny_dancer.gateway.choosing.incoming import parse

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tiny_dancer.gateway.choosing.serving import Serving
    from tiny_dancer.gateway.upstream.dialect import Endpoint

WORDS = "word " * 1000
TIERS = [{"above_tokens": 2000, "input_cost_per_token": 5e-6, "output_cost_per_token": 7e-6}]


@pytest.fixture(scope="module")
def serving() -> Iterator[Serving]:
    models = {
        "small": model(**CHEAP, max_output_tokens=1000),
        "open": model(**CHEAP),
        "window": model(**CHEAP, context_window=4096),
        "tiered": model(**CHEAP, tiers=TIERS),
        "writes": model(**CHEAP, cache_creation_input_token_cost=3e-6),
        "each": model(cost_per_request=0.25),
        "free": model(),
    }
    found = opened(models=models, routers={})
    yield found
    found.close()


def prompt(serving: Serving, endpoint: Endpoint = "chat.completions", text: Any = WORDS, **fields: Any) -> Prompt:
    name = {"completions": "prompt", "responses": "input", "embeddings": "input"}.get(endpoint, "messages")
    said = [{"role": "user", "content": text}] if name == "messages" else text
    body = json.dumps({"model": "small", name: said, **fields}).encode()
    incoming = parse(endpoint, body, {})
    return Prompt(incoming, chooser().plan(serving, incoming, caller()))


def most(serving: Serving, name: str = "small", **more: Any) -> float | None:
    return prompt(serving, **more).most_cost(serving.models[name])


def test_words_count_by_their_bytes_and_at_most_as_the_engine_counts_them(serving: Serving) -> None:
    found = prompt(serving)
    small = serving.models["small"]
    assert found.tokens(small) == 1250
    assert 5000 // 3 <= found.most_tokens(small) <= 5100 // 3
    # Code has more pieces than a third of its bytes.
    code = prompt(serving, text="for (int i=0;i<n;++i){a[i]=b[i]*c[i]+0x3f2a;}\n" * 50)
    assert code.tokens(small) < 600
    assert code.most_tokens(small) > 1900


def test_a_short_prompt_leaves_room_for_what_providers_add(serving: Serving) -> None:
    found = prompt(serving, text="Hi")
    assert found.tokens(serving.models["small"]) < 30
    assert found.most_tokens(serving.models["small"]) == 1000
    assert prompt(serving, endpoint="embeddings", text="Hi").most_tokens(serving.models["small"]) < 30


def test_an_image_is_an_image_whatever_its_bytes(serving: Serving) -> None:
    data = base64.b64encode(bytes(range(256)) * 4000).decode()
    small = serving.models["small"]
    for part in (
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}},
        {"type": "image", "source": {"type": "base64", "data": data}},
    ):
        found = prompt(serving, text=[{"type": "text", "text": "What is this?"}, part])
        assert 1000 <= found.tokens(small) <= 1100
        assert 2000 <= found.most_tokens(small) <= 2200
        two = prompt(serving, text=[part, part])
        assert 2000 <= two.tokens(small) <= 2100


@pytest.mark.parametrize(
    ("name", "fields", "answers"),
    [
        ("small", {"max_tokens": 50}, 50),
        ("small", {"max_completion_tokens": 60, "max_tokens": 50}, 60),
        ("small", {"max_output_tokens": 70}, 1000),  # a word of another endpoint limits nothing
        ("small", {}, 1000),
        ("small", {"max_tokens": 10**9}, 1000),
        ("small", {"max_tokens": "many"}, 1000),
        ("small", {"max_tokens": None}, 1000),
        ("small", {"max_tokens": 50, "n": 3}, 150),
        ("small", {"max_tokens": 50, "n": "3"}, 150),  # many servers read a text as a number
        ("small", {"max_tokens": 50, "n": " 3e0 "}, 150),
        ("small", {"max_tokens": 50, "n": "nan"}, 50),
        ("small", {"max_tokens": "50"}, 1000),
        ("open", {"max_tokens": "50"}, LONGEST_ANSWER),
        ("open", {"max_tokens": "100000"}, 100_000),
        ("open", {"max_tokens": 2**41}, 2**40),
        ("open", {}, LONGEST_ANSWER),
        ("open", {"max_tokens": 100_000}, 100_000),
        ("window", {}, 4096),
        ("window", {"max_tokens": 50_000}, 4096),
    ],
)
def test_an_answer_is_as_long_as_request_and_model_allow(
    serving: Serving, name: str, fields: dict[str, Any], answers: int
) -> None:
    found = prompt(serving, **fields)
    prompts = found.most_tokens(serving.models[name])
    assert found.most_cost(serving.models[name]) == pytest.approx(prompts * 1e-6 + answers * 2e-6)


def test_endpoints_have_answers_of_their_own(serving: Serving) -> None:
    assert most(serving, endpoint="embeddings", text=WORDS) == pytest.approx(5050e-6 / 3, rel=0.02)
    one, three = (most(serving, endpoint="completions", text=text, max_tokens=100) for text in ("a", ["a"] * 3))
    assert one is not None
    assert three is not None
    assert three - one == pytest.approx(400e-6, abs=1e-5)
    assert most(serving, endpoint="responses", text="Hi", max_output_tokens=9) == pytest.approx(1000e-6 + 18e-6)


def test_what_nobody_saw_the_end_of_had_a_usual_answer(serving: Serving) -> None:
    small = serving.models["small"]
    assert prompt(serving).likely(small).output_tokens == 256
    assert prompt(serving, max_tokens=50).likely(small).output_tokens == 50
    assert prompt(serving).likely(small).input_tokens == prompt(serving).tokens(small)


def test_prices_are_those_of_long_prompts_of_caches_and_of_requests(serving: Serving) -> None:
    assert most(serving, "tiered", max_tokens=10) == pytest.approx(5080e-6 / 3 + 20e-6, rel=0.02)
    assert most(serving, "tiered", text=WORDS * 2, max_tokens=10) == pytest.approx(
        10080 / 3 * 5e-6 + 70e-6, rel=0.02
    )
    cached = [{"type": "text", "text": WORDS, "cache_control": {"type": "ephemeral"}}]
    assert most(serving, "writes", max_tokens=10) == pytest.approx(5080e-6 / 3 + 20e-6, rel=0.02)
    assert most(serving, "writes", text=cached, max_tokens=10) == pytest.approx(5150e-6 + 20e-6, rel=0.02)
    assert most(serving, "each") == 0.25
    assert most(serving, "free") is None
