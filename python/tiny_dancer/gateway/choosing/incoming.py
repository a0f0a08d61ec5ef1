"""A client's request, read as far as routing needs: the rest stays bytes.

The body is split into its top-level fields, each kept as the bytes the client sent. A field given twice counts
once, as its last value, here and upstream alike: nothing can be smuggled past routing or access.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct

from tiny_dancer.gateway.access.payers import header_text
from tiny_dancer.gateway.choosing.provider import Provider, parse_provider
from tiny_dancer.gateway.configuration.settings import AgentPolicy, FallbackCause, Policy, Role
from tiny_dancer.gateway.errors import GatewayError
from tiny_dancer.gateway.upstream.dialect import Call, Endpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tiny_dancer import _core

OPTION_HEADERS: Final[dict[bytes, str]] = {
    b"x-td-max-cost": "max_cost",
    b"x-td-min-quality": "min_quality",
    b"x-td-max-latency": "max_latency",
    b"x-td-pin": "pin",
    b"x-td-exclude": "exclude",
    b"x-td-session": "session",
    b"x-td-role": "role",
    b"x-td-policy": "policy",
    b"x-td-threshold": "threshold",
    b"x-td-fallback-on": "fallback_on",
    b"x-td-tool-selection": "tool_selection",
    b"x-td-capabilities": "capabilities",
    b"x-td-agent-tags": "agent_tags",
    b"x-td-region": "region",
}
T = TypeVar("T")
# Each name is looked up: more would keep all other requests waiting.
Names = Annotated[tuple[str, ...], Meta(max_length=100)]
TopK = Annotated[int, Meta(ge=1, le=65_536)]
_ROLES: Final = ("chat", "autocomplete", "edit", "apply", "embed", "rerank", "summarize")
_POLICIES: Final = ("quality", "balanced", "cheapest", "cost", "latency", "quality_per_dollar")


class Options(Struct, frozen=True, forbid_unknown_fields=True):
    """What a client asks of routing: the body's ``td`` object, or ``x-td-*`` headers. The body wins.

    Attributes:
        max_cost: most USD the answer may be expected to cost.
        min_quality: least quality to expect, in [0, 1].
        max_latency: most seconds to expect.
        pin: this model, whatever routing says.
        exclude: not these models, nor agents (``agent-<name>``).
        session: the conversation's name.
        role: what the answer is for.
        policy: of the router; of a group of agents also ``latency`` and ``quality_per_dollar``.
        threshold: least gain worth the dearer of two models.
        fallback_on: what else leads to the next model, in place of the configuration's.
        tool_selection: ``off``: all tools are sent as they came; a number: the most that a router leaves, or adds.
        capabilities: that an agent of a group must have.
        agent_tags: that an agent of a group must have.
        region: where an agent of a group must serve.
    """

    max_cost: float | None = None
    min_quality: float | None = None
    max_latency: float | None = None
    pin: str | None = None
    exclude: Names = ()
    session: str | None = None
    role: Role | None = None
    policy: Policy | AgentPolicy | None = None
    threshold: float | None = None
    fallback_on: tuple[FallbackCause, ...] | None = None
    tool_selection: Literal["off"] | TopK | None = None
    capabilities: Names = ()
    agent_tags: Names = ()
    region: str | None = None


NO_OPTIONS: Final = Options()


class Incoming(Call):
    """One request to a model: what an upstream is asked, and what only the gateway reads.

    Attributes:
        asked: the model the client named.
        fallbacks: models to try next, in the client's order (``models``).
        options: what the client asks of routing.
        provider: which upstreams and models it allows; the field stays, for an upstream that understands it.
        mended: what of it could not be read as it came, and stands otherwise now.
        searched: the fields as the client sent them, where tools are searched for here: then ``fields`` have only
            tools that are loaded, and a function that searches. None once that has been called.
        cheaper: only models cheaper than the strongest may serve it: a soft budget is spent.
        left: USD of the tightest budget it falls under; None where it falls under none.
        expected: by router, what it expects of each of its models on this request, once a group has asked it.
    """

    asked: str
    fallbacks: tuple[str, ...]
    options: Options
    provider: Provider | None = None
    mended: tuple[str, ...] = ()
    searched: dict[str, msgspec.Raw] | None = None
    cheaper: bool = False
    left: float | None = None
    expected: dict[str, Mapping[str, float]] = msgspec.field(default_factory=dict)

    def as_sent(self, *, searches: bool) -> dict[str, msgspec.Raw]:
        """As of :class:`Call`."""
        return self.fields if self.searched is None or not searches else self.searched

    @property
    def leaves_filters(self) -> bool | None:
        """As of :class:`Call`."""
        asked = self.options.fallback_on
        return None if asked is None else "content_filter" in asked

    def words(self) -> _core.Said:
        """What is routed on: a text, or messages as the client's bytes. The engine reads them, in any dialect.

        Raises:
            GatewayError: 400, a prompt of another shape.
        """
        if self.endpoint == "completions":
            return _prompt(self.fields["prompt"])
        return bytes(self.fields[_REQUIRED[self.endpoint]])

    def system(self) -> bytes | None:
        """Standing instructions beside the messages."""
        return self._json(_INSTRUCTIONS.get(self.endpoint))

    def tools(self) -> bytes | None:
        """The tools offered."""
        return self._json("tools")

    def response_format(self) -> bytes | None:
        """The form the answer has to have."""
        return self._json(_FORMATS.get(self.endpoint))

    def field(self, name: str) -> str:
        """The client's word for a field that the engine names."""
        words = {"messages": _REQUIRED[self.endpoint], "system": _INSTRUCTIONS.get(self.endpoint, "system")}
        first = re.split(r"[\[.]", name, maxsplit=1)[0]
        return words.get(first, first) + name[len(first) :]

    def _json(self, field: str | None) -> bytes | None:
        raw = None if field is None else self.fields.get(field)
        return None if raw is None else bytes(raw)


