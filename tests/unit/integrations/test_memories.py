"""Memories as tools: what is remembered is recalled, within its namespace alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tiny_dancer import CandidateError, OptionError
from tiny_dancer.integrations.memories import Memories

if TYPE_CHECKING:
    from tiny_dancer.storage import Storage


def test_what_was_remembered_is_recalled_by_its_words(storage: Storage) -> None:
    memories = Memories(storage, ("users", "anna"))
    train = memories.remember("The train to Bern leaves at nine.", metadata={"topic": "travel", "year": 2026})
    tea = memories.remember("Anna prefers green tea.", metadata={"topic": "food"})
    found = memories.recall("When does the train leave?", k=1)
    assert [each.id for each in found] == [train]
    assert found[0].metadata == {"topic": "travel", "year": 2026}
    assert found[0].remembered_at.startswith("20")
    assert found[0].remembered_at.endswith("+00:00")
    assert [each.id for each in memories.recall("Anna's train or tea", filter={"topic": "food"})] == [tea]
    assert [each.id for each in memories.recall("the train or tea", filter={"year": {"$gte": 2025}})] == [train]


def test_a_namespace_is_a_boundary(storage: Storage) -> None:
    anna, ben = Memories(storage, ("users", "anna")), Memories(storage, ("users", "ben"))
    everybody, annas_work = Memories(storage, ("users",)), Memories(storage, ("users", "anna", "work"))
    secret = anna.remember("Anna's locker code is 4711.")
    work = annas_work.remember("Anna's desk code is 0815.")
    filters: list[Any] = [None, {}, {"$namespace": []}, {"$or": [{"$exists": 1}, {}]}]
    for filter in (*filters, {"$namespace": ["users", "anna"]}):
        try:
            found = ben.recall("locker code", filter=filter)
        except (CandidateError, OptionError):
            continue
        assert found == ()
    assert not ben.forget(secret)
    assert not annas_work.forget(secret)
    assert {each.id for each in anna.recall("code")} == {secret, work}
    assert {each.id for each in everybody.recall("code")} == {secret, work}
    assert [each.id for each in annas_work.recall("code")] == [work]
    assert anna.forget(work)
    assert not anna.forget(work)
    assert {each.id for each in Memories(storage).recall("code")} == {secret}


def test_what_was_forgotten_is_gone_with_its_history(storage: Storage) -> None:
    memories = Memories(storage, ("a",), by="somebody")
    id = memories.remember("The safe opens with 1234.")
    assert [(each.action, each.by) for each in storage.candidate_history(id)] == [("insert", "somebody")]
    assert memories.forget(id)
    assert memories.recall("safe") == ()
    assert storage.candidate_history(id) == ()


def test_memories_end_when_they_are_meant_to(storage: Storage) -> None:
    memories = Memories(storage)
    memories.remember("The parcel arrives today.", ttl_s=1e-9)
    kept = memories.remember("The parcel's number is 17.", ttl_s=3600)
    assert [each.id for each in memories.recall("parcel")] == [kept]


@pytest.mark.parametrize("text", ["", "  \n", None, 3, "a\0b", "\ud800"])
def test_what_is_no_text_is_not_remembered(storage: Storage, text: Any) -> None:
    with pytest.raises(CandidateError):
        Memories(storage).remember(text)


@pytest.mark.parametrize(
    "wrong",
    [{"query": ""}, {"query": None}, {"k": 0}, {"k": 101}, {"k": True}, {"k": "5"}, {"filter": {"$what": 1}}],
)
def test_what_cannot_be_recalled_is_a_typed_error(storage: Storage, wrong: dict[str, Any]) -> None:
    with pytest.raises((CandidateError, OptionError)):
        Memories(storage).recall(**{"query": "x", **wrong})


def test_a_namespace_is_a_list_of_names(storage: Storage) -> None:
    with pytest.raises(OptionError, match="list of texts"):
        Memories(storage, "users")


@pytest.mark.parametrize("filter", [[], "", 0, (), "topic"])
def test_what_is_no_filter_is_refused(storage: Storage, filter: Any) -> None:
    memories = Memories(storage)
    memories.remember("tea")
    with pytest.raises(OptionError, match="filter"):
        memories.recall("tea", filter=filter)
