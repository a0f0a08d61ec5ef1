"""`tiny-dancer candidates train`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from tiny_dancer.cli.arguments import Seed
from tiny_dancer.cli.candidates_tables import MemoriesTable, QuestionsTable, show
from tiny_dancer.cli.output import check_target, progress, say, write_file

if TYPE_CHECKING:
    from tiny_dancer.training.candidates.fit import Scorer

HELP = """Train a scorer of memories on questions whose evidence is known, and write the artifact.

The figures printed are out of fold: of conversations that were not trained on, or, with one conversation, of its
questions that were not.

Example: tiny-dancer candidates train memories.parquet questions.parquet --out candidates.safetensors"""


def train(
    memories: MemoriesTable,
    questions: QuestionsTable,
    out: Annotated[Path, typer.Option(help="Where to write the artifact.")],
    scorer: Annotated[
        str, typer.Option(help="linear, fastgrnn, or auto: the better one on held-out questions (minutes).")
    ] = "linear",
    seed: Seed = 0,
    created: Annotated[str, typer.Option(help="Date to record; the tool reads no clock.")] = "",
) -> None:
    from tiny_dancer.training.candidates.data import read_memories, read_questions
    from tiny_dancer.training.candidates.fit import fit_candidates, steps

    check_target(out)
    known = read_memories(memories)
    asked = read_questions(questions, known)
    with progress(steps(known, scorer)) as step:
        fitted = fit_candidates(
            known, asked, scorer=cast("Scorer", scorer), seed=seed, created=created, progress=step
        )
    write_file(out, fitted.artifact)
    say(f"{out}: {len(fitted.artifact):,} bytes, {fitted.questions:,} questions, {len(known):,} memories")
    if fitted.left_out:
        say(f"left out: {fitted.left_out:,} questions without known evidence")
    say(f"scorer: {fitted.scorer} ({fitted.chosen_because})", fitted.verdict, "held out from training:")
    show(fitted.evaluation)