_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_text = msgspec.json.Decoder(str).decode
_names = msgspec.json.Decoder(Names).decode
_options = msgspec.json.Decoder(Options | None).decode
_list = msgspec.json.Decoder(list[msgspec.Raw]).decode
_any = msgspec.json.Decoder().decode
_OPTIONS_BY_FIELD: Final = {field.name: field for field in msgspec.structs.fields(Options)}

_REQUIRED: Final[Mapping[str, str]] = {
    "chat.completions": "messages",
    "messages": "messages",
    "responses": "input",
    "embeddings": "input",
    "completions": "prompt",
}
_INSTRUCTIONS: Final[Mapping[str, str]] = {"messages": "system", "responses": "instructions"}
_FORMATS: Final[Mapping[str, str]] = {
    "chat.completions": "response_format",
    "messages": "output_config",
    "responses": "text",
}
LONGEST_NAME: Final = 200
MOST_FIELDS: Final = 1_000
"""At the top of a body."""
MOST_MESSAGES: Final = 10_000
"""In a conversation, or items of an input. Long histories have some thousands."""
MOST_VALUES: Final = 200_000
"""JSON values in a body, however nested. Reading and translating so many takes about a tenth of a second, in which
all other requests wait; a history of 10,000 messages has about 40,000."""
# Every value but the first of its container has a comma before it.
_COUNTED: Final = (b",", b"{", b"[")
# Their input goes on unread, and may be tokens by the hundred thousand.
_COUNTED_OF_EMBEDDINGS: Final = (b":",)
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
# Half of an emoji, by which texts are cut in the middle of one: no character, and no JSON to most readers.
_HALVES: Final = re.compile(
    rb"(?<!\\)((?:\\\\)*)"
    rb"(?:\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F][0-9a-fA-F]{2})"
    rb"|(?<!\\u[dD][89abAB][0-9a-fA-F]{2})\\u[dD][c-fC-F][0-9a-fA-F]{2})"
)
_MOST_HALVES: Final = 10_000
_TRUE: Final = msgspec.Raw(b"true")
_FALSE: Final = msgspec.Raw(b"false")
_NULL: Final = msgspec.Raw(b"null")


def parse_fields(body: bytes, counted: Sequence[bytes] = _COUNTED) -> dict[str, msgspec.Raw]:
    """The top-level fields of a JSON object.

    Args:
        body: the whole body.
        counted: what begins one of the :data:`MOST_VALUES`.

    Raises:
        GatewayError: 400, the body is no JSON object in UTF-8, or has too many values or fields.
    """
    _bound_values(body, counted)
    fields = _split(body)
    if len(fields) > MOST_FIELDS:
        raise _too_many("too_many_fields", "top-level fields", len(fields), MOST_FIELDS)
    return fields


def mended_fields(
    body: bytes, counted: Sequence[bytes] = _COUNTED
) -> tuple[dict[str, msgspec.Raw], tuple[str, ...]]:
    """The top-level fields of a JSON object whose texts a model may get, and what had to be mended in them.

    Half an emoji is no reason to refuse what was said around it.

    Raises:
        GatewayError: as of :func:`parse_fields`.
    """
    try:
        return parse_fields(body, counted), ()
    except GatewayError as error:
        if error.code != "invalid_json":
            raise
        body, halves = _HALVES.subn(rb"\1\\ufffd", body, _MOST_HALVES)
        if not halves:
            raise
        return parse_fields(body, counted), ("lone_surrogates",)


