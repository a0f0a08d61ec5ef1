"""Chat completions as answers of Anthropic's: whole, and event by event.

An answer that carries content is served, whatever is odd around it (:mod:`.chat_answer` reads it). What has
another form here:

- what a model thought becomes a thinking block with an empty signature. Clients send it back, and it is left out
  before it could reach Anthropic (:mod:`.history`). Thinking that Anthropic has signed, behind another gateway
  (``thinking_blocks``), keeps its signature;
- an answer whose arguments of a tool call were cut is closed so that they can be read, where that takes nothing
  away, and ends by ``max_tokens``, whatever the server says (:mod:`.arguments`); one that ends by ``tool_calls``
  without a call, by ``end_turn``; one that calls, by ``tool_use``; reasons nobody knows are ``end_turn``;
- ``[DONE]`` without a reason is an end: what came is whole;
- ids that are missing are made, and of two calls with one id the second gets another;
- half a character is joined with its other half, wherever that comes; alone it is U+FFFD.

Blocks follow one another. One is open at a time: what comes for others meanwhile (calls whose arguments come by
turns, words between the pieces of arguments) is held back until the open one is complete. A call is complete
when its arguments are a whole object, or at the end; what a server sends behind a whole object is dropped, and
an empty object is no arguments yet. Space alone makes no block between others.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final, Literal
from uuid import uuid4

from tiny_dancer.gateway.upstream import sse
from tiny_dancer.gateway.upstream.dialect import Answer, Reported
from tiny_dancer.gateway.upstream.translate import arguments, chat_answer, failures, history
from tiny_dancer.gateway.upstream.translate.fields import Halves, encode, identifier, parse, present
from tiny_dancer.gateway.upstream.translate.usage import beside, later, read_openai, say_anthropic

if TYPE_CHECKING:
    from tiny_dancer.gateway.errors import GatewayError
    from tiny_dancer.gateway.upstream.dialect import Usage

STOP_REASONS: Final = {
    "stop": "end_turn",
    "length": "max_tokens",
    "max_tokens": "max_tokens",
    "model_length": "max_tokens",  # Mistral
    "tool_calls": "tool_use",
    "tool_use": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
    "safety": "refusal",
    "refusal": "refusal",
}
"""By what servers of chat completions say, in lower case; what is not here is ``end_turn``."""


def response(body: bytes) -> Answer:
    """A whole answer.

    Raises:
        Reported: it is an error.
        ValueError: it is no chat completion.
    """
    read = parse(body, chat_answer.decoder)
    choice = chat_answer.first(read.choices)
    if choice is None or not ("message" in choice or "delta" in choice or "text" in choice):
        raise failures.in_place_of(body) or ValueError("a chat completion without a message")
    said = chat_answer.said(choice, whole=True)
    if said.error is not None and not (said.pieces or said.calls):
        raise failures.reported(said.error)
    content = _blocks(said.pieces)
    ids = history.answer_ids()
    cut = False
    for call in said.calls:
        found = arguments.read(call.arguments)
        cut = cut or found.cut
        block = {"type": "tool_use", "id": ids.call(call.id or _tool_use_id()), "name": call.name}
        content.append({**block, "input": found.input})
    refused = any(piece.kind == "refusal" for piece in said.pieces)
    reason, sequence = _stop(said.finish, said.sequence, called=bool(said.calls), cut=cut, refused=refused)
    usage = beside(read_openai(read.usage), read.x_groq, read.service_tier)
    said_id = identifier(read.id)
    answer = {
        "id": said_id or _message_id(),
        "type": "message",
        "role": "assistant",
        "model": read.model if isinstance(read.model, str) else "",
        "content": content,
        "stop_reason": reason,
        "stop_sequence": sequence,
        "usage": say_anthropic(usage),
    }
    error = None if said.error is None else failures.openai_event(said.error)
    return Answer(encode(answer), usage, said_id or None, error)


def _blocks(pieces: list[chat_answer.Piece]) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = []
    for piece in pieces:
        last = blocks[-1] if blocks else {}
        if piece.kind == "redacted":
            blocks.append({"type": "redacted_thinking", "data": piece.words})
        elif piece.kind == "thinking":
            if last.get("type") == "thinking" and not (last["signature"] or piece.signature):
                last["thinking"] += piece.words
            else:
                blocks.append({"type": "thinking", "thinking": piece.words, "signature": piece.signature})
        elif last.get("type") == "text":
            last["text"] += piece.words
        else:
            blocks.append({"type": "text", "text": piece.words})
    worth = [block for block in blocks if block["type"] != "text" or not block["text"].isspace()]
    return worth or blocks


class _Block:
    """A block that is open, or waits for its turn."""

    __slots__ = ("halves", "id", "kind", "name", "said", "signature", "told", "waiting", "words")

    def __init__(self, kind: Literal["text", "thinking", "redacted", "tool_use"]) -> None:
        self.kind = kind
        self.id = ""  # of a call, as the server says it
        self.name = ""
        self.words = ""  # of thinking in cipher
        self.signature = ""
        self.said: list[str] = []  # of arguments
        self.waiting: list[str] = []  # of what was said: not given out yet
        self.told = False  # whether anything of it was given out
        self.halves = Halves()  # of arguments

    def complete(self) -> bool:
        """Whether nothing more is to come, as far as one can tell."""
        return self.kind != "tool_use" or arguments.are_whole("".join(self.said))


class MessageEvents:
    """A streamed answer as Anthropic's events; see :class:`~tiny_dancer.gateway.upstream.dialect.Events`.

    Nothing is given out before there is something to say: until then another model may still take over.
    """

    def __init__(self) -> None:
        self.usage: Usage | None = None
        self.id: str | None = None
        self.content = False
        self.finished = False
        self.error: GatewayError | None = None
        self._model = ""
        self._blocks = 0
        self._open: _Block | None = None
        self._held: deque[_Block] = deque()
        self._space = ""  # that came where no text was open
        self._halves = {"text": Halves(), "thinking": Halves()}
        self._calls: list[_Block] = []
        self._by_index: dict[int, _Block] = {}
        self._ids = history.answer_ids()
        self._cut = False  # within a call's arguments
        self._refused = False
        self._finish = ""
        self._sequence: str | None = None

    def feed(self, event: bytes) -> bytes:
        """The events that say the same."""
        if self.finished:
            return b""
        if (failed := sse.error_of(event)) is not None:
            return self._failed(failures.openai_event(failed))
        data = sse.data_of(event)
        if data.strip() == b"[DONE]":
            return self._end()
        if not data.startswith((b"{", b"[")):
            return b""  # a comment, or some other word that keeps the connection open
        read = chat_answer.frame(data)
        if read is None:
            return b""
        if present(read.error) and failures.is_said(read.error):
            return self._failed(failures.openai_event(data))
        if (
            read.choices is None
            and not present(read.usage)
            and (reported := failures.in_place_of(data, event=True))
        ):
            return self._failed(reported.error)
        if self.id is None:
            self.id = identifier(read.id) or None
        if not self._model and isinstance(read.model, str):
            self._model = read.model
        if present(read.usage) or present(read.x_groq):
            self.usage = later(self.usage, beside(read_openai(read.usage), read.x_groq, read.service_tier))
        if words := chat_answer.only_words(read.choices):
            return self._write(words)
        if not present(read.usage) and present(said := chat_answer.usage_of(read.choices)):
            self.usage = later(self.usage, beside(read_openai(said), read.x_groq, read.service_tier))
        choice = chat_answer.first(read.choices)
        return b"" if choice is None else self._choice(chat_answer.said(choice, whole=False))

    def end(self) -> bytes:
        """The last events, where only those are missing: some servers end without ``[DONE]``."""
        return self._end() if self._finish else b""

    def cut(self, error: GatewayError) -> bytes:
        """The error as an event, as Anthropic does it, unless the upstream has said one."""
        return b"" if self.error is not None else sse.event(error.anthropic(), b"error")

    def _failed(self, error: GatewayError) -> bytes:
        if not self.content:
            raise Reported(error)
        self.error = error
        self.finished = True
        return sse.event(error.anthropic(), b"error")

    def _choice(self, said: chat_answer.Said) -> bytes:
        given = b""
        for piece in said.pieces:
            if piece.kind == "redacted":
                block = _Block("redacted")
                block.words = piece.words
                given += self._queue(block)
            elif piece.kind == "thinking":
                given += self._think(piece)
            else:
                self._refused = self._refused or piece.kind == "refusal"
                given += self._write(piece.words)
        for call in said.calls:
            given += self._call(call)
        if said.finish and not self._finish:
            self._finish, self._sequence = said.finish, said.sequence
        if said.error is not None:
            given += self._failed(failures.openai_event(said.error))
        return given

    def _last(self) -> _Block | None:
        return self._held[-1] if self._held else self._open

    def _think(self, piece: chat_answer.Piece) -> bytes:
        words = self._halves["thinking"].join(piece.words)
        if not (words or piece.signature):
            return b""
        last = self._last()
        if last is None or last.kind != "thinking" or last.signature:
            block = _Block("thinking")
            given = self._queue(block) + self._add(block, words)
        elif piece.signature:
            block, given = last, b""  # its words were given out before
        else:
            return self._add(last, words)
        if piece.signature:
            block.signature = piece.signature
            if block is self._open:
                given += self._sign(block)
        return given

    def _write(self, words: str) -> bytes:
        words = self._halves["text"].join(words)
        last = self._last()
        if last is not None and last.kind == "text":
            return self._add(last, words)
        words = self._space + words
        if not words or words.isspace():
            self._space = words
            return b""
        self._space = ""
        block = _Block("text")
        return self._queue(block) + self._add(block, words)

    def _call(self, call: chat_answer.Call) -> bytes:
        """What a call says, or a piece of one: servers number them in their own ways."""
        block = self._known(call)
        given = b""
        if block is None:
            block = _Block("tool_use")
            block.id, block.name = call.id, call.name
            self._calls.append(block)
            given = self._queue(block)
        elif call.name and not block.name:
            block.name, block.id = call.name, block.id or call.id
            given = self._advance()
        if call.index is not None:
            self._by_index[call.index] = block
        return given + self._argue(block, call.arguments) if call.arguments else given

    def _known(self, call: chat_answer.Call) -> _Block | None:
        """The call that this is a piece of; None where it begins one.

        Some servers leave out the index, some the id, some say the id in every piece, some another in every piece,
        and some have one index for all calls.
        """
        if call.index is not None:
            block = self._by_index.get(call.index)
        else:
            same = (each for each in self._calls if call.id and each.id == call.id)
            block = next(same, self._calls[-1] if self._calls else None)
        if block is None or not (call.name and block.name):
            return block
        if call.id and call.id != block.id:
            return None
        if not call.id and (call.name != block.name or block.complete()):
            return None
        return block

    def _argue(self, block: _Block, piece: str) -> bytes:
        said = block.said
        if said and said[-1].rstrip().endswith("}") and block.complete():
            if len(said) > 1 or block.told or not piece.lstrip().startswith("{") or said[0].strip() != "{}":
                return b""
            said.clear()
            block.waiting.clear()
        joined = block.halves.join(piece)
        if not joined:
            return b""
        said.append(joined)
        if block is not self._open or (len(said) == 1 and joined.strip() == "{}"):
            block.waiting.append(joined)
            return self._advance()
        block.told = True
        return self._delta({"type": "input_json_delta", "partial_json": joined}) + self._advance()

    def _add(self, block: _Block, words: str) -> bytes:
        if not words:
            return b""
        if block is self._open:
            return self._delta({"type": f"{block.kind}_delta", block.kind: words})
        block.waiting.append(words)
        return b""

    def _queue(self, block: _Block) -> bytes:
        self._held.append(block)
        return self._advance()

    def _advance(self, *, ended: bool = False) -> bytes:
        """Closes and opens as many blocks as can be."""
        given = b""
        while self._held:
            if self._open is not None:
                if not (ended or self._open.complete()):
                    break
                given += self._close()
            block = self._held[0]
            if block.kind == "tool_use" and not block.name and not ended:
                break  # its name has not come yet
            self._held.popleft()
            given += self._start(block)
        return given

    def _start(self, block: _Block) -> bytes:
        if block.kind == "tool_use":
            made = self._ids.call(block.id or _tool_use_id())
            shown: dict[str, Any] = {"type": "tool_use", "id": made, "name": block.name, "input": {}}
        elif block.kind == "redacted":
            shown = {"type": "redacted_thinking", "data": block.words}
        elif block.kind == "thinking":
            shown = {"type": "thinking", "thinking": "", "signature": ""}
        else:
            shown = {"type": "text", "text": ""}
        given = self._begin()
        self._open = block
        self._blocks += 1
        given += _event("content_block_start", index=self._blocks - 1, content_block=shown)
        words = "".join(block.waiting)
        if block.kind == "tool_use":
            if words and words.strip() != "{}":
                block.waiting.clear()
                block.told = True
                given += self._delta({"type": "input_json_delta", "partial_json": words})
            return given
        block.waiting.clear()
        if words:
            given += self._delta({"type": f"{block.kind}_delta", block.kind: words})
        return given + self._sign(block) if block.signature else given

    def _sign(self, block: _Block) -> bytes:
        return self._delta({"type": "signature_delta", "signature": block.signature})

    def _delta(self, delta: dict[str, Any]) -> bytes:
        return _event("content_block_delta", index=self._blocks - 1, delta=delta)

    def _close(self) -> bytes:
        block = self._open
        if block is None:
            return b""
        given = b""
        rest = "".join(block.waiting)
        if block.kind == "tool_use":
            half = block.halves.rest()
            said = "".join(block.said) + half
            found = arguments.read(said)
            self._cut = self._cut or found.cut
            whole = bytes(found.input).decode()
            rest += half + (whole[len(said) :] if found.cut and whole.startswith(said) else "")
        if rest:
            given = self._delta({"type": "input_json_delta", "partial_json": rest})
        self._open = None
        return given + _event("content_block_stop", index=self._blocks - 1)

    def _begin(self) -> bytes:
        if self.content:
            return b""
        self.content = True
        message: dict[str, Any] = {
            "id": self.id or _message_id(),
            "type": "message",
            "role": "assistant",
            "model": self._model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": say_anthropic(self.usage),
        }
        return _event("message_start", message=message)

    def _end(self) -> bytes:
        if self.finished:
            return b""
        given = self._write(self._halves["text"].rest())
        given += self._think(chat_answer.Piece("thinking", self._halves["thinking"].rest()))
        given += self._advance(ended=True)
        if self._space and not self._blocks:
            block = _Block("text")
            block.waiting.append(self._space)
            given += self._start(block)
        given += self._close()
        if not (self._finish or self.content):
            raise ValueError("a stream that ended before it said anything")
        self.finished = True
        reason, sequence = _stop(
            self._finish, self._sequence, called=bool(self._calls), cut=self._cut, refused=self._refused
        )
        delta = {"stop_reason": reason, "stop_sequence": sequence}
        given += self._begin() + _event("message_delta", delta=delta, usage=say_anthropic(self.usage))
        return given + _event("message_stop")


def _stop(finish: str, sequence: str | None, *, called: bool, cut: bool, refused: bool) -> tuple[str, str | None]:
    """The reason to stop, and the sequence that was met."""
    if refused:
        return "refusal", None
    reason = "max_tokens" if cut else STOP_REASONS.get(finish.lower(), "end_turn")
    if reason not in ("end_turn", "tool_use"):
        return reason, None
    if called:
        return "tool_use", None  # some servers say "stop" after a tool they were told to call
    return ("stop_sequence", sequence) if reason == "end_turn" and sequence else ("end_turn", None)


def _event(kind: str, **fields: Any) -> bytes:
    return sse.event(encode({"type": kind, **fields}), kind.encode())


def _message_id() -> str:
    return f"msg_{uuid4().hex}"


def _tool_use_id() -> str:
    return f"toolu_{uuid4().hex}"
