"""What calls, tools and response formats count for (the end of the engine's ``request.rs``)."""

from __future__ import annotations

from typing import Any

from .json_text import NotJsonError, Object, canonical, children, parse, size
from .text import floor_boundary

LONGEST_SEARCHED = 64 << 10  # bytes of tools in which the first specification searched
SCHEMAS = ("parameters", "input_schema", "inputSchema")


def call_size(call: Any) -> int:
    """Bytes of a call's name and arguments: ``{name, arguments}``, or under ``function`` or ``custom``."""
    if not isinstance(call, Object):
        return 0
    nested = [inner for inner in call.all("function", "custom") if isinstance(inner, Object)]
    own = call.all("name", "arguments", "input")
    return sum(map(call_size, nested)) + sum(map(argument_size, own))


def argument_size(value: Any) -> int:
    """Bytes in canonical form; a string that holds an object or a list (as OpenAI's do) counts as that JSON."""
    if value is None:
        return 0
    if not isinstance(value, str):
        return size(canonical(value))
    try:
        held = parse(value)
    except NotJsonError:
        return size(value)
    return size(canonical(held)) if isinstance(held, Object | list) else size(value)


def searched_tools(text: str) -> tuple[int, int, int]:
    """Tools, parameters and bytes by the first specification: words of the text the tools came in."""
    data = text.encode()
    searched = data[: floor_boundary(data, LONGEST_SEARCHED)].decode()
    tools = searched.count('"parameters"')
    return tools, max(searched.count('"type"') - tools, 0), len(data)


def measured_tools(text: str) -> tuple[int, int, int]:
    """Tools, parameters and bytes by their structure; what is no JSON has bytes alone."""
    if not text:
        return 0, 0, 0
    try:
        value = parse(text)
    except NotJsonError:
        return 0, 0, size(text)
    if isinstance(value, Object):  # the answer of MCP's tools/list, or one tool alone
        lists = [inner for inner in value.all("tools") if isinstance(inner, list)]
        value = lists[-1] if lists else [value]
    if value is None:
        return 0, 0, 0
    if not isinstance(value, list):
        return 0, 0, size(canonical(value))
    measured = [measured_tool(tool) for tool in value]
    return len(value), sum(found for found, _ in measured), sum(found for _, found in measured)


def measured_tool(tool: Any) -> tuple[int, int]:
    """Parameters and bytes of name, description and schema; a tool that has none of them counts whole."""
    definition = tool
    if isinstance(tool, Object):
        nested = [inner for inner in tool.all("function") if isinstance(inner, Object)]
        definition = nested[-1] if nested else tool
    if isinstance(definition, Object):
        texts = [text for text in definition.all("name", "description") if isinstance(text, str)]
        schemas = [schema for schema in definition.all(*SCHEMAS) if schema is not None]
        if texts or schemas:
            sizes = [*map(size, texts), *(size(canonical(schema)) for schema in schemas)]
            return sum(map(parameters, schemas)), sum(sizes)
    return parameters(tool), size(canonical(tool))


def parameters(schema: Any) -> int:
    """Members of ``properties`` at any depth; one of them may be called ``properties`` itself."""
    if not isinstance(schema, Object):
        return sum(map(parameters, children(schema)))
    found = 0
    for key, value in schema.members:
        if key == "properties" and isinstance(value, Object):
            found += sum(1 + parameters(inner) for inner in children(value))
        else:
            found += parameters(value)
    return found


def measured_format(text: str) -> int:
    """Bytes of the form an answer has to have; what is no JSON counts by its own."""
    if not text:
        return 0
    try:
        return schema_size(parse(text))
    except NotJsonError:
        return size(text)


def schema_size(value: Any) -> int:
    """Bytes of the ``schema`` in a response format, which may stand under ``json_schema`` or ``format``."""
    if not isinstance(value, Object):
        return 0
    own = [schema for schema in value.all("schema") if isinstance(schema, Object)]
    nested = value.all("json_schema", "format")
    return sum(size(canonical(schema)) for schema in own) + sum(map(schema_size, nested))
