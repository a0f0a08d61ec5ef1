"""Agents that speak A2A over JSON-RPC: ``message/send`` and ``message/stream``, and as version 1.0 calls them.

A request is put as one message of the user's, answers come back as chat completions; from there they go the way
of any answer in that protocol. An agent keeps no conversation of ours: what was said before is told as the first
part. It is asked for words, so what it cannot be told (tools, a schema of the answer) is refused by name.
"""

from __future__ import annotations

import time
import uuid
from typing import TYPE_CHECKING, Any, Final

import msgspec

from tiny_dancer.gateway.errors import GatewayError
from tiny_dancer.gateway.upstream import sse
from tiny_dancer.gateway.upstream.dialect import Adapted, Reported
from tiny_dancer.gateway.upstream.kinds import openai
from tiny_dancer.gateway.upstream.translate import failures
from tiny_dancer.gateway.upstream.translate.fields import encode, parse

if TYPE_CHECKING:
    from collections.abc import Mapping

    from msgspec import Raw

    from tiny_dancer.gateway.configuration import settings as config
    from tiny_dancer.gateway.upstream.dialect import Answer, Dialect, Endpoint, Events, Usage

VERSIONS: Final = ("0.3", "1.0")
"""Of the protocol; the first where ``api_version`` names none."""

_object: Final = msgspec.json.Decoder(dict[str, Any])
# What changes the answer and has no word here.
_REFUSED: Final = ("tools", "functions", "tool_choice", "audio", "prediction", "logprobs", "background")
# What only shapes how an answer is found, which is the agent's to know.
_KEPT: Final = ("model", "messages", "stream", "stream_options")
_ENDED: Final = ("completed", "failed", "canceled", "cancelled", "rejected", "input-required", "auth-required")
_FAILURES: Final[Mapping[str, tuple[int, str]]] = {
    "failed": (502, "agent_task_failed"),
    "canceled": (502, "agent_task_canceled"),
    "cancelled": (502, "agent_task_canceled"),
    "rejected": (400, "agent_task_rejected"),
    "auth-required": (401, "agent_auth_required"),
}
# JSON-RPC's codes and A2A's, as statuses of HTTP; any other is the agent's own trouble.
_STATUSES: Final[Mapping[int, int]] = {
    -32700: 400,
    -32600: 400,
    -32601: 501,
    -32602: 400,
    -32001: 404,
    -32004: 501,
    -32005: 400,
    -32009: 501,
}


