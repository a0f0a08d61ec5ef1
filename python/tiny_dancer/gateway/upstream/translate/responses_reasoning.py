"""Reasoning that travels through clients of the responses endpoint, and comes back to the model that thought it.

Servers that keep nothing give it to the client as ``encrypted_content``. Here it is not encrypted: it holds what
the model said, which the client can read anyway, and which the next request hands back in the model's own words.
"""

from __future__ import annotations

import base64
from typing import Any, Final

import msgspec
from msgspec import Raw, Struct

from tiny_dancer.gateway.upstream.translate import responses_request as wire
from tiny_dancer.gateway.upstream.translate.fields import encode, parse

REASONING_ID: Final = "rs_td"
"""How ids of reasoning begin that was translated: no other server knows them."""

_THOUGHT: Final = "td1."  # how encrypted_content begins that was written here


class Thought(Struct, omit_defaults=True):
    """What a model thought before one answer.

    Attributes:
        model: that thought it, as its upstream calls it.
        field: of a chat completion's message in which it came.
        text: what it thought.
        blocks: the same as Anthropic has signed it.
    """

    model: str
    field: str = ""
    text: str = ""
    blocks: list[dict[str, Any]] = []


_thought: Final = msgspec.json.Decoder(Thought)


def write_thought(thought: Thought) -> str:
    """As ``encrypted_content``."""
    return _THOUGHT + base64.urlsafe_b64encode(encode(thought)).decode()


def read_thought(encrypted: str) -> Thought | None:
    """What ``encrypted_content`` holds; None where it was not written here."""
    if not encrypted.startswith(_THOUGHT):
        return None
    try:
        return parse(base64.urlsafe_b64decode(encrypted[len(_THOUGHT) :]), _thought)
    except ValueError:
        return None


def without_ours(raw: Raw) -> Raw:
    """``input`` for a server that has responses: without reasoning that was translated, which it would refuse.

    What cannot be read goes on as it is: the server says what is wrong with it.
    """
    said = bytes(raw)
    if REASONING_ID.encode() not in said and _THOUGHT.encode() not in said:
        return raw
    try:
        items = parse(said, wire.input)
        if isinstance(items, str):
            return raw
        kept = [item for item in items if not _is_ours(item)]
    except ValueError:
        return raw
    return raw if len(kept) == len(items) else Raw(encode(kept))


def _is_ours(raw: Raw) -> bool:
    if parse(bytes(raw), wire.head).type != "reasoning":
        return False
    item = parse(bytes(raw), wire.reasoning_item)
    return (item.id or "").startswith(REASONING_ID) or (item.encrypted_content or "").startswith(_THOUGHT)
