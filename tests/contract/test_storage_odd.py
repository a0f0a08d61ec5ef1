"""What nobody stores on purpose, for every storage backend: given back as it is, or refused at the door."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tests.contract.candidates import ids, record, values

from tiny_dancer import CandidateRouter
from tiny_dancer.errors import CandidateError
from tiny_dancer.storage import CandidateRecord, Feedback

if TYPE_CHECKING:
    from tiny_dancer.storage import Storage

MOST = 2**63 - 1
ODD: dict[str, dict[str, Any]] = {
    "the longest life": {"ttl_s": 1e10},
    "an end in the year 5100": {"expires_at": 9.9e10},
    "a huge text": {"text": "word " * 400_000},
    "one long word": {"text": "a" * 300_000},
    "an empty text": {"text": ""},
    "blanks": {"text": " \n\t"},
    "emoji": {"text": "🎉👩‍👩‍👧‍👦🏳️‍🌈"},
    "right to left": {"text": "مرحبا שלום"},
    "combining characters": {"text": "Z̸̡͎a̸l̴g̵o̶ cafe\u0301"},
    "controls": {"text": "\x01\x1b[31m\r\n\ufeff\uffff"},
    "JSON as text": {"text": '{"a": [1, {"b": null}]}', "metadata": {"json": '{"x": 1}'}},
    "ten thousand tags": {"metadata": {f"tag{number}": "" for number in range(10_000)}},
    "a list of ten thousand": {"metadata": {"tags": [f"v{number}" for number in range(10_000)]}},
    "keys with dots and dollars": {
        "metadata": {"a.b": 1, "a": {"b": 2}, "$id": "x", "$or": [1], ".": 1, "a.": 3, "$": 4}
    },
    "large numbers": {"metadata": {"a": 10**400, "b": -(2**63), "c": 2**64, "d": -0.0, "e": 5e-324}},
    "lists of lists": {"metadata": {"a": [[1, [2, [3]]], []], "b": [{"c": 1}, {"c": [2, {"d": 3}]}], "e": {}}},
    "no values": {"metadata": {"a": None, "b": [None, None], "c": {"d": None}}},
    "a namespace of separators": {
        "namespace": ("a/b", "a.b", "a\x1fb", '["x"]', "a,b", "a\\", "%", "_", "é", "e\u0301")
    },
    "a deep namespace": {"namespace": tuple("abcdefghijklmnopqrstuvwxyzABCDEF")},
    "long names": {"namespace": ("x" * 300_000,), "group": "g" * 300_000, "metadata": {"k" * 300_000: 1}},
    "the last place": {"position": MOST},
    "the year 1": {"created_at": -62_135_596_800.0},
    "the most counts": {"access_count": MOST, "trial_count": MOST, "success_count": float(MOST)},
    "the shortest embedding": {"embedding": [1e-9, 0.0, 0.0]},
    "the longest embedding": {"embedding": [1e9, 0.0, 0.0]},
}


@pytest.mark.parametrize("odd", ODD)
def test_what_is_taken_disturbs_nobody_and_may_be_stored_again_as_it_came_back(storage: Storage, odd: str) -> None:
    storage.insert_candidate(record("good", 0, 1, 0, text="hello there"))
    storage.upsert_candidates([replace(CandidateRecord("odd", [1, 1, 0], "hello"), **ODD[odd])])
    with CandidateRouter(storage=storage) as router:
        assert "good" in router.route("hello there").ids
    assert "good" in ids(storage.query_candidates("hello there"))
    assert "good" in ids(storage.query_candidates([0, 1, 0], refresh_ttl=True))
    storage.record_feedback(Feedback("d", 1.0, candidate_id="odd"))
    storage.flush()
    (found,) = storage.get_candidates(["odd"], filter={"$id": "odd"})
    for name, value in ODD[odd].items():
        if name == "embedding":
            np.testing.assert_array_equal(found.embedding, np.array(value, np.float32))
        elif name != "expires_at" or found.ttl_s is None:
            assert getattr(found, name) == value
    storage.upsert_candidates([found])
    (again,) = storage.get_candidates(["odd"])
    assert repr(values(again)) == repr(values(found))
    before = storage.candidate_history("odd")[0].before
    assert before is not None
    assert repr(values(before)) == repr(values(replace(found, embedding=None)))


@pytest.mark.parametrize("ttl_s", [5.1e10, 1e12, 1e300, 1.7e308, -1, float("nan"), True, "60"])
def test_a_life_that_no_time_can_end_is_refused(storage: Storage, ttl_s: Any) -> None:
    storage.insert_candidate(CandidateRecord("a", text="tea", ttl_s=60))
    with pytest.raises(CandidateError, match="ttl_s"):
        storage.upsert_candidates(
            [CandidateRecord("a", text="coffee", ttl_s=ttl_s), CandidateRecord("b", text="tea")]
        )
    assert ids(storage.query_candidates("tea")) == ["a"]
    assert [change.action for change in storage.candidate_history()] == ["insert"]


def test_who_replaces_what_has_expired_begins_anew(storage: Storage) -> None:
    ended = CandidateRecord(
        "a", text="old", access_count=7, trial_count=2, success_count=1, expires_at=time.time() - 5
    )
    storage.upsert_candidates([ended, replace(ended, id="b")])
    storage.upsert_candidates([CandidateRecord("a", text="new")], by="anna", keep_use=True)
    storage.insert_candidate(CandidateRecord("b", text="new"), by="anna")
    for found in storage.get_candidates():
        assert (found.access_count, found.trial_count, found.success_count) == (0, 0, 0)
        changes = storage.candidate_history(found.id)
        assert [(each.action, each.by, each.before and each.before.text) for each in changes] == [
            ("insert", "anna", None),
            ("expire", None, "old"),
            ("insert", None, None),
        ]


def test_who_replaces_a_candidate_does_not_inherit_its_accesses(storage: Storage) -> None:
    storage.insert_candidate(CandidateRecord("a", text="tea"))
    storage.query_candidates("tea")
    storage.upsert_candidates([CandidateRecord("a", text="coffee")])
    storage.flush()
    assert storage.get_candidates(["a"])[0].access_count == 0
    storage.query_candidates("coffee")
    storage.upsert_candidates([CandidateRecord("a", text="cocoa")], keep_use=True)
    storage.flush()
    assert storage.get_candidates(["a"])[0].access_count == 1


def test_a_set_of_a_storage_holds_what_lives_and_passes(storage: Storage) -> None:
    storage.insert_candidates(
        [
            CandidateRecord("a1", text="key", metadata={"user": "anna", "n": 1}),
            CandidateRecord("a2", text="key", metadata={"user": "anna", "n": 2}),
            CandidateRecord("gone", text="key", metadata={"user": "anna", "n": 2}, expires_at=time.time() - 1),
            CandidateRecord("b1", text="key", metadata={"user": "ben", "n": 2}),
        ]
    )
    with CandidateRouter(storage=storage) as router:
        everything, annas = router.stored_candidates(), router.stored_candidates({"user": "anna"})
        assert sorted(everything.ids) == ["a1", "a2", "b1"]
        assert sorted(annas.ids) == ["a1", "a2"]
        assert (len(everything), len(annas)) == (3, 2)
        assert [each in annas for each in ("a1", "gone", "b1", "nobody", 5)] == [True, False, False, False, False]
        assert dict(zip(annas.ids, annas.matching({"n": 2}), strict=True)) == {"a1": 0, "a2": 1}
        assert dict(zip(everything.ids, everything.matching({"n": 2}), strict=True)) == {"a1": 0, "a2": 1, "b1": 1}
        assert annas.dimensions == 256
        storage.upsert_candidates([record("v", 1, 0, 0)])
        assert annas.dimensions == 3
        with pytest.raises(CandidateError, match="from_arrays"):
            type(annas).from_arrays(["a"], np.ones((1, 2), np.float32))


def test_history_is_nobodys_to_change(storage: Storage) -> None:
    storage.insert_candidate(CandidateRecord("a", metadata={"user": "anna", "tags": [1]}))
    storage.delete_candidates(["a"])
    before = storage.candidate_history("a")[0].before
    assert before is not None
    before.metadata["tags"].append("changed")  # type: ignore[index]
    before.metadata["user"] = "ben"  # type: ignore[index]
    again = storage.candidate_history("a")[0].before
    assert again is not None
    assert again.metadata == {"user": "anna", "tags": [1]}


def test_metadata_never_stands_for_a_candidates_own_properties(storage: Storage) -> None:
    forged = {"$namespace": ["anna"], "$id": "a", "$group": "annas", "$trials": 5, "$confidence": 1.0}
    storage.insert_candidates(
        [
            CandidateRecord("a", text="key", namespace=("anna",), group="annas"),
            CandidateRecord("b", text="key", namespace=("ben",), metadata=forged),
        ]
    )
    filters: list[dict[str, Any]] = [{"$namespace": ["anna"]}, {"$id": "a"}, {"$group": "annas"}]
    for filter in filters:
        assert ids(storage.query_candidates("key", filter=filter)) == ["a"]
        assert [each.id for each in storage.get_candidates(filter=filter)] == ["a"]
    for own in ({"$trials": {"$gte": 1}}, {"$confidence": {"$gte": 0}}):
        assert storage.get_candidates(filter=own) == ()
