"""The server of the Model Context Protocol, asked by the official client."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from mcp import Client

from tiny_dancer import ModelInfo, Router
from tiny_dancer.integrations.mcp import memory_server
from tiny_dancer.integrations.memories import Memories

if TYPE_CHECKING:
    from tiny_dancer.storage import Storage

PRICES = {
    "weak": ModelInfo(input_cost_per_token=1e-6, output_cost_per_token=1e-6, expected_output_tokens=100),
    "strong": ModelInfo(input_cost_per_token=1e-5, output_cost_per_token=1e-5, expected_output_tokens=100),
}


def asked(storage: Storage, *calls: tuple[str, dict[str, Any]], namespace: tuple[str, ...] = ()) -> list[Any]:
    """What the tools answer, one after the other: their structured result, or the text of an error."""

    async def talk() -> list[Any]:
        server = memory_server(storage, namespace, router=Router.load(models=PRICES))
        async with Client(server) as client:
            answers = []
            for name, arguments in calls:
                result = await client.call_tool(name, arguments)
                content = result.structured_content
                answers.append(result.content[0].text if result.is_error else content.get("result", content))
            return answers

    return asyncio.run(talk())


def test_it_says_what_it_offers(storage: Storage) -> None:
    async def talk() -> Any:
        async with Client(memory_server(storage, router=Router.load())) as client:
            return await client.list_tools(), client.server_info, client.instructions

    listed, info, instructions = asyncio.run(talk())
    tools = {tool.name: tool for tool in listed.tools}
    assert set(tools) == {"remember", "recall", "forget", "route"}
    assert info.name == "tiny-dancer"
    assert "memory" in instructions
    for tool in tools.values():
        assert tool.description
        assert all("description" in each for each in tool.input_schema["properties"].values()), tool.name
    assert tools["recall"].annotations.read_only_hint
    assert tools["forget"].annotations.destructive_hint
    assert tools["remember"].input_schema["required"] == ["text"]


def test_what_was_remembered_is_recalled_and_forgotten(storage: Storage) -> None:
    train, tea = asked(
        storage,
        ("remember", {"text": "The train to Bern leaves at nine.", "metadata": {"topic": "travel", "year": 2026}}),
        ("remember", {"text": "Anna prefers green tea.", "days": 30}),
    )
    found, filtered, none, gone, again, left = asked(
        storage,
        ("recall", {"query": "When does the train leave?", "k": 1}),
        ("recall", {"query": "train or tea", "filter": {"topic": "travel", "year": {"$gte": 2025}}}),
        ("recall", {"query": "train", "filter": {"topic": "food"}}),
        ("forget", {"id": train}),
        ("forget", {"id": train}),
        ("recall", {"query": "train or tea"}),
    )
    assert [(each["id"], each["text"]) for each in found] == [(train, "The train to Bern leaves at nine.")]
    assert found[0]["metadata"] == {"topic": "travel", "year": 2026}
    assert [each["id"] for each in filtered] == [train]
    assert none == []
    assert (gone, again) == (True, False)
    assert [each["id"] for each in left] == [tea]
    (record,) = storage.get_candidates([tea])
    assert record.ttl_s == 30 * 86_400
    assert [change.by for change in storage.candidate_history(tea)] == ["mcp"]


def test_a_namespace_is_a_boundary(storage: Storage) -> None:
    secret = Memories(storage, ("users", "ben")).remember("Ben's code is 4711.")
    mine, found, forgotten = asked(
        storage,
        ("remember", {"text": "Anna's code is 0815."}),
        ("recall", {"query": "code", "filter": {"$namespace": ["users", "ben"]}}),
        ("forget", {"id": secret}),
        namespace=("users", "anna"),
    )
    assert (found, forgotten) == ([], False)
    assert {record.id for record in storage.get_candidates()} == {mine, secret}


def test_it_says_which_model_a_request_is_worth(storage: Storage) -> None:
    free, cheap, excluded = asked(
        storage,
        ("route", {"request": "What is 2 + 2?"}),
        ("route", {"request": "What is 2 + 2?", "max_cost": 0.0002}),
        ("route", {"request": "What is 2 + 2?", "exclude": ["weak"]}),
    )
    decision = Router.load(models=PRICES).route("What is 2 + 2?")
    assert (free["model"], free["reason"]) == (decision.model, decision.reason)
    assert free["expected_quality"] == {name: pytest.approx(each) for name, each in decision.scores.items()}
    assert free["expected_cost"].keys() == {"weak", "strong"}
    assert cheap["model"] == "weak"
    assert excluded["model"] == "strong"


@pytest.mark.parametrize(
    ("name", "arguments", "says"),
    [
        ("remember", {"text": " "}, "give what is to be remembered"),
        ("remember", {}, "text"),
        ("remember", {"text": "x", "days": 0}, "days"),
        ("recall", {"query": ""}, "ask in words"),
        ("recall", {"query": "x", "k": 0}, "k"),
        ("recall", {"query": "x", "filter": {"$what": 1}}, "$what"),
        ("route", {"request": ""}, "request"),
        ("route", {"request": "x", "exclude": ["weak", "strong"]}, "weak"),
        ("nothing", {}, "nothing"),
    ],
)
def test_what_cannot_be_done_is_told_to_the_client(
    storage: Storage, name: str, arguments: dict[str, Any], says: str
) -> None:
    answer, after = asked(storage, (name, arguments), ("recall", {"query": "anything"}))
    assert isinstance(answer, str)
    assert says in answer
    assert "Traceback" not in answer
    assert after == []
