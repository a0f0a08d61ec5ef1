"""LangGraph's store over a storage: as LangGraph's own in-memory store, and durable, and found by words."""

from __future__ import annotations

import asyncio
import json
import math
import threading
import uuid
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from langchain_core.embeddings import Embeddings
from langgraph.graph import END, START, StateGraph
from langgraph.store.base import (
    BaseStore,
    GetOp,
    InvalidNamespaceError,
    ListNamespacesOp,
    MatchCondition,
    PutOp,
    SearchOp,
)
from langgraph.store.memory import InMemoryStore
from typing_extensions import TypedDict

from tiny_dancer import CandidateError, OptionError
from tiny_dancer.integrations.langgraph import TinyDancerStore
from tiny_dancer.integrations.langgraph_filters import check, passes
from tiny_dancer.integrations.memories import Memories
from tiny_dancer.integrations.openai_agents import TinyDancerSession
from tiny_dancer.storage import CandidateRecord, MemoryStorage, SqliteStorage

if TYPE_CHECKING:
    from pathlib import Path

    from tiny_dancer.storage import Storage


class Letters(Embeddings):
    """A model whose vectors count letters; queries have their own."""

    def __init__(self) -> None:
        self.documents: list[list[str]] = []

    @staticmethod
    def vector(text: str) -> list[float]:
        return [float(text.lower().count(letter)) for letter in "abcdefghijklmnopqrstuvwxyz"]

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        self.documents.append(texts)
        return [self.vector(text) for text in texts]

    def embed_query(self, text: str) -> list[float]:
        return self.vector(text)


@pytest.fixture
def store(storage: Storage) -> TinyDancerStore:
    return TinyDancerStore(storage)


@pytest.fixture
def indexed(storage: Storage) -> TinyDancerStore:
    return TinyDancerStore(storage, index={"dims": 26, "embed": Letters(), "fields": ["a", "b[*]", "c.d"]})


def keys(found: list[Any]) -> list[str]:
    return [item.key for item in found]


def shown(found: list[Any]) -> set[tuple[Any, ...]]:
    return {(item.namespace, item.key, repr(item.value)) for item in found}


# Beside LangGraph's own store.

LABELS = st.sampled_from(["a", "b", "a*", "a_", "A", "users", "*"])
NAMESPACES = st.lists(LABELS, min_size=1, max_size=3).map(tuple)
KEYS = st.sampled_from(["1", "k", "a/b", "[1]", "ä"])
SCALARS = st.sampled_from(["x", "y", "", "1", 0, 1, 2, -1.5, 1.0, 2**60, True, False, None])
VALUES = st.dictionaries(
    st.sampled_from(["n", "t", "deep", "x-y"]),
    SCALARS | st.lists(SCALARS, max_size=2) | st.dictionaries(st.sampled_from(["p", "q"]), SCALARS, max_size=2),
    max_size=3,
)
# Of what its own stores agree on: equality by type, and order of numbers that are there.
FILTERS = st.none() | st.dictionaries(
    st.sampled_from(["n", "t", "deep", "x-y", "none"]),
    SCALARS.filter(lambda each: not isinstance(each, bool | int | float))
    | st.lists(SCALARS.filter(lambda each: isinstance(each, str)), max_size=2)
    | st.fixed_dictionaries({"$eq": st.sampled_from(["x", "1", None])})
    | st.fixed_dictionaries({"$ne": st.sampled_from(["x", "1", None])})
    | st.fixed_dictionaries({"p": st.sampled_from(["x", None])}),
    max_size=2,
)


