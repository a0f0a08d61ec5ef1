"""Exact rules: who asks, and what is said literally, without anything learned."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tiny_dancer.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tiny_dancer.routing.semantic import User

__all__ = ["Rule", "matching"]

_LISTS = ("users", "tiers", "tags", "keywords")


@dataclass(frozen=True, slots=True)
class Rule:
    """Where a request goes that has all that is named here; of a list, one is enough.

    Attributes:
        target: where it leads, as of a chain's steps.
        users: ids.
        tiers: of users.
        tags: of users.
        keywords: words or phrases the text has as they are, in any case, not within a longer word.
        headers: by name, in any case: the value; ``*`` for any.
    """

    target: Any
    users: tuple[str, ...] = ()
    tiers: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    keywords: tuple[str, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    _pattern: re.Pattern[str] | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name in _LISTS:
            given: Any = getattr(self, name)
            if isinstance(given, str) or not isinstance(given, Iterable):
                raise OptionError(name, repr(given), "give a list of texts")
            texts = tuple(given)
            for text in texts:
                if not isinstance(text, str) or not text.strip():
                    raise OptionError(name, repr(text), "give a text, or leave it out")
            object.__setattr__(self, name, texts)
        headers: Any = self.headers
        if not isinstance(headers, Mapping) or not all(
            isinstance(key, str) and isinstance(value, str) for key, value in headers.items()
        ):
            raise OptionError("headers", repr(headers), "give names and values as texts")
        object.__setattr__(self, "headers", {name.lower(): value for name, value in headers.items()})
        if not self.headers and not any(getattr(self, name) for name in _LISTS):
            raise OptionError(
                "rule", "without a condition", "it would take every request: make its target the default"
            )
        if self.keywords:
            spaced = (r"\s+".join(map(re.escape, text.split())) for text in self.keywords)
            object.__setattr__(
                self, "_pattern", re.compile(rf"(?<!\w)(?:{'|'.join(spaced)})(?!\w)", re.IGNORECASE)
            )

    def why(self, text: str, user: User | None, headers: Mapping[str, str]) -> str | None:
        """What of a request makes it match, in words; None where it does not.

        Args:
            text: what was said.
            user: who asks.
            headers: of the request, names in lower case.
        """
        reasons = []
        if self.users:
            if user is None or user.id not in self.users:
                return None
            reasons.append(f"user {user.id}")
        if self.tiers:
            if user is None or user.tier not in self.tiers:
                return None
            reasons.append(f"tier {user.tier}")
        if self.tags:
            tags = () if user is None else user.tags
            found = next((tag for tag in tags if tag in self.tags), None)
            if found is None:
                return None
            reasons.append(f"tag {found}")
        for name, wanted in self.headers.items():
            value = headers.get(name)
            if value is None or wanted not in ("*", value):
                return None
            reasons.append(f"header {name}")
        if self._pattern is not None:
            match = self._pattern.search(text)
            if match is None:
                return None
            reasons.append(f"keyword {' '.join(match[0].split())}")
        return ", ".join(reasons)


def matching(
    rules: Sequence[Rule], text: str, user: User | None, headers: Mapping[str, str]
) -> tuple[Rule, str] | None:
    """The first rule that a request matches, and why; None where none does."""
    for rule in rules:
        why = rule.why(text, user, headers)
        if why is not None:
            return rule, why
    return None
