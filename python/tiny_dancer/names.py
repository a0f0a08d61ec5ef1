"""Names that somebody wrote, and those that were meant."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

# How alike two names are (difflib's ratio) of which one may have been meant by the other.
_ALIKE = 0.5


def near(name: object, names: Iterable[str], most: int = 3) -> list[str]:
    """The names most like ``name``, whatever their case, the likest first; none where none is like it."""
    return _matches(name, names, most, _ALIKE)


def nearest(name: object, names: Iterable[str]) -> str | None:
    """The name most like ``name``, or None where none is like it."""
    return next(iter(_matches(name, names, 1, _ALIKE)), None)


def least_far(name: object, names: Iterable[str]) -> str | None:
    """The name most like ``name``, however little; None where there is none."""
    return next(iter(_matches(name, names, 1, 0.0)), None)


def hint(name: object, names: Iterable[str]) -> str:
    """A question to begin a remedy with; empty where no name is like this one."""
    found = nearest(name, names)
    return "" if found is None else f"did you mean {found}? "


def did_you_mean(name: object, names: Iterable[str], what: str) -> str:
    """A remedy: the nearest name, or all of them."""
    names = list(names)
    if found := nearest(name, names):
        return f"did you mean {found}?"
    return (
        f"{what}: {', '.join(names[:20])}{', …' if len(names) > 20 else ''}" if names else f"there are no {what}"
    )


def _matches(name: object, names: Iterable[str], most: int, alike: float) -> list[str]:
    from difflib import get_close_matches  # which few programs need

    by_lower = {each.lower(): each for each in names}
    return [by_lower[each] for each in get_close_matches(str(name).lower(), by_lower, most, alike)]
