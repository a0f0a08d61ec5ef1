"""A chat completion, or a chunk of one, as far as it is translated. Read tolerantly: what a part says is taken
where it can be, and nothing odd about one part costs another.

Servers differ in what they call what a model thought (``reasoning_content``, ``reasoning``, ``thinking``,
``reasoning_details``, Mistral's parts of type ``thinking``, LiteLLM's ``thinking_blocks``), in whether content
is a text or a list of parts, and in whether arguments are a text or an object. Parts that are neither text nor
thoughts (images, references) are passed over: Anthropic's answers hold none.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec
from msgspec import Raw, Struct

from tiny_dancer.gateway.upstream.translate.fields import ABSENT, identifier, lenient

if TYPE_CHECKING:
    from collections.abc import Iterator

_THOUGHTS: Final = ("reasoning_content", "reasoning", "thinking", "reasoning_details")
_WORDS: Final = ("text", "thinking", "reasoning", "content", "summary")
"""Where an object that stands for a text has it."""


class Frame(Struct):
    """A completion or a chunk of one.

    Attributes:
        choices: what it says; see :func:`first`.
    """

    id: Any = None
    model: Any = None
    choices: Any = None
    usage: Raw = ABSENT
    x_groq: Raw = ABSENT
    service_tier: Raw = ABSENT
    error: Raw = ABSENT


class Piece(Struct):
    """A part of an answer.

    Attributes:
        kind: of a refusal, the words are for the user too; ``redacted`` is thinking in cipher.
        words: may end in half of a character that was cut.
        signature: of thinking that is whole: Anthropic's.
    """

    kind: Literal["text", "refusal", "thinking", "redacted"]
    words: str
    signature: str = ""


class Call(Struct):
    """A tool call, or what a chunk adds to one; empty texts where it does not say."""

    index: int | None = None
    id: str = ""
    name: str = ""
    arguments: str = ""


class Said(Struct):
    """What a choice says.

    Attributes:
        finish: why it ends, in the server's word; empty where it does not end.
        sequence: that ended it, where the server says so (vLLM, SGLang).
        error: in place of the rest; None where there is none.
    """

    pieces: list[Piece]
    calls: list[Call]
    finish: str = ""
    sequence: str | None = None
    error: bytes | None = None


decoder: Final = msgspec.json.Decoder(Frame)


def frame(data: bytes) -> Frame | None:
    """What an event or a body says; None where it is JSON of another shape.

    Raises:
        ValueError: it is no JSON.
    """
    try:
        return decoder.decode(data)
    except msgspec.ValidationError:
        return None
    except (msgspec.DecodeError, RecursionError):
        said = lenient(data)
    if not isinstance(said, dict):
        return None
    return Frame(
        said.get("id"), said.get("model"), said.get("choices"), _raw(said.get("usage")), _raw(said.get("error"))
    )


def _raw(said: Any) -> Raw:
    return ABSENT if said is None else Raw(json.dumps(said).encode())


def first(choices: Any) -> dict[str, Any] | None:
    """The first choice; None where there is none. Clients of Anthropic's protocol get one answer."""
    if isinstance(choices, list):
        for choice in choices:
            if isinstance(choice, dict) and choice.get("index") in (0, None):
                return choice
    return None


def usage_of(choices: Any) -> Raw:
    """What Moonshot says a stream cost within the choice that ends; absent where none does."""
    choice = first(choices)
    said = None if choice is None else choice.get("usage")
    return _raw(said) if isinstance(said, dict) else ABSENT


def only_words(choices: Any) -> str:
    """The text that is all a chunk says, as most chunks do; empty where there is none, or more than it."""
    if type(choices) is not list or len(choices) != 1 or type(choices[0]) is not dict:
        return ""
    (choice,) = choices
    delta = choice.get("delta")
    if type(delta) is not dict or choice.get("finish_reason") or choice.get("index") or "error" in choice:
        return ""
    for name, value in delta.items():
        if value and name not in ("content", "role"):
            return ""
    words = delta.get("content")
    return words if type(words) is str else ""


