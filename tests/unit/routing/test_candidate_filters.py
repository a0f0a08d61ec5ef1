"""Filters as Python writes them: converted by type, refused by place, and kept on every level."""

from __future__ import annotations

import math
from collections import UserDict
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from enum import IntEnum
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest

from tiny_dancer import Candidate, CandidateFilter, CandidateRouter, CandidateSet
from tiny_dancer.errors import CandidateError


class Level(IntEnum):
    LOW = 2


ROWS = CandidateSet(
    [
        Candidate(
            "a", text="tea", metadata={"user": "anna", "n": 2, "tags": ["x", 1.5]}, namespace=["acme", "anna"]
        ),
        Candidate("b", text="tea", metadata={"user": "ben", "n": 2.5}, namespace=("acme",)),
        Candidate("c", text="tea", metadata={"n": "2"}, created_at="2024-01-01"),
    ]
)


def passing(where: Any) -> str:
    return "".join(id for id, flag in zip(ROWS.ids, ROWS.matching(where), strict=True) if flag)


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ({}, "abc"),
        ({"user": None}, ""),
        ({"user": []}, ""),
        ({"user": [None]}, ""),
        ({"user": ()}, ""),
        ({"user": set()}, ""),
        ({"user": {"$in": []}}, ""),
        ({"user": {"$eq": None}}, ""),
        ({"user": "anna"}, "a"),
        ({"user": ("anna", "ben")}, "ab"),
        ({"user": {"anna", None}}, "a"),
        ({"user": frozenset(["ben"])}, "b"),
        ({"user": {"$nin": {"ben"}}}, "ac"),
        ({"user": np.str_("anna")}, "a"),
        ({"n": np.float64(2)}, "ac"),
        ({"n": np.int8(2)}, "ac"),
        ({"n": Level.LOW}, "ac"),
        ({"n": {"$gte": np.float32(2)}}, "ab"),
        ({"n": {"$gt": 2}}, "b"),
        ({"n": {"$gte": "2"}}, "c"),
        ({"n": {"$lt": 10**400}}, "ab"),
        ({"tags": {"$gt": 1, "$lt": 2}}, "a"),
        (UserDict(user=MappingProxyType({"$eq": "ben"})), "b"),
        ({"$or": ({"user": "anna"}, UserDict({"$not": {"user": {"$exists": True}}}))}, "ac"),
        ({"$namespace": ("acme",)}, "ab"),
        ({"$namespace": ["acme", "anna"]}, "a"),
        ({"$namespace": {"$eq": ["acme"]}}, "b"),
        ({"$namespace": []}, ""),
        ({"$namespace": None}, ""),
        ({"$created_at": {"$gte": "2024-01-01T00:00Z"}}, "c"),
        ({"$created_at": 1_704_067_200_000}, "c"),
        ({"$created_at": {"$gte": datetime(2024, 1, 1, tzinfo=UTC)}}, "c"),
        ({"$created_at": {"$gte": datetime(2024, 1, 1, 1, tzinfo=timezone(timedelta(hours=2)))}}, "c"),
        ({"$created_at": date(2024, 1, 1)}, "c"),
        ({"$created_at": {"$gt": datetime(2024, 1, 1)}}, ""),
        ({"$id": ["c", "nobody"]}, "c"),
    ],
)
def test_a_filter_passes(where: Any, expected: str) -> None:
    compiled = CandidateFilter(where)
    assert passing(where) == passing(compiled) == expected
    with CandidateRouter() as router:
        assert "".join(sorted(router.route("tea", ROWS, where=where).ids)) == expected
        assert "".join(sorted(router.route("tea", ROWS, where=compiled).ids)) == expected


def nested(depth: int) -> Any:
    where: Any = {"a": 1}
    for _ in range(depth):
        where = {"$not": where}
    return where


ENDLESS: dict[str, Any] = {}
ENDLESS["$not"] = ENDLESS


