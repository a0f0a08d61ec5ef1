"""Forms with files (``multipart/form-data``, RFC 7578): where the model is named, and the same form with another.

The rest stays as it came, byte for byte. What other parsers could read otherwise is refused, so that no upstream
sees another model than the one that was checked and is paid for: two parts of that name, a delimiter that is none,
a part without a readable name.
"""

from __future__ import annotations

import re
from typing import Final, NoReturn

from msgspec import Struct

from tiny_dancer.gateway.errors import GatewayError

_BOUNDARY: Final = re.compile(r'(?:^|;)[ \t]*boundary[ \t]*=[ \t]*(?:"([^"]*)"|([^;\s]*))', re.IGNORECASE)
# RFC 2046, 5.1.1.
_ALLOWED: Final = re.compile(r"[0-9A-Za-z'()+_,\-./:=? ]{0,69}[0-9A-Za-z'()+_,\-./:=?]")
_DISPOSITION: Final = re.compile(rb"content-disposition[ \t]*:[ \t]*form-data[ \t]*((?:;.*)?)", re.IGNORECASE)
_PARAMETER: Final = re.compile(rb';[ \t]*([\w*\-]+)[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|([^";\s]*))[ \t]*')
_MOST_PARTS: Final = 1000
_LONGEST_HEAD: Final = 16 * 1024
_LONGEST_NAME: Final = 1000


class Form(Struct, frozen=True):
    """A form whose model has been found.

    Attributes:
        body: all of it.
        model: what its part says; None where it has no such part.
        start: of the model's name in the body; where a part could be put, where there is none.
        stop: of the model's name in the body.
        boundary: between the parts.
    """

    body: bytes
    model: str | None
    start: int
    stop: int
    boundary: bytes

    def naming(self, model: str) -> bytes:
        """The same form with another model."""
        name = model.encode()
        if self.model is None:
            name = b'--%b\r\ncontent-disposition: form-data; name="model"\r\n\r\n%b\r\n' % (self.boundary, name)
        return b"".join((memoryview(self.body)[: self.start], name, memoryview(self.body)[self.stop :]))


def read_form(content_type: str, body: bytes) -> Form:
    """Finds the model.

    Args:
        content_type: ``multipart/form-data`` with its boundary.
        body: the whole form.

    Raises:
        GatewayError: 400, it is no such form, or one that can be read in two ways.
    """
    delimiter = b"--" + _boundary(content_type)
    first = body.find(delimiter)
    if first < 0 or (first > 0 and body[first - 2 : first] != b"\r\n"):
        _refuse("it does not begin with its boundary")
    model: str | None = None
    found = (first, first)
    at = first + len(delimiter)
    parts = 0
    while not body.startswith(b"--", at):
        if (parts := parts + 1) > _MOST_PARTS:
            _refuse(f"it has more than {_MOST_PARTS} parts")
        if not body.startswith(b"\r\n", at):
            _refuse("a delimiter does not end its line")
        # A part without headers has no name, so the blank line is never the next one.
        end_of_head = body.find(b"\r\n\r\n", at, at + _LONGEST_HEAD)
        if end_of_head < 0:
            _refuse("a part's headers do not end")
        start = end_of_head + 4
        stop = body.find(delimiter, start)
        if stop - 2 < start or body[stop - 2 : stop] != b"\r\n":
            _refuse("a part does not end with its boundary")
        if _name(body[at + 2 : end_of_head]) == b"model":
            if model is not None:
                _refuse("it names the model twice")
            found = start, stop - 2
            model = _text(body[start : stop - 2])
        at = stop + len(delimiter)
    if body.find(delimiter, at) >= 0:
        _refuse("something stands behind its end")
    return Form(body, model, *found, delimiter[2:])


def _boundary(content_type: str) -> bytes:
    found = _BOUNDARY.findall(content_type.partition(";")[2])
    text = "" if len(found) != 1 else found[0][0] or found[0][1]
    if not _ALLOWED.fullmatch(text):
        _refuse("its content-type has no boundary, or not one")
    return text.encode()


def _name(head: bytes) -> bytes:
    """Of a part, by its headers."""
    lines = [line for line in head.split(b"\r\n") if line.lower().startswith(b"content-disposition")]
    match = _DISPOSITION.fullmatch(lines[0]) if len(lines) == 1 else None
    if match is None or b"\n" in head.replace(b"\r\n", b"") or b"\r\n " in head or b"\r\n\t" in head:
        _refuse("a part has no content-disposition of form-data, or not one")
    names: list[bytes] = []
    at, said = 0, match[1]
    while at < len(said):
        parameter = _PARAMETER.match(said, at)
        if parameter is None:
            _refuse("a part's content-disposition cannot be read")
        key = parameter[1].lower()
        if key.startswith(b"name"):
            names.append(parameter[2] if parameter[2] is not None else parameter[3])
            if key != b"name" or b"\\" in names[-1]:
                _refuse("a part's name is encoded")
        at = parameter.end()
    if len(names) != 1:
        _refuse("a part has no name, or not one")
    return names[0]


def _text(value: bytes) -> str:
    if len(value) > _LONGEST_NAME:
        raise GatewayError(400, "A model's name is too long.", param="model", code="invalid_value")
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise GatewayError(
            400, "Invalid 'model': expected a name in UTF-8.", param="model", code="invalid_type"
        ) from error


def _refuse(reason: str) -> NoReturn:
    raise GatewayError(400, f"The body is no multipart/form-data that can be read: {reason}.", code="invalid_form")
