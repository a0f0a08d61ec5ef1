"""The caller's words → the text to route and what surrounds it (the engine's ``request.rs``).

There are three specifications. By ``"1"``, on which the oldest artifacts were trained, tools count by the text
they came in, and calls, results and response formats not at all. By ``"2"`` all turns of the user's are the text;
by ``"3"`` the last one, and its plain form (``shape.py``).
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, field, replace
from typing import Any

from .cues import Surroundings
from .errors import Refusal
from .json_text import NotJsonError, Number, Object, members, parse, size
from .shape import FOLLOW_WORDS, is_alphanumeric, on
from .shape_words import SHAPES
from .text import LONGEST, bounded, ceiling_boundary, floor_boundary
from .tools import argument_size, call_size, measured_format, measured_tools, searched_tools

SPECS = ("1", "2", "3")
SYSTEM, USER, OTHER, RETURNED = "system", "user", "other", "returned"
ROLES = {
    "system": SYSTEM,
    "developer": SYSTEM,
    "user": USER,
    "assistant": OTHER,
    "tool": RETURNED,
    "function": RETURNED,
}
SAID = ("text", "input_text", "output_text")
# What a body's keys stand for; others are not looked at.
FIELDS = {key: key for key in ("messages", "input", "prompt", "text", "system", "tools", "functions")}
FIELDS |= {"instructions": "system"}
FIELDS |= dict.fromkeys(("response_format", "output_format", "output_config"), "format")


def refused(what: str) -> Refusal:
    """A request that cannot be routed as it stands."""
    return Refusal("RequestInvalid", what)


@dataclass(frozen=True)
class Request:
    """What has to be routed. All but a text is JSON as the caller sent it, or empty.

    ``kind`` says what ``words`` are: a ``text`` as it is, ``messages`` (or a string) as JSON, or the ``prompt`` of
    a completion as JSON.
    """

    words: str
    kind: str = "text"
    system: str = ""
    tools: str = ""
    format: str = ""

    @classmethod
    def from_json(cls, text: str) -> Request:
        """A request as clients send it: a JSON string, a list of messages, or the body of a call."""
        if not isinstance(parsed(text, "request"), Object):
            return cls(text, "messages")
        given: dict[str, str] = {}  # the last one holds, and null takes back what was given before
        for key, value in members(text):
            name = FIELDS.get(key)
            if key == "text" and value[0] != '"':
                name = "format"  # the Responses API has a format under this key
            if name:
                given[name] = "" if value == "null" else value
        if given.get("messages") and given.get("text"):
            raise refused("text")
        tools = given.get("tools") or given.get("functions", "")
        around = (given.get("system", ""), tools, given.get("format", ""))
        for words in ("messages", "input", "prompt", "text"):
            if given.get(words):
                return cls(given[words], "prompt" if words == "prompt" else "messages", *around)
        raise refused("request")


def parsed(text: str, what: str) -> Any:
    """The value of JSON that must be sound."""
    try:
        return parse(text)
    except NotJsonError as error:
        raise refused(what) from error


# ------------------------------------------------------------------------------------------------- reading


@dataclass(frozen=True)
class Reading:
    """The text to route, the bytes it had before anything was cut, and what surrounds it."""

    text: str
    text_bytes: int
    around: Surroundings


@dataclass
class Content:
    """What one content holds: what is said, what is returned, both in their order, and bytes of calls.

    ``others`` are parts that are none of these: images, files, thinking.
    """

    said: list[str] = field(default_factory=list)
    results: list[list[str]] = field(default_factory=list)
    in_order: list[str] = field(default_factory=list)
    call_bytes: int = 0
    others: int = 0

    @property
    def said_bytes(self) -> int:
        """Bytes of what is said, parts joined by line feeds."""
        return size("\n".join(self.said))

    @property
    def result_bytes(self) -> int:
        """The same of each result."""
        return sum(size("\n".join(result)) for result in self.results)

    def say(self, text: str) -> None:
        """Adds what is said."""
        self.said.append(text)
        self.in_order.append(text)


@dataclass(frozen=True)
class Message:
    """A message as it counts; the output of a call has no role of its own."""

    role: str
    content: Content
    is_turn: bool
    is_harness: bool = False


def read(request: Request, spec: str) -> Reading:
    """Reads a request by the rules of ``spec``."""
    tools, parameters, tool_bytes = searched_tools(request.tools) if spec == "1" else measured_tools(request.tools)
    format_bytes = 0 if spec == "1" else measured_format(request.format)
    # Standing instructions hold texts alone: what would be a call or a result there is none.
    beside = read_content(parsed(request.system, "system"), "1") if request.system else Content()

    def around(turns: int, system: int, assistant: int) -> Surroundings:
        return Surroundings(turns, system, assistant, tools, parameters, tool_bytes, format_bytes)

    if request.kind == "text":
        return Reading(request.words, size(request.words), around(1, beside.said_bytes, 0))
    value = parsed(request.words, request.kind)
    if isinstance(value, str):
        return Reading(value, size(value), around(1, beside.said_bytes, 0))
    if not isinstance(value, list) or not value:
        raise refused("messages")

    messages, calls = [], 0
    if request.kind == "prompt":
        messages = [prompt_message(part) for part in value if is_text(part)]
    else:
        for each in value:
            message, call_bytes = read_message(each, spec)
            calls += call_bytes
            messages += [message] if message else []
    if spec == "3" and request.kind != "prompt":
        messages = with_harness_apart(messages)
    turns = [message for message in messages if message.is_turn]
    said = {
        role: sum(m.content.said_bytes for m in messages if m.role == role)
        for role in (SYSTEM, USER, OTHER, RETURNED)
    }
    said[SYSTEM] += beside.said_bytes
    results = sum(message.content.result_bytes for message in messages)
    if not turns:  # all that was said and returned is the text
        contents = [beside] * bool(request.system) + [message.content for message in messages]
        text = joined(["\n".join(content.in_order) for content in contents])
        return Reading(text, sum(said.values()) + results, around(0, 0, calls))
    text = joined(["\n".join(message.content.said) for message in turns])
    before = calls + said[OTHER] + said[RETURNED] + results
    if request.kind == "prompt":  # its texts are one turn, joined by line feeds
        return Reading(text, said[USER] + len(turns) - 1, around(1, said[SYSTEM], before))
    if spec != "3":
        return Reading(text, said[USER], around(len(turns), said[SYSTEM], before))
    chosen = asked(messages)
    sizes = [message.content.said_bytes for message in chosen]
    text = joined(["\n".join(message.content.said) for message in chosen])
    # A line feed joins what is not empty so far.
    text_bytes = 0
    for each in sizes:
        text_bytes += each + (text_bytes > 0)
    return Reading(text, text_bytes, around(len(turns), said[SYSTEM], before + said[USER] - sum(sizes)))


def asked(messages: list[Message]) -> list[Message]:
    """The last turn of the user's; where it only says to go on, the turn before it that says more, and the answer
    last given. A turn: messages of the user's with nothing of the assistant's or returned between them."""
    runs: list[list[int]] = [[]]
    for index, message in enumerate(messages):
        if message.is_turn:
            runs[-1].append(index)
        elif message.role != SYSTEM and not message.is_harness and runs[-1]:
            runs.append([])
    runs = [run for run in runs if run]

    def follows(run: list[int]) -> bool:
        said = ("\n".join(messages[index].content.said) for index in run)
        return all(is_follow_up(without_harness(text)) for text in said)

    last = runs.pop()
    chosen, answer = last, []
    if follows(last):
        answers = [i for i in range(last[0]) if messages[i].role == OTHER and messages[i].content.said_bytes]
        answer = answers[-1:]
        while runs:
            chosen = runs.pop()
            if not follows(chosen):
                break
    return [messages[index] for index in sorted({*chosen, *answer})]


HARNESS_LINES = ("[Request interrupted by user]", "[Request interrupted by user for tool use]")


def without_harness(text: str) -> str:
    """The text without the blocks and lines of a harness at its start and its end."""
    text = text.strip()
    while (rest := after_block(text)) is not None or (rest := before_block(text)) is not None:
        text = rest.strip()
    return text


def after_block(text: str) -> str | None:
    """What follows a block or a line of a harness that the text starts with."""
    for line in HARNESS_LINES:
        if text.startswith(line):
            return text.removeprefix(line)
    for name in SHAPES["harness"]:
        end = text.find(f"</{name}>")
        if text.startswith(f"<{name}>") and end >= 0:
            return text[end + len(name) + 3 :]
    return None


def before_block(text: str) -> str | None:
    """What stands before a block or a line of a harness that the text ends with."""
    for line in HARNESS_LINES:
        if text.endswith(line):
            return text.removesuffix(line)
    for name in SHAPES["harness"]:
        start = text.rfind(f"<{name}>")
        if text.endswith(f"</{name}>") and start >= 0:
            return text[:start]
    return None


def with_harness_apart(messages: list[Message]) -> list[Message]:
    """Turns of the user's that are of a harness alone are none, where any other is."""

    def of_harness(message: Message) -> bool:
        text = "\n".join(message.content.said)
        return message.is_turn and bool(text.strip()) and not without_harness(text)

    if all(of_harness(message) for message in messages if message.is_turn):
        return messages
    return [
        replace(message, is_turn=False, is_harness=True) if of_harness(message) else message
        for message in messages
    ]


