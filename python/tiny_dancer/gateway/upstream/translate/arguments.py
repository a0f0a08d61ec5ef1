"""Arguments of tool calls: a JSON object that OpenAI's protocol writes as a text, and Anthropic's as itself.

Models write them, so that they may be anything:

- cut off, by the limit of tokens or by the server: they are read as far as they go. A value that was cut is kept
  where it is a text; half a number is not. Whoever gets them is told that the answer was cut (``max_tokens``),
  whatever the upstream says: a tool must not run with half of what it was to get;
- with line ends inside of texts, with something behind the object, as a text within the text: read;
- something else: kept as a text, as :data:`UNREADABLE` of the object, so that a tool refuses it and the model is
  told what it wrote.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

import msgspec
from msgspec import Raw, Struct

from tiny_dancer.gateway.upstream.translate.fields import encode

UNREADABLE: Final = "unreadable_arguments"

_DEEPEST: Final = 500  # brackets within brackets that are closed for the model
_any: Final = msgspec.json.Decoder()
_TOKEN: Final = re.compile(
    r"""
    [ \t\r\n]++ | "(?:[^"\\]++|\\.)*+" | (?P<cut>"(?:[^"\\]++|\\.)*+\\?+\Z)
    | [{}\[\],:] | [^ \t\r\n"{}\[\],:]++
    """,
    re.VERBOSE | re.DOTALL,
)
# As far as escapes are whole; and whether the last one is the first half of a pair.
_WHOLE_ESCAPES: Final = re.compile(r"(?:[^\\]|\\(?:u[0-9a-fA-F]{4}|[^u]))*+", re.DOTALL)
_HALF: Final = re.compile(r"(?<!\\)((?:\\\\)*)\\u[dD][89abAB][0-9a-fA-F]{2}\Z")


class Arguments(Struct, frozen=True):
    """What a call's arguments say.

    Attributes:
        input: the object.
        cut: whether it ends before the arguments did.
    """

    input: Raw
    cut: bool = False


_NONE: Final = Arguments(Raw(b"{}"))


def read(text: str) -> Arguments:
    """The object that a call's arguments are; an empty one where there are none."""
    text = text.strip()
    if not text:
        return _NONE
    try:
        value: Any = _any.decode(text)
    except (ValueError, RecursionError):
        return _repaired(text)
    if isinstance(value, dict):
        return Arguments(Raw(text.encode()))
    if isinstance(value, str):
        return read(value) if value.lstrip().startswith("{") else _unreadable(text)
    return _NONE if value is None else _unreadable(text)


def are_whole(text: str) -> bool:
    """Whether nothing can follow: it is a whole JSON object."""
    if not text.rstrip().endswith("}"):
        return False
    try:
        return isinstance(_any.decode(text), dict)
    except (ValueError, RecursionError):
        return False


def _repaired(text: str) -> Arguments:
    try:
        value = json.loads(text, strict=False)
    except (ValueError, RecursionError):
        return _completed(text) or _unreadable(text)
    return Arguments(Raw(encode(value))) if isinstance(value, dict) else _unreadable(text)


def _unreadable(text: str) -> Arguments:
    return Arguments(Raw(encode({UNREADABLE: text})))


def _completed(text: str) -> Arguments | None:
    """The object as far as it came, with what was left open closed; or what comes before something that cannot
    follow an object."""
    if not text.startswith("{"):
        return None
    kept, ends = 0, ""  # the longest part after which everything can be closed, and how
    closers: list[str] = []
    is_value = True
    for token in _TOKEN.finditer(text):
        word = token.group()
        if word == ",":
            is_value = closers[-1] == "]"
        elif word == ":":
            is_value = True
        elif token.lastgroup == "cut":
            if is_value:
                escaped = _WHOLE_ESCAPES.match(word)
                kept_word = "" if escaped is None else _HALF.sub(r"\1", escaped.group())
                whole = text[: token.start()] + kept_word
                return _checked(whole + '"' + "".join(reversed(closers)), cut=True)
        elif word in "{[":
            closers.append("}" if word == "{" else "]")
            if len(closers) > _DEEPEST:
                return None
            is_value = word == "["
            kept, ends = token.end(), "".join(reversed(closers))
        elif word in "}]":
            if closers.pop() != word:
                return None
            kept, ends = token.end(), "".join(reversed(closers))
            if not closers:
                rest = text[kept:].lstrip()
                if rest.startswith("{") and not text[1 : kept - 1].strip():
                    return read(rest)  # some servers begin with an empty object
                return _checked(text[:kept], cut=False)
        elif is_value and not word.isspace() and (token.end() < len(text) or word.startswith('"')):
            kept, ends = token.end(), "".join(reversed(closers))
    return _checked(text[:kept] + ends, cut=True)


def _checked(text: str, *, cut: bool) -> Arguments | None:
    try:
        value = json.loads(text, strict=False)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict):
        return None
    try:
        _any.decode(text)
    except (ValueError, RecursionError):
        return Arguments(Raw(encode(value)), cut)
    return Arguments(Raw(text.encode()), cut)
