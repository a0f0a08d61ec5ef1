"""Requests as clients write them: dialects, spellings, calls and results, and what cannot be read."""

from __future__ import annotations

import json
from typing import Any

from examples import TOOLS, Described, Raw, long, user

QUESTION = "Is the harbour deep enough for us?"


def body(*messages: Described, **beside: Any) -> Described:
    """A request with these messages."""
    return {"messages": list(messages), **beside}


def offering(tools: Any) -> Described:
    """A request that offers tools."""
    return body(*user(QUESTION), tools=tools)


# ---------------------------------------------------------------------------------------- one request, many forms

NAME, ABOUT = "depth_at", 'Depth of "water", in fathoms — at a pier.'
SCHEMA = {
    "type": "object",
    "properties": {
        "pier": {"type": "string", "description": "Name"},
        "tide": {"type": "number", "minimum": 1, "default": 0.5},
        "marks": {"type": "array", "items": {"type": "object", "properties": {"x": {}, "properties": {}}}},
    },
    "required": ["pier"],
}
CHAT_TOOL = {"type": "function", "function": {"name": NAME, "description": ABOUT, "parameters": SCHEMA}}
SPELT = {
    "without white space": json.dumps(offering([CHAT_TOOL]), ensure_ascii=False, separators=(",", ":")),
    "indented, with tabs and carriage returns": json.dumps(offering([CHAT_TOOL]), indent="\t").replace(
        "\n", "\r\n"
    ),
    "keys in another order": json.dumps(offering([CHAT_TOOL]), sort_keys=True),
    "numbers and strings written otherwise": json.dumps(offering([CHAT_TOOL]))
    .replace('"minimum": 1,', '"minimum": 10.0e-1,')
    .replace("0.5", "5E-1")
    .replace('"depth_at"', '"\\u0064epth\\u005fat"')
    .replace('"properties"', '"propert\\u0069es"')
    .replace('"role": "user"', '"rol\\u0065": "\\u0075ser"'),
}
TOOL_DIALECTS = {
    "OpenAI's chat completions": [CHAT_TOOL],
    "its Responses": [
        {"type": "function", "name": NAME, "description": ABOUT, "parameters": SCHEMA, "strict": True}
    ],
    "Anthropic's": [
        {"name": NAME, "description": ABOUT, "input_schema": SCHEMA, "cache_control": {"type": "ephemeral"}}
    ],
    "MCP's": [{"name": NAME, "description": ABOUT, "inputSchema": SCHEMA, "annotations": {"readOnlyHint": True}}],
    "MCP's, as tools/list answers": {"tools": [{"name": NAME, "description": ABOUT, "inputSchema": SCHEMA}]},
    "one tool without a list": CHAT_TOOL,
}
SYSTEM, ANSWER, FOUND, MORE = (
    "Answer as an old sailor.",
    "Let me sound it.",
    "nine fathoms\nat low tide",
    "And then?",
)
ARGUMENTS = {"pier": "St. Anne’s", "tide": 1.0, "marks": []}
CONVERSATIONS: dict[str, Any] = {
    "OpenAI's chat completions": body(
        {"role": "system", "content": SYSTEM},
        {"role": "user", "content": [{"type": "text", "text": QUESTION}, {"type": "image_url", "image_url": {}}]},
        {
            "role": "assistant",
            "content": ANSWER,
            "tool_calls": [
                {"id": "c", "type": "function", "function": {"name": NAME, "arguments": json.dumps(ARGUMENTS)}}
            ],
        },
        {"role": "tool", "tool_call_id": "c", "content": FOUND},
        {"role": "user", "content": MORE},
    ),
    "Anthropic's messages: results in the user's next message": {
        "system": [{"type": "text", "text": SYSTEM, "cache_control": {"type": "ephemeral"}}],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": QUESTION}, {"type": "image", "source": {}}]},
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "Is the lead on board?", "signature": "x"},
                    {"type": "text", "text": ANSWER},
                    {"type": "tool_use", "id": "c", "name": NAME, "input": ARGUMENTS},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "c", "content": [{"type": "text", "text": FOUND}]},
                    {"type": "text", "text": MORE},
                ],
            },
        ],
    },
    "Anthropic's messages: results in a message of their own, which is no turn": {
        "system": SYSTEM,
        "messages": [
            *user(QUESTION),
            {
                "role": "assistant",
                "content": [
                    {"type": "text", "text": ANSWER},
                    {"type": "tool_use", "name": NAME, "input": ARGUMENTS},
                ],
            },
            *user([{"type": "tool_result", "tool_use_id": "c", "content": FOUND}], MORE),
        ],
    },
    "items of the Responses API": {
        "instructions": SYSTEM,
        "input": [
            {"role": "user", "content": [{"type": "input_text", "text": QUESTION}]},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": ANSWER}]},
            {"type": "function_call", "call_id": "c", "name": NAME, "arguments": json.dumps(ARGUMENTS, indent=1)},
            {"type": "function_call_output", "call_id": "c", "output": FOUND},
            {"type": "message", "role": "user", "content": MORE},
        ],
    },
}
ANSWER_FORM = {"type": "object", "properties": {"fathoms": {"type": "integer", "maximum": 1e2}}}
FORMATS: dict[str, dict[str, Any]] = {
    "OpenAI's chat completions": {
        "response_format": {"type": "json_schema", "json_schema": {"name": "depth", "schema": ANSWER_FORM}}
    },
    "its Responses": {"text": {"format": {"type": "json_schema", "name": "depth", "schema": ANSWER_FORM}}},
    "Anthropic's": {"output_config": {"format": {"type": "json_schema", "schema": ANSWER_FORM}}},
    "Anthropic's of before": {"output_format": {"type": "json_schema", "schema": ANSWER_FORM}},
}
PLAIN: dict[str, Any] = {
    "a string": QUESTION,
    "text": {"text": QUESTION},
    "input": {"input": QUESTION},
    "prompt": {"prompt": QUESTION, "max_tokens": 9},
    "a list of prompts": {"prompt": [QUESTION]},
    "a list of messages": user(QUESTION),
    "messages beside what routing does not look at": {"model": "auto", "stream": True, **body(*user(QUESTION))},
    "a list of strings as content": user([QUESTION]),
    "parts": user([{"type": "text", "text": QUESTION}]),
    "null beside it": {"messages": None, "input": QUESTION, "tools": None, "instructions": None, "text": None},
}
STANDING = {
    "system": {"system": SYSTEM, "input": QUESTION},
    "blocks": {"system": [{"type": "text", "text": SYSTEM}], **body(*user(QUESTION))},
    "instructions": {"instructions": SYSTEM, "prompt": QUESTION},
    "a message of the system": body({"role": "system", "content": SYSTEM}, *user(QUESTION)),
    "a message of the developer": body(*user(QUESTION), {"role": "developer", "content": SYSTEM}),
}