class _Over:
    """A protocol of OpenAI's over A2A; see :class:`~tiny_dancer.gateway.upstream.dialect.Dialect`."""

    path = ""

    def __init__(self, inner: Dialect, version: str) -> None:
        """``inner``: puts requests as chat completions, and reads those."""
        self._inner = inner
        self._latest = version == "1.0"

    def request(self, fields: Mapping[str, Raw], model: str) -> bytes | Adapted:
        """The user's message. Parameters of models are left out, and named as adapted.

        Raises:
            GatewayError: 400; the client asks for what A2A cannot say.
        """
        asked = self._inner.request(fields, model)
        body, names = (asked.body, asked.names) if isinstance(asked, Adapted) else (asked, ())
        chat: dict[str, Any] = parse(body, _object)
        for name in _REFUSED:
            if chat.get(name) not in (None, [], False, "none", "auto"):
                raise _cannot(name)
        form = chat.get("response_format")
        if isinstance(form, dict) and form.get("type") not in (None, "text"):
            raise _cannot("response_format")
        if chat.get("n") not in (None, 1):
            raise _cannot("n")
        stream = chat.get("stream") is True
        left_out = (name for name in chat if name not in _KEPT and name in fields)
        message = encode(self._call(chat.get("messages"), stream=stream))
        names = tuple(dict.fromkeys((*names, *left_out)))
        return Adapted(message, names) if names else message

    def _call(self, messages: object, *, stream: bool) -> dict[str, Any]:
        parts = [self._part(each) for each in _parts(messages)]
        message: dict[str, Any] = {"messageId": uuid.uuid4().hex, "parts": parts}
        if self._latest:
            method = "SendStreamingMessage" if stream else "SendMessage"
            message["role"] = "ROLE_USER"
            configuration: dict[str, Any] = {"acceptedOutputModes": ["text/plain"]}
        else:
            method = "message/stream" if stream else "message/send"
            message |= {"kind": "message", "role": "user"}
            configuration = {"acceptedOutputModes": ["text/plain"], "blocking": True}
        params = {"message": message, "configuration": configuration}
        return {"jsonrpc": "2.0", "id": uuid.uuid4().hex, "method": method, "params": params}

    def _part(self, part: str | tuple[str, str]) -> dict[str, Any]:
        """A text, or a file by its address and type; data addresses hold the file itself."""
        if isinstance(part, str):
            return {"text": part} if self._latest else {"kind": "text", "text": part}
        address, kind = part
        held = address.startswith("data:")
        given = address.partition(",")[2] if held else address
        if self._latest:
            return {"raw" if held else "url": given, "mediaType": kind}
        return {"kind": "file", "file": {"bytes" if held else "uri": given, "mimeType": kind}}

    def response(self, body: bytes) -> Answer:
        """What the message or task says, as a chat completion.

        Raises:
            Reported: the agent reports an error, or that it has failed.
            ValueError: it is no answer of A2A.
        """
        return self._inner.response(_completion(_Read().whole(_result(body))))

    def roll(self, body: bytes) -> bytes:
        """Events of a stream, as one answer."""
        read, splitter = _Read(), sse.Splitter()
        for event in (*splitter.feed(body), *splitter.end()):
            if data := sse.data_of(event):
                read.feed(_result(data))
        return encode({"jsonrpc": "2.0", "result": read.as_message()})

    def unroll(self, body: bytes) -> list[bytes]:
        """The one event that says it all."""
        return [sse.event(body)]

    def events(self, fields: Mapping[str, Raw]) -> Events:
        """Chunks of a chat completion, read as the inner protocol reads them."""
        return _Events(self._inner.events(fields))

    def failure(self, status: int, body: bytes) -> GatewayError:
        """JSON-RPC's error, or what the server says otherwise."""
        try:
            read: dict[str, Any] = parse(body, _object)
        except ValueError:
            return failures.openai(status, body)
        said = read.get("error")
        if isinstance(said, dict) and isinstance(said.get("code"), int):
            found = _error(said)
            found.status = status
            return found
        return failures.openai(status, body)


class _Events:
    """A stream of A2A as one of chunks; see :class:`~tiny_dancer.gateway.upstream.dialect.Events`."""

    def __init__(self, inner: Events) -> None:
        self.usage: Usage | None = None
        self.id: str | None = None
        self.content = False
        self.finished = False
        self.error: GatewayError | None = None
        self._inner = inner
        self._read = _Read()
        self._id = f"chatcmpl-{uuid.uuid4().hex}"

    def feed(self, event: bytes) -> bytes:
        """The chunks that say the same."""
        data = sse.data_of(event)
        if not data:
            return event if self.content and event.startswith(b":") else b""
        try:
            new, over = self._read.feed(_result(data))
        except Reported as failure:
            if not self.content:
                raise
            return self._told(sse.event(failure.error.openai()))
        said = b""
        if new:
            said += self._told(self._chunk({"role": "assistant", "content": new}, None))
        if over and not self.finished:
            if not self._read.text:
                raise ValueError("the agent has answered without a text")
            said += self._told(self._chunk({}, "stop")) + self._told(sse.DONE)
        return said

    def _told(self, event: bytes) -> bytes:
        """What the inner protocol makes of a chunk."""
        inner = self._inner
        found = inner.feed(event)
        self.id, self.content, self.finished, self.error = inner.id, inner.content, inner.finished, inner.error
        return found

    def _chunk(self, delta: dict[str, Any], finish: str | None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}
        return sse.event(encode(_of("chat.completion.chunk", self._read.id or self._id, choice)))

    def end(self) -> bytes:
        """As of the inner protocol."""
        found = self._inner.end()
        self.finished = self._inner.finished
        return found

    def cut(self, error: GatewayError) -> bytes:
        """As of the inner protocol."""
        return self._inner.cut(error)


