"""What servers of chat completions send beside what is documented: an answer that carries content is served."""

from __future__ import annotations

import json
from typing import Any

import pytest
from anthropic.types import Message

from tiny_dancer.gateway.upstream import sse
from tiny_dancer.gateway.upstream.dialect import Reported
from tiny_dancer.gateway.upstream.translate.messages_from_chat import MessageEvents, response

from .samples import translated
from .test_streams_both_ways import chunk, gist_of_message

TEXT = [{"type": "text", "text": "a"}]
HM = {"type": "thinking", "thinking": "Hm.", "signature": ""}


def answered(message: Any, finish: Any = "stop", **more: Any) -> dict[str, Any]:
    choice = {"index": 0, "message": message, "finish_reason": finish}
    body = json.dumps({"id": "c", "model": "m", "choices": [choice], **more}).encode()
    answer = response(body)
    Message.model_validate_json(answer.body, strict=True)
    found: dict[str, Any] = json.loads(answer.body)
    return found


def used(name: str = "f", identifier: str = "c", **given: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": identifier, "name": name, "input": given}


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}, *TEXT]}, [HM, *TEXT]),
        ({"content": [*TEXT, {"type": "thinking", "thinking": "Hm."}]}, [*TEXT, HM]),
        ({"content": [{"type": "text", "text": "a"}, {"type": "reference", "reference_ids": [1]}]}, TEXT),
        ({"content": ["a"]}, TEXT),
        ({"content": {"type": "text", "text": "a"}}, TEXT),
        ({"content": [{"type": "output_text", "text": "a"}, None, {"type": "image_url", "image_url": {}}]}, TEXT),
        ({"content": {"answer": 5}}, [{"type": "text", "text": '{"answer": 5}'}]),
        ({"content": "a", "reasoning": {"text": "Hm."}, "reasoning_content": None}, [HM, *TEXT]),
        ({"content": "a", "reasoning": {"effort": None, "summary": None}}, TEXT),
        ({"content": "a", "reasoning": "Hm.", "reasoning_details": [{"type": "x", "text": "Hm."}]}, [HM, *TEXT]),
        ({"content": "a", "reasoning_details": [{"text": "H"}, {"summary": "m."}, {"data": "x"}]}, [HM, *TEXT]),
        ({"content": "a", "thinking": "Hm."}, [HM, *TEXT]),
        (
            {
                "content": "a",
                "thinking_blocks": [HM | {"signature": "s"}, {"type": "redacted_thinking", "data": "d"}],
            },
            [HM | {"signature": "s"}, {"type": "redacted_thinking", "data": "d"}, *TEXT],
        ),
        ({"content": None}, []),
        ({"content": "", "tool_calls": None}, []),
        ({"content": "\n"}, [{"type": "text", "text": "\n"}]),
        ({"role": "assistant"}, []),
        ({"content": "a", "tool_calls": {}}, TEXT),
        ({"content": "a", "audio": {"id": "x"}, "annotations": 5, "tool_calls": 5}, TEXT),
    ],
)
def test_content(message: dict[str, Any], expected: list[Any]) -> None:
    assert answered(message)["content"] == expected
    # The same as a stream in which it comes at once.
    stream = chunk(message, "stop") + sse.DONE
    said = gist_of_message(translated(MessageEvents(), stream))
    assert said["text"] == "".join(block.get("text", "") for block in expected)
    assert said["thinking"] == "".join(block.get("thinking", "") for block in expected)
    assert len(said["signed"]) == sum(bool(block.get("signature") or block.get("data")) for block in expected)


@pytest.mark.parametrize(
    ("calls", "expected", "reason"),
    [
        ([{"id": "c", "function": {"name": "f", "arguments": {"a": 1}}}], [used(a=1)], "tool_use"),
        ([{"id": 5, "function": {"name": "f", "arguments": None}}], [used(identifier="5")], "tool_use"),
        ({"id": "c", "name": "f", "arguments": '{"a":1}'}, [used(a=1)], "tool_use"),
        ([{"id": "c", "function": {"name": "f", "arguments": '{"a": "b'}}], [used(a="b")], "max_tokens"),
        ([{"id": "c", "function": {"name": "f", "arguments": "{}"}}, None, 5], [used()], "tool_use"),
        ([], [], "end_turn"),
    ],
)
def test_calls(calls: Any, expected: list[Any], reason: str) -> None:
    for finish in ("tool_calls", "stop", None, "eos"):
        found = answered({"content": None, "tool_calls": calls}, finish)
        assert (found["content"], found["stop_reason"]) == (expected, reason)
        stream = chunk({"tool_calls": calls}, finish) + sse.DONE
        if expected or finish:
            said = gist_of_message(translated(MessageEvents(), stream))
            assert said["calls"] == [(each["id"], each["name"], each["input"]) for each in expected]
            assert said["stop"] == reason


def test_arguments_that_cannot_be_read_are_kept() -> None:
    call = {"id": "c", "function": {"name": "f", "arguments": "a: 1"}}
    found = answered({"content": None, "tool_calls": [call]}, "tool_calls")
    assert found["content"] == [used(unreadable_arguments="a: 1")]
    assert found["stop_reason"] == "tool_use"


