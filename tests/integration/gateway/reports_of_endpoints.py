"""What users of other gateways, servers and clients reported of responses, embeddings and completions.

Each case is named for what is odd, or for who sends it: tables for tests, as in :mod:`.reports`.
"""

from __future__ import annotations

import json
from typing import Any

from tests.integration.gateway.spoken import DONE, F1, GUESSED, HI, SAID, USED, U, e, js, said
from tests.raw_upstream import RESET, answered, stream

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
