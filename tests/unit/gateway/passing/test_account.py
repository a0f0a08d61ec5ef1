"""What answers say they took, in the words of many servers."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiny_dancer.gateway.passing.account import read_answer, read_tail
from tiny_dancer.gateway.upstream.dialect import Usage

SAID: list[tuple[dict[str, Any], Usage | None]] = [
    (
        {"usage": {"input_tokens": 50, "output_tokens": 200, "input_tokens_details": {"cached_tokens": 20}}},
        Usage(50, 200, 20),
    ),
    ({"usage": {"prompt_tokens": 12, "total_tokens": 12}}, Usage(12, 0)),
    ({"usage": {"total_tokens": 70}}, Usage(70, 0)),
    ({"usage": {"type": "tokens", "input_tokens": 14.0, "output_tokens": 45}}, Usage(14, 45)),
    ({"usage": {"type": "duration", "seconds": 9}}, None),
    ({"meta": {"tokens": {"input_tokens": 5}, "billed_units": {"search_units": 1}}}, Usage(5, 0)),
    ({"meta": {"billed_units": {"input_tokens": 6, "output_tokens": 0}}}, Usage(6, 0)),
    ({"meta": {"billed_units": {"search_units": 1}}}, None),
    ({"usage": {}}, None),
    ({"usage": None}, None),
    ({"usage": [1]}, None),
    ({"usage": {"input_tokens": "many", "output_tokens": None}}, None),
    ({"usage": {"input_tokens": -1, "total_tokens": True}}, None),
    ({"usage": {"input_tokens": 5, "input_tokens_details": {"cached_tokens": 9}}}, Usage(5, 0, 5)),
    ({}, None),
]


@pytest.mark.parametrize(("said", "usage"), SAID)
def test_of_a_whole_answer_and_of_a_stream_s_last_event(said: dict[str, Any], usage: Usage | None) -> None:
    assert read_answer(json.dumps({"id": "x", **said}).encode()) == (usage, "x")
    if "usage" in said:
        first = b'data: {"type": "delta", "usage": null, "text": "\\"usage\\": {\\"input_tokens\\": 1}"}\n\n'
        assert read_tail(first + b"data: " + json.dumps({"type": "done", **said}).encode() + b"\n\n") == usage


@given(st.one_of(st.binary(max_size=100), st.text(alphabet='"usage:{} 1,\\n', max_size=100).map(str.encode)))
def test_nothing_is_refused(body: bytes) -> None:
    read_answer(body)
    read_tail(body)


@pytest.mark.parametrize("id", [None, 7, ["a"], {}])
def test_an_id_that_is_none(id: Any) -> None:
    assert read_answer(json.dumps({"id": id}).encode()) == (None, None)
