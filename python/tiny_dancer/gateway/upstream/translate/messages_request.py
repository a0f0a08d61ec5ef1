"""An Anthropic messages request, as far as it is translated, and the decoders of its fields.

What stands in no field here is not read: fields that matter and cannot be translated are here to be refused.
Blocks of types that are not here are :class:`Other`.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta, Raw, Struct

from tiny_dancer.gateway.upstream.translate.fields import ABSENT, read


class Text(Struct, tag_field="type", tag="text"):
    """A block that is text."""

    text: str


class Base64Source(Struct, tag_field="type", tag="base64"):
    """The bytes themselves."""

    media_type: str
    data: str


class URLSource(Struct, tag_field="type", tag="url"):
    """Where the bytes are."""

    url: str


class TextSource(Struct, tag_field="type", tag="text"):
    """A document that is text."""

    data: str


class ContentSource(Struct, tag_field="type", tag="content"):
    """A document that is made of blocks."""

    content: str | list[Text | Image]


class Image(Struct, tag_field="type", tag="image"):
    """A block that is an image."""

    source: Base64Source | URLSource


class Document(Struct, tag_field="type", tag="document"):
    """A block that is a document."""

    source: Base64Source | TextSource | ContentSource
    title: str | None = None
    context: str | None = None


class SearchResult(Struct, tag_field="type", tag="search_result"):
    """What a client's own search found."""

    title: str = ""
    source: str = ""
    content: list[Text] = []


class ToolReference(Struct, tag_field="type", tag="tool_reference"):
    """A tool that a search for tools found."""

    tool_name: str = ""


class ContainerUpload(Struct, tag_field="type", tag="container_upload"):
    """A file for code to run with, at Anthropic's."""

    file_id: str = ""


class ServerToolUse(Struct, tag_field="type", tag="server_tool_use"):
    """A call of a tool that runs at Anthropic's."""

    name: str = ""
    input: Raw = Raw(b"{}")


class WebSearchResult(Struct, tag_field="type", tag="web_search_tool_result"):
    """What the search at Anthropic's found: a list, or an error."""

    content: Any = None


class Thinking(Struct, tag_field="type", tag="thinking"):
    """What a model thought before an earlier answer."""

    thinking: str = ""
    signature: str | None = None


class RedactedThinking(Struct, tag_field="type", tag="redacted_thinking"):
    """The same, in cipher."""

    data: str = ""


class ToolUse(Struct, tag_field="type", tag="tool_use"):
    """A tool call of an earlier answer."""

    id: str
    name: str
    input: Raw


class ToolResult(Struct, tag_field="type", tag="tool_result"):
    """What a tool call gave."""

    tool_use_id: str
    content: str | list[Text | Image | Document | SearchResult | ToolReference] | None = None
    is_error: bool | None = None


class Other(Struct):
    """A block of a type that is not known here."""

    raw: Raw


class User(Struct, tag_field="role", tag="user"):
    """A user's turn."""

    content: str | list[Text | Image | Document | ToolResult | SearchResult | ContainerUpload]


class Assistant(Struct, tag_field="role", tag="assistant"):
    """An earlier answer."""

    content: str | list[Text | Thinking | RedactedThinking | ToolUse | ServerToolUse | WebSearchResult]


class System(Struct, tag_field="role", tag="system"):
    """Instructions within the conversation."""

    content: str | list[Text]


class Turn(Struct):
    """A turn whose blocks are of any type.

    Attributes:
        content: a text, or blocks: of one of the types here, those of a tool result's too.
    """

    role: Literal["user", "assistant", "system"]
    content: Any


class ToolType(Struct):
    """Of which type a tool is."""

    type: str | None = None


class Tool(Struct):
    """A tool a model may call; those of other types run at Anthropic's."""

    name: str
    type: Literal["custom"] | None = None
    description: str | None = None
    input_schema: Raw = ABSENT
    strict: bool | None = None


class ToolChoice(Struct):
    """Whether and which tool has to be called."""

    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class Metadata(Struct):
    """About the request."""

    user_id: str | None = None


class Format(Struct):
    """JSON of a schema."""

    type: Literal["json_schema"]
    schema: Raw


class OutputConfig(Struct):
    """How to answer."""

    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    format: Format | None = None


class _LooseTurn(Struct):
    role: Literal["user", "assistant", "system"]
    content: str | list[Raw]


class _LooseResult(Struct):
    tool_use_id: str
    content: str | list[Raw] | None = None
    is_error: bool | None = None


class _Type(Struct):
    type: str


_strict: Final = msgspec.json.Decoder(list[User | Assistant | System])
_loose: Final = msgspec.json.Decoder(list[_LooseTurn])
_result: Final = msgspec.json.Decoder(_LooseResult)
_type: Final = msgspec.json.Decoder(_Type)
_BLOCKS: Final[dict[str, msgspec.json.Decoder[Any]]] = {
    str(block.__struct_config__.tag): msgspec.json.Decoder(block)
    for block in (
        Text,
        Image,
        Document,
        SearchResult,
        ToolReference,
        ContainerUpload,
        Thinking,
        RedactedThinking,
        ToolUse,
        ServerToolUse,
        WebSearchResult,
    )
}


def conversation(raw: Raw) -> list[User | Assistant | System] | list[Turn]:
    """The turns of ``messages``.

    Raises:
        GatewayError: 400; something cannot be read. It names the place.
    """
    try:
        return _strict.decode(raw)
    except msgspec.DecodeError:
        pass  # a block of another type, or something wrong, which is found below
    turns = []
    found = read(raw, _loose, "messages")
    for number, turn in enumerate(found):
        content: Any = turn.content
        if isinstance(content, list):
            place = f"messages[{number}].content"
            content = [_block(each, f"{place}[{index}]") for index, each in enumerate(content)]
        turns.append(Turn(turn.role, content))
    return turns


def _block(raw: Raw, place: str, *, of_result: bool = False) -> Any:
    kind = read(raw, _type, place).type
    if kind == "tool_result" and not of_result:
        result = read(raw, _result, place)
        content: Any = result.content
        if isinstance(content, list):
            places = (f"{place}.content[{index}]" for index in range(len(content)))
            content = [_block(each, where, of_result=True) for each, where in zip(content, places, strict=True)]
        return ToolResult(result.tool_use_id, content, result.is_error)
    decoder = _BLOCKS.get(kind)
    return Other(raw) if decoder is None else read(raw, decoder, place)


system: Final = msgspec.json.Decoder(str | list[Text])
tools: Final = msgspec.json.Decoder(list[Raw])
tool: Final = msgspec.json.Decoder(Tool)
tool_type: Final = msgspec.json.Decoder(ToolType)
tool_choice: Final = msgspec.json.Decoder(ToolChoice)
metadata: Final = msgspec.json.Decoder(Metadata)
output_config: Final = msgspec.json.Decoder(OutputConfig)
output_format: Final = msgspec.json.Decoder(Format)
texts: Final = msgspec.json.Decoder(list[str])
limit: Final[msgspec.json.Decoder[int]] = msgspec.json.Decoder(Annotated[int, Meta(ge=1)])
number: Final = msgspec.json.Decoder(float)
json_object: Final = msgspec.json.Decoder(dict[str, Raw])
