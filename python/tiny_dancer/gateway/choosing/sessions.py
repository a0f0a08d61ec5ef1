"""Conversations: which model has one in its prompt cache, and how long the prefix is.

Upstreams keep the prompt of a conversation for some minutes and charge a fraction for reading it again. A router
that sends the next turn elsewhere pays the whole prefix anew. That price belongs in the choice: the engine weighs
it (ADR 0011), told what is in whose cache. How long the prefix is, the upstream said: the tokens of its last
prompt and answer.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from msgspec import Struct, field

from tiny_dancer.storage import hash_query

if TYPE_CHECKING:
    from collections.abc import Hashable

    from tiny_dancer.gateway.configuration.settings import Sessions


class Cached(Struct, frozen=True):
    """A prefix in one model's cache.

    Attributes:
        tokens: of prompt and answer, with which the next prompt usually begins.
        time: seconds of the monotonic clock when it was last read.
        tools: hash of the tools it begins with, where they were selected; else 0.
    """

    tokens: int
    time: float
    tools: int = 0


class Session(Struct):
    """One conversation.

    Attributes:
        model: that answered last.
        caches: by model.
        said: hash of what the user said last; empty where nobody will ask.
    """

    model: str = ""
    caches: dict[str, Cached] = field(default_factory=dict)
    said: str = ""


class SessionTable:
    """Conversations by key, the least recently used forgotten first. Belongs to the event loop's thread."""

    def __init__(self, settings: Sessions) -> None:
        self.settings = settings
        self._sessions: OrderedDict[Hashable, Session] = OrderedDict()

    def find(self, key: Hashable) -> Session | None:
        """The conversation of this key, if it is remembered."""
        return self._sessions.get(key)

    def answered(self, key: Hashable, model: str, tokens: int, said: str, now: float, tools: int = 0) -> None:
        """Remembers which model answered, and how long the prefix is now."""
        session = self._sessions.get(key)
        if session is None:
            session = self._sessions[key] = Session()
            if len(self._sessions) > self.settings.remembered:
                self._sessions.popitem(last=False)
        else:
            self._sessions.move_to_end(key)
        session.model = model
        session.said = _hashed(said) if self.settings.escalate else ""
        session.caches[model] = Cached(tokens, now, tools)

    def __len__(self) -> int:
        return len(self._sessions)


def key_of(caller: str, named: str | None, system: bytes | None, begun: str | bytes) -> Hashable:
    """What tells conversations apart: the name the client gives, or else how the conversation began.

    Keys stay in this process, so Python's own hash of a text, salted per process, will do; the texts themselves,
    which may be long, are not kept.

    Args:
        caller: who asks.
        named: by the client.
        system: standing instructions beside the messages.
        begun: the messages up to the end of the user's first turn.
    """
    if named is not None:
        return caller, "named", hash(named)
    return caller, hash((system, begun))


_COMPLAINT: Final = re.compile(
    r"\b(wrong|incorrect|not (right|correct|what i)|does(n't| not) work|still (fails|broken|not)|try again|"
    r"that('s| is) not|no[,!.] |you (missed|forgot|misunderstood))",
    re.IGNORECASE,
)


def unhappy(said: str, before: str) -> bool:
    """Whether the user repeats the last question, or complains in few (English) words.

    Args:
        said: by the user now.
        before: :attr:`Session.said`; empty where nothing was said before.
    """
    if not before:
        return False
    return _hashed(said) == before or (len(said) < 400 and _COMPLAINT.search(said) is not None)


def _hashed(said: str) -> str:
    """Equal for texts that differ in case and spaces only."""
    return hash_query(" ".join(said.casefold().split()))
