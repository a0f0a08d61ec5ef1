"""Reading a client's fields and an upstream's answers, and saying which part of a request is at fault."""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec

from tiny_dancer.gateway.errors import GatewayError

if TYPE_CHECKING:
    from collections.abc import Mapping

T = TypeVar("T")

ABSENT: Final = msgspec.Raw(b"")
"""What an optional field of unread JSON is when it is left out."""

# What servers put behind an answer without meaning it: the end of a stream, zero bytes.
_BEHIND: Final = re.compile(r"[\s\0]*+(?:data:)?\s*+(?:\[DONE\])?[\s\0]*+\Z")

encode: Final = msgspec.json.Encoder().encode

_any: Final = msgspec.json.Decoder()
_string: Final = msgspec.json.Decoder(str)
_boolean: Final = msgspec.json.Decoder(bool)


def refusal(param: str, message: str) -> GatewayError:
    """400 for a field that the upstream's protocol has no words for, or that says nothing it could."""
    return GatewayError(400, f"{param}: {message}", param=param, code="unsupported_value")


def missing(param: str) -> GatewayError:
    """400 for a field that has to be there."""
    return GatewayError(400, f"{param} is missing", param=param, code="missing_required_parameter")


def read(raw: msgspec.Raw | str, decoder: msgspec.json.Decoder[T], param: str) -> T:
    """A field's value.

    Raises:
        GatewayError: 400; it is not JSON of the decoder's type. ``param`` says where: ``messages[2].content``.
    """
    try:
        return decoder.decode(raw)
    except msgspec.ValidationError as error:
        message, _, place = str(error).partition(" - at `$")
        param += place.removesuffix("`")
        raise GatewayError(400, f"{param}: {message}", param=param, code="invalid_type") from error
    except (ValueError, RecursionError) as error:
        message = f"{param}: JSON that cannot be read"
        raise GatewayError(400, message, param=param, code="invalid_json") from error


def parse(body: bytes, decoder: msgspec.json.Decoder[T]) -> T:
    """What an upstream said, also where its JSON is not quite JSON (see :func:`repaired`).

    A character that is half of a pair is read as U+FFFD.

    Raises:
        ValueError: it is not JSON of the decoder's type.
    """
    try:
        return decoder.decode(body)
    except RecursionError as error:
        raise ValueError("an answer nested too deeply") from error
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        return decoder.decode(_whole(json.dumps(lenient(body), ensure_ascii=False, allow_nan=False)).encode())


def identifier(said: Any) -> str:
    """An id, which may be a number; empty where it is none."""
    return str(said) if isinstance(said, str | int) and not isinstance(said, bool) else ""


def index_of(said: Mapping[str, Any], usual: int | None = None) -> int | str | None:
    """``index`` of a choice, a block or a call, where it is anything that tells it from others."""
    index = said.get("index", usual)
    return index if isinstance(index, int | str) else usual


def repaired(body: bytes) -> bytes:
    """The same JSON as every client can read it: without a byte order mark, NaN and infinities as null, control
    characters escaped. Halves of a pair stay what they are, escaped: a client may have the other half.

    Raises:
        ValueError: it is no JSON at all.
    """
    return json.dumps(lenient(body), separators=(",", ":"), allow_nan=False).encode()


def lenient(body: bytes) -> Any:
    """What JSON says that is not quite JSON. Its texts may hold halves of pairs: see :class:`Halves`.

    Raises:
        ValueError: it is no JSON at all.
    """
    try:
        text = _BEHIND.sub("", body.decode("utf-8-sig", "replace"))
        return json.loads(text, strict=False, parse_constant=lambda _: None, parse_float=_finite)
    except RecursionError as error:
        raise ValueError("an answer nested too deeply") from error


class Halves:
    """Joins the halves of a character that came in two pieces: a stream may be cut in the middle of an emoji."""

    __slots__ = ("_half",)

    def __init__(self) -> None:
        self._half = ""

    def join(self, text: str) -> str:
        """The text, after the half that was waiting, without a half at its end, which waits for the next piece.
        Another half without its other is U+FFFD."""
        if self._half:
            text, self._half = self._half + text, ""
        if not text or text.isascii():
            return text
        if "\ud800" <= text[-1] <= "\udbff":
            text, self._half = text[:-1], text[-1]
        return _whole(text)

    def rest(self) -> str:
        """What is left of a half whose other never came."""
        left, self._half = self._half, ""
        return _whole(left)


def _whole(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _finite(text: str) -> float | None:
    number = float(text)
    return number if math.isfinite(number) else None


def present(raw: msgspec.Raw) -> bool:
    """Whether a field says something: in both protocols ``null`` means left out."""
    return bytes(raw) not in (b"", b"null")


def given(fields: Mapping[str, msgspec.Raw]) -> dict[str, msgspec.Raw]:
    """The fields that say something."""
    return {name: raw for name, raw in fields.items() if present(raw)}


def string(raw: msgspec.Raw, param: str) -> str:
    """A text."""
    return read(raw, _string, param)


def boolean(raw: msgspec.Raw, param: str) -> bool:
    """True or false."""
    return read(raw, _boolean, param)


def only(raw: msgspec.Raw, param: str, accepted: tuple[object, ...], upstream: str) -> None:
    """Lets a field pass that says what is the case anyway.

    Raises:
        GatewayError: 400; it says something else, which the upstream has no word for.
    """
    value: Any = read(raw, _any, param)
    if not any(value == usual and isinstance(value, bool) == isinstance(usual, bool) for usual in accepted):
        raise refusal(param, f"{upstream} has no such option; leave it out or choose a model of another upstream")


def an_object(text: str, param: str) -> msgspec.Raw:
    """A JSON object written as a text (a tool call's arguments); an empty text is an empty object.

    Raises:
        GatewayError: 400; it is something else.
    """
    if not text or text.isspace():
        return msgspec.Raw(b"{}")
    if not isinstance(read(text, _any, param), dict):
        raise refusal(param, "the arguments of a tool call are a JSON object")
    return msgspec.Raw(text.encode())