# Within each group, every form is the same request.
GROUPS: dict[str, dict[str, Any]] = {
    "the same tools": {name: Raw(text) for name, text in SPELT.items()},
    "the same tools in dialects": {
        **{name: offering(tools) for name, tools in TOOL_DIALECTS.items()},
        "functions, as tools were called": body(*user(QUESTION), functions=[CHAT_TOOL["function"]]),
    },
    "the same conversation": CONVERSATIONS,
    "the same form of the answer": {name: {"input": QUESTION, **form} for name, form in FORMATS.items()},
    "the same text": PLAIN,
    "the same standing instructions": STANDING,
}

# ------------------------------------------------------------------------------------------------ one of its kind


def called(call: Any, **beside: Any) -> Described:
    """A conversation in which the assistant made one call."""
    return body(*user(QUESTION), {"role": "assistant", "content": None, "tool_calls": [call], **beside})


def one_tool(**definition: Any) -> Described:
    """A request that offers one tool."""
    return offering([{"type": "function", "function": definition}])


RESULT_ONLY = [{"type": "tool_result", "tool_use_id": "c", "content": "nine fathoms"}]
ALONE: list[tuple[str, Any]] = [
    # who says what
    (
        "tool and function messages are what was returned",
        body(*user("Well?"), {"role": "tool", "content": "nine"}),
    ),
    (
        "the old function message and call",
        body(
            *user("Well?"),
            {"role": "assistant", "content": None, "function_call": {"name": NAME, "arguments": "{}"}},
            {"role": "function", "name": NAME, "content": "nine"},
        ),
    ),
    ("content that is null, or absent, is empty", body(*user("Left."), {"role": "user"}, *user(None, "Right."))),
    (
        "images, files and thinking are not read, but a message of them is a turn",
        {"messages": user("Look.", [{"type": "image_url", "image_url": {"url": "data:"}}, {"type": "file"}])},
    ),
    (
        "a part without a type, or of one that nobody knows",
        {"messages": user([{"text": "x"}, "Look.", {"type": "y"}])},
    ),
    (
        "a part of text without text",
        {"messages": user([{"type": "text"}, "Look."])},
    ),
    (
        "a refusal is what was said",
        body(*user("Well?"), {"role": "assistant", "content": [{"type": "refusal", "refusal": "I will not."}]}),
    ),
    ("a message of results alone is no turn", {"messages": user("Well?", RESULT_ONLY)}),
    ("with an image it is one", {"messages": user("Well?", [*RESULT_ONLY, {"type": "image"}])}),
    (
        "of a result only texts count",
        {
            "messages": user(
                "Well?",
                [
                    {
                        "type": "tool_result",
                        "content": [{"type": "image"}, {"type": "text", "text": "nine"}, "no", 7],
                    },
                    {"type": "tool_result", "content": None},
                    {"type": "tool_result", "is_error": True},
                ],
            )
        },
    ),
    (
        "where nobody is the user, results are the text as well",
        {"system": SYSTEM, "messages": [{"role": "assistant", "content": "Sounding."}, *user(RESULT_ONLY)]},
    ),
    (
        "so is the output of a call, wherever a dialect puts it",
        {"input": [{"type": "function_call_output", "call_id": "c", "output": "nine fathoms"}]},
    ),
    (
        "an output of parts; custom calls; reasoning says nothing",
        {
            "input": [
                *user("Well?"),
                {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]},
                {"type": "custom_tool_call", "name": "sound", "input": "pier = 7"},
                {"type": "custom_tool_call_output", "output": [{"type": "input_text", "text": "nine"}]},
            ]
        },
    ),
    ("a list of prompts is one turn; tokens in it cannot be read", {"prompt": ["One.", "Two?", 7, [1, 2]]}),
    # calls
    (
        "arguments that are no JSON count as they are",
        called({"function": {"name": NAME, "arguments": "{pier: 7"}}),
    ),
    (
        "arguments that are JSON, but neither object nor list",
        called({"function": {"name": NAME, "arguments": "007"}}),
    ),
    ("arguments as an object", called({"function": {"name": NAME, "arguments": {"a": [1.50, True, None]}}})),
    ("a custom call", called({"type": "custom", "custom": {"name": "sound", "input": "pier = 7"}})),
    (
        "arguments that are nested too deeply count as they are",
        called({"function": {"arguments": long(["[ ", 513], ["] ", 513])}}),
    ),
    # tools
    ("no tools", offering([])),
    ("a tool with a name alone", offering([{"name": "ring_bell"}])),
    (
        "tools that have neither name, description nor schema count whole",
        offering([{"type": "x"}, "find", 7, None]),
    ),
    ("tools that are no list", offering("ask the harbour master")),
    ("a tool's description that is none", one_tool(name=NAME, description=None, parameters=None)),
    (
        "a parameter may be called properties; those inside it and inside lists count, too",
        one_tool(
            parameters={
                "properties": {
                    "properties": {"properties": {"a": {"type": "string"}}},
                    "list": {"items": {"anyOf": [{"properties": {"b": {}}}, {"properties": 5}]}},
                }
            }
        ),
    ),
    (
        "numbers have one form: 1.0 is 1, 1e2 is 100, 1e21 stays, whole ones keep all digits",
        Raw(
            '{"input": "Well?", "tools": [{"parameters": {"enum": [1.0, 1e2, -0, -0.0, 0.1, 1e-6, 1e-7, 1E21, '
            "123456789012345680000.0, 9007199254740993, 123456789012345678901234567890, 5e-324, 1.50]}}]}"
        ),
    ),
    (
        "a number beyond any double counts as it is written",
        Raw('{"input": "Well?", "tools": [{"parameters": {"maximum": 1.000e+999, "minimum": -1e0999}}]}'),
    ),
    # spelling
    (
        "a key given twice: the last role and content hold",
        Raw('{"messages": [{"role": "system", "content": 5, "content": "How deep?", "role": "user"}]}'),
    ),
    (
        "a key given twice counts twice where bytes are counted",
        Raw('{"input": "Well?", "tools": [{"name": "a", "name": "bc", "parameters": {"x": 1, "x": 22}}]}'),
    ),
    (
        "null takes back what was given before",
        Raw(
            '{"text": "no", "input": "Well?", "tools": ["x"], "tools": null, "system": "x", "instructions": null}'
        ),
    ),
    ("every escape", Raw('"\\" \\\\ \\/ \\b \\f \\n \\r \\t \\u0041 \\u00e9 \\uD83D\\uDE00 fathoms"')),
    ("a string of exactly 8,192 bytes is read whole", long(["lighthouse boat ", 512])),
    ("a string one byte longer is not", long(["lighthouse boat ", 512], "s")),
    ("a long string full of escapes", Raw(long('"', ["pier \\u00e9\\n", 2000], '"'))),
]
GROUPED = [(f"{group}: {form}", request) for group, forms in GROUPS.items() for form, request in forms.items()]

