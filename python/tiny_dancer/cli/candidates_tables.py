"""What the `candidates` commands share: the arguments, the table of figures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tiny_dancer.cli.output import console
from tiny_dancer.evaluation.terminal import FittedTable

if TYPE_CHECKING:
    from tiny_dancer.evaluation.candidates import RankingEvaluation

MemoriesTable = Annotated[
    Path, typer.Argument(metavar="MEMORIES", help="conversation, memory_id, text, …: Parquet, CSV or JSONL.")
]
QuestionsTable = Annotated[
    Path, typer.Argument(metavar="QUESTIONS", help="conversation, question, evidence: Parquet, CSV or JSONL.")
]
CandidateArtifact = Annotated[
    str, typer.Argument(metavar="ARTIFACT", help="Path of a candidate scorer's artifact.")
]


def show(found: RankingEvaluation) -> None:
    """Prints each method's figures with their intervals."""
    from tiny_dancer.evaluation.candidates import METRICS

    rows = [
        (
            method,
            # Below each other, so that four of them fit into 80 columns.
            *(
                f"{each.estimate:z.3f}\n[{each.low:z.3f}, {each.high:z.3f}]"
                for each in map(figures.get, METRICS)
                if each
            ),
        )
        for method, figures in found.metrics.items()
    ]
    console().print(FittedTable(("method", *METRICS), rows))


def as_json(found: RankingEvaluation) -> dict[str, Any]:
    """The first method's figures on top, the others' under `baselines`; means, with 95 % intervals beside them."""
    methods = list(found.metrics)

    def figures(method: str) -> dict[str, Any]:
        values = found.metrics[method]
        means = {metric: each.estimate for metric, each in values.items()}
        return {**means, "intervals": {metric: [each.low, each.high] for metric, each in values.items()}}

    return {
        "scorer": methods[0],
        "questions": found.questions,
        "trained_on": found.trained_on,
        **figures(methods[0]),
        "baselines": {method: figures(method) for method in methods[1:]},
    }