def test_calls_of_one_id_are_told_apart() -> None:
    calls = [{"index": n, "id": "call_0", "function": {"name": f"f{n}", "arguments": "{}"}} for n in range(2)]
    whole = [block["id"] for block in answered({"tool_calls": calls})["content"]]
    assert whole[0] == "call_0" != whole[1]
    stream = chunk({"tool_calls": calls}) + sse.DONE
    assert [call[0] for call in gist_of_message(translated(MessageEvents(), stream))["calls"]] == whole


@pytest.mark.parametrize(
    ("finish", "reason"),
    [
        ("length", "max_tokens"),
        ("MAX_TOKENS", "max_tokens"),
        ("model_length", "max_tokens"),
        ("content_filter", "refusal"),
        ("SAFETY", "refusal"),
        ("tool_calls", "end_turn"),
        ("function_call", "end_turn"),
        ("eos", "end_turn"),
        (None, "end_turn"),
        (5, "end_turn"),
        ("", "end_turn"),
    ],
)
def test_reasons_to_stop(finish: Any, reason: str) -> None:
    assert answered({"content": "a"}, finish)["stop_reason"] == reason
    stream = chunk({"content": "a"}, finish) + sse.DONE
    assert gist_of_message(translated(MessageEvents(), stream))["stop"] == reason


def test_ids_and_models_of_any_kind() -> None:
    assert answered({"content": "a"}, id=123)["id"] == "123"
    assert answered({"content": "a"}, id=None, model=None)["id"].startswith("msg_")
    assert answered({"content": "a"}, model=5)["model"] == ""
    events = MessageEvents()
    translated(events, chunk({"content": "a"}, id=123, model=None))
    assert events.id == "123"


def test_the_first_of_several_choices() -> None:
    choices = [{"index": 1, "message": {"content": "b"}}, {"index": 0, "message": {"content": "a"}}, None]
    assert answered({}, choices=choices)["content"] == TEXT


def test_an_answer_inside_of_which_is_an_error() -> None:
    error = {"error": {"message": "no memory", "code": 500}}
    for whole in ({"choices": [], **error}, {"choices": [{"index": 0, "message": {"content": ""}, **error}]}):
        with pytest.raises(Reported, match="no memory"):
            response(json.dumps(whole).encode())
    with pytest.raises(Reported, match="ended the answer"):
        translated(MessageEvents(), chunk({}, "error"))
    events = MessageEvents()
    told = translated(events, chunk({"content": "a"}) + chunk({}, "error") + sse.DONE)
    assert events.error is not None
    assert told.endswith(sse.event(events.error.anthropic(), b"error"))
    assert events.end() == events.cut(events.error) == b""


def call(index: int | None, arguments: Any = "", **more: Any) -> bytes:
    function = {"arguments": arguments, **({"name": more.pop("name")} if "name" in more else {})}
    return chunk({"tool_calls": [{**({} if index is None else {"index": index}), "function": function, **more}]})


@pytest.mark.parametrize(
    "stream",
    [
        # by turns
        [call(0, '{"a"', id="x", name="f"), call(1, '{"b"', id="y", name="g"), call(0, ":1}"), call(1, ":2}")],
        # all names, then all arguments
        [call(0, id="x", name="f"), call(1, id="y", name="g"), call(0, '{"a":1}'), call(1, '{"b":2}')],
        # the later one is done first
        [call(0, id="x", name="f"), call(1, '{"b":2}', id="y", name="g"), call(0, '{"a":1}')],
        # one index for all, as Gemini
        [call(0, '{"a":1}', id="x", name="f"), call(0, '{"b":2}', id="y", name="g")],
        # no index
        [call(None, '{"a"', id="x", name="f"), call(None, ":1}"), call(None, '{"b":2}', id="y", name="g")],
        # the id and the name in every piece
        [
            call(0, '{"a"', id="x", name="f"),
            call(0, ":1}", id="x", name="f"),
            call(1, '{"b":2}', id="y", name="g"),
        ],
        # another id in every piece
        [call(0, '{"a"', id="x", name="f"), call(0, ":1}", id="z"), call(1, '{"b":2}', id="y", name="g")],
        # an empty object, and then the object
        [call(0, "{}", id="x", name="f"), call(0, '{"a":1}'), call(1, {"b": 2}, id="y", name="g")],
        # something behind a whole object
        [call(0, '{"a":1}', id="x", name="f"), call(0, "\n"), call(0, "}"), call(1, '{"b":2}', id="y", name="g")],
        # after the reason to stop
        [chunk({}, "tool_calls"), call(0, '{"a":1}', id="x", name="f"), call(1, '{"b":2}', id="y", name="g")],
        # words and thoughts between the pieces
        [
            call(0, '{"a"', id="x", name="f"),
            chunk({"content": "\n"}),
            call(0, ":"),
            chunk({"reasoning_content": "Hm."}),
            call(0, "1}"),
            call(1, '{"b":2}', id="y", name="g"),
        ],
        # the name after the id
        [call(0, id="x"), call(0, '{"a":1}', name="f"), call(1, '{"b":2}', id="y", name="g")],
    ],
)
@pytest.mark.parametrize("first", [[], [chunk({"content": "a"})]])
def test_calls_in_servers_own_ways(stream: list[bytes], first: list[bytes]) -> None:
    said = gist_of_message(translated(MessageEvents(), b"".join([*first, *stream, sse.DONE])))
    assert said["calls"] == [("x", "f", {"a": 1}), ("y", "g", {"b": 2})]
    assert said["stop"] == "tool_use"
    assert said["text"] == "a" * len(first)