@pytest.mark.parametrize(
    ("where", "field"),
    [
        (None, "where"),
        ("user", "where"),
        (["user"], "where"),
        (5, "where"),
        (b"{}", "where"),
        (np.array([1]), "where"),
        ({1: "x"}, "where"),
        ({"\ud800": 1}, "where"),
        ({"k": "\ud800"}, "where.k"),
        ({"k": ["\udfff"]}, "where.k"),
        ({"k": math.nan}, "where.k"),
        ({"k": {"$gt": math.nan}}, "where.k.$gt"),
        ({"k": {"$lt": np.float32("inf")}}, "where.k.$lt"),
        ({"k": b"x"}, "where.k"),
        ({"k": Decimal(1)}, "where.k"),
        ({"k": object()}, "where.k"),
        ({"k": np.array(["a"])}, "where.k"),
        ({"k": np.datetime64("2024-01-01")}, "where.k"),
        ({"k": [["a"]]}, "where.k"),
        ({"k": 10**5000}, "where.k"),
        ({"k": {}}, "where.k"),
        ({"k": {"l": "x"}}, "where.k"),
        ({"k": {"$eq": "x", "l": "x"}}, "where.k"),
        ({"k": {"$regex": "x"}}, "where.k.$regex"),
        ({"k": {"$EQ": "x"}}, "where.k.$EQ"),
        ({"$expr": 1}, "where.$expr"),
        ({"$": 1}, "where.$"),
        ({"$and": []}, "where.$and"),
        ({"$or": [{"a": 1}, {"b": {"$gt": True}}]}, "where.$or[1].b.$gt"),
        ({"$nor": {"a": 1}}, "where.$nor"),
        ({"$not": None}, "where.$not"),
        ({"$namespace": "acme"}, "where.$namespace"),
        ({"$trials": True}, "where.$trials"),
        (nested(33), "where"),
        (nested(200), "where"),
        (ENDLESS, "where"),
        ({"$and": [{"a": 1}] * 1001}, "where"),
        ({"k": [0] * 100_001}, "where.k"),
        ({"k": {"$in": [0] * 60_000}, "l": {"$nin": [0] * 60_000}}, "where.l.$nin"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_what_is_no_filter_is_refused_by_its_place(where: Any, field: str) -> None:
    with pytest.raises(CandidateError) as caught:
        CandidateFilter(where)
    assert caught.value.field.startswith(field) and caught.value.remedy
    if where is not None:
        with CandidateRouter() as router, pytest.raises(CandidateError):
            router.route("tea", ROWS, where=where)
    with pytest.raises(CandidateError) as caught:
        CandidateFilter(where, "filter")
    assert caught.value.field.startswith(field.replace("where", "filter", 1))


def test_filters_are_values() -> None:
    one, other = CandidateFilter({"a": 1, "b": [2, "x"]}), CandidateFilter({"b": {"$in": ["x", 2.0]}, "a": "1"})
    assert one == other and hash(one) == hash(other) and len({one, other}) == 1
    assert one != CandidateFilter({"a": 1}) and one != {"a": 1, "b": [2, "x"]}
    assert repr(one) == """CandidateFilter({"$and": [{"a": "1"}, {"b": ["2", "x"]}]})"""
    assert eval(repr(CandidateFilter({"é": {"$gte": 1.5}}))) == CandidateFilter({"é": {"$gte": 1.5}})
    assert len(repr(CandidateFilter({"k": list(range(50_000))}))) < 1100
    with pytest.raises(AttributeError):
        one.a = 1  # type: ignore[attr-defined]


def test_changing_what_a_filter_was_made_of_changes_no_filter() -> None:
    users = ["anna"]
    where: dict[str, Any] = {"user": users}
    compiled = CandidateFilter(where)
    users.append("ben")
    where.clear()
    assert passing(compiled) == "a"


@pytest.mark.parametrize("namespace", ["acme", ["acme", 1], ["\ud800"], 5, {"a": 1}, ["x"] * 33])
def test_a_namespace_is_a_list_of_texts(namespace: Any) -> None:
    with pytest.raises(CandidateError, match=r"candidates\[0\]\.namespace"):
        CandidateSet([Candidate("a", namespace=namespace)])


def test_parts_of_a_namespace_are_kept_apart() -> None:
    rows = CandidateSet(
        [
            Candidate("a", namespace=["x", "y"]),
            Candidate("b", namespace=["xy"]),
            Candidate("c", namespace=["x1:y"]),
            Candidate("d", namespace=["x", "", "y"]),
            Candidate("e", namespace=[]),
        ]
    )
    assert rows.matching({"$namespace": ["x"]}) == b"\1\0\0\1\0"
    assert rows.matching({"$namespace": ["x", ""]}) == b"\0\0\0\1\0"
    assert rows.matching({"$namespace": {"$exists": False}}) == b"\0\0\0\0\1"


def test_candidates_that_do_not_pass_leave_no_trace() -> None:
    """Neither among what is left out as unsound, nor in confidences."""
    unsound = Candidate("theirs", [math.nan, 0.0], metadata={"user": "ben"})
    rows = CandidateSet([Candidate("mine", [1.0, 0.0], metadata={"user": "anna"}), unsound])
    with CandidateRouter() as router:
        answer = router.route([1.0, 0.0], rows, where={"user": "anna"})
        assert (answer.ids, answer.errors) == (["mine"], ())
        assert [problem.candidate_id for problem in router.route([1.0, 0.0], rows).errors] == ["theirs"]
