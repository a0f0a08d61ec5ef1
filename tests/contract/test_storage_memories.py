"""Memories, for every storage backend: found by words, kept in namespaces, ended by time, with their history."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tests.contract.candidates import NOW, ids, record, vector

from tiny_dancer import CandidateRouter
from tiny_dancer.errors import CandidateError, OptionError
from tiny_dancer.storage import CandidateRecord, Filter, MemoryStorage

if TYPE_CHECKING:
    from tiny_dancer.storage import Storage

SAID = {
    "tea": "Anna prefers tea in the morning.",
    "train": "The train to Bern leaves at nine.",
    "cello": "Her sister plays the cello in an orchestra.",
    "passport": "My passport number is X4481.",
}


def remember(storage: Storage, **rest: Any) -> None:
    storage.insert_candidates(CandidateRecord(id, text=text, created_at=NOW, **rest) for id, text in SAID.items())


def test_what_has_no_embedding_is_found_by_its_words(storage: Storage) -> None:
    remember(storage)
    found = storage.query_candidates("when does the train leave?", 2)
    assert ids(found)[0] == "train"
    assert found[0].candidate.text == SAID["train"]
    assert found[0].score > 0
    # The static encoder compares them.
    assert found[0].distance is not None
    assert 0 <= found[0].distance <= 1
    assert [each.score for each in found] == sorted((each.score for each in found), reverse=True)


def test_a_write_is_seen_by_the_next_query(storage: Storage) -> None:
    remember(storage)
    assert ids(storage.query_candidates("violin", 1)) != ["new"]
    storage.insert_candidate(CandidateRecord("new", text="A violin hangs in the kitchen."))
    assert ids(storage.query_candidates("violin", 1)) == ["new"]
    storage.upsert_candidates([CandidateRecord("new", text="A guitar hangs in the kitchen.")])
    assert ids(storage.query_candidates("guitar", 1)) == ["new"]
    storage.delete_candidates(["new"])
    assert "new" not in ids(storage.query_candidates("guitar", 10))


def test_the_same_content_ranks_the_same_however_it_came_to_be(storage: Storage) -> None:
    remember(storage, group="talk")
    storage.query_candidates("warm up", touch=False)
    for id in ("tea", "cello"):
        storage.delete_candidates([id])
        storage.query_candidates("in between", touch=False)
    for id in ("cello", "tea"):
        storage.insert_candidate(CandidateRecord(id, text=SAID[id], created_at=NOW, group="talk"))
    with MemoryStorage() as fresh:
        fresh.insert_candidates(sorted(storage.get_candidates(), key=lambda each: each.id, reverse=True))
        found, again = (
            each.query_candidates("what does her sister play?", touch=False) for each in (storage, fresh)
        )
    assert ids(again) == ids(found)
    assert [each.score for each in again] == [each.score for each in found]


def test_embeddings_and_words_together(storage: Storage) -> None:
    storage.insert_candidates(
        [
            record("a", 1, 0, text="blue whale"),
            record("b", 0.9, 0.1, text="green tree"),
            record("words only", text="a green river"),
        ]
    )
    assert ids(storage.query_candidates(vector(1, 0))) == ["a", "b"]
    both = storage.query_candidates(vector(1, 0), text="green")
    assert ids(both)[0] == "b"
    assert {each.candidate.id: each.distance is None for each in both} == {
        "a": False,
        "b": False,
        "words only": True,
    }
    # A text alone has no embedding to compare with those of another encoder.
    alone = storage.query_candidates("green")
    assert set(ids(alone)) == {"b", "words only"}
    assert all(each.distance is None for each in alone)


def test_the_first_embedding_of_a_callers_ends_those_of_the_encoder(storage: Storage) -> None:
    remember(storage)
    assert storage.query_candidates("cello", 1)[0].distance is not None
    assert storage.query_candidates(vector(1, 0)) == ()
    storage.insert_candidate(record("own", 1, 0, text="something else"))
    assert ids(storage.query_candidates(vector(1, 0))) == ["own"]
    (found,) = storage.query_candidates("cello", 1)
    assert (found.candidate.id, found.distance) == ("cello", None)


@pytest.mark.parametrize(
    ("query", "options", "named"),
    [
        ("", {}, "text"),
        ("   ", {}, "text"),
        ("a", {"text": "b"}, "text"),
        ("\ud800", {}, "text"),
        ("a", {"max_distance": 0.5}, "max_distance"),
        ("a", {"k": 0}, "k"),
        ("a", {"filter": {"a": {"$like": "b"}}}, "like"),
    ],
)
def test_what_cannot_be_asked_is_refused_by_name(
    storage: Storage, query: str, options: dict[str, Any], named: str
) -> None:
    remember(storage)
    with pytest.raises((OptionError, CandidateError), match=named):
        storage.query_candidates(query, **options)


def test_filters_are_one_language_for_every_search(storage: Storage) -> None:
    storage.insert_candidates(
        [
            CandidateRecord("1", text="red", metadata={"user": "anna", "age": 3, "tags": ["x", "y"]}, group="g"),
            CandidateRecord("2", text="red", metadata={"user": "ben", "age": 30, "tags": []}),
            CandidateRecord("3", text="red", metadata={"user": "anna", "age": 12.5, "seen": {"by": "ben"}}),
            CandidateRecord("4", text="red"),
        ]
    )
    for wanted, expected in [
        ({}, "1234"),
        ({"user": "anna"}, "13"),
        ({"user": ["anna", "ben"]}, "123"),
        ({"user": []}, ""),
        ({"user": None}, ""),
        ({"user": {"$ne": "anna"}}, "24"),
        ({"age": {"$gte": 3, "$lt": 13}}, "13"),
        ({"tags": "y"}, "1"),
        ({"tags": {"$exists": True}}, "1"),
        ({"seen.by": "ben"}, "3"),
        ({"$or": [{"user": "ben"}, {"age": {"$lt": 5}}]}, "12"),
        ({"$not": {"user": "anna"}}, "24"),
        ({"$group": "g"}, "1"),
        ({"$id": ["2", "4", "9"]}, "24"),
        ({"user": "anna", "$and": [{"age": {"$gt": 3}}]}, "3"),
    ]:
        found = storage.query_candidates("red", filter=wanted, touch=False)
        assert sorted(ids(found)) == list(expected), wanted
        assert [each.id for each in storage.get_candidates(filter=wanted)] == list(expected), wanted


def test_namespaces_are_searched_by_their_beginning(storage: Storage) -> None:
    storage.insert_candidates(
        CandidateRecord("/".join(path) or "none", text="tea", namespace=path)
        for path in [("users", "anna"), ("users", "anna", "facts"), ("users", "ann"), ("users",), ("a",), ()]
    )
    for prefix, expected in [
        (["users", "anna"], ["users/anna", "users/anna/facts"]),
        (["users"], ["users", "users/ann", "users/anna", "users/anna/facts"]),
        (["users", "an"], []),
        (["anna"], []),
    ]:
        wanted = {"$namespace": prefix}
        assert sorted(ids(storage.query_candidates("tea", filter=wanted))) == expected
        assert [each.id for each in storage.get_candidates(filter=wanted)] == expected
    assert storage.list_namespaces() == (
        ("a",),
        ("users",),
        ("users", "ann"),
        ("users", "anna"),
        ("users", "anna", "facts"),
    )
    assert storage.list_namespaces(("users", "anna")) == (("users", "anna"), ("users", "anna", "facts"))
    (found,) = storage.get_candidates(["users/anna"])
    assert found.namespace == ("users", "anna")
    for unfit in ("users", [5], [""], None):
        with pytest.raises(CandidateError, match="namespace"):
            storage.insert_candidate(CandidateRecord("bad", namespace=unfit))  # type: ignore[arg-type]


def test_what_has_expired_is_found_by_nothing(storage: Storage) -> None:
    now = time.time()
    storage.insert_candidates(
        [
            record("old", 1, 0, text="tea", namespace=("old",), expires_at=now - 1),
            record("new", 1, 0, text="tea", namespace=("new",), expires_at=now + 1000),
            record("kept", 1, 0, text="tea"),
        ]
    )
    for found in (storage.query_candidates("tea"), storage.query_candidates(vector(1, 0))):
        assert sorted(ids(found)) == ["kept", "new"]
    assert [each.id for each in storage.get_candidates()] == ["kept", "new"]
    assert storage.get_candidates(["old"]) == ()
    assert storage.list_namespaces() == (("new",),)
    assert CandidateRouter(storage=storage).route("tea", k=9).ids == ["kept", "new"]
    # Its id may be given again, and it counts as gone.
    assert storage.delete_candidates(["old"]) == 0
    storage.insert_candidate(record("again", 1, 0, expires_at=now - 1))
    storage.insert_candidate(record("again", 0, 1))
    assert [each.id for each in storage.get_candidates()] == ["again", "kept", "new"]
    assert storage.remove_expired(now=now + 5000) == 1
    assert [each.action for each in storage.candidate_history("new")] == ["expire", "insert"]


@pytest.mark.parametrize("ttl", [-1, float("nan"), float("inf"), 1e300, 1e11, "an hour"])
def test_a_life_without_a_possible_end_is_refused(storage: Storage, ttl: Any) -> None:
    with pytest.raises(CandidateError, match="ttl_s"):
        storage.insert_candidate(CandidateRecord("a", text="tea", ttl_s=ttl))
    assert storage.get_candidates() == ()
    storage.insert_candidate(CandidateRecord("a", text="tea", ttl_s=0))
    assert storage.query_candidates("tea") == ()


def test_a_life_begins_anew_when_read_where_that_is_asked(storage: Storage) -> None:
    storage.insert_candidates([CandidateRecord("a", text="tea", ttl_s=100), CandidateRecord("b", text="tea")])
    a, b = storage.get_candidates()
    assert a.expires_at is not None
    assert a.expires_at == pytest.approx(time.time() + 100, abs=20)
    assert (b.ttl_s, b.expires_at) == (None, None)
    time.sleep(0.01)
    storage.query_candidates("tea")
    storage.flush()
    assert storage.get_candidates(["a"])[0].expires_at == a.expires_at
    storage.query_candidates("tea", refresh_ttl=True, touch=False)
    storage.flush()
    again, never = storage.get_candidates(refresh_ttl=True)
    assert again.expires_at is not None
    assert again.expires_at > a.expires_at
    assert (again.access_count, never.expires_at) == (1, None)
    time.sleep(0.01)
    storage.get_candidates(["a"], refresh_ttl=True)
    storage.flush()
    (last,) = storage.get_candidates(["a"])
    assert last.expires_at is not None
    assert last.expires_at > again.expires_at
    assert last.access_count == 1


def test_changes_are_remembered_with_who_and_what_was_before(storage: Storage) -> None:
    storage.insert_candidate(CandidateRecord("a", text="first", metadata={"n": 1}), by="anna")
    storage.query_candidates("first")
    storage.upsert_candidates([CandidateRecord("a", text="second"), CandidateRecord("b", text="x")], by="ben")
    storage.delete_candidates(["a", "nobody"])
    changes = storage.candidate_history("a")
    assert [(each.action, each.by) for each in changes] == [
        ("delete", None),
        ("update", "ben"),
        ("insert", "anna"),
    ]
    befores = [each.before for each in changes]
    assert [None if each is None else each.text for each in befores] == ["second", "first", None]
    assert befores[1] is not None
    assert befores[1].metadata == {"n": 1}
    assert changes[0].time >= changes[1].time >= changes[2].time > NOW
    assert [(each.candidate_id, each.action) for each in storage.candidate_history(limit=2)] == [
        ("a", "delete"),
        ("b", "insert"),
    ]
    assert storage.candidate_history(since=time.time() + 100) == ()
    storage.delete_candidates(["a"], purge=True)
    assert storage.candidate_history("a") == ()
    with pytest.raises(OptionError, match="by"):
        storage.delete_candidates(["b"], by=5)  # type: ignore[arg-type]


def test_an_edit_may_keep_what_was_counted(storage: Storage) -> None:
    storage.insert_candidate(CandidateRecord("a", text="tea", access_count=4, success_count=1.5, trial_count=2))
    storage.upsert_candidates([CandidateRecord("a", text="coffee"), CandidateRecord("b")], keep_use=True)
    a, b = storage.get_candidates()
    assert (a.text, a.access_count, a.success_count, a.trial_count) == ("coffee", 4, 1.5, 2)
    assert (b.access_count, b.trial_count) == (0, 0)
    assert a.updated_at is not None
    assert a.updated_at > NOW


def test_a_set_follows_the_storage(storage: Storage) -> None:
    remember(storage, metadata={"user": "anna"})
    with CandidateRouter(storage=storage) as router:
        everything = router.stored_candidates()
        of_ben = router.stored_candidates({"user": "ben"})
        assert router.route("train", everything, k=1).ids == ["train"]
        assert router.route("train", of_ben).ids == []
        storage.insert_candidate(
            CandidateRecord("bus", text="The bus replaces the train.", metadata={"user": "ben"})
        )
        assert router.route("train", of_ben).ids == ["bus"]
        assert sorted(router.route("train", everything, where={"user": "anna"}, k=9).ids) == sorted(SAID)
        assert router.route("train", of_ben, where={"user": "anna"}).ids == []
        assert len(everything) == 5
        assert "bus" in everything
        storage.delete_candidates(["bus", "train"])
        assert router.route("train", of_ben).ids == []
        assert "train" not in router.route("train", k=10).ids
        with pytest.raises(CandidateError, match="storage"):
            everything.remove(["tea"])


def test_embeddings_are_of_the_version_that_was_found(storage: Storage) -> None:
    storage.insert_candidate(record("a", 1, 0, text="tea"))
    (found,) = storage.query_candidates(vector(1, 0), embeddings=True)
    assert found.candidate.embedding is not None
    found.candidate.embedding[:] = 7
    (again,) = storage.query_candidates(vector(1, 0), text="tea", embeddings=True)
    assert again.candidate.embedding is not None
    assert again.candidate.embedding.tolist() == [1, 0]
    np.testing.assert_array_equal(again.candidate.embedding, vector(1, 0))


def test_a_filter_is_compiled_once(storage: Storage) -> None:
    remember(storage, metadata={"user": "anna"})
    wanted = Filter(equals={"user": "anna"})
    assert wanted.compiled is wanted.compiled
    assert Filter().compiled is None
    assert len(storage.query_candidates("train", filter=wanted.compiled)) >= 1


def test_the_newest_come_first_where_that_is_asked(storage: Storage) -> None:
    for id in "bdac":
        storage.insert_candidate(record(id, metadata={"even": id in "bd"}))
        time.sleep(0.002)
    assert [each.id for each in storage.get_candidates(newest_first=True)] == ["c", "a", "d", "b"]
    assert [each.id for each in storage.get_candidates(newest_first=True, limit=2)] == ["c", "a"]
    assert [each.id for each in storage.get_candidates(limit=3)] == ["a", "b", "c"]
    assert [each.id for each in storage.get_candidates(filter={"even": True}, newest_first=True, limit=1)] == ["d"]
    assert [each.id for each in storage.get_candidates(["d", "b", "c"], limit=2)] == ["d", "b"]
    storage.upsert_candidates([record("b")])
    assert [each.id for each in storage.get_candidates(newest_first=True, limit=1)] == ["b"]
    with pytest.raises(OptionError, match="limit"):
        storage.get_candidates(limit=0)


def test_the_text_that_was_asked_for_comes_before_those_that_say_more(storage: Storage) -> None:
    said = [
        "My payment has been cancelled",
        "My card payment has been cancelled",
        "My card payment's cancelled",
        "My payment was cancelled",
    ]
    storage.insert_candidates(
        CandidateRecord(f"{place}", text=text, created_at=NOW)
        for place, text in enumerate([*said, *SAID.values()])
    )
    for place, text in enumerate(said):
        assert ids(storage.query_candidates(text, 1, touch=False)) == [f"{place}"]
