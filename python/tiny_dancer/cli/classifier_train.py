"""`tiny-dancer classifier train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tiny_dancer.cli.arguments import Examples, Label, Seed
from tiny_dancer.cli.output import check_target, console, progress, say, write_file
from tiny_dancer.errors import OptionError

HELP = """Train a classifier of texts or of sequences of vectors, and write the artifact.

A FastGRNN is trained, distilled from larger GRUs, pruned if asked, and turned into integers; beside it a linear
model on the mean of the inputs. The one that is right on more held-out rows is written. A run that was killed goes
on where it was when the same command is given again.

Example: tiny-dancer classifier train intents.parquet --validation held-out.parquet --out intents.safetensors"""


def train(
    data: Examples,
    out: Annotated[Path, typer.Option(help="Where to write the artifact.")],
    validation: Annotated[
        Path | None, typer.Option(help="Held-out examples; without them a fifth of each label is held out.")
    ] = None,
    label: Label = None,
    model: Annotated[str, typer.Option(help="auto (the better one), fastgrnn or bag.")] = "auto",
    form: Annotated[str, typer.Option(help="Of a FastGRNN's weights: int8, sparse, int4 or f32.")] = "int8",
    sparsity: Annotated[float, typer.Option(help="Share of the weights that sparse leaves out.")] = 0.9,
    hidden: Annotated[int | None, typer.Option(help="Size of the state; 256 for texts, 64 for vectors.")] = None,
    seed: Seed = 0,
    created: Annotated[str, typer.Option(help="Date to record; the tool reads no clock.")] = "",
) -> None:
    from tiny_dancer.training.fastgrnn.data import read_examples
    from tiny_dancer.training.fastgrnn.report import training_table
    from tiny_dancer.training.fastgrnn.run import KINDS, fit_classifier, settings_for

    check_target(out)
    if model not in KINDS:
        raise OptionError("model", model, f"give one of {', '.join(KINDS)}")
    examples = read_examples(data, label_column=label)
    held_out = None if validation is None else read_examples(validation, label_column=label)
    settings = settings_for(examples, hidden=hidden, form=form, sparsity=sparsity, seed=seed)
    with progress(settings.steps(len(examples)) if model != "bag" else 1) as step:
        fitted = fit_classifier(
            examples,
            held_out,
            kind=model,
            settings=settings,
            checkpoint=out.with_name(f"{out.name}.training"),
            created=created,
            progress=step,
        )
    write_file(out, fitted.artifact)
    console().print(training_table(fitted.phases))
    say(fitted.chosen_because, f"{out}: {len(fitted.artifact):,} bytes, {fitted.model}, {len(examples):,} rows")