class Beside(RuleBasedStateMachine):
    """Any order of operations: both stores hold and find the same."""

    @initialize(sqlite=st.booleans())
    def start(self, sqlite: bool) -> None:
        import tempfile
        from pathlib import Path

        self.folder = tempfile.TemporaryDirectory()
        self.storage = SqliteStorage(Path(self.folder.name) / "s.db") if sqlite else MemoryStorage()
        self.ours, self.theirs = TinyDancerStore(self.storage), InMemoryStore()

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            self.storage.close()
            self.folder.cleanup()

    @rule(namespace=NAMESPACES, key=KEYS, value=VALUES)
    def put(self, namespace: tuple[str, ...], key: str, value: dict[str, Any]) -> None:
        for store in (self.ours, self.theirs):
            store.put(namespace, key, value)

    @rule(namespace=NAMESPACES, key=KEYS)
    def delete(self, namespace: tuple[str, ...], key: str) -> None:
        for store in (self.ours, self.theirs):
            store.delete(namespace, key)

    @rule(namespace=NAMESPACES, key=KEYS)
    def get(self, namespace: tuple[str, ...], key: str) -> None:
        ours, theirs = self.ours.get(namespace, key), self.theirs.get(namespace, key)
        assert (ours is None) == (theirs is None)
        if ours is not None and theirs is not None:
            assert (ours.value, ours.key, ours.namespace) == (theirs.value, theirs.key, theirs.namespace)
            assert repr(ours.value) == repr(theirs.value), "true is not 1, and 1 is not 1.0"

    @rule(prefix=st.lists(LABELS, max_size=2).map(tuple), filter=FILTERS)
    def search(self, prefix: tuple[str, ...], filter: dict[str, Any] | None) -> None:
        ours, theirs = (store.search(prefix, filter=filter, limit=99) for store in (self.ours, self.theirs))
        assert shown(ours) == shown(theirs)
        pages = [self.ours.search(prefix, filter=filter, limit=2, offset=at) for at in range(0, len(ours) + 2, 2)]
        assert [item.key for page in pages for item in page] == keys(ours)

    @rule(
        prefix=st.none() | NAMESPACES,
        suffix=st.none() | NAMESPACES,
        depth=st.none() | st.integers(1, 3),
        limit=st.integers(1, 5),
        offset=st.integers(0, 3),
    )
    def namespaces(self, prefix: Any, suffix: Any, depth: int | None, limit: int, offset: int) -> None:
        asked = {"prefix": prefix, "suffix": suffix}
        # LangGraph's keeps namespaces whose items are all gone.
        full = {item.namespace for item in self.theirs.search((), limit=999)}
        theirs = {each[:depth] for each in self.theirs.list_namespaces(**asked, limit=999) if each in full}
        ours = self.ours.list_namespaces(**asked, max_depth=depth, limit=999)
        assert ours == sorted(theirs)
        page = self.ours.list_namespaces(**asked, max_depth=depth, limit=limit, offset=offset)
        assert page == ours[offset : offset + limit]

    @invariant()
    def agree(self) -> None:
        if hasattr(self, "ours"):
            assert shown(self.ours.search((), limit=999)) == shown(self.theirs.search((), limit=999))


TestBeside = Beside.TestCase
TestBeside.settings = settings(max_examples=20, stateful_step_count=20, deadline=None)


# Filters.


