"""What earlier answers of other models hold that the next one's server would refuse.

**Ids of tool calls.** Anthropic takes letters, digits, ``_`` and ``-``, and each id once in a conversation;
OpenAI takes :data:`LONGEST_CHAT_ID` characters. Kimi's are ``functions.NAME:0``, some servers begin with
``call_0`` in each answer, and some are longer. An id that is refused, or was used before, gets another one, that
follows from the id and how often it was used: the same in every turn, so that prompts stay in caches. A result
belongs to the first call with its id that has none yet. Calls that another vendor's server has made
(``server_tool_use`` with ids that are not Anthropic's) are left out before Anthropic, with what they gave.

**Thinking.** Anthropic takes back what it has signed and nothing else. Some models want back what they thought
themselves; their servers' names do not show in the request, but the models' do. All others take back none of it.
DeepSeek's and Kimi's servers refuse calls of tools without a thought, whoever made them: such get a space.
Gemini's refuses, from Gemini 3 on, calls that bear no signature of its own; for those of other models Google has a
word. What Gemini has signed (``extra_content``) means nothing to others, and strict servers refuse it.
"""

from __future__ import annotations

import re
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec
from msgspec import Raw, Struct

from tiny_dancer.gateway.upstream.translate.fields import encode, parse

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

LONGEST_CHAT_ID: Final = 40
"""Characters of a tool call's id at OpenAI."""

# ai.google.dev/gemini-api/docs/thought-signatures: for calls that another model made.
_UNSIGNED: Final = {"google": {"thought_signature": "skip_thought_signature_validator"}}
_THINKS_BEFORE_CALLS: Final = re.compile(r"deepseek|kimi(?!.*instruct)")
_SIGNS_CALLS: Final = re.compile(r"gemini-(?:[3-9]|\d\d)")
_TAKES_NO_REASONING: Final = re.compile(r"(?:mis|minis|magis|devs|codes)tral|mixtral|pixtral")
_WANTS_THINKING: Final = re.compile(r"deepseek|kimi(?!.*instruct)|glm-|minimax|mimo-")
_ANTHROPIC_ID: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_NOT_IN_AN_ID: Final = re.compile(r"[^a-zA-Z0-9_-]")


class ToolIds:
    """Gives each call of a conversation an id of its own that a server takes. To be asked in the conversation's
    order.

    Attributes:
        changed: whether an id became another.
    """

    def __init__(self, fits: Callable[[str], bool]) -> None:
        """``fits``: whether the server takes this id."""
        self.changed = False
        self._fits = fits
        self._used: dict[str, int] = {}  # by the conversation's id
        self._given: set[str] = set()
        self._waiting: dict[str, list[str]] = {}  # calls without a result, by the conversation's id
        self._last: dict[str, str] = {}
        self._answered = False

    def call(self, identifier: str) -> str:
        """The id of a call."""
        if self._answered:
            # What was called before and has no result will get none.
            self._waiting.clear()
            self._answered = False
        number = self._used.get(identifier, 0)
        self._used[identifier] = number + 1
        given = identifier if number == 0 and self._fits(identifier) else _another(identifier, number)
        while given in self._given:
            number += 1
            given = _another(identifier, number)
        self._given.add(given)
        self._waiting.setdefault(identifier, []).append(given)
        self._last[identifier] = given
        self.changed = self.changed or given != identifier
        return given

    def result(self, identifier: str) -> str:
        """The id of the call that a result belongs to."""
        self._answered = True
        if waiting := self._waiting.get(identifier):
            given = waiting.pop(0)
        elif (last := self._last.get(identifier)) is not None:
            given = last
        else:
            given = identifier if self._fits(identifier) else _another(identifier, 0)
        self.changed = self.changed or given != identifier
        return given


def anthropic_ids() -> ToolIds:
    """For a conversation that goes to Anthropic."""
    return ToolIds(lambda identifier: _ANTHROPIC_ID.fullmatch(identifier) is not None)


def chat_ids() -> ToolIds:
    """For a conversation that goes to a server of chat completions."""
    return ToolIds(lambda identifier: 0 < len(identifier) <= LONGEST_CHAT_ID)


def answer_ids() -> ToolIds:
    """For the calls of one answer, which a client tells apart by their ids."""
    return ToolIds(bool)


def takes_thinking(model: str) -> bool:
    """Whether a server of chat completions has a use for ``thinking_blocks``: before Anthropic's models another
    gateway does, which has the word from LiteLLM."""
    return "claude" in model.lower()