class _Read:
    """What has been read of an answer, event by event.

    Attributes:
        id: of the task, else of the message.
        text: so far.
    """

    def __init__(self) -> None:
        self.id: str | None = None
        self.text = ""
        self._artifact: object = None
        self._artifacts: set[object] = set()

    def whole(self, result: dict[str, Any]) -> _Read:
        """Reads a result that came in one piece.

        Raises:
            Reported: the task has failed.
            ValueError: it has not ended, or says nothing.
        """
        _, over = self.feed(result)
        if not over:
            raise ValueError("the agent goes on working and would have to be asked again: it must answer at once")
        if not self.text:
            raise ValueError("the agent has answered without a text")
        return self

    def feed(self, result: dict[str, Any]) -> tuple[str, bool]:
        """What is new, and whether that is the end.

        Raises:
            Reported: the task has failed.
        """
        for kind, names in _KINDS.items():
            for name in names:
                if isinstance(held := result.get(name), dict):
                    return self._one(kind, held)
        return self._one(str(result.get("kind") or _kind_of(result)), result)

    def _one(self, kind: str, found: dict[str, Any]) -> tuple[str, bool]:
        before = len(self.text)
        over = False
        if kind == "message":
            self._name(found.get("messageId"))
            self.text += _text(found.get("parts"))
            over = True
        elif kind == "task":
            self._name(found.get("id"))
            over = self._task(found)
        elif kind == "artifact-update":
            self._name(found.get("taskId"))
            self._add(found.get("artifact"))
        elif kind == "status-update":
            self._name(found.get("taskId"))
            over = self._status(found.get("status"), final=found.get("final") is True)
        return self.text[before:], over

    def as_message(self) -> dict[str, Any]:
        """What was read, as one message."""
        return {"kind": "message", "messageId": self.id or "", "parts": [{"kind": "text", "text": self.text}]}

    def _name(self, id: object) -> None:
        if self.id is None and isinstance(id, str) and id:
            self.id = id

    def _task(self, task: dict[str, Any]) -> bool:
        over = _state(task.get("status")) in _ENDED
        if over:
            for artifact in _listed(task.get("artifacts")):
                if artifact.get("artifactId") not in self._artifacts:
                    self._add(artifact)
        return self._status(task.get("status"), final=False)

    def _add(self, artifact: object) -> None:
        if not isinstance(artifact, dict):
            return
        id = artifact.get("artifactId")
        said = _text(artifact.get("parts"))
        if said and self.text and id != self._artifact:
            self.text += "\n\n"
        self._artifact = id
        self._artifacts.add(id if isinstance(id, str) else None)
        self.text += said

    def _status(self, status: object, *, final: bool) -> bool:
        """Whether the task has ended. What is said with that is the answer, where there is no other."""
        state = _state(status)
        message = status.get("message") if isinstance(status, dict) else None
        said = _text(message.get("parts")) if isinstance(message, dict) else ""
        if state in _FAILURES:
            code, word = _FAILURES[state]
            raise Reported(
                GatewayError(
                    code,
                    f"The agent says that its task is {state}{f': {said[:500]}' if said else ''}.",
                    type=None if code < 500 else "server_error",
                    code=word,
                )
            )
        over = final or state in _ENDED
        if over and said and (not self.text or state == "input-required"):
            self.text += f"\n\n{said}" if self.text else said
        return over


# By which names version 1.0 says what a result is.
_KINDS: Final[Mapping[str, tuple[str, ...]]] = {
    "message": ("message", "msg"),
    "task": ("task",),
    "status-update": ("statusUpdate",),
    "artifact-update": ("artifactUpdate",),
}


def _kind_of(result: Mapping[str, Any]) -> str:
    """What a result is that does not say so."""
    if "artifact" in result:
        return "artifact-update"
    if "parts" in result:
        return "message"
    if "taskId" in result and "status" in result:
        return "status-update"
    if "status" in result:
        return "task"
    raise ValueError("the result is neither a message, a task nor an update of one")


def _result(body: bytes) -> dict[str, Any]:
    """The result of a JSON-RPC answer.

    Raises:
        Reported: it is an error.
        ValueError: it is none.
    """
    read: dict[str, Any] = parse(body, _object)
    if isinstance(said := read.get("error"), dict):
        raise Reported(_error(said))
    found = read.get("result")
    if not isinstance(found, dict):
        raise ValueError("no result of JSON-RPC in the answer")
    return found