@pytest.mark.parametrize(
    ("filter", "found"),
    [
        ({"n": 1}, ["int", "float"]),
        ({"n": "1"}, ["text"]),
        ({"n": True}, ["true"]),
        ({"n": None}, ["absent", "null"]),
        ({"n": {"$ne": 1}}, ["absent", "huge", "list", "null", "text", "true"]),
        ({"n": {"$gt": 0}}, ["float", "huge", "int"]),
        ({"n": {"$gte": 1, "$lt": 2}}, ["float", "int"]),
        ({"n": {"$lt": math.inf}}, ["float", "huge", "int"]),
        ({"n": {"$eq": math.nan}}, []),
        ({"n": {"$lte": "1"}}, ["text"]),
        ({"n": {"$gt": 2**60}}, ["huge"]),
        ({"n": [1, "x"]}, ["list"]),
        ({"n": ["x", 1]}, []),
        ({"n": [1]}, []),
        ({"n": {"$in": [1, "1"]}}, ["float", "int", "text"]),
        ({"n": {"$nin": [1, "1", None]}}, ["huge", "list", "true"]),
        ({"n": {"$in": []}}, []),
        ({"n": {"$exists": True}}, ["float", "huge", "int", "list", "null", "text", "true"]),
        ({"n": {"$exists": False}}, ["absent"]),
        ({"deep": {"p": {"$gte": 2}}}, ["absent"]),
        ({"deep": {"p": 2, "q": "y"}}, ["absent"]),
        ({"deep.p": 2}, ["absent"]),
        ({"deep.p": {"$gt": 5}}, []),
        ({"a.b": "literal"}, ["text"]),
        ({"x') OR 1=1 --": "dummy"}, []),
        ({"n": "1' OR '1'='1"}, []),
        ({"n": "public\x00"}, []),
        ({"": 1}, []),
    ],
)
def test_filters_are_exact_by_type(store: TinyDancerStore, filter: dict[str, Any], found: list[str]) -> None:
    values: dict[str, Any] = {"int": 1, "float": 1.0, "text": "1", "true": True, "null": None}
    values |= {"list": [1, "x"], "huge": 2**60 + 1}
    for key, value in values.items():
        store.put(("n",), key, {"n": value, "text": "words"})
    store.put(("n",), "absent", {"deep": {"p": 2, "q": "y", "r": 1}, "text": "words"})
    store.put(("n",), "text", {"n": "1", "a.b": "literal", "text": "words"})
    assert sorted(keys(store.search(("n",), filter=filter))) == sorted(found)
    assert sorted(keys(store.search(("n",), filter=filter, query="words"))) == sorted(found)


@pytest.mark.parametrize(
    "filter",
    [{"n": {"$regex": "x"}}, {"n": {"$gt": 1, "plain": 2}}, {"$or": []}, {"n": {"$in": "abc"}}, {1: 2}, ["n"]],
)
def test_what_is_no_filter_is_refused_also_where_nothing_is_stored(store: TinyDancerStore, filter: Any) -> None:
    with pytest.raises(OptionError):
        store.search(("n",), filter=filter)


@settings(max_examples=200)
@given(value=VALUES, filter=FILTERS)
def test_a_filter_and_its_complement_never_both_pass(value: dict[str, Any], filter: dict[str, Any] | None) -> None:
    check(filter)
    for key, condition in (filter or {}).items():
        if isinstance(condition, dict) and "$eq" in condition:
            assert passes(value, {key: condition}) != passes(value, {key: {"$ne": condition["$eq"]}})


# Order within a batch, times, copies.


def test_what_reads_sees_the_store_before_what_writes_and_the_last_write_counts(store: TinyDancerStore) -> None:
    store.put(("a",), "k", {"v": 1})
    results = store.batch(
        [
            PutOp(("a",), "k", {"v": 2}),
            GetOp(("a",), "k"),
            PutOp(("a",), "new", {"v": 3}),
            SearchOp(("a",)),
            PutOp(("a",), "k", {"v": 4}),
            ListNamespacesOp(),
            PutOp(("b",), "gone", {"v": 5}),
            PutOp(("b",), "gone", None),
            GetOp(("a",), "new"),
        ]
    )
    assert results[1].value == {"v": 1}
    assert [item.value for item in results[3]] == [{"v": 1}]
    assert results[5] == [("a",)]
    assert [results[at] for at in (0, 2, 4, 6, 7, 8)] == [None] * 6
    assert store.get(("a",), "k").value == {"v": 4}
    assert store.get(("b",), "gone") is None
    with pytest.raises(OptionError):
        store.batch([("get", "a")])  # type: ignore[list-item]
    assert store.batch([]) == []


def test_times_say_when_an_item_was_made_and_when_it_was_changed(store: TinyDancerStore) -> None:
    store.put(("a",), "k", {"v": 1})
    first = store.get(("a",), "k")
    store.put(("a",), "k", {"v": 2})
    second = store.get(("a",), "k")
    assert second.created_at == first.created_at
    assert second.updated_at >= first.updated_at >= first.created_at
    assert first.created_at.tzinfo is not None
    store.delete(("a",), "k")
    store.put(("a",), "k", {"v": 3})
    assert store.get(("a",), "k").created_at >= second.updated_at


