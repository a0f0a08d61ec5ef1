"""The report for the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from tiny_dancer.evaluation import wording

if TYPE_CHECKING:
    from tiny_dancer.evaluation.results import Choice, Evaluation

# The HTML report lists all of them.
MOST_TASKS = 12
COLOURS: dict[Choice, str] = {"route": "green", "do not route": "red", "not enough data": "yellow"}


def _table(title: str, content: tuple[tuple[str, ...], list[tuple[str, ...]]]) -> Table:
    header, rows = content
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, title_style="bold")
    for place, name in enumerate(header):
        table.add_column(Text(name), justify="left" if place == 0 else "right", overflow="fold")
    for row in rows:
        # Text, not str: a name may hold what rich would read as markup.
        table.add_row(*(Text(cell) for cell in row))
    return table


def terminal_report(evaluation: Evaluation) -> RenderableType:
    """The evaluation as a rich renderable: verdict, table with every baseline, guarantee, details."""
    verdict = evaluation.verdict
    parts: list[RenderableType] = [
        Panel(
            Text("\n".join((verdict.headline, *(f"• {reason}" for reason in verdict.reasons)))),
            title=Text(f"{evaluation.title}: {verdict.choice}"),
            border_style=COLOURS[verdict.choice],
        ),
        _table(f"Router and baselines (cost in {evaluation.cost_unit})", wording.policy_table(evaluation)),
    ]
    if evaluation.pair is not None:
        pair = evaluation.pair
        title = f"{pair.weak} or {pair.strong} ({pair.rows:,} requests, {pair.dropped:,} left out)"
        parts.append(_table(title, wording.pair_table(evaluation)))
    certificate = evaluation.guarantee
    parts.append(
        Panel(
            Text(certificate.text() if certificate else "None: run calibrate for a bound on the quality lost."),
            title="Guarantee",
            border_style="green" if certificate and certificate.certified else "yellow",
        )
    )
    parts.append(_table("Models", wording.model_table(evaluation)))
    if evaluation.tasks:
        header, rows = wording.task_table(evaluation)
        more = "" if len(rows) <= MOST_TASKS else f" (the largest {MOST_TASKS} of {len(rows)})"
        parts.append(_table(f"Tasks{more}", (header, rows[:MOST_TASKS])))
    if evaluation.robustness:
        parts.append(_table("Decisions that change", wording.robustness_table(evaluation)))
    parts += [Text(f"Note: {note}", style="yellow") for note in evaluation.notes]
    parts.append(Text("\nHow to read", style="bold"))
    parts += [Text.assemble((f"{name} ", "bold"), words) for name, words in wording.READING]
    parts.append(Text(wording.basis(evaluation), style="dim"))
    return Group(*parts)