def wants_thinking(model: str) -> bool:
    """Whether a model wants its unsigned thinking back, as ``reasoning_content``: DeepSeek's and Kimi's servers
    refuse a conversation in which they have thought where an answer comes without."""
    return _WANTS_THINKING.search(model.lower()) is not None


def _another(identifier: str, number: int) -> str:
    digest = sha256(f"{number} {identifier}".encode("utf-8", "surrogatepass")).hexdigest()
    return f"{_NOT_IN_AN_ID.sub('_', identifier)[: LONGEST_CHAT_ID - 13]}_{digest[:12]}"


# Requests that stay in their protocol.


class _Block(Struct):
    type: str = ""
    id: str | None = None
    tool_use_id: str | None = None
    signature: str | None = None


class _Turn(Struct):
    role: str = ""
    content: str | list[_Block] = ""


class _Thinking(Struct):
    type: str = ""


_turns: Final = msgspec.json.Decoder(list[_Turn])
_thinking: Final = msgspec.json.Decoder(_Thinking)
_list: Final = msgspec.json.Decoder(list[Raw])
_object: Final = msgspec.json.Decoder(dict[str, Raw])
_calls: Final = msgspec.json.Decoder(list[dict[str, Any]] | None)
# Of calls that Anthropic's servers make; it refuses a conversation with others.
_OF_SERVER: Final = re.compile(r"srvtoolu_[a-zA-Z0-9_]+")
_NULL: Final = Raw(b"null")
_EMPTY: Final = Raw(b'""')
_Edit = Literal["out"] | tuple[str, str]  # a block's end, or a field and its new value


def to_anthropic(fields: Mapping[str, Raw]) -> tuple[dict[str, Any], list[str]]:
    """The fields of a request in Anthropic's protocol that have to change before it goes to Anthropic, and what
    they are called in ``x-td-adapted``.

    Turns in which nothing changes stay as they came, byte by byte. What cannot be read is sent on: Anthropic says
    what is wrong with it.
    """
    messages = fields.get("messages")
    if messages is None:
        return {}, []
    raw = bytes(messages)
    if b"tool_use" not in raw and b'"thinking"' not in raw:
        return {}, []
    try:
        turns = parse(raw, _turns)
        edits, names = _edits(turns)
        changed: dict[str, Any] = {}
        if edits:
            changed["messages"] = _edited(raw, edits)
        if "thinking" in fields and parse(bytes(fields["thinking"]), _thinking).type == "enabled":
            blocks = [_kept(turn, edits.get(number, {})) for number, turn in enumerate(turns)]
            if must_not_think([turn.role for turn in turns], blocks):
                changed["thinking"] = None
                names.append("thinking")
    except ValueError:
        return {}, []
    return changed, names


def must_not_think(roles: list[str], kinds: list[list[str]]) -> bool:
    """Whether a request that asks for thinking with a budget is refused for want of earlier thinking: Anthropic
    wants the turn that calls tools to begin with it, and another model's does not.

    Args:
        roles: of the turns.
        kinds: types of the blocks of each.
    """
    for role, blocks in zip(reversed(roles), reversed(kinds), strict=True):
        if role == "assistant":
            return "tool_use" in blocks and blocks[0] not in ("thinking", "redacted_thinking")
    return False


def _kept(turn: _Turn, edits: Mapping[int, _Edit]) -> list[str]:
    if isinstance(turn.content, str):
        return ["text"]
    return [block.type for number, block in enumerate(turn.content) if edits.get(number) != "out"]


def _edits(turns: list[_Turn]) -> tuple[dict[int, dict[int, _Edit]], list[str]]:
    ids = anthropic_ids()
    edits: dict[int, dict[int, _Edit]] = {}
    unsigned = False
    elsewhere: set[str] = set()  # calls that another vendor's server made
    for number, turn in enumerate(turns):
        if isinstance(turn.content, str):
            continue
        for place, block in enumerate(turn.content):
            edit: _Edit | None = None
            if block.type == "server_tool_use" and block.id and not _OF_SERVER.fullmatch(block.id):
                edit = "out"
                elsewhere.add(block.id)
            elif block.type.endswith("tool_result") and block.tool_use_id in elsewhere:
                edit = "out"
            elif block.type == "thinking" and not block.signature:
                edit = "out"
                unsigned = True
            elif block.type == "tool_use" and block.id is not None:
                edit = _renamed("id", block.id, ids.call(block.id))
            elif block.type == "tool_result" and block.tool_use_id is not None:
                edit = _renamed("tool_use_id", block.tool_use_id, ids.result(block.tool_use_id))
            if edit is not None:
                edits.setdefault(number, {})[place] = edit
    names = ["thinking_blocks"] * unsigned + ["tool_ids"] * ids.changed + ["server_tool_use"] * bool(elsewhere)
    return edits, names