def _bound_values(body: bytes, counted: Sequence[bytes]) -> None:
    """Refuses a body of more values than may be read while others wait."""
    # Texts have commas too, so this is the most there can be.
    if len(body) <= 2 * MOST_VALUES or _count(body, counted) <= MOST_VALUES:
        return
    if b"\\" in body:
        body = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    # Without escapes, every other quote ends a text or a name. What is between them is punctuation and numbers.
    if body.count(b'"') > 4 * MOST_VALUES:
        raise _too_many("too_many_values", "values", None, MOST_VALUES)
    if (found := _count(b"".join(body.split(b'"')[::2]), counted)) > MOST_VALUES:
        raise _too_many("too_many_values", "values", found, MOST_VALUES)


def _count(json: bytes, counted: Sequence[bytes]) -> int:
    return sum(map(json.count, counted))


def _too_many(code: str, what: str, found: int | None, most: int, param: str | None = None) -> GatewayError:
    more = "more" if found is None else f"{found:,}"
    return GatewayError(
        400, f"A request may have {most:,} {what}, this has {more}; send fewer.", param=param, code=code
    )


def _split(body: bytes) -> dict[str, msgspec.Raw]:
    try:
        if not body.isascii():
            body.decode()
        return _fields(body)
    except UnicodeDecodeError as error:
        raise GatewayError(
            400, f"The body is not valid UTF-8 (byte {error.start}).", code="invalid_json"
        ) from error
    except RecursionError as error:
        raise GatewayError(400, "The body is nested too deeply.", code="invalid_json") from error
    except msgspec.DecodeError as error:
        if body.startswith(_BYTE_ORDER_MARK) and not body.startswith(2 * _BYTE_ORDER_MARK):
            # Some editors and .NET put one there; RFC 8259 lets it be ignored.
            return _split(body.removeprefix(_BYTE_ORDER_MARK))
        detail = "it is empty" if not body else str(error)
        raise GatewayError(
            400, f"We could not parse the JSON body of your request: {detail}.", code="invalid_json"
        ) from error


def parse(endpoint: Endpoint, body: bytes, headers: Mapping[bytes, bytes], named: str | None = None) -> Incoming:
    """Reads a request.

    Args:
        endpoint: which of the gateway's.
        body: the whole body.
        headers: those of :data:`OPTION_HEADERS` that came; others do not matter.
        named: the model, where the address names it: then the body's does not count.

    Raises:
        GatewayError: 400, naming the field at fault.
    """
    fields, mended = mended_fields(body, _COUNTED if endpoint != "embeddings" else _COUNTED_OF_EMBEDDINGS)
    if named is not None:
        fields["model"] = msgspec.Raw(msgspec.json.encode(named))
    model = fields.get("model")
    fallbacks: tuple[str, ...] = ()
    if "models" in fields:
        fallbacks = _read(_names, fields.pop("models"), "models", "a list of model names")
        if model is None and fallbacks:
            fields["model"] = model = msgspec.Raw(msgspec.json.encode(fallbacks[0]))
            fallbacks = fallbacks[1:]
    if model is None:
        raise GatewayError(400, "You must provide a model: a name or auto.", param="model", code="missing_model")
    asked = _read(_text, model, "model", "a model's name as a string")
    if len(asked) > LONGEST_NAME or any(len(name) > LONGEST_NAME for name in fallbacks):
        raise GatewayError(
            400, f"A model's name has at most {LONGEST_NAME} characters.", param="model", code="invalid_value"
        )
    required = _REQUIRED[endpoint]
    if (given := fields.get(required)) is None or given == _NULL:
        raise GatewayError(
            400, f"Missing required parameter: '{required}'.", param=required, code="missing_required_parameter"
        )
    if required == "messages" and not _is_filled_list(given):
        raise GatewayError(
            400,
            "Invalid 'messages': expected a list of at least one message.",
            param="messages",
            code="invalid_type",
        )
    if (
        len(body) > 20 * MOST_MESSAGES
        and endpoint not in ("embeddings", "completions")
        and bytes(given).count(b"{") > MOST_MESSAGES
        and (found := _length(given)) > MOST_MESSAGES
    ):
        if required == "messages":
            raise _too_many("too_many_messages", "messages", found, MOST_MESSAGES, required)
        raise _too_many("too_many_items", "items", found, MOST_MESSAGES, required)
    stream = fields.get("stream")
    if stream is not None and stream != _TRUE and stream != _FALSE and stream != _NULL:
        raise GatewayError(400, "Invalid 'stream': expected true or false.", param="stream", code="invalid_type")
    # Embeddings come whole, whatever is asked; a server that ignores this must not look as if it had failed.
    streamed = stream == _TRUE and endpoint != "embeddings"
    td = fields.pop("td", None)
    options = NO_OPTIONS if td is None and not headers else _all_options(td, headers)
    provider = parse_provider(fields["provider"]) if "provider" in fields else None
    return Incoming(endpoint, fields, streamed, asked, fallbacks, options, provider, mended)


