"""Metadata as Python writes it: converted by type, refused by name."""

from __future__ import annotations

import math
from collections import UserDict
from decimal import Decimal
from enum import Enum, IntEnum
from fractions import Fraction
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest

from tiny_dancer import _core
from tiny_dancer.errors import CandidateError
from tiny_dancer.routing.candidate_set import Candidate, CandidateSet
from tiny_dancer.routing.candidates import CandidateRouter


class Level(IntEnum):
    LOW = 2


class Colour(str, Enum):  # noqa: UP042 - whose str() is not its text
    RED = "red"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("1.0", "1.0"),
        (True, "true"),
        (False, "false"),
        (1, "1"),
        (1.0, "1"),
        (-0.0, "0"),
        (0.1, "0.1"),
        (1e20, "100000000000000000000"),
        (1e21, "1e+21"),
        (1e-7, "1e-7"),
        (2.0**63, "9223372036854776000"),
        (2**63, "9223372036854775808"),
        (-(2**63), "-9223372036854775808"),
        (10**100, "1" + "0" * 100),
        (Level.LOW, "2"),
        (Colour.RED, "red"),
        (np.True_, "true"),
        (np.int8(-3), "-3"),
        (np.uint64(2**64 - 1), "18446744073709551615"),
        (np.float16(0.5), "0.5"),
        (np.float32(0.1), "0.10000000149011612"),
        (np.float64(0.1), "0.1"),
        (np.longdouble(2.5), "2.5"),
        (np.str_("x"), "x"),
    ],
)
def test_a_value_has_one_text(value: Any, text: str) -> None:
    assert _core.metadata_text(value, "k") == text
    found = CandidateSet([Candidate("a", metadata={"k": value}), Candidate("b", metadata={"k": [text, "other"]})])
    for wanted in (value, text, [value], (value,), {value}, frozenset([value])):
        assert found.matching({"k": wanted}) == b"\1\1"
    assert found.matching({"k": "other"}) == b"\0\1"


@pytest.mark.parametrize(
    "value",
    [
        math.nan,
        math.inf,
        -math.inf,
        np.float32("nan"),
        np.complex128(1),
        np.datetime64("2023-05-08", "ns"),
        np.timedelta64(5, "ns"),
        np.bytes_(b"x"),
        np.array([1]),
        Decimal(1),
        Fraction(1, 2),
        1j,
        b"x",
        object(),
        {"a": math.nan},
        [["a", [b"x"]]],
        "\ud800",
        10**5000,
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_no_value_is_refused_by_name(value: Any) -> None:
    with pytest.raises(CandidateError) as caught:
        CandidateSet([Candidate("a"), Candidate("b", metadata={"k": value})])
    assert caught.value.field.startswith("candidates[1].metadata.k")
    assert caught.value.remedy
    found = CandidateSet([Candidate("a", text="tea")])
    with pytest.raises(CandidateError, match=r"where\.k"):
        found.matching({"k": value})
    with CandidateRouter() as router, pytest.raises(CandidateError, match=r"metadata\.k"):
        router.route("tea", found, {"k": value})


def test_what_lies_deeper_has_both_names_and_lists_are_their_items() -> None:
    found = CandidateSet(
        [
            Candidate("a", metadata={"place": {"city": "Oslo", "floors": [1, 2, None]}, "tags": [["x"], ("y",)]}),
            Candidate("b", metadata={"place": [{"city": "Lima"}, {"city": "Riga"}], "place.city": "Oslo"}),
            Candidate("c", metadata={"place": {}, "tags": [[], None]}),
        ]
    )
    for where, flags in (
        ({"place.city": "Oslo"}, b"\1\1\0"),
        ({"place.city": "Riga"}, b"\0\1\0"),
        ({"place.floors": 2}, b"\1\0\0"),
        ({"place": "Oslo"}, b"\0\0\0"),
        ({"place": {"$exists": True}}, b"\1\1\0"),
        ({"tags": "y"}, b"\1\0\0"),
        ({"tags": {"$exists": False}}, b"\0\1\1"),
    ):
        assert found.matching(where) == flags
    features = CandidateRouter().route("tea", found, {"place": {"city": "Riga"}, "tags": 1})
    assert {each.candidate_id: each.features["metadata"] for each in features} == {"a": 0.0, "b": 0.5, "c": 0.0}


def test_nesting_is_bounded() -> None:
    deep: Any = "x"
    for _ in range(64):
        deep = [deep]
    assert CandidateSet([Candidate("a", metadata={"k": deep})]).matching({"k": "x"}) == b"\1"
    endless: dict[str, Any] = {}
    endless["k"] = endless
    for unfit in ([deep], endless, {"k": [endless]}):
        with pytest.raises(CandidateError, match="nested too deeply"):
            CandidateSet([Candidate("a", metadata={"k": unfit})])


@pytest.mark.parametrize("metadata", [{1: "x"}, {"a": 1, None: 2}, ["a"], "ab", None, 5])
def test_what_is_no_mapping_from_strings_is_refused(metadata: Any) -> None:
    with pytest.raises(CandidateError, match=r"candidates\[0\]\.metadata"):
        CandidateSet([Candidate("a", metadata=metadata)])


def test_every_mapping_is_one() -> None:
    for mapping in (UserDict(k=1.0), MappingProxyType({"k": 1.0})):
        assert CandidateSet([Candidate("a", metadata=mapping)]).matching({"k": 1}) == b"\1"


def test_nothing_is_added_where_one_is_refused() -> None:
    found = CandidateSet([Candidate("a")])
    with pytest.raises(CandidateError):
        found.extend([Candidate("b"), Candidate("c", metadata={"k": math.nan})])
    assert found.ids == ["a"]
