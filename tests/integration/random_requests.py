"""Requests at random, as clients might write them: conversations and tools in every dialect, in any spelling."""

from __future__ import annotations

import json
import unicodedata
from functools import cache
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

if TYPE_CHECKING:
    import random

Json = Any
NAMES = ("weak", "strong", "anchor", "brisk", "calm", "first", "second", "swift", "deep", "flat", "nobody")


@cache
def stable_characters() -> str:
    """Characters assigned in Unicode 3.2 whose category has not changed since: all versions agree on them."""
    old = unicodedata.ucd_3_2_0
    every = (chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000)
    return "".join(c for c in every if old.category(c) == unicodedata.category(c) not in ("Cn", "Co"))


FRAGMENTS = (
    "a. ", " (b) ", " c) ", "d: ", "answer", "answer:", "12", "3.5", "1,000", "1/2", "$", "\\frac", "don't", "’s",
    "how many ", "of the following ", "times as ", "twice ", "not ", "____", "...", "[UNK]", "İ", "Σ", "ﬁ", "½",
    "你好", "が", "ไ", "한", "é", "e\u0301", "\u200d", "\0", "\u3000", "\n", "?", "! ", "unaffordable ", "😀",
)  # fmt: skip
TEXTS = st.lists(
    st.one_of(
        st.sampled_from(FRAGMENTS),
        st.text(st.characters(codec="ascii"), max_size=12),
        st.builds(
            lambda picks: "".join(stable_characters()[p % len(stable_characters())] for p in picks),
            st.lists(st.integers(0, 1 << 20), max_size=8),
        ),
    ),
    max_size=24,
).map("".join)
REPEATED = st.builds(lambda text, times: text * times, TEXTS, st.integers(1, 60))
TEXT = st.one_of(*[TEXTS] * 5, REPEATED)
WORD = st.one_of(st.text(st.characters(codec="ascii"), max_size=6), st.sampled_from(FRAGMENTS))


def some(**fields: st.SearchStrategy[Json]) -> st.SearchStrategy[Json]:
    """An object that has some of these fields."""
    return st.fixed_dictionaries({}, optional=fields)


def rarely(value: st.SearchStrategy[Json], *odd: Json) -> st.SearchStrategy[Json]:
    """A value, and now and then one of another type."""
    return st.integers(0, 24).flatmap(
        lambda draw: value if draw else st.sampled_from(odd or (None, 5, True, [], {}))
    )


NUMBER = st.one_of(st.integers(-(10**25), 10**25), st.floats(allow_nan=False, allow_infinity=False), st.just(1e2))
VALUE = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBER, WORD),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(WORD, inner, max_size=3)),
    max_leaves=6,
)
SCHEMA = st.recursive(
    st.one_of(some(type=st.just("string"), enum=st.lists(VALUE, max_size=3), minimum=NUMBER), VALUE),
    lambda inner: st.one_of(
        some(properties=st.dictionaries(st.one_of(WORD, st.just("properties")), inner, max_size=3), items=inner),
        st.lists(inner, max_size=2),
    ),
    max_leaves=6,
)
SAID = rarely(TEXTS)


def definition(schema: str) -> st.SearchStrategy[Json]:
    """A function's definition with its schema under this name."""
    return some(name=SAID, description=SAID, **{schema: SCHEMA}, strict=st.booleans())


