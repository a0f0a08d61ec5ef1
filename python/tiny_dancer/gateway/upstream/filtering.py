"""What an upstream's content filter refused: an error that says so, or an answer that holds nothing else."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import Raw, Struct

if TYPE_CHECKING:
    from tiny_dancer.gateway.errors import GatewayError

_STATUSES: Final = frozenset({400, 403, 422, 451})
# OpenAI's, Azure's, DashScope's, Zhipu's words.
_CODES: Final = frozenset(
    {
        "content_filter",
        "content_policy_violation",
        "data_inspection_failed",
        "moderation_blocked",
        "responsibleaipolicyviolation",
        "1301",
    }
)
# A moderation before the model (OpenRouter) says so in its message alone.
_WORDS: Final = re.compile(
    r"\b(flagged|moderation|content (?:filter|polic|management)|safety system)", re.IGNORECASE
)


class _Choice(Struct):
    finish_reason: Raw = Raw(b"null")


class _Details(Struct):
    reason: Raw = Raw(b"null")


class _Answer(Struct):
    choices: list[_Choice] = []
    stop_reason: Raw = Raw(b"null")
    incomplete_details: _Details | None = None


_answer: Final = msgspec.json.Decoder(_Answer).decode
_FILTERED: Final = Raw(b'"content_filter"')
_REFUSED: Final = Raw(b'"refusal"')


def refused(error: GatewayError) -> bool:
    """Whether an error is a content filter's: another model may have another filter."""
    if error.status not in _STATUSES:
        return False
    said = {str(each).lower() for each in (error.code, error.type)}
    return not said.isdisjoint(_CODES) or _WORDS.search(error.message) is not None


def filtered(body: bytes) -> bool:
    """Whether a whole answer was cut by a content filter: every choice of a chat, a message, a response."""
    if b'"content_filter"' not in body and b'"refusal"' not in body:
        return False
    try:
        read = _answer(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False  # it is served as it is
    if read.choices:
        return all(each.finish_reason == _FILTERED for each in read.choices)
    details = read.incomplete_details
    return read.stop_reason == _REFUSED or (details is not None and details.reason == _FILTERED)
