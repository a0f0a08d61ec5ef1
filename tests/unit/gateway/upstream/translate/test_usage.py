"""What answers cost, read from all that servers write."""

from __future__ import annotations

import json
import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiny_dancer.gateway.upstream.dialect import Usage
from tiny_dancer.gateway.upstream.kinds.openai import ChunkEvents, PassThrough
from tiny_dancer.gateway.upstream.translate.usage import (
    AnthropicCounts,
    later,
    read_openai,
    say_anthropic,
    say_openai,
)

COUNTS = st.integers(0, 2**36)
ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
    st.sampled_from(["12", "1e3", "nan", "-4", "inf", "0x10", "9" * 400]),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.sampled_from(["cached_tokens", "audio_tokens", "reasoning_tokens", "x"]), st.floats()),
)
NAMES = st.sampled_from(
    [
        "prompt_tokens",
        "completion_tokens",
        "total_tokens",
        "input_tokens",
        "output_tokens",
        "cached_tokens",
        "prompt_cache_hit_tokens",
        "prompt_tokens_details",
        "completion_tokens_details",
        "input_tokens_details",
        "output_tokens_details",
        "cache_creation",
        "cache_creation_input_tokens",
        "cache_read_input_tokens",
        "cache_write_tokens",
        "reasoning_tokens",
        "service_tier",
    ]
)


def openai(said: Any) -> Usage | None:
    return read_openai(json.dumps(said).encode())