TOOL = st.one_of(
    st.builds(lambda function: {"type": "function", "function": function}, rarely(definition("parameters"))),
    *map(definition, ("parameters", "input_schema", "inputSchema")),
    VALUE,
)
TOOLS = st.one_of(
    st.lists(TOOL, max_size=3), st.builds(lambda listed: {"tools": listed}, st.lists(TOOL, max_size=2)), TOOL
)
ARGUMENTS = st.one_of(VALUE.map(json.dumps), VALUE, TEXTS)
CALL = st.one_of(
    some(
        type=WORD, function=rarely(some(name=WORD, arguments=ARGUMENTS)), custom=some(name=WORD, input=ARGUMENTS)
    ),
    VALUE,
)
RESULT = st.one_of(
    TEXTS,
    st.none(),
    st.lists(st.one_of(some(type=st.sampled_from(("text", "image")), text=SAID), WORD), max_size=3),
)
PART = st.one_of(
    TEXTS,
    st.builds(
        lambda kind, text: {"type": kind, "text": text},
        st.sampled_from(("text", "input_text", "output_text")),
        SAID,
    ),
    st.builds(lambda text: {"type": "refusal", "refusal": text}, SAID),
    some(type=st.just("tool_use"), name=WORD, input=ARGUMENTS),
    st.builds(lambda content: {"type": "tool_result", "content": content}, rarely(RESULT)),
    some(type=st.sampled_from(("image", "thinking", "text", "file")), thinking=WORD),
)
CONTENT = rarely(st.one_of(TEXT, st.none(), st.lists(rarely(PART), max_size=4)), 5, {}, True)
ROLE = st.sampled_from(("system", "developer", "user", "user", "user", "assistant", "tool", "function"))
MESSAGE = st.one_of(
    st.fixed_dictionaries(
        {"role": rarely(ROLE, "wizard", None, 5)},
        optional={
            "content": CONTENT,
            "tool_calls": rarely(st.lists(CALL, max_size=2)),
            "function_call": rarely(some(name=WORD, arguments=ARGUMENTS)),
            "name": WORD,
            "type": st.just("message"),
        },
    ),
    st.fixed_dictionaries(
        {"type": rarely(st.sampled_from(("function_call", "function_call_output", "reasoning")), "message")},
        optional={"name": WORD, "arguments": ARGUMENTS, "input": ARGUMENTS, "output": CONTENT},
    ),
)
MESSAGES = st.lists(rarely(MESSAGE), max_size=5)
FORMAT = st.one_of(
    some(type=WORD, json_schema=some(name=WORD, schema=SCHEMA), schema=SCHEMA, format=some(schema=SCHEMA)), VALUE
)
BODY = some(
    messages=MESSAGES,
    input=st.one_of(TEXT, MESSAGES),
    prompt=st.one_of(TEXT, st.lists(rarely(TEXTS), max_size=3)),
    text=st.one_of(TEXT, FORMAT),
    system=CONTENT,
    instructions=CONTENT,
    tools=TOOLS,
    functions=TOOLS,
    response_format=FORMAT,
    output_config=FORMAT,
    stream=st.booleans(),
)
ASKED = st.one_of(
    TEXT,
    MESSAGES,
    *[some(messages=MESSAGES, system=CONTENT, tools=TOOLS, response_format=FORMAT)] * 2,
    some(input=MESSAGES, instructions=CONTENT, tools=TOOLS, text=FORMAT),
    BODY,
)
FEW_NAMES = st.lists(st.sampled_from(NAMES), max_size=3)
OPTIONS = some(
    max_cost=rarely(st.floats(0, 0.01), None, -1, "1"),
    min_quality=rarely(st.floats(0, 1), None, 1.5),
    max_latency=st.floats(0, 3),
    allowed=rarely(FEW_NAMES, None, "weak"),
    exclude=FEW_NAMES,
    pin=st.sampled_from(NAMES),
    threshold=st.floats(-1, 1),
    cost_weight=st.floats(0, 100),
    policy=rarely(st.sampled_from(("cost", "balanced", "quality")), "cheap", None),
    expected_output_tokens=st.floats(0, 4000),
    current=st.sampled_from(NAMES),
    cached_tokens=st.dictionaries(st.sampled_from(NAMES), st.floats(0, 4000), max_size=2),
)


def spelt(value: Json, chance: random.Random) -> str:
    """JSON with any white space, escapes and forms of numbers, and now and then a key that comes twice."""

    def space() -> str:
        return "".join(chance.choice(" \t\r\n") for _ in range(chance.choice((0, 0, 0, 1, 2))))

    def text(string: str) -> str:
        written = json.dumps(string, ensure_ascii=chance.random() < 0.3)
        return f"\\u{ord(string[0]):04x}".join(('"', written[2:])) if _is_plain(string, chance) else written

    match value:
        case dict():
            members = list(value.items())
            chance.shuffle(members)
            if members and chance.random() < 0.03:
                members.append((members[0][0], members[-1][1]))
            inner = (f"{space()}{text(key)}{space()}:{spelt(each, chance)}" for key, each in members)
            return f"{space()}{{{','.join(inner) or space()}}}{space()}"
        case list():
            return f"{space()}[{','.join(spelt(each, chance) for each in value) or space()}]{space()}"
        case str():
            return f"{space()}{text(value)}{space()}"
        case float() if chance.random() < 0.3:
            return f"{value:.17e}"
        case int() if not isinstance(value, bool) and chance.random() < 0.2:
            return f"{value}.0"
    return json.dumps(value)


def _is_plain(string: str, chance: random.Random) -> bool:
    """Whether the first letter may be spelt as an escape, and shall be."""
    return string[:1].isalnum() and string[0].isascii() and chance.random() < 0.1


def damaged(text: str, chance: random.Random) -> str:
    """The text with one character replaced."""
    at = chance.randrange(len(text) + 1)
    return (
        text[:at]
        + chance.choice(("", '"', "\\", "{", "]", ",", "0", "\\ud800", "e", "\u00e9", "\n"))
        + text[at + 1 :]
    )


SPELT = st.builds(spelt, ASKED, st.randoms(use_true_random=False))
DAMAGED = st.builds(damaged, SPELT, st.randoms(use_true_random=False))