def read_model(raw: msgspec.Raw) -> str:
    """The model that a field names.

    Raises:
        GatewayError: 400, it is no string, or a long one.
    """
    asked = _read(_text, raw, "model", "a model's name as a string")
    if len(asked) > LONGEST_NAME:
        raise GatewayError(
            400, f"A model's name has at most {LONGEST_NAME} characters.", param="model", code="invalid_value"
        )
    return asked


def _all_options(td: msgspec.Raw | None, headers: Mapping[bytes, bytes]) -> Options:
    given = {OPTION_HEADERS[name]: _of_header(name, value) for name, value in headers.items()}
    if td is not None:
        given.update(_set(_read(_options, td, "td", "an object of routing options") or NO_OPTIONS))
    try:
        options = msgspec.convert(given, Options)
    except msgspec.ValidationError as error:
        detail = _short(error)
        raise GatewayError(
            400, f"A routing option is wrong: {detail}.", param="td", code="invalid_type"
        ) from error
    for name, low, high in (
        ("max_cost", 0.0, math.inf),
        ("min_quality", 0.0, 1.0),
        ("max_latency", 0.0, math.inf),
        ("threshold", -1.0, 1.0),
    ):
        value = getattr(options, name)
        if value is not None and not low <= value <= high:  # NaN is in no range
            raise GatewayError(
                400,
                f"Invalid routing option '{name}': {value}; give a number in [{low:g}, {high:g}].",
                param=f"td.{name}",
                code="invalid_value",
            )
    return options


def _set(options: Options) -> dict[str, Any]:
    """The options that are given."""
    return {
        name: getattr(options, name)
        for name, field in _OPTIONS_BY_FIELD.items()
        if getattr(options, name) != field.default
    }


def _of_header(name: bytes, value: bytes) -> object:
    text = header_text(value).strip()
    option = OPTION_HEADERS[name]
    if option in ("exclude", "fallback_on", "capabilities", "agent_tags"):
        return tuple(each.strip() for each in text.split(",") if each.strip())
    known = {"role": _ROLES, "policy": _POLICIES}.get(option)
    if known is not None and text not in known:
        raise GatewayError(
            400,
            f"Unknown {option} {text[:100]!r} in {name.decode()}; use one of {', '.join(known)}.",
            param=name.decode(),
            code=f"unknown_{option}",
        )
    if option == "tool_selection" and text != "off":
        try:
            return int(text)
        except ValueError as error:
            raise GatewayError(
                400,
                f"Invalid {name.decode()}: {text[:100]!r}; give off, or the most tools as a number.",
                param=name.decode(),
                code="invalid_type",
            ) from error
    if option in ("max_cost", "min_quality", "max_latency", "threshold"):
        try:
            return float(text)
        except ValueError as error:
            raise GatewayError(
                400,
                f"Invalid {name.decode()}: {text[:100]!r}; give a number.",
                param=name.decode(),
                code="invalid_type",
            ) from error
    return text


def _read(decode: Callable[[msgspec.Raw], T], raw: msgspec.Raw, param: str, expected: str) -> T:
    try:
        return decode(raw)
    except (msgspec.DecodeError, RecursionError) as error:
        raise GatewayError(
            400, f"Invalid '{param}': {_short(error)}; expected {expected}.", param=param, code="invalid_type"
        ) from error


def _short(error: Exception) -> str:
    """What is wrong; a value that is quoted may be as long as a body."""
    return str(error)[:300]


def _is_filled_list(raw: msgspec.Raw) -> bool:
    start = bytes(memoryview(raw)[:64])
    return start.startswith(b"[") and not start[1:].lstrip().startswith(b"]")


def _length(raw: msgspec.Raw) -> int:
    """Of a list; 0 of anything else."""
    return len(_list(raw)) if bytes(memoryview(raw)[:64]).lstrip().startswith(b"[") else 0


def _prompt(raw: msgspec.Raw) -> str:
    given = _read(_any, raw, "prompt", "a text, or a list of texts or tokens")
    if isinstance(given, list):
        given = "\n".join(each for each in given if isinstance(each, str))
    if not isinstance(given, str):
        raise GatewayError(
            400,
            "Invalid 'prompt': expected a text, or a list of texts or tokens.",
            param="prompt",
            code="invalid_type",
        )
    return given
