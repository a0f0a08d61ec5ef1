"""JSON schemas: what is one, and what fits it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiny_dancer.errors import OptionError
from tiny_dancer.routing.schemas import check_schema, misfit

ORDER = {
    "type": "object",
    "properties": {
        "size": {"enum": ["small", "large"]},
        "count": {"type": "integer", "minimum": 1, "maximum": 9},
        "note": {"type": ["string", "null"], "maxLength": 5},
        "extras": {"type": "array", "items": {"$ref": "#/$defs/extra"}, "maxItems": 2, "uniqueItems": True},
        "share": {"type": "number", "exclusiveMinimum": 0, "multipleOf": 0.1},
    },
    "required": ["size"],
    "additionalProperties": False,
    "$defs": {"extra": {"anyOf": [{"const": 1}, {"type": "string", "pattern": "^x"}]}},
}


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ({"size": "small"}, None),
        ({"size": "large", "count": 9, "note": None, "extras": ["xa", 1.0], "share": 0.3}, None),
        ({"size": "large", "count": 3.0}, None),
        ([], "answer"),
        ({}, "answer.size"),
        ({"size": "huge"}, "answer.size"),
        ({"size": "small", "count": 0}, "answer.count"),
        ({"size": "small", "count": 1.5}, "answer.count"),
        ({"size": "small", "count": True}, "answer.count"),
        ({"size": "small", "note": "longer"}, "answer.note"),
        ({"size": "small", "extras": ["y"]}, "answer.extras[0]"),
        ({"size": "small", "extras": [True]}, "answer.extras[0]"),
        ({"size": "small", "extras": [1, 1]}, "answer.extras"),
        ({"size": "small", "extras": ["x", "xx", 1]}, "answer.extras"),
        ({"size": "small", "share": 0}, "answer.share"),
        ({"size": "small", "share": 0.25}, "answer.share"),
        ({"size": "small", "other": 1}, "answer.other"),
    ],
)
def test_a_value_fits_or_its_first_fault_is_named(value: Any, place: str | None) -> None:
    check_schema(ORDER, "schema")
    found = misfit(value, ORDER)
    assert (found is None) == (place is None), found
    if place is not None:
        assert found is not None and found.startswith(f"{place} ")


def test_one_of_is_exactly_one() -> None:
    schema = {"oneOf": [{"type": "integer"}, {"minimum": 5}]}
    assert misfit(1, schema) is None
    assert misfit(5.5, schema) is None
    assert misfit(7, schema) is not None


@pytest.mark.parametrize(
    ("schema", "field"),
    [
        ("text", "schema"),
        (None, "schema"),
        ({"type": "text"}, "schema.type"),
        ({"type": 3}, "schema.type"),
        ({"enum": []}, "schema.enum"),
        ({"required": "a"}, "schema.required"),
        ({"properties": []}, "schema.properties"),
        ({"properties": {"a": {"type": "wrong"}}}, "schema.properties.a.type"),
        ({"items": [{}]}, "schema.items"),
        ({"anyOf": []}, "schema.anyOf"),
        ({"minimum": "1"}, "schema.minimum"),
        ({"maxLength": -1}, "schema.maxLength"),
        ({"multipleOf": 0}, "schema.multipleOf"),
        ({"pattern": "("}, "schema.pattern"),
        ({"not": {}}, "schema.not"),
        ({"$ref": "#/$defs/none"}, "schema.$ref"),
        ({"$ref": "https://example.com/schema"}, "schema.$ref"),
        ({"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}, "schema.$ref"),
    ],
)
def test_what_is_no_schema_is_refused_by_its_place(schema: Any, field: str) -> None:
    with pytest.raises(OptionError) as caught:
        check_schema(schema, "schema")
    assert caught.value.field == field


def test_annotations_are_passed_over() -> None:
    check_schema({"title": "a", "description": "b", "format": "date", "x-own": 1, "default": 3}, "schema")


def test_a_schema_that_holds_itself_ends() -> None:
    tree: dict[str, Any] = {"properties": {"next": {"$ref": "#"}}, "additionalProperties": False}
    check_schema(tree, "schema")
    assert misfit({"next": {"next": {}}}, tree) is None
    assert misfit({"next": {"other": {}}}, tree) == "answer.next.other may not be there"
    deep: dict[str, Any] = {}
    for _ in range(900):
        deep = {"next": deep}
    assert misfit(deep, tree) is not None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(-5, 5) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@given(JSON)
def test_every_value_fits_what_says_nothing_and_itself(value: Any) -> None:
    assert misfit(value, {}) is None
    assert misfit(value, {"const": value}) is None
    assert misfit(value, {"enum": [value]}) is None
    assert misfit(value, {"allOf": [False]}) is not None


@given(JSON)
def test_every_value_has_a_type(value: Any) -> None:
    names = ("object", "array", "string", "boolean", "null", "number")
    assert sum(misfit(value, {"type": name}) is None for name in names) == 1
