"""`tiny-dancer train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tiny_dancer.cli.arguments import Models, Seed, Tables, listed, priced
from tiny_dancer.cli.output import check_target, progress, say, warn, write_file

HELP = """Train a router on outcomes tables and write the artifact.

What models cost is taken from the table. Without costs quality alone decides among more than two models, unless
--prices says what they cost; of two the better is taken as the dearer one.

Example: tiny-dancer train outcomes.parquet --out router.safetensors
Example: tiny-dancer train graded.csv --out router.safetensors --prices small=0.15/0.6/300 --prices big=2.5/10/300"""


def train(
    tables: Tables,
    out: Annotated[Path, typer.Option(help="Where to write the artifact.")],
    models: Models = None,
    seed: Seed = 0,
    created: Annotated[str, typer.Option(help="Date to record; the tool reads no clock.")] = "",
    augment: Annotated[
        bool,
        typer.Option("--augment", help="Train on copies with typos and Markdown too, if held-out rows say so."),
    ] = False,
    prices: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME=USD a request, or NAME=INPUT/OUTPUT/LENGTH: USD per million tokens of prompt and answer, and "
            "tokens of a usual answer; repeatable, one a model."
        ),
    ] = None,
    backends: Annotated[
        str | None, typer.Option(help="Consider these only, separated by commas; fastgrnn is considered if named.")
    ] = None,
) -> None:
    from tiny_dancer import _core
    from tiny_dancer.training.api import fit, read_outcomes
    from tiny_dancer.training.backends import families_named
    from tiny_dancer.training.fit import steps

    check_target(out)
    names = listed(backends, "backends")
    total = steps(families_named(names)) * (2 if augment else 1)
    outcomes = read_outcomes([str(table) for table in tables], models=listed(models))
    with progress(total) as step:
        fitted = fit(
            outcomes,
            seed=seed,
            created=created,
            augment=augment,
            backends=names,
            prices=priced(prices),
            progress=step,
        )
    write_file(out, fitted.artifact)
    policy = fitted.policy
    learned = ", ".join(fitted.chosen) or "nothing: no backend explains held-out rows"
    lines = [
        f"{out}: {len(fitted.artifact):,} bytes, {len(outcomes):,} rows, {len(outcomes.models)} models",
        f"learned: {learned}",
        f"policy: {policy.kind}, best constant {outcomes.models[policy.best_constant]}",
    ]
    if augment:
        copies = _core.read_header(fitted.artifact)["training"].get("copies")
        lines.append(f"copies: {'kept, ' + ' and '.join(copies) if copies else 'not kept, they do not help here'}")
    for name, index in ((name, index) for index, name in enumerate(outcomes.models)):
        share = float((fitted.decision == index).mean())
        if share:
            lines.append(f"  {name}: {share:.1%} of held-out rows")
    say(*lines)
    for each in fitted.warnings:
        warn(f"warning: {each}")