def test_the_latest_come_first(store: TinyDancerStore) -> None:
    for key in "cab":
        store.put(("a",), key, {})
    store.put(("a",), "c", {"changed": True})
    assert keys(store.search(("a",))) == ["c", "b", "a"]
    assert keys(store.search(("a",), limit=1, offset=1)) == ["b"]
    assert store.search(("a",), limit=0) == []


def test_what_is_returned_is_the_callers_own(store: TinyDancerStore) -> None:
    value: dict[str, Any] = {"list": [1], "deep": {"a": 1}}
    store.put(("a",), "k", value)
    value["list"].append(2)
    for found in (store.get(("a",), "k"), store.search(("a",))[0], store.search(("a",), query="deep a")[0]):
        assert found.value == {"list": [1], "deep": {"a": 1}}
        found.value["list"].append(3)
        found.value["deep"]["a"] = 2
    assert store.get(("a",), "k").value == {"list": [1], "deep": {"a": 1}}


def test_namespaces_end_at_their_labels(store: TinyDancerStore) -> None:
    for namespace in (("foo",), ("foo", "child"), ("foobar",), ("Foo",), ("fo*",), ("fo", "o"), ("foo\n",)):
        store.put(namespace, "k", {"text": "word"})
    assert {item.namespace for item in store.search(("foo",))} == {("foo",), ("foo", "child")}
    assert {item.namespace for item in store.search(("foo",), query="word")} == {("foo",), ("foo", "child")}
    assert {item.namespace for item in store.search(("fo*",), query="word")} == {("fo*",)}
    assert store.list_namespaces(prefix=("foo",)) == [("foo",), ("foo", "child")]
    assert store.list_namespaces(prefix=("*", "child")) == [("foo", "child")]
    assert store.list_namespaces(suffix=("foo",)) == [("foo",)]
    assert len(store.search((), limit=99)) == 7
    with pytest.raises(OptionError):
        store.batch([ListNamespacesOp(match_conditions=(MatchCondition("infix", ("foo",)),))])  # type: ignore[arg-type]


def test_what_langgraph_refuses_is_refused(store: TinyDancerStore) -> None:
    for namespace in ((), ("a.b",), ("",), ("langgraph", "a"), ("a", 1)):
        with pytest.raises(InvalidNamespaceError):
            store.put(namespace, "k", {})
    for value in ({"v": object()}, {"v": math.nan}, {"v": "\ud800"}, {1: 2}, {"v": b"bytes"}):
        with pytest.raises(CandidateError):
            store.put(("a",), "k", value)
    assert store.search(()) == []


# Words.


def test_items_are_found_by_their_words_without_any_model(store: TinyDancerStore) -> None:
    store.put(("users", "anna"), "1", {"memory": "The train to Bern leaves at nine."})
    store.put(("users", "anna"), "2", {"memory": "Anna's sister plays the cello.", "sure": 0.5})
    store.put(("users", "anna"), "hidden", {"memory": "The train is blue."}, index=False)
    store.put(("users", "ben"), "3", {"memory": "Ben's train to Basel leaves at ten."})
    found = store.search(("users", "anna"), query="When does the train leave?", limit=1)
    assert keys(found) == ["1"]
    assert found[0].score is not None
    assert "hidden" not in keys(store.search(("users", "anna"), query="blue train"))
    assert set(keys(store.search(("users", "anna")))) == {"1", "2", "hidden"}
    assert keys(store.search(("users",), query="Which train goes to Basel?", limit=1)) == ["3"]
    assert keys(store.search(("users",), query="cello", filter={"sure": {"$lt": 1}})) == ["2"]
    assert store.search(("users",), query="train", filter={"sure": {"$gt": 1}}) == []
    assert len(store.search(("users",), query="")) == 4


