"""An answer that no model gave, in the shape that the client's endpoint has: whole, or as a stream.

It is written as a server of OpenAI's protocol would, and read as that server's answers are.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

import msgspec

from tiny_dancer.gateway.upstream.kinds.openai import dialect
from tiny_dancer.gateway.upstream.translate.fields import encode
from tiny_dancer.gateway.upstream.translate.responses_over_chat import ResponsesOverChat

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tiny_dancer.gateway.upstream.dialect import Answer, Dialect, Endpoint

_REPEATED: Final = ("instructions", "metadata")
_NOTHING_SAID: Final = msgspec.Raw(b'""')
_NO_USAGE: Final = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}


def whole(endpoint: Endpoint, fields: Mapping[str, msgspec.Raw], text: str, *, model: str, id: str) -> Answer:
    """The answer as one body.

    Args:
        endpoint: which of the gateway's; not embeddings.
        fields: of the request.
        text: of the answer.
        model: the client's word for it.
        id: of the answer.
    """
    return _dialect(endpoint, fields, model).response(_body(endpoint, text, model, id))


def stream(endpoint: Endpoint, fields: Mapping[str, msgspec.Raw], text: str, *, model: str, id: str) -> bytes:
    """The answer as all events of a stream; arguments as of :func:`whole`."""
    spoken = _dialect(endpoint, fields, model)
    events = spoken.events(fields)
    said = b"".join([events.feed(each) for each in spoken.unroll(_body(endpoint, text, model, id))])
    return said + events.end()


def _dialect(endpoint: Endpoint, fields: Mapping[str, msgspec.Raw], model: str) -> Dialect:
    chat = dialect("chat.completions" if endpoint == "responses" else endpoint)
    assert chat is not None
    if endpoint != "responses":
        return chat
    responses = ResponsesOverChat(chat, anthropic=False)
    # A response repeats some of what was asked. What else there is asks a model for something, and none is asked.
    repeated = {name: fields[name] for name in _REPEATED if name in fields}
    responses.request({**repeated, "input": _NOTHING_SAID}, model)
    return responses


def _body(endpoint: Endpoint, text: str, model: str, id: str) -> bytes:
    choice: dict[str, Any] = {"index": 0, "finish_reason": "stop", "logprobs": None}
    if endpoint == "completions":
        choice["text"] = text
    else:
        choice["message"] = {"role": "assistant", "content": text}
    return encode(
        {
            "id": id,
            "object": "text_completion" if endpoint == "completions" else "chat.completion",
            "created": int(time.time()),
            "model": model,
            "choices": [choice],
            "usage": _NO_USAGE,
        }
    )
