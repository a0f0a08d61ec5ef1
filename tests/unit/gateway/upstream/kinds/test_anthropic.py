"""Anthropic as an upstream: addresses, headers, errors, and messages sent on as they came."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiny_dancer.gateway.configuration.settings import Upstream
from tiny_dancer.gateway.errors import GatewayError
from tiny_dancer.gateway.upstream import sse
from tiny_dancer.gateway.upstream.dialect import Adapted, Reported, Usage
from tiny_dancer.gateway.upstream.kinds import anthropic
from tiny_dancer.gateway.upstream.translate import failures

KIND = anthropic.dialect("messages")
assert KIND is not None
MESSAGES = KIND
FIELDS = {"model": msgspec.Raw(b'"auto"'), "max_tokens": msgspec.Raw(b"9"), "stream": msgspec.Raw(b" true")}

START = (
    b'event: message_start\ndata: {"type":"message_start","message":{"id":"msg_1","usage":'
    b'{"input_tokens":10,"cache_creation_input_tokens":3,"cache_read_input_tokens":5,"output_tokens":1}}}\n\n'
)
PING = b'event: ping\ndata: {"type": "ping"}\n\n'
TEXT = (
    b'event: content_block_start\ndata: {"type":"content_block_start","index":0,"content_block":{}}\n\n'
    b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta"}}\n\n'
)
NEW = b'event: something_new\ndata: {"type":"something_new"}\n\n'
ERROR = b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}\n\n'
END = (
    b'event: message_delta\ndata: {"type":"message_delta","usage":{"output_tokens":20}}\n\n'
    b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
)
CUT = GatewayError(502, "the upstream hung up")


def fed(events: Any, stream: bytes) -> bytes:
    return b"".join(map(events.feed, sse.split(stream)[0]))


def test_what_it_serves() -> None:
    assert MESSAGES.path == "/messages"
    chat = anthropic.dialect("chat.completions")
    assert chat is not None
    assert chat.path == "/messages"
    assert anthropic.dialect("embeddings") is None
    assert anthropic.dialect("responses") is None
    assert anthropic.dialect("completions") is None


def test_url_and_headers() -> None:
    upstream = Upstream(kind="anthropic", base_url="https://api.anthropic.com/v1/", api_key="secret")
    assert anthropic.url(upstream, "m", "/messages") == "https://api.anthropic.com/v1/messages"
    assert anthropic.headers(upstream) == [("anthropic-version", "2023-06-01"), ("x-api-key", "secret")]
    configured = {"Anthropic-Version": "2030-01-01", "anthropic-beta": "b"}
    upstream = Upstream(
        kind="anthropic", base_url="http://localhost", api_version="2024-01-01", headers=configured
    )
    assert anthropic.headers(upstream) == list(configured.items())
    upstream = Upstream(kind="anthropic", base_url="http://localhost", api_version="2024-01-01")
    assert anthropic.headers(upstream) == [("anthropic-version", "2024-01-01")]


def test_the_request_is_sent_on_as_it_came() -> None:
    messages = b'[ {"role":"user", "content":"\\u00fc", "unknown": 1.0e2} ]'
    fields = FIELDS | {"messages": msgspec.Raw(messages), "brand_new": msgspec.Raw(b"{ }")}
    body = MESSAGES.request(fields, "claude-x")
    assert body == (
        b'{"model":"claude-x","max_tokens":9,"stream": true,"messages":' + messages + b',"brand_new":{ }}'
    )


def unchanged(fields: dict[str, msgspec.Raw]) -> bytes:
    body = MESSAGES.request(fields, "claude-x")
    assert isinstance(body, bytes)
    return body


def test_thinking_without_signature_is_not_sent_to_anthropic() -> None:
    signed = {"type": "thinking", "thinking": "a", "signature": "c2ln"}
    unsigned = {"type": "thinking", "thinking": "b", "signature": ""}
    text = {"type": "text", "text": "c"}
    turns = [
        {"role": "user", "content": 'a "signature"'},
        {"role": "assistant", "content": [signed, unsigned, text]},
        {"role": "assistant", "content": [unsigned]},
    ]
    asked = MESSAGES.request({"messages": msgspec.Raw(msgspec.json.encode(turns))}, "claude-x")
    assert isinstance(asked, Adapted)
    assert asked.names == ("thinking_blocks",)
    sent = msgspec.json.decode(asked.body)["messages"]
    assert sent == [turns[0], {"role": "assistant", "content": [signed, text]}]
    spaced = msgspec.Raw(b'[ {"role": "assistant", "content": [{"type": "thinking", "signature": "c2ln"}]} ]')
    assert bytes(spaced) in unchanged({"messages": spaced})
    broken = msgspec.Raw(b'[5, {"signature": ""}]')
    assert bytes(broken) in unchanged({"messages": broken})


def test_an_answer() -> None:
    body = (
        b'{ "id":"msg_1", "content":[], "usage":{"input_tokens":10,"cache_read_input_tokens":5,'
        b'"cache_creation_input_tokens":3,"output_tokens":7,"server_tool_use":null} }'
    )
    answer = MESSAGES.response(body)
    assert answer.body is body
    assert (answer.usage, answer.id) == (Usage(18, 7, 5, written_tokens=3), "msg_1")


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"id":"x"}', b'{"choices":[]}'])
def test_no_answer(body: bytes) -> None:
    with pytest.raises(ValueError):
        MESSAGES.response(body)


def test_a_stream_passes_as_it_is() -> None:
    events = MESSAGES.events(FIELDS)
    assert fed(events, PING + START + PING) == b""
    assert not events.content
    assert fed(events, TEXT) == START + TEXT
    assert events.content
    assert fed(events, PING + NEW + b": comment\n\n" + END) == PING + NEW + b": comment\n\n" + END
    assert (events.usage, events.id) == (Usage(18, 20, 5, written_tokens=3), "msg_1")
    assert events.finished


def test_an_error_event_before_any_content_lets_another_model_answer() -> None:
    events = MESSAGES.events(FIELDS)
    with pytest.raises(Reported, match="Overloaded") as raised:
        fed(events, START + ERROR)
    assert raised.value.error.status == 529
    assert not events.content
    assert events.cut(CUT) == sse.event(CUT.anthropic(), b"error")


def test_an_error_event_is_told_once() -> None:
    events = MESSAGES.events(FIELDS)
    assert fed(events, START + TEXT + ERROR) == START + TEXT + ERROR
    assert events.error is not None
    assert events.error.status == 529
    assert events.end() == events.cut(CUT) == b""


def test_an_answer_that_only_lacks_its_last_event_is_whole() -> None:
    events = MESSAGES.events(FIELDS)
    fed(events, START + TEXT + END.partition(b"event: message_stop")[0])
    assert not events.finished
    assert events.end() == b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
    assert events.finished
    cut = MESSAGES.events(FIELDS)
    fed(cut, START + TEXT)
    assert cut.end() == b""
    assert not cut.finished


@given(st.binary(max_size=40), st.booleans())
def test_bad_events_are_value_errors(data: bytes, begun: bool) -> None:
    events = MESSAGES.events(FIELDS)
    if begun:
        fed(events, START + TEXT)
    for event in sse.split(b"data: " + data + b"\n\n")[0]:
        try:
            events.feed(event)
        except (ValueError, Reported):
            continue


def anthropic_error(kind: str, message: str) -> bytes:
    return msgspec.json.encode(
        {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"}
    )


@pytest.mark.parametrize(
    ("status", "kind", "openai_type", "code"),
    [
        (400, "invalid_request_error", "invalid_request_error", None),
        (401, "authentication_error", "authentication_error", "invalid_api_key"),
        (403, "permission_error", "permission_error", None),
        (404, "not_found_error", "invalid_request_error", "model_not_found"),
        (413, "request_too_large", "invalid_request_error", "request_too_large"),
        (429, "rate_limit_error", "rate_limit_error", "rate_limit_exceeded"),
        (500, "api_error", "server_error", None),
        (504, "timeout_error", "server_error", "timeout"),
        (529, "overloaded_error", "server_error", "overloaded"),
        (418, "new_error", "invalid_request_error", "new_error"),
    ],
)
def test_errors(status: int, kind: str, openai_type: str, code: str | None) -> None:
    error = MESSAGES.failure(status, anthropic_error(kind, "m"))
    told = msgspec.json.decode(error.openai())["error"]
    assert (error.status, told) == (status, {"message": "m", "type": openai_type, "param": None, "code": code})
    if status != 418:
        assert msgspec.json.decode(error.anthropic())["error"] == {"type": kind, "message": "m"}
        assert failures.anthropic_event(anthropic_error(kind, "m")).status == status


@pytest.mark.parametrize(
    "message",
    [
        "prompt is too long: 250000 tokens > 200000 maximum",
        "input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000",
    ],
)
def test_a_prompt_too_long(message: str) -> None:
    error = MESSAGES.failure(400, anthropic_error("invalid_request_error", message))
    assert (error.code, error.message) == ("context_length_exceeded", message)


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (
            400,
            b'{"error":{"message":"bad n","type":"invalid_request_error","param":"n","code":"x"}}',
            ("bad n", "invalid_request_error", "n", "x"),
        ),
        (
            400,
            b'{"error":{"message":"This model\'s maximum context length is 10 tokens.","code":400}}',
            (
                "This model's maximum context length is 10 tokens.",
                "invalid_request_error",
                None,
                "context_length_exceeded",
            ),
        ),
        (
            400,
            b'{"error":{"code":400,"message":"request (9) is too large","type":"exceed_context_size_error"}}',
            ("request (9) is too large", "exceed_context_size_error", None, "context_length_exceeded"),
        ),
        (404, b'{"error":"model not found"}', ("model not found", "invalid_request_error", None, None)),
        (
            429,
            b'{"error":{"message":"too many tokens per minute","type":"tokens"}}',
            ("too many tokens per minute", "tokens", None, None),
        ),
        (422, b'{"detail":"wrong"}', ("wrong", "invalid_request_error", None, None)),
        (
            502,
            b"<html>",
            ("the model's server answered with status 502", "server_error", None, None),
        ),
        (500, b"[" * 100_000, ("the model's server answered with status 500", "server_error", None, None)),
    ],
)
def test_errors_of_openai_style_servers(status: int, body: bytes, expected: tuple[Any, ...]) -> None:
    error = failures.openai(status, body)
    assert error.status == status
    assert (error.message, error.type, error.param, error.code) == expected