def test_the_words_of_an_item_are_those_it_was_last_put_with(store: TinyDancerStore) -> None:
    store.put(("a",), "k", {"memory": "zany zebra"})
    assert keys(store.search(("a",), query="zebra")) == ["k"]
    store.put(("a",), "k", {"memory": "quiet giraffe"})
    store.put(("a",), "other", {"memory": "a striped zebra"})
    assert keys(store.search(("a",), query="giraffe"))[0] == "k"
    assert keys(store.search(("a",), query="zebra"))[0] == "other"
    store.delete(("a",), "k")
    assert "k" not in keys(store.search(("a",), query="giraffe"))


def test_only_named_fields_are_looked_in(storage: Storage) -> None:
    store = TinyDancerStore(storage, index={"fields": ["title", "parts[*].said"]})
    store.put(("a",), "1", {"title": "Giraffe", "note": "zebra", "parts": [{"said": "okapi"}, {"said": "gnu"}]})
    store.put(("a",), "2", {"title": "Giraffe", "note": "zebra"}, index=["note"])
    assert keys(store.search(("a",), query="zebra", limit=1)) == ["2"]
    assert keys(store.search(("a",), query="gnu", limit=1)) == ["1"]


def test_pages_of_a_search_are_its_parts(store: TinyDancerStore) -> None:
    for number in range(30):
        store.put(("a",), str(number), {"text": f"train number {number}", "odd": number % 2 == 1})
    whole = keys(store.search(("a",), query="train number 7", filter={"odd": True}, limit=30))
    assert len(whole) == 15
    assert whole[0] == "7"
    pages = [
        store.search(("a",), query="train number 7", filter={"odd": True}, limit=4, offset=at)
        for at in range(0, 16, 4)
    ]
    assert [key for page in pages for key in keys(page)] == whole


# Vectors.


def test_an_item_is_as_near_as_the_nearest_of_its_fields(indexed: TinyDancerStore) -> None:
    indexed.put(("n",), "one", {"a": "xxx", "b": ["yyy", "zzz"], "other": "www"})
    indexed.put(("n",), "two", {"c": {"d": "uuu"}, "b": ["xxx"]})
    found = indexed.search(("n",), query="xxx")
    assert {item.key: round(item.score, 5) for item in found} == {"one": 1.0, "two": 1.0}
    assert [(item.key, round(item.score, 5)) for item in indexed.search(("n",), query="zzz")] == [
        ("one", 1),
        ("two", 0),
    ]
    assert keys(indexed.search(("n",), query="uuu", limit=1)) == ["two"]
    assert all(item.score == 0 for item in indexed.search(("n",), query="www"))
    assert [item.namespace for item in indexed.search(())] == [("n",)] * 2
    assert indexed.list_namespaces() == [("n",)]


def test_vectors_of_what_an_item_was_are_not_found(indexed: TinyDancerStore, storage: Storage) -> None:
    indexed.put(("n",), "k", {"a": "xxx", "b": ["yyy", "zzz"]})
    indexed.put(("n",), "k", {"a": "uuu"})
    assert [round(item.score, 5) for item in indexed.search(("n",), query="zzz")] == [0]
    assert len(storage.get_candidates()) == 1
    indexed.put(("n",), "k", {"b": ["yyy", "zzz"]})
    indexed.delete(("n",), "k")
    assert storage.get_candidates() == ()