UNREADABLE: list[tuple[str, Any]] = [
    ("a lone high surrogate", Raw('"deep \\ud800"')),
    ("a lone low surrogate", Raw('[{"role": "user", "content": "\\udc00"}]')),
    ("a high surrogate before something else", Raw('{"input": "Well?", "tools": ["\\ud800\\u0041"]}')),
    ("a lone surrogate in a key", Raw('{"input": "Well?", "\\udfff": 1}')),
    ("an unknown role", body(*user("Well?"), {"role": "wizard", "content": "x"})),
    ("a role that is no word", body({"role": 5, "content": "x"})),
    ("no role", body({"content": "x"})),
    ("no role, of something that says it is a message", body({"type": "message", "content": "x"})),
    ("nor a role, spelt with escapes", Raw('[{"type": "\\u006dessage", "content": "x"}]')),
    ("content that is a number", body({"role": "user", "content": 5})),
    ("a part that is a number", body({"role": "user", "content": ["x", 5]})),
    ("a text that is a number", body({"role": "user", "content": [{"type": "text", "text": 5}]})),
    ("a result that is a number", body(*user("x", [{"type": "tool_result", "content": 5}]))),
    ("an output that is a number", {"input": [*user("x"), {"type": "function_call_output", "output": 5}]}),
    ("standing instructions that are a number", {"system": 5, "input": "x"}),
    ("a text beside messages", {"text": "x", **body(*user("x"))}),
    ("nothing to route", {"tools": TOOLS}),
    ("no message", body()),
    ("messages that are an object", {"messages": {"role": "user", "content": "x"}}),
    ("messages that are a number", Raw("7")),
    ("a message that is null", {"messages": [None]}),
    ("strings in place of messages", ["x"]),
    ("an image alone", {"messages": user([{"type": "image_url", "image_url": {}}])}),
    ("a call alone", {"input": [{"type": "function_call", "name": NAME, "arguments": "{}"}]}),
    ("tokens alone", {"prompt": [1, 2, 3]}),
    ("null among prompts", {"prompt": ["x", None]}),
    ("a prompt that is an object", {"prompt": {"text": "x"}}),
    ("nothing", Raw("")),
    ("no JSON", Raw("How deep is it?")),
    ("single quotes", Raw("{'input': 'x'}")),
    ("a comma too many", Raw('{"input": "x",}')),
    ("something after the value", Raw('"x" "y"')),
    ("NaN", Raw('{"input": "x", "temperature": NaN}')),
    ("a number that begins with a zero", Raw('{"input": "x", "n": 01}')),
    ("a line feed in a string", Raw('"x\ny"')),
    ("a byte order mark", Raw('\ufeff"x"')),
    ("an escape that is none", Raw('"\\x41"')),
    ("nested too deeply", Raw(long('{"input": "x", "n": ', ["[", 256], ["]", 256], "}"))),
]
