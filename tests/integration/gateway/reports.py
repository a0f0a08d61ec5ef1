"""What users of other gateways, servers and clients reported of upstreams' answers: tables for tests.

Each case is named for what is odd, or for who sends it. Cases of answers give what is sent as a stream and as a
whole answer (None: nothing of interest), and the text, the calls and the tokens that it comes to.
"""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from email.utils import formatdate
from typing import Any

import brotli
from tests.raw_upstream import RESET, answered, chunk, head, stream

U = {"prompt_tokens": 1000, "completion_tokens": 50, "total_tokens": 1050}
SAID = (1000, 50)
GUESSED = None
DONE = b"data: [DONE]\n\n"


def said(value: Any) -> bytes:
    return b"data: %b\n\n" % json.dumps(value).encode()


def c(delta: Any = None, finish: Any = None, **more: Any) -> bytes:
    choice = {"index": 0, "delta": {} if delta is None else delta, "finish_reason": finish}
    frame = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    return said({**frame, "choices": [choice], **more})


ROLE = c({"role": "assistant", "content": ""})
STOP = c(finish="stop")
USED = said({"id": "chatcmpl-1", "choices": [], "usage": U})
END = (STOP, USED, DONE)


def w(text: str) -> bytes:
    return c({"content": text})


def t(index: Any = 0, **call: Any) -> bytes:
    """A piece of a tool call; without an index where that is None."""
    name, arguments = call.pop("name", ...), call.pop("arguments", ...)
    function = {key: value for key, value in (("name", name), ("arguments", arguments)) if value is not ...}
    number = {} if index is None else {"index": index}
    return c({"tool_calls": [{**number, **call, "function": function}]})


CALLED = (c(finish="tool_calls"), USED, DONE)


def whole(message: Any = None, finish: Any = "stop", usage: Any = U, **more: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": "hi", **(message or {})}
    choice = {"index": 0, "message": message, "finish_reason": finish}
    completion = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}
    return {**completion, "usage": usage, **more}


def js(value: Any, status: int = 200, *lines: str) -> list[Any]:
    return [answered(json.dumps(value).encode(), status, "application/json", *lines)]


def e(kind: str, *, named: bool = True, **more: Any) -> bytes:
    name = f"event: {kind}\n".encode() if named else b""
    return name + said({"type": kind, **more})


def message(content: Any = None, usage: Any = ..., **more: Any) -> dict[str, Any]:
    usage = {"input_tokens": 10, "output_tokens": 5} if usage is ... else usage
    content = [{"type": "text", "text": "hi"}] if content is None else content
    frame = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude", "stop_sequence": None}
    return {**frame, "content": content, "stop_reason": "end_turn", "usage": usage, **more}


def begun(usage: Any = ..., named: bool = True) -> bytes:
    usage = {"input_tokens": 10, "output_tokens": 1} if usage is ... else usage
    return e("message_start", named=named, message=message([], usage, stop_reason=None))


def block(index: int, begins: Any, *deltas: Any, named: bool = True) -> bytes:
    return b"".join(
        [
            e("content_block_start", named=named, index=index, content_block=begins),
            *(e("content_block_delta", named=named, index=index, delta=delta) for delta in deltas),
            e("content_block_stop", named=named, index=index),
        ]
    )


def text(words: str, index: int = 0, named: bool = True) -> bytes:
    return block(index, {"type": "text", "text": ""}, {"type": "text_delta", "text": words}, named=named)


def ended(reason: Any = "end_turn", usage: Any = ..., named: bool = True) -> bytes:
    counted = {} if usage is None else {"usage": {"output_tokens": 5} if usage is ... else usage}
    delta = {"stop_reason": reason, "stop_sequence": None}
    return e("message_delta", named=named, delta=delta, **counted) + e("message_stop", named=named)


HI: Any = ("hi", [], SAID)
F1 = [("f", '{"a":1}')]
BOTH = [("f", '{"a":1}'), ("g", '{"b":2}')]

# What a server of chat completions sends: streamed, whole, and what is made of it, as in `served`.
CHAT: dict[str, Any] = {}
ANTHROPIC: dict[str, Any] = {}


# --- tool calls
def calls(name: str, *parts: bytes, expected: Any, end: tuple[bytes, ...] = CALLED) -> None:
    CHAT[name] = (stream(ROLE, *parts, *end), None, ("", expected, SAID))


