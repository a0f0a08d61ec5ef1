"""What a decision says, and that every way of asking gives the same one."""

from __future__ import annotations

import asyncio
import math
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from tests.synthetic import fitted_pair, fitted_trio, requests

from tiny_dancer import Decision, ModelInfo, Router
from tiny_dancer._core import REASONS, ROUTED_BY
from tiny_dancer.routing import featurise

TEXTS = [
    *requests(30, 77)[0],
    "早起的鸟儿有虫吃。",
    "def f(x):\n    return x\n",
    "A\u200b",
    "é" * 700,
    "a\0b",
    "?",
]


@pytest.fixture(scope="module")
def router() -> Router:
    return Router(fitted_trio().artifact)


def content(decision: Decision) -> dict[str, object]:
    """A decision without what differs from call to call."""
    return {
        each.name: getattr(decision, each.name)
        for each in msgspec.structs.fields(decision)
        if each.name not in ("id", "elapsed_us")
    }


def test_the_shipped_artifact_decides() -> None:
    router = Router.load()
    assert router.models == ("weak", "strong")
    decision = router.route("What is 2 + 2?")
    assert decision.model in router.models
    assert router.route_batch(["What is 2 + 2?"])[0].model == decision.model


@pytest.mark.parametrize("text", TEXTS)
def test_a_decision_says_all_that_the_design_lists(router: Router, text: str) -> None:
    decision = router.route(text)
    assert isinstance(decision.id, str)
    assert decision.id
    assert decision.model in router.models
    assert tuple(decision.scores) == router.models
    assert all(0 <= score <= 1 for score in decision.scores.values())
    assert decision.quality == decision.scores[decision.model]
    assert decision.costs is not None
    assert tuple(decision.costs) == router.models
    assert decision.cost == decision.costs[decision.model]
    assert all(cost is not None and math.isfinite(cost) and cost >= 0 for cost in decision.costs.values())
    assert 0 <= decision.confidence <= 1
    best = max(decision.scores, key=lambda name: decision.scores[name])
    assert best in decision.prediction_set
    assert set(decision.prediction_set) <= set(router.models)
    assert decision.reason in REASONS
    assert decision.routed_by in ROUTED_BY
    assert decision.guarantee is None
    assert "no certificate" in decision.guarantee_note
    assert decision.artifact_version == "0.1.0"
    assert 0 < decision.elapsed_us < 1e6


def test_decisions_cannot_be_changed(router: Router) -> None:
    with pytest.raises(AttributeError):
        router.route("x").model = "cheap"  # type: ignore[misc]


@pytest.mark.parametrize("artifact", [fitted_pair, fitted_trio])
def test_every_way_of_asking_gives_the_same_decision(artifact: object) -> None:
    router = Router(artifact().artifact)  # type: ignore[operator]
    one_by_one = [content(router.route(text)) for text in TEXTS]
    ways: dict[str, Any] = {
        "list": router.route_batch(TEXTS),
        "tuple": router.route_batch(tuple(TEXTS)),
        "generator": router.route_batch(text for text in TEXTS),
        "numpy objects": router.route_batch(np.array(TEXTS, object)),
        "arrow": router.route_batch(pa.array(TEXTS)),
        "arrow chunks": router.route_batch(pa.chunked_array([TEXTS[:5], TEXTS[5:]])),
        "messages": router.route_batch([[{"role": "user", "content": text}] for text in TEXTS]),
        "features": router.route_features(featurise(TEXTS)),
        "one at a time": [router.route_batch([text])[0] for text in TEXTS],
        "awaited": [asyncio.run(router.aroute(text)) for text in TEXTS],
    }
    for way, decisions in ways.items():
        assert [content(decision) for decision in decisions] == one_by_one, way


def test_numpy_strings_are_routed(router: Router) -> None:
    plain = [text for text in TEXTS if "\0" not in text]  # numpy's fixed-width strings drop NULs at the end only
    assert router.route_batch(np.array(plain)).choice.tolist() == router.route_batch(plain).choice.tolist()


def test_texts_and_messages_mix_in_a_batch(router: Router) -> None:
    mixed = [TEXTS[0], [{"role": "user", "content": TEXTS[1]}], TEXTS[2]]
    assert router.route_batch(mixed).scores.tolist() == router.route_batch(TEXTS[:3]).scores.tolist()


def test_awaiting_passes_options_on(router: Router) -> None:
    assert asyncio.run(router.aroute("hello there", pin="middling")).model == "middling"


def test_an_empty_batch_is_empty(router: Router) -> None:
    batch = router.route_batch([])
    assert len(batch) == 0
    assert list(batch) == []
    assert batch.scores.shape == batch.costs.shape == batch.prediction_set.shape == (0, 3)


def test_a_batch_is_a_sequence(router: Router) -> None:
    batch = router.route_batch(TEXTS[:4])
    assert [each.id for each in batch] == [batch[row].id for row in range(4)]
    assert batch[-1].id == batch[3].id
    for row in (4, -5):
        with pytest.raises(IndexError):
            batch[row]
    assert not np.isnan(batch.scores).any()
    assert not np.isnan(batch.confidence).any()
    assert batch.prediction_set.any(1).all()


def test_ids_are_unique_across_calls_batches_and_routers(router: Router) -> None:
    other = Router(fitted_trio().artifact)
    ids = [router.route("x").id for _ in range(200)] + [other.route("x").id for _ in range(200)]
    for _ in range(5):
        ids += [decision.id for decision in router.route_batch(["x"] * 50)]
        ids += [decision.id for decision in router.route_features(featurise(["x"] * 50))]
    assert len(set(ids)) == len(ids)