def test_vectors_left_by_a_process_that_was_killed_belong_to_none(
    indexed: TinyDancerStore, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    indexed.put(("n",), "k", {"a": "xxx", "b": ["yyy", "zzz"]})
    with monkeypatch.context() as patched:
        patched.setattr(storage, "delete_candidates", lambda *_, **__: 0)  # it ends before
        indexed.put(("n",), "k", {"a": "uuu", "b": ["vvv"]})
    assert len(storage.get_candidates()) == 3
    assert [(item.value, round(item.score, 5)) for item in indexed.search(("n",), query="zzz")] == [
        ({"a": "uuu", "b": ["vvv"]}, 0)
    ]
    assert [round(item.score, 5) for item in indexed.search(("n",), query="vvv")] == [1]


def test_what_has_no_vector_fills_the_rest(indexed: TinyDancerStore) -> None:
    indexed.put(("n",), "near", {"a": "xxx"})
    indexed.put(("n",), "none", {"a": "xxx"}, index=False)
    indexed.put(("n",), "blank", {"a": "123"})
    found = indexed.search(("n",), query="xxx")
    assert [(item.key, item.score) for item in found] == [
        ("near", pytest.approx(1)),
        ("blank", None),
        ("none", None),
    ]
    assert keys(indexed.search(("n",), query="xxx", limit=1)) == ["near"]
    assert keys(indexed.search(("n",), query="xxx", limit=1, offset=1)) == ["blank"]
    assert [item.score for item in indexed.search(("n",), query="123")] == [None] * 3


def test_filters_narrow_a_search_by_vectors(indexed: TinyDancerStore) -> None:
    for number in range(40):
        indexed.put(("n",), str(number), {"a": "xxy", "b": ["abc", "xyz"], "number": number})
    found = indexed.search(("n",), query="xyz", filter={"number": {"$gte": 35}}, limit=9)
    assert {item.key for item in found} == {"35", "36", "37", "38", "39"}
    assert all(item.score == pytest.approx(1) for item in found)


def test_a_text_is_embedded_once_a_batch_and_queries_apart(storage: Storage) -> None:
    model = Letters()
    store = TinyDancerStore(storage, index={"dims": 26, "embed": model, "fields": ["a"]})
    store.batch(
        [PutOp(("n",), str(number), {"a": "same"}) for number in range(5)] + [SearchOp(("n",), query="same")]
    )
    assert model.documents == [["same"]]
    asyncio.run(store.abatch([PutOp(("n",), "x", {"a": "async"}), SearchOp(("n",), query="same")]))
    assert model.documents == [["same"], ["async"]]


def test_embedding_functions_of_both_kinds_are_taken(storage: Storage) -> None:
    async def embed(texts: list[str]) -> list[list[float]]:
        return [Letters.vector(text) for text in texts]

    store = TinyDancerStore(storage, index={"dims": 26, "embed": embed, "fields": ["a"]})

    async def use() -> list[str]:
        await store.aput(("n",), "1", {"a": "xxx"})
        await store.aput(("n",), "2", {"a": "yyy"})
        return keys(await store.asearch(("n",), query="yyy", limit=1))

    assert asyncio.run(use()) == ["2"]


# Time to live.


def test_items_end_and_live_on_when_they_are_read(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    store = TinyDancerStore(storage, ttl={"default_ttl": 1, "refresh_on_read": True})
    store.put(("a",), "short", {"v": 1}, ttl=1e-9)
    store.put(("a",), "kept", {"v": 2})
    store.put(("a",), "ever", {"v": 3}, ttl=None)
    assert store.get(("a",), "short") is None
    assert set(keys(store.search(("a",)))) == {"kept", "ever"}
    assert ("a",) in store.list_namespaces()
    lives = {record.metadata["key"]: record.ttl_s for record in storage.get_candidates()}
    assert lives == {"kept": 60, "ever": None}

    def ends() -> float | None:
        storage.flush()
        return next(each.expires_at for each in storage.get_candidates() if each.metadata["key"] == "kept")

    before = ends()
    store.get(("a",), "kept", refresh_ttl=False)
    store.search(("a",), refresh_ttl=False)
    assert ends() == before
    store.get(("a",), "kept")
    after = ends()
    assert after > before
    store.search(("a",), query="v", filter={"v": 2})
    store.search(("a",), filter={"v": 2})
    assert ends() > after
    store.put(("a",), "kept", {"v": 2}, ttl=None)
    assert ends() is None
    assert store.sweep_ttl() == 1
    assert store.sweep_ttl() == 0


def test_an_item_about_to_end_lives_on_at_once_when_it_is_read(store: TinyDancerStore, storage: Storage) -> None:
    store.put(("a",), "k", {"v": 1}, ttl=4 / 60)
    (before,) = storage.get_candidates()
    store.get(("a",), "k")
    (after,) = storage.get_candidates()
    assert after.expires_at > before.expires_at, "not with the next batch"


def test_all_vectors_of_an_item_live_on_together(indexed: TinyDancerStore, storage: Storage) -> None:
    indexed.put(("n",), "k", {"a": "xxx", "b": ["yyy", "zzz"]}, ttl=1)
    before = {record.id: record.expires_at for record in storage.get_candidates()}
    assert len(before) == 3
    indexed.search(("n",), query="zzz")
    storage.flush()
    after = {record.id: record.expires_at for record in storage.get_candidates()}
    assert all(after[id] > before[id] for id in before)


# Threads, tasks, processes.


def test_it_is_shared_by_threads_and_tasks(store: TinyDancerStore) -> None:
    def write(number: int) -> None:
        for at in range(10):
            store.put(("n", str(number)), str(at), {"text": f"memory {at} of {number}"})
            assert store.get(("n", str(number)), str(at)).value["text"] == f"memory {at} of {number}"

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(store.search(("n",), limit=99)) == 40

    async def together() -> list[Any]:
        await asyncio.gather(*(store.aput(("m",), str(at), {"at": at}) for at in range(20)))
        return await asyncio.gather(*(store.aget(("m",), str(at)) for at in range(20)))

    assert [item.value["at"] for item in asyncio.run(together())] == list(range(20))


def test_what_was_put_is_there_when_the_file_is_opened_again(tmp_path: Path) -> None:
    with SqliteStorage(tmp_path / "s.db") as storage:
        TinyDancerStore(storage).put(("a",), "k", {"memory": "The train leaves at nine.", "n": 2**60})
    with SqliteStorage(tmp_path / "s.db") as storage:
        store = TinyDancerStore(storage)
        assert store.get(("a",), "k").value == {"memory": "The train leaves at nine.", "n": 2**60}
        assert keys(store.search(("a",), query="When does the train leave?")) == ["k"]


# A graph.


class State(TypedDict):
    said: str
    recalled: list[str]


@pytest.mark.parametrize("run", ["invoke", "ainvoke"])
def test_a_graph_remembers_from_one_thread_to_another(store: TinyDancerStore, run: str) -> None:
    def remember(state: State, *, store: BaseStore) -> dict[str, Any]:
        recalled = [item.value["text"] for item in store.search(("users", "anna"), query=state["said"], limit=1)]
        store.put(("users", "anna"), uuid.uuid4().hex, {"text": state["said"]})
        return {"recalled": recalled}

    async def aremember(state: State, *, store: BaseStore) -> dict[str, Any]:
        found = await store.asearch(("users", "anna"), query=state["said"], limit=1)
        await store.aput(("users", "anna"), uuid.uuid4().hex, {"text": state["said"]})
        return {"recalled": [item.value["text"] for item in found]}

    builder = StateGraph(State)
    builder.add_node("remember", remember if run == "invoke" else aremember)
    builder.add_edge(START, "remember")
    builder.add_edge("remember", END)
    graph = builder.compile(store=store)

    def ask(text: str) -> list[str]:
        state = State(said=text, recalled=[])
        found = graph.invoke(state) if run == "invoke" else asyncio.run(graph.ainvoke(state))
        return found["recalled"]

    assert ask("The train to Bern leaves at nine.") == []
    assert ask("When does the train to Bern leave?") == ["The train to Bern leaves at nine."]


# Beside what others store in the same namespaces.


def test_metadata_of_others_makes_nobody_elses_item_found(storage: Storage, store: TinyDancerStore) -> None:
    store.put(("users", "ben"), "1", {"secret": "Ben's number is 1234."})
    anna = Memories(storage, ("users", "anna"))
    forged: list[dict[str, Any]] = [
        {"key": "x", "of": json.dumps(["users", "ben", "1"]), "version": None, "value": {}, "vectors": 1},
        {"of": json.dumps(["users", "ben", "1"]), "version": ""},
        {"key": "1", "value": {"secret": "mine"}, "vectors": 1},
        {"key": "1"},
        {"key": None, "value": 5},
        {"of": 5, "version": {}},
    ]
    for metadata in forged:
        anna.remember("a zebra", metadata=metadata)
    for query in ("zebra", None):
        assert store.search(("users", "anna"), query=query) == []
        assert keys(store.search(("users",), query=query)) == ["1"]
    assert keys(store.search(("users",), filter={"secret": {"$ne": "x"}})) == ["1"]
    assert store.get(("users", "anna"), "1") is None
    assert len(anna.recall("zebra", k=9)) == 6


def test_metadata_of_others_makes_nobody_elses_vector_found(storage: Storage, indexed: TinyDancerStore) -> None:
    indexed.put(("users", "ben"), "1", {"a": "zebra", "b": ["zebras", "more zebras"]})
    of = json.dumps(["users", "ben", "1"])
    (item,) = storage.get_candidates([of])
    for number, version in enumerate((item.metadata["version"], None, "")):
        for namespace in (("users", "anna"), ("langgraph.vectors", "users", "anna")):
            metadata = {"key": "x", "of": of, "version": version, "value": {}}
            record = CandidateRecord(
                f"{number}{namespace}", Letters.vector("zebra"), metadata=metadata, namespace=namespace
            )
            storage.insert_candidate(record)
    assert indexed.search(("users", "anna"), query="zebra") == []
    assert keys(indexed.search(("users",), query="zebra")) == ["1"]


def test_an_id_that_another_namespace_has_taken_is_no_item(storage: Storage, store: TinyDancerStore) -> None:
    id = json.dumps(["users", "ben", "1"])
    storage.insert_candidate(
        CandidateRecord(
            id, text="forged", metadata={"key": "1", "value": {"a": 1}, "vectors": 0}, namespace=("x",)
        )
    )
    assert store.get(("users", "ben"), "1") is None
    store.put(("users", "ben"), "1", {"a": 2})
    assert store.get(("users", "ben"), "1").value == {"a": 2}  # type: ignore[union-attr]


def test_further_vectors_take_no_place_of_anothers(storage: Storage) -> None:
    session = TinyDancerSession("x", storage)
    said = [{"role": "user", "content": f"{number}"} for number in range(3)]
    asyncio.run(session.add_items(said))  # type: ignore[arg-type]
    store = TinyDancerStore(storage, index={"dims": 26, "embed": Letters(), "fields": ["a", "b[*]"]})
    store.put(("sessions",), "x", {"a": "one", "b": ["two", "three"]})
    assert asyncio.run(session.get_items()) == said
    store.delete(("sessions",), "x")
    assert asyncio.run(session.get_items()) == said


@pytest.mark.parametrize(
    "op",
    [
        PutOp(("a",), 5, {"v": 1}),  # type: ignore[arg-type]
        PutOp(("a",), "k", "text"),  # type: ignore[arg-type]
        PutOp(("a",), "k", [1]),  # type: ignore[arg-type]
        PutOp(("langgraph.vectors", "a"), "k", {"v": 1}),
    ],
)
def test_what_is_no_item_is_refused_before_anything_is_written(store: TinyDancerStore, op: PutOp) -> None:
    with pytest.raises(OptionError):
        store.batch([PutOp(("a",), "good", {"v": 1}), op])
    assert store.search(()) == []


@pytest.mark.parametrize("query", ["", " ", "\n\t"])
def test_a_query_without_words_is_none(
    store: TinyDancerStore, indexed: TinyDancerStore, query: str, storage: Storage
) -> None:
    for each, key in ((store, "1"), (indexed, "2")):
        each.put((key,), key, {"a": "tea"})
        assert keys(each.search((key,), query=query)) == [key]
        assert each.search((key,), query=query)[0].score is None


def test_a_filter_that_passes_few_finds_them_behind_the_latest(store: TinyDancerStore) -> None:
    store.batch([PutOp(("a",), str(number), {"tags": ["x"] if number < 3 else "x"}) for number in range(200)])
    assert len(store.search(("a",), filter={"tags": ["x"]}, limit=2)) == 2
    assert len(store.search(("a",), filter={"tags": ["x"]}, limit=9)) == 3
    assert len(store.search(("a",), filter={"tags": "x"}, limit=5, offset=195)) == 2
