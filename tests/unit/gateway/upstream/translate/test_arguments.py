"""Arguments of tool calls, as models write them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiny_dancer.gateway.upstream.translate import arguments

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.text(max_size=3), VALUES, max_size=4)


@pytest.mark.parametrize(
    ("text", "expected", "cut"),
    [
        ("", {}, False),
        (" \n", {}, False),
        ("null", {}, False),
        ('{"a": 1}', {"a": 1}, False),
        ('{"a": "x\ny"}', {"a": "x\ny"}, False),
        ('{"a": 1}}', {"a": 1}, False),
        ('{"a": 1}</tool_call>', {"a": 1}, False),
        ('{}{"a": 1}', {"a": 1}, False),
        ('"{\\"a\\": 1}"', {"a": 1}, False),
        ('{"a": ', {}, True),
        ('{"a": "b', {"a": "b"}, True),
        ('{"a": "b\\', {"a": "b"}, True),
        ('{"a": "b\\u00e', {"a": "b"}, True),
        ('{"a": "b\\ud83d', {"a": "b"}, True),
        ('{"a": "b\\ud83d\\ude00', {"a": "b😀"}, True),
        ('{"a": 1, "b": 12', {"a": 1}, True),
        ('{"a": 1, "b": tr', {"a": 1}, True),
        ('{"a": 1, "b', {"a": 1}, True),
        ('{"a": {"b": [1, {"c": "d"', {"a": {"b": [1, {"c": "d"}]}}, True),
        ('{"a": "x\ny', {"a": "x\ny"}, True),
        ("[]", {"unreadable_arguments": "[]"}, False),
        ("{'a': 1}", {"unreadable_arguments": "{'a': 1}"}, False),
        ('{"a": 1]', {"unreadable_arguments": '{"a": 1]'}, False),
    ],
)
def test_what_models_write(text: str, expected: Any, cut: bool) -> None:
    found = arguments.read(text)
    assert (json.loads(bytes(found.input)), found.cut) == (expected, cut)


def test_numbers_are_kept() -> None:
    assert bytes(arguments.read('{"n":123456789012345678901234567890,"x":"').input) == (
        b'{"n":123456789012345678901234567890,"x":""}'
    )


def test_deep_nesting_is_no_work() -> None:
    for depth in (400, 100_000):
        assert isinstance(json.loads(bytes(arguments.read('{"a":' * depth).input)), dict)


@given(OBJECTS, st.booleans(), st.data())
def test_an_object_cut_anywhere_is_a_part_of_it(value: Any, ascii_only: bool, data: st.DataObject) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only)
    at = data.draw(st.integers(1, len(text)))
    found = arguments.read(text[:at])
    assert found.cut == (at < len(text))
    assert arguments.are_whole(text[:at]) == (at == len(text))
    assert is_part(json.loads(bytes(found.input)), value)


def is_part(part: Any, whole: Any) -> bool:
    if isinstance(part, dict):
        return isinstance(whole, dict) and all(name in whole and is_part(part[name], whole[name]) for name in part)
    if isinstance(part, list):
        return isinstance(whole, list) and all(map(is_part, part, whole))
    if isinstance(part, str):
        return isinstance(whole, str) and whole.startswith(part)
    return bool(part == whole)


@given(st.text(alphabet='{}[]",:\\ab1 u', max_size=30))
def test_anything_is_an_object(text: str) -> None:
    assert isinstance(json.loads(bytes(arguments.read(text).input)), dict)