calls(
    "ollama-15457-index-always-0",
    t(0, id="a", name="f", arguments='{"a":1}'),
    t(0, id="b", name="g", arguments='{"b":2}'),
    expected=BOTH,
)
calls(
    "index-always-0-in-pieces",
    t(0, id="a", name="f", arguments=""),
    t(0, arguments='{"a"'),
    t(0, arguments=":1}"),
    t(0, id="b", name="g", arguments=""),
    t(0, arguments='{"b"'),
    t(0, arguments=":2}"),
    expected=BOTH,
)
calls(
    "ollama-7881-no-index",
    t(None, id="a", name="f", arguments='{"a":1}'),
    t(None, id="b", name="g", arguments='{"b":2}'),
    expected=BOTH,
)
calls(
    "no-index-in-pieces",
    t(None, id="a", name="f", arguments='{"a"'),
    t(None, arguments=":1}"),
    t(None, id="b", name="g", arguments='{"b"'),
    t(None, arguments=":2}"),
    expected=BOTH,
)
calls(
    "name-in-every-chunk",
    t(0, id="a", name="f", arguments=""),
    t(0, id="a", name="f", arguments='{"a"'),
    t(0, id="a", name="f", arguments=":1}"),
    t(0, id="a", name="f", arguments=""),
    expected=F1,
)
calls(
    "name-in-every-chunk-no-id",
    t(0, id="a", name="f", arguments='{"a"'),
    t(0, name="f", arguments=":1}"),
    expected=F1,
)
calls(
    "qwen-empty-id-later",
    t(0, id="a", name="f", arguments=""),
    t(0, id="", name="", arguments='{"a"'),
    t(0, id="", name=None, arguments=":1}"),
    t(0, id="", arguments=""),
    expected=F1,
)
calls(
    "another-id-in-every-chunk",
    t(0, id="a", name="f", arguments=""),
    t(0, id="b", arguments='{"a"'),
    t(0, id="c", arguments=":1}"),
    expected=F1,
)
calls(
    "arguments-null",
    t(0, id="a", name="f", arguments=None),
    t(0, arguments='{"a":1}'),
    t(0, arguments=None),
    expected=F1,
)
calls(
    "index-from-1",
    t(1, id="a", name="f", arguments='{"a":1}'),
    t(2, id="b", name="g", arguments='{"b":2}'),
    expected=BOTH,
)
calls("finish-stop-after-call", t(0, id="a", name="f", arguments='{"a":1}'), expected=F1, end=END)
calls(
    "gemini-extra-content",
    c(
        {
            "role": "assistant",
            "tool_calls": [
                {
                    "index": 0,
                    "id": "",
                    "type": "function",
                    "extra_content": {"google": {"thought_signature": "c2ln"}},
                    "function": {"name": "f", "arguments": '{"a":1}'},
                }
            ],
        }
    ),
    expected=F1,
)
calls(
    "function-null-between",
    t(0, id="a", name="f", arguments='{"a":1}'),
    c({"tool_calls": [{"index": 0, "function": None}]}),
    c({"tool_calls": None}),
    expected=F1,
)
CHAT["content-empty-with-calls"] = (
    None,
    js(
        whole(
            {
                "content": "",
                "tool_calls": [{"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}],
            },
            "tool_calls",
        )
    ),
    ("", F1, SAID),
)
CHAT["call-without-type"] = (
    None,
    js(
        whole(
            {"content": None, "tool_calls": [{"id": "a", "function": {"name": "f", "arguments": '{"a":1}'}}]},
            "stop",
        )
    ),
    ("", F1, SAID),
)


# --- what is odd around a stream
def streams(name: str, *parts: bytes, expected: Any = HI, **how: Any) -> None:
    CHAT[name] = (stream(*parts, **how), None, expected)


streams("usage-in-first-chunk", c({"role": "assistant", "content": ""}, usage=U), w("hi"), STOP, DONE)
streams(
    "usage-first-then-zeros",
    c({"role": "assistant", "content": ""}, usage=U),
    w("hi"),
    c(finish="stop", usage={"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}),
    DONE,
)
streams(
    "moonshot-usage-in-choices",
    ROLE,
    w("hi"),
    said({"id": "x", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop", "usage": U}]}),
    DONE,
)
streams("done-twice", ROLE, w("hi"), *END, DONE)
streams("data-after-done", ROLE, w("hi"), *END, w(" and more"))
streams("two-finish-reasons", ROLE, w("hi"), STOP, c(finish="length"), USED, DONE)
streams("event-lines-on-chat", *(b"event: message\n" + each for each in (ROLE, w("hi"), *END)))
streams("retry-and-id-lines", b"retry: 3000\n\n", b"id: 1\n" + ROLE, b"id: 2\nretry: 10\n" + w("hi"), *END)
streams("carriage-returns-alone", *(each.replace(b"\n", b"\r") for each in (ROLE, w("hi"), *END)))
streams("mixed-line-ends", ROLE.replace(b"\n", b"\r\n"), w("hi").replace(b"\n\n", b"\r\n\n"), *END)
streams("done-without-blank-line", ROLE, w("hi"), STOP, USED, b"data: [DONE]")
streams("choices-null", said({"id": "x", "choices": None}), ROLE, w("hi"), *END)
streams("choices-null-in-the-middle", ROLE, said({"id": "x", "choices": None}), w("hi"), *END)
streams(
    "role-in-every-chunk",
    ROLE,
    c({"role": "assistant", "content": "h"}),
    c({"role": "assistant", "content": "i"}),
    *END,
)
streams(
    "no-delta", ROLE, w("hi"), said({"id": "x", "choices": [{"index": 0, "finish_reason": "stop"}]}), USED, DONE
)
streams(
    "delta-null",
    ROLE,
    w("hi"),
    said({"id": "x", "choices": [{"index": 0, "delta": None, "finish_reason": "stop"}]}),
    USED,
    DONE,
)
streams(
    "azure-filter-results-only",
    said({"id": "", "choices": [], "prompt_filter_results": [{"prompt_index": 0}]}),
    ROLE,
    w("hi"),
    said(
        {
            "id": "",
            "choices": [
                {"index": 0, "finish_reason": None, "content_filter_results": {}, "content_filter_offsets": {}}
            ],
        }
    ),
    *END,
)
streams(
    "error-null-in-chunks",
    *(each.replace(b'"object"', b'"error": null, "object"') for each in (ROLE, w("hi"))),
    *END,
)
streams(
    "error-empty-in-chunks",
    *(each.replace(b'"object"', b'"error": {}, "object"') for each in (ROLE, w("hi"))),
    *END,
)
streams(
    "error-empty-text-in-chunks",
    *(each.replace(b'"object"', b'"error": "", "object"') for each in (ROLE, w("hi"))),
    *END,
)
streams("words-that-are-no-json", b"data: ping\n\n", ROLE, w("hi"), b"data: keep-alive\n\n", *END)
streams("no-json-first-only", b"data: : OPENROUTER PROCESSING\n\n", ROLE, w("hi"), *END)
streams("empty-data-lines", b"data:\n\n", b"data: \n\n", ROLE, w("hi"), b"data:\n\n", *END)
streams("many-empty-lines-first", b"\n" * 200, ROLE, w("hi"), *END)
streams("many-empty-lines-plain", b"\n" * 200, ROLE, w("hi"), *END, kind="text/plain")
streams("spaces-in-json", *(each.replace(b'":', b'" :') for each in (ROLE, w("hi"), STOP, USED)))
streams("ends-after-finish-without-last-chunk", ROLE, w("hi"), STOP, USED, end=())
streams("resets-after-finish", ROLE, w("hi"), STOP, USED, end=(0.05, RESET))
streams("hangs-after-finish", ROLE, w("hi"), STOP, USED, end=(3.0,))
streams(
    "perplexity-message-and-delta",
    *(
        said(
            {
                "id": "x",
                "object": "chat.completion.chunk",
                "choices": [
                    {
                        "index": 0,
                        "message": {"role": "assistant", "content": "hi"[:n]},
                        "delta": {"role": "assistant", "content": "hi"[n - 1]},
                        "finish_reason": "stop" if n == 2 else None,
                    }
                ],
                "usage": {"prompt_tokens": 1000, "completion_tokens": 25 * n, "total_tokens": 1000 + 25 * n},
                "citations": ["https://e.x"],
            }
        )
        for n in (1, 2)
    ),
    DONE,
)
streams("n-and-logprobs-null", c({"role": "assistant", "content": "hi"}, logprobs=None), *END)
streams("trailers", ROLE, w("hi"), *END, end=(b"0\r\nx-checksum: abc\r\n\r\n",))
streams(
    "chunk-extensions", end=(b"%x;name=value\r\n%b\r\n" % (len(w("hi")), w("hi")), *map(chunk, END), b"0\r\n\r\n")
)
CHAT["interim-answers"] = (
    [
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n",
        *stream(ROLE, w("hi"), *END),
    ],
    [b"HTTP/1.1 102 Processing\r\n\r\n", *js(whole())],
    HI,
)
CHAT["upgrade-offered"] = (
    [
        head(
            200,
            "text/event-stream",
            "upgrade: h2,h2c",
            "connection: Upgrade, Keep-Alive",
            "transfer-encoding: chunked",
        ),
        *map(chunk, (ROLE, w("hi"), *END)),
        b"0\r\n\r\n",
    ],
    js(whole(), 200, "upgrade: h2,h2c", "connection: Upgrade, Keep-Alive"),
    HI,
)
CHAT["http-1.0"] = (
    [head(200, "text/event-stream").replace(b"1.1", b"1.0"), ROLE, w("hi"), *END, RESET],
    [head(200).replace(b"1.1", b"1.0"), json.dumps(whole()).encode(), None],
    HI,
)
CHAT["content-length-too-short"] = (None, [answered(json.dumps(whole()).encode()) + b"\n\n\n"], HI)
CHAT["content-encoding-that-is-none"] = (
    [
        head(200, "text/event-stream", "content-encoding: utf-8", "transfer-encoding: chunked"),
        *map(chunk, (ROLE, w("hi"), *END)),
        b"0\r\n\r\n",
    ],
    js(whole(), 200, "content-encoding: UTF-8"),
    HI,
)

# --- framing
ANSWER = json.dumps(whole()).encode()
SIZE = f"content-length: {len(ANSWER)}"
CHUNKED = "transfer-encoding: chunked"


def framed(name: str, *sent: Any) -> None:
    CHAT[name] = (list(sent), list(sent), HI)


framed("length-and-chunks", head(200, "application/json", SIZE, CHUNKED), chunk(ANSWER), b"0\r\n\r\n")
framed(
    "length-0-and-chunks", head(200, "application/json", "content-length: 0", CHUNKED), chunk(ANSWER), b"0\r\n\r\n"
)
framed(
    "chunk-size-and-spaces",
    head(200, "application/json", CHUNKED),
    b"%x  \r\n%b\r\n0\r\n\r\n" % (len(ANSWER), ANSWER),
)
framed("length-too-long", head(200, "application/json", f"content-length: {len(ANSWER) + 9}"), ANSWER, RESET)
framed("no-last-chunk-of-whole", head(200, "application/json", CHUNKED), chunk(ANSWER), 0.05, RESET)
framed("whole-and-done-behind", answered(ANSWER + b"\n\ndata: [DONE]\n\n"))
framed("whole-and-zeros-behind", answered(ANSWER + b"\n\0\0"))
framed("brotli-unasked", answered(brotli.compress(ANSWER), 200, "application/json", "content-encoding: br"))
framed(
    "in-pieces",
    b"HT",
    0.02,
    b"TP/1.1 200 OK\r\nconte",
    0.02,
    b"nt-length: %d\r" % len(ANSWER),
    0.02,
    b"\n\r\n" + ANSWER,
)
framed("no-reason-phrase", answered(ANSWER).replace(b" Said", b""))
framed("control-characters", answered(ANSWER.replace(b'"hi"', b'"h\x7fi"')))
CHAT["control-characters"] = (*CHAT["control-characters"][:2], ("h\x7fi", [], SAID))
CHAT["latin-1"] = (None, [answered(ANSWER.replace(b'"hi"', b'"caf\xe9"'))], ("caf\ufffd", [], SAID))

# --- whole answers
CHAT["finish-null-whole"] = (None, js(whole(finish=None)), HI)
CHAT["error-null-whole"] = (None, js(whole(error=None)), HI)
CHAT["error-empty-whole"] = (None, js(whole(error={})), HI)
CHAT["error-false-whole"] = (None, js(whole(error=False, success=True)), HI)
CHAT["deepseek-empty-lines-first"] = (
    [
        head(200, "application/json", "transfer-encoding: chunked"),
        *[chunk(b"\n")] * 100,
        chunk(json.dumps(whole()).encode()),
        b"0\r\n\r\n",
    ],
    [
        head(200, "application/json", "transfer-encoding: chunked"),
        *[chunk(b"\n")] * 100,
        chunk(json.dumps(whole()).encode()),
        b"0\r\n\r\n",
    ],
    HI,
)
CHAT["whole-as-stream"] = (None, stream(ROLE, w("h"), w("i"), *END), HI)
CHAT["whole-as-stream-tools"] = (
    None,
    stream(
        ROLE,
        t(0, id="a", name="f", arguments=""),
        t(0, arguments='{"a"'),
        t(0, arguments=":1}"),
        t(0, id="b", name="g", arguments=""),
        t(0, arguments='{"b"'),
        t(0, arguments=":2}"),
        *CALLED,
    ),
    ("", BOTH, SAID),
)
CHAT["whole-as-stream-no-index"] = (
    None,
    stream(
        ROLE,
        t(None, id="a", name="f", arguments='{"a"'),
        t(None, arguments=":1}"),
        t(None, id="b", name="g", arguments='{"b"'),
        t(None, arguments=":2}"),
        *CALLED,
    ),
    ("", BOTH, SAID),
)
CHAT["whole-as-stream-zero-usage-last"] = (
    None,
    stream(
        ROLE,
        c({"content": "hi"}, usage=U),
        c(finish="stop", usage={"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}),
        DONE,
    ),
    HI,
)
CHAT["stream-as-whole-tools"] = (
    js(
        whole(
            {
                "content": None,
                "tool_calls": [{"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}],
            },
            None,
        )
    ),
    None,
    ("", F1, SAID),
)
CHAT["choices-without-index"] = (
    None,
    js({**whole(), "choices": [{"message": {"role": "assistant", "content": "hi"}}]}),
    HI,
)
CHAT["minimax-base-resp"] = (
    None,
    js(whole(base_resp={"status_code": 0, "status_msg": ""}, input_sensitive=False)),
    HI,
)


# --- usage
def usages(name: str, usage: Any, tokens: Any) -> None:
    CHAT[name] = (
        stream(ROLE, w("hi"), STOP, said({"id": "x", "choices": [], "usage": usage}), DONE),
        js(whole(usage=usage)),
        ("hi", [], tokens),
    )


usages(
    "usage-of-anthropic-in-openai",
    {"input_tokens": 10, "output_tokens": 5, "cache_read_input_tokens": 90},
    (100, 5),
)
usages(
    "usage-cached-above-prompt",
    {
        "prompt_tokens": 10,
        "completion_tokens": 5,
        "total_tokens": 15,
        "prompt_tokens_details": {"cached_tokens": 90},
    },
    (100, 5),
)
usages(
    "usage-gemini-thoughts-outside", {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 115}, (10, 105)
)
usages(
    "usage-xai-reasoning-outside",
    {
        "prompt_tokens": 32,
        "completion_tokens": 9,
        "total_tokens": 135,
        "completion_tokens_details": {"reasoning_tokens": 94},
    },
    (32, 103),
)
usages("usage-negative", {"prompt_tokens": -1, "completion_tokens": -1, "total_tokens": -2}, GUESSED)
usages("usage-false", False, GUESSED)
usages("usage-list", [{"prompt_tokens": 1000, "completion_tokens": 50}], GUESSED)
usages("usage-details-null", {**U, "prompt_tokens_details": None, "completion_tokens_details": None}, SAID)
usages("usage-details-strings", {**U, "prompt_tokens_details": "n/a", "cost": "0.001"}, SAID)
usages(
    "usage-cost-details",
    {**U, "cost": 0.5, "is_byok": False, "cost_details": {"upstream_inference_cost": None}},
    SAID,
)


# --- Anthropic's
def speaks(name: str, *parts: bytes, expected: Any, whole: Any = None, **how: Any) -> None:
    ANTHROPIC[name] = (stream(*parts, **how), whole, expected)


HELLO: Any = ("hi", [], (10, 5))
speaks(
    "delta-without-usage",
    begun({"input_tokens": 10, "output_tokens": 5}),
    text("hi"),
    ended(usage=None),
    expected=HELLO,
)
speaks(
    "delta-usage-null",
    begun({"input_tokens": 10, "output_tokens": 5}),
    text("hi"),
    e("message_delta", delta={"stop_reason": "end_turn"}, usage=None),
    e("message_stop"),
    expected=HELLO,
)
speaks(
    "start-usage-null",
    begun(None),
    text("hi"),
    ended(usage={"input_tokens": 10, "output_tokens": 5}),
    expected=HELLO,
)
speaks("no-event-lines", begun(named=False), text("hi", named=False), ended(named=False), expected=HELLO)
speaks(
    "ends-after-delta",
    begun(),
    text("hi"),
    e("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 5}),
    expected=HELLO,
)
speaks(
    "resets-after-delta",
    begun(),
    text("hi"),
    e("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 5}),
    end=(0.05, RESET),
    expected=HELLO,
)
speaks(
    "refusal",
    begun(),
    text("hi"),
    ended("refusal"),
    whole=js(message(stop_reason="refusal", stop_details={"category": "bio"})),
    expected=HELLO,
)
speaks("context-window", begun(), text("hi"), ended("model_context_window_exceeded"), expected=HELLO)
speaks(
    "server-tool-deltas",
    begun(),
    block(
        0,
        {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}},
        {"type": "input_json_delta", "partial_json": '{"query"'},
        {"type": "input_json_delta", "partial_json": ':"x"}'},
    ),
    block(
        1,
        {
            "type": "web_search_tool_result",
            "tool_use_id": "srvtoolu_1",
            "content": [{"type": "web_search_result", "url": "https://e.x"}],
        },
    ),
    text("hi", 2),
    ended(usage={"output_tokens": 5, "server_tool_use": {"web_search_requests": 1}}),
    expected=HELLO,
)
speaks(
    "citations",
    begun(),
    block(
        0,
        {"type": "text", "text": "", "citations": []},
        {"type": "citations_delta", "citation": {"type": "char_location", "cited_text": "x"}},
        {"type": "text_delta", "text": "hi"},
    ),
    ended(),
    expected=HELLO,
)
speaks(
    "bedrock-ids-and-metrics",
    e(
        "message_start",
        message=message([], {"input_tokens": 10, "output_tokens": 1}, id="msg_bdrk_01", stop_reason=None),
    ),
    block(
        0,
        {"type": "tool_use", "id": "tooluse_Ab-1", "name": "f", "input": {}},
        {"type": "input_json_delta", "partial_json": ""},
        {"type": "input_json_delta", "partial_json": '{"a":1}'},
    ),
    e("message_delta", delta={"stop_reason": "tool_use"}, usage={"output_tokens": 5}),
    e("message_stop", **{"amazon-bedrock-invocationMetrics": {"inputTokenCount": 10}}),
    expected=("", F1, (10, 5)),
)
speaks("ping-first-and-often", e("ping"), begun(), e("ping"), text("hi"), e("ping"), ended(), expected=HELLO)
speaks(
    "unknown-events",
    begun(),
    e("vendor_note", note="x"),
    text("hi"),
    e("vendor_note", note="y"),
    ended(),
    expected=HELLO,
)
speaks(
    "two-message-deltas",
    begun(),
    text("hi"),
    e("message_delta", delta={"stop_reason": None}, usage={"output_tokens": 2}),
    e("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 5}),
    e("message_stop"),
    expected=HELLO,
)
speaks(
    "signature-alone",
    begun(),
    block(
        0, {"type": "thinking", "thinking": "", "signature": ""}, {"type": "signature_delta", "signature": "SIG"}
    ),
    text("hi", 1),
    ended(),
    whole=js(message([{"type": "thinking", "thinking": "", "signature": "SIG"}, {"type": "text", "text": "hi"}])),
    expected=HELLO,
)
ANTHROPIC["whole-as-stream-anthropic"] = (None, stream(begun(), text("hi"), ended()), HELLO)
ANTHROPIC["stream-as-whole-anthropic"] = (js(message()), None, HELLO)
ANTHROPIC["error-null-in-message"] = (None, js(message(error=None)), HELLO)

# --- errors: what is sent, and status, words of the message, and details a client of OpenAI's gets.
ERRORS: dict[str, Any] = {
    "ollama-bare-string": (
        js({"error": "model 'x' not supported here"}, 400),
        (400, "model 'x' not supported here"),
    ),
    "json-string": (js("out of luck", 400), (400, "out of luck")),
    "message-null": (js({"error": {"message": None, "code": "bad_thing", "type": "x"}}, 400), (400, "status 400")),
    "200-object-error": (
        js(
            {
                "object": "error",
                "message": "max_tokens is too large",
                "type": "BadRequestError",
                "param": None,
                "code": 400,
            }
        ),
        (400, "max_tokens is too large"),
    ),
    "200-code-and-msg": (
        js({"code": 429, "msg": "too many requests in a minute", "success": False}),
        (429, "too many requests in a minute"),
    ),
    "200-minimax-base-resp": (
        js(
            {
                "id": "x",
                "choices": None,
                "base_resp": {"status_code": 1004, "status_msg": "the model is not for you"},
            }
        ),
        (502, "the model is not for you"),
    ),
    "200-detail": (js({"detail": "Model is loading"}), (502, "Model is loading")),
    "200-error-string": (
        js({"error": "Model is overloaded", "error_type": "overloaded"}),
        (503, "Model is overloaded"),
    ),
    "200-error-code-string": (js({"error": {"message": "slow down", "code": "429"}}), (429, "slow down")),
    "problem-details": (
        js({"type": "about:blank", "title": "Bad Request", "status": 400, "detail": "tokens must be fewer"}, 400),
        (400, "tokens must be fewer"),
    ),
    "error-msg-baidu": (
        js({"error_code": 336003, "error_msg": "the role of message must be user"}, 400),
        (400, "the role of message must be user"),
    ),
    "message-capital": (
        js({"Message": "User is not authorized for this model", "__type": "x"}, 400),
        (400, "not authorized for this model"),
    ),
    "cloudflare-errors-list": (
        js({"success": False, "errors": [{"code": 7009, "message": "Upstream gone"}], "result": None}, 400),
        (400, "Upstream gone"),
    ),
    "413": (
        js({"error": {"message": "Request too large", "type": "request_too_large"}}, 413),
        (413, "Request too large"),
    ),
    "html-404": ([answered(b"<html><body>nginx</body></html>", 404, "text/html")], (404, "status 404")),
}
# Errors in place of a stream.
FIRST: dict[str, Any] = {
    "tgi-error-string": (
        stream(said({"error": "Model is overloaded", "error_type": "overloaded"})),
        (503, "Model is overloaded"),
    ),
    "event-error": (
        stream(b"event: error\n" + said({"message": "prompt is empty", "code": 400})),
        (400, "prompt is empty"),
    ),
    "llama-cpp-error-line": (
        stream(b'error: {"code":400,"message":"the request is odd","type":"invalid_request_error"}\n\n'),
        (400, "the request is odd"),
    ),
    "object-error": (
        stream(said({"object": "error", "message": "no such thing", "type": "BadRequestError", "code": 400})),
        (400, "no such thing"),
    ),
    "code-and-message": (stream(said({"code": 400, "message": "Illegal words"})), (400, "Illegal words")),
    "after-the-role": (
        stream(ROLE, said({"error": {"message": "image is broken", "code": 400}}), DONE),
        (400, "image is broken"),
    ),
    "after-filter-results": (
        stream(
            said({"choices": [], "prompt_filter_results": []}),
            said({"error": {"message": "image is broken", "code": 400}}),
            DONE,
        ),
        (400, "image is broken"),
    ),
    "whole-error-for-stream": (
        js({"error": {"message": "image is broken", "code": 400}}),
        (400, "image is broken"),
    ),
    "whole-object-error-for-stream": (
        js({"object": "error", "message": "image is broken", "code": 400}),
        (400, "image is broken"),
    ),
}
OPERATORS: dict[str, Any] = {
    "xai-400-key": js(
        {
            "code": "Client specified an invalid argument",
            "error": "Incorrect API key provided: xa***yz. You can obtain an API key from https://console.x.ai.",
        },
        400,
    ),
    "gemini-400-key": js(
        [
            {
                "error": {
                    "code": 400,
                    "message": "API key not valid. Please pass a valid API key.",
                    "status": "INVALID_ARGUMENT",
                    "details": [{"reason": "API_KEY_INVALID"}],
                }
            }
        ],
        400,
    ),
    "anthropic-400-credit": js(
        {
            "type": "error",
            "error": {
                "type": "invalid_request_error",
                "message": "Your credit balance is too low to access the Anthropic API.",
            },
        },
        400,
    ),
    "openai-400-billing": js(
        {
            "error": {
                "message": "Billing hard limit has been reached",
                "type": "invalid_request_error",
                "param": None,
                "code": "billing_hard_limit_reached",
            }
        },
        400,
    ),
    "401-key-echoed": js(
        {"error": {"message": "Incorrect API key provided: sk-of-the-upstream", "code": "invalid_api_key"}}, 401
    ),
    "402": js({"error": {"message": "Insufficient Balance", "code": "invalid_request_error"}}, 402),
}


# What a chat client gets as it came, byte by byte: it is the translation that has to make sense of it.
OWN_WORDS = ("no-delta", "delta-null", "azure-filter-results-only")

# --- responses of servers that have them: sent as a stream, sent whole, and what is made of it.
RESPONSE: dict[str, Any] = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1,
    "model": "m",
    "status": "in_progress",
    "output": [],
    "usage": None,
}
ITEM = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "status": "completed",
    "content": [{"type": "output_text", "text": "hi", "annotations": []}],
}
COUNTED = {
    "input_tokens": 1000,
    "input_tokens_details": {"cached_tokens": 4},
    "output_tokens": 50,
    "total_tokens": 1050,
}
COMPLETED: dict[str, Any] = {**RESPONSE, "status": "completed", "output": [ITEM], "usage": COUNTED}
FAILED = {**RESPONSE, "status": "failed", "error": {"code": "server_error", "message": "exploded"}}


def created(named: bool = True) -> bytes:
    return e("response.created", named=named, response=RESPONSE)


def delta(named: bool = True) -> bytes:
    place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    return e("response.output_text.delta", named=named, delta="hi", **place)


def completed(kind: str = "response.completed", *, named: bool = True, **changed: Any) -> bytes:
    return e(kind, named=named, response={**COMPLETED, **changed})


INCOMPLETE = {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}
NATIVE: dict[str, Any] = {
    "responses-without-names": (stream(created(False), delta(False), completed(named=False)), js(COMPLETED), HI),
    "responses-carriage-returns": (
        stream(*(each.replace(b"\n", b"\r") for each in (created(), delta(), completed()))),
        None,
        HI,
    ),
    "responses-done-after": (stream(created(), delta(), completed(), DONE), None, HI),
    "responses-words": (
        stream(b"data: ping\n\n", created(), b"data: keep-alive\n\n", delta(), b": c\n\n", completed()),
        None,
        HI,
    ),
    "responses-keep-alive-events": (
        stream(e("keepalive"), created(), e("keepalive"), delta(), completed()),
        None,
        HI,
    ),
    "responses-reset-after": (stream(created(), delta(), completed(), end=(0.05, RESET)), None, HI),
    "responses-openrouter-done": (stream(created(), delta(), completed("response.done")), None, HI),
    "responses-ended-by-done": (stream(created(), delta(), DONE), None, ("hi", [], GUESSED)),
    "responses-usage-of-chat": (stream(created(), delta(), completed(usage=U)), js({**COMPLETED, "usage": U}), HI),
    "responses-incomplete": (stream(created(), delta(), completed("response.incomplete", **INCOMPLETE)), None, HI),
    "responses-error-null": (None, js({**COMPLETED, "error": None}), HI),
    "responses-whole-as-stream": (js(COMPLETED), None, HI),
    "responses-stream-as-whole": (None, stream(created(), delta(), completed()), HI),
    "responses-calls-as-stream": (
        js(
            {
                **COMPLETED,
                "output": [
                    {
                        "id": "fc_1",
                        "type": "function_call",
                        "call_id": "call_1",
                        "name": "f",
                        "arguments": '{"a":1}',
                    }
                ],
            }
        ),
        None,
        ("", F1, SAID),
    ),
}
NATIVE_ERRORS: dict[str, Any] = {
    "responses-error-untyped": (
        stream(said({"error": {"message": "image is broken", "code": 400}})),
        (400, "image is broken"),
    ),
    "responses-error-after-created": (
        stream(created(), e("error", code="rate_limit_exceeded", message="slow down", param=None)),
        (429, "slow down"),
    ),
    "responses-error-by-name": (
        stream(b"event: error\n" + said({"message": "prompt is empty", "code": 400})),
        (400, "prompt is empty"),
    ),
    "responses-object-error": (
        js({"object": "error", "message": "no such thing", "code": 400}),
        (400, "no such thing"),
    ),
    "responses-failed-first": (stream(created(), e("response.failed", response=FAILED)), (502, "exploded")),
}

# --- embeddings: what is sent, and tokens or None where they are guessed.
EMBEDDING = {
    "object": "list",
    "data": [{"object": "embedding", "index": 0, "embedding": [0.1, 0.2]}],
    "model": "m",
}
EMBEDDINGS: dict[str, Any] = {
    "embeddings-base64": (
        js(
            {
                **EMBEDDING,
                "data": [{"object": "embedding", "index": 0, "embedding": "zczMPc3MTD4="}],
                "usage": {"prompt_tokens": 5, "total_tokens": 5},
            }
        ),
        5,
    ),
    "embeddings-total-only": (js({**EMBEDDING, "usage": {"total_tokens": 5}}), 5),
    "embeddings-no-usage": (js(EMBEDDING), None),
    "embeddings-usage-null": (js({**EMBEDDING, "usage": None}), None),
    "embeddings-completion-0": (
        js({**EMBEDDING, "usage": {"prompt_tokens": 5, "completion_tokens": 0, "total_tokens": 5}}),
        5,
    ),
    "embeddings-input-tokens": (js({**EMBEDDING, "usage": {"input_tokens": 5}}), 5),
    "embeddings-nan": (
        [answered(json.dumps({**EMBEDDING, "usage": {"prompt_tokens": 5}}).replace("0.1", "NaN").encode())],
        5,
    ),
}


# --- completions without chat.
def tc(words: Any, finish: Any = None, **more: Any) -> bytes:
    choice = {"index": 0, "text": words, "logprobs": None, "finish_reason": finish}
    return said(
        {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": "m", "choices": [choice], **more}
    )


COMPLETION = {
    "id": "cmpl-1",
    "object": "text_completion",
    "created": 1,
    "model": "m",
    "choices": [{"index": 0, "text": "hi", "finish_reason": "stop"}],
    "usage": U,
}
COMPLETIONS: dict[str, Any] = {
    "completions-usage-in-last-chunk": (stream(tc("hi"), tc("", "length", usage=U), DONE), js(COMPLETION)),
    "completions-no-done": (stream(tc("hi"), tc("", "length", usage=U)), None),
    "completions-empty-first": (stream(tc(""), tc("hi"), tc(None, "stop"), USED, DONE), None),
    "completions-reset": (stream(tc("hi"), tc("", "stop", usage=U), end=(RESET,)), None),
    "completions-whole-as-stream": (js(COMPLETION), None),
    "completions-stream-as-whole": (None, stream(tc("h"), tc("i"), tc("", "stop"), USED, DONE)),
}

# --- headers of a 429, and for how many seconds the deployment is left alone.
WAITS: dict[str, Any] = {
    "retry-0": (("retry-after: 0",), 0),
    "retry-negative": (("retry-after: -5",), 0),
    "retry-inf": (("retry-after: inf",), 0),
    "retry-nan": (("retry-after: nan",), 0),
    "retry-empty": (("retry-after:",), 0),
    "retry-huge": (("retry-after: 99999999999999999999",), 0),
    "retry-resets-only": (("x-ratelimit-remaining-requests: 0", "x-ratelimit-reset-requests: 1s"), 0),
    "retry-fraction": (("retry-after: 41.5",), 41.5),
    "retry-with-unit": (("retry-after: 41s",), 41),
    "retry-milliseconds": (("retry-after-ms: 41000", "retry-after: 50"), 41),
    "retry-epoch": ((f"retry-after: {int(time.time()) + 4000}",), 4000),
    "retry-date": ((f"retry-after: {formatdate(time.time() + 4000, usegmt=True)}",), 4000),
    "retry-date-of-iso": ((f"retry-after: {datetime.fromtimestamp(time.time() + 4000, UTC).isoformat()}",), 4000),
}
RETRY_INFO = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.07s"}
GEMINI_429 = js(
    [
        {
            "error": {
                "code": 429,
                "message": "Please retry.",
                "status": "RESOURCE_EXHAUSTED",
                "details": [RETRY_INFO],
            }
        }
    ],
    429,
)