def test_eight_threads_decide_alike(router: Router) -> None:
    alone = [content(router.route(text)) for text in TEXTS]

    def work(_: int) -> list[dict[str, object]]:
        return [content(router.route(text)) for _ in range(5) for text in TEXTS]

    with ThreadPoolExecutor(8) as pool:
        for found in pool.map(work, range(8)):
            assert found == alone * 5


def test_a_batch_lets_other_threads_work(router: Router) -> None:
    batch = TEXTS * 1500
    router.route_batch(batch[:100])
    counted, stop, started = 0, threading.Event(), threading.Event()

    def count() -> None:
        nonlocal counted
        started.set()
        while not stop.is_set():
            counted += 1

    thread = threading.Thread(target=count)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        thread.start()
        started.wait()
        before = counted
        router._engine.decide_batch(batch, None, None)
        during = counted - before
    finally:
        stop.set()
        thread.join()
        sys.setswitchinterval(interval)
    # Were the lock held for the batch, only the steps of one hand-over would have been counted: some hundreds.
    assert during > 20_000


def test_requests_of_a_megabyte_cost_bounded_work(router: Router) -> None:
    long = "Explain the word bridge and the number 12. " * 25_000
    assert len(long) > 1_000_000
    decision = router.route(long)
    assert content(router.route_batch([long])[0]) == content(decision)
    assert decision.costs is not None
    short = router.route("Explain the word bridge and the number 12.")
    assert short.costs is not None
    assert decision.costs["dear"] > short.costs["dear"] * 1000, "a long prompt costs by all of its tokens"


def test_tools_and_system_messages_may_change_scores_but_not_break() -> None:
    router = Router.load()
    tools = [{"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}]
    listed = router.route("Weather in Rome?", tools=tools)
    text = '[{"type":"function","function":{"name":"get_weather","parameters":{"type":"object"}}}]'
    assert router.route("Weather in Rome?", tools=text).scores == listed.scores
    assert router.route_batch(["Weather in Rome?"], tools=[tools])[0].scores == listed.scores
    assert (
        router.route_batch(["Weather in Rome?", "Hi"], tools=[text, None])[1].scores == router.route("Hi").scores
    )
    assert listed.scores != router.route("Weather in Rome?").scores


def test_chat_messages_of_every_shape() -> None:
    router = Router.load()
    parts = [
        {"type": "text", "text": "What is in the picture?"},
        {"type": "image_url", "image_url": {"url": "data:,"}},
    ]
    conversation: list[Any] = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": parts},
        {"role": "assistant", "content": None, "tool_calls": []},
        {"role": "tool", "content": "42", "tool_call_id": "1"},
        {"role": "user", "content": ["And", "why?"]},
    ]
    decision = router.route(conversation)
    assert decision.model in router.models
    assert router.route_batch([conversation])[0].scores == decision.scores
    plain = router.route([{"role": "user", "content": "What is in the picture?"}])
    assert router.route([{"role": "user", "content": parts}]).scores == plain.scores
    assert plain.scores == router.route("What is in the picture?").scores


def test_every_threshold_decides_by_the_gain() -> None:
    router = Router(fitted_pair().artifact)
    for text in TEXTS:
        scores = router.route(text).scores
        gain = scores["strong"] - scores["weak"]
        assert router.route(text, threshold=gain - 1e-6).model == "strong"
        dearer = router.route(text, threshold=gain + 1e-6)
        assert (dearer.model, dearer.reason, dearer.routed_by) == ("weak", "gain_too_small", "override")
        assert dearer.guarantee is None


def test_confidence_is_higher_where_the_choice_is_clearer() -> None:
    router = Router(fitted_pair().artifact)
    batch = router.route_batch(requests(200, 5)[0])
    rows = np.arange(len(batch))
    margin = batch.scores[rows, batch.choice] - batch.scores[rows, 1 - batch.choice]
    order = np.argsort(margin)
    assert (np.diff(batch.confidence[order]) >= -1e-6).all()
    assert batch.confidence.max() > batch.confidence.min()


def test_models_are_renamed_for_the_caller() -> None:
    router = Router.load(models={"weak": "small-1", "strong": ModelInfo(name="large-1")})
    assert router.models == ("small-1", "large-1")
    decision = router.route("What is 2 + 2?", exclude=["large-1"])
    assert decision.model == "small-1"
    assert tuple(decision.scores) == router.models


def test_costs_are_prices_times_tokens() -> None:
    weak = ModelInfo(
        input_cost_per_token=1e-6, output_cost_per_token=2e-6, cost_per_request=1e-3, expected_output_tokens=100
    )
    strong = ModelInfo(input_cost_per_token=1e-5, output_cost_per_token=3e-5, expected_output_tokens=50)
    router = Router.load(models={"weak": weak, "strong": strong})
    text = "A baker sells 12 rolls for $3.60. How much do 45 rolls cost?"
    tokens = int(featurise([text]).tokens[0])
    costs = router.route(text).costs
    assert costs is not None
    assert costs["weak"] == pytest.approx(1e-3 + tokens * 1e-6 + 100 * 2e-6)
    assert costs["strong"] == pytest.approx(tokens * 1e-5 + 50 * 3e-5)
    known = router.route(text, expected_output_tokens=1000).costs
    assert known is not None
    assert known["weak"] == pytest.approx(1e-3 + tokens * 1e-6 + 1000 * 2e-6)
    assert known["strong"] == pytest.approx(tokens * 1e-5 + 1000 * 3e-5)
    assert router.route_batch([text], expected_output_tokens=1000)[0].costs == known
