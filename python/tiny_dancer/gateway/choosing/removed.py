"""What removed whom: of every model and agent that could not serve a request, the word for why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

MOST: Final = 32
"""Names a record has; beyond them it says how many more there are."""

MOST_CHARACTERS: Final = 100
"""Of a name or a word: words may be a client's own, as options of ``provider`` are."""

_CUT: Final = "…"


def bounded(removed: Mapping[Any, Any]) -> dict[str, str]:
    """The same, of a size that does not grow with what a client, a registry or a configuration says.

    Of more than :data:`MOST` the first stay, and under the empty name, which nobody has, stands how many more
    there are: ``and 8 more``. Names and words of more than :data:`MOST_CHARACTERS` end in ``…``.
    """
    found: dict[str, str] = {}
    for name, word in removed.items():
        if len(found) == MOST:
            found[""] = f"and {len(removed) - MOST} more"
            break
        found[_short(name)] = _short(word)
    return found


def _short(text: Any) -> str:
    said = str(text)
    return said if len(said) <= MOST_CHARACTERS else f"{said[: MOST_CHARACTERS - 1]}{_CUT}"
