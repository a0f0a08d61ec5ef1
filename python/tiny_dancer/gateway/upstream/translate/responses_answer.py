"""Chat completions as responses: whole ones, and chunks as the events OpenAI would send, in its order.

The output grows item by item. Words open a message or a reasoning item, which is closed when another item begins.
A call is closed when another item begins, if its arguments are complete by then: servers that write two calls at
once have both open, and the events say by ``output_index`` which is meant. What is open at the end is closed
there.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec
from msgspec import Struct

from tiny_dancer.gateway.upstream import sse
from tiny_dancer.gateway.upstream.dialect import Answer, Reported
from tiny_dancer.gateway.upstream.translate.fields import encode, parse
from tiny_dancer.gateway.upstream.translate.responses_reasoning import REASONING_ID, Thought, write_thought
from tiny_dancer.gateway.upstream.translate.responses_tools import (
    LOCAL_SHELL,
    Tools,
    custom_input,
    is_object,
    new_id,
    shell_action,
)
from tiny_dancer.gateway.upstream.translate.usage import say_responses

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tiny_dancer.gateway.errors import GatewayError
    from tiny_dancer.gateway.upstream.dialect import Events, Usage

_INCOMPLETE: Final = {"length": "max_output_tokens", "content_filter": "content_filter"}
_REASONING_FIELDS: Final = ("reasoning_content", "reasoning")

Kind = Literal["output_text", "refusal", "reasoning_text", "summary_text"]


class _Function(Struct):
    name: Any = None
    arguments: Any = None


class _Call(Struct):
    index: Any = None
    id: Any = None
    function: _Function | None = None


class _Delta(Struct):
    """A message, or the next piece of one. Servers differ in what they take for a text."""

    content: Any = None
    refusal: Any = None
    reasoning_content: Any = None
    reasoning: Any = None
    thinking_blocks: Any = None
    tool_calls: list[_Call] | None = None
    annotations: Any = None


class _Choice(Struct):
    index: Any = 0
    message: _Delta | None = None
    delta: _Delta | None = None
    finish_reason: Any = None
    logprobs: Any = None


class _Completion(Struct):
    """A chat completion or a chunk of one."""

    model: Any = None
    created: Any = None
    choices: list[_Choice] | None = None
    service_tier: Any = None


_completion: Final = msgspec.json.Decoder(_Completion)


class _Words(Struct):
    """A message or reasoning item that is open, and the part of it that is."""

    index: int
    item: dict[str, Any]
    kind: Kind | None = None
    pieces: list[str] = []
    logprobs: list[Any] = []
    annotations: list[Any] = []
    thought: list[str] = []
    field: str = ""
    blocks: list[dict[str, Any]] = []


class _Begun(Struct):
    """A call.

    Attributes:
        type: of the tool.
        said: the upstream's id of it.
        index: in the output; None: it is shown when it is complete.
        item: as the client sees it.
        pieces: of its arguments.
        open: whether more of them may come.
    """

    type: str
    said: str
    index: int | None
    item: dict[str, Any]
    pieces: list[str] = []
    open: bool = True

    def complete(self) -> bool:
        """Whether its arguments are."""
        return is_object("".join(self.pieces))


class Writer:
    """One response.

    Attributes:
        id: the client's.
        stop: reason to stop, as the chat completion said it; empty until then.
        begun: whether the client has got something.
    """

    def __init__(
        self,
        frame: dict[str, Any],
        tools: Tools,
        *,
        model: str,
        summary: bool,
        encrypted: bool,
        logprobs: bool,
    ) -> None:
        """
        Args:
            frame: what every response repeats of its request.
            tools: on offer.
            model: as the upstream calls it.
            summary: whether the client wants to read a summary of the reasoning.
            encrypted: whether it wants to hand the reasoning back.
            logprobs: whether it wants log-probabilities.
        """
        self.id = new_id("resp_")
        self.stop = ""
        self.begun = False
        self._streamed = True
        self._frame = {"object": "response", "created_at": int(time.time()), "model": model, **frame}
        self._tools = tools
        self._model = model
        self._reasoning: Kind = "summary_text" if summary else "reasoning_text"
        self._encrypted = encrypted
        self._logprobs = logprobs
        self._number = 0
        self._output: list[dict[str, Any]] = []
        self._words: _Words | None = None
        self._open: list[_Begun] = []
        self._by_index: dict[int, _Begun] = {}
        self._by_id: dict[str, _Begun] = {}
        self._last: _Begun | None = None
        self._newest: _Words | _Begun | None = None  # which the end may have cut off

    def whole(self, answer: Answer) -> Answer:
        """A whole chat completion as a response.

        Raises:
            ValueError: it is none.
        """
        read = parse(answer.body, _completion)
        if not read.choices or read.choices[0].message is None:
            raise ValueError("a chat completion without a message")
        self._streamed = False
        self.piece(read)
        self.close()
        return Answer(encode(self.response(answer.usage)), answer.usage, self.id, answer.error)

    # What has been said.

    def piece(self, read: _Completion) -> bytes:
        """The events of a chat completion or a chunk."""
        if isinstance(read.model, str) and read.model:
            self._frame["model"] = read.model
        if read.service_tier is not None:
            self._frame["service_tier"] = read.service_tier
        given = b""
        for choice in read.choices or ():
            if choice.index in (0, None):
                said = choice.delta or choice.message
                if said is not None:
                    given += self._said(said, choice.logprobs)
                if isinstance(choice.finish_reason, str) and choice.finish_reason:
                    self.stop = choice.finish_reason
        return given

    def _said(self, said: _Delta, logprobs: Any) -> bytes:
        given = b""
        for field in _REASONING_FIELDS:
            if words := _text(getattr(said, field)):
                given += self._thought(words, field)
                break  # some servers say it under both names
        if self._encrypted and isinstance(said.thinking_blocks, list):
            given += self._signed([each for each in said.thinking_blocks if isinstance(each, dict)])
        tokens = logprobs.get("content") if self._logprobs and isinstance(logprobs, dict) else None
        for thinking, words in _spoken(said.content):
            if thinking:
                given += self._thought(words, "")
            else:
                given += self._say("output_text", words, tokens if isinstance(tokens, list) else None)
                tokens = None
        if words := _text(said.refusal):
            given += self._say("refusal", words)
        if isinstance(said.annotations, list):
            given += b"".join([self._annotate(each) for each in said.annotations if isinstance(each, dict)])
        for call in said.tool_calls or ():
            given += self._call(call)
        return given

    # Words.

    def _say(self, kind: Kind, words: str, logprobs: list[Any] | None = None) -> bytes:
        given, open_ = self._part("message", kind)
        open_.pieces.append(words)
        if kind == "output_text":
            open_.logprobs += logprobs or []
            return given + self._of_part(open_, "delta", delta=words, logprobs=logprobs or [])
        return given + self._of_part(open_, "delta", delta=words)

    def _thought(self, words: str, field: str) -> bytes:
        given, open_ = self._part("reasoning", self._reasoning)
        open_.pieces.append(words)
        open_.thought.append(words)
        open_.field = field
        return given + self._of_part(open_, "delta", delta=words)

    def _signed(self, blocks: list[dict[str, Any]]) -> bytes:
        """Thinking as Anthropic has signed it: blocks, or pieces of them."""
        given, open_ = self._item("reasoning")
        for block in blocks:
            last = open_.blocks[-1] if open_.blocks else {}
            if block.get("type") == last.get("type") == "thinking" and not last.get("signature"):
                last["thinking"] = f"{last.get('thinking') or ''}{block.get('thinking') or ''}"
                last["signature"] = block.get("signature") or ""
            else:
                open_.blocks.append({name: value for name, value in block.items() if name != "index"})
        return given

    def _annotate(self, said: dict[str, Any]) -> bytes:
        """A source of the text, which chat completions hold one level deeper."""
        kind = said.get("type")
        inner = said.get(kind) if isinstance(kind, str) else None
        annotation = {"type": kind, **inner} if isinstance(inner, dict) else said
        given, open_ = self._part("message", "output_text")
        open_.annotations.append(annotation)
        number = len(open_.annotations) - 1
        place = {"item_id": open_.item["id"], "output_index": open_.index, **self._content_index(open_)}
        return given + self._event(
            "response.output_text.annotation.added", **place, annotation_index=number, annotation=annotation
        )

    def _item(self, type: Literal["message", "reasoning"]) -> tuple[bytes, _Words]:
        """The open item of this type, opened where it is not."""
        open_ = self._words
        if open_ is not None and open_.item["type"] == type:
            return b"", open_
        given = self._close_words("completed") + self._close_calls(complete=True)
        if type == "message":
            item = {
                "id": new_id("msg_"),
                "type": type,
                "status": "in_progress",
                "role": "assistant",
                "content": [],
            }
        else:
            item = {"id": new_id(REASONING_ID), "type": type, "summary": []}
            if self._reasoning == "reasoning_text":
                item["content"] = []
        open_ = self._words = self._newest = _Words(self._add(item), item)
        return given + self._event("response.output_item.added", output_index=open_.index, item=item), open_

    def _part(self, type: Literal["message", "reasoning"], kind: Kind) -> tuple[bytes, _Words]:
        """The open part of this kind, opened where it is not."""
        given, open_ = self._item(type)
        if open_.kind == kind:
            return given, open_
        given += self._close_part(open_)
        open_.kind, open_.pieces, open_.logprobs, open_.annotations = kind, [], [], []
        return given + self._of_part(open_, "added", part=self._said_part(open_)), open_

    def _said_part(self, open_: _Words) -> dict[str, Any]:
        text = "".join(open_.pieces)
        if open_.kind == "refusal":
            return {"type": "refusal", "refusal": text}
        part: dict[str, Any] = {"type": open_.kind, "text": text}
        if open_.kind == "output_text":
            part["annotations"] = open_.annotations
            part["logprobs"] = open_.logprobs
        return part

    def _content_index(self, open_: _Words) -> dict[str, int]:
        if open_.kind == "summary_text":
            return {"summary_index": len(open_.item["summary"])}
        return {"content_index": len(open_.item["content"])}

    def _of_part(self, open_: _Words, what: Literal["added", "delta", "text", "done"], **fields: Any) -> bytes:
        summary = open_.kind == "summary_text"
        name: str | None = "reasoning_summary_part" if summary else "content_part"
        if what in ("delta", "text"):
            name = "reasoning_summary_text" if summary else open_.kind
        place = {"item_id": open_.item["id"], "output_index": open_.index, **self._content_index(open_)}
        return self._event(f"response.{name}.{'done' if what == 'text' else what}", **place, **fields)

    def _close_part(self, open_: _Words) -> bytes:
        if open_.kind is None:
            return b""
        part = self._said_part(open_)
        text = {name: value for name, value in part.items() if name in ("text", "refusal", "logprobs")}
        given = self._of_part(open_, "text", **text) + self._of_part(open_, "done", part=part)
        open_.item["summary" if open_.kind == "summary_text" else "content"].append(part)
        open_.kind = None
        return given

    def _close_words(self, status: str) -> bytes:
        open_, self._words = self._words, None
        if open_ is None:
            return b""
        given = self._close_part(open_)
        if open_.item["type"] == "message":
            open_.item["status"] = status
        elif self._encrypted:
            open_.item["encrypted_content"] = write_thought(
                Thought(self._model, open_.field, "".join(open_.thought), open_.blocks)
            )
        return given + self._event("response.output_item.done", output_index=open_.index, item=open_.item)

    # Calls.

    def _call(self, call: _Call) -> bytes:
        function = call.function or _Function()
        name, id = _text(function.name), "" if call.id is None else str(call.id)
        begun, given = self._known(call.index, id, name), b""
        if begun is None:
            if not id and not name:
                raise ValueError("arguments of a tool call that has not begun")
            given, begun = self._begin_call(name, id)
            self._last = self._newest = begun
            self._open.append(begun)
            if type(call.index) is int:
                self._by_index[call.index] = begun
            if id:
                self._by_id[id] = begun
        arguments = function.arguments
        if isinstance(arguments, dict | list):
            arguments = encode(arguments).decode()
        if not isinstance(arguments, str) or not arguments or not begun.open:
            return given  # what follows arguments that are complete are blanks
        begun.pieces.append(arguments)
        if begun.type == "function":
            given += self._of_call(begun, "function_call_arguments.delta", delta=arguments)
        return given

    def _known(self, index: object, id: str, name: str) -> _Begun | None:
        """The call that goes on; None where one begins.

        Some servers leave out the index, some the id, some say the id in every chunk, some the index 0 of all.
        """
        if type(index) is not int:
            same = self._by_id.get(id) if id else None
            return same or (None if name else self._last)
        found = self._by_index.get(index)
        if found is None or (name and id and found.said and id != found.said):
            return None
        return None if name and not id and found.complete() else found

    def _begin_call(self, name: str, id: str) -> tuple[bytes, _Begun]:
        given = self._close_words("completed") + self._close_calls(complete=True)
        # Readers tell calls apart by this id.
        call_id = id if id and id not in self._by_id else new_id("call_")
        type = self._tools.type_of(name)
        if type == LOCAL_SHELL:
            item: dict[str, Any] = {"id": new_id("lsh_"), "type": "local_shell_call", "call_id": call_id}
            return given, _Begun(type, id, None, item)
        prefix, field = ("ctc_", "input") if type == "custom" else ("fc_", "arguments")
        item = {
            "id": new_id(prefix),
            "type": "custom_tool_call" if type == "custom" else "function_call",
            "status": "in_progress",
            field: "",
            "call_id": call_id,
            **self._tools.named(name),
        }
        begun = _Begun(type, id, self._add(item), item)
        return given + self._event("response.output_item.added", output_index=begun.index, item=item), begun

    def _of_call(self, begun: _Begun, what: str, **fields: Any) -> bytes:
        return self._event(f"response.{what}", item_id=begun.item["id"], output_index=begun.index, **fields)

    def _close_calls(self, *, complete: bool, last: str = "completed") -> bytes:
        """All open calls; or those that have all their arguments.

        Args:
            complete: only those.
            last: status of the others.
        """
        given = b""
        for begun in self._open.copy():
            whole = begun.complete()
            if whole or not complete:
                self._open.remove(begun)
                begun.open = False
                # One that has no arguments has them all, if something came after it.
                whole = whole or (not begun.pieces and begun is not self._newest)
                given += self._close_call(begun, "completed" if whole else last)
        return given

    def _close_call(self, begun: _Begun, status: str) -> bytes:
        arguments, item = "".join(begun.pieces), begun.item
        given = b""
        if begun.type == "function":
            # Readers expect JSON where a call has no arguments.
            item["arguments"] = arguments if arguments.strip() or status != "completed" else "{}"
            done = {"name": item["name"], "arguments": item["arguments"]}
            given = self._of_call(begun, "function_call_arguments.done", **done)
        elif begun.type == "custom":
            item["input"] = custom_input(arguments)
            given = self._of_call(begun, "custom_tool_call_input.delta", delta=item["input"])
            given += self._of_call(begun, "custom_tool_call_input.done", input=item["input"])
        else:
            action = shell_action(arguments)
            if action is None:
                item.update(id=new_id("fc_"), type="function_call", name=LOCAL_SHELL, arguments=arguments)
            else:
                item["action"] = action
            item["status"] = "in_progress"
            begun.index = self._add(item)
            given = self._event("response.output_item.added", output_index=begun.index, item=item)
        item["status"] = status
        return given + self._event("response.output_item.done", output_index=begun.index, item=item)

    # The response.

    def close(self) -> bytes:
        """Closes what is open."""
        status = "incomplete" if self.stop in _INCOMPLETE else "completed"
        given = self._close_words(status if self._words is self._newest else "completed")
        given += self._close_calls(complete=False, last=status)
        if status == "completed" and all(item["type"] == "reasoning" for item in self._output):
            # An answer that is empty: readers look for a message.
            given += self._part("message", "output_text")[0] + self._close_words(status)
        return given

    def end(self, usage: Usage | None) -> bytes:
        """The last event of an answer that has been closed."""
        response = self.response(usage)
        return self._event(f"response.{response['status']}", response=response)

    def failed(self, error: GatewayError, usage: Usage | None) -> bytes:
        """The last event of an answer that is given up, with what there is of it."""
        self._streamed = False  # what is open is not complete
        self._close_words("incomplete")
        self._close_calls(complete=False, last="incomplete")
        self._streamed = True
        response = self.response(usage, status="failed")
        code = error.code if error.code and not error.code.isdigit() else None
        usual = "rate_limit_exceeded" if error.status == 429 else "server_error"
        response["error"] = {"code": code or usual, "message": error.message}
        return self._event("response.failed", response=response)

    def response(self, usage: Usage | None, *, status: str = "") -> dict[str, Any]:
        """The response as it stands.

        Args:
            usage: tokens; None where nobody has counted them.
            status: empty: as the reason to stop has it.
        """
        reason = _INCOMPLETE.get(self.stop)
        response = {
            "id": self.id,
            **self._frame,
            "status": status or ("completed" if reason is None else "incomplete"),
            "output": self._output if status != "in_progress" else [],
            "usage": None if usage is None else say_responses(usage),
        }
        if reason is not None and status != "failed":
            response["incomplete_details"] = {"reason": reason}
        return response

    def _add(self, item: dict[str, Any]) -> int:
        self._output.append(item)
        return len(self._output) - 1

    def _event(self, type: str, **fields: Any) -> bytes:
        """An event; before the first of them the two that begin a response."""
        if not self._streamed:
            return b""
        first = b""
        if not self.begun:
            self.begun = True
            started = self.response(None, status="in_progress")
            first = self._event("response.created", response=started)
            first += self._event("response.in_progress", response=started)
        data = encode({"type": type, "sequence_number": self._number, **fields})
        self._number += 1
        return first + sse.event(data, type.encode())


class ResponseEvents:
    """A streamed chat completion as events of a response; see
    :class:`~tiny_dancer.gateway.upstream.dialect.Events`.

    Nothing is given out before there is something to say: until then another model may still take over.
    """

    def __init__(self, chat: Events, writer: Writer) -> None:
        """``chat`` reads the upstream's stream, and gives chunks of a chat completion."""
        self.usage: Usage | None = None
        self.id: str | None = writer.id
        self.content = False
        self.finished = False
        self.error: GatewayError | None = None
        self._chat = chat
        self._writer = writer

    def feed(self, event: bytes) -> bytes:
        """The events that say the same."""
        return self._read(self._chat.feed(event), event)

    def end(self) -> bytes:
        """The last events of an answer that lacks no more than those."""
        return self._read(self._chat.end(), b"")

    def cut(self, error: GatewayError) -> bytes:
        """The error as the last event, unless there has been one; an answer that has been said to its end gets its
        last events."""
        if self.finished or self._writer.stop:
            return self._last()
        self.finished = True
        return self._writer.failed(error, self.usage)

    def _read(self, chunks: bytes, event: bytes) -> bytes:
        chat = self._chat
        self.usage = chat.usage
        # The line feed ends the last event even where lines end in carriage returns.
        events = [chunks] if chunks is event else sse.split(chunks + b"\n")[0]
        given = b"".join([self._chunk(each) for each in events])
        if chat.error is not None and not self.finished:
            if not self._writer.begun:
                raise Reported(chat.error)
            self.error = chat.error
            self.finished = True
            given += self._writer.failed(chat.error, self.usage)
        self.content = self._writer.begun
        return given

    def _chunk(self, event: bytes) -> bytes:
        data = sse.data_of(event)
        if not data:
            return event if self.content else b""  # a comment that keeps the connection open
        if self.finished:
            return b""
        if data == b"[DONE]":
            return self._last() if self._chat.content else b""  # a stream of nothing is no answer
        return self._writer.piece(parse(data, _completion))

    def _last(self) -> bytes:
        if self.finished:
            return b""
        self.finished = True
        return self._writer.close() + self._writer.end(self.usage)


def _text(said: object) -> str:
    """A text; some servers wrap it in an object."""
    if isinstance(said, dict):
        said = said.get("text")
    return said if isinstance(said, str) else ""


def _spoken(content: object) -> Iterator[tuple[bool, str]]:
    """Texts of a message's content, and whether they are thinking: a text, or parts as Mistral sends them."""
    if isinstance(content, str):
        if content:
            yield False, content
        return
    for part in content if isinstance(content, list) else ():
        if not isinstance(part, dict):
            continue
        if part.get("type") == "thinking":
            for _, words in _spoken(part.get("thinking")):
                yield True, words
        elif words := _text(part):
            yield False, words
