"""Confusions, near misses and findings about routes as one HTML page, for people who write routes."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Final

from tiny_dancer.evaluation.html import page, table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tiny_dancer.routing.semantic import RoutesEvaluation
    from tiny_dancer.training.routes.lint import LintReport
    from tiny_dancer.training.routes.misses import Misses

# Texts are words, not figures: they wrap, and stand to the left.
_STYLE: Final = """
td,th{text-align:left;vertical-align:top}
tbody th{min-width:11rem}
td{white-space:normal;overflow-wrap:break-word;min-width:6.5rem;max-width:16rem}
td:last-child{white-space:nowrap;min-width:0;max-width:none}
li{overflow-wrap:anywhere}
@media(max-width:40rem){body{padding:1rem .75rem 3rem}th,td{padding:.4rem}tbody th{min-width:9rem}
td{min-width:5rem}}
"""
_LONGEST: Final = 300
_PAIRS: Final = 200


def evaluation_page(title: str, lines: Sequence[str], found: RoutesEvaluation, misses: Misses) -> str:
    """Of routes judged on labelled texts.

    Args:
        title: such as the artifact's name.
        lines: the figures in words.
        found: the figures.
        misses: texts that went wrong, or nearly.
    """
    parts = _head("Routes, judged", title, lines)
    pairs = found.confusions[:_PAIRS]
    rows = [[own, other, f"{count:,}"] for own, other, count in pairs]
    parts += _section(
        "Confusions",
        "Routes whose texts are taken for another route's, the most frequent first",
        ("route", "taken for", "texts"),
        rows,
        len(found.confusions),
    )
    for own, other, count in pairs[:20]:
        listed = "".join(f"<li>{escape(_shown(text))}</li>" for text in misses.examples.get((own, other), ()))
        what = f"{own} taken for {other}: {count:,}"
        parts.append(f"<details><summary>{escape(_shown(what))}</summary><ul>{listed}</ul></details>")
    parts += _section(
        "Wrong, and sure of it",
        "Texts of a route that are taken for another one's, the surest first",
        ("text", "route", "taken for", "confidence"),
        [[text, own, other, _number(sure)] for text, own, other, sure in misses.wrong],
    )
    parts += _section(
        "Nearly missed",
        "Texts that are given the right route, by the smallest lead over the next one",
        ("text", "route", "next", "lead"),
        [[text, own, other, _number(lead)] for text, own, other, lead in misses.close],
    )
    if found.out_of_scope_f1 is not None:
        parts += _section(
            "Let in",
            "Texts of no route that are given one, the surest first",
            ("text", "given", "confidence"),
            [[text, given, _number(sure)] for text, given, sure in misses.let_in],
        )
    parts += _section(
        "Left out",
        "Texts of the most probable route that are given none",
        ("text", "route", "reason"),
        [[text, own, reason.replace("_", " ")] for text, own, reason in misses.left_out],
    )
    return page(f"{title}: routes judged", parts, _STYLE)


def lint_page(title: str, found: LintReport) -> str:
    """Of what is wrong with routes."""
    parts = _head("What is wrong with routes", title, found.summary())
    parts += _section(
        "Nearer to another route",
        "Utterances, the worst first; by how much cosine",
        ("utterance", "route", "nearer to", "by"),
        [[text, own, other, _number(lead)] for own, text, other, lead in found.nearer],
    )
    parts += _section(
        "Overlapping routes",
        "By the share of a route's utterances that are nearer to the other",
        ("route", "other", "share"),
        [[own, other, f"{share:.0%}"] for own, other, share in found.overlaps],
    )
    if found.requests:
        parts += _section(
            "Requests that no route is for",
            f"Of {found.requests:,} requests of the log, the least in scope first",
            ("request",),
            [[text] for text in found.holes],
        )
    return page(f"{title}: what is wrong with routes", parts, _STYLE)


def _head(what: str, title: str, lines: Sequence[str]) -> list[str]:
    listed = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return [f"<h1>{escape(what)} · {escape(_shown(title))}</h1>", f"<ul>{listed}</ul>"]


def _section(
    heading: str, caption: str, columns: Sequence[str], rows: Sequence[Sequence[str]], of: int | None = None
) -> list[str]:
    """A table under its heading; a sentence where it is empty."""
    if not rows:
        return [f"<h2>{escape(heading)}</h2>", "<p>None.</p>"]
    shown = [tuple(_shown(cell) for cell in row) for row in rows[:_PAIRS]]
    count = len(rows) if of is None else of
    if count > len(shown):
        caption = f"{caption}; {len(shown)} of {count:,}"
    return [f"<h2>{escape(heading)}</h2>", table(caption, (tuple(columns), shown))]


def _shown(text: str) -> str:
    """A text on one line, of a length that can be read; what would turn the line around is taken out."""
    line = " ".join(text.split())
    line = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in line)
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"


def _number(value: float) -> str:
    return f"{value:.2f}"