def anthropic(*said: Any) -> Usage | None:
    counts = AnthropicCounts()
    for each in said:
        counts.update(json.dumps(each).encode())
    return counts.usage


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        pytest.param({"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}, Usage(7, 5), id="openai"),
        pytest.param(
            {
                "prompt_tokens": 100,
                "completion_tokens": 50,
                "prompt_tokens_details": {"cached_tokens": 60, "audio_tokens": 5, "cache_write_tokens": 20},
                "completion_tokens_details": {"reasoning_tokens": 30, "audio_tokens": 4},
            },
            Usage(100, 50, 60, 20, 0, 5, 4, 30),
            id="openai, details",
        ),
        pytest.param(
            {
                "input_tokens": 100,
                "output_tokens": 50,
                "total_tokens": 150,
                "input_tokens_details": {"cached_tokens": 60},
                "output_tokens_details": {"reasoning_tokens": 30},
            },
            Usage(100, 50, 60, reasoning_tokens=30),
            id="responses",
        ),
        pytest.param(
            {"prompt_tokens": 100, "completion_tokens": 5, "cached_tokens": 80}, Usage(100, 5, 80), id="moonshot"
        ),
        pytest.param(
            {
                "prompt_tokens": 100,
                "completion_tokens": 5,
                "prompt_cache_hit_tokens": 80,
                "prompt_cache_miss_tokens": 20,
            },
            Usage(100, 5, 80),
            id="deepseek",
        ),
        pytest.param(
            {"prompt_tokens": 9, "completion_tokens": 5, "num_cached_tokens": 3}, Usage(9, 5, 3), id="mistral"
        ),
        pytest.param(
            {"prompt_tokens": 100, "completion_tokens": 5, "cache_write_tokens": 80},
            Usage(100, 5, 0, 80),
            id="openrouter",
        ),
        pytest.param(
            {
                "prompt_tokens": 10,
                "completion_tokens": 9,
                "total_tokens": 319,
                "completion_tokens_details": {"reasoning_tokens": 300},
            },
            Usage(10, 309, reasoning_tokens=300),
            id="xai: reasoning outside",
        ),
        pytest.param(
            {"prompt_tokens": 10, "completion_tokens": 9, "total_tokens": 319}, Usage(10, 309), id="gemini: unsaid"
        ),
        pytest.param(
            {
                "prompt_tokens": 10,
                "completion_tokens": 309,
                "total_tokens": 319,
                "completion_tokens_details": {"reasoning_tokens": 300},
            },
            Usage(10, 309, reasoning_tokens=300),
            id="reasoning inside",
        ),
        pytest.param(
            {"prompt_tokens": 10, "total_tokens": 50, "completion_tokens_details": {"reasoning_tokens": 5}},
            Usage(10, 40, reasoning_tokens=5),
            id="no output but by the total",
        ),
        pytest.param(
            {"completion_tokens": 10, "total_tokens": 50}, Usage(40, 10), id="no prompt but by the total"
        ),
        pytest.param({"total_tokens": 50}, Usage(50, 0), id="voyage: the total alone"),
        pytest.param(
            {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 1005, "cache_read_input_tokens": 990},
            Usage(1000, 5, 990),
            id="cached beside the prompt, by the total",
        ),
        pytest.param(
            {"input_tokens": 10, "output_tokens": 5, "cache_read_input_tokens": 90},
            Usage(100, 5, 90),
            id="anthropic's words",
        ),
        pytest.param(
            {
                "prompt_tokens": 100,
                "completion_tokens": 5,
                "cache_creation": {"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 30},
                "cache_creation_input_tokens": 40,
            },
            Usage(100, 5, 0, 40, 30),
            id="written for an hour",
        ),
        pytest.param({"prompt_tokens": 7.0, "completion_tokens": "5"}, Usage(7, 5), id="floats and texts"),
        pytest.param({"prompt_tokens": 7, "completion_tokens": None}, Usage(7, 0), id="null"),
        pytest.param({"prompt_tokens": -7, "completion_tokens": 5}, Usage(0, 5), id="negative"),
        pytest.param({"prompt_tokens": 7, "completion_tokens": 2**41}, Usage(7, 0), id="huge"),
        pytest.param({"prompt_tokens": 7, "completion_tokens": [5]}, Usage(7, 0), id="a list as a count"),
        pytest.param({"prompt_tokens": True, "completion_tokens": 5}, Usage(0, 5), id="true is no count"),
        pytest.param(
            {"prompt_tokens": 7, "completion_tokens": 5, "prompt_tokens_details": [{"cached_tokens": 3}]},
            Usage(7, 5),
            id="a list of details",
        ),
        pytest.param(
            {"prompt_tokens": 7, "completion_tokens": 5, "service_tier": "flex"},
            Usage(7, 5, tier="flex"),
            id="tier",
        ),
    ],
)
def test_what_servers_of_openai_s_kind_write(said: dict[str, Any], expected: Usage) -> None:
    assert openai(said) == expected


@pytest.mark.parametrize("said", [{}, None, [], 5, "x", {"prompt_tokens": 0, "completion_tokens": None}])
def test_what_counts_nothing_is_no_usage(said: Any) -> None:
    assert openai(said) is None
    assert anthropic(said) is None


def test_what_is_no_json_is_no_usage() -> None:
    assert read_openai(b"{") is None
    assert AnthropicCounts(b"[" * 100_000).usage is None


def test_not_a_number_costs_one_count_and_not_the_answer() -> None:
    body = b'{"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":NaN,"cached_tokens":Infinity}}'
    assert PassThrough("/chat/completions").response(body).usage == Usage(7, 0)


@given(st.dictionaries(NAMES, ODD))
def test_whatever_is_said_is_read_as_counts_that_fit(said: dict[str, Any]) -> None:
    try:
        raw = msgspec.json.encode(said)
    except (OverflowError, UnicodeEncodeError):
        return
    for usage in (read_openai(raw), AnthropicCounts(raw).usage):
        if usage is None:
            continue
        counts = [value for name, value in msgspec.structs.asdict(usage).items() if name != "tier"]
        assert all(type(count) is int and 0 <= count <= 2**43 for count in counts)
        prompt, output = usage.input_tokens, usage.output_tokens
        assert max(usage.cached_tokens, usage.written_tokens, usage.input_audio_tokens) <= prompt
        assert usage.written_hour_tokens <= usage.written_tokens
        assert max(usage.reasoning_tokens, usage.output_audio_tokens) <= output


@given(COUNTS, COUNTS, st.data())
def test_a_count_is_the_same_in_any_form(prompt: int, output: int, data: st.DataObject) -> None:
    forms: list[Any] = [lambda count: count, str, float, lambda count: f"{count}.0"]
    said = {
        "prompt_tokens": data.draw(st.sampled_from(forms))(prompt),
        "completion_tokens": data.draw(st.sampled_from(forms))(output),
    }
    assert openai(said) == (Usage(prompt, output) if prompt or output else None)


@given(COUNTS, COUNTS, COUNTS, COUNTS)
def test_anthropic_s_parts_make_the_prompt_and_are_said_again(
    fresh: int, cached: int, written: int, out: int
) -> None:
    said = {
        "input_tokens": fresh,
        "cache_read_input_tokens": cached,
        "cache_creation_input_tokens": written,
        "output_tokens": out,
    }
    usage = anthropic(said)
    if not any(said.values()):
        assert usage is None
        return
    assert usage == Usage(fresh + cached + written, out, cached, written)
    assert say_anthropic(usage) == said
    told = openai(say_openai(usage))
    assert told == usage


def test_a_cache_s_lifetimes_are_told_apart() -> None:
    said = {
        "input_tokens": 1,
        "cache_creation_input_tokens": 40,
        "cache_creation": {"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 30},
        "output_tokens": 1,
        "service_tier": "priority",
    }
    assert anthropic(said, {"output_tokens": 9}) == Usage(41, 9, 0, 40, 30, tier="priority")


@given(st.lists(st.tuples(COUNTS, COUNTS), min_size=1))
def test_a_known_count_is_never_replaced_by_0(counts: list[tuple[int, int]]) -> None:
    usage: Usage | None = None
    running = AnthropicCounts()
    for prompt, output in counts:
        usage = later(usage, openai({"prompt_tokens": prompt, "completion_tokens": output}))
        running.update(msgspec.json.encode({"input_tokens": prompt, "output_tokens": output}))
    last = [next((each[side] for each in reversed(counts) if each[side]), 0) for side in (0, 1)]
    expected = Usage(*last) if any(last) else None
    assert usage == running.usage == expected


def chunk(**fields: Any) -> bytes:
    return b"data: " + json.dumps({"id": "c", "choices": [], **fields}).encode() + b"\n\n"


@pytest.mark.parametrize(
    "last",
    [
        {"usage": {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}},
        {"usage": {}},
        {"usage": None},
        {"usage": {"prompt_tokens": None}},
        {"usage": []},
    ],
)
def test_a_last_chunk_of_nothing_changes_nothing(last: dict[str, Any]) -> None:
    events = ChunkEvents(wants_usage=True)
    events.feed(chunk(choices=[{"delta": {"content": "x"}}]))
    events.feed(chunk(usage={"prompt_tokens": 7, "completion_tokens": 5}))
    events.feed(chunk(**last))
    assert events.usage == Usage(7, 5)


def test_groq_says_it_in_a_place_of_its_own() -> None:
    events = ChunkEvents(wants_usage=False)
    events.feed(chunk(choices=[{"delta": {"content": "x"}}], x_groq={"id": "req"}))
    usage = {"prompt_tokens": 7, "completion_tokens": 5, "queue_time": 0.1}
    sent = events.feed(chunk(choices=[{"delta": {}, "finish_reason": "stop"}], x_groq={"usage": usage}))
    assert events.usage == Usage(7, 5)
    assert b"finish_reason" in sent


def test_the_tier_beside_the_usage_is_the_answer_s() -> None:
    body = {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 5}, "service_tier": "priority"}
    found = PassThrough("/chat/completions").response(json.dumps(body).encode()).usage
    assert found == Usage(7, 5, tier="priority")


@given(st.floats())
def test_a_float_is_rounded_or_no_count(count: float) -> None:
    raw = repr(count) if math.isfinite(count) else json.dumps(str(count))
    found = read_openai(f'{{"prompt_tokens": {raw}, "completion_tokens": 1}}'.encode())
    assert found is not None
    valid = math.isfinite(count) and 0 < count <= 2**40
    assert found.input_tokens == (round(count) if valid else 0)
