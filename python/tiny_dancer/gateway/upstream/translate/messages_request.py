"""An Anthropic messages request, as far as it is translated, and the decoders of its fields.

What stands in no field here is not read: fields that matter and cannot be translated are here to be refused.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Raw, Struct

from tiny_dancer.gateway.upstream.translate.fields import ABSENT


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


class Image(Struct, tag_field="type", tag="image"):
    """A block that is an image."""

    source: Base64Source | URLSource


class Document(Struct, tag_field="type", tag="document"):
    """A block that is a document."""

    source: Base64Source | TextSource
    title: str | None = None


class Thinking(Struct, tag_field="type", tag="thinking"):
    """What a model thought before an earlier answer."""


class RedactedThinking(Struct, tag_field="type", tag="redacted_thinking"):
    """The same, in cipher."""


class ToolUse(Struct, tag_field="type", tag="tool_use"):
    """A tool call of an earlier answer."""

    id: str
    name: str
    input: Raw


class ToolResult(Struct, tag_field="type", tag="tool_result"):
    """What a tool call gave."""

    tool_use_id: str
    content: str | list[Text | Image | Document] | None = None
    is_error: bool | None = None


class User(Struct, tag_field="role", tag="user"):
    """A user's turn."""

    content: str | list[Text | Image | Document | ToolResult]


class Assistant(Struct, tag_field="role", tag="assistant"):
    """An earlier answer."""

    content: str | list[Text | Thinking | RedactedThinking | ToolUse]


class System(Struct, tag_field="role", tag="system"):
    """Instructions within the conversation."""

    content: str | list[Text]


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


messages: Final = msgspec.json.Decoder(list[User | Assistant | System])
system: Final = msgspec.json.Decoder(str | list[Text])
tools: Final = msgspec.json.Decoder(list[Tool])
tool_choice: Final = msgspec.json.Decoder(ToolChoice)
metadata: Final = msgspec.json.Decoder(Metadata)
output_config: Final = msgspec.json.Decoder(OutputConfig)
texts: Final = msgspec.json.Decoder(list[str])
limit: Final[msgspec.json.Decoder[int]] = msgspec.json.Decoder(Annotated[int, Meta(ge=1)])
number: Final = msgspec.json.Decoder(float)
json_object: Final = msgspec.json.Decoder(dict[str, Raw])
