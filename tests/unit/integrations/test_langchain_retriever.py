"""A LangChain retriever over a storage, called as LangChain calls it."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.runnables import Runnable, RunnableLambda
from pydantic import ValidationError

from tiny_dancer import OptionError, TinyDancerError
from tiny_dancer.integrations.langchain import TinyDancerRetriever
from tiny_dancer.integrations.langgraph import TinyDancerStore
from tiny_dancer.storage import CandidateRecord

if TYPE_CHECKING:
    from tiny_dancer.storage import Storage

DOCUMENTS = [
    Document("The train to Bern leaves at nine.", id="train", metadata={"topic": "travel", "year": 2026}),
    Document("The train to Basel leaves at ten.", id="basel", metadata={"topic": "travel", "year": 2024}),
    Document("Anna prefers green tea.", metadata={"topic": "food", "score": "mine"}),
    Document("A train of thought is a chain of ideas.", id="thought", metadata={"topic": "words"}),
]


class Letters(Embeddings):
    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [self.embed_query(text) for text in texts]

    def embed_query(self, text: str) -> list[float]:
        return [1.0 + text.lower().count(letter) for letter in "abcdefghijklmnopqrstuvwxyz"]


@pytest.fixture
def retriever(storage: Storage) -> TinyDancerRetriever:
    return TinyDancerRetriever.from_documents(DOCUMENTS, storage)


def ids(found: list[Document]) -> list[str | None]:
    return [each.id for each in found]


def test_it_finds_by_words_and_says_what_it_found(retriever: TinyDancerRetriever) -> None:
    found = retriever.invoke("When does the train to Bern leave?")
    assert found[0].id == "train"
    assert found[0].page_content == DOCUMENTS[0].page_content
    assert found[0].metadata["topic"] == "travel"
    assert found[0].metadata["score"] > found[1].metadata["score"]
    assert found[0].metadata["namespace"] == []
    (tea,) = retriever.invoke("green tea", k=1)
    assert tea.metadata["score"] == "mine", "what was stored goes before what the retriever says"
    assert tea.id


def test_the_number_of_documents_is_the_retrievers_or_the_calls(
    storage: Storage, retriever: TinyDancerRetriever
) -> None:
    assert len(TinyDancerRetriever(storage=storage, k=2).invoke("train")) == 2
    assert len(retriever.invoke("train", k=1)) == 1
    assert len(retriever.invoke("train", k=3)) == 3
    with pytest.raises(ValueError, match="greater than or equal to 1"):
        TinyDancerRetriever(storage=storage, k=0)
    with pytest.raises(OptionError):
        retriever.invoke("train", k=0)


def test_filters_of_retriever_and_call_hold_both(storage: Storage) -> None:
    TinyDancerRetriever.from_documents(DOCUMENTS, storage)
    travel = TinyDancerRetriever(storage=storage, filter={"topic": "travel"})
    assert set(ids(travel.invoke("train"))) == {"train", "basel"}
    assert ids(travel.invoke("train", filter={"year": {"$gte": 2025}})) == ["train"]
    assert travel.invoke("train", filter={"topic": "words"}) == []


def test_a_namespace_is_a_boundary(storage: Storage) -> None:
    anna = TinyDancerRetriever.from_documents(DOCUMENTS[:1], storage, namespace=("users", "anna"))
    ben = TinyDancerRetriever.from_documents(DOCUMENTS[1:2], storage, namespace=("users", "ben"))
    assert ids(anna.invoke("train")) == ["train"]
    assert ids(ben.invoke("train")) == ["basel"]
    assert ben.invoke("train", filter={"$namespace": ["users", "anna"]}) == []
    assert len(TinyDancerRetriever(storage=storage, namespace=("users",)).invoke("train")) == 2
    assert anna.invoke("train")[0].metadata["namespace"] == ["users", "anna"]


def test_a_models_vectors_are_used_where_there_is_one(storage: Storage) -> None:
    retriever = TinyDancerRetriever.from_documents(DOCUMENTS, storage, embeddings=Letters(), k=1)
    assert len(storage.get_candidates()[2].embedding) == 26
    assert ids(retriever.invoke("The train to Bern leaves at nine")) == ["train"]
    assert ids(asyncio.run(retriever.ainvoke("The train to Bern leaves at nine"))) == ["train"]


def test_documents_of_an_id_that_is_there_replace_it(storage: Storage) -> None:
    TinyDancerRetriever.from_documents(DOCUMENTS, storage)
    changed = TinyDancerRetriever.from_documents([Document("The train to Bern is late.", id="train")], storage)
    assert changed.invoke("late train to Bern", k=1)[0].page_content == "The train to Bern is late."
    assert len(storage.get_candidates()) == 4
    assert TinyDancerRetriever.from_documents([], storage).k == 5


class Heard(BaseCallbackHandler):
    def __init__(self) -> None:
        self.said: list[Any] = []

    def on_retriever_start(self, serialized: Any, query: str, **_: Any) -> None:
        self.said.append(query)

    def on_retriever_end(self, documents: Any, **_: Any) -> None:
        self.said.append(ids(documents))

    def on_retriever_error(self, error: BaseException, **_: Any) -> None:
        self.said.append(type(error))


def test_it_is_a_runnable_with_batches_streams_chains_and_callbacks(retriever: TinyDancerRetriever) -> None:
    questions = ["train to Bern", "green tea"]
    expected = [ids(retriever.invoke(question)) for question in questions]
    assert [ids(found) for found in retriever.batch(questions)] == expected
    assert [ids(found) for found in asyncio.run(retriever.abatch(questions))] == expected

    def contents(found: list[Document]) -> list[str]:
        return [each.page_content for each in found]

    chain: Runnable[str, list[str]] = retriever | RunnableLambda(contents)
    assert chain.invoke("train to Bern")[0] == DOCUMENTS[0].page_content
    heard = Heard()
    retriever.invoke("train to Bern", {"callbacks": [heard]})
    assert heard.said == ["train to Bern", expected[0]]
    with pytest.raises(TinyDancerError) as caught:
        retriever.invoke("train", {"callbacks": [heard]}, filter={"$what": 1})
    assert heard.said[-1] is caught.type
    assert asyncio.run(retriever.ainvoke("train", k=1))[0].id


def test_ids_are_each_namespaces_own(storage: Storage) -> None:
    users = ["anna", "ben", "a", "b", 'b", "c']
    mine = {
        user: TinyDancerRetriever.from_documents(
            [
                Document(f"The pin of {user} is secret.", id="1"),
                Document("Tea.", id=json.dumps(["users", "ben", ["1"]])),
            ],
            storage,
            namespace=("users", user),
        )
        for user in users
    }
    assert len(storage.get_candidates()) == 2 * len(users)
    for user, retriever in mine.items():
        (found,) = retriever.invoke("pin secret", k=1)
        assert (found.id, found.page_content) == ("1", f"The pin of {user} is secret.")
    assert mine["anna"].delete(["1", "1", "absent"]) == 1
    assert "secret" not in str(mine["anna"].invoke("pin secret"))
    assert mine["ben"].invoke("pin secret", k=1)[0].id == "1"


def test_a_documents_id_takes_no_other_doors_item(storage: Storage) -> None:
    store = TinyDancerStore(storage)
    store.put(("users", "ben"), "1", {"memory": "tea"})
    for namespace in (("users", "ben"), ("users", "anna")):
        documents = [Document("over", id=id) for id in ("1", json.dumps(["users", "ben", "1"]))]
        retriever = TinyDancerRetriever.from_documents(documents, storage, namespace=namespace)
        retriever.delete(["1", json.dumps(["users", "ben", "1"])])
    item = store.get(("users", "ben"), "1")
    assert item is not None and item.value == {"memory": "tea"}


def test_documents_of_others_keep_their_ids(storage: Storage, retriever: TinyDancerRetriever) -> None:
    ids = ["x", '["x"]', "[[1]]", "[[]]", "]]", '[["other"], ["x"]]', '["a", ["x"]]', "5]]"]
    storage.insert_candidates([CandidateRecord(id, text="zebra") for id in ids])
    assert {each.id for each in retriever.invoke("zebra", k=20, filter={"$id": ids})} == set(ids)


@pytest.mark.parametrize("filter", [[], "", 0, (), "topic"])
def test_what_is_no_filter_is_refused(retriever: TinyDancerRetriever, filter: Any) -> None:
    with pytest.raises(OptionError, match="filter"):
        retriever.invoke("train", filter=filter)


def test_a_field_that_is_misspelt_is_refused(storage: Storage) -> None:
    with pytest.raises(ValidationError, match="namespaces"):
        TinyDancerRetriever(storage=storage, namespaces=("users", "anna"))  # type: ignore[call-arg]
    with pytest.raises(OptionError, match="namespace"):
        TinyDancerRetriever.from_documents(DOCUMENTS, storage, namespace="anna")
    assert storage.get_candidates() == ()


@pytest.mark.parametrize("query", ["", "  ", "\n"])
def test_a_question_without_words_finds_nothing(storage: Storage, query: str) -> None:
    for embeddings in (None, Letters()):
        retriever = TinyDancerRetriever.from_documents(DOCUMENTS, storage, embeddings=embeddings)
        assert retriever.invoke(query) == []
        assert asyncio.run(retriever.ainvoke(query)) == []
