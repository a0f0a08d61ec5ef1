"""What users of other gateways, servers and clients reported of upstreams' answers to chats: tables for tests.

Each case is named for what is odd, or for who sends it, and gives what is sent as a stream and as a whole answer
(None: nothing of interest), and the text, the calls and the tokens that it comes to.
"""

from __future__ import annotations

import json
from typing import Any

import brotli
from tests.integration.gateway.spoken import (
    BOTH,
    CALLED,
    DONE,
    END,
    F1,
    GUESSED,
    HI,
    ROLE,
    SAID,
    STOP,
    USED,
    U,
    begun,
    block,
    c,
    e,
    ended,
    js,
    message,
    said,
    t,
    text,
    w,
    whole,
)
from tests.raw_upstream import RESET, answered, chunk, head, stream

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

# What a chat client gets as it came, byte by byte: it is the translation that has to make sense of it.
OWN_WORDS = ("no-delta", "delta-null", "azure-filter-results-only")