def _renamed(field: str, before: str, after: str) -> _Edit | None:
    return None if before == after else (field, after)


def _edited(raw: bytes, edits: Mapping[int, Mapping[int, _Edit]]) -> list[Raw]:
    kept: list[Raw] = []
    turns = parse(raw, _list)
    for number, turn in enumerate(turns):
        if number not in edits:
            kept.append(turn)
            continue
        fields = parse(bytes(turn), _object)
        blocks: list[Raw] = []
        before = parse(bytes(fields["content"]), _list)
        for place, block in enumerate(before):
            edit = edits[number].get(place)
            if edit is None:
                blocks.append(block)
            elif edit != "out":
                changed = parse(bytes(block), _object)
                blocks.append(Raw(encode({**changed, edit[0]: edit[1]})))
        if blocks:
            kept.append(Raw(encode({**fields, "content": blocks})))
    return kept


def to_chat(fields: Mapping[str, Raw], model: str) -> tuple[dict[str, Any], list[str]]:
    """The same for a chat completion that stays one: see :class:`ForModel`, and without ``thinking_blocks``, which
    strict servers refuse, except before Anthropic's models."""
    messages = fields.get("messages")
    if messages is None:
        return {}, []
    raw = bytes(messages)
    if not _may_be_of_another(raw):
        return {}, []
    fit = ForModel(model)
    unwanted = b'"thinking_blocks"' in raw and not takes_thinking(model)
    if not (unwanted or fit.matters(raw)):
        return {}, []
    try:
        kept: list[Raw] = []
        names: list[str] = []
        for turn in parse(raw, _list):
            said = bytes(turn)
            if not _may_be_of_another(said):
                kept.append(turn)
                continue
            fields_of: dict[str, Raw] = parse(said, _object)
            rest: dict[str, Any] = {**fields_of}
            changed = fit.answer(rest)
            if unwanted and rest.pop("thinking_blocks", None) is not None:
                changed.append("thinking_blocks")
            kept.append(Raw(encode(rest)) if changed else turn)
            names += changed
    except ValueError:
        return {}, []
    return ({"messages": kept}, list(dict.fromkeys(names))) if names else ({}, [])


def _may_be_of_another(raw: bytes) -> bool:
    # One after the other: a generator costs every request a microsecond more.
    return (
        b'"tool_calls"' in raw
        or b'"thinking_blocks"' in raw
        or b'"extra_content"' in raw
        or b'"reasoning_content"' in raw
    )


class ForModel:
    """What an answer of another model lacks or has too much of for the model of a chat completion."""

    def __init__(self, model: str) -> None:
        name = model.lower()
        self._thinks = _THINKS_BEFORE_CALLS.search(name) is not None
        self._signs = _SIGNS_CALLS.search(name) is not None
        self._takes_signed = "gemini" in name
        self._takes_reasoning = _TAKES_NO_REASONING.search(name) is None

    def matters(self, messages: bytes) -> bool:
        """Whether any of these messages may have to change."""
        if b'"tool_calls"' in messages and (self._thinks or self._signs):
            return True
        if b'"extra_content"' in messages and not self._takes_signed:
            return True
        return b'"reasoning_content"' in messages and not self._takes_reasoning

    def answer(self, message: dict[str, Any]) -> list[str]:
        """Changes a message, of which only ``tool_calls`` are read; what was changed."""
        names: list[str] = []
        if not self._takes_reasoning and message.pop("reasoning_content", None) is not None:
            names.append("reasoning_content")
        if not self._takes_signed and message.pop("extra_content", None) is not None:
            names.append("extra_content")
        calls = message.get("tool_calls")
        calls = parse(bytes(calls), _calls) if isinstance(calls, Raw) else calls
        if not calls:
            return names
        signed = [call for call in calls if call.get("extra_content")]
        if signed and not self._takes_signed:
            message["tool_calls"] = [{k: v for k, v in call.items() if k != "extra_content"} for call in calls]
            names.append("extra_content")
        elif self._signs and not signed:  # of calls made together, only the first is signed
            message["tool_calls"] = [{**calls[0], "extra_content": _UNSIGNED}, *calls[1:]]
            names.append("extra_content")
        if self._thinks and message.get("reasoning_content", _NULL) in (_NULL, _EMPTY, ""):
            message["reasoning_content"] = " "  # Kimi refuses an empty one
            names.append("reasoning_content")
        return names
