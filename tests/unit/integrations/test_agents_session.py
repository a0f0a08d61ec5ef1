"""A session of OpenAI's Agents SDK over a storage, run by the SDK's own runner, and memory as its tools."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from agents import Agent, Runner, Session, SessionSettings, set_tracing_disabled
from agents.testing import ScriptedModel
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.responses import ResponseFunctionToolCall, ResponseOutputMessage, ResponseOutputText

from tiny_dancer import CandidateError, OptionError
from tiny_dancer.integrations.openai_agents import TinyDancerSession, memory_tools
from tiny_dancer.storage import MemoryStorage, SqliteStorage

if TYPE_CHECKING:
    from pathlib import Path

    from tiny_dancer.storage import Storage


set_tracing_disabled(True)


def message(text: str) -> ResponseOutputMessage:
    content = ResponseOutputText(text=text, type="output_text", annotations=[], logprobs=[])
    return ResponseOutputMessage(id="1", type="message", role="assistant", status="completed", content=[content])


def call(name: str, **arguments: Any) -> ResponseFunctionToolCall:
    return ResponseFunctionToolCall(
        id="f", call_id=f"call-{name}", type="function_call", name=name, arguments=json.dumps(arguments)
    )


def user(text: str) -> Any:
    return {"role": "user", "content": text}


def all_of(session: TinyDancerSession) -> list[Any]:
    return asyncio.run(session.get_items())


ITEMS: list[Any] = [
    user("When does the train leave?"),
    {"type": "reasoning", "id": "rs", "summary": [], "encrypted_content": "…"},
    {"type": "function_call", "call_id": "c", "name": "f", "arguments": '{"a": 1.0, "b": null}'},
    {"type": "function_call_output", "call_id": "c", "output": "nine\0 \U0001f682"},
    {"role": "assistant", "content": [{"type": "output_text", "text": "At nine.", "annotations": []}], "n": 2**70},
]


def test_it_is_what_the_sdk_asks_for(storage: Storage) -> None:
    assert isinstance(TinyDancerSession("s", storage), Session)


def test_items_come_back_as_they_were_in_their_order(storage: Storage) -> None:
    session = TinyDancerSession("s", storage)
    assert all_of(session) == []
    asyncio.run(session.add_items(ITEMS[:2]))
    asyncio.run(session.add_items([]))
    asyncio.run(session.add_items(ITEMS[2:]))
    assert all_of(session) == ITEMS
    assert all_of(TinyDancerSession("s", storage)) == ITEMS
    assert all_of(TinyDancerSession("t", storage)) == []


@pytest.mark.parametrize(("limit", "expected"), [(None, 5), (0, 0), (1, 1), (3, 3), (99, 5), (-1, 5)])
def test_a_limit_gives_the_latest(storage: Storage, limit: int | None, expected: int) -> None:
    session = TinyDancerSession("s", storage)
    asyncio.run(session.add_items(ITEMS))
    assert asyncio.run(session.get_items(limit)) == ITEMS[5 - expected :]
    if limit is not None and limit >= 0:
        limited = TinyDancerSession("s", storage, session_settings=SessionSettings(limit=limit))
        assert all_of(limited) == ITEMS[5 - expected :]
        assert asyncio.run(limited.get_items(2)) == ITEMS[3:]
    assert TinyDancerSession("s", storage, session_settings={"limit": 2}).session_settings == SessionSettings(
        limit=2
    )


def test_the_latest_is_popped_and_places_are_not_mixed_up(storage: Storage) -> None:
    session = TinyDancerSession("s", storage)
    assert asyncio.run(session.pop_item()) is None
    asyncio.run(session.add_items(ITEMS))
    assert asyncio.run(session.pop_item()) == ITEMS[4]
    asyncio.run(session.add_items([user("again")]))
    assert all_of(session) == [*ITEMS[:4], user("again")]
    for _ in range(5):
        asyncio.run(session.pop_item())
    assert asyncio.run(session.pop_item()) is None
    asyncio.run(session.add_items(ITEMS[:1]))
    assert all_of(session) == ITEMS[:1]


def test_a_cleared_session_leaves_nothing(storage: Storage) -> None:
    session, other = TinyDancerSession("s", storage), TinyDancerSession("s2", storage)
    asyncio.run(session.add_items(ITEMS))
    asyncio.run(other.add_items(ITEMS))
    asyncio.run(session.clear_session())
    assert all_of(session) == []
    assert all_of(other) == ITEMS
    assert {change.candidate_id for change in storage.candidate_history()} == {
        record.id for record in storage.get_candidates()
    }


@pytest.mark.parametrize("id", ["", None, 3])
def test_a_session_has_an_id(storage: Storage, id: Any) -> None:
    with pytest.raises(OptionError, match="session_id"):
        TinyDancerSession(id, storage)


@pytest.mark.parametrize("id", ["a/b", "a.b", '["x"]', "ä\n", "x" * 500, "'; DROP TABLE candidates; --"])
def test_sessions_of_any_name_are_kept_apart(storage: Storage, id: str) -> None:
    session, longer = TinyDancerSession(id, storage), TinyDancerSession(id + "x", storage)
    asyncio.run(session.add_items([user("one")]))
    asyncio.run(longer.add_items([user("two")]))
    assert all_of(session) == [user("one")]
    assert all_of(longer) == [user("two")]


@pytest.mark.parametrize("item", [{"x": object()}, {"x": float("nan")}, {(1, 2): 3}])
def test_what_json_does_not_hold_is_refused_and_nothing_is_added(storage: Storage, item: Any) -> None:
    session = TinyDancerSession("s", storage)
    with pytest.raises(CandidateError):
        asyncio.run(session.add_items([user("fine"), item]))
    assert all_of(session) == []


@settings(max_examples=40)
@given(
    items=st.lists(
        st.dictionaries(
            st.sampled_from(["role", "content", "type", "x"]),
            st.text(st.characters(exclude_categories=[]), max_size=6)
            | st.none()
            | st.integers()
            | st.floats(allow_nan=False, allow_infinity=False)
            | st.lists(st.fixed_dictionaries({"text": st.text(st.characters(exclude_categories=[]), max_size=6)})),
        ),
        max_size=5,
    )
)
def test_whatever_an_item_is_it_comes_back_as_it_was(items: list[Any]) -> None:
    session = TinyDancerSession("s", MemoryStorage())
    asyncio.run(session.add_items(items))
    assert all_of(session) == items


def test_what_was_said_can_be_recalled_in_other_sessions(storage: Storage) -> None:
    asyncio.run(TinyDancerSession("monday", storage).add_items(ITEMS))
    asyncio.run(TinyDancerSession("tuesday", storage).add_items([user("Anna likes tea.")]))
    found = storage.query_candidates("train", 3, filter={"$namespace": ["sessions"], "role": "user"})
    assert [each.candidate.text for each in found][:1] == ["When does the train leave?"]
    texts = [each.text for each in storage.get_candidates(filter={"$namespace": ["sessions", "monday"]})]
    assert sorted(filter(None, texts)) == ["At nine.", "When does the train leave?"]


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_what_many_add_at_once_is_all_there_each_calls_items_together(tmp_path: Path, kind: str) -> None:
    storages = [MemoryStorage()] * 4 if kind == "memory" else [SqliteStorage(tmp_path / "s.db") for _ in range(4)]

    def add(number: int) -> None:
        session = TinyDancerSession("s", storages[number])
        for at in range(5):
            asyncio.run(session.add_items([user(f"{number} {at} {part}") for part in range(3)]))

    threads = [threading.Thread(target=add, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    said = [item["content"].split() for item in all_of(TinyDancerSession("s", storages[0]))]
    for storage in storages:
        storage.close()
    assert len(said) == 60
    for start in range(0, 60, 3):
        assert [each[2] for each in said[start : start + 3]] == ["0", "1", "2"]
        assert len({tuple(each[:2]) for each in said[start : start + 3]}) == 1
    for number in range(4):
        assert [each[1] for each in said if each[0] == str(number)] == [
            str(at) for at in range(5) for _ in range(3)
        ]


def test_who_is_cancelled_is_so_once_the_change_is_made(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    session = TinyDancerSession("s", storage)
    begun, go_on = threading.Event(), threading.Event()
    insert = storage.insert_candidates

    def slow(*arguments: Any, **keywords: Any) -> None:
        begun.set()
        assert go_on.wait(30)
        insert(*arguments, **keywords)

    monkeypatch.setattr(storage, "insert_candidates", slow)

    async def cancelled() -> None:
        task = asyncio.create_task(session.add_items(ITEMS))
        await asyncio.to_thread(begun.wait, 30)
        for _ in range(3):
            task.cancel()
            await asyncio.sleep(0)
        assert not task.done()
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())
    assert all_of(session) == ITEMS


# With the SDK's runner.


def asked(model: ScriptedModel) -> Any:
    """What the model was given last."""
    return model.last_call.input


@pytest.mark.parametrize("streamed", [False, True])
def test_the_runner_goes_on_with_what_was_said_before(storage: Storage, streamed: bool) -> None:
    model = ScriptedModel()
    agent = Agent("Assistant", model=model)

    async def turn(text: str, session: TinyDancerSession) -> str:
        if not streamed:
            return str((await Runner.run(agent, text, session=session)).final_output)
        result = Runner.run_streamed(agent, text, session=session)
        async for _ in result.stream_events():
            pass
        return str(result.final_output)

    async def talk() -> None:
        model.enqueue([message("At nine.")])
        assert await turn("When does the train leave?", TinyDancerSession("s", storage)) == "At nine."
        model.enqueue([message("From track four.")])
        await turn("From where?", TinyDancerSession("s", storage))
        assert [each["content"] for each in asked(model) if each["role"] == "user"] == [
            "When does the train leave?",
            "From where?",
        ]
        assert "At nine." in json.dumps(asked(model))
        model.enqueue([message("Hello.")])
        await turn("Hi", TinyDancerSession("other", storage))
        assert "train" not in json.dumps(asked(model))

    asyncio.run(talk())
    assert len(all_of(TinyDancerSession("s", storage))) == 4


def test_an_agent_remembers_recalls_and_forgets(storage: Storage) -> None:
    model = ScriptedModel()
    agent = Agent("Assistant", model=model, tools=memory_tools(storage, ("users", "anna")))

    def outputs(*turns: Any) -> list[str]:
        for each in turns:
            model.enqueue([each])
        model.enqueue([message("done")])
        result = asyncio.run(Runner.run(agent, "go on"))
        return [str(item.output) for item in result.new_items if item.type == "tool_call_output_item"]

    (id,) = outputs(call("remember", text="The train to Bern leaves at nine."))
    (found,) = outputs(call("recall", query="When does the train leave?", k=3))
    assert [(each["id"], each["text"]) for each in json.loads(found)] == [
        (id, "The train to Bern leaves at nine.")
    ]
    assert outputs(call("recall", query=" ", k=3))[0].startswith("An error occurred"), (
        "the model is told, and goes on"
    )
    (other,) = (tool for tool in memory_tools(storage, ("users", "ben")) if tool.name == "forget")
    assert other.params_json_schema["required"] == ["id"]
    assert outputs(call("forget", id=id)) == ["forgotten"]
    assert outputs(call("forget", id=id)) == ["there is no such memory"]
    assert outputs(call("recall", query="train", k=5)) == ["[]"]


@pytest.mark.parametrize("size", [399_950, 400_001, 2_500_000])
def test_an_item_may_be_larger_than_metadata(storage: Storage, size: int) -> None:
    session = TinyDancerSession("s", storage)
    image = {"role": "user", "content": [{"type": "input_image", "image_url": "data:" + 'A"\\ä' * (size // 4)}]}
    items: list[Any] = [user("first"), image, user("between"), image]
    asyncio.run(session.add_items(items))
    assert all_of(session) == items
    assert asyncio.run(session.get_items(1)) == [image]
    assert asyncio.run(session.get_items(2)) == items[2:]
    assert asyncio.run(session.pop_item()) == image
    assert asyncio.run(session.pop_item()) == items[2]
    asyncio.run(session.add_items([user("last")]))
    assert all_of(session) == [*items[:2], user("last")]
    asyncio.run(session.clear_session())
    assert storage.get_candidates() == ()


def test_a_large_item_is_popped_by_one(storage: Storage) -> None:
    session = TinyDancerSession("s", storage)
    items: list[Any] = [{"role": "user", "content": f"{number}" * 500_000} for number in range(4)]
    asyncio.run(session.add_items(items))

    async def all_at_once() -> list[Any]:
        return await asyncio.gather(*(session.pop_item() for _ in range(8)))

    popped = [each for each in asyncio.run(all_at_once()) if each is not None]
    assert sorted(popped, key=str) == items


def test_clocks_that_go_back_change_no_order(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    session = TinyDancerSession("s", storage)
    now = time.time()
    for number in range(6):
        monkeypatch.setattr(time, "time", lambda number=number: now - 1000 * number)
        asyncio.run(session.add_items([user(str(number))]))
    assert all_of(session) == [user(str(number)) for number in range(6)]
    assert asyncio.run(session.get_items(2)) == [user("4"), user("5")]
    assert asyncio.run(session.pop_item()) == user("5")


@settings(max_examples=30)
@given(
    st.lists(st.integers(1, 4).map(lambda n: ("add", n)) | st.just(("pop", 0)) | st.just(("gap", 0)), max_size=12),
    st.integers(0, 9),
)
def test_the_latest_are_found_whatever_places_are_empty(steps: list[tuple[str, int]], limit: int) -> None:
    storage = MemoryStorage()
    session, expected, number = TinyDancerSession("s", storage), [], 0
    for step, count in steps:
        if step == "add":
            fresh = [user(str(number + each)) for each in range(count)]
            number += count
            expected += fresh
            asyncio.run(session.add_items(fresh))
        elif step == "pop":
            assert asyncio.run(session.pop_item()) == (expected.pop() if expected else None)
        elif len(expected) > 1:  # as where others add between a pop's reading and its removing
            middle = sorted(storage.get_candidates(), key=lambda each: each.position or 0)[-2]
            storage.delete_candidates([middle.id])
            del expected[-2]
    assert all_of(session) == expected
    assert asyncio.run(session.get_items(limit)) == (expected[-limit:] if limit else [])