FOLLOW_BYTES = 96


def is_follow_up(text: str) -> bool:
    """Whether a turn says only that what is under way should go on."""
    text = text.strip()
    if size(text) > FOLLOW_BYTES:
        return False
    kept = "".join(each if is_alphanumeric(each) or each in "'’" else " " for each in text)
    words = [word.replace("’", "'").lower() for word in kept.split(" ") if word]
    if any(unicodedata.category(word[0]) in ("Nd", "Nl", "No") for word in words):
        return False

    def listed(word: str) -> bool:
        return on(word, "follow") or all(not each.isascii() and on(each, "follow") for each in word)

    return len(words) <= 1 or (len(words) <= FOLLOW_WORDS and all(map(listed, words)))


def is_text(part: Any) -> bool:
    """Whether a part of a prompt is text; tokens cannot be read."""
    if not isinstance(part, str | Number | list):
        raise refused("prompt")
    return isinstance(part, str)


def prompt_message(text: str) -> Message:
    """A text of a prompt."""
    content = Content()
    content.say(text)
    return Message(USER, content, True)


def read_message(value: Any, spec: str) -> tuple[Message | None, int]:
    """A message and the bytes of its calls; None for a call of the Responses API, which says nothing."""
    if not isinstance(value, Object):
        raise refused("messages")
    calls = 0
    if spec != "1":
        listed = [call for calls in value.all("tool_calls") if isinstance(calls, list) for call in calls]
        listed += [call for call in value.all("function_call") if isinstance(call, Object)]
        calls = sum(map(call_size, listed))
    role = value.last("role")
    if role is None:
        if value.all("type")[-1:] in ([], ["message"]):
            raise refused("messages.role")
        if spec == "1":
            return None, 0
        calls += argument_size(value.last("name")) + argument_size(value.last("arguments", "input"))
        if not value.all("output"):
            return None, calls
        # What a call gave back, as if it were a message of text.
        output = value.last("output")
        content = read_content([output] if isinstance(output, Object) else output, spec)
        return Message(RETURNED, content, False), calls + content.call_bytes
    if not isinstance(role, str) or role not in ROLES:
        raise refused("messages.role")
    content = read_content(value.last("content"), spec)
    # Anthropic's form of results: a user's message of nothing else is no turn of the user's.
    only_results = bool(content.results) and not content.said and not content.others
    is_turn = ROLES[role] == USER and not only_results
    return Message(ROLES[role], content, is_turn), calls + content.call_bytes


