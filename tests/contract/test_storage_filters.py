"""Filters, for every storage backend."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.contract.candidates import NOW, ids, record, vector

from tiny_dancer.errors import OptionError
from tiny_dancer.storage import Feedback, Filter

if TYPE_CHECKING:
    from tiny_dancer.storage import Storage


def test_filters_still_hold_after_a_deletion(storage: Storage) -> None:
    kinds = {"a": "x", "b": "y", "c": "z", "d": "y"}
    storage.insert_candidates(
        [record(id, 1, 0, metadata={"kind": kind}, group=kind) for id, kind in kinds.items()]
    )
    storage.query_candidates(vector(1, 0), touch=False)
    for gone in "abd":
        storage.delete_candidates([gone])
        del kinds[gone]
        for kind in "xyz":
            left = [id for id in kinds if kinds[id] == kind]
            assert ids(storage.query_candidates(vector(1, 0), filter=Filter(equals={"kind": kind}))) == left
            assert ids(storage.query_candidates(vector(1, 0), filter=Filter(groups=[kind]))) == left


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (Filter(), "abcd"),
        (Filter(equals={"kind": "fact"}), "ab"),
        (Filter(equals={"kind": "fact", "lang": "en"}), "a"),
        (Filter(equals={"kind": "none"}), ""),
        (Filter(equals={"kind": "' OR 1=1 --"}), ""),
        (Filter(equals={"' OR '1'='1": "x"}), ""),
        (Filter(equals={'q"uote.$[0]': "v"}), "d"),
        (Filter(any_of={"kind": ["fact", "plan", "x"]}), "abc"),
        (Filter(any_of={"kind": []}), ""),
        (Filter(any_of={"lang": ["de"], "kind": ["fact"]}), "b"),
        (Filter(has=["pinned"]), "c"),
        (Filter(has=["lang", "kind"]), "ab"),
        (Filter(ids=["d", "a", "nobody"]), "ad"),
        (Filter(ids=[]), ""),
        (Filter(ids=["a'); DELETE FROM candidate; --"]), ""),
        (Filter(groups=["s1"]), "ac"),
        (Filter(groups=["s1", "s2"]), "abc"),
        (Filter(created_from=NOW + 2), "cd"),
        (Filter(created_before=NOW + 2), "ab"),
        (Filter(created_from=NOW + 1, created_before=NOW + 3), "bc"),
        (Filter(min_success_rate=0.5), "ac"),
        (Filter(min_success_rate=0), "abc"),
        (Filter(min_trials=2), "bc"),
        (Filter(min_confidence=0.5), "ad"),
        (Filter(has=["kind"], groups=["s1"], min_trials=2), "c"),
    ],
    ids=str,
)
def test_filters(storage: Storage, wanted: Filter, found: str) -> None:
    storage.insert_candidates(
        [
            record(
                "a", 1, 0.1, metadata={"kind": "fact", "lang": "en"}, group="s1", created_at=NOW, confidence=0.5
            ),
            record("b", 1, 0.2, metadata={"kind": "fact", "lang": "de"}, group="s2", created_at=NOW + 1),
            record("c", 1, 0.3, metadata={"kind": "plan", "pinned": ""}, group="s1", created_at=NOW + 2),
            record("d", 1, 0.4, metadata={'q"uote.$[0]': "v"}, created_at=NOW + 3, confidence=1.0),
        ]
    )
    for number, (about, score) in enumerate([("a", 1), ("b", 0), ("b", 0), ("c", 0), ("c", 1)]):
        storage.record_feedback(Feedback(f"decision {number}", score, about))
    assert ids(storage.query_candidates(vector(1, 0), filter=wanted)) == list(found)
    assert [each.id for each in storage.get_candidates(filter=wanted)] == list(found)
    assert [each.id for each in storage.get_candidates(["c", "b"], filter=wanted) if each.id in found] == [
        each for each in "cb" if each in found
    ]


def test_a_filter_leaves_the_nearest_of_those_that_pass(storage: Storage) -> None:
    storage.insert_candidates(
        [record(f"{row:03}", 1, row / 100, metadata={"odd": str(row % 2)}) for row in range(200)]
    )
    few = Filter(ids=[f"{row:03}" for row in range(100, 110)])
    assert ids(storage.query_candidates(vector(1, 0), 3, filter=Filter(equals={"odd": "1"}))) == [
        "001",
        "003",
        "005",
    ]
    assert ids(storage.query_candidates(vector(1, 0), 3, filter=few)) == ["100", "101", "102"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"equals": {"k": [5]}},
        {"equals": {"k": None}},
        {"any_of": {"k": None}},
        {"any_of": {"k": [float("nan")]}},
        {"equals": "k"},
        {"any_of": {"k": "text"}},
        {"has": "text"},
        {"ids": "text"},
        {"ids": ["nul\0"]},
        {"groups": [5]},
        {"created_from": NOW * 1000},
        {"min_success_rate": 1.5},
        {"min_trials": -1},
        {"min_confidence": float("nan")},
    ],
    ids=str,
)
def test_bad_filters_are_refused_when_made(wrong: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match="filter"):
        Filter(**wrong)
