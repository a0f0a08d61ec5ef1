"""What an answer that is passed on says about its cost: counts of tokens, in the words of many servers.

Nothing here refuses an answer: what cannot be read says nothing.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import msgspec

from tiny_dancer.gateway.upstream.dialect import Usage

if TYPE_CHECKING:
    from tiny_dancer.gateway.upstream.deployments import ServedModel

# Bytes at the end of a stream among which its last event says what it took: images stand before it.
TAIL: Final = 64 * 1024

_USAGE: Final = re.compile(rb'"usage"\s*:\s*\{')


class _Answer(msgspec.Struct):
    """What is read of one; Cohere says it in ``meta``."""

    id: Any = None
    usage: Any = None
    meta: Any = None


_answer: Final = msgspec.json.Decoder(_Answer)
_any: Final = msgspec.json.Decoder()


def read_answer(body: bytes) -> tuple[Usage | None, str | None]:
    """The tokens a whole answer says it took, and its id; None where it does not say."""
    try:
        found = _answer.decode(body)
    except (ValueError, RecursionError):
        return None, None
    meta = found.meta if isinstance(found.meta, dict) else {}
    usage = _usage(found.usage) or _usage(meta.get("tokens")) or _usage(meta.get("billed_units"))
    return usage, found.id if isinstance(found.id, str) else None


def read_tail(tail: bytes) -> Usage | None:
    """The tokens a stream of events says it took, at its end."""
    last = None
    for match in _USAGE.finditer(tail):
        last = match
    if last is None:
        return None
    # Up to where its braces are closed: counts hold no strings with braces.
    start = last.end() - 1
    depth = 0
    for at in range(start, len(tail)):
        depth += (tail[at] == 0x7B) - (tail[at] == 0x7D)
        if not depth:
            try:
                return _usage(_any.decode(tail[start : at + 1]))
            except (ValueError, RecursionError):
                return None
    return None


def untold(model: ServedModel) -> Usage | None:
    """What to book where an answer does not say what it took: nothing, where its tokens have no price.

    What it costs is then known to the cent, by its price per request. None where it is not.
    """
    without, with_many = model.cost(Usage()), model.cost(Usage(1_000_000, 1_000_000))
    return Usage() if without is not None and without == with_many else None


def _usage(said: object) -> Usage | None:
    if not isinstance(said, dict):
        return None
    read = _count(said, "input_tokens", "prompt_tokens")
    written = _count(said, "output_tokens", "completion_tokens")
    if read is None and written is None:
        read = _count(said, "total_tokens")  # of reranking: all of them are read
        if read is None:
            return None
    cached = 0
    for name in _DETAILS:
        if isinstance(details := said.get(name), dict):
            cached = _count(details, "cached_tokens") or 0
    return Usage(read or 0, written or 0, min(cached, read or 0))


_DETAILS: Final = ("input_tokens_details", "prompt_tokens_details", "input_token_details")


def _count(said: dict[str, Any], *names: str) -> int | None:
    for name in names:
        value = said.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 2**40:
            return int(value)
    return None