def _error(said: Mapping[str, Any]) -> GatewayError:
    code = said.get("code")
    status = _STATUSES.get(code, 502) if isinstance(code, int) else 502
    message = said.get("message") if isinstance(said.get("message"), str) else ""
    return GatewayError(
        status,
        f"The agent reports an error: {(message or 'it does not say which')[:1000]}",
        type=None if status < 500 else "server_error",
        code="agent_error",
    )


def _state(status: object) -> str:
    """``completed``, ``input-required`` …, in either version's words."""
    state = status.get("state") if isinstance(status, dict) else None
    return str(state or "").lower().removeprefix("task_state_").replace("_", "-")


def _text(parts: object) -> str:
    """The text of parts; data as JSON. Files are left out."""
    found = []
    for part in _listed(parts):
        root = part["root"] if isinstance(part.get("root"), dict) else part
        if isinstance(text := root.get("text"), str):
            found.append(text)
        elif (data := root.get("data")) is not None:
            found.append(encode(data).decode())
    return "".join(found)


def _listed(value: object) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _completion(read: _Read) -> bytes:
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": read.text},
        "finish_reason": "stop",
        "logprobs": None,
    }
    return encode(_of("chat.completion", read.id or f"chatcmpl-{uuid.uuid4().hex}", choice))


def _of(kind: str, id: str, choice: dict[str, Any]) -> dict[str, Any]:
    return {"id": id, "object": kind, "created": int(time.time()), "model": "a2a", "choices": [choice]}


def _parts(messages: object) -> list[str | tuple[str, str]]:
    """What the agent is told: what was said before, as one text, then the user's last message part by part.

    Raises:
        GatewayError: 400; there are no messages, or a part that has no word in A2A.
    """
    turns = _listed(messages)
    if not turns:
        raise GatewayError(400, "An agent has to be told something.", param="messages", code="invalid_value")
    before = [
        f"{turn.get('role')}: {said}"
        for turn in turns[:-1]
        if (said := "".join(each for each in _contents(turn) if isinstance(each, str)))
    ]
    told: list[str | tuple[str, str]] = []
    if before:
        told.append("Conversation so far:\n" + "\n".join(before) + "\n\nWhat is asked now:\n")
    return told + _contents(turns[-1])


def _contents(turn: Mapping[str, Any]) -> list[str | tuple[str, str]]:
    content = turn.get("content")
    if isinstance(content, str):
        return [content]
    found: list[str | tuple[str, str]] = []
    for part in _listed(content):
        if isinstance(text := part.get("text"), str):
            found.append(text)
        elif isinstance(image := part.get("image_url"), dict) and isinstance(image.get("url"), str):
            found.append((image["url"], _media_type(image["url"])))
        else:
            raise _cannot(f"messages.content.{str(part.get('type'))[:50]}")
    return found


def _media_type(address: str) -> str:
    if address.startswith("data:"):
        return address[5:].partition(",")[0].partition(";")[0] or "application/octet-stream"
    return "image/*"


def _cannot(name: str) -> GatewayError:
    return GatewayError(
        400,
        f"An agent that speaks A2A cannot be told '{name}'; leave it out, or name a model.",
        param=name,
        code="unsupported_parameter",
    )


def dialect(endpoint: Endpoint, version: str | None = None) -> Dialect | None:
    """How this endpoint is served: chat completions and messages are."""
    inner = openai.dialect(endpoint) if endpoint in ("chat.completions", "messages") else None
    return None if inner is None else _Over(inner, version or VERSIONS[0])


def url(upstream: config.Upstream, model: str, path: str) -> str:
    """The agent's address: JSON-RPC has one."""
    del model, path
    return upstream.base_url


def headers(upstream: config.Upstream) -> list[tuple[str, str]]:
    """The key as a bearer token, the protocol's version, and what is configured, which wins."""
    configured = {name.lower() for name in upstream.headers}
    own = [("accept", "application/json, text/event-stream"), ("a2a-version", upstream.api_version or VERSIONS[0])]
    if upstream.api_key is not None:
        own.append(("authorization", f"Bearer {upstream.api_key}"))
    return [(name, value) for name, value in own if name not in configured] + list(upstream.headers.items())
