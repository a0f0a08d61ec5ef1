"""The report for the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.text import Text

from tiny_dancer.evaluation import wording
from tiny_dancer.evaluation.terminal import FittedTable

if TYPE_CHECKING:
    from tiny_dancer.evaluation.results import Choice, Evaluation

# The HTML report lists all of them.
MOST_TASKS = 12
COLOURS: dict[Choice, str] = {"route": "green", "do not route": "red", "not enough data": "yellow"}


def _table(title: str, content: wording.Content, columns: tuple[int, ...] | None = None) -> FittedTable:
    """The content, or these of its columns."""
    header, rows = content
    chosen = range(len(header)) if columns is None else columns
    return FittedTable([header[at] for at in chosen], [[row[at] for at in chosen] for row in rows], title)


def terminal_report(evaluation: Evaluation) -> RenderableType:
    """The evaluation as a rich renderable: verdict, table with every baseline, guarantee, details."""
    verdict = evaluation.verdict
    main = wording.main_models(evaluation)
    policies = wording.policy_table(evaluation, main)
    curves = policies[0], [row for row in policies[1] if row[4] != wording.UNDEFINED]
    few = f"; {some}" if (some := wording.some_of(evaluation)) else ""
    parts: list[RenderableType] = [
        Panel(
            Text("\n".join((verdict.headline, *(f"• {reason}" for reason in verdict.reasons)))),
            title=Text(f"{evaluation.title}: {verdict.choice}"),
            border_style=COLOURS[verdict.choice],
        ),
        _table(f"Router and baselines (cost in {evaluation.cost_unit}{few})", policies, (0, 1, 2, 3)),
    ]
    if curves[1]:
        parts.append(_table("Over matched costs", curves, (0, 4, 5, 6)))
    if evaluation.pair is not None:
        pair = evaluation.pair
        title = f"{pair.weak} or {pair.strong} ({pair.rows:,} requests, {pair.dropped:,} left out)"
        parts.append(_table(title, wording.pair_table(evaluation, brief=True), (0, 1, 3, 4, 5)))
    certificate = evaluation.guarantee
    parts.append(
        Panel(
            Text(certificate.text() if certificate else "None: run calibrate for a bound on the quality lost."),
            title="Guarantee",
            border_style="green" if certificate and certificate.certified else "yellow",
        )
    )
    parts.append(_table(f"Models (cost in {evaluation.cost_unit}{few})", wording.model_table(evaluation, main)))
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
