"""A request of OpenAI's responses, as far as it is translated, and the decoders of its fields.

What stands in no field here is not read: fields that matter and cannot be translated are here to be refused.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Raw, Struct

from tiny_dancer.gateway.upstream.translate.fields import ABSENT


class InputText(Struct, tag_field="type", tag="input_text"):
    """A part that is text."""

    text: str


class OutputText(Struct, tag_field="type", tag="output_text"):
    """A part of an earlier answer that is text."""

    text: str


class Refusal(Struct, tag_field="type", tag="refusal"):
    """A part of an earlier answer that refused."""

    refusal: str


class InputImage(Struct, tag_field="type", tag="input_image"):
    """A part that is an image: a URL, or a data URL."""

    image_url: str | None = None
    file_id: str | None = None
    detail: str | None = None


class InputFile(Struct, tag_field="type", tag="input_file"):
    """A part that is a file."""

    file_data: str | None = None
    file_id: str | None = None
    file_url: str | None = None
    filename: str | None = None


class InputAudio(Struct, tag_field="type", tag="input_audio"):
    """A part that is sound."""

    input_audio: Raw


Part = InputText | OutputText | Refusal | InputImage | InputFile | InputAudio


class Head(Struct):
    """What an item is: one without a type is a message, or a reference to an item that is stored."""

    type: str | None = None
    role: str | None = None


class Message(Struct):
    """A turn."""

    role: Literal["user", "assistant", "system", "developer"]
    content: str | list[Part]


class FunctionCall(Struct):
    """A call of a function in an earlier answer."""

    call_id: str
    name: str
    arguments: str = ""
    namespace: str | None = None


class CustomCall(Struct):
    """A call of a custom tool in an earlier answer: its input is any text."""

    call_id: str
    name: str
    input: str = ""
    namespace: str | None = None


class ShellCall(Struct):
    """A command that an earlier answer wanted run on the client's machine."""

    action: Raw
    call_id: str | None = None
    id: str | None = None


class CallOutput(Struct):
    """What a call gave."""

    output: str | list[InputText | OutputText | InputImage | InputFile]
    call_id: str | None = None
    id: str | None = None


class Reasoning(Struct):
    """What a model thought before an earlier answer."""

    id: str | None = None
    encrypted_content: str | None = None


class Tool(Struct):
    """A tool on offer; which fields it has follows from its type."""

    type: str
    name: str = ""
    description: str | None = None
    parameters: Raw = ABSENT
    strict: bool | None = None
    format: Raw = ABSENT
    tools: list[Raw] = []


class Grammar(Struct):
    """What the input of a custom tool has to look like."""

    type: Literal["text", "grammar"]
    syntax: str = ""
    definition: str = ""


class Choice(Struct):
    """A tool that has to be called, or those that may be."""

    type: str
    name: str | None = None
    namespace: str | None = None
    mode: Literal["auto", "required"] = "auto"
    tools: list[Choice] = []


class TextFormat(Struct, tag_field="type", tag="text"):
    """Any text."""


class JSONFormat(Struct, tag_field="type", tag="json_object"):
    """Any JSON object."""


class SchemaFormat(Struct, tag_field="type", tag="json_schema", omit_defaults=True):
    """JSON of a schema."""

    schema: Raw
    name: str = "answer"
    description: str | None = None
    strict: bool | None = None


class Text(Struct):
    """How the text of the answer should be."""

    format: TextFormat | JSONFormat | SchemaFormat | None = None
    verbosity: str | None = None


class Thinking(Struct):
    """How to reason, and whether the client wants to read a summary of it."""

    effort: str | None = None
    summary: str | None = None
    generate_summary: str | None = None


input: Final = msgspec.json.Decoder(str | list[Raw])
head: Final = msgspec.json.Decoder(Head)
message: Final = msgspec.json.Decoder(Message)
function_call: Final = msgspec.json.Decoder(FunctionCall)
custom_call: Final = msgspec.json.Decoder(CustomCall)
shell_call: Final = msgspec.json.Decoder(ShellCall)
call_output: Final = msgspec.json.Decoder(CallOutput)
reasoning_item: Final = msgspec.json.Decoder(Reasoning)
tools: Final = msgspec.json.Decoder(list[Raw])
tool: Final = msgspec.json.Decoder(Tool)
grammar: Final = msgspec.json.Decoder(Grammar)
tool_choice: Final = msgspec.json.Decoder(Literal["none", "auto", "required"] | Choice)
text: Final = msgspec.json.Decoder(Text)
reasoning: Final = msgspec.json.Decoder(Thinking)
instructions: Final = msgspec.json.Decoder(str)
names: Final = msgspec.json.Decoder(list[str])
limit: Final[msgspec.json.Decoder[int]] = msgspec.json.Decoder(Annotated[int, Meta(ge=1)])
count: Final[msgspec.json.Decoder[int]] = msgspec.json.Decoder(Annotated[int, Meta(ge=0)])
json_object: Final = msgspec.json.Decoder(dict[str, Raw])
