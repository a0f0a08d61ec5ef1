"""What is read of a request, and that nothing a client sends is more than a 400."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiny_dancer.gateway.choosing.incoming import (
    MOST_FIELDS,
    MOST_MESSAGES,
    MOST_VALUES,
    NO_OPTIONS,
    OPTION_HEADERS,
    Options,
    parse,
    parse_fields,
)
from tiny_dancer.gateway.errors import GatewayError
from tiny_dancer.gateway.upstream.dialect import Endpoint

if TYPE_CHECKING:
    from collections.abc import Mapping

ENDPOINTS = get_args(Endpoint)
MESSAGES = [{"role": "user", "content": "Hi"}]
TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
NUMBERS = st.one_of(st.integers(), st.integers(10**30, 10**40), st.floats(allow_nan=False, allow_infinity=False))
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, TEXT),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXT, inner, max_size=4)),
    max_leaves=12,
)
KNOWN = st.sampled_from(
    ["model", "models", "messages", "input", "prompt", "stream", "td", "tools", "system", "instructions", "role"]
)
WRITTEN = st.one_of(
    VALUES,
    st.lists(st.fixed_dictionaries({"role": TEXT, "content": VALUES}), max_size=3),
    st.sampled_from(["auto", [{"role": "user", "content": "Hi"}], {"max_cost": 1}, True, ["a", "b"]]),
)


def body(**fields: Any) -> bytes:
    return json.dumps({"model": "auto", "messages": MESSAGES, **fields}).encode()


def refused(
    content: bytes, headers: Mapping[bytes, bytes] | None = None, endpoint: Any = "chat.completions"
) -> Any:
    with pytest.raises(GatewayError) as caught:
        parse(endpoint, content, headers or {}).words()
    error = caught.value
    assert error.status == 400
    assert error.type == "invalid_request_error"
    assert len(error.message) < 1000
    return error


def read(content: bytes, endpoint: Any, headers: Mapping[bytes, bytes]) -> None:
    try:
        incoming = parse(endpoint, content, headers)
        words = incoming.words()
        read = [words, incoming.tools(), incoming.system(), incoming.response_format()]
    except GatewayError as error:
        assert error.status == 400
        assert error.code
        json.loads(error.openai())
    else:
        for each in read:
            assert each is None or isinstance(each, str) or json.loads(each) is not Ellipsis


HEADERS = st.dictionaries(st.sampled_from(sorted(OPTION_HEADERS)), st.binary(max_size=20), max_size=4)


@given(st.dictionaries(st.one_of(KNOWN, TEXT), WRITTEN, max_size=8), st.sampled_from(ENDPOINTS), HEADERS)
def test_any_object_is_read_or_refused(fields: dict[str, Any], endpoint: str, headers: dict[bytes, bytes]) -> None:
    read(json.dumps(fields).encode(), endpoint, headers)


@given(st.binary(max_size=200), st.sampled_from(ENDPOINTS))
def test_any_bytes_are_read_or_refused(content: bytes, endpoint: str) -> None:
    read(content, endpoint, {})


@given(st.data())
def test_a_damaged_body_is_read_or_refused(data: st.DataObject) -> None:
    content = bytearray(body(td={"max_cost": 0.5, "exclude": ["é"]}, stream=True, models=["a", "b"]))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    read(bytes(content), "chat.completions", {})


@given(st.dictionaries(TEXT, VALUES, max_size=6), st.booleans(), st.integers(0, 3))
def test_each_field_stays_as_the_client_wrote_it(fields: dict[str, Any], ascii_only: bool, indent: int) -> None:
    for name in ("model", "models", "td", "stream", "messages"):
        fields.pop(name, None)
    written = {
        name: json.dumps(value, ensure_ascii=ascii_only, indent=indent or None) for name, value in fields.items()
    }
    parts = [f"{json.dumps(name)} : {value}" for name, value in written.items()]
    content = "{" + ",\n".join([*parts, '"model": "auto"', '"messages" :[{"content":"Hi","role":"user"}]']) + "}"
    incoming = parse("chat.completions", content.encode(), {})
    found = {name: bytes(memoryview(raw)) for name, raw in incoming.fields.items()}
    assert found.pop("model") == b'"auto"'
    assert found.pop("messages") == b'[{"content":"Hi","role":"user"}]'
    assert found == {name: value.encode() for name, value in written.items()}


@given(
    st.text("0123456789", min_size=1, max_size=300),
    st.sampled_from(["", "-"]),
    st.sampled_from(["", ".10", "E+7"]),
)
def test_numbers_keep_their_digits(digits: str, sign: str, rest: str) -> None:
    number = sign + (digits.lstrip("0") or "0") + rest
    fields = parse_fields(b'{"seed":' + number.encode() + b"}")
    assert bytes(memoryview(fields["seed"])) == number.encode()


def test_a_field_given_twice_counts_once_as_its_last_value() -> None:
    content = b'{"model":"small","model":"large","messages":[],"messages":[{"role":"user","content":"Hi"}]}'
    incoming = parse("chat.completions", content, {})
    assert incoming.asked == "large"
    assert bytes(memoryview(incoming.fields["model"])) == b'"large"'
    words = incoming.words()
    assert isinstance(words, bytes)
    assert json.loads(words) == MESSAGES
    assert len(incoming.fields) == 2


@pytest.mark.parametrize("depth", [2000, 150_000])
@pytest.mark.parametrize("field", ["messages", "metadata", "td", "model"])
def test_deep_nesting_is_refused(depth: int, field: str) -> None:
    nested = b"[" * depth + b"]" * depth
    fields = {"model": b'"auto"', "messages": b'[{"role":"user","content":"Hi"}]', field: nested}
    content = b"{" + b",".join(b'"%s":%s' % (name.encode(), value) for name, value in fields.items()) + b"}"
    assert refused(content).code == "invalid_json"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"null",
        b"[]",
        b'"auto"',
        b"{",
        b"{}x",
        b'{"a":NaN}',
        b'{"a":01}',
        b'{"a":"\x01"}',
        b'{"a":"\xff"}',
        b'{"a":"\xed\xa0\x80"}',
        b"\xff\xfe{\x00}\x00",
    ],
)
def test_what_is_no_json_object_is_refused(content: bytes) -> None:
    assert refused(content).code == "invalid_json"


@pytest.mark.parametrize(
    ("endpoint", "fields", "param"),
    [
        ("chat.completions", {"model": None}, "model"),
        ("chat.completions", {"model": 5}, "model"),
        ("chat.completions", {"model": "x" * 201}, "model"),
        ("chat.completions", {"models": "small"}, "models"),
        ("chat.completions", {"models": [1]}, "models"),
        ("chat.completions", {"models": ["small"] * 101}, "models"),
        ("chat.completions", {"models": ["x" * 201]}, "model"),
        ("chat.completions", {"messages": None}, "messages"),
        ("chat.completions", {"messages": "Hi"}, "messages"),
        ("chat.completions", {"messages": {}}, "messages"),
        ("chat.completions", {"messages": []}, "messages"),
        ("chat.completions", {"stream": "yes"}, "stream"),
        ("chat.completions", {"stream": 1}, "stream"),
        ("chat.completions", {"td": 5}, "td"),
        ("chat.completions", {"td": {"maxcost": 5}}, "td"),
        ("chat.completions", {"td": {"k" * 5000: 5}}, "td"),
        ("chat.completions", {"td": {"role": "d" * 5000}}, "td"),
        ("chat.completions", {"td": {"policy": "fast"}}, "td"),
        ("chat.completions", {"td": {"max_cost": "1"}}, "td"),
        ("chat.completions", {"td": {"max_cost": -1}}, "td.max_cost"),
        ("chat.completions", {"td": {"min_quality": 1.01}}, "td.min_quality"),
        ("chat.completions", {"td": {"threshold": -1.01}}, "td.threshold"),
        ("chat.completions", {"td": {"exclude": "small"}}, "td"),
        ("chat.completions", {"td": {"exclude": ["small"] * 101}}, "td"),
        ("messages", {"messages": []}, "messages"),
        ("responses", {}, "input"),
        ("completions", {}, "prompt"),
        ("completions", {"prompt": {}}, "prompt"),
        ("embeddings", {"input": None}, "input"),
    ],
)
def test_a_wrong_field_is_named(endpoint: str, fields: dict[str, Any], param: str) -> None:
    assert refused(body(**fields), endpoint=endpoint).param == param


def test_without_a_model_the_first_of_the_list_is_it() -> None:
    content = json.dumps({"models": ["größe", "small", "large"], "messages": MESSAGES}).encode()
    incoming = parse("chat.completions", content, {})
    assert (incoming.asked, incoming.fallbacks) == ("größe", ("small", "large"))
    assert msgspec.json.decode(incoming.fields["model"]) == "größe"
    assert "models" not in incoming.fields
    both = parse("chat.completions", body(models=["small"]), {})
    assert (both.asked, both.fallbacks) == ("auto", ("small",))
    assert refused(json.dumps({"models": [], "messages": MESSAGES}).encode()).param == "model"


OPTIONS = {
    "max_cost": 0.5,
    "min_quality": 0.25,
    "max_latency": 2.0,
    "pin": "small",
    "exclude": ["large", "other"],
    "session": "mine",
    "role": "edit",
    "policy": "cost",
    "threshold": -0.5,
    "fallback_on": ["content_filter"],
    "tool_selection": 5,
    "capabilities": ["summarise"],
    "agent_tags": ["fast", "eu"],
    "region": "eu",
}


def as_headers(options: dict[str, Any]) -> dict[bytes, bytes]:
    return {
        name: (",".join(value) if isinstance(value, list) else str(value)).encode()
        for name, option in OPTION_HEADERS.items()
        if (value := options.get(option)) is not None
    }


def test_the_body_and_the_headers_can_say_the_same() -> None:
    assert set(OPTION_HEADERS.values()) == set(OPTIONS) == {each.name for each in msgspec.structs.fields(Options)}
    by_body = parse("chat.completions", body(td=OPTIONS), {})
    by_header = parse("chat.completions", body(), as_headers(OPTIONS))
    assert by_body.options == by_header.options == msgspec.convert(OPTIONS, Options)
    assert "td" not in by_body.fields
    assert parse("chat.completions", body(td=None), {}).options == NO_OPTIONS


@given(st.sets(st.sampled_from(sorted(OPTIONS))), st.sets(st.sampled_from(sorted(OPTIONS))))
def test_the_body_wins_over_a_header(in_body: set[str], in_headers: set[str]) -> None:
    other = {**OPTIONS, "max_cost": 9.0, "min_quality": 0.75, "max_latency": 9.0, "pin": "b", "exclude": ["c"]}
    other |= {"session": "d", "role": "apply", "policy": "quality", "threshold": 0.75, "fallback_on": []}
    other |= {"tool_selection": "off"}
    content = body(td={name: OPTIONS[name] for name in in_body})
    found = parse("chat.completions", content, as_headers({name: other[name] for name in in_headers})).options
    wanted = {name: other[name] for name in in_headers} | {name: OPTIONS[name] for name in in_body}
    assert found == msgspec.convert(wanted, Options)


@pytest.mark.parametrize(
    ("header", "value"),
    [
        (b"x-td-max-cost", b"nan"),
        (b"x-td-max-cost", b"-inf"),
        (b"x-td-max-cost", b"-0.1"),
        (b"x-td-max-cost", b"1,5"),
        (b"x-td-max-cost", b""),
        (b"x-td-min-quality", b"inf"),
        (b"x-td-min-quality", b"nan"),
        (b"x-td-max-latency", b"nan"),
        (b"x-td-threshold", b"nan"),
        (b"x-td-threshold", b"1e9"),
        (b"x-td-threshold", b"\xb2"),
        (b"x-td-role", b"dancer"),
        (b"x-td-role", b""),
        (b"x-td-policy", b"Cost"),
        (b"x-td-exclude", b"a," * 200),
        (b"x-td-tool-selection", b"on"),
        (b"x-td-tool-selection", b"0"),
        (b"x-td-tool-selection", b"2.5"),
        (b"x-td-tool-selection", b"9" * 5000),
    ],
)
def test_a_wrong_header_is_named(header: bytes, value: bytes) -> None:
    error = refused(body(), {header: value})
    option = OPTION_HEADERS[header]
    assert header.decode() in error.message or option in error.message
    assert error.param in (header.decode(), f"td.{option}", "td")


def test_names_in_a_header_are_split_at_commas() -> None:
    assert parse("chat.completions", body(), {b"x-td-exclude": b" a , ,b"}).options.exclude == ("a", "b")
    assert parse("chat.completions", body(), {b"x-td-exclude": b" "}).options.exclude == ()


def test_what_is_routed_on_are_the_clients_own_bytes() -> None:
    def read(endpoint: Any, **fields: Any) -> tuple[Any, ...]:
        incoming = parse(endpoint, json.dumps({"model": "auto", **fields}).encode(), {})
        return incoming.words(), incoming.system(), incoming.tools(), incoming.response_format()

    user = [{"role": "user", "content": "Hi"}]
    said = json.dumps(user).encode()
    schema = {"type": "json_schema"}
    assert read("responses", input="Hi", text={"format": schema}) == (
        b'"Hi"',
        None,
        None,
        json.dumps({"format": schema}).encode(),
    )
    assert read("responses", input=user, instructions="Be kind.", tools=[]) == (said, b'"Be kind."', b"[]", None)
    assert read("messages", messages=user, system="Be kind.") == (said, b'"Be kind."', None, None)
    assert read("chat.completions", messages=user, response_format=schema)[3] == json.dumps(schema).encode()
    # A prompt is a text, or texts and tokens, which nobody can read.
    assert read("completions", prompt=["Hi", "there", 7])[0] == "Hi\nthere"
    assert read("completions", prompt=[1, 2])[0] == ""


@pytest.mark.parametrize(
    ("endpoint", "named", "shown"),
    [
        ("chat.completions", "messages[1].role", "messages[1].role"),
        ("responses", "messages[1].content.text", "input[1].content.text"),
        ("responses", "system", "instructions"),
        ("messages", "system", "system"),
        ("responses", "tools", "tools"),
    ],
)
def test_a_field_is_named_by_the_clients_word(endpoint: Any, named: str, shown: str) -> None:
    content = json.dumps({"model": "auto", "messages": MESSAGES, "input": "Hi"}).encode()
    assert parse(endpoint, content, {}).field(named) == shown


def test_streams_are_asked_for_by_true_alone() -> None:
    assert parse("chat.completions", body(stream=True), {}).stream
    for other in (False, None):
        assert not parse("chat.completions", body(stream=other), {}).stream


def listed(count: int, item: bytes) -> bytes:
    return b"[" + b",".join([item] * count) + b"]"


ONE = b'{"role":"user","content":"a"}'


@pytest.mark.parametrize(
    ("endpoint", "field", "value", "code"),
    [
        ("chat.completions", "messages", listed(900_000, ONE), "too_many_values"),
        ("chat.completions", "messages", listed(MOST_MESSAGES + 1, ONE), "too_many_messages"),
        ("messages", "messages", listed(MOST_MESSAGES + 1, ONE), "too_many_messages"),
        ("responses", "input", listed(MOST_MESSAGES + 1, ONE), "too_many_items"),
        ("chat.completions", "messages", b"[" + listed(1_000_000, b"{}") + b"]", "too_many_values"),
        ("completions", "prompt", listed(1_000_000, b"1"), "too_many_values"),
        (
            "chat.completions",
            "messages",
            b'[{"content":' + listed(500_000, b'"' + b"," + b'"') + b"}]",
            "too_many_values",
        ),
    ],
)
def test_what_would_keep_others_waiting_is_refused(endpoint: str, field: str, value: bytes, code: str) -> None:
    error = refused(b'{"model":"auto","%b":%b}' % (field.encode(), value), endpoint=endpoint)
    assert error.code == code
    assert any(f"{most:,}" in error.message for most in (MOST_MESSAGES, MOST_VALUES))


@pytest.mark.parametrize("endpoint", ["chat.completions", "embeddings"])
@pytest.mark.parametrize("count", [MOST_FIELDS + 1, 2 * MOST_VALUES])
def test_fields_are_bounded(endpoint: str, count: int) -> None:
    fields = b"".join(b'"%d":1,' % number for number in range(count))
    content = b"{" + fields + b'"model":"auto","messages":[' + ONE + b'],"input":"a"}'
    assert refused(content, endpoint=endpoint).code in ("too_many_fields", "too_many_values")


@pytest.mark.parametrize(
    "content",
    [
        'a, [b], {c}: "d" \\ ' * 60_000,
        '\\"' * 300_000,
        json.dumps(json.dumps({"a": ["b, c"] * 60_000})),
        "\\" * 500_001,
    ],
)
def test_texts_may_be_long_and_have_any_punctuation(content: str) -> None:
    assert len(content) > 2 * MOST_VALUES
    parse("chat.completions", body(messages=[{"role": "user", "content": content}]), {})


def test_long_histories_are_read() -> None:
    messages = [{"role": "user", "content": [{"type": "text", "text": "{" * 50}]}] * MOST_MESSAGES
    assert parse("chat.completions", body(messages=messages), {}).words()


def test_many_tokens_may_be_embedded() -> None:
    content = json.dumps({"model": "a", "input": [[17] * 8_000] * 40}).encode()
    assert parse("embeddings", content, {}).asked == "a"


def test_a_byte_order_mark_is_ignored() -> None:
    assert parse("chat.completions", b"\xef\xbb\xbf" + body(), {}) == parse("chat.completions", body(), {})
    assert refused(b"\xef\xbb\xbf").code == "invalid_json"
    assert refused(b"\xef\xbb\xbf" * 2 + body()).code == "invalid_json"


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        (rb"\ud83d", "\ufffd"),
        (rb"a\uDE00b", "a\ufffdb"),
        (rb"\ud83d\ud83d\ude00\ude00", "\ufffd\U0001f600\ufffd"),
        (rb"\\ud83d \\\ud83d \\\\ud83d", "\\ud83d \\\ufffd \\\\ud83d"),
        (rb"\ud83dx\ude00", "\ufffdx\ufffd"),
    ],
)
def test_half_an_emoji_becomes_a_replacement_character_and_is_named(sent: bytes, kept: str) -> None:
    body = b'{"model": "m", "messages": [{"role": "user", "content": "%b"}]}' % sent
    found = parse("chat.completions", body, {})
    assert json.loads(bytes(found.fields["messages"]))[0]["content"] == kept
    assert found.mended == ("lone_surrogates",)
    assert parse("chat.completions", body.replace(sent, rb"\ud83d\ude00"), {}).mended == ()


def test_many_halves_are_not_mended() -> None:
    """It is work in which all others wait."""
    body = b'{"model": "m", "messages": [{"role": "user", "content": "%b"}]}' % (rb"\ud83d" * 20_000)
    with pytest.raises(GatewayError) as caught:
        parse("chat.completions", body, {})
    assert caught.value.code == "invalid_json"
