"""The compiled engine agrees with the readable reference: at random, and on real rows."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.integration.conformity import (
    ARTIFACTS,
    KINDS,
    artifact,
    as_answer,
    assert_same_answer,
    assert_same_cues,
    engine,
    engine_features,
    expect_answer,
    is_featurised,
    public_router,
    reference,
    reference_encoder,
    reference_router,
)
from tests.integration.random_requests import ASKED, DAMAGED, OPTIONS, SPELT, TEXT

from tiny_dancer import _core

if TYPE_CHECKING:
    from pathlib import Path


RANDOM = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)


def assert_same_features(request: reference.Request) -> reference.Features | None:
    """Reference and engine agree, be it on a refusal (None)."""
    try:
        expected = reference.featurise(request, reference_encoder())
    except reference.Refusal as refusal:
        with pytest.raises(KINDS[refusal.kind]):
            engine_features(request)
        return None
    indices, cues, embedding, tokens = engine_features(request)
    assert indices == sorted(expected.word_ngrams | expected.character_ngrams)
    assert embedding == expected.embedding
    assert tokens == expected.tokens
    assert_same_cues(cues, expected.cues)
    return expected


def assert_same_decision(name: str, request: str, options: str) -> None:
    """Reference and engine give the same whole answer to JSON, or refuse it alike."""
    try:
        expected = reference_router(name).answer(request, options)
    except reference.Refusal as refusal:
        expected = {"error": refusal.kind}
    expect_answer(lambda: json.loads(engine(name).decide_json(request, options)), expected)


@RANDOM
@given(TEXT)
def test_random_texts_have_the_same_features(text: str) -> None:
    assert_same_features(reference.Request(text))


@RANDOM
@given(SPELT)
def test_random_requests_have_the_same_features(written: str) -> None:
    try:
        request = reference.Request.from_json(written)
    except reference.Refusal:
        return
    if is_featurised(request):
        assert_same_features(request)


@RANDOM
@given(st.sampled_from(ARTIFACTS), SPELT)
def test_random_conversations_are_decided_the_same(name: str, written: str) -> None:
    assert_same_decision(name, written, "")


@RANDOM
@given(st.sampled_from(ARTIFACTS), DAMAGED)
def test_damaged_requests_are_judged_the_same(name: str, written: str) -> None:
    assert_same_decision(name, written, "")


@RANDOM
@given(st.sampled_from(ARTIFACTS), ASKED, OPTIONS)
def test_random_options_are_taken_the_same(name: str, asked: Any, options: dict[str, Any]) -> None:
    names = reference_router(name).names
    known = {
        key: [each for each in value if each in names] if key in ("allowed", "exclude") and value else value
        for key, value in options.items()
        if key not in ("pin", "current") or value in names
    }
    if isinstance(known.get("cached_tokens"), dict):
        known["cached_tokens"] = {
            model: tokens for model, tokens in known["cached_tokens"].items() if model in names
        }
    for each in (options, known):
        assert_same_decision(name, json.dumps(asked, ensure_ascii=False), json.dumps(each))


def prices(names: tuple[str, ...], most: float) -> st.SearchStrategy[dict[str, Any]]:
    """Some of these prices, each up to ``most`` USD."""
    return st.fixed_dictionaries({}, optional={name: st.one_of(st.none(), st.floats(0, most)) for name in names})


TIERS = st.lists(
    st.builds(
        lambda above, rates: {"above": above, **rates},
        st.one_of(st.sampled_from((0, 10, 500, 500.5)), st.floats(0, 2000)),
        prices(("input", "output", "cached_input", "cache_write"), 1e-4),
    ),
    max_size=4,
)
CHANGE = st.builds(
    lambda rates, more: {**rates, **more},
    prices(("price_input", "price_output", "price_cached_input", "price_cache_write", "price_request"), 1e-4),
    st.fixed_dictionaries(
        {"price_tiers": TIERS},
        optional={
            "expected_output_tokens": st.one_of(st.none(), st.floats(0, 900)),
            "cost": st.one_of(st.none(), st.lists(st.floats(0, 0.01), min_size=3, max_size=3)),
            "context_window": st.integers(0, 3000),
            "cleared": st.booleans(),
        },
    ),
)
PRICED = st.sampled_from(("swift", "deep", "flat"))


@RANDOM
@given(
    st.lists(CHANGE, min_size=3, max_size=3),
    st.integers(0, 2000),
    st.floats(0, 200),
    PRICED,
    st.dictionaries(PRICED, st.floats(0, 3000)),
)
def test_random_prices_are_reckoned_the_same(
    changes: list[dict[str, Any]], size: int, weight: float, current: str, cached: dict[str, float]
) -> None:
    request = json.dumps({"system": "tide" * size, "input": "How deep?"})
    options = json.dumps({"cost_weight": weight, "current": current, "cached_tokens": cached})
    router = reference.Router(artifact("priced"), reference_encoder(), self_check=False)
    try:
        router.change_models(changes)
        expected = router.answer(request, options)
    except reference.Refusal as refusal:
        expected = {"error": refusal.kind}

    def decide() -> Any:
        changed = _core.Router(artifact("priced"), _core.encoder(), json.dumps(changes))
        return json.loads(changed.decide_json(request, options))

    expect_answer(decide, expected)


# ------------------------------------------------------------------------------------------------------ real rows


@pytest.mark.parametrize("table", ["mmlu", "gsm8k", "llmrouter", "bfcl"])
def test_real_rows_agree(table: str, shared_data: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    columns = parquet.read_table(shared_data / f"{table}.parquet").to_pydict()
    tools = columns.get("tools") or [None] * len(columns["prompt"])
    step = len(tools) // 300
    rows = list(zip(columns["prompt"], tools, strict=True))[::step][:300]
    assert len(rows) == 300
    for number, (prompt, offered) in enumerate(rows):
        request = reference.Request(prompt, tools=offered or "")
        features = assert_same_features(request)
        assert features is not None
        for name in (("pair", "five")[number % 2], "older")[: 1 if number % 10 else 2]:
            router, expected = public_router(name), reference_router(name)
            if name == "older":  # read by its own specification
                features = reference.featurise(request, reference_encoder(), "1")
            answer = expected.decide_features(features, reference.Options()).answer()
            assert_same_answer(as_answer(router.decide(prompt, offered), router.models), answer)
