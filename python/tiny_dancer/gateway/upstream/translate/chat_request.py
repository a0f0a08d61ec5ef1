"""An OpenAI chat completion request, as far as it is translated, and the decoders of its fields.

What stands in no field here is not read: fields that matter and cannot be translated are here to be refused.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta, Raw, Struct

from tiny_dancer.gateway.upstream.translate.fields import ABSENT


class Text(Struct, tag_field="type", tag="text"):
    """A part that is text."""

    text: str
    cache_control: Raw = ABSENT


class Refusal(Struct, tag_field="type", tag="refusal"):
    """A part of an earlier answer that refused."""

    refusal: str


class ImageURL(Struct):
    """Where an image is."""

    url: str


class Image(Struct, tag_field="type", tag="image_url"):
    """A part that is an image."""

    image_url: ImageURL
    cache_control: Raw = ABSENT


class FileData(Struct):
    """A file's bytes, as a data URL."""

    file_data: str | None = None
    filename: str | None = None


class File(Struct, tag_field="type", tag="file"):
    """A part that is a file."""

    file: FileData
    cache_control: Raw = ABSENT


class Function(Struct):
    """What was called, and with what: JSON written as a text."""

    name: str
    arguments: str = ""


class Call(Struct, tag_field="type", tag="function"):
    """A tool call of an earlier answer."""

    id: str
    function: Function


class Thought(Struct):
    """Thinking of an earlier answer, in LiteLLM's words: signed by Anthropic, or in cipher."""

    type: str = ""
    thinking: str | None = None
    signature: str | None = None
    data: str | None = None


class System(Struct, tag_field="role", tag="system"):
    """Instructions."""

    content: str | list[Text]
    cache_control: Raw = ABSENT


class Developer(Struct, tag_field="role", tag="developer"):
    """Instructions, as newer models of OpenAI's have them."""

    content: str | list[Text]
    cache_control: Raw = ABSENT


class User(Struct, tag_field="role", tag="user"):
    """A user's turn."""

    content: str | list[Text | Image | File]
    cache_control: Raw = ABSENT


class Assistant(Struct, tag_field="role", tag="assistant"):
    """An earlier answer."""

    content: str | list[Text | Refusal] | None = None
    refusal: str | None = None
    tool_calls: list[Call] | None = None
    function_call: Raw = ABSENT
    audio: Raw = ABSENT
    thinking_blocks: list[Thought] | None = None
    reasoning_content: Raw = ABSENT
    cache_control: Raw = ABSENT


class Tool(Struct, tag_field="role", tag="tool"):
    """What a tool call gave."""

    tool_call_id: str
    content: str | list[Text | Image | File]
    cache_control: Raw = ABSENT


class Definition(Struct):
    """A function a model may call."""

    name: str
    description: str | None = None
    parameters: Raw = ABSENT
    strict: bool | None = None


class ToolDefinition(Struct, tag_field="type", tag="function"):
    """A tool a model may call."""

    function: Definition
    cache_control: Raw = ABSENT


class Name(Struct):
    """A function's name."""

    name: str


class NamedTool(Struct, tag_field="type", tag="function"):
    """A tool by its name."""

    function: Name


class Allowed(Struct):
    """Some of the tools, and whether one has to be called."""

    mode: Literal["auto", "required"]
    tools: list[NamedTool]


class AllowedTools(Struct, tag_field="type", tag="allowed_tools"):
    """A choice of tools."""

    allowed_tools: Allowed


class Schema(Struct):
    """A JSON schema, unread."""

    schema: Raw = ABSENT


class TextFormat(Struct, tag_field="type", tag="text"):
    """Any text."""


class JSONFormat(Struct, tag_field="type", tag="json_object"):
    """Any JSON object."""


class SchemaFormat(Struct, tag_field="type", tag="json_schema"):
    """JSON of a schema."""

    json_schema: Schema


class StreamOptions(Struct):
    """What a stream should hold."""

    include_usage: bool | None = None


messages: Final = msgspec.json.Decoder(list[System | Developer | User | Assistant | Tool])
tools: Final = msgspec.json.Decoder(list[ToolDefinition])
tool_choice: Final = msgspec.json.Decoder(Literal["none", "auto", "required"] | NamedTool | AllowedTools)
response_format: Final = msgspec.json.Decoder(TextFormat | JSONFormat | SchemaFormat)
stream_options: Final = msgspec.json.Decoder(StreamOptions)
limit: Final[msgspec.json.Decoder[int]] = msgspec.json.Decoder(Annotated[int, Meta(ge=1)])
temperature: Final[msgspec.json.Decoder[float]] = msgspec.json.Decoder(Annotated[float, Meta(ge=0, le=2)])
share: Final[msgspec.json.Decoder[float]] = msgspec.json.Decoder(Annotated[float, Meta(ge=0, le=1)])
stop: Final = msgspec.json.Decoder(str | list[str])
effort: Final = msgspec.json.Decoder(Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"])
verbosity: Final = msgspec.json.Decoder(Literal["low", "medium", "high"])
an_object: Final = msgspec.json.Decoder(dict[str, Any])
json_object: Final = msgspec.json.Decoder(dict[str, Raw])
