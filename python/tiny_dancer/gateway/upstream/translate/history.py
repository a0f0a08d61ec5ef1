"""What earlier answers of other models hold that the next one's server would refuse.

**Ids of tool calls.** Anthropic takes letters, digits, ``_`` and ``-``, and each id once in a conversation;
OpenAI takes :data:`LONGEST_CHAT_ID` characters. Kimi's are ``functions.NAME:0``, some servers begin with
``call_0`` in each answer, and some are longer. An id that is refused, or was used before, gets another one, that
follows from the id and how often it was used: the same in every turn, so that prompts stay in caches. A result
belongs to the first call with its id that has none yet.

**Thinking.** Anthropic takes back what it has signed and nothing else. Some models want back what they thought
themselves; their servers' names do not show in the request, but the models' do. All others take back none of it.
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
    if b'"tool_use' not in raw and b'"thinking"' not in raw:
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
    for number, turn in enumerate(turns):
        if isinstance(turn.content, str):
            continue
        for place, block in enumerate(turn.content):
            edit: _Edit | None = None
            if block.type == "thinking" and not block.signature:
                edit = "out"
                unsigned = True
            elif block.type == "tool_use" and block.id is not None:
                edit = _renamed("id", block.id, ids.call(block.id))
            elif block.type == "tool_result" and block.tool_use_id is not None:
                edit = _renamed("tool_use_id", block.tool_use_id, ids.result(block.tool_use_id))
            if edit is not None:
                edits.setdefault(number, {})[place] = edit
    return edits, ["thinking_blocks"] * unsigned + ["tool_ids"] * ids.changed


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
    """The same for a chat completion that stays one: without ``thinking_blocks``, which strict servers refuse,
    except before Anthropic's models."""
    messages = fields.get("messages")
    if messages is None or b'"thinking_blocks"' not in bytes(messages) or takes_thinking(model):
        return {}, []
    try:
        kept: list[Raw] = []
        names: list[str] = []
        for turn in parse(bytes(messages), _list):
            if b'"thinking_blocks"' in bytes(turn):
                rest = parse(bytes(turn), _object)
                if rest.pop("thinking_blocks", None) is not None:
                    names = ["thinking_blocks"]
                    kept.append(Raw(encode(rest)))
                    continue
            kept.append(turn)
    except ValueError:
        return {}, []
    return ({"messages": kept}, names) if names else ({}, [])
