"""A stand-in for a model's server: speaks OpenAI's protocol, works out sums, and says that it is none.

For the demo and for tests: a bare ASGI application without state, key or network.
"""

from __future__ import annotations

import asyncio
import base64
import struct
import zlib
from itertools import count
from math import sqrt
from typing import TYPE_CHECKING, Any

import msgspec

from tiny_dancer.gateway.demo_questions import solve

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    Scope = dict[str, Any]
    Receive = Callable[[], Awaitable[dict[str, Any]]]
    Send = Callable[[dict[str, Any]], Awaitable[None]]

_encode = msgspec.json.Encoder().encode
_LARGEST = 1024 * 1024
_CREATED = 1_700_000_000  # the same for all answers: nothing here looks at a clock
_DIMENSIONS = 64


class _BadRequestError(Exception):
    """What was asked cannot be answered."""

    def __init__(self, status: int, message: str, code: str) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": code}}


class StandIn:
    """One model that is none.

    Attributes:
        name: of the model.
        steps: of working out that it manages.
        pause: seconds between the words of a streamed answer.
    """

    def __init__(self, name: str, *, steps: int, pause: float = 0.01) -> None:
        self.name = name
        self.steps = steps
        self.pause = pause
        self._ids = count(1)

    def answer(self, question: str) -> str:
        """The whole answer to a text."""
        found = solve(question, self.steps)
        if found is None:
            return f"I am {self.name}, a stand-in without a language model: I know sums and a few facts, not this."
        return f"{found} (says {self.name}, a stand-in without a language model)"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request (ASGI 3, http only)."""
        if scope["type"] != "http":
            raise NotImplementedError(f"no {scope['type']} here")
        try:
            fields = await _body(receive) if scope["method"] == "POST" else {}
            await self._route(scope["method"], scope["path"], fields, send)
        except _BadRequestError as error:
            await _send(send, error.status, error.body)

    async def _route(self, method: str, path: str, fields: dict[str, Any], send: Send) -> None:
        if (method, path) == ("GET", "/v1/models"):
            model = {"id": self.name, "object": "model", "created": _CREATED, "owned_by": "tiny-dancer"}
            await _send(send, 200, {"object": "list", "data": [model]})
            return
        endpoints = {
            "/v1/chat/completions": (_of_messages, self._chat, self._chat_events),
            "/v1/completions": (_of_prompt, self._completion, self._completion_events),
            "/v1/responses": (_of_input, self._response, self._response_events),
        }
        if method != "POST" or path not in {*endpoints, "/v1/embeddings"}:
            raise _BadRequestError(404, f"{method} {path[:200]} is not served here", "not_found")
        if fields.get("model") != self.name:
            raise _BadRequestError(404, f"only the model {self.name} is here", "model_not_found")
        if path == "/v1/embeddings":
            await _send(send, 200, self._embeddings(fields))
            return
        read, whole, events = endpoints[path]
        prompt, question = read(fields)
        text = self.answer(question)
        usage = _tokens(prompt), _tokens(text)
        identifier = next(self._ids)
        if fields.get("stream") is not True:
            await _send(send, 200, whole(identifier, text, *usage))
            return
        head = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-cache")]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        async for event in events(identifier, text, *usage, fields):
            await send({"type": "http.response.body", "body": event, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async def _words(self, text: str) -> AsyncIterator[str]:
        for place, word in enumerate(text.split(" ")):
            if place:
                await asyncio.sleep(self.pause)
            yield f" {word}" if place else word

    def _chat(self, identifier: int, text: str, read: int, written: int) -> dict[str, Any]:
        message = {"role": "assistant", "content": text, "refusal": None}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
        return {
            "id": f"chatcmpl-{self.name}-{identifier}",
            "object": "chat.completion",
            "created": _CREATED,
            "model": self.name,
            "choices": [choice],
            "usage": _usage(read, written),
        }

    async def _chat_events(
        self, identifier: int, text: str, read: int, written: int, fields: dict[str, Any]
    ) -> AsyncIterator[bytes]:
        def chunk(choices: list[dict[str, Any]], **more: Any) -> bytes:
            return _event(
                {
                    "id": f"chatcmpl-{self.name}-{identifier}",
                    "object": "chat.completion.chunk",
                    "created": _CREATED,
                    "model": self.name,
                    "choices": choices,
                    **more,
                }
            )

        yield chunk([{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}])
        async for word in self._words(text):
            yield chunk([{"index": 0, "delta": {"content": word}, "finish_reason": None}])
        yield chunk([{"index": 0, "delta": {}, "finish_reason": "stop"}])
        if _usage_asked(fields):
            yield chunk([], usage=_usage(read, written))
        yield b"data: [DONE]\n\n"

    def _completion(self, identifier: int, text: str, read: int, written: int) -> dict[str, Any]:
        return {
            "id": f"cmpl-{self.name}-{identifier}",
            "object": "text_completion",
            "created": _CREATED,
            "model": self.name,
            "choices": [{"index": 0, "text": text, "logprobs": None, "finish_reason": "stop"}],
            "usage": _usage(read, written),
        }

    async def _completion_events(
        self, identifier: int, text: str, read: int, written: int, fields: dict[str, Any]
    ) -> AsyncIterator[bytes]:
        whole = self._completion(identifier, text, read, written)
        usage = whole.pop("usage")
        async for word in self._words(text):
            choice = {"index": 0, "text": word, "logprobs": None, "finish_reason": None}
            yield _event({**whole, "choices": [choice]})
        yield _event({**whole, "choices": [{"index": 0, "text": "", "logprobs": None, "finish_reason": "stop"}]})
        if _usage_asked(fields):
            yield _event({**whole, "choices": [], "usage": usage})
        yield b"data: [DONE]\n\n"

    def _response(self, identifier: int, text: str, read: int, written: int) -> dict[str, Any]:
        content = {"type": "output_text", "text": text, "annotations": []}
        message = {"type": "message", "id": f"msg-{self.name}-{identifier}", "status": "completed"}
        return {
            "id": f"resp-{self.name}-{identifier}",
            "object": "response",
            "created_at": _CREATED,
            "status": "completed",
            "model": self.name,
            "error": None,
            "incomplete_details": None,
            "instructions": None,
            "metadata": {},
            "output": [{**message, "role": "assistant", "content": [content]}],
            "parallel_tool_calls": True,
            "tool_choice": "auto",
            "tools": [],
            "temperature": None,
            "top_p": None,
            "usage": {
                "input_tokens": read,
                "input_tokens_details": {"cached_tokens": 0},
                "output_tokens": written,
                "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": read + written,
            },
        }

    async def _response_events(
        self, identifier: int, text: str, read: int, written: int, fields: dict[str, Any]
    ) -> AsyncIterator[bytes]:
        del fields
        whole = self._response(identifier, text, read, written)
        (item,) = whole["output"]
        (part,) = item["content"]
        numbers = count()

        def event(kind: str, **more: Any) -> bytes:
            body = {"type": kind, "sequence_number": next(numbers), **more}
            return f"event: {kind}\n".encode() + _event(body)

        empty = {**whole, "status": "in_progress", "output": [], "usage": None}
        place = {"item_id": item["id"], "output_index": 0, "content_index": 0}
        yield event("response.created", response=empty)
        begun = {**item, "status": "in_progress", "content": []}
        yield event("response.output_item.added", output_index=0, item=begun)
        yield event("response.content_part.added", **place, part={**part, "text": ""})
        async for word in self._words(text):
            yield event("response.output_text.delta", **place, delta=word, logprobs=[])
        yield event("response.output_text.done", **place, text=text, logprobs=[])
        yield event("response.content_part.done", **place, part=part)
        yield event("response.output_item.done", output_index=0, item=item)
        yield event("response.completed", response=whole)

    def _embeddings(self, fields: dict[str, Any]) -> dict[str, Any]:
        given = fields.get("input")
        texts = [given] if isinstance(given, str) else given
        if not (isinstance(texts, list) and texts and all(isinstance(each, str) for each in texts)):
            raise _BadRequestError(400, "input has to be a text or a list of texts", "invalid_type")
        data = []
        for index, text in enumerate(texts):
            vector: list[float] | str = _embedding(text)
            if fields.get("encoding_format") == "base64":
                vector = base64.b64encode(struct.pack(f"<{_DIMENSIONS}f", *vector)).decode()
            data.append({"object": "embedding", "index": index, "embedding": vector})
        tokens = sum(map(_tokens, texts))
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        return {"object": "list", "model": self.name, "data": data, "usage": usage}


async def _body(receive: Receive) -> dict[str, Any]:
    parts: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise _BadRequestError(400, "the body broke off", "invalid_body")
        parts.append(message.get("body", b""))
        if sum(map(len, parts)) > _LARGEST:
            raise _BadRequestError(413, "the body is larger than 1 MiB", "too_large")
        if not message.get("more_body"):
            break
    try:
        return msgspec.json.decode(b"".join(parts), type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise _BadRequestError(400, "the body is no JSON object", "invalid_json") from None


def _of_messages(fields: dict[str, Any]) -> tuple[str, str]:
    """Everything that was said, and what the user said last."""
    said = [
        (each.get("role"), _text(each.get("content"))) for each in _objects(fields.get("messages"), "messages")
    ]
    return "\n".join(text for _, text in said), next((text for role, text in reversed(said) if role == "user"), "")


def _of_prompt(fields: dict[str, Any]) -> tuple[str, str]:
    prompt = fields.get("prompt")
    text = prompt if isinstance(prompt, str) else _text(prompt)
    return text, text


def _of_input(fields: dict[str, Any]) -> tuple[str, str]:
    given = fields.get("input")
    if not isinstance(given, str):
        return _of_messages({"messages": given})
    return f"{fields.get('instructions') or ''}{given}", given


def _objects(value: Any, field: str) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise _BadRequestError(400, f"{field} has to be a list of objects", "invalid_type")
    return value


def _text(content: Any) -> str:
    """A message's text; of parts, those that are text."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    texts = (each.get("text") if isinstance(each, dict) else each for each in parts)
    return " ".join(each for each in texts if isinstance(each, str))


def _tokens(text: str) -> int:
    """About as many as a tokenizer makes of English."""
    return max(1, len(text) // 4)


def _usage(read: int, written: int) -> dict[str, Any]:
    return {
        "prompt_tokens": read,
        "completion_tokens": written,
        "total_tokens": read + written,
        "prompt_tokens_details": {"cached_tokens": 0},
    }


def _usage_asked(fields: dict[str, Any]) -> bool:
    options = fields.get("stream_options")
    return isinstance(options, dict) and options.get("include_usage") is True


def _embedding(text: str) -> list[float]:
    """Words counted by hash: texts that share words are near each other."""
    counts = [0.0] * _DIMENSIONS
    for word in text.lower().split():
        counts[zlib.crc32(word.encode("utf-8", "replace")) % _DIMENSIONS] += 1.0
    length = sqrt(sum(each * each for each in counts)) or 1.0
    return [each / length for each in counts]


def _event(body: dict[str, Any]) -> bytes:
    return b"data: " + _encode(body) + b"\n\n"


async def _send(send: Send, status: int, body: dict[str, Any]) -> None:
    data = _encode(body)
    head = [(b"content-type", b"application/json"), (b"content-length", str(len(data)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": head})
    await send({"type": "http.response.body", "body": data})