def test_calls_without_ids() -> None:
    stream = call(0, "{}", name="f") + call(0, '{"b":2}', name="g") + call(0, '{"b":3}', name="g") + sse.DONE
    calls = gist_of_message(translated(MessageEvents(), stream))["calls"]
    assert [(name, given) for _, name, given in calls] == [("f", {}), ("g", {"b": 2}), ("g", {"b": 3})]
    assert len({identifier for identifier, _, _ in calls}) == 3
    (alone,) = gist_of_message(translated(MessageEvents(), call(0, '{"a":1}') + sse.DONE))["calls"]
    assert alone[1:] == ("", {"a": 1})


def test_a_call_is_streamed_as_it_comes() -> None:
    events = MessageEvents()
    translated(events, call(0, id="x", name="f"))
    assert b'"partial_json":"{\\"a\\":"' in translated(events, call(0, '{"a":'))


def test_words_after_a_call_follow_it() -> None:
    stream = call(0, '{"a":1', id="x", name="f") + chunk({"content": "b"}) + call(0, "}") + chunk({"content": "c"})
    given = translated(MessageEvents(), stream + sse.DONE)
    said = gist_of_message(given)
    assert (said["text"], said["calls"]) == ("bc", [("x", "f", {"a": 1})])


def test_arguments_cut_off() -> None:
    stream = call(0, '{"a": "b', id="x", name="f") + call(1, "{", id="y", name="g")
    for finish in ("length", "tool_calls", "stop"):
        said = gist_of_message(translated(MessageEvents(), stream + chunk({}, finish) + sse.DONE))
        assert said["calls"] == [("x", "f", {"a": "b"}), ("y", "g", {})]
        assert said["stop"] == "max_tokens"


@pytest.mark.parametrize("kind", ["content", "reasoning_content", "arguments"])
def test_halves_of_a_character(kind: str) -> None:
    def piece(escaped: str) -> bytes:
        delta = json.dumps({kind: "ESC"})
        if kind == "arguments":
            delta = '{"tool_calls":[{"index":0,"id":"x","function":{"name":"f","arguments":"ESC"}}]}'
        return b'data: {"choices":[{"index":0,"delta":%b}]}\n\n' % delta.replace("ESC", escaped).encode()

    wrapped = ('{\\"a\\":\\"', '\\"}') if kind == "arguments" else ("", "")
    stream = piece(wrapped[0] + "w\\ud83d") + piece("\\ude00 \\ud83d") + piece("x\\ud83d" + wrapped[1]) + sse.DONE
    said = gist_of_message(translated(MessageEvents(), stream))
    found = {"content": said["text"], "reasoning_content": said["thinking"]}.get(kind)
    expected = "w😀 \ufffdx\ufffd"
    assert (said["calls"][0][2]["a"] if kind == "arguments" else found) == expected


def test_events_that_are_none_cost_nothing() -> None:
    noise = (
        b'data: []\n\ndata: null\n\ndata: 5\n\ndata: {}\n\ndata: {"choices": {}}\n\ndata: {"choices": [null]}\n\n'
    )
    odd = chunk({}, choices=None) + chunk({"content": "a", "role": 5}) + chunk(None) + chunk({"content": None})  # type: ignore[arg-type]
    said = gist_of_message(translated(MessageEvents(), noise + odd + noise + b"data:[DONE] \n\n" + noise))
    assert said["text"] == "a"


def test_running_usage_counts_once() -> None:
    def usage(count: int) -> dict[str, int]:
        return {"prompt_tokens": 7, "completion_tokens": count, "total_tokens": 7 + count}

    stream = chunk({"content": "a"}, usage=usage(1)) + chunk({"content": "b"}, "", usage=usage(2))
    last = chunk({}, "stop", usage=usage(2)) + chunk({}, choices=[], usage=usage(0)) + sse.DONE
    assert gist_of_message(translated(MessageEvents(), stream + last))["usage"] == (7, 2)


def test_space_alone_makes_no_block() -> None:
    stream = chunk({"reasoning_content": "Hm."}) + chunk({"content": "\n"}) + chunk({"content": "\n a"})
    assert gist_of_message(translated(MessageEvents(), stream + sse.DONE))["text"] == "\n\n a"
    alone = gist_of_message(translated(MessageEvents(), chunk({"content": "\n"}) + sse.DONE))
    assert (alone["text"], alone["stop"]) == ("\n", "end_turn")
