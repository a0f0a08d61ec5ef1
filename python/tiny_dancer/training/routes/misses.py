"""Texts that routes get wrong, or nearly: for people who write routes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from tiny_dancer.routing.semantic import SemanticRoutes

MOST = 200
"""Texts listed of each kind."""
_EXAMPLES = 5


@dataclass(frozen=True, slots=True)
class Misses:
    """What routes do with labelled texts that they should not, or nearly so.

    Attributes:
        wrong: (text, its route, the route it is taken for, confidence), the surest first.
        close: (text, its route, the next probable one, lead in probability): right, by the smallest lead; the next
            one is empty where routes have conditions.
        let_in: (text, route, confidence): of no route, and given one; the surest first.
        left_out: (text, its route, reason): of a route that was most probable, and given none.
        examples: up to five texts of each (own route, taken for).
    """

    wrong: tuple[tuple[str, str, str, float], ...]
    close: tuple[tuple[str, str, str, float], ...]
    let_in: tuple[tuple[str, str, float], ...]
    left_out: tuple[tuple[str, str, str], ...]
    examples: dict[tuple[str, str], tuple[str, ...]]


def find_misses(
    router: SemanticRoutes, texts: Sequence[str], labels: Sequence[str | None], most: int = MOST
) -> Misses:
    """Asks the routes, and lists what went wrong.

    Args:
        router: is asked.
        texts: n texts.
        labels: n routes; None for what belongs to none.
        most: texts of each kind.
    """
    found = router.route_many(texts)
    wrong, let_in, left_out, right = [], [], [], []
    examples: dict[tuple[str, str], tuple[str, ...]] = {}
    for text, own, choice in zip(texts, labels, found, strict=True):
        if own is None:
            if choice.name is not None:
                let_in.append((text, choice.name, choice.confidence))
        elif choice.best != own:
            wrong.append((text, own, choice.best, choice.confidence))
            held = examples.get((own, choice.best), ())
            if len(held) < _EXAMPLES:
                examples[own, choice.best] = (*held, text)
        elif choice.name is None:
            left_out.append((text, own, choice.reason))
        else:
            right.append((text, own, choice.confidence))
    right.sort(key=lambda each: (each[2], each[0]))
    conditional = any(route.conditions is not None for route in router.routes)
    close = []
    for text, own, confidence in right[:most]:
        top = () if conditional else router(text, limit=2).top
        other, less = top[1] if len(top) > 1 else ("", 0.0)
        close.append((text, own, other, confidence - less))
    return Misses(
        wrong=tuple(sorted(wrong, key=lambda each: (-each[3], each[:3]))[:most]),
        close=tuple(sorted(close, key=lambda each: (each[3], each[:3]))),
        let_in=tuple(sorted(let_in, key=lambda each: (-each[2], each[:2]))[:most]),
        left_out=tuple(left_out[:most]),
        examples=examples,
    )


def miss_tables(found: Misses, most: int) -> list[Table]:
    """The worst of each kind, for a terminal."""
    from rich.table import Table

    from tiny_dancer.evaluation.terminal import cell

    listed: list[tuple[str, tuple[str, ...], Sequence[Sequence[str | float]]]] = [
        ("nearly missed", ("text", "route", "next", "lead"), found.close),
        ("of no route, and let in", ("text", "given", "confidence"), found.let_in),
        ("of a route, and left out", ("text", "route", "reason"), found.left_out),
    ]
    tables = []
    for title, columns, rows in listed:
        if rows:
            made = Table(*columns, title=title)
            for row in rows[:most]:
                made.add_row(*map(cell, row))
            tables.append(made)
    return tables