def said(choice: dict[str, Any], *, whole: bool) -> Said:
    """What a choice says.

    Args:
        choice: of a completion or a chunk.
        whole: whether this is all there is of it. In streams, thinking that was signed comes after its words, and
            once more with them.
    """
    message = choice.get("message" if whole else "delta")
    if not isinstance(message, dict):
        message = choice.get("delta" if whole else "message")
    if not isinstance(message, dict):
        message = {"content": choice.get("text")}  # of a completion without chat
    pieces = [*_thought(message, whole=whole), *_content(message.get("content"))]
    if refused := message.get("refusal"):
        pieces.append(Piece("refusal", _flat(refused)))
    finish = choice.get("finish_reason")
    sequence = choice.get("stop_reason") or choice.get("matched_stop")
    return Said(
        [piece for piece in pieces if piece.words or piece.signature],
        [_call(each) for each in _calls(message) if isinstance(each, dict)],
        finish if isinstance(finish, str) else "",
        sequence if isinstance(sequence, str) else None,
        _error(choice, finish),
    )


def _error(choice: dict[str, Any], finish: Any) -> bytes | None:
    if error := choice.get("error"):
        return json.dumps({"error": error}).encode()
    if finish == "error":
        return b'{"error":{"message":"the model\'s server ended the answer by an error"}}'
    return None


def _thought(message: dict[str, Any], *, whole: bool) -> Iterator[Piece]:
    blocks = message.get("thinking_blocks")
    blocks = [block for block in blocks if isinstance(block, dict)] if isinstance(blocks, list) else []
    signed = [
        Piece("redacted", _flat(block.get("data")))
        if block.get("type") == "redacted_thinking"
        else Piece("thinking", _flat(block.get("thinking")), _flat(block.get("signature")))
        for block in blocks
        if block.get("signature") or block.get("data")
    ]
    if not (whole and signed):
        words = next((words for name in _THOUGHTS if (words := _flat(message.get(name)))), "")
        if not signed:
            yield Piece("thinking", words or _flat(blocks))
        elif words != "".join(piece.words for piece in signed if piece.kind == "thinking"):
            yield Piece("thinking", words)
    yield from signed


def _content(content: Any) -> Iterator[Piece]:
    if isinstance(content, str):
        yield Piece("text", content)
    elif isinstance(content, list):
        for part in content:
            yield _part(part)
    elif content is not None:
        yield _part(content)


def _part(part: Any) -> Piece:
    if isinstance(part, str):
        return Piece("text", part)
    if not isinstance(part, dict) or not ("type" in part or part.keys() <= set(_WORDS)):
        # A server that gives out what the model wrote as JSON already read.
        return Piece("text", "" if part is None else json.dumps(part, ensure_ascii=False))
    kind = part.get("type")
    if kind in ("thinking", "reasoning"):
        return Piece("thinking", _flat(part))
    if kind == "refusal":
        return Piece("refusal", _flat(part.get("refusal")))
    return Piece("text", _flat(part.get("text") or part.get("content")))


def _flat(said: Any) -> str:
    """The text that something is, however it is wrapped."""
    if isinstance(said, str):
        return said
    if isinstance(said, list):
        return "".join(map(_flat, said))
    if isinstance(said, dict):
        return next((words for name in _WORDS if (words := _flat(said.get(name)))), "")
    return ""


def _calls(message: dict[str, Any]) -> list[Any]:
    calls = message.get("tool_calls") or message.get("function_call") or []
    return calls if isinstance(calls, list) else [calls]


def _call(each: dict[str, Any]) -> Call:
    function = each.get("function")
    if not isinstance(function, dict):
        function = each
    index, name, arguments = each.get("index"), function.get("name"), function.get("arguments")
    if not isinstance(arguments, str):
        # An object without fields may be the place of a text that is still to come.
        arguments = json.dumps(arguments, ensure_ascii=False) if arguments else ""
    return Call(
        index if type(index) is int else None,
        identifier(each.get("id")),
        name if isinstance(name, str) else "",
        arguments,
    )
