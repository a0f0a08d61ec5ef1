"""`tiny-dancer candidates predict`."""

from __future__ import annotations

from typing import Annotated

import typer

from tiny_dancer.cli.arguments import OutTable
from tiny_dancer.cli.candidates_tables import CandidateArtifact, MemoriesTable, QuestionsTable
from tiny_dancer.cli.output import check_table, say, write_table

HELP = """Write the memories ranked first for every question of a table.

The output has one row a question, in the input's order: `memory_ids` (best first) and their `scores`. An evidence
column is never read and may be absent.

Example: tiny-dancer candidates predict candidates.safetensors memories.parquet questions.parquet --out
ranked.parquet"""


def predict(
    artifact: CandidateArtifact,
    memories: MemoriesTable,
    questions: QuestionsTable,
    out: OutTable,
    k: Annotated[int, typer.Option("--k", "-k", help="Most memories a question.")] = 10,
) -> None:
    from tiny_dancer.training.candidates.data import read_memories, read_questions
    from tiny_dancer.training.candidates.judge import load_scorer, predict_candidates

    check_table(out)
    scorer = load_scorer(artifact)
    known = read_memories(memories)
    found = predict_candidates(scorer, known, read_questions(questions, known, require_evidence=False), k=k)

    import pyarrow as arrow

    columns = {
        "memory_ids": arrow.array([list(each.memory_ids) for each in found], arrow.list_(arrow.string())),
        "scores": arrow.array([list(each.scores) for each in found], arrow.list_(arrow.float32())),
    }
    write_table(out, columns)
    say(f"{out}: {len(found):,} rows")
