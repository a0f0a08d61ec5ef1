"""Candidates, for every storage backend: written, read, searched, counted."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tests.contract.candidates import NOW, ids, record, values, vector

from tiny_dancer.errors import CandidateError, OptionError
from tiny_dancer.storage import CandidateRecord, Feedback, Filter

if TYPE_CHECKING:
    from tiny_dancer.storage import Storage


def test_what_is_inserted_is_read_back(storage: Storage) -> None:
    full = CandidateRecord(
        "a memory",
        vector(0.25, -3, 1e-6),
        text="Zoë said: '); DROP TABLE candidate;--",
        created_at=NOW + 0.125,
        last_accessed_at=NOW + 1,
        access_count=7,
        success_count=1.5,
        trial_count=2,
        confidence=0.75,
        metadata={"kind": "fact", "tag": "", 'odd "key"\\': "π\n"},
        group="session 1",
        position=3,
    )
    bare = record("bare")
    storage.insert_candidates([full, bare])
    assert [values(each) for each in storage.get_candidates()] == [values(full), values(bare)]
    assert full.success_rate == 0.75
    assert bare.success_rate is None


def test_asked_by_id_they_come_in_that_order_once(storage: Storage) -> None:
    storage.insert_candidates([record(each) for each in "abc"])
    assert [each.id for each in storage.get_candidates(["c", "x", "a", "c"])] == ["c", "a"]
    assert storage.get_candidates([]) == ()


def test_what_the_caller_changes_later_is_not_stored(storage: Storage) -> None:
    embedding, metadata = vector(1, 0), {"k": "v"}
    storage.insert_candidate(CandidateRecord("a", embedding, metadata=metadata))
    embedding[:] = 5
    metadata["k"] = "other"
    (found,) = storage.get_candidates(["a"])
    assert found.embedding is not None
    assert found.embedding.tolist() == [1, 0]
    assert found.metadata == {"k": "v"}
    found.embedding[:] = 9
    (neighbour,) = storage.query_candidates(vector(1, 0), 1, embeddings=True)
    assert neighbour.candidate.embedding is not None
    assert neighbour.candidate.embedding.tolist() == [1, 0]


def test_inserting_a_stored_id_is_refused_and_nothing_is_added(storage: Storage) -> None:
    storage.insert_candidate(record("a", 1, 0))
    with pytest.raises(CandidateError, match=r"a.*upsert"):
        storage.insert_candidates([record("b", 1, 0), record("a", 0, 1)])
    assert [each.id for each in storage.get_candidates()] == ["a"]
    assert ids(storage.query_candidates(vector(0, 1))) == ["a"]


def test_upsert_adds_and_replaces_as_a_whole(storage: Storage) -> None:
    storage.insert_candidate(record("a", 1, 0, text="old", access_count=4, metadata={"k": "old"}))
    storage.query_candidates(vector(1, 0), touch=False)
    storage.upsert_candidates([record("a", 0, 1, text="new"), record("b", 1, 0)])
    found = storage.get_candidates()
    assert [(each.id, each.text, each.access_count, each.metadata) for each in found] == [
        ("a", "new", 0, {}),
        ("b", None, 0, {}),
    ]
    assert ids(storage.query_candidates(vector(0, 1))) == ["a", "b"]
    assert ids(storage.query_candidates(vector(0, 1), filter=Filter(equals={"k": "old"}))) == []


def test_an_upsert_may_take_the_embedding_away_and_give_it_back(storage: Storage) -> None:
    storage.insert_candidates([record("a", 1, 0), record("b", 0, 1)])
    assert ids(storage.query_candidates(vector(1, 0))) == ["a", "b"]
    storage.upsert_candidates([record("a")])
    assert ids(storage.query_candidates(vector(1, 0))) == ["b"]
    storage.upsert_candidates([record("a", 1, 0)])
    assert ids(storage.query_candidates(vector(1, 0))) == ["a", "b"]


def test_deleted_candidates_are_gone_and_may_come_back(storage: Storage) -> None:
    storage.insert_candidates([record("a", 1, 0), record("b", 0, 1), record("c")])
    storage.query_candidates(vector(1, 0))
    assert storage.delete_candidates(["a", "c", "unknown", "a"]) == 2
    assert [each.id for each in storage.get_candidates()] == ["b"]
    assert ids(storage.query_candidates(vector(1, 0))) == ["b"]
    storage.insert_candidate(record("a", 1, 0))
    assert ids(storage.query_candidates(vector(1, 0))) == ["a", "b"]


def test_the_nearest_are_exact(storage: Storage) -> None:
    generator = np.random.default_rng(3)
    matrix = generator.standard_normal((300, 24)).astype(np.float32) * np.float32(3)
    storage.insert_candidates([record(f"{row:03}", *matrix[row]) for row in range(300)])
    for _ in range(20):
        query = generator.standard_normal(24)
        wide = matrix.astype(np.float64)
        cosines = wide @ query / np.linalg.norm(wide, axis=1) / np.linalg.norm(query)
        order = np.argsort(-cosines)[:7]
        found = storage.query_candidates(query, 7, touch=False)
        assert ids(found) == [f"{row:03}" for row in order]
        # The query is rounded to float32.
        assert [each.distance for each in found] == pytest.approx(1 - cosines[order], abs=1e-6)


def test_equal_distances_come_in_the_order_of_ids(storage: Storage) -> None:
    generator = np.random.default_rng(4)
    same = generator.standard_normal(7)
    names = [f"{number:02}" for number in generator.permutation(50)]
    storage.insert_candidates([record(each, *same) for each in names])
    storage.insert_candidate(record("far", *-same))
    found = storage.query_candidates(generator.standard_normal(7) + same, 11, touch=False)
    assert ids(found) == [f"{number:02}" for number in range(11)]
    assert len({each.distance for each in found}) == 1
    assert len(storage.query_candidates(same, 10_000, touch=False)) == 51


def test_only_what_is_near_enough_is_returned(storage: Storage) -> None:
    storage.insert_candidates([record("same", 2, 0), record("right angle", 0, 1), record("opposite", -1, 0)])
    found = storage.query_candidates(vector(5, 0))
    assert [(each.candidate.id, each.distance) for each in found] == [
        ("same", 0),
        ("right angle", 1),
        ("opposite", 2),
    ]
    assert ids(storage.query_candidates(vector(5, 0), max_distance=1)) == ["same", "right angle"]
    assert ids(storage.query_candidates(vector(5, 0), max_distance=0)) == ["same"]
    assert all(each.candidate.embedding is None for each in found)


def test_accesses_are_counted(storage: Storage) -> None:
    storage.insert_candidates([record("a", 1, 0), record("b", 0, 1)])
    for _ in range(3):
        storage.query_candidates(vector(1, 0.5), 1)
    storage.query_candidates(vector(1, 0.5), 2, touch=False)
    storage.flush()
    a, b = storage.get_candidates()
    assert (a.access_count, b.access_count) == (3, 0)
    assert a.last_accessed_at is not None
    assert a.last_accessed_at > NOW
    assert b.last_accessed_at is None
    (near,) = storage.query_candidates(vector(1, 0.5), 1, touch=False)
    assert near.candidate.access_count == 3


def test_feedback_counts_trials_and_successes_and_a_later_one_replaces(storage: Storage) -> None:
    storage.insert_candidate(record("a", 1, 0))
    storage.query_candidates(vector(1, 0), touch=False)
    storage.record_feedback(Feedback("first", 1.0, "a"))
    storage.record_feedback(Feedback("second", 0.5, "a"))
    storage.record_feedback(Feedback("second", 0.25, "a"))
    storage.record_feedback(Feedback("second", 1.0))
    storage.record_feedback(Feedback("second", 1.0, "not stored"))
    (found,) = storage.query_candidates(vector(1, 0), touch=False)
    assert (found.candidate.trial_count, found.candidate.success_count) == (2, 1.25)
    assert found.candidate.success_rate == 0.625


def test_replaced_feedback_after_an_upsert_leaves_possible_counts(storage: Storage) -> None:
    storage.insert_candidate(record("a", 1, 0))
    storage.record_feedback(Feedback("first", 1.0, "a"))
    storage.upsert_candidates([record("a", 1, 0)])
    storage.record_feedback(Feedback("first", 0.0, "a"))
    (found,) = storage.get_candidates()
    assert (found.trial_count, found.success_count) == (0, 0)


BAD = [
    ({"id": ""}, "id"),
    ({"id": "nul\0"}, "id"),
    ({"id": "\ud800"}, "id"),
    ({"id": None}, "id"),
    ({"embedding": vector()}, "embedding"),
    ({"embedding": vector(0, 0)}, "norm 0"),
    ({"embedding": vector(np.nan, 1)}, "NaN"),
    ({"embedding": vector(np.inf, 1)}, "NaN or infinite"),
    ({"embedding": vector(3e38, 1)}, "norm"),
    ({"embedding": np.ones((1, 2), np.float32)}, "one dimension"),
    ({"embedding": np.ones(9000, np.float32)}, "9000"),
    ({"text": 5}, "text"),
    ({"created_at": float("nan")}, "created_at"),
    ({"created_at": None}, "created_at"),
    ({"created_at": -7e10}, "created_at"),
    ({"last_accessed_at": "soon"}, "last_accessed_at"),
    ({"access_count": -1}, "access_count"),
    ({"access_count": 2**63}, "access_count"),
    ({"trial_count": 1.5}, "trial_count"),
    ({"success_count": 1.0}, "success_count"),
    ({"success_count": -1.0}, "success_count"),
    ({"success_count": None}, "success_count"),
    ({"confidence": 1.1}, "confidence"),
    ({"confidence": float("nan")}, "confidence"),
    ({"metadata": {"k": float("inf")}}, "metadata"),
    ({"metadata": {"": "x"}}, "metadata"),
    ({"metadata": {5: "x"}}, "metadata"),
    ({"group": ""}, "group"),
    ({"position": -1}, "position"),
]


@pytest.mark.parametrize(("change", "named"), BAD, ids=str)
def test_what_cannot_be_stored_is_refused_by_name(storage: Storage, change: dict[str, Any], named: str) -> None:
    bad = replace(record("bad", 1, 0), **change)
    for write in (storage.insert_candidates, storage.upsert_candidates):
        with pytest.raises(CandidateError, match=rf"candidates\[1\].*{named}|{named}"):
            write([record("good", 1, 0), bad])
    assert storage.get_candidates() == ()


def test_one_id_twice_or_two_dimensions_are_refused(storage: Storage) -> None:
    with pytest.raises(CandidateError, match="once"):
        storage.insert_candidates([record("a", 1, 0), record("a", 1, 0)])
    with pytest.raises(CandidateError, match="dimension"):
        storage.insert_candidates([record("a", 1, 0), record("b", 1, 0, 0)])
    storage.insert_candidate(record("a", 1, 0))
    with pytest.raises(CandidateError, match=r"dimension 3.*have 2"):
        storage.upsert_candidates([record("a", 1, 0, 0)])
    assert [values(each) for each in storage.get_candidates()] == [values(record("a", 1, 0))]
    assert ids(storage.query_candidates(vector(1, 0))) == ["a"]


def test_bad_searches_are_refused(storage: Storage) -> None:
    storage.insert_candidate(record("a", 1, 0))
    for query, message in [
        (vector(0, 0), "norm 0"),
        (vector(np.nan, 1), "NaN"),
        (vector(1, 0, 0), "dimension 3"),
        (np.ones((2, 1), np.float32), "one dimension"),
        (np.array(["1", "0"]), "real numbers"),
    ]:
        with pytest.raises(CandidateError, match=message):
            storage.query_candidates(query)
    for options in ({"k": 0}, {"k": -1}, {"k": 1.5}, {"max_distance": -0.1}, {"max_distance": float("nan")}):
        with pytest.raises(OptionError):
            storage.query_candidates(vector(1, 0), **options)
    assert len(storage.query_candidates(vector(1, 0), 2**70)) == 1


def test_an_empty_storage_answers(storage: Storage) -> None:
    assert storage.query_candidates(vector(1, 0)) == ()
    assert storage.get_candidates() == ()
    assert storage.delete_candidates(["a"]) == 0
    storage.insert_candidates([])
    storage.upsert_candidates([])
    storage.insert_candidate(record("no embedding"))
    assert storage.query_candidates(vector(1, 0)) == ()


def test_one_text_is_no_list_of_ids(storage: Storage) -> None:
    with pytest.raises(OptionError, match="list"):
        storage.delete_candidates("abc")
    with pytest.raises(OptionError, match="list"):
        storage.get_candidates("abc")


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
        {"any_of": {"k": [float("nan")]}},
        {"equals": "k"},
        {"any_of": {"k": "text"}},
        {"has": "text"},
        {"ids": "text"},
        {"ids": ["nul\0"]},
        {"groups": [5]},
        {"created_from": "soon"},
        {"created_before": -7e10},
        {"min_success_rate": 1.5},
        {"min_trials": -1},
        {"min_confidence": float("nan")},
    ],
    ids=str,
)
def test_bad_filters_are_refused_when_made(wrong: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match="filter"):
        Filter(**wrong)
