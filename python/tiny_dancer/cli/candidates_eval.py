"""`tiny-dancer candidates eval`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tiny_dancer.cli.arguments import Json
from tiny_dancer.cli.candidates_tables import MemoriesTable, QuestionsTable, as_json, show
from tiny_dancer.cli.output import print_json, say

HELP = """Judge how well the memories that answer a question are ranked: recall@1, 5 and 10, and MRR.

A question's candidates are all memories of its own conversation. Beside the scorer: cosine, shared words, their
sum. Intervals (95 %, bootstrap) are over questions.

Example: tiny-dancer candidates eval memories.parquet questions.parquet --artifact candidates.safetensors"""


def evaluate(
    memories: MemoriesTable,
    questions: QuestionsTable,
    artifact: Annotated[
        Path | None, typer.Option(help="Scorer to judge; without one, the combination that needs no training.")
    ] = None,
    json: Json = False,
) -> None:
    from tiny_dancer.evaluation.overlap import optimistic
    from tiny_dancer.training.candidates.data import read_memories, read_questions
    from tiny_dancer.training.candidates.judge import evaluate_candidates, load_scorer

    scorer = None if artifact is None else load_scorer(artifact)
    known = read_memories(memories)
    found = evaluate_candidates(known, read_questions(questions, known), scorer)
    if json:
        print_json(as_json(found))
        return
    if warning := optimistic(found.trained_on):
        say(warning)
    say(f"{found.questions:,} questions, {len(known):,} memories")
    show(found)
