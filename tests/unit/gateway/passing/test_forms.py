"""Forms: the model found and replaced, the rest untouched, and nothing that two parsers read differently."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.multipart import MultipartParseError, parts_of

from tiny_dancer.gateway.errors import GatewayError
from tiny_dancer.gateway.passing.forms import read_form

BOUNDARY = "----WebKitFormBoundary7MA4YWxk"
TYPE = f"multipart/form-data; boundary={BOUNDARY}"
NAMES = st.sampled_from(
    ["file", "image[]", "prompt", "response_format", "a b", "model_", "é".encode().decode("latin-1")]
)
VALUES = st.one_of(
    st.binary(max_size=60),
    st.sampled_from(
        [b"", b"\r\n", b"--", b"\r\n--", b"--" + BOUNDARY.encode()[:-1], b'name="model"', b"model\r\n\r\n"]
    ),
)


def part(name: str, value: bytes, file: str | None = None, more: str = "") -> bytes:
    named = f'Content-Disposition: form-data; name="{name}"' + (f'; filename="{file}"' if file is not None else "")
    return named.encode("latin-1") + more.encode() + b"\r\n\r\n" + value


def form(*parts: bytes, boundary: str = BOUNDARY) -> bytes:
    delimiter = b"--" + boundary.encode()
    return b"".join(delimiter + b"\r\n" + each + b"\r\n" for each in parts) + delimiter + b"--\r\n"


PART = st.builds(
    part,
    NAMES,
    VALUES,
    st.one_of(st.none(), st.sampled_from(["a.mp3", "x; y", ""])),
    st.sampled_from(["", "\r\nContent-Type: a/b"]),
)


@given(
    st.lists(PART, max_size=4), st.lists(PART, max_size=4), st.text(max_size=20), st.text(min_size=1, max_size=20)
)
def test_only_the_model_is_replaced(before: list[bytes], after: list[bytes], asked: str, upstream: str) -> None:
    body = form(*before, part("model", asked.encode()), *after)
    found = read_form(TYPE, body)
    assert found.model == asked
    assert found.naming(upstream) == form(*before, part("model", upstream.encode()), *after)


@given(st.lists(PART, max_size=4), st.text(min_size=1, max_size=20))
def test_where_none_is_named_it_is_put_in(parts: list[bytes], upstream: str) -> None:
    body = form(*parts)
    found = read_form(TYPE, body)
    assert found.model is None
    read = parts_of(TYPE, found.naming(upstream))
    assert read[0] == ("model", upstream.encode(), None)
    assert read[1:] == (parts_of(TYPE, body) if parts else [])


_DELIMITER = b"--" + BOUNDARY.encode()
JUNK = st.sampled_from(
    [
        b"\r\n", b"\n", b"--", BOUNDARY.encode(), b"\r\n" + _DELIMITER, b"\n" + _DELIMITER + b"\n",
        _DELIMITER + b"\r\n" + part("model", b"dear") + b"\r\n",
        b'; name="model"', b"; name*=utf-8''model", b"Content-Disposition: form-data; name=model",
        b'\\"', b'"', b";", b":", b"\r\n ", b"\0", b"\r",
    ]
)  # fmt: skip


@given(
    st.lists(PART, max_size=3),
    st.lists(st.tuples(st.integers(0, 400), st.integers(0, 8), JUNK), min_size=1, max_size=3),
)
def test_another_parser_sees_the_same_model_or_the_form_is_refused(
    parts: list[bytes], changes: list[tuple[int, int, bytes]]
) -> None:
    body = form(*parts[:1], part("model", b"cheap"), *parts[1:])
    for at, cut, junk in changes:
        body = body[:at] + junk + body[at + cut :]
    try:
        found = read_form(TYPE, body)
    except GatewayError as error:
        assert (error.status, error.code) in ((400, "invalid_form"), (400, "invalid_type"), (400, "invalid_value"))
        return
    with suppress(MultipartParseError, KeyError, UnicodeDecodeError):  # the other one refuses
        read = [value for name, value, _ in parts_of(TYPE, found.naming("named")) if name == "model"]
        assert read == [b"named"]


@given(st.binary(max_size=300))
def test_what_is_no_form_is_refused(body: bytes) -> None:
    with pytest.raises(GatewayError) as raised:
        read_form(TYPE, body)
    assert (raised.value.status, raised.value.code) == (400, "invalid_form")


@pytest.mark.parametrize(
    "content_type",
    [
        f'multipart/form-data; boundary="{BOUNDARY}"',
        f"multipart/form-data;boundary={BOUNDARY}",
        f"Multipart/Form-Data; charset=utf-8; Boundary = {BOUNDARY} ; x=y",
    ],
)
def test_how_a_boundary_may_be_written(content_type: str) -> None:
    assert read_form(content_type, form(part("model", b"m"))).model == "m"


@pytest.mark.parametrize(
    "content_type",
    [
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=a; boundary=b",
        "multipart/form-data; boundary=" + "a" * 71,
        'multipart/form-data; boundary="a\\"b"',
    ],
)
def test_how_it_may_not(content_type: str) -> None:
    with pytest.raises(GatewayError, match="boundary"):
        read_form(content_type, form(part("model", b"m"), boundary="a"))


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"content-type: a/b",
        b"content-disposition: attachment; name=model",
        b"content-disposition: form-data",
        b'content-disposition: form-data; name="a"; name="model"',
        b"content-disposition: form-data; name*=utf-8''model",
        b"content-disposition: form-data; name*0=mod; name*1=el",
        b'content-disposition: form-data; name="a"\r\ncontent-disposition: form-data; name="model"',
        b'content-disposition: form-data;\r\n name="model"',
        b'content-disposition: form-data; name="mo\\del"',
        b'content-disposition: form-data; name="a"\ncontent-disposition: form-data; name="model"',
    ],
)
def test_a_part_without_one_readable_name_is_refused(head: bytes) -> None:
    with pytest.raises(GatewayError) as raised:
        read_form(TYPE, form(head + b"\r\n\r\nx"))
    assert raised.value.code == "invalid_form"