def read_content(value: Any, spec: str) -> Content:
    """A string, null, or a list of strings and parts."""
    content = Content()
    if isinstance(value, str):
        content.say(value)
    elif isinstance(value, list):
        for part in value:
            if isinstance(part, str):
                content.say(part)
            elif isinstance(part, Object):
                read_part(part, spec, content)
            else:
                raise refused("messages.content")
    elif value is not None:
        raise refused("messages.content")
    return content


def read_part(part: Object, spec: str, content: Content) -> None:
    """Adds a part to its content."""
    kind = next((each for each in reversed(part.all("type")) if isinstance(each, str)), "")
    if kind in SAID or (spec != "1" and kind == "refusal"):
        texts = part.all("refusal" if kind == "refusal" else "text")[-1:]
        if not all(isinstance(text, str) for text in texts):
            raise refused("messages.content.text")
        for text in texts:
            content.say(text)
    elif spec != "1" and kind == "tool_use":
        content.call_bytes += argument_size(part.last("name")) + argument_size(part.last("input"))
    elif spec != "1" and kind == "tool_result":
        content.results.append(read_result(part.last("content")))
        content.in_order += content.results[-1]
    else:
        content.others += 1


def read_result(value: Any) -> list[str]:
    """The texts of a result: a string, or a list of parts."""
    if isinstance(value, str):
        return [value]
    if value is None:
        return []
    if not isinstance(value, list):
        raise refused("messages.content")
    texts = []
    for part in value:
        if isinstance(part, Object):
            kinds = [each for each in part.all("type") if isinstance(each, str)]
            found = [text for text in part.all("text") if isinstance(text, str)]
            texts += found[-1:] if kinds[-1:] == ["text"] else []
    return texts


def joined(contents: list[str]) -> str:
    """Of each content the head and the tail, each on a line of its own; of what grows too long, front and back."""
    text = ""
    for content in contents:
        text = append_bounded(text, content)
    return text


def append_bounded(text: str, content: str) -> str:
    """``text`` and, each after a line feed, the head and the tail of ``content`` (which may be empty).

    Of what grows beyond 32,768 bytes, the first and last 8,192 are kept.
    """
    for part in bounded(content):
        text += ("\n" if text else "") + part
    data = text.encode()
    if len(data) <= 4 * LONGEST:
        return text
    front = data[: floor_boundary(data, LONGEST)]
    back = data[ceiling_boundary(data, len(data) - LONGEST) :]
    return (front + back).decode()
