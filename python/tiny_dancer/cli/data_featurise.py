"""`tiny-dancer data featurise`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tiny_dancer.cli.arguments import Models, Scale, Tables, listed, scaled
from tiny_dancer.cli.output import check_target, say
from tiny_dancer.errors import OptionError

HELP = """Replace the prompts of a table by the engine's hashed features: no text leaves its owner.

Every command that takes a table takes such a one, with the same results; only the share of decisions flipped by
typos needs the text.

Example: tiny-dancer data featurise outcomes.parquet --out featurised.parquet"""


def featurise(
    tables: Tables,
    out: Annotated[Path, typer.Option(help="File to write: .parquet, which alone holds features.")],
    models: Models = None,
    scale: Scale = None,
    labels: Annotated[bool, typer.Option(help="Without labels the file serves predict alone.")] = True,
) -> None:
    from tiny_dancer import _core
    from tiny_dancer.training.api import read_outcomes
    from tiny_dancer.training.data import write_featurised

    check_target(out)
    if out.suffix.lower() != ".parquet":
        raise OptionError("out", out.name, "a featurised table is a .parquet file")
    outcomes = read_outcomes(
        [str(table) for table in tables], models=listed(models), scale=scaled(scale), require_quality=labels
    )
    write_featurised(outcomes, out, feature_spec=_core.feature_spec())
    say(f"{out}: {len(outcomes):,} rows, {out.stat().st_size:,} bytes")
